"""Numbers as people and spreadsheets write them: separators of thousands, decimal commas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

_SPACES = " \u00a0\u202f'\u2019"
_INFINITE = r"[-+]?inf(?:inity)?"
_LIKE_A_NUMBER = re.compile(
    rf"#.*|0x[\da-f]+|[<>~≈=]*\s*[-+]?\s*[.,]?\d[\d.,_{_SPACES}]*(?:e[-+]?\d+)?\s*[%*†]?", re.IGNORECASE
)


@dataclass(frozen=True)
class Notation:
    """A way to write numbers.

    Examples
    --------
    >>> Notation("1.234,5", thousands=".", decimal=",").read(["1.234,5", "7", "0,25"]).tolist()
    [1234.5, 7.0, 0.25]
    """

    example: str
    """How it writes 1234.5."""
    thousands: str
    """Characters that may stand between groups of three digits."""
    decimal: str
    pattern: re.Pattern[str] = field(init=False, repr=False)
    lines: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compile the pattern of a number that is written so, and that of many, one on each line."""
        groups = rf"[1-9]\d{{0,2}}(?:[{re.escape(self.thousands)}]\d{{3}})+|" if self.thousands else ""
        point = re.escape(self.decimal)
        number = rf"(?:(?:{groups}\d+)(?:{point}\d*)?|{point}\d+)(?:e[-+]?\d+)?"
        blank = r"[^\S\n]*"
        one = rf"{blank}(?:[-+]?{number}|{_INFINITE}){blank}"
        object.__setattr__(self, "pattern", re.compile(one, re.IGNORECASE))
        object.__setattr__(self, "lines", re.compile(rf"(?:{one}\n)*+", re.IGNORECASE))

    def writes(self, text: str) -> bool:
        """Tell whether a text is a number in this notation."""
        return self.pattern.fullmatch(text) is not None

    def writes_all(self, texts: Sequence[str]) -> bool:
        """Tell whether texts are all numbers in this notation."""
        return self.lines.fullmatch("".join(f"{text}\n" for text in texts)) is not None

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """Return the numbers of texts that are all written so, float64."""
        table = str.maketrans({**dict.fromkeys(self.thousands, ""), self.decimal: "."})
        return np.array("\n".join(texts).translate(table).split("\n"), dtype=object).astype(np.float64)


PLAIN = Notation("1234.5", "", ".")
NOTATIONS = (
    PLAIN,
    Notation("1,234.5", ",", "."),
    Notation("1.234,5", ".", ","),
    Notation("1 234.5", _SPACES, "."),
    Notation("1 234,5", _SPACES, ","),
)


class UnclearNumberError(ValueError):
    """Texts cannot be read as numbers in one notation.

    Examples
    --------
    >>> UnclearNumberError("1,234", "may be 1234 or 1.234: ...").text
    '1,234'
    """

    def __init__(self, text: str, fix: str) -> None:
        super().__init__(fix)
        self.text = text


def read_numbers(texts: Sequence[str], *, whole: bool = False) -> tuple[np.ndarray, Notation]:
    """Return the numbers of texts, all in the one notation that fits all of them.

    Parameters
    ----------
    texts
        Different texts, none of them empty.
    whole
        Whether the numbers are known to be whole, as counts are: "1,234" is then 1234.

    Returns
    -------
    The numbers (float64) and their notation.

    Raises
    ------
    UnclearNumberError
        When no notation fits all, or two do that give different numbers.

    Examples
    --------
    >>> read_numbers(["1,234.5", "12"])[0].tolist(), read_numbers(["1,5", "0,25"])[0].tolist()
    ([1234.5, 12.0], [1.5, 0.25])
    """
    if PLAIN.writes_all(texts):
        return PLAIN.read(texts), PLAIN
    fitting = [n for n in NOTATIONS[1:] if n.writes_all(texts)]
    found = [(n.read(texts), n) for n in fitting]
    if whole and len(found) > 1:
        found = [(numbers, n) for numbers, n in found if (numbers % 1 == 0).all()] or found
    if not found:
        raise _none_fits(texts)
    numbers, notation = found[0]
    for others, _ in found[1:]:
        if not np.array_equal(numbers, others):
            at = int(np.flatnonzero(numbers != others)[0])
            fix = (
                f"which may be {numbers[at]:.15g} or {others[at]:.15g}: write numbers without separators of thousands "
                "and decimals with a point"
            )
            raise UnclearNumberError(texts[at], fix)
    return numbers, notation


def to_numbers(column: pd.Series) -> pd.Series:
    """Return a column as float64, NaN where it holds no plain number; pandas' own way ends the process on 1e2147483648.

    Examples
    --------
    >>> to_numbers(pd.Series(["1.5", "x", None, "1e2147483648"])).tolist()
    [1.5, nan, nan, inf]
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(np.float64)
    values = column.astype(object).mask(column.isna(), np.nan).to_numpy(object)
    try:
        # Python takes 1_000 for a number
        numbers = None if any("_" in value for value in values if isinstance(value, str)) else values.astype(np.float64)
    except (ValueError, TypeError):
        numbers = None
    if numbers is None:
        numbers = np.array([_plain(value) for value in values], np.float64)
    return pd.Series(numbers, index=column.index, name=column.name)


def like_a_number(text: str) -> bool:
    """Tell whether a text is a number in some writing, with a unit sign or as an error of a spreadsheet.

    Examples
    --------
    >>> [like_a_number(t) for t in ("1,234.5", "<0.1", "#REF!", "TSPAN6", "1p36")]
    [True, True, True, False, False]
    """
    return _LIKE_A_NUMBER.fullmatch(text.strip()) is not None


def _plain(value) -> float:
    if isinstance(value, str):
        return float(value) if PLAIN.writes(value) else np.nan
    return float(value)


def _none_fits(texts: Sequence[str]) -> UnclearNumberError:
    strange = [text for text in texts if not any(n.writes(text) for n in NOTATIONS)]
    if strange:
        fix = "which is no number: write numbers without separators of thousands and decimals with a point"
        return UnclearNumberError(strange[0], fix)
    first = next(text for text in texts if not PLAIN.writes(text))
    other = next(text for text in texts if not any(n.writes(first) and n.writes(text) for n in NOTATIONS))
    fix = (
        f"and also {other!r}, written in another way: write all numbers without separators of thousands and decimals "
        "with a point"
    )
    return UnclearNumberError(first, fix)
