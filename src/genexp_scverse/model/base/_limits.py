"""What hyperparameters may be, checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, NamedTuple

from genexp_scverse._errors import InputError


class Limit(NamedTuple):
    """Range of a number, or of every number of a list of `length`; `below` excludes the largest value."""

    low: float
    high: float = float("inf")
    whole: bool = True
    length: int = 0
    below: bool = False


def check_limits(hyperparameters: Mapping[str, Any], limits: Mapping[str, Limit]) -> None:
    """Raise when a hyperparameter is not what its limit says."""
    if not isinstance(hyperparameters["stranded"], bool):
        msg = f"stranded={hyperparameters['stranded']!r} is neither True nor False"
        raise InputError(msg)
    for name, limit in limits.items():
        value = hyperparameters[name]
        values = value if limit.length and isinstance(value, list | tuple) else [value]
        kind = Integral if limit.whole else (int, float)
        fits = len(values) == max(1, limit.length) and all(
            isinstance(v, kind) and not isinstance(v, bool) and limit.low <= float(v) <= limit.high for v in values
        )
        if not fits or (limit.below and value == limit.high):
            what = "whole number" if limit.whole else "number"
            many = f"{limit.length} {what}s" if limit.length else f"a {what}"
            above = "" if limit.high == float("inf") else f", {'below' if limit.below else 'at most'} {limit.high:g}"
            msg = f"{name}={value!r} is not possible: give {many} of at least {limit.low:g}{above}"
            raise InputError(msg)
