"""Peaks, blacklists and other intervals of a genome: BED, narrowPeak, broadPeak."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.io.plain_text import first_line, open_text

_WHAT = "a BED, narrowPeak or broadPeak file"
_PEAK = ("signal_value", "p_value", "q_value")
_LONG = 1_000_000
_HEADERS = {"start", "chromstart", "chrom_start"}


def read_intervals(path: str | os.PathLike) -> pd.DataFrame:
    r"""Read intervals from BED, narrowPeak or broadPeak, plain or gzip.

    Three columns are needed: chromosome, start and end, 0-based half-open, delimited by tabs, or by spaces where there
    is no tab. Lines that start with ``#``, ``track`` or ``browser`` are skipped, and so is a header. A narrowPeak is
    known by its name (``.narrowPeak``, ``.narrowPeak.gz``) or by ten columns that are like it, a broadPeak by its name
    alone, since BED with nine columns is something else. Nothing is dropped: an interval longer than a million bases is
    kept, and warned of.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    A row per line in the order of the file: chrom, start and end (int64), name, score (float, NaN where there is none)
    and strand (``+``, ``-`` or ``.``), as far as the file has them; of peaks also signal_value, p_value and q_value (as
    in the file: minus log10, -1 for none), and of narrowPeak ``peak``, the summit counted from the start (-1 for none).
    ``attrs["file"]`` is the name of the file.

    Raises
    ------
    InputError
        When the file is missing, damaged or empty, or a line has too few columns, no whole positions, a start that is
        not below its end, or an unknown strand; with the number of the line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "blacklist.bed"
    ...     _ = path.write_text("track name=blacklist\nchr1\t10\t20\tHigh Signal Region\n")
    ...     read_intervals(path).values.tolist()
    [['chr1', 10, 20, 'High Signal Region']]
    """
    path = Path(path)
    rows: list[list[str]] = []
    numbers: list[int] = []
    header = False
    with open_text(path, what=_WHAT) as handle:
        for number, raw in enumerate(handle, 1):
            line = raw.decode("utf-8").rstrip("\r\n")
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            fields = line.split("\t") if "\t" in line else line.split()
            if not rows and not header and len(fields) > 1 and fields[1].strip().lower() in _HEADERS:
                header = True
                continue
            if len(fields) < 3:
                msg = (
                    f"line {number} of {path} has {len(fields)} columns ({first_line(raw)}): BED needs 3, chromosome, "
                    "start and end"
                )
                raise InputError(msg)
            rows.append(fields)
            numbers.append(number)
    if not rows:
        msg = f"{path} has no interval: give {_WHAT}"
        raise InputError(msg)
    width = min(len(fields) for fields in rows)
    kind = _kind(path, rows[0], width)
    n_columns = {"narrowPeak": 10, "broadPeak": 9}.get(kind, min(width, 6))
    if width < n_columns:
        at = next(i for i, fields in enumerate(rows) if len(fields) == width)
        msg = f"line {numbers[at]} of {path} has {width} columns: {kind} has {n_columns}"
        raise InputError(msg)
    columns = list(zip(*(fields[:n_columns] for fields in rows), strict=True))
    table = pd.DataFrame({"chrom": pd.Series(columns[0], dtype=object)})
    for i, name in ((1, "start"), (2, "end")):
        table[name] = _whole(columns[i], name, numbers, path)
    _check_order(table, numbers, path)
    if n_columns > 3:
        table["name"] = pd.Series([v if v != "." else "" for v in columns[3]], dtype=object)
    if n_columns > 4:
        table["score"] = _numbers(columns[4], "score", numbers, path)
    if n_columns > 5:
        table["strand"] = _strands(columns[5], numbers, path)
    for i, name in enumerate(_PEAK if n_columns > 6 else (), 6):
        table[name] = _numbers(columns[i], name, numbers, path)
    if kind == "narrowPeak":
        table["peak"] = _whole(columns[9], "peak", numbers, path)
    beyond = max(len(fields) for fields in rows) - n_columns
    if beyond:
        logger.info("%s: up to %d columns beyond the first %d are not used", path, beyond, n_columns)
    _warn_of_long(table, numbers, path)
    table.attrs["file"] = path.name
    return table


def _kind(path: Path, fields: list[str], width: int) -> str:
    name = path.name.lower().removesuffix(".gz")
    for kind in ("narrowPeak", "broadPeak"):
        if name.endswith(f".{kind.lower()}"):
            return kind
    like_peak = width == 10 and all(_is_number(v) for v in fields[6:10]) and "," not in fields[8]
    # BED with ten columns has the ends of the thick part in columns 7 and 8: no fractions
    return "narrowPeak" if like_peak and any(not v.lstrip("-").isdigit() for v in fields[6:9]) else "BED"


def _whole(values: tuple[str, ...], name: str, numbers: list[int], path: Path) -> np.ndarray:
    try:
        return np.array([int(v) for v in values], dtype=np.int64)
    except (ValueError, OverflowError):
        at = next(i for i, v in enumerate(values) if not _is_whole(v))
        msg = f"line {numbers[at]} of {path} has the {name} {values[at]!r}: it must be a whole number"
        raise InputError(msg) from None


def _numbers(values: tuple[str, ...], name: str, numbers: list[int], path: Path) -> np.ndarray:
    given = [np.nan if v in (".", "", "NA", "NaN", "nan") else v for v in values]
    try:
        return np.array(given, dtype=object).astype(np.float64)
    except ValueError:
        at = next(i for i, v in enumerate(given) if not _is_number(v))
        msg = f"line {numbers[at]} of {path} has the {name} {values[at]!r}: it must be a number, or . for none"
        raise InputError(msg) from None


def _strands(values: tuple[str, ...], numbers: list[int], path: Path) -> pd.Series:
    strand = pd.Series(values, dtype=object).replace({"": "."})
    wrong = ~strand.isin(["+", "-", "."])
    if wrong.any():
        at = int(wrong.to_numpy().argmax())
        msg = f"line {numbers[at]} of {path} has the strand {values[at]!r}: it must be +, - or ."
        raise InputError(msg)
    return strand


def _check_order(table: pd.DataFrame, numbers: list[int], path: Path) -> None:
    wrong = ((table["start"] < 0) | (table["start"] >= table["end"])).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        msg = (
            f"line {numbers[at]} of {path} is an interval from {table['start'][at]} to {table['end'][at]}: a start is "
            "0 or more and below its end"
        )
        raise InputError(msg)


def _warn_of_long(table: pd.DataFrame, numbers: list[int], path: Path) -> None:
    length = (table["end"] - table["start"]).to_numpy()
    long = np.flatnonzero(length > _LONG)
    if len(long):
        first = long[np.argsort(-length[long], kind="stable")][:3]
        named = "; ".join(
            f"line {numbers[i]}: {chrom}:{start:,}-{end:,}, {length[i] / 1e6:.1f} Mb"
            for i, chrom, start, end in table.iloc[first][["chrom", "start", "end"]].itertuples()
        )
        more = f", and {len(long) - len(first)} more" if len(long) > len(first) else ""
        logger.warning(
            "%d of %d intervals of %s are longer than 1 Mb (%s%s): they are kept, take them out where that is no "
            "region you mean",
            *(len(long), len(table), path, named, more),
        )


def _is_whole(value: str) -> bool:
    try:
        return -(2**63) <= int(value) < 2**63
    except ValueError:
        return False


def _is_number(value: str | float) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
