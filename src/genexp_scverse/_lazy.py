"""Lazy public names of a subpackage (PEP 562), so that nothing heavy is imported before it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def attach(package: str, where: Mapping[str, str]) -> tuple[Callable, Callable, list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of `package` from public name -> submodule."""

    def __getattr__(name: str):
        if name not in where:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(f"{package}.{where[name]}"), name)

    def __dir__() -> list[str]:
        return sorted(where)

    return __getattr__, __dir__, sorted(where)
