"""Loops in BEDPE, with or without a header, as HiCCUPS and others write them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.plain_text import first_line, open_text
from genexp_scverse.io.written_numbers import to_numbers

_WHAT = "a .cool, .mcool or .hic matrix, or loops in BEDPE"
_COUNTS = ("count", "counts", "observed", "o")
_SCORE = 7
"""Column of the score, counted from 0, of BEDPE without a header."""


def read_loops(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    r"""Read loops within chromosomes.

    Six columns are needed: chromosome, start and end of both anchors. Lines that start with ``#``, ``track`` or
    ``browser`` are comments; a header is the line before the first loop, with or without ``#``.

    Parameters
    ----------
    path
        The file, plain or gzip, 0-based half-open.

    Returns
    -------
    Table with a row per loop (chrom, start1, end1, start2, end2, count, NaN where it is no number; the first anchor
    is the one that starts first), and the chromosomes in the order of the file.

    Raises
    ------
    InputError
        When a line has too few columns, or positions that are no whole numbers or run backwards, or when no loop
        lies within a chromosome.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "loops.txt"
    ...     _ = path.write_text("chr1\tx1\tx2\tchr2\ty1\ty2\tcolor\to\n1\t50\t60\t1\t10\t20\t0,0,0\t4\n")
    ...     read_loops(path)[0].values.tolist()
    [['1', 10, 20, 50, 60, 4.0]]
    """
    header: list[str] = []
    rows: list[tuple[str, int, int, int, int]] = []
    rest: list[list[str]] = []
    between = unplaced = 0
    with open_text(path, what=_WHAT) as handle:
        for number, raw in enumerate(handle, 1):
            line = raw.decode("utf-8").rstrip("\r\n")
            if not line.strip() or line.startswith(("track", "browser")):
                continue
            fields = line.lstrip("#").split("\t")
            named = len(fields) >= 6 and not _is_position(fields[1])
            if line.startswith("#") or (named and not rows and not between and not unplaced):
                header = fields if named else header
                continue
            if len(fields) < 6:
                msg = (
                    f"line {number} of {path} has {len(fields)} tab-separated columns ({first_line(raw)}): loops in "
                    f"BEDPE need 6; give {_WHAT}"
                )
                raise InputError(msg)
            if "." in (fields[0], fields[3]) or "-1" in (fields[1], fields[4]):
                unplaced += 1
            elif fields[0] != fields[3]:
                between += 1
            else:
                first, second = sorted((_anchor(fields[1:3], number, path), _anchor(fields[4:6], number, path)))
                rows.append((fields[0], *first, *second))
                rest.append(fields[6:])
    for n, why in ((between, "join two chromosomes"), (unplaced, "lack an anchor")):
        if n:
            logger.info("%d of %d loops of %s %s and are left out", n, len(rows) + between + unplaced, path, why)
    if not rows:
        msg = f"{path} has no loop within a chromosome: give {_WHAT}"
        raise InputError(msg)
    table = pd.DataFrame(rows, columns=["chrom", "start1", "end1", "start2", "end2"])
    table["count"] = _counts(header, rest, path)
    return table, list(dict.fromkeys(table["chrom"]))


def _is_position(field: str) -> bool:
    return field.strip().lstrip("-").isdigit()


def _anchor(fields: list[str], number: int, path: str | Path) -> tuple[int, int]:
    try:
        start, end = (int(value) for value in fields)
    except ValueError as error:
        msg = f"line {number} of {path} has the positions {some(fields)}: they must be whole numbers"
        raise InputError(msg) from error
    if not 0 <= start < end:
        msg = f"line {number} of {path} has an anchor from {start} to {end}: a start is 0 or more and below its end"
        raise InputError(msg)
    return start, end


def _counts(header: list[str], rest: list[list[str]], path: str | Path) -> pd.Series:
    """Take the column of counts as float32; 1 where there is none."""
    names = [name.strip().lower() for name in header]
    at = next((names.index(name) for name in _COUNTS if name in names), None)
    source = None if at is None else header[at]
    if at is None:
        at = names.index("score") if "score" in names else _SCORE
        source = "score"
    given = pd.Series([fields[at - 6] if 6 <= at < len(fields) + 6 else "" for fields in rest])
    count = to_numbers(given)
    if source == "score" and not (count > 0).any():
        logger.info("%s has no count of its loops: all count 1", path)
        return pd.Series(1.0, index=count.index, dtype="float32")
    logger.info("%s: the count of a loop is its %r", path, source)
    return count.astype("float32")
