"""What drives the expression of a gene: from histone marks and DNA to expression, in the scverse way.

The parts are imported when first used, so that ``import genexp_scverse`` loads neither torch nor scvi-tools.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version

from genexp_scverse._errors import InputError

__version__ = version("genexp-scverse")
__all__ = ["InputError", "datasets", "io", "metrics", "model", "nn", "pl", "pp", "schema", "tl"]


def __getattr__(name: str):
    if name in __all__:
        return importlib.import_module(f"genexp_scverse.{name}")
    msg = f"module 'genexp_scverse' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
