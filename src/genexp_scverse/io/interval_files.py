"""Elements to the files that a genome browser opens: BED and BEDPE."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._output import written
from genexp_scverse.io.written_numbers import to_numbers


def write_bed(table: pd.DataFrame, path: str | Path, *, chrom_sizes: Mapping[str, int] | None = None) -> None:
    r"""Write intervals as BED that IGV and UCSC open as it is.

    The file is of the type bedDetail of UCSC: a ``track`` line, then nine columns of BED and two more, tab-separated:
    chrom, start, end (0-based half-open), name, score (a whole number from 0 to 1000), strand, thickStart, thickEnd,
    itemRgb, then the score as it is, and the gene. Programs that read BED alone take the first columns; other columns
    in the place of thickStart would stop IGV. Lines are sorted by chromosome (in the order of bytes) and start.

    Scores between 0 and 1 are multiplied by 1000; where one is larger, all are divided by the largest first. Scores
    below 0 and missing ones are 0. Format: https://genome.ucsc.edu/FAQ/FAQformat.html.

    Parameters
    ----------
    table
        Intervals with chrom, start and end, and as far as known name, score, strand and gene_id, such as
        :func:`genexp_scverse.tl.call_elements` and :func:`genexp_scverse.tl.union_elements` return.
    path
        File to write, compressed by gzip where its name ends in ``.gz``; an older one is replaced when the new one
        is complete.
    chrom_sizes
        Chromosome -> length in bases, to check the intervals against.

    Raises
    ------
    InputError
        When a column is missing, an interval is empty or lies outside of its chromosome, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> table = pd.DataFrame({"chrom": "chr1", "start": [900, 100], "end": [950, 200], "score": [0.25, 0.731]})
    >>> path = Path(tempfile.mkdtemp()) / "elements.bed"
    >>> write_bed(table, path)
    >>> print(path.read_text().replace("\t", " "))
    track type=bedDetail name="elements" useScore=1
    chr1 100 200 chr1:100-200 731 . 100 200 0 0.731 .
    chr1 900 950 chr1:900-950 250 . 900 950 0 0.25 .
    """
    table = _checked(table, "table of intervals", chrom_sizes)
    score = _scores(table)
    name = Path(path).name.removesuffix(".gz").removesuffix(".bed")
    out = pd.DataFrame(
        {
            "chrom": table["chrom"],
            "start": table["start"],
            "end": table["end"],
            "name": _names(table),
            "score": _thousandths(score),
            "strand": _text(table, "strand"),
            "thick_start": table["start"],
            "thick_end": table["end"],
            "rgb": 0,
            "value": [f"{v:.6g}" if not np.isnan(v) else "." for v in score],
            "gene_id": _text(table, "gene_id"),
        }
    )
    _write(out, Path(path), f'track type=bedDetail name="{_plain(name)}" useScore=1\n')


def write_bedpe(table: pd.DataFrame, path: str | Path) -> None:
    r"""Write elements and the TSS of their genes as BEDPE, which IGV draws as arcs.

    Columns: chrom, start and end of the element, chrom, start and end of the TSS (one base; all 0-based half-open),
    name, score as it is, strands (``.``), gene_id and distance, sorted by chromosome and start. Format:
    https://bedtools.readthedocs.io/en/latest/content/general-usage.html.

    Parameters
    ----------
    table
        What :func:`genexp_scverse.tl.call_elements` returned: chrom, start, end and gene_tss are needed.
    path
        As for :func:`write_bed`.

    Raises
    ------
    InputError
        When a column is missing, an interval is empty, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> table = pd.DataFrame({"chrom": ["chr1"], "start": [100], "end": [200], "name": ["a_1"], "score": [0.9],
    ...                       "gene_id": ["a"], "distance": [-801], "gene_tss": [1000]})
    >>> path = Path(tempfile.mkdtemp()) / "elements.bedpe"
    >>> write_bedpe(table, path)
    >>> print(path.read_text().splitlines()[1].replace("\t", " "))
    chr1 100 200 chr1 1000 1001 a_1 0.9 . . a -801
    """
    if "gene_tss" not in table:
        msg = "the table of elements lacks the column 'gene_tss', the other end of its arcs: see gx.tl.call_elements"
        raise InputError(msg)
    table = _checked(table, "table of elements", None)
    score = _scores(table)
    out = pd.DataFrame(
        {
            "#chrom1": table["chrom"],
            "start1": table["start"],
            "end1": table["end"],
            "chrom2": table["chrom"],
            "start2": table["gene_tss"].astype(np.int64),
            "end2": table["gene_tss"].astype(np.int64) + 1,
            "name": _names(table),
            "score": [f"{v:.6g}" if not np.isnan(v) else "." for v in score],
            "strand1": ".",
            "strand2": ".",
            "gene_id": _text(table, "gene_id"),
            "distance": _text(table, "distance"),
        }
    )
    _write(out, Path(path), "\t".join(out.columns) + "\n")


def _checked(table: pd.DataFrame, what: str, sizes: Mapping[str, int] | None) -> pd.DataFrame:
    """Sorted, with whole numbers as positions."""
    if missing := [c for c in ("chrom", "start", "end") if c not in table]:
        msg = f"the {what} lacks the column {some(missing)}: it has {some(table.columns, 8)}"
        raise InputError(msg)
    table = table.assign(chrom=table["chrom"].astype(str))
    for column in ("start", "end"):
        table[column] = table[column].astype(np.int64)
    table = table.sort_values(["chrom", "start", "end"], kind="stable", ignore_index=True)
    empty = table["end"] <= table["start"]
    _refuse(table, empty, "are empty (end is not after start)", "leave them out")
    _refuse(table, table["start"] < 0, "begin before the chromosome", "cut them at 0")
    if sizes is not None:
        unknown = sorted(set(table["chrom"]) - set(sizes))
        if unknown:
            msg = f"chrom_sizes has no chromosome {some(unknown)} of the {what}: it has {some(sizes)}"
            raise InputError(msg)
        beyond = table["end"] > table["chrom"].map(dict(sizes))
        _refuse(table, beyond, "end beyond their chromosome", "take the sizes of the same assembly")
    return table


def _refuse(table: pd.DataFrame, wrong: pd.Series, how: str, mend: str) -> None:
    if wrong.any():
        first = table[wrong].iloc[0]
        where = f"{first['chrom']}:{first['start']}-{first['end']}"
        msg = f"{int(wrong.sum())} of {len(table)} intervals {how}, the first {where}: {mend}"
        raise InputError(msg)


def _scores(table: pd.DataFrame) -> np.ndarray:
    if "score" not in table:
        return np.full(len(table), np.nan)
    return to_numbers(table["score"]).to_numpy(np.float64)


def _thousandths(score: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(score, nan=0.0)
    top = max(1.0, float(known.max(initial=0.0)))
    return np.rint(1000 * np.clip(known / top, 0, 1)).astype(np.int64)


def _names(table: pd.DataFrame) -> np.ndarray:
    places = [f"{c}:{s}-{e}" for c, s, e in zip(table["chrom"], table["start"], table["end"], strict=True)]
    given = _text(table, "name")
    return np.where(given == ".", np.array(places, dtype=object), given)


def _text(table: pd.DataFrame, column: str) -> np.ndarray:
    """Text of a column, a dot where there is none."""
    if column not in table:
        return np.full(len(table), ".", dtype=object)
    known = table[column].notna().to_numpy(bool)
    text = np.array([_plain(str(v)) or "." for v in table[column]], dtype=object)
    return np.where(known, text, ".")


def _plain(text: str) -> str:
    """Without what would end a field or a line."""
    return " ".join(text.replace('"', "'").split())


def _write(out: pd.DataFrame, path: Path, head: str) -> None:
    if path.is_dir():
        msg = f"{path} is a folder: give the name of a file"
        raise InputError(msg)
    text = head + out.to_csv(sep="\t", header=False, index=False, lineterminator="\n")
    with written(path) as made:
        if path.suffix == ".gz":
            # no name and no time, so that the same table gives the same bytes
            with made.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped:
                zipped.write(text.encode())
        else:
            made.write_text(text, newline="\n")
