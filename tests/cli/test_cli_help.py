from __future__ import annotations

import re
import subprocess
import sys

import pytest

from genexp_scverse.cli._parser import make_parser

COMMANDS = ["build", "train", "predict", "evaluate", "compare", "elements", "reproduce", "demo"]
HEAVY = ("torch", "scvi", "lightning", "anndata", "mudata", "pandas", "numpy", "matplotlib", "sklearn", "pyBigWig")


def parsers():
    subparsers = next(a for a in make_parser()._actions if hasattr(a, "choices") and a.choices)
    return subparsers.choices


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)])
def test_help_imports_nothing_heavy(argv):
    code = (
        "import sys\nfrom genexp_scverse.cli import main\n"
        f"try:\n    main({argv!r})\nexcept SystemExit as stopped:\n    assert stopped.code == 0\n"
        f"sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith(("usage: genexp", "genexp "))


def test_every_command_is_there():
    assert sorted(parsers()) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_is_explained_with_its_default(command):
    parser = parsers()[command]
    assert parser.description
    text = parser.format_help()
    assert "%%" not in text
    for action in parser._actions:
        assert action.help, action.option_strings
        given = action.default not in (None, False, [], "==SUPPRESS==")
        if given and action.nargs != 0:
            said = re.sub(r"%\(default\)s", str(action.default), action.help)
            assert f"default {action.default}" in said, action.option_strings
