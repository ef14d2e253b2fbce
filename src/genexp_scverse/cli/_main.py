"""Entry point: parse, call, and say a user's error in one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from genexp_scverse._errors import InputError, speaking_shell
from genexp_scverse.cli._outputs import drop_stdout
from genexp_scverse.cli._parser import make_parser

_OPTIONS = {"samples": "--sample", "marks": "--mark", "test": "--test-chroms", "valid": "--valid-chroms"}
"""Arguments of Python whose options have another name than ``--name-of-argument``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``genexp``.

    Parameters
    ----------
    argv
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    Exit code: 0, 2 for a user's error, 130 when interrupted.
    """
    args = make_parser().parse_args(argv)
    try:
        with speaking_shell(_OPTIONS):
            code = args.run(args) or 0
        # a reader of our output that has gone is noticed here, not when the interpreter ends
        sys.stdout.flush()
        return code
    except InputError as error:
        sys.stderr.write(f"genexp {args.command}: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"genexp {args.command}: interrupted; no file was left half-written\n")
        return 130
    except BrokenPipeError:
        drop_stdout()
        return 0
