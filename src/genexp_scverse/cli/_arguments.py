"""Kinds of arguments, and words that several commands share; imports nothing heavy."""

from __future__ import annotations

import argparse
import importlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genexp_scverse._checks import NUMBERS, Limit
from genexp_scverse._errors import InputError, no_such, not_known

if TYPE_CHECKING:
    from mudata import MuData

MUDATA = "file (.h5mu) or folder (.zarr) from genexp build"
MODEL = "directory from genexp train"
SAMPLE = "only this sample (may be given again); by default those the model was trained on, as far as MUDATA has them"
TABLE = "TSV to write; by default the table goes to the terminal"
SEED = "seed of %s (default %%(default)s)"


def later(module: str) -> Callable[[argparse.Namespace], int | None]:
    """Make the function that imports a command's module when the command is run."""

    def run(args: argparse.Namespace) -> int | None:
        return importlib.import_module(f"genexp_scverse.cli.{module}").run(args)

    return run


def number(row: Limit, words: str | None = None) -> Callable[[str], float]:
    """Make the type of an option whose argument has this row in the table of checks.

    Examples
    --------
    >>> number(NUMBERS["lr"])("0.01")
    0.01
    """
    said = words or (
        f"{'whole number' if row.whole else 'number'} "
        + (f"above {row.low:g}" if row.above else f"from {row.low:.0f} {'on' if row.high == math.inf else 'to'}")
        + ("" if row.high == math.inf else f" and below {row.high:g}" if row.below else f" {row.high:.0f}")
    )

    def read(text: str) -> float:
        try:
            value = int(text) if row.whole else float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and row.holds(value)):
            msg = f"{text!r} is no {said}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return read


count = number(NUMBERS["n_bootstrap"])
positive = number(NUMBERS["max_epochs"])
seed_number = number(NUMBERS["seed"])
kmer = number(Limit(0, 8))
"""A length of k-mers, or 0 for none."""
rate = number(NUMBERS["lr"])
share = number(Limit(0, 1, whole=False), "share from 0 to 1")
inner_share = number(NUMBERS["coverage"], "share above 0 and below 1")


def check_model(name: str) -> None:
    """Raise for a model that is not registered, before anything heavy is imported."""
    from genexp_scverse.model import MODELS

    if name not in MODELS:
        raise InputError(no_such("model", name, MODELS))


def check_names(
    mdata: MuData, samples: Sequence[str] | None, marks: Sequence[str] | None = None, *, model: str | None = None
) -> None:
    """Raise for a sample or mark that stands nowhere in the MuData, nor as a sample in the folder of a model.

    What a model makes of one that stands there, it says itself.
    """
    tables = [mdata.mod[name].var for name in mdata.mod if "sample" in mdata.mod[name].var]
    if "genome" in mdata.uns or not tables:
        # the tracks of a genome store are looked up where they are read
        return
    known = dict.fromkeys(str(s) for var in tables for s in var["sample"])
    known |= dict.fromkeys(_samples_of(model))
    there = dict.fromkeys(str(m) for var in tables if "mark" in var for m in var["mark"])
    for kind, asked, found in (("sample", samples, known), ("mark", marks, there)):
        for name in asked or ():
            if name not in found and (kind, name) != ("mark", "all"):
                raise InputError(no_such(kind, name, found, where="in the MuData"))


def _samples_of(model: str | None) -> list[str]:
    """Read the samples of a saved model; none where it cannot be read, which is said when it is loaded."""
    try:
        return [str(s) for s in json.loads((Path(model or "") / "model.json").read_text())["setup"]["samples"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


class Parser(argparse.ArgumentParser):
    """A parser that says what was probably meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(action, not_known(repr(value), value, known))

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        """Read arguments; one that is not known is said by the command that it was given to."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            commands: Any = next(a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction))
            parser = commands.get(getattr(found, "command", None), self)
            name = unknown[0].partition("=")[0]
            if name.startswith("-"):
                options = [o for a in parser._actions for o in a.option_strings if o.startswith("--")]
                parser.error(no_such("option", name, options))
            parser.error(f"{unknown[0]!r} is one argument too many: see {parser.prog} --help")
        return found


def named_columns(text: str | None) -> list[str] | dict[str, str] | None:
    """``"K562,H1"`` to a list, ``"K562=TPM,H1"`` to a dict sample -> column."""
    names = comma_list(text)
    if names is None or not any("=" in name for name in names):
        return names
    pairs = [name.partition("=") for name in names]
    return {sample.strip(): (column or sample).strip() for sample, _, column in pairs}


def comma_list(text: str | None) -> list[str] | None:
    """``"chr2,chr10"`` to a list; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def units(given: list[str]) -> str | dict[str, str] | None:
    """``["fpkm"]`` to ``"fpkm"``, ``["K562=log", "H1=counts"]`` to a dict."""
    if not given:
        return None
    for_all = [u for u in given if "=" not in u]
    if for_all and len(set(given)) > 1:
        msg = (
            f"--unit {for_all[0]} is for all samples and stands beside {_others(given, for_all[0])}: give one unit "
            "for all, or SAMPLE=UNIT for each"
        )
        raise InputError(msg)
    if for_all:
        return for_all[0]
    by_sample: dict[str, str] = {}
    for text in given:
        sample, _, unit = text.rpartition("=")
        if not sample or not unit:
            msg = f"--unit {text} names no sample or no unit: write --unit SAMPLE=UNIT"
            raise InputError(msg)
        if by_sample.get(sample, unit) != unit:
            msg = f"--unit gives {sample} two units, {by_sample[sample]} and {unit}: give it one"
            raise InputError(msg)
        by_sample[sample] = unit
    return by_sample


def _others(given: list[str], but: str) -> str:
    """Name the other units that were given."""
    return ", ".join(f"--unit {u}" for u in given if u != but)
