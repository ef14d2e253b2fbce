"""The one exception for what a user can fix, and the parts that its sentences are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_SHELL: ContextVar[Mapping[str, str] | None] = ContextVar("_SHELL", default=None)


class InputError(ValueError):
    """A file, a table or an argument does not fit.

    The message is one sentence that names the thing, the value and the fix. The command line prints it
    without a traceback and exits with code 2.

    Examples
    --------
    >>> import genexp_scverse as gx
    >>> issubclass(gx.InputError, ValueError)
    True
    """


def some(values, n: int = 3) -> str:
    """Name the first `n` of `values` for a message: ``"'a', 'b', 'c', ... (12 in all)"``."""
    values = list(values)
    shown = ", ".join(repr(str(v)) for v in values[:n])
    return shown if len(values) <= n else f"{shown}, ... ({len(values)} in all)"


def no_such(kind: str, name: Any, there: Iterable[Any], *, where: str = "") -> str:
    """Say that a name is not known, what there is, and what was probably meant.

    Parameters
    ----------
    kind
        What is named: ``"sample"``.
    name
        The name that was given.
    there
        The names that there are.
    where
        What should have it, with its preposition: ``"in the MuData"``.

    Examples
    --------
    >>> no_such("sample", "T1", ["ymc_T1", "ymc_T2"])
    "there is no sample 'T1': it has 'ymc_T1', 'ymc_T2'; did you mean 'ymc_T1'?"
    """
    known = [str(value) for value in there]
    place = f" {where}" if where else ""
    meant = nearest(str(name), known)
    return (
        f"there is no {kind} {str(name)!r}{place}: it has {some(known, 6) if known else 'none'}"
        f"{f'; did you mean {meant!r}?' if meant else ''}"
    )


def nearest(name: str, there: Iterable[str]) -> str | None:
    """Return the one of `there` that `name` was probably meant to be, or None.

    Examples
    --------
    >>> nearest("deepchrom", ["Linear", "DeepChrome"])
    'DeepChrome'
    """
    known = list(there)
    lower = {value.lower(): value for value in reversed(known)}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    if close:
        return lower[close[0]]
    parts = [value for value in known if name and name.lower() in value.lower()]
    return min(parts, key=len) if parts else None


@contextmanager
def speaking_shell(names: Mapping[str, str]) -> Iterator[None]:
    """Let :func:`option` name arguments as the shell does; `names` holds options that are called otherwise."""
    token = _SHELL.set(names)
    try:
        yield
    finally:
        _SHELL.reset(token)


def option(name: str, value: Any = None) -> str:
    """Name an argument as the reader would type it: in Python, or in the shell when a command is running.

    Parameters
    ----------
    name
        The argument in Python.
    value
        Its value; True for a switch, None for no value.

    Examples
    --------
    >>> option("keep_scaffolds", True)
    'keep_scaffolds=True'
    >>> with speaking_shell({"samples": "--sample"}):
    ...     option("keep_scaffolds", True), option("samples", "K562")
    ('--keep-scaffolds', '--sample K562')
    """
    renamed = _SHELL.get()
    if renamed is None:
        return f"{name}=" if value is None else f"{name}={value!r}"
    typed = renamed.get(name, f"--{name.replace('_', '-')}")
    return typed if value is None or value is True else f"{typed} {value}"
