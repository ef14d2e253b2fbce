"""Read delimited tables as they are found: comments, a header behind #, R's short header, a trailing tab."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse.io.plain_text import open_text

_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "None", "n/a", "<NA>"]


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
    r"""Find the header of a table and its delimiter (tab, else comma, else semicolon).

    Lines that start with ``#`` are comments, but one that has the delimiter and stands right above the data
    is the header. Where the rows have one field more than the header, as R's write.table leaves it, the first
    column is called ``gene_id``; a delimiter at the end of every row is no column.

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
    ...     _ = path.write_text("gene_id,chrom\ng1,chr1\n")
    ...     table_layout(path, what="a table").names
    ['gene_id', 'chrom']
    """
    with open_text(path, what=what) as handle:
        comment, header, row, at = _head(handle, skip)
    delimiter = next((d for d in ("\t", ",", ";") if d in header), "\t")
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
    if len(fields) == len(names) + 1 and fields[-1].strip():
        names = ["gene_id", *names]
    trailing = max(len(fields) - len(names), 0)
    if any(value.strip() for value in fields[len(names) :]):
        msg = (
            f"the first row of {path} has {len(fields)} fields and the header {len(names)}: give every row the "
            "fields of the header"
        )
        raise InputError(msg)
    names = [name.strip() for name in names]
    return Layout(names, delimiter, at, trailing)


def read_table(path: str | Path, layout: Layout, *, what: str, text: Iterable[str]) -> pd.DataFrame:
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

    Returns
    -------
    Table with a row per line; the other columns are numbers where all values are.

    Raises
    ------
    InputError
        When two columns have the same name or a row has more fields than the header.

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
    with open_text(path, what=what) as handle:
        for _ in range(layout.skip):
            handle.readline()
        try:
            table = pd.read_csv(
                handle,
                sep=layout.delimiter,
                names=[*layout.names, *trailing],
                header=None,
                index_col=False,
                dtype=dict.fromkeys([name for name in layout.names if name in text], str),
                keep_default_na=False,
                na_values={name: _MISSING for name in [*layout.names, *trailing] if name not in text},
                low_memory=False,
            )
        except pd.errors.ParserError as error:
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
    return table.drop(columns=trailing)


def _head(handle: IO[bytes], skip: int) -> tuple[str, str, str, int]:
    """Give the last comment, the first line that is none, the one after it, and how many stand above that."""
    comment = header = row = ""
    at = 0
    for number, raw in enumerate(handle, 1):
        line = raw.decode("utf-8").rstrip("\r\n")
        if number <= skip or not line.strip():
            continue
        if header:
            row = line
            break
        if line.startswith("#"):
            comment = line
        else:
            header, at = line, number
    return comment, header, row, at


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
