"""Where commands write: asked before the work, so that a wrong name does not cost it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genexp_scverse._errors import InputError
from genexp_scverse._output import check_place, is_special, written

if TYPE_CHECKING:
    import pandas as pd

_DESCRIPTION = "model.json"
_FIGURES = (".png", ".pdf", ".svg")
_DEMO = ".genexp_demo"
_FORMAT: dict[str, Any] = {"sep": "\t", "float_format": "%.6g"}


def write_table(table: pd.DataFrame, path: str | Path | None) -> None:
    """Write a TSV whole or not at all; to standard output without a path, straight into a pipe or device."""
    if path is None:
        _print_table(table)
        return
    check_table_path(path)
    with written(path) as made, made.open("w", encoding="utf-8") as handle:
        table.to_csv(handle, **_FORMAT)


def _print_table(table: pd.DataFrame) -> None:
    try:
        table.to_csv(sys.stdout, **_FORMAT)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        msg = f"the table could not be written to standard output ({error.strerror or error}): name a file with -o"
        raise InputError(msg) from error


def write_figure(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure whole or not at all."""
    with written(path) as made:
        figure.savefig(made, dpi=150, bbox_inches="tight")


def drop_stdout() -> None:
    """Send what is left in the buffer of stdout nowhere, so that the end of the interpreter does not fail on it."""
    # a stream in memory has no descriptor, and nothing to lose
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def on_terminal() -> bool:
    """Tell whether somebody watches; the bar of scvi-tools goes to stdout, which may be a file."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def check_table_path(path: str | Path | None) -> None:
    """Raise when `path` cannot become a file."""
    if path is None:
        return
    if Path(path).is_dir():
        msg = f"{path} is a folder: give the name of a TSV file"
        raise InputError(msg)
    if not is_special(path):
        check_place(path)


def check_figure_path(path: str | Path | None) -> None:
    """Raise when `path` cannot become a figure."""
    if path is None:
        return
    if Path(path).suffix.lower() not in _FIGURES:
        msg = f"{path} names no kind of figure: let the name end in {', '.join(_FIGURES)}"
        raise InputError(msg)
    if Path(path).is_dir():
        msg = f"{path} is a folder: give the name of a figure"
        raise InputError(msg)
    check_place(path)


def check_model_directory(path: str | Path) -> None:
    """Raise when `path` cannot become the directory of a model; a model that is there may be replaced."""
    directory = Path(path)
    is_model = directory.is_dir() and (directory / _DESCRIPTION).is_file()
    if directory.exists() and not is_model and not (directory.is_dir() and not any(directory.iterdir())):
        msg = f"{directory} exists and is not a saved model, so it is not replaced: choose another directory"
        raise InputError(msg)
    check_place(directory)


def mark_demo(directory: Path) -> None:
    """Make the directory of a demo and mark it; raise when it holds files that no demo made."""
    try:
        if directory.is_dir() and any(directory.iterdir()) and not (directory / _DEMO).is_file():
            msg = f"{directory} holds files that are not from genexp demo: name a new or empty directory with -o"
            raise InputError(msg)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _DEMO).write_text("genexp demo made this folder and may replace what is in it.\n")
    except OSError as error:
        msg = f"{directory} cannot be written to ({error.strerror or error}): name another directory with -o"
        raise InputError(msg) from error
