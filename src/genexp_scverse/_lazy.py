"""Lazy public names of a subpackage (PEP 562), so that nothing heavy is imported before it is used.

What is public has its arguments checked, see :mod:`genexp_scverse._checks`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from genexp_scverse._checks import checked


def attach(package: str, where: Mapping[str, str]) -> tuple[Callable, Callable, list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of `package` from public name -> submodule."""

    def __getattr__(name: str):
        if name not in where:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return public(importlib.import_module(f"{package}.{where[name]}"), name)

    def __dir__() -> list[str]:
        return sorted(where)

    return __getattr__, __dir__, sorted(where)


def public(module: Any, name: str) -> Any:
    """Give what a user calls: a function or class whose arguments are checked, in its place in the module."""
    there = getattr(module, name)
    if inspect.isfunction(there) or inspect.isclass(there):
        there = checked(there)
        setattr(module, name, there)
    return there
