"""Hyperparameters of SimpleChrome that are words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genexp_scverse._checks import Choice
from genexp_scverse._errors import InputError, some

CHOICES = {
    "mode": Choice(("joint", "two_stage")),
    "combine": Choice(("attention", "mean", "concatenation")),
    "likelihood": Choice(("auto", "normal", "poisson", "nb", "tanh")),
}


def chosen_likelihood(hyper: Mapping[str, Any], setup: Mapping[str, Any]) -> str:
    """Choose by the scales of the tracks; raise where counts are wanted of what are none."""
    scales = {s for of in setup["scales"].values() for s in of}
    back = hyper["transform"] in ("auto", "log1p")
    wanted = hyper["likelihood"]
    if wanted == "auto":
        return "nb" if scales == {"counts"} and back else "normal"
    if wanted in ("poisson", "nb"):
        if wrong := sorted(scales & {"log", "log_ratio", "pvalue"}):
            msg = f'likelihood={wanted!r} is for counts, and there are tracks of scale {some(wrong)}: take "normal"'
            raise InputError(msg)
        if not back:
            msg = f'likelihood={wanted!r} reads counts through transform="auto" or "log1p", not {hyper["transform"]!r}'
            raise InputError(msg)
    if wanted == "tanh" and hyper["transform"] != "raw":
        msg = f'likelihood="tanh" divides raw signal by its maximum: pass transform="raw", not {hyper["transform"]!r}'
        raise InputError(msg)
    return wanted
