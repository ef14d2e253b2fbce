"""Genes with their TSS from GTF, GFF3, BED6 or a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, option, some
from genexp_scverse._logging import logger
from genexp_scverse._windows import FURTHEST
from genexp_scverse.io._store_content import unstorable
from genexp_scverse.io.chroms import is_scaffold, same_chrom
from genexp_scverse.io.gene_table import is_gene_header, read_bed, read_gene_table
from genexp_scverse.io.gff import read_gff
from genexp_scverse.io.ids import IdSet, check_names, is_par_copy, strip_versions
from genexp_scverse.io.plain_text import SEPARATOR_LINE, first_line, open_text

_WHAT = "a GTF, GFF3, BED6 or a table of genes with a header"
_FIRST = ["chrom", "tss", "strand", "start", "end", "gene_name", "gene_type", "gene_id_version"]
_OWN = ("tss_from", "entrez", "key", "problem")
_MOST = 1 / 3
"""Share of the genes from which on leaving them out is a warning."""


@dataclass(frozen=True)
class Head:
    """What the format of an annotation is told from: its first record, and the last comment above it."""

    line: str
    comment: str = ""
    gff_version_3: bool = False

    @property
    def fields(self) -> list[str]:
        """Columns of the record, which tabs divide."""
        return self.line.split("\t")


@dataclass(frozen=True)
class Format:
    """A format of annotations: a row of :data:`FORMATS`."""

    name: str
    is_like: Callable[[Head], bool]
    """Tells the format by the head of the file; the first row that says yes counts."""
    example: str
    """A small file of it, which the tests read."""
    read: Callable[..., pd.DataFrame] | None = None
    """Takes the path and the arguments of `takes`; None for a format that is known and not read."""
    takes: tuple[str, ...] = ()
    repeats: bool = False
    """Whether an id may stand more than once, as copies of a gene; else that is an error."""
    instead: str = ""
    """For a format that is not read: what it is, and what to give for it."""


def _is_gff(head: Head) -> bool:
    return len(head.fields) >= 8 and _are_positions(head.fields[3:5])


def _is_gff3(head: Head) -> bool:
    last = head.fields[-1]
    return _is_gff(head) and (re.match(r"\s*[^\s=\";]+=", last) is not None or (head.gff_version_3 and '"' not in last))


def _is_bed(head: Head) -> bool:
    return len(head.fields) >= 3 and _are_positions(head.fields[1:3])


def _is_table(head: Head) -> bool:
    if _is_bed(head):
        return "\t" in head.comment and is_gene_header(head.comment.split("\t"))
    return is_gene_header(re.split('[\t,;]|" "', head.line))


def _is_gene_pred(head: Head) -> bool:
    for line in (head.comment, head.line):
        if {"txstart", "cdsstart", "exonstarts"} <= {name.strip().lower() for name in line.split("\t")}:
            return True
    # without a header: name, chrom, strand, start and end, those of the coding part, exons, their starts and ends
    for fields in (head.fields, head.fields[1:]):
        if len(fields) >= 10 and fields[2] in ("+", "-") and _are_positions(fields[3:8]) and fields[8].endswith(","):
            return True
    return False


def _are_positions(fields: list[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", field) for field in fields)


FORMATS = (
    Format(
        "genePred",
        _is_gene_pred,
        "#bin\tname\tchrom\tstrand\ttxStart\ttxEnd\tcdsStart\tcdsEnd\texonCount\texonStarts\texonEnds\tscore\tname2\n"
        "585\tNM_1\tchr1\t+\t100\t900\t150\t800\t2\t100,700,\t300,900,\t0\tA\n",
        instead="a genePred table of UCSC, with a row for each transcript: give the GTF of the same track, or make "
        "one by UCSC's genePredToGtf",
    ),
    Format(
        "GFF3",
        _is_gff3,
        "##gff-version 3\nchr1\tX\tgene\t101\t900\t.\t+\t.\tID=gene:A;Name=a\n",
        lambda path, **kwargs: read_gff(path, gff3=True, **kwargs),
        takes=("tss_source", "gene_id"),
        repeats=True,
    ),
    Format(
        "GTF",
        _is_gff,
        'chr1\tX\tgene\t101\t900\t.\t+\t.\tgene_id "A"; gene_name "a";\n',
        lambda path, **kwargs: read_gff(path, gff3=False, **kwargs),
        takes=("tss_source", "gene_id"),
        repeats=True,
    ),
    Format(
        "table",
        _is_table,
        "gene_id\tchrom\tstart\tend\tstrand\nA\tchr1\t100\t900\t+\n",
        read_gene_table,
        takes=("tss_column", "gene_id"),
    ),
    Format("BED", _is_bed, "chr1\t100\t900\tA\t0\t+\n", read_bed),
)
"""Formats of annotations, in the order in which they are tried."""


def read_genes(
    path: str | Path,
    *,
    biotypes: Sequence[str] | None = ("protein_coding",),
    tss_source: Literal["gene", "canonical", "longest"] = "gene",
    tss_column: str | Sequence[str] | None = None,
    gene_id: str | None = None,
    keep_scaffolds: bool = False,
) -> pd.DataFrame:
    r"""Read genes and their transcription start sites.

    The kind of file is seen from its content, plain or gzip: GTF and GFF3 (GENCODE, Ensembl, RefSeq, UCSC, FlyBase,
    WormBase, SGD, StringTie, gffread, BRAKER and others), BED with at least six columns (the name is the gene id), or a
    table with a header (gene_id, chrom, strand, and tss or start and end; other columns are kept as they are, with
    ``_`` for a slash in their name). Positions of BED and tables are 0-based half-open; the 1-based closed ones of GTF
    and GFF3 are converted. The TSS is the first base of the gene on its strand: start on +, end - 1 on -. Genes of a
    GTF or GFF3 that have no gene record are made from their transcripts, exons or CDS.

    Left out, and counted in the log: genes of other biotypes (and GFF lines of pseudogenes, transposable elements and
    other special genes, unless `biotypes` names them), genes on scaffolds, patches and alternative loci, the copies on
    chrY of pseudo-autosomal genes, genes without a strand or a chromosome, and of a GTF or GFF3 also genes that are
    trans-spliced or lie on several chromosomes, and the further copies of a gene on its chromosome. Where that is more
    than a third of the genes the log is a warning.

    Parameters
    ----------
    path
        The file.
    biotypes
        Biotypes to keep; ``None`` keeps all. A file that knows no biotypes keeps all of its genes.
    tss_source
        For GTF and GFF3, whose start is taken: ``"gene"``, that of the gene record; ``"canonical"``, that of
        the transcript tagged MANE_Select, else Ensembl_canonical, RefSeq_Select, appris_principal_1 (the
        longest of several); ``"longest"``, that of the transcript with the most exonic bases. Genes without
        such a transcript keep the start of the gene record.
    tss_column
        For tables, columns with a 0-based TSS: of each gene the first that is not missing, else ``tss``, else
        start or end by strand.
    gene_id
        For GTF, GFF3 and tables, the attribute or column to take as the id, such as ``"gene_name"`` or
        ``"locus_tag"``; genes without it keep their own id.
    keep_scaffolds
        Keep genes outside of the chromosomes as well.

    Returns
    -------
    A row per gene in the order of the file. The index ``gene_id`` has no Ensembl version; columns are chrom,
    tss (int64), strand, start and end (int64, where the file knows them), gene_name and gene_type (likewise),
    gene_id_version (the id with its version) and the other columns of a table. ``attrs["start_codons"]``: gene id ->
    0-based first base of a start codon, as far as a GTF says so, by which :func:`build_mudata` checks the FASTA.
    ``attrs["every_id"]``: the ids of the file before genes are left out, by which it tells expression of other genes
    from that of another annotation.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind, when columns or attributes are missing or positions are
        no positions, when most genes have no strand or chromosome, when the same id occurs twice in a BED or a table,
        or when no gene is left.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import genexp_scverse as gx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.bed"
    ...     _ = path.write_text("chr1\t100\t900\tg1\t0\t+\nchr1\t2000\t2500\tg2\t0\t-\n")
    ...     genes = gx.io.read_genes(path)
    >>> genes["tss"].to_dict()
    {'g1': 100, 'g2': 2499}
    """
    if tss_source not in ("gene", "canonical", "longest"):
        msg = f"tss_source={tss_source!r} is not known: give 'gene', 'canonical' or 'longest'"
        raise InputError(msg)
    form = _format(path)
    given = {"tss_source": tss_source, "tss_column": tss_column, "gene_id": gene_id}
    for name, unset, use in (
        ("tss_source", "gene", "needs transcripts, but {} is a {}: give a GTF or GFF3"),
        ("tss_column", None, f"is for tables, but {{}} is a {{}}: use {option('tss_source')}"),
        ("gene_id", None, "is for attributes and columns, but {} is a {}: its fourth column is the id"),
    ):
        if given[name] != unset and name not in form.takes:
            msg = f"{option(name, given[name])} {use.format(path, form.name)}"
            raise InputError(msg)
    assert form.read is not None
    table = form.read(path, **{name: given[name] for name in form.takes})
    if form.name == "table":
        table = _storable_names(table, str(path))
    biotypes = [biotypes] if isinstance(biotypes, str) else biotypes
    return _finish(table, str(path), form, biotypes, tss_source, keep_scaffolds=keep_scaffolds)


def _format(path: str | Path) -> Format:
    """Tell the format of a file by its first record, and refuse what is known and not read."""
    comment, version_3 = "", False
    with open_text(path, what=_WHAT) as handle:
        for raw in handle:
            line = raw.decode("utf-8").rstrip("\n")
            if line.startswith("#"):
                comment = line.lstrip("#")
                version_3 |= line.startswith("##gff-version") and line.split()[1:2] == ["3"]
            elif line.strip() and not line.startswith(("track ", "browser ")) and not SEPARATOR_LINE.fullmatch(line):
                break
        else:
            line = comment
    form = next((form for form in FORMATS if form.is_like(Head(line, comment, version_3))), None)
    if form is None:
        msg = f"{path} is not {_WHAT} (gene_id, chrom, tss, strand): its first line is {first_line(line)}"
        if "\t" not in line and len(line.split()) > 3:
            msg += ", which has no tab: give columns divided by tabs"
        raise InputError(msg)
    if form.read is None:
        msg = f"{path} is {form.instead}"
        raise InputError(msg)
    return form


def _storable_names(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Put ``_`` for a slash in names of columns, which no file of a MuData keeps, and refuse others of that kind."""
    renamed = {name: re.sub(r"[/\\]", "_", name) for name in table if "/" in name or "\\" in name}
    taken = [name for name, new in renamed.items() if [*table, *renamed.values()].count(new) > 1]
    if taken:
        msg = f"column {some(taken)} of {path} holds a slash, and with '_' for it the name is there twice: rename it"
        raise InputError(msg)
    for name in table:
        if name not in renamed and (why := unstorable(name)):
            msg = f"the name {name!r} of a column of {path} {why}, which no file of a MuData can keep: rename it"
            raise InputError(msg)
    if renamed:
        logger.info("%s: columns renamed: %s", path, ", ".join(f"{old} to {new}" for old, new in renamed.items()))
    return table.rename(columns=renamed)


def _finish(
    table: pd.DataFrame,
    path: str,
    form: Format,
    biotypes: Sequence[str] | None,
    tss_source: str,
    *,
    keep_scaffolds: bool,
) -> pd.DataFrame:
    """Leave out what is not wanted, check the rest and set the TSS."""
    if (table["gene_id_version"] == "").any():
        msg = f"{int((table['gene_id_version'] == '').sum())} genes of {path} have no id: give them one"
        raise InputError(msg)
    check_names(table["gene_id_version"], "gene id", path)
    table.index = pd.Index(strip_versions(table["gene_id_version"]), name="gene_id")
    every = IdSet(table.index)
    table = _wanted(table, path, form, biotypes, keep_scaffolds=keep_scaffolds)
    if not form.repeats:
        _check_unique(table, path, keep_scaffolds=keep_scaffolds)
    _check_places(table, path)
    if "start" in table and "end" in table:
        by_strand = np.where(table["strand"] == "-", table["end"] - 1, table["start"])
        table["tss"] = table["tss"].where(table["tss"].notna(), by_strand)
    missing = table.index[table["tss"].isna()]
    if len(missing):
        msg = f"{len(missing)} genes of {path} have no TSS ({some(missing)}): give tss, or start and end"
        raise InputError(msg)
    if (table["tss"] < 0).any():
        before = table.index[table["tss"] < 0]
        msg = f"{len(before)} genes of {path} have a negative TSS ({some(before)}): positions start at 0"
        raise InputError(msg)
    counts = table["tss_from"].value_counts()
    if tss_source == "canonical" and f"the {tss_source} transcript" not in counts:
        msg = (
            f"no transcript of {path} is tagged MANE_Select, Ensembl_canonical or appris_principal_1: use "
            f"{option('tss_source', 'gene')} or {option('tss_source', 'longest')}"
        )
        raise InputError(msg)
    logger.info("%s: TSS from %s", path, ", ".join(f"{name} ({n} genes)" for name, n in counts.items()))
    table["tss"] = table["tss"].astype("int64")
    for name in ("start", "end"):
        if name in table and table[name].notna().all():
            table[name] = table[name].astype("int64")
    codons = table.attrs.pop("start_codons", {})
    table.attrs.pop("typed", None)
    keys = table["key"] if "key" in table else table["gene_id_version"]
    starts = {gene: codons[key] for gene, key in zip(table.index, keys, strict=True) if key in codons}
    if "entrez" in table and (table["entrez"] != "").any():
        table["entrez_id"] = table["entrez"]
    table = _ordered(table)
    table.attrs["every_id"] = every
    table.attrs["start_codons"] = starts
    return table


class _Selection:
    """The genes that are kept, and how many are left out for which reason."""

    def __init__(self, table: pd.DataFrame, path: str):
        self.table, self.path = table, path
        self.keep = np.ones(len(table), bool)
        self.reasons: list[str] = []
        self.many: list[str] = []

    def among(self, mask) -> np.ndarray:
        """Those of a mask that are still kept."""
        return np.asarray(mask, bool) & self.keep

    def leave_out(self, mask, text: str, *, names: Sequence[str] | None = None, hint: str = "") -> None:
        """Leave out what a mask marks; where that is much, say so aloud."""
        mask = self.among(mask)
        if not mask.any():
            return
        shown = some(pd.unique(self.table.index[mask]) if names is None else names)
        reason = f"{int(mask.sum())} {text} ({shown})"
        self.reasons.append(reason)
        if mask.sum() > _MOST * len(self.table):
            self.many.append(reason + hint)
        self.keep &= ~mask

    def require(self, mask, what: str, fix: str, *, found: str = "") -> None:
        """Raise where most of the genes are of no use for one reason: the file is at fault, and not a gene."""
        mask = self.among(mask)
        if 2 * mask.sum() > self.keep.sum():
            shown = some(pd.unique(self.table.index[mask]))
            msg = f"{int(mask.sum())} genes of {self.path} {what} ({shown}{found}): {fix}"
            raise InputError(msg)


def _wanted(
    table: pd.DataFrame, path: str, form: Format, biotypes: Sequence[str] | None, *, keep_scaffolds: bool
) -> pd.DataFrame:
    """Take the genes to keep, and say how many are left out, and why."""
    chosen = _Selection(table, path)
    scaffolds = [] if keep_scaffolds else [chrom for chrom in table["chrom"].unique() if is_scaffold(chrom)]
    chosen.leave_out(
        table["chrom"].isin(scaffolds),
        "on scaffolds or alternative loci",
        names=scaffolds,
        hint=f"; {option('keep_scaffolds', True)} keeps them",
    )
    chosen.leave_out(_par_copies(table), "copies on chrY of pseudo-autosomal genes")
    if biotypes is not None:
        _leave_out_biotypes(chosen, biotypes)
    _leave_out_unusable(chosen)
    if form.repeats:
        _leave_out_repeats(chosen)
    if not chosen.keep.any():
        reasons = "; ".join(chosen.reasons) or "the file has no rows"
        hint = f"; see {option('keep_scaffolds', True)}" if scaffolds else ""
        msg = f"no gene of {path} is left of {len(table)}: {reasons}{hint}"
        raise InputError(msg)
    left_out = f"; left out: {'; '.join(chosen.reasons)}" if chosen.reasons else ""
    logger.info("%s: kept %d of %d genes%s", path, int(chosen.keep.sum()), len(table), left_out)
    for reason in chosen.many:
        logger.warning("%s: of %d genes many are left out: %s", path, len(table), reason)
    return table[chosen.keep].copy()


def _leave_out_biotypes(chosen: _Selection, biotypes: Sequence[str]) -> None:
    table, path = chosen.table, chosen.path
    kinds = table["gene_type"] if "gene_type" in table else pd.Series("", index=table.index)
    other = ~kinds.isin(biotypes)
    if not table.attrs.get("typed", (kinds != "").any()):
        # a GFF without biotypes still names pseudogenes and transposable elements by their feature
        logger.info("%s knows no biotypes: genes of all kinds are kept", path)
        other &= kinds != ""
    mask = chosen.among(other)
    if chosen.keep.any() and mask.sum() == chosen.keep.sum():
        msg = (
            f"no gene of {path} has the biotype {some(biotypes)}: it has {_biotypes(kinds[chosen.keep], 10)}; "
            f"choose with {option('biotypes')}"
        )
        raise InputError(msg)
    if mask.any():
        unknown = table.index[mask & (kinds == "").to_numpy()]
        named = f": {some(unknown)}" if len(unknown) else ""
        chosen.reasons.append(f"{int(mask.sum())} of other biotypes ({_biotypes(kinds[mask])}{named})")
    chosen.keep &= ~mask


def _leave_out_unusable(chosen: _Selection) -> None:
    table = chosen.table
    nowhere = table["chrom"] == ""
    chosen.require(nowhere, "have no chromosome", "give it, or remove them")
    chosen.leave_out(nowhere, "without a chromosome")
    no_strand = ~table["strand"].isin(["+", "-"])
    found = some(sorted(set(table["strand"][chosen.among(no_strand)])))
    chosen.require(no_strand, "have no strand", "give + or -, or remove them", found=f"; found {found}")
    chosen.leave_out(no_strand, "without a strand")
    problems = table["problem"] if "problem" in table else pd.Series("", index=table.index)
    for problem in sorted(set(problems) - {""}):
        chosen.leave_out(problems == problem, problem)


def _leave_out_repeats(chosen: _Selection) -> None:
    """Of copies on one chromosome keep the first of the file; a gene on several chromosomes has no place."""
    kept = chosen.table[chosen.keep]
    n_chroms = kept["chrom"].groupby(level=0).nunique()
    chosen.leave_out(chosen.table.index.isin(n_chroms.index[n_chroms > 1]), "on several chromosomes")
    again = np.zeros(len(chosen.keep), bool)
    again[chosen.keep] = chosen.table.index[chosen.keep].duplicated()
    chosen.leave_out(again, "further copies of a gene on its chromosome, of which the first is kept")


def _biotypes(kinds: pd.Series, n: int = 3) -> str:
    counts = kinds.replace("", "none given").value_counts()
    more = f", ... ({len(counts)} in all)" if len(counts) > n else ""
    return ", ".join(f"{name} {count}" for name, count in counts.iloc[:n].items()) + more


def _par_copies(table: pd.DataFrame) -> pd.Series:
    """Mark copies on chrY by their id, or because the same gene is on chrX as well."""
    marked = is_par_copy(table["gene_id_version"])
    chrom = table["chrom"].map({name: same_chrom(name) for name in table["chrom"].unique()})
    identity = pd.Series(table.index, index=table.index)
    if "entrez" in table:
        # RefSeq gives the copy another id (gene-CRLF2-2) but the same number
        identity = identity.where(table["entrez"] == "", "GeneID:" + table["entrez"])
    on_x = set(identity[chrom == "X"])
    return marked | ((chrom == "Y") & identity.isin(on_x))


def _check_unique(table: pd.DataFrame, path: str, *, keep_scaffolds: bool) -> None:
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        more = f", or leave out {option('keep_scaffolds', True)}" if keep_scaffolds else ""
        msg = f"{len(twice)} gene ids of {path} occur more than once ({some(twice)}): keep one of each{more}"
        raise InputError(msg)


def _check_places(table: pd.DataFrame, path: str) -> None:
    there = [name for name in ("tss", "start", "end") if name in table]
    far = (table[there] >= FURTHEST).any(axis=1)
    if far.any():
        gene = table[far].iloc[0]
        values = ", ".join(f"{name} {gene[name]:.0f}" for name in there if not np.isnan(gene[name]))
        msg = (
            f"{int(far.sum())} genes of {path} lie where no chromosome reaches ({some(table.index[far])}; the first "
            f"has {values}): give positions in bases"
        )
        raise InputError(msg)
    if "start" not in table or "end" not in table:
        return
    for wrong, problem in (
        (table["start"] < 0, "start before the chromosome does"),
        (table["start"] >= table["end"], "have a start that is not before their end"),
    ):
        if wrong.any():
            gene = table[wrong].iloc[0]
            msg = (
                f"{int(wrong.sum())} genes of {path} {problem} ({some(table.index[wrong])}; the first has "
                f"[{gene['start']:.0f}, {gene['end']:.0f}), 0-based half-open): mend or remove them"
            )
            raise InputError(msg)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in _FIRST if name in table]
    extra = [name for name in table.columns if name not in (*columns, *_OWN)]
    return table[[*columns, *extra]]
