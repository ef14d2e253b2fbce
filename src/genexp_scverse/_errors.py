"""The one exception for what a user can fix, and the parts that its sentences are made of."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple


class _Shell(NamedTuple):
    names: Mapping[str, str]
    words: Sequence[tuple[str, Any]]


_SHELL: ContextVar[_Shell | None] = ContextVar("_SHELL", default=None)


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
    # among tens of thousands of genes the search takes seconds
    meant = nearest(str(name), known) if len(known) <= 5000 else None
    return (
        f"there is no {kind} {str(name)!r}{place}: it has {some(known, 12) if known else 'none'}"
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
    words = {word: value for value in reversed(known) for word in value.lower().split()}
    close = difflib.get_close_matches(name.lower(), list(words), n=1, cutoff=0.6)
    if close:
        return words[close[0]]
    parts = [value for value in known if name and name.lower() in value.lower()]
    return min(parts, key=len) if parts else None


def not_known(said: str, value: Any, known: Iterable[str]) -> str:
    """Say that a word is none of the choices, and what was probably meant; `said` names the argument and the value.

    Examples
    --------
    >>> not_known("split='tset'", "tset", ["train", "valid", "test"])
    "split='tset' is not known: choose one of train, valid, test; did you mean 'test'?"
    """
    known = list(known)
    meant = nearest(str(value), known)
    return f"{said} is not known: choose one of {', '.join(known)}{f'; did you mean {meant!r}?' if meant else ''}"


@contextmanager
def speaking_shell(names: Mapping[str, str], words: Sequence[tuple[str, Any]] = ()) -> Iterator[None]:
    """Let messages speak as the shell does.

    Parameters
    ----------
    names
        Argument of Python -> option, for :func:`option`, where it is not ``--name-of-argument``.
    words
        Regular expressions of what is typed in Python, and what stands for it in the shell, for :func:`spoken`.
    """
    token = _SHELL.set(_Shell(names, words))
    try:
        yield
    finally:
        _SHELL.reset(token)


def in_shell() -> bool:
    """Tell whether a command is running, so that messages speak its language."""
    return _SHELL.get() is not None


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
    shell = _SHELL.get()
    if shell is None:
        return f"{name}=" if value is None else f"{name}={value!r}"
    typed = shell.names.get(name, f"--{name.replace('_', '-')}")
    return typed if value is None or value is True else f"{typed} {value}"


def setting(name: str, value: Any) -> str:
    """Name a hyperparameter as the reader would type it: ``dropout=2`` in Python, ``--set dropout=2`` in the shell.

    Examples
    --------
    >>> setting("stranded", "yes")
    "stranded='yes'"
    >>> with speaking_shell({}):
    ...     setting("n_hidden", [20, 10])
    '--set n_hidden=[20, 10]'
    """
    shell = _SHELL.get()
    if shell is None:
        return f"{name}={value!r}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"{shell.names.get('hyperparameters', '--set')} {name}={text}"


def spoken(message: str) -> str:
    r"""Give a message as it is, or in the words of the shell while a command runs.

    Examples
    --------
    >>> with speaking_shell({}, [(r"gx\.io\.build_mudata", "genexp build")]):
    ...     spoken("see gx.io.build_mudata")
    'see genexp build'
    """
    shell = _SHELL.get()
    if shell is None:
        return message
    for pattern, words in shell.words:
        message = re.sub(pattern, words, message)
    return message
