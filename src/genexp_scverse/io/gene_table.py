"""Genes of BED6 files and of tables with a header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, no_such, some
from genexp_scverse._logging import logger
from genexp_scverse.io.gene_columns import is_row_numbers, without_row_numbers
from genexp_scverse.io.plain_text import first_line, is_position, open_text
from genexp_scverse.io.tables import read_table, table_layout
from genexp_scverse.io.written_numbers import to_numbers

GENE_ID = (
    "gene_id", "ensembl_id", "ensembl_gene_id", "geneid", "gene stable id", "gene stable id version", "gene", "name",
)  # fmt: skip
_ALIASES = {
    "gene_id": GENE_ID,
    "chrom": ("chrom", "chr", "chromosome", "seqname", "seqnames", "chromosome/scaffold name", "chromosome_name"),
    "start": ("start", "chromstart", "gene_start", "txstart", "gene start (bp)", "start_position"),
    "end": ("end", "stop", "chromend", "gene_end", "txend", "gene end (bp)", "end_position"),
    "strand": ("strand",),
    "tss": ("tss", "transcription start site (tss)", "transcription_start_site"),
    "gene_name": ("gene_name", "symbol", "gene_symbol", "genename", "gene name", "external_gene_name", "hgnc_symbol"),
    "gene_type": ("gene_type", "biotype", "gene_biotype", "gene type"),
}
_FROM_1 = {
    "SAF": ("GeneID", "Chr", "Start", "End", "Strand"),
    "featureCounts": ("Geneid", "Chr", "Start", "End", "Strand"),
    "ranges of R": ("seqnames", "start", "end", "width"),
    "BioMart": ("Chromosome/scaffold name", "Gene start (bp)"),
    "BioMart (TSS)": ("Chromosome/scaffold name", "Transcription start site (TSS)"),
    "biomaRt": ("chromosome_name", "start_position"),
    "biomaRt (TSS)": ("chromosome_name", "transcription_start_site"),
}
"""Formats whose positions count from 1 and are closed, by names of columns that they have; none has a column tss."""
_UNNAMED = ("", "Unnamed: 0")
_TEXT = ("gene_id", "chrom", "strand", "gene_name", "gene_type")
_STRANDS = {"1": "+", "+1": "+", "-1": "-"}
# whole numbers with gaps are floats
_ANY_STRAND = {**_STRANDS, "1.0": "+", "-1.0": "-", "+": "+", "-": "-"}


def is_gene_header(names: Sequence[str]) -> bool:
    """Tell whether names of columns are those of a table of genes.

    Parameters
    ----------
    names
        Names of columns.

    Returns
    -------
    True when there is a column of gene ids, of chromosomes or of strands among them.

    Examples
    --------
    >>> is_gene_header(["gene_id", "tss"]), is_gene_header([">chr1"])
    (True, False)
    """
    known = {*GENE_ID, *_ALIASES["chrom"], "strand"}
    return any(name.strip().strip('"').lower() in known for name in names)


def plain_strand(strand: pd.Series) -> pd.Series:
    """Write strands as ``+`` and ``-``, also where they are 1 and -1; gaps stay.

    Parameters
    ----------
    strand
        Strand of each gene.

    Returns
    -------
    The same Series where nothing is to be changed.

    Raises
    ------
    InputError
        When there are other values.

    Examples
    --------
    >>> import pandas as pd
    >>> plain_strand(pd.Series([1, -1, -1])).tolist()
    ['+', '-', '-']
    """
    given = strand.astype(object)
    known = given[given.notna()].map(lambda value: str(value).strip())
    wrong = ~known.isin(list(_ANY_STRAND))
    if wrong.any():
        msg = (
            f"{int(wrong.sum())} genes of obs have another strand than + and - ({some(known[wrong].unique())}; "
            f"gene {some(known.index[wrong])}): give + or -, or leave it empty"
        )
        raise InputError(msg)
    if given[given.notna()].isin(["+", "-"]).all():
        return strand
    return given.mask(given.notna(), known.map(_ANY_STRAND).reindex(given.index))


def read_bed(path: str | Path) -> pd.DataFrame:
    r"""Read genes of a BED file with at least six columns; the fourth is the gene id.

    Parameters
    ----------
    path
        The file, plain or gzip.

    Returns
    -------
    A row per line: gene_id_version, chrom, start and end (0-based half-open), strand, tss (missing: taken
    from start and end) and tss_from.

    Raises
    ------
    InputError
        When a line has fewer than six columns or positions that are no whole numbers.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.bed"
    ...     _ = path.write_text("chr1\t10\t20\tg1\t0\t-\n")
    ...     read_bed(path)[["gene_id_version", "start", "end", "strand"]].values.tolist()
    [['g1', 10, 20, '-']]
    """
    rows = []
    with open_text(path, what="a BED6 file") as handle:
        for number, raw in enumerate(handle, 1):
            if raw.startswith((b"#", b"track", b"browser")) or not raw.strip():
                continue
            fields = raw.decode("utf-8").rstrip("\r\n").split("\t")
            if len(fields) < 6:
                msg = (
                    f"line {number} of {path} has {len(fields)} tab-separated columns ({first_line(raw)}): "
                    "BED of genes needs 6 (chrom, start, end, gene id, score, strand)"
                )
                raise InputError(msg)
            if not (is_position(fields[1]) and is_position(fields[2])):
                msg = (
                    f"line {number} of {path} has start {first_line(fields[1])} and end {first_line(fields[2])}: they "
                    "must be whole numbers"
                )
                raise InputError(msg)
            rows.append((fields[3], fields[0], int(fields[1]), int(fields[2]), fields[5]))
    table = pd.DataFrame(rows, columns=["gene_id_version", "chrom", "start", "end", "strand"])
    return table.assign(tss=np.nan, tss_from="start and end by strand")


def read_gene_table(
    path: str | Path, *, tss_column: str | Sequence[str] | None, gene_id: str | None = None
) -> pd.DataFrame:
    r"""Read a table of genes with a header; the 1-based positions of BioMart, SAF and the ranges of R are converted.

    Parameters
    ----------
    path
        The file, plain or gzip, delimited by tabs or commas.
    tss_column
        Columns with the 0-based TSS; of each gene the first that is not missing is taken, then ``tss``, then
        start and end by strand.
    gene_id
        Column to take as the id of the genes; those without it keep their own.

    Returns
    -------
    A row per line: gene_id_version, chrom, strand, start and end where the file has them, tss, tss_from, and
    all other columns as they are.

    Raises
    ------
    InputError
        When columns are missing or hold something else than positions.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.tsv"
    ...     _ = path.write_text("gene_id,chrom,tss,strand,cage\ng1,chr1,5,+,\ng2,chr1,9,-,8\n")
    ...     read_gene_table(path, tss_column="cage")["tss"].tolist()
    [5.0, 8.0]
    """
    layout = table_layout(path, what="a table of genes")
    columns = _known_columns(layout.names)
    wanted = [tss_column] if isinstance(tss_column, str) else list(tss_column or ())
    _check_columns(path, layout.names, columns, wanted)
    text = [columns[name] for name in _TEXT if name in columns]
    if gene_id is not None:
        if gene_id not in layout.names:
            msg = f"{path}: {no_such('column', gene_id, layout.names)}"
            raise InputError(msg)
        text.append(gene_id)
    table = read_table(path, layout, what="a table of genes", text=text)
    if columns["gene_id"] not in _UNNAMED:
        if layout.names[0] == "" and not is_row_numbers("", table[""]):
            logger.info("%s: names of rows are left out (%s)", path, some(table[""]))
            table = table.drop(columns="")
        table = without_row_numbers(table, str(path))
    elif gene_id is None and is_row_numbers("", table[columns["gene_id"]]):
        msg = f"{path} lacks the column gene_id: it has {some(layout.names, 12)}, and numbers before them; add it"
        raise InputError(msg)
    renamed = {old: new for new, old in columns.items() if old != new}
    if renamed:
        logger.info("%s: columns read as %s", path, ", ".join(f"{new} ({old})" for old, new in renamed.items()))
    asked = None if gene_id is None else table[gene_id].fillna("").str.strip()
    table = table.rename(columns=renamed)
    if "gene_id_version" in table:
        # a table that read_genes made: the id as it was first stands beside the stripped one
        table = table.drop(columns="gene_id")
    else:
        table = table.rename(columns={"gene_id": "gene_id_version"})
    for name in ("chrom", "strand", "gene_id_version"):
        table[name] = table[name].fillna("").str.strip()
    if asked is not None:
        given = asked != ""
        table["gene_id_version"] = asked.where(given, table["gene_id_version"])
        if not given.all():
            logger.info("%d of %d genes of %s lack %r and keep their id", (~given).sum(), len(table), path, gene_id)
    table["strand"] = table["strand"].replace(_STRANDS)
    wanted = [renamed.get(name, name) for name in wanted]
    form = next((form for form, names in _FROM_1.items() if set(names) <= set(layout.names)), None)
    if form is not None:
        logger.info("%s: positions count from 1, as in %s, and are converted", path, form)
    sources = list(dict.fromkeys([*wanted, *(["tss"] if "tss" in columns else [])]))
    for name in dict.fromkeys([*sources, *(n for n in ("start", "end") if n in columns)]):
        positions = _positions(table[name], table["gene_id_version"], path)
        if name in ("start", "end", "tss"):
            one_based = form is not None and name != "end" and columns[name] != "tss"
            table[name] = positions - int(one_based)
    tss = pd.Series(np.nan, index=table.index)
    chosen = pd.Series("start and end by strand", index=table.index)
    for name in sources:
        here = tss.isna() & pd.to_numeric(table[name]).notna()
        tss[here], chosen[here] = pd.to_numeric(table[name])[here], f"column {name}"
    return table.assign(tss=tss, tss_from=chosen)


def _known_columns(names: list[str]) -> dict[str, str]:
    """Map what a column means to its name in the file; of several aliases the first listed."""
    lower = {name.lower(): name for name in reversed(names)}
    found = {}
    for meaning, aliases in _ALIASES.items():
        present = [lower[alias] for alias in aliases if alias in lower]
        if present:
            found[meaning] = meaning if meaning in names else present[0]
    if "gene_id" not in found and names[0] in _UNNAMED:
        found["gene_id"] = names[0]  # the index of a pandas table
    return found


def _check_columns(path, names: list[str], columns: dict[str, str], wanted: list[str]) -> None:
    missing = [name for name in ("gene_id", "chrom", "strand") if name not in columns]
    if not wanted and "tss" not in columns and not {"start", "end"} <= set(columns):
        missing.append("tss (or start and end)")
    if missing:
        msg = f"{path} lacks the columns {', '.join(missing)}: it has {some(names, 12)}; rename or add them"
        raise InputError(msg)
    absent = [name for name in wanted if name not in names]
    if absent:
        msg = f"{path} has no column {some(absent)} for tss_column: it has {some(names, 12)}"
        raise InputError(msg)
    if "tss_from" in names:
        msg = f"{path} has a column 'tss_from', a name that is used for the result: rename it"
        raise InputError(msg)


def _positions(values: pd.Series, ids: pd.Series, path) -> pd.Series:
    numbers = to_numbers(values)
    wrong = (numbers.isna() & values.notna()) | ~np.isfinite(numbers.fillna(0)) | (numbers % 1 > 0)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{int(wrong.sum())} values of column {values.name!r} of {path} are no whole numbers "
            f"({str(values.iloc[at])!r} of gene {ids.iloc[at]!r}): give positions in bases, 0-based, or "
            "leave the field empty"
        )
        raise InputError(msg)
    return numbers
