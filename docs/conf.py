"""Sphinx settings. The documentation builds without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.ext.napoleon import NumpyDocstring

here = Path(__file__).parent

project = "genexp_scverse"
author = "The genexp_scverse developers"
copyright = author
version = release = installed_version("genexp-scverse")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tutorials carry their outputs
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = "genexp_scverse"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "source_repository": "https://github.com/genexp-scverse/genexp-scverse",
    "source_branch": "main",
    "source_directory": "docs/",
}


def setup(app) -> None:
    """Put the tutorials and the help of the commands where the pages include them."""
    copy_tutorials()
    write_command_help()
    app.connect("autodoc-process-docstring", leave_out_docstring_of_type)


def copy_tutorials() -> None:
    for notebook in sorted((here.parent / "tutorials").glob("*.ipynb")):
        shutil.copy2(notebook, here / "tutorials")


def write_command_help() -> None:
    folder = here / "user_guide" / "generated"
    folder.mkdir(exist_ok=True)
    run = [sys.executable, "-c", "import sys; from genexp_scverse.cli import main; sys.exit(main())"]
    for command in ("build", "train", "predict", "evaluate", "compare", "elements", "reproduce", "demo"):
        done = subprocess.run(
            [*run, command, "--help"],
            env={**os.environ, "COLUMNS": "88", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        (folder / f"{command}.txt").write_text(done.stdout, encoding="utf-8")


def leave_out_docstring_of_type(app, what, name, obj, options, lines: list[str]) -> None:
    """A constant without a docstring would show that of ``str`` or ``tuple``."""
    if what == "data" and lines and lines[0] == (type(obj).__doc__ or "").strip().split("\n")[0]:
        lines.clear()


def _returns_as_prose(self: NumpyDocstring, section: str) -> list[str]:
    """Types stand in the signature, so that the first line under Returns is text and not a type."""
    lines = self._dedent(self._consume_to_next_section())
    return self._format_block(":returns: ", lines)


NumpyDocstring._parse_returns_section = _returns_as_prose  # type: ignore[method-assign]


def _attribute_as_prose(self: NumpyDocstring) -> tuple[str, list[str]]:
    """What stands before a colon in the docstring of an attribute is text and not a type."""
    return "", self._dedent(self._consume_to_end())


NumpyDocstring._consume_inline_attribute = _attribute_as_prose  # type: ignore[method-assign]
