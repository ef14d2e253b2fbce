"""What hyperparameters may be, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple

from genexp_scverse._errors import InputError


class Limit(NamedTuple):
    """Range of a number, or of every number of a list; `below` excludes the largest value, `optional` allows None.

    A list has `length` numbers, or, where that is None, `shortest` of them at least.
    """

    low: float
    high: float = float("inf")
    whole: bool = True
    length: int | None = 0
    below: bool = False
    shortest: int = 0
    optional: bool = False


def check_limits(hyperparameters: Mapping[str, Any], limits: Mapping[str, Limit]) -> None:
    """Raise when a hyperparameter is not what its limit says."""
    if not isinstance(hyperparameters["stranded"], bool):
        msg = f"stranded={hyperparameters['stranded']!r} is neither True nor False"
        raise InputError(msg)
    for name, limit in limits.items():
        value = hyperparameters[name]
        if value is None and limit.optional:
            continue
        kind = Integral if limit.whole else (int, float)
        values = [value] if limit.length == 0 else value
        fits = isinstance(values, list | tuple) and all(
            isinstance(v, kind) and not isinstance(v, bool) and limit.low <= float(v) <= limit.high for v in values
        )
        if fits and limit.length != 0:
            fits = len(values) >= limit.shortest if limit.length is None else len(values) == limit.length
        if not fits or (limit.below and value == limit.high):
            what = "whole number" if limit.whole else "number"
            many = "a list of " if limit.length is None else ""
            many += f"{limit.length or ''} {what}s".lstrip() if limit.length != 0 else f"a {what}"
            above = "" if limit.high == float("inf") else f", {'below' if limit.below else 'at most'} {limit.high:g}"
            msg = f"{name}={value!r} is not possible: give {many} of at least {limit.low:g}{above}"
            raise InputError(msg)
