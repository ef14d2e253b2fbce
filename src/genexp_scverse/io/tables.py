"""Read delimited tables as they are found: comments, a header behind #, R's short header, a trailing tab."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse.io.plain_text import SEPARATOR_LINE, first_line, open_text

_DELIMITERS = ("\t", ";", ",", " ")
_LINES, _CHARACTERS = 1000, 1 << 22
"""Of so many lines and characters the delimiter is told."""
_CHUNK = 1 << 20
_UNSAFE = [re.compile(e + rb"(?<=[\d.]" + e + rb")[-+]?\d{3}") for e in (b"e", b"E")]
_UNSAFE.append(re.compile(rb"\.0000\d{13}"))
"""What the fast parser misreads: large exponents, and more digits behind zeros than it looks at."""
MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "None", "n/a", "<NA>"]


@dataclass(frozen=True)
class Layout:
    r"""How a table is laid out.

    Examples
    --------
    >>> Layout(["gene_id", "K562"], delimiter="\t", skip=1).names
    ['gene_id', 'K562']
    """

    names: list[str]
    """Columns, in the order of the file."""
    delimiter: str
    skip: int
    """Lines before the first row of data."""
    trailing: int = 0
    """Empty fields at the end of every row that the header does not have."""


def table_layout(path: str | Path, *, what: str, skip: int = 0) -> Layout:
    r"""Find the header of a table and its delimiter: the tab, semicolon, comma or blank that cuts all lines alike.

    Lines that start with ``#`` are comments, but one that has the delimiter and stands right above the data
    is the header. Where the rows have one field more than the header, as R's write.table leaves it, the first
    column is called ``gene_id`` (and has no name where another is called so); a delimiter at the end of every row is no
    column.

    Parameters
    ----------
    path
        The file, plain or gzip.
    what
        What it should be, for messages.
    skip
        Lines to skip before the header.

    Returns
    -------
    The layout, for :func:`read_table`.

    Raises
    ------
    InputError
        When there is no row under the header, or the first has more values than the header has names.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.csv"
    ...     _ = path.write_text("gene_id;K562, rep 1\ng1;1,5\n")
    ...     table_layout(path, what="a table").names
    ['gene_id', 'K562, rep 1']
    """
    with open_text(path, what=what) as handle:
        comment, lines, at = _head(handle, skip)
    delimiter = _delimiter(lines)
    header, row = (*lines, "", "")[:2]
    names, fields = _split(header, delimiter), _split(row, delimiter)
    commented = _split(comment.lstrip("#").strip(), delimiter)
    if len(commented) > 1 and len(commented) == len(names) and any(_is_number(name) for name in names):
        names, row, at = commented, header, at - 1
        fields = _split(row, delimiter)
    while names and not names[-1].strip() and len(names) > 1:
        names = names[:-1]
    if not row:
        msg = f"{path} has a header and no rows: give {what}"
        raise InputError(msg)
    if len(fields) == len(names) + 1 and fields[-1].strip() and ("gene_id" not in names or fields[0].isdecimal()):
        names = ["" if "gene_id" in names else "gene_id", *names]
    trailing = max(len(fields) - len(names), 0)
    if any(value.strip() for value in fields[len(names) :]):
        fix = "give every row the fields of the header"
        if len(names) == 1:
            fix = f"take out what stands above the header, or divide it as the rows are (it is {first_line(names[0])})"
        msg = f"the first row of {path} has {len(fields)} fields and the header {len(names)}: {fix}"
        raise InputError(msg)
    names = [name.strip() for name in names]
    return Layout(names, delimiter, at, trailing)


def read_table(
    path: str | Path, layout: Layout, *, what: str, text: Iterable[str], comments: bool = False, single: bool = False
) -> pd.DataFrame:
    r"""Read the rows of a table.

    Parameters
    ----------
    path
        The file, plain or gzip.
    layout
        What :func:`table_layout` found.
    what
        What it should be, for messages.
    text
        Columns to keep as strings, with nothing taken for missing (a gene may be called NA).
    comments
        Leave out rows that start with ``#``.
    single
        The numbers become float32: they are read three times as fast, and right to the twelfth digit.

    Returns
    -------
    Table with a row per line that is not all empty; the other columns are numbers where all values are.

    Raises
    ------
    InputError
        When two columns have the same name, a row has more or fewer fields than the header, or a quote is not closed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.csv"
    ...     _ = path.write_text("gene_id,tss\n007,5\n")
    ...     layout = table_layout(path, what="a table")
    ...     read_table(path, layout, what="a table", text=["gene_id"]).to_dict("list")
    {'gene_id': ['007'], 'tss': [5]}
    """
    text, seen = set(text), pd.Index(layout.names)
    if not seen.is_unique:
        msg = f"{path} has more than one column named {some(seen[seen.duplicated()].unique())}: rename them"
        raise InputError(msg)
    trailing = [f"trailing field {i + 1}" for i in range(layout.trailing)]
    with open_text(path, what=what) as handle, warnings.catch_warnings():
        # a row with more fields than the others would be cut
        warnings.simplefilter("error", pd.errors.ParserWarning)
        for _ in range(layout.skip):
            handle.readline()
        source = io.BufferedReader(_Watched(handle), _CHUNK) if single else handle
        try:
            table = pd.read_csv(
                source,
                sep=layout.delimiter,
                names=[*layout.names, *trailing],
                header=None,
                index_col=False,
                dtype=dict.fromkeys([name for name in layout.names if name in text], str),
                keep_default_na=False,
                na_values={name: MISSING for name in [*layout.names, *trailing] if name not in text},
                low_memory=False,
                # the fast parsers misread large exponents, or end the process
                float_precision="high" if single else "round_trip",
            )
        except _UnsafeNumberError:
            return read_table(path, layout, what=what, text=text, comments=comments)
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            msg = f"{path} is no regular table ({str(error).strip()}): give every row the fields of the header"
            raise InputError(msg) from error
        except pd.errors.EmptyDataError as error:
            msg = f"{path} has a header and no rows: give {what}"
            raise InputError(msg) from error
    beyond = table[trailing].notna().any(axis=1)
    if beyond.any():
        msg = (
            f"{int(beyond.sum())} rows of {path} have more values than the header has names (row "
            f"{int(beyond.argmax()) + 1}): give every row the fields of the header"
        )
        raise InputError(msg)
    last = table[layout.names[-1]]
    empty = (last.isna() | last.isin(MISSING)).to_numpy(bool)
    if empty.any():
        _check_no_short_row(path, layout, what=what, comments=comments)
        # spreadsheets write rows of delimiters alone; told alike whichever columns are kept as text
        held = table.loc[empty, layout.names]
        blank = (held.isna() | held.isin(MISSING)).all(axis=1)
        if blank.sum() < len(table):
            table = table.drop(index=blank.index[blank]).reset_index(drop=True)
    for name in layout.names:
        _check_one_line(table[name], path)
    if comments:
        first = table[layout.names[0]].astype(str)
        table = table[~first.str.startswith("#").to_numpy(bool)].reset_index(drop=True)
    return table.drop(columns=trailing)


class _UnsafeNumberError(Exception):
    """A number is for the exact parser alone."""


class _Watched(io.RawIOBase):
    """A handle that stops at a number that the fast parser misreads, before it comes to it."""

    def __init__(self, handle: IO[bytes]):
        self.handle = handle
        self.end = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        """Read into a buffer."""
        chunk = self.handle.read(len(buffer))
        seen = self.end + chunk
        if any(pattern.search(seen) for pattern in _UNSAFE):
            raise _UnsafeNumberError
        self.end = seen[-20:]
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _head(handle: IO[bytes], skip: int) -> tuple[str, list[str], int]:
    """Give the last comment, the first lines that are none, and how many stand above the second of them."""
    comment, at, size = "", 0, 0
    lines: list[str] = []
    for number, raw in enumerate(handle, 1):
        line = raw.decode("utf-8").rstrip("\r\n")
        if number <= skip or not line.strip():
            continue
        if line.startswith("#") and not lines:
            comment = line
            continue
        if not lines and SEPARATOR_LINE.fullmatch(line):
            continue
        at = at or number
        lines.append(line)
        size += len(line)
        if len(lines) > 1 and (len(lines) == _LINES or size > _CHARACTERS):
            break
    return comment, lines, at


def _delimiter(lines: list[str]) -> str:
    """Tell the delimiter: it cuts most rows into as many fields, more than one, and the header into as many."""
    best, found = (False, False, 0, 0.0, False), "\t"
    for delimiter in _DELIMITERS:
        header, *rows = [len(_split(line, delimiter)) for line in lines or [""]]
        width, times = Counter(rows or [header]).most_common(1)[0]
        share = times / max(len(rows), 1)
        # R leaves out the name of the first column
        fit = 2 if header == width else int(header + 1 == width)
        if width > 1 and (delimiter != " " or (share == 1 and fit)):
            # tabs stand in no name; where R leaves out a name, blanks are its delimiter and commas decimal ones
            rank = (share > 0.5, delimiter == "\t" and fit > 0, fit, share, delimiter == " " and fit == 1)
            best, found = max((best, found), (rank, delimiter), key=lambda pair: pair[0])
    return found


def _check_no_short_row(path: str | Path, layout: Layout, *, what: str, comments: bool) -> None:
    wanted = len(layout.names)
    with open_text(path, what=what) as handle:
        for _ in range(layout.skip):
            handle.readline()
        rows = csv.reader((raw.decode("utf-8") for raw in handle), delimiter=layout.delimiter)
        for fields in _all(rows, path):
            if 0 < len(fields) < wanted and any(map(str.strip, fields)) and not (comments and fields[0][:1] == "#"):
                msg = (
                    f"line {layout.skip + rows.line_num} of {path} has {len(fields)} fields and the header {wanted}: "
                    "give every row the fields of the header"
                )
                raise InputError(msg)


def _all(rows: Iterator[list[str]], path: str | Path) -> Iterator[list[str]]:
    try:
        yield from rows
    except csv.Error as error:
        msg = f"{path} is no regular table ({error}): remove a quote that is not closed"
        raise InputError(msg) from error


def _check_one_line(column: pd.Series, path: str | Path) -> None:
    """Refuse fields with a line end in them: a quote that is not closed hides the rows up to the next."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return
    over = [isinstance(value, str) and "\n" in value for value in column]
    if any(over):
        msg = (
            f"{sum(over)} fields of column {column.name!r} of {path} go over several lines (row "
            f"{over.index(True) + 1}): remove the quote that is not closed, or write each field in one line"
        )
        raise InputError(msg)


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a field beyond its limit
        return line.split(delimiter)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
