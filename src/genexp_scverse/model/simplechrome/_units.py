"""From what the network reads back to what the files hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse.pp.scaler import LOGGED, SignalScaler

INVERSES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"log1p": np.expm1, "arcsinh": np.sinh, "none": lambda x: x}


def in_units_of_the_files(scaled: np.ndarray, scaler: SignalScaler, marks: list[str], scales: list[str]) -> np.ndarray:
    """Undo the scaling of signal, genes x marks x bins.

    Raises for a transform that has no inverse.
    """
    out = np.array(scaled, np.float32)
    for i, (mark, scale) in enumerate(zip(marks, scales, strict=True)):
        step = ("none" if scale in LOGGED else "log1p") if scaler.name == "auto" else scaler.name
        if step not in INVERSES:
            msg = f'signal scaled by transform={scaler.name!r} cannot be turned back: ask for units="scaled"'
            raise InputError(msg)
        out[:, i] = INVERSES[step](out[:, i] * scaler.divisors[mark])
    return out
