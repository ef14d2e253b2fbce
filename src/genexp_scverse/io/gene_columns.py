"""What the columns of a table of genes are by their names: ids, places, statistics, quantities, row numbers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.written_numbers import to_numbers

KINDS: dict[str, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in {
        "row number": "unnamed0 unnamed01 unnamed02 index x x1 1 rowname rownames rownumber rownum row no nr id",
        "gene id": (
            "geneid ensemblgeneid ensemblid ensemblgene ensembl genestableid genestableidversion ensemblgeneidversion "
            "geneidversion"
        ),
        "other id": (
            "entrez entrezid entrezgene entrezgeneid entreznumber entrezgeneaccession ncbi ncbiid ncbigeneid ncbigene "
            "ncbigeneformerlyentrezgeneid hgnc hgncid hgncaccession mgiid mgi flybaseid wormbaseid uniprot uniprotid "
            "uniprotkb uniprotswissprot uniprotgnsymbol refseq refseqid refseqmrna accession transcriptid "
            "transcriptids transcript transcriptstableid tx txid txname targetid proteinid havanagene locustag "
            "omim omimid taxid taxonid cluster clusterid tssid probeid probe"
        ),
        "name": (
            "genename name symbol genesymbol hgncsymbol mgisymbol externalgenename externalgeneid geneshortname "
            "description genedescription desc genetype genebiotype biotype transcriptbiotype type class classcode "
            "transcripttype nearestrefid synonyms synonym alias fullname"
        ),
        "place": (
            "chrom chr chromosome chromosomename chromosomescaffoldname seqname seqnames seqid scaffold "
            "contig start end stop strand startposition endposition genestart geneend genestartbp geneendbp "
            "chromstart chromend txstart txend tss transcriptionstartsite transcriptionstartsitetss genestrand locus "
            "position band cytoband karyotypeband maplocation"
        ),
        "length": (
            "length genelength len width effectivelength efflength effectivelen exonlength exonicgenelength "
            "mergedlength transcriptlength medianlength genelen lengthbp size genesize bp"
        ),
        "composition": "exons exoncount nexons gc gccontent percentagegenegccontent genegccontent percentgc",
        "statistic": (
            "basemean log2foldchange logfoldchange log2fc lfc lfcse logfc logcpm pvalue pval padj adjpvalue adjpval "
            "pvalueadj fdr qvalue qval svalue stat aveexpr foldchange fpkmstatus status significant isopct "
            "posteriormeancount posteriorstandarddeviationofcount pmetpm pmefpkm teststat"
        ),
    }.items()
}  # fmt: skip
_LIMITS = re.compile(
    r"(?:^|[._ -])(?:conf|ci|cred)[._ -]*(?:lo|low|lower|hi|high|upper|lowerbound|upperbound)$|_status$"
)
_SUMMARIES = (
    frozenset({"mean", "average", "avg", "median", "max", "maximum", "min", "minimum", "sum", "total", "rowmeans"})
    | {"rowsums", "sd", "std", "stdev", "se", "sem", "var", "variance", "cv", "mad", "tau", "rank", "score", "fc"}
)  # fmt: skip
_OF_REPLICATES = frozenset(["mean", "avg", "average", "median", "sd", "std", "stdev", "se", "sem", "cv", "variance"])
_QUANTITIES = {
    "tpm": "tpm", "ntpm": "tpm", "ptpm": "tpm", "abundance": "tpm", "fpkm": "fpkm", "fpkmuq": "fpkm uq", "rpkm": "rpkm",
    "count": "counts", "counts": "counts", "numreads": "counts", "reads": "counts", "readcount": "counts",
    "readcounts": "counts", "estcounts": "counts", "expectedcount": "counts", "rawcount": "counts",
    "rawcounts": "counts", "unstranded": "counts", "cpm": "cpm", "coverage": "coverage", "cov": "coverage",
    "length": "length", "efflength": "length", "effectivelength": "length",
}  # fmt: skip
_QUANTITY = re.compile(
    r"^(?:(?P<first>.+?)[._ -]+)?(?P<q1>expected_count|est_counts|raw_?counts?|read_?counts?|ntpm|tpm|fpkm_uq|fpkm|"
    r"rpkm|numreads|counts?|reads|cpm|coverage|eff_length|effective_length|length)$"
    r"|^(?P<q2>tpm|fpkm|rpkm|counts?|reads|cpm|abundance|length)[._ -]+(?P<last>.+)$",
    re.IGNORECASE,
)
_ENOUGH = 1000


def plain_name(name: str) -> str:
    """Return a name without what authors write in different ways: case, blanks, points, brackets.

    Examples
    --------
    >>> plain_name("Gene start (bp)"), plain_name("gene_start..bp.")
    ('genestartbp', 'genestartbp')
    """
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def kind_of(name: str) -> str | None:
    """Tell what a column holds that is surely no sample, by its name; None where it may be one.

    Examples
    --------
    >>> kind_of("entrezgene_id"), kind_of("FPKM_conf_lo"), kind_of("K562")
    ('other id', 'limit', None)
    """
    plain = plain_name(name)
    found = next((kind for kind, names in KINDS.items() if plain in names and kind != "row number"), None)
    return found or ("limit" if _LIMITS.search(name.lower()) else None)


def is_row_numbers(name: str, column: pd.Series) -> bool:
    """Tell whether a column holds the numbers of its rows, as pandas and R write them.

    Examples
    --------
    >>> is_row_numbers("", pd.Series([0, 1, 2])), is_row_numbers("K562", pd.Series([0, 1, 2]))
    (True, False)
    """
    if plain_name(name) not in KINDS["row number"] | {""} or not len(column):
        return False
    numbers = to_numbers(column).to_numpy()
    return bool(numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def without_row_numbers(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a table without the numbers of its rows, which pandas writes in a column without a name.

    Raises
    ------
    InputError
        When a column without a name holds something else.

    Examples
    --------
    >>> list(without_row_numbers(pd.DataFrame({"": [0, 1], "tss": [5, 9]}), "genes.csv"))
    ['tss']
    """
    unnamed = [name for name in table if str(name) == "" or str(name).startswith("Unnamed: ")]
    dropped = [name for name in unnamed if is_row_numbers(str(name), table[name]) or table[name].isna().all()]
    if "" in table and "" not in dropped:
        msg = f"column {list(table.columns).index('') + 1} of {source} has no name: give it one, or remove it"
        raise InputError(msg)
    if dropped:
        logger.info("%s: numbers of rows are left out (column %s)", source, some(dropped))
    return table.drop(columns=dropped)


def is_summary(name: str) -> bool:
    """Tell whether a column by its name holds a mean, a range or the like of others.

    Examples
    --------
    >>> is_summary("Mean"), is_summary("K562")
    (True, False)
    """
    return plain_name(name) in _SUMMARIES


def summary_of(name: str) -> str:
    """Return by which word at its end a column is a mean of replicates, or how far they lie apart; "" where it is none.

    Examples
    --------
    >>> summary_of("WT_mean"), summary_of("WT.SD"), summary_of("K562_total")
    ('mean', 'sd', '')
    """
    word = re.split(r"[._ -]+", name.lower().strip())[-1]
    return word if word in _OF_REPLICATES else ""


def quantity_of(name: str) -> tuple[str, str] | None:
    """Tell of which quantity and which sample a column is by its name, as far as it says so.

    Examples
    --------
    >>> quantity_of("K562_TPM"), quantity_of("counts.H1"), quantity_of("NumReads"), quantity_of("K562")
    (('tpm', 'K562'), ('counts', 'H1'), ('counts', ''), None)
    """
    found = _QUANTITY.match(name)
    if not found:
        return None
    quantity = _QUANTITIES[plain_name(found["q1"] or found["q2"])]
    return quantity, (found["first"] or found["last"] or "")


def like_ids(column: pd.Series) -> bool:
    """Tell whether numbers are ids or positions rather than levels: many whole ones above 0, all of them different.

    Examples
    --------
    >>> like_ids(pd.Series(range(1, 2000))), like_ids(pd.Series([0.5] * 2000))
    (True, False)
    """
    numbers = column.dropna().to_numpy(np.float64)
    if len(numbers) < _ENOUGH or (numbers < 1).any() or (numbers % 1 != 0).any():
        return False
    return len(np.unique(numbers)) == len(numbers)
