"""Entry point: parse, call, and say a user's error in one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from genexp_scverse._errors import InputError, speaking_shell, spoken
from genexp_scverse._signals import signal_of, terminable
from genexp_scverse.cli._outputs import drop_stdout
from genexp_scverse.cli._parser import make_parser

_OPTIONS = {
    "samples": "--sample",
    "marks": "--mark",
    "test": "--test-chroms",
    "valid": "--valid-chroms",
    "n_bootstrap": "--bootstrap",
    "n_jobs": "--jobs",
}
"""Arguments of Python whose options have another name than ``--name-of-argument``."""

_HYPERPARAMETERS = {"compare": "--model LABEL=NAME with", "train": "--set"}
"""How the commands that take hyperparameters name one."""

_WORDS = [
    (r"gx\.io\.build_mudata or `genexp build`", "genexp build"),
    (r"gx\.io\.build_mudata( and setup_mudata)?", "genexp build"),
    (r"gx\.pp\.split_by_chromosome(\(mdata\))?", "genexp build"),
    (r"gx\.pp\.split_at_random", "--split random of genexp build"),
    (r"gx\.pp\.split_by_fold", "--fold of genexp build"),
    (r"gx\.pp\.label(\(mdata\))?", "genexp build"),
    (r"gx\.pp\.sequence_features", "genexp build --fasta"),
    (r"model\.save wrote", "genexp train wrote"),
    (r"model\.train\(\)", "genexp train"),
    (r"(?:gx\.)(\w+)\.(\w+)(\([^()]*\))?", r"the Python function \2 of \1"),
    (r"model\.(\w+)\([^()]*\)", r"the method \1 of the model in Python"),
    (r'mdata\.obs\["(\w+)"\]', r"the column \1 of the genes"),
    (r'mdata\["(\w+)"\]\.(obsm|uns|layers|varm) has no', r"\1 of the MuData has among its \2 no"),
    (r'mdata\["(\w+)"\](?:\.(\w+))?(?:\["(\w+)"\])?', lambda m: "/".join(part for part in m.groups() if part)),
    (r"mdata\.obsp\b", "the MuData"),
    (r"mdata\.obs_names\b", "the MuData"),
    (r"mdata\.(obs|uns)\b", "the MuData"),
    (r", or be None for all\b|; give None for all\b", ""),
]
"""What is typed in Python, and what stands for it in the messages of a command; the first that fits is taken."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``genexp``.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    Exit code: 0, 2 for a user's error, 130 when Ctrl-C and 143 when SIGTERM has ended it.
    """
    args = make_parser().parse_args(argv)
    try:
        with speaking_shell(*_language(args)), terminable():
            try:
                code = args.run(args) or 0
            except InputError as error:
                raise InputError(spoken(str(error))) from error
        # a reader of our output that has gone is noticed here, not when the interpreter ends
        sys.stdout.flush()
        return code
    except InputError as error:
        sys.stderr.write(f"genexp {args.command}: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt as error:
        sys.stderr.write(f"genexp {args.command}: interrupted; no file was left half-written\n")
        return 128 + signal_of(error)
    except BrokenPipeError:
        drop_stdout()
        return 0


def _language(args: argparse.Namespace) -> tuple[dict[str, str], list[tuple]]:
    """Give what names options, and what is said in place of Python, for a command and its options."""
    names = {**_OPTIONS, "hyperparameters": _HYPERPARAMETERS.get(args.command, "--set")}
    typed = {name: f"--{name.replace('_', '-')}" for name in vars(args) if name not in ("command", "run")}
    known = "|".join({**typed, **_OPTIONS})
    return names, [*_WORDS, (rf"\b({known})=(?:\"(\w+)\"|'(\w+)')", lambda m: _typed(m, {**typed, **_OPTIONS}))]


def _typed(found: re.Match, options: dict[str, str]) -> str:
    return f"{options[found[1]]} {found[2] or found[3]}"
