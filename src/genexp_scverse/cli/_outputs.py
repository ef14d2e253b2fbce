"""Where commands write: asked before the work, so that a wrong name does not cost it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from genexp_scverse._errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_DESCRIPTION = "model.json"


def write_table(table: pd.DataFrame, path: str | Path | None) -> None:
    """Write a TSV whole or not at all; to standard output without a path."""
    if path is None:
        table.to_csv(sys.stdout, sep="\t", float_format="%.6g")
        return
    target = Path(path)
    check_table_path(target)
    beside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w") as handle:
            table.to_csv(handle, sep="\t", float_format="%.6g")
        Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        msg = f"{target} could not be written ({error.strerror or error}): nothing was changed there"
        raise InputError(msg) from error
    finally:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)


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
    _check_parent(Path(path))


def check_model_directory(path: str | Path) -> None:
    """Raise when `path` cannot become the directory of a model; a model that is there may be replaced."""
    directory = Path(path)
    is_model = directory.is_dir() and (directory / _DESCRIPTION).is_file()
    if directory.exists() and not is_model and not (directory.is_dir() and not any(directory.iterdir())):
        msg = f"{directory} exists and is not a saved model, so it is not replaced: choose another directory"
        raise InputError(msg)
    _check_parent(directory)


def check_directory(path: str | Path) -> None:
    """Raise when `path` cannot be a directory to write to."""
    if Path(path).exists() and not Path(path).is_dir():
        msg = f"{path} is a file: give a directory"
        raise InputError(msg)
    _check_parent(Path(path))


def _check_parent(path: Path) -> None:
    there = next(p for p in path.resolve().parents if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        msg = f"{there} cannot be written to: choose another place for {path.name}"
        raise InputError(msg)
