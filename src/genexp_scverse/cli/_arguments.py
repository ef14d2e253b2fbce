"""Kinds of arguments, and words that several commands share; imports nothing heavy."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable

from genexp_scverse._errors import InputError

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


def _whole(text: str, least: int, most: int | None = None) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        msg = f"{text!r} is no whole number from {least} {'on' if most is None else f'to {most}'}"
        raise argparse.ArgumentTypeError(msg)
    return value


def count(text: str) -> int:
    """Read a whole number from 0 on."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    return _whole(text, 1)


def seed_number(text: str) -> int:
    """Read a seed that every generator takes."""
    return _whole(text, 0, 2**32 - 1)


def kmer(text: str) -> int:
    """Read a length of k-mers, 0 to 8."""
    return _whole(text, 0, 8)


def rate(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        msg = f"{text!r} is no number above 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def share(text: str) -> float:
    """Read a share, 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        msg = f"{text!r} is no share from 0 to 1"
        raise argparse.ArgumentTypeError(msg)
    return value


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
