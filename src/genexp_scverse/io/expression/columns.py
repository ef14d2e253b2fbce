"""Which columns of a table that is of no known format are samples, and the numbers in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, no_such, option, some
from genexp_scverse._logging import logger
from genexp_scverse.io.gene_columns import is_row_numbers, is_summary, kind_of, like_ids, quantity_of, summary_of
from genexp_scverse.io.tables import MISSING
from genexp_scverse.io.written_numbers import PLAIN, UnclearNumberError, like_a_number, read_numbers

_NO_VALUE = frozenset(MISSING)
Columns = Sequence[str] | Mapping[str, str]
"""Names of columns, or sample -> column."""


class _Names(list):
    """Names that a message shows as a list in Python and with commas in the shell."""

    def __str__(self) -> str:
        return ",".join(self)


def chosen(columns: Columns, names: Sequence[str], source: str) -> dict[str, str]:
    """Return the columns that were asked for: sample -> column.

    Examples
    --------
    >>> chosen({"K562": "TPM"}, ["gene_id", "TPM"], "rna.tsv")
    {'K562': 'TPM'}
    """
    given = [columns] if isinstance(columns, str) else columns
    wanted = (
        {str(s): str(c) for s, c in given.items()} if isinstance(given, Mapping) else {str(c): str(c) for c in given}
    )
    if not wanted:
        msg = f"{option('columns')} names no column: leave it out, or give some of {some(names, 8)}"
        raise InputError(msg)
    for name in wanted.values():
        if name not in names:
            raise InputError(no_such("column", name, names, where=f"in {source}"))
    return wanted


def choose(
    table: pd.DataFrame, *, source: str, unit: str | Mapping[str, str] | None, wanted: Collection[str]
) -> dict[str, str]:
    """Return the columns of a table that are samples, and say which are not.

    Samples of `unit`, where it is by sample, are those. Else what describes genes by its name, row numbers and
    text are left out, and so is, of several quantities of a sample, what is not of the unit.

    Parameters
    ----------
    table
        Without the gene ids.
    source
        Its name, for messages.
    unit
        As given to :func:`genexp_scverse.io.read_expression`.
    wanted
        Samples that the sample sheet has: a column of that name is one.

    Returns
    -------
    Sample -> column, in the order of the table.

    Raises
    ------
    InputError
        When no column is a sample, or it cannot be told of one whether it is.

    Examples
    --------
    >>> choose(pd.DataFrame({"entrez": [7105], "K562": [1.5]}), source="rna.tsv", unit="tpm", wanted=[])
    {'K562': 'K562'}
    """
    names = list(table.columns)
    if isinstance(unit, Mapping):
        samples = {name: name for name in names if name in unit or name in wanted}
        _say_left_out(source, [name for name in names if name not in samples])
        return samples
    candidates = [name for name in names if name in wanted or _may_be_sample(name, table[name])]
    if "" in candidates:
        msg = f"column {names.index('') + 2} of {source} has no name: give every sample one"
        raise InputError(msg)
    if not candidates:
        msg = f"{source} has no column of numbers: it has {some(names, 8)}"
        raise InputError(msg)
    samples, doubtful = _by_quantity(candidates, unit, wanted)
    if len(samples) > 1:
        words = {name: summary_of(name) for name in samples.values()}
        # where all are means these are the samples
        several = len(set(words.values())) > 1
        doubtful += [
            n
            for n, word in words.items()
            if n not in wanted and ((word and several) or is_summary(n) or _like_ids(table[n]))
        ]
    if doubtful and not set(wanted) & set(samples):
        of_unit = [name for name in doubtful if unit and (quantity_of(name) or ("",))[0] == unit.lower()]
        sure = of_unit or [n for n in candidates if n not in doubtful and table[n].notna().any()]
        sure = sure or [n for n in doubtful if n == doubtful[0] or summary_of(n) == summary_of(doubtful[0]) != ""]
        msg = (
            f"{source} has columns of which it is not clear whether they are samples ({some(doubtful, 6)}): name those "
            f"that are, as in {option('columns', _Names(sure[:3]))}"
        )
        raise InputError(msg)
    samples = {sample: name for sample, name in samples.items() if name not in doubtful}
    _say_left_out(source, [name for name in names if name not in samples.values()])
    renamed = [f"{name} as {sample}" for sample, name in samples.items() if name != sample]
    if renamed:
        logger.info("%s: columns that are samples: %s", source, ", ".join(renamed))
    return samples


def column_numbers(
    table: pd.DataFrame,
    samples: Mapping[str, str],
    *,
    source: str,
    whole: bool,
    as_text: Callable[[], pd.DataFrame] | None,
    what: str = "sample",
) -> pd.DataFrame:
    """Return the numbers of samples, all read in the one notation that the table has.

    Parameters
    ----------
    table
        Indexed by gene.
    samples
        Sample -> column.
    source
        Its name, for messages.
    whole
        Whether all numbers are whole.
    as_text
        Reads the table again with all columns as text, where it is of a file: ``1.234`` may be 1234.
    what
        What a column is, for messages.

    Raises
    ------
    InputError
        When a value is no number, or may be one of two.

    Examples
    --------
    >>> table = pd.DataFrame({"K562": ["1.234,5", "7"]}, index=["g1", "g2"])
    >>> column_numbers(table, {"K562": "K562"}, source="rna.tsv", whole=False, as_text=None)["K562"].tolist()
    [1234.5, 7.0]
    """
    if all(is_numeric(table[column]) for column in samples.values()):
        return pd.DataFrame(
            {s: table[c].to_numpy(np.float64, na_value=np.nan) for s, c in samples.items()}, index=table.index
        )
    table = table if as_text is None else as_text()
    numeric = {s: table[c] for s, c in samples.items() if is_numeric(table[c])}
    texts = {s: _texts(table[c]) for s, c in samples.items() if s not in numeric}
    different = pd.unique(np.concatenate([text[text != ""] for text in texts.values()]))
    try:
        numbers, notation = read_numbers(list(different), whole=whole)
    except UnclearNumberError as error:
        sample = next(s for s, text in texts.items() if (text == error.text).any())
        gene = table.index[int((texts[sample] == error.text).argmax())]
        msg = f"{what} {sample!r} of {source} has the value {error.text!r} (gene {str(gene)!r}), {error}"
        if not any(map(str.isdigit, error.text)):
            msg += f"; if {samples[sample]!r} is no {what}, name those that are with {option('columns')}"
        raise InputError(msg) from error
    if notation is not PLAIN:
        logger.info("%s: numbers are written as %s, and read so", source, notation.example)
    lookup = pd.Series([*numbers, np.nan], index=[*different, ""])
    read = {s: numeric[s].to_numpy(np.float64) if s in numeric else lookup[texts[s]].to_numpy() for s in samples}
    return pd.DataFrame(read, index=table.index)


def _may_be_sample(name: str, column: pd.Series) -> bool:
    if is_row_numbers(name, column) or kind_of(name) is not None or pd.api.types.is_bool_dtype(column.dtype):
        return False
    if is_numeric(column):
        # a column without name and value is the end of the rows
        return name != "" or bool(column.notna().any())
    return may_be_numbers(column)


def may_be_numbers(column: pd.Series) -> bool:
    """Return whether a column of text has a value that is a number in some writing."""
    return any(like_a_number(str(value)) for value in column.dropna().tolist())


def _by_quantity(candidates: list[str], unit: str | None, wanted: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Choose, where columns are of several quantities, those of the unit; what cannot be chosen is doubtful."""
    told = {name: found for name in candidates if name not in wanted and (found := quantity_of(name))}
    of_wanted = {name: found for name, found in told.items() if found[1] in wanted}
    if len({quantity for quantity, _ in told.values()}) + (len(told) < len(candidates)) <= 1:
        return {of_wanted[name][1] if name in of_wanted else name: name for name in candidates}, []
    right = {name: found for name, found in told.items() if unit is not None and found[0] == unit.lower()}
    names = {found[1] or name: name for name, found in right.items()}
    if len(told) == len(candidates) and right and len(names) == len(right):
        return names, []
    return {name: name for name in candidates}, list(told)


def _like_ids(column: pd.Series) -> bool:
    return is_numeric(column) and like_ids(column)


def _say_left_out(source: str, names: list[str]) -> None:
    if names:
        logger.info("%s: columns that are no samples are left out: %s", source, some(names, 8))


def is_numeric(column: pd.Series) -> bool:
    """Return whether pandas has read a column as numbers."""
    return pd.api.types.is_numeric_dtype(column.dtype)


def _texts(column: pd.Series) -> np.ndarray:
    """Return values as text, "" where they are missing."""
    texts = [str(value).strip() for value in column.astype(object).where(column.notna(), "").tolist()]
    return np.array(["" if text in _NO_VALUE else text for text in texts], dtype=object)
