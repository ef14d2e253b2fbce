"""What a saved model says of itself, as data: every value is checked before anything is made from it.

A dataclass lists its keys and, in the annotation, what each may hold; :meth:`Plain.from_json` reads it from a
dictionary of JSON and names what is wrong with it, and :meth:`Plain.to_json` gives the dictionary again.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, get_type_hints

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse.io.ids import is_printable
from genexp_scverse.model.base._registration import ROLES, TARGETS
from genexp_scverse.pp.scaler import TRANSFORMS

FORMAT = 1
_MOST_GENES, _MOST_NAMES, _LONGEST_NAME = 10_000_000, 100_000, 1000
_MOST_BINS, _MOST_BASES = 10**7, 10**9

Check = Callable[[Any], str]
"""Says what a value should be, or nothing where it is that."""


def flag(value: Any) -> str:
    """Check for true or false."""
    return "" if isinstance(value, bool) else "true or false"


def text(value: Any) -> str:
    """Check for a name."""
    fits = isinstance(value, str) and len(value) <= _LONGEST_NAME and is_printable(value)
    return "" if fits else f"printable text of at most {_LONGEST_NAME} characters"


def whole(low: int, high: int) -> Check:
    """Check for a whole number in a range."""

    def check(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if fits else f"a whole number from {low} to {high}"

    return check


def number(low: float = -math.inf, *, above: bool = False) -> Check:
    """Check for a finite number of at least `low`, or above it."""

    def check(value: Any) -> str:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30
        fits = fits and (value > low if above else value >= low)
        where = "" if low == -math.inf else f" {'above' if above else 'of at least'} {low:g}"
        return "" if fits else f"a finite number{where}"

    return check


def one_of(*known: Any) -> Check:
    """Check for one of some words."""
    return lambda value: "" if isinstance(value, str) and value in known else f"one of {', '.join(known)}"


def maybe(check: Check) -> Check:
    """Check for what another check says, or null."""
    return lambda value: "" if value is None else (wrong := check(value)) and f"{wrong}, or null"


def list_of(check: Check, *, most: int = _MOST_NAMES, length: int | None = None, distinct: bool = False) -> Check:
    """Check for a list of what another check says."""

    def wrong(value: Any) -> str:
        if not isinstance(value, list) or len(value) > most or (length is not None and len(value) != length):
            return f"a list of {f'at most {most}' if length is None else length}"
        inner = next((w for v in value if (w := check(v))), "")
        if not inner and distinct and len(set(value)) < len(value):
            return "a list without repetition"
        return inner and f"a list whose every entry is {inner}"

    return wrong


def map_of(check: Check, *, most: int = _MOST_NAMES) -> Check:
    """Check for a dictionary from names to what another check says."""

    def wrong(value: Any) -> str:
        if not isinstance(value, dict) or len(value) > most:
            return f"a dictionary of at most {most}"
        inner = next((w for k, v in value.items() if (w := text(k) or check(v))), "")
        return inner and f"a dictionary whose every value is {inner}"

    return wrong


def record(checks: dict[str, Check], optional: tuple[str, ...] = ()) -> Check:
    """Check for a dictionary of known keys."""

    def wrong(value: Any) -> str:
        if not isinstance(value, dict) or not set(checks) - set(optional) <= set(value) <= set(checks):
            return f"a dictionary of {', '.join(checks)}"
        return next((f"a dictionary whose {k} is {w}" for k, v in value.items() if (w := checks[k](v))), "")

    return wrong


def plain(value: Any, depth: int = 5) -> str:
    """Check for a number, a name, true, false or null, and short lists and dictionaries of them."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        return "" if abs(value) <= 1e12 else "a number between -1e12 and 1e12"
    if isinstance(value, str):
        return text(value)
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    if depth and len(inner) <= 1000:
        return next((w for v in inner if (w := plain(v, depth - 1))), "")
    return "of few numbers, names and short lists"


class _Absent:
    """Stands for a key that was not there, and is not written either."""

    def __bool__(self) -> bool:
        return False


ABSENT: Any = _Absent()


@dataclasses.dataclass(frozen=True)
class Plain:
    """Values of known keys that were checked."""

    place: ClassVar[str]
    """Where they stand, for messages."""

    @classmethod
    def from_json(cls, content: Any) -> Any:
        """Read from a dictionary; raises InputError where a key is missing or unknown, or holds what it may not."""
        if not isinstance(content, dict):
            msg = f"{cls.place} is no dictionary"
            raise InputError(msg)
        own: Any = cls
        hints = _hints(own)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        if unknown := [k for k in content if k not in fields]:
            msg = f"{cls.place} has the key {some([k[:50] for k in unknown])}, which this version does not know"
            raise InputError(msg)
        missing = [k for k, f in fields.items() if f.default is dataclasses.MISSING and k not in content]
        if missing:
            msg = f"{cls.place} lacks {some(missing)}"
            raise InputError(msg)
        for k, value in content.items():
            (check,) = hints[k].__metadata__
            if should := check(value):
                msg = f"{k!r} in {cls.place} is {_shown(value)} and should be {should}"
                raise InputError(msg)
        made = cls(**content)
        if wrong := made.contradiction():
            msg = f"{cls.place} contradicts itself: {wrong}"
            raise InputError(msg)
        return made

    def to_json(self) -> dict[str, Any]:
        """Give the values as a dictionary, without what may be left out and was."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in values.items() if v is not ABSENT}

    def contradiction(self) -> str:
        """Say which of the values do not go together."""
        return ""


_WINDOW: dict[str, Check] = {"upstream": whole(0, _MOST_BASES), "downstream": whole(0, _MOST_BASES), "stranded": flag}


@dataclasses.dataclass(frozen=True)
class Setup(Plain):
    """What a model was registered for, see :func:`~genexp_scverse.model.base._registration.resolve_setup`."""

    place = '"setup"'

    target: Annotated[str, one_of(*TARGETS)]
    split_key: Annotated[str, text]
    modalities: Annotated[dict[str, str | None], record(dict.fromkeys(ROLES, maybe(text)))]
    samples: Annotated[list[str], list_of(text, distinct=True)]
    marks: Annotated[list[str] | None, maybe(list_of(text, distinct=True))]
    n_bins: Annotated[int, whole(0, _MOST_BINS)]
    window: Annotated[dict[str, Any] | None, maybe(record({**_WINDOW, "bin_size": whole(1, _MOST_BASES)}))]
    features: Annotated[list[str], list_of(text, distinct=True)]
    scales: Annotated[dict[str, list[str]], map_of(list_of(one_of(*schema.SCALES), most=len(schema.SCALES)))]
    units: Annotated[dict[str, str], map_of(one_of(*schema.UNITS))]
    sample_features: Annotated[bool, flag] = False
    # models saved before marks could be masked lack it
    masked: Annotated[bool, flag] = False
    binning: Annotated[dict[str, str] | None, maybe(map_of(text))] = None
    dna: Annotated[list[dict[str, str] | None] | None, maybe(list_of(maybe(map_of(text)), length=2))] = None
    codes: Annotated[dict[str, Any] | None, maybe(record(_WINDOW))] = None
    genome: Annotated[bool, flag] = False

    def contradiction(self) -> str:
        """Say which of the values do not go together: marks have bins, and something is read."""
        if bool(self.marks) != (self.n_bins > 0):
            return f"{len(self.marks or [])} marks of {self.n_bins} bins"
        if not self.samples or not (self.marks or self.features or self.codes):
            return "it names no sample, or nothing that is read"
        return ""


_SIDES = map_of(map_of(list_of(number(), most=100_000)))
_SCALER = record(
    {
        "transform": one_of(*TRANSFORMS),
        "marks": list_of(text, distinct=True),
        "divisors": list_of(number(1e-20)),
        "reference": _SIDES,
        "knots": _SIDES,
    },
    optional=("reference", "knots"),
)


@dataclasses.dataclass(frozen=True)
class Fitted(Plain):
    """What was fitted on the training genes besides the estimator."""

    place = '"fitted"'

    thresholds: Annotated[dict[str, float], map_of(number())]
    level_mean: Annotated[dict[str, float], map_of(number())]
    level_std: Annotated[dict[str, float], map_of(number(0, above=True))]
    n_train: Annotated[int, whole(0, 10**12)]
    training_genes: Annotated[list[str], list_of(text, most=_MOST_GENES)]
    train_seconds: Annotated[float | None, number(0)] = ABSENT
    scaler: Annotated[dict[str, Any] | None, _SCALER] = ABSENT
    feature_mean: Annotated[list[float] | None, list_of(number())] = ABSENT
    feature_std: Annotated[list[float] | None, list_of(number(0, above=True))] = ABSENT
    epochs: Annotated[int | None, whole(0, 10**9)] = ABSENT
    best_epoch: Annotated[int | None, whole(0, 10**9)] = ABSENT
    best_epochs: Annotated[dict[str, int] | None, map_of(whole(0, 10**9))] = ABSENT
    maxima: Annotated[dict[str, float] | None, map_of(number())] = ABSENT
    latent_variance: Annotated[list[float] | None, list_of(number(0))] = ABSENT
    n_members: Annotated[int | None, whole(1, 10_000)] = ABSENT
    platt: Annotated[list[float] | None, maybe(list_of(number(), length=2))] = ABSENT

    def contradiction(self) -> str:
        """Say what does not go together: levels have a mean and a spread, marks a divisor, features both."""
        if set(self.level_mean) != set(self.level_std):
            return "level_mean and level_std are of other samples"
        if self.scaler and len(self.scaler["marks"]) != len(self.scaler["divisors"]):
            return f"{len(self.scaler['marks'])} marks with {len(self.scaler['divisors'])} divisors"
        if len(self.feature_mean or []) != len(self.feature_std or []):
            return "feature_mean and feature_std are of other features"
        return ""


def _column(value: Any) -> str:
    return "" if isinstance(value, list) and len(value) <= 10**7 else "a list"


def _dictionary(value: Any) -> str:
    return "" if isinstance(value, dict) else "a dictionary"


@dataclasses.dataclass(frozen=True)
class Description(Plain):
    """All that ``model.json`` holds."""

    place = "it"

    format: Annotated[int, whole(0, 10**6)]
    model: Annotated[str, text]
    setting: Annotated[str, text]
    seed: Annotated[int, whole(-(2**63), 2**64)]
    hyperparameters: Annotated[dict[str, Any], _dictionary]
    setup: Annotated[Any, _dictionary]
    fitted: Annotated[Any, _dictionary]
    history: Annotated[dict[str, list] | None, maybe(map_of(_column))]
    package: Annotated[str | None, text] = None

    @classmethod
    def from_json(cls, content: Any) -> Description:
        """Read with setup and fitted values in it."""
        if isinstance(content, dict) and whole(0, 10**6)(content.get("format")) == "" and content["format"] != FORMAT:
            msg = f"has format {content['format']}, this version of the package reads {FORMAT}: update the package"
            raise InputError(msg)
        made = super().from_json(content)
        if should := plain(made.hyperparameters):
            msg = f'"hyperparameters" hold {_shown(made.hyperparameters)} and should be {should}'
            raise InputError(msg)
        return dataclasses.replace(made, setup=Setup.from_json(made.setup), fitted=Fitted.from_json(made.fitted))

    def contradiction(self) -> str:
        """Say which columns of the history are not of the same epochs, or of no numbers."""
        columns = self.history or {}
        if len({len(values) for values in columns.values()}) > 1 or (self.history is not None and not columns):
            return "columns of its history differ in length"
        wanted = {name: str if name == "stage" else int | float | None for name in columns}
        wrong = [name for name, values in columns.items() if not all(isinstance(v, wanted[name]) for v in values)]
        return f"its history has the column {some(wrong)} of other things than numbers" if wrong else ""


def check_goes_together(description: Description) -> None:
    """Raise where setup and fitted values are of other samples, marks or features."""
    setup, fitted = description.setup, description.fitted
    wrong = ""
    if set(fitted.level_mean) - set(setup.samples) or set(fitted.thresholds) - set(setup.samples):
        wrong = "levels of samples that it does not list"
    marks = set(fitted.scaler["marks"]) if fitted.scaler else set()
    if not set(setup.marks or []) <= marks:
        wrong = "marks that have no divisor"
    if setup.features and len(fitted.feature_mean or []) != len(setup.features):
        wrong = "features of the DNA without a mean"
    if wrong:
        msg = f'"setup" and "fitted" contradict each other: {wrong}'
        raise InputError(msg)


def check_kinds(defaults: dict[str, Any], hyperparameters: dict[str, Any]) -> None:
    """Raise where a hyperparameter that is a word or a switch by default is something else."""
    for name, default in defaults.items():
        value = hyperparameters.get(name, default)
        if isinstance(default, bool | str) and name != "model" and type(value) is not type(default):
            msg = f"{name}={_shown(value)} is not possible: it is a {'word' if isinstance(default, str) else 'switch'}"
            raise InputError(msg)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Types of a class, made of text once: that takes longer than all of the checks."""
    return get_type_hints(cls, include_extras=True)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
