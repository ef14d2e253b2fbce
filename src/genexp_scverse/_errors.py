"""The one exception for what a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """A file, a table or an argument does not fit.

    The message is one sentence that names the thing, the value and the mend. The command line prints it
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
