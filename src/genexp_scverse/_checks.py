"""What an argument may be: one table by name, the types of the signatures, and one mechanism that compares.

:func:`checked` wraps every public function (see :mod:`genexp_scverse._lazy`) and every public method of a model. The
kind of a value comes from the annotation, its range or choices from :data:`ROWS`; the command line reads the same rows.
"""

from __future__ import annotations

import errno
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeVar

from genexp_scverse._errors import InputError, in_shell, no_such, not_known, option, setting, some

T = TypeVar("T")


class Limit(NamedTuple):
    """Range of a number, or of every number of a list; `below` and `above` exclude the ends, `optional` allows None.

    A list has `length` numbers, or, where that is None, `shortest` of them at least.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = True
    length: int | None = 0
    below: bool = False
    shortest: int = 0
    optional: bool = False
    above: bool = False

    def holds(self, value: Any) -> bool:
        """Tell whether one number is allowed."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        low = float(value) > self.low if self.above else float(value) >= self.low
        return low and (float(value) < self.high if self.below else float(value) <= self.high)

    @property
    def words(self) -> str:
        """What to give, in words."""
        many = "a list of " if self.length is None else ""
        what = "whole number" if self.whole else "number"
        many += f"{self.length or ''} {what}s".lstrip() if self.length != 0 else f"a {what}"
        low = "" if self.low == -math.inf else f" {'above' if self.above else 'of at least'} {_plain(self.low)}"
        high = "" if self.high == math.inf else f"{'below' if self.below else 'at most'} {_plain(self.high)}"
        return f"{many}{low}{', ' if low and high else ' ' if high else ''}{high}"


class Choice(NamedTuple):
    """One of these words."""

    known: tuple[str, ...]


SPLITS = ("train", "valid", "test")
_SHARE = Limit(0, 1, whole=False, above=True, below=True)
_COUNT, _FROM_1 = Limit(0), Limit(1)
_POSITIVE, _NOT_NEGATIVE = Limit(0, whole=False, above=True), Limit(0, whole=False)

NUMBERS: dict[str, Limit] = {
    # training
    "max_epochs": _FROM_1,
    "batch_size": _FROM_1,
    "lr": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "patience": _COUNT,
    # any generator takes a seed of 32 bits
    "seed": Limit(0, 2**32 - 1),
    "seeds": Limit(0, 2**32 - 1),
    # evaluation and drawing
    "n_bootstrap": _COUNT,
    "coverage": _SHARE,
    "coverages": _SHARE,
    "n_bins": _FROM_1,
    "max_genes": _FROM_1,
    "vmax_quantile": Limit(0, 1, whole=False, above=True),
    # patterns and elements
    "n_steps": _FROM_1,
    "penalty": _NOT_NEGATIVE,
    "merge_gap": _COUNT,
    "min_length": _COUNT,
    "exclude_promoter": _COUNT,
    # files, windows and graphs
    "bin_size": _FROM_1,
    "upstream": _COUNT,
    "downstream": _COUNT,
    "n_jobs": _FROM_1,
    "k": Limit(1, 8),
    "slop": _COUNT,
    "max_distance": _COUNT,
    "n_neighbors": _FROM_1,
    "n_genes": _FROM_1,
    "n_chroms": _FROM_1,
}
"""Ranges of numbers, or of every number of a list, by the name of the argument wherever it stands."""

WORDS: dict[str, Choice] = {
    "optimizer": Choice(("adamw", "adam", "sgd")),
    "schedule": Choice(("one_cycle", "constant", "inverse")),
    "accelerator": Choice(("auto", "cpu", "gpu", "cuda", "mps")),
    "target": Choice(("label", "expression", "both")),
    "split": Choice(SPLITS),
}
"""Choices by the name of the argument; those of one function stand in its annotation as a Literal."""

ROWS: dict[str, Limit | Choice] = {**NUMBERS, **WORDS}


class _Kind(NamedTuple):
    words: str
    fits: Callable[[Any], bool]


def _plain(number: float) -> str:
    return f"{int(number)}" if float(number).is_integer() else f"{number:g}"


def _names(value: Any) -> bool:
    # one name is a list of it, and the keys of a mapping are names
    return isinstance(value, Iterable) and not isinstance(value, bytes)


def _several(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _called(*names: str) -> Callable[[Any], bool]:
    """Compare by the name of the class, so that its package need not be imported."""
    return lambda value: any(base.__name__ in names for base in type(value).__mro__)


_WHOLE = _Kind("a whole number", lambda v: isinstance(v, Integral) and not isinstance(v, bool))
_NUMBER = _Kind("a number", lambda v: isinstance(v, Real) and not isinstance(v, bool))
_SWITCH = _Kind("True or False", lambda v: isinstance(v, bool) or type(v).__name__ in ("bool", "bool_"))
_PATH = _Kind("a path", lambda v: isinstance(v, str | os.PathLike) and str(v) != "")
_LIST = _Kind("a list of names", _names)
_NUMBERS = _Kind("a list of whole numbers", _several)
_MAPPING = _Kind("a dictionary", lambda v: isinstance(v, Mapping))
_TABLE = _Kind("a data frame", _called("DataFrame"))
_KINDS = {
    "int": _WHOLE,
    "float": _NUMBER,
    "bool": _SWITCH,
    "str": _Kind("a name", lambda v: isinstance(v, str) and v != ""),
    "None": _Kind("None", lambda v: v is None),
    **dict.fromkeys(("Path", "os.PathLike", "os.PathLike[str]"), _PATH),
    **dict.fromkeys(("Sequence[str]", "Iterable[str]", "list[str]"), _LIST),
    **dict.fromkeys(("Sequence[int]", "list[int]"), _NUMBERS),
    "Sequence[GeneModel]": _Kind("a list of models", _several),
    "Sequence[Axes]": _Kind("a list of axes", lambda v: _several(v) or hasattr(v, "flat")),
    "Sequence[float]": _Kind("a list of numbers", _several),
    "Sequence[str | os.PathLike]": _Kind("a list of paths", _several),
    "pd.DataFrame": _TABLE,
    "pd.Series": _Kind("a series", _called("Series")),
    "np.ndarray": _Kind("an array", _called("ndarray")),
    "AnnData": _Kind("an AnnData", _called("AnnData")),
    "MuData": _Kind("a MuData of genes", lambda v: hasattr(v, "mod") and hasattr(v, "n_obs")),
    "Axes": _Kind("the axes of a figure", lambda v: hasattr(v, "plot")),
    "GeneModel": _Kind("a model", lambda v: hasattr(v, "setup_")),
    "TorchGeneModel": _Kind("a model", lambda v: hasattr(v, "setup_")),
}
"""Kinds of values by how they stand in an annotation; one that holds another part is not checked."""


class _Argument(NamedTuple):
    kinds: tuple[_Kind, ...]
    row: Limit | Choice | None


def checked(function: T) -> T:
    """Return the function with its arguments compared with its signature and :data:`ROWS` before it runs.

    Of a class, all public methods are compared so. The signature stays as it is.

    Raises
    ------
    InputError
        From the function that is returned: for an argument that it has not, one that is missing, and a value that
        cannot be.

    Examples
    --------
    >>> import genexp_scverse as gx
    >>> try:
    ...     gx.datasets.simulate("folder", seed=-1)
    ... except gx.InputError as error:
    ...     print(error)
    seed=-1 is not possible: give a whole number of at least 0, at most 4294967295
    """
    if isinstance(function, type):
        check_methods(function)
        return function
    if not inspect.isfunction(function) or hasattr(function, "__genexp_checked__"):
        return function
    run: Callable[..., Any] = function
    signature = inspect.signature(run)
    arguments = {
        name: known for name, parameter in signature.parameters.items() if (known := _argument(name, parameter))
    }

    @functools.wraps(run)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(_misfit(run, signature, args, kwargs, str(error))) from None
        for name, value in bound.arguments.items():
            if name in arguments:
                bound.arguments[name] = _check(name, value, arguments[name])
        try:
            return run(*bound.args, **bound.kwargs)
        except OSError as error:
            # asking whether there is such a file already raises it, and files are named in many places
            if error.errno != errno.ENAMETOOLONG:
                raise
            name = str(error.filename)
            msg = f"{name[:60]}... ({len(name):,} letters) is too long for the name of a file: give a shorter one"
            raise InputError(msg) from None

    call.__genexp_checked__ = True  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def check_methods(cls: type) -> None:
    """Let the public methods that a class defines itself, and its ``__init__``, compare their arguments."""
    for name, method in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(method, classmethod | staticmethod):
            setattr(cls, name, type(method)(checked(method.__func__)))
        elif inspect.isfunction(method):
            setattr(cls, name, checked(method))


def check_limits(hyperparameters: Mapping[str, Any], limits: Mapping[str, Limit | Choice]) -> None:
    """Raise when a hyperparameter is not what its limit says."""
    if not isinstance(hyperparameters["stranded"], bool):
        msg = f"{setting('stranded', hyperparameters['stranded'])} is neither True nor False"
        raise InputError(msg)
    for name, limit in limits.items():
        value = hyperparameters[name]
        if isinstance(limit, Choice):
            if value not in limit.known:
                raise InputError(not_known(setting(name, value), value, limit.known))
            continue
        if value is None and limit.optional:
            continue
        values = [value] if limit.length == 0 else value
        fits = isinstance(values, list | tuple) and all(limit.holds(v) for v in values)
        if fits and limit.length != 0:
            fits = len(values) >= limit.shortest if limit.length is None else len(values) == limit.length
        if not fits:
            msg = f"{setting(name, value)} is not possible: give {limit.words}"
            raise InputError(msg)


def _argument(name: str, parameter: inspect.Parameter) -> _Argument | None:
    """Read an annotation; None where a part of it is not known here."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return None
    text = parameter.annotation if isinstance(parameter.annotation, str) else ""
    parts = _parts(text)
    row = ROWS.get(name)
    if len(parts) and (literal := re.fullmatch(r"Literal\[(.*)\]", parts[0])):
        row, parts[0] = Choice(tuple(re.findall(r"'([^']*)'|\"[^\"]*\"", literal[1].replace('"', "'")))), "str"
    kinds = [_kind(part) for part in parts]
    return None if None in kinds else _Argument(tuple(kinds), row)  # type: ignore[arg-type]


def _parts(annotation: str) -> list[str]:
    """Split an annotation at the bars that stand in no brackets."""
    parts, depth = [""], 0
    for letter in annotation:
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _kind(part: str) -> _Kind | None:
    if part == "dict" or part.startswith(("Mapping[", "dict[")):
        return _MAPPING
    return _KINDS.get(part)


def _check(name: str, value: Any, argument: _Argument) -> Any:
    """Raise when a value is not possible; return it, a number of numpy as one of Python."""
    kind = next((kind for kind in argument.kinds if kind.fits(value)), None)
    if kind is None:
        raise InputError(_not_possible(_said(name, value), value, argument))
    if value is None:
        return None
    if kind is _NUMBER and not isinstance(argument.row, Limit):
        wrong = name != "uncovered" and not math.isfinite(value)
    elif kind in (_WHOLE, _NUMBER):
        wrong = argument.row is not None and not argument.row.holds(value)  # type: ignore[union-attr]
    elif kind.words == "a name":
        wrong = isinstance(argument.row, Choice) and value not in argument.row.known
    elif kind is _NUMBERS or kind.words == "a list of numbers":
        each = argument.row if isinstance(argument.row, Limit) else Limit(whole=kind is _NUMBERS)
        few = list(value) if isinstance(value, Collection) and len(value) <= 100 else ()
        wrong = name != "indices" and not all(each.holds(v) for v in few)
    else:
        wrong = False
    if wrong:
        raise InputError(_not_possible(_said(name, value), value, argument))
    return value.item() if kind in (_WHOLE, _NUMBER, _SWITCH) and hasattr(value, "item") else value


def _said(name: str, value: Any) -> str:
    """Name an argument with its value where that is short, else with its type."""
    text = repr(value)
    if isinstance(value, str | Real | list | tuple | None) and len(text) <= 80 and "\n" not in text:
        return option(name, value)
    return f"{name} is {'an' if type(value).__name__[0] in 'AEIOUaeiou' else 'a'} {type(value).__name__}, which"


def _not_possible(said: str, value: Any, argument: _Argument) -> str:
    row = argument.row
    if isinstance(row, Choice) and isinstance(value, str):
        return not_known(said, value, row.known)
    if argument.kinds and argument.kinds[0] is _KINDS["MuData"]:
        got = "None" if value is None else type(value).__name__
        return f"expected a MuData of genes, got {got}: see gx.io.build_mudata"
    words = []
    for kind in argument.kinds:
        if isinstance(row, Choice) and kind.words == "a name":
            words.append(f"one of {', '.join(row.known)}")
        elif isinstance(row, Limit) and kind in (_WHOLE, _NUMBER):
            words.append(row.words)
        elif isinstance(row, Limit) and kind is _NUMBERS:
            words.append(row._replace(length=None).words)
        elif kind.words not in words and not (kind.words == "None" and in_shell()):
            words.append(kind.words)
    if not words and isinstance(row, Limit):
        words.append(row.words)
    return f"{said} is not possible: give {' or '.join(words)}"


def _misfit(
    function: Callable, signature: inspect.Signature, args: tuple, kwargs: Mapping[str, Any], error: str
) -> str:
    """Say why a call does not fit a signature: an unknown name, one that is missing, too many without a name."""
    where = f"of {function.__qualname__.removesuffix('.__init__')}"
    known = [p for name, p in signature.parameters.items() if name not in ("self", "cls")]
    names = [p.name for p in known if p.kind is not p.VAR_KEYWORD]
    if unknown := [name for name in kwargs if name not in signature.parameters]:
        return no_such("argument", unknown[0], names, where=where)
    positional = [p.name for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    given = len(args) - (len(signature.parameters) - len(known))
    if given > len(positional):
        rest = [name for name in names if name not in positional and name not in kwargs]
        named = f": name the others, such as {rest[0]}=..." if rest else ""
        return f"{given} values are given without a name, and {len(positional)} arguments {where} take one{named}"
    needed = [p.name for p in known if p.default is p.empty and p.kind is not p.VAR_KEYWORD and p.name not in kwargs]
    missing = [name for name in needed if name not in positional[:given]]
    return f"{some(missing)} is missing among the arguments {where}: give it" if missing else error
