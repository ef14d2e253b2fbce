"""Where commands write: asked before the work, so that a wrong name does not cost it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genexp_scverse._errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_DESCRIPTION = "model.json"
_ZARR = (".zgroup", ".zarray", "zarr.json")
_FIGURES = (".png", ".pdf", ".svg")
_DEMO = ".genexp_demo"
_FORMAT: dict[str, Any] = {"sep": "\t", "float_format": "%.6g"}


def write_table(table: pd.DataFrame, path: str | Path | None) -> None:
    """Write a TSV whole or not at all; to standard output without a path, straight into a pipe or device."""
    if path is None:
        _print_table(table)
        return
    check_table_path(path)
    if _is_special(path):
        _write_straight(table, path)
        return
    # behind a symbolic link, the file it leads to is replaced
    target = Path(os.path.realpath(path))
    beside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w") as handle:
            table.to_csv(handle, **_FORMAT)
        Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        msg = f"{path} could not be written ({error.strerror or error}): nothing was changed there"
        raise InputError(msg) from error
    finally:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)


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


def _write_straight(table: pd.DataFrame, path: str | Path) -> None:
    try:
        with Path(path).open("w") as handle:
            table.to_csv(handle, **_FORMAT)
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"{path} could not be written ({error.strerror or error}): name another file"
        raise InputError(msg) from error


def write_figure(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure whole or not at all."""
    target = Path(os.path.realpath(path))
    beside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # matplotlib tells the format from the ending of the name
        descriptor, beside = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=Path(path).suffix, dir=target.parent)
        os.close(descriptor)
        figure.savefig(beside, dpi=150, bbox_inches="tight")
        Path(beside).chmod(0o644)
        Path(beside).replace(target)
    except OSError as error:
        msg = f"{path} could not be written ({error.strerror or error}): nothing was changed there"
        raise InputError(msg) from error
    finally:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)


def drop_stdout() -> None:
    """Send what is left in the buffer of stdout nowhere, so that the end of the interpreter does not fail on it."""
    # a stream in memory has no descriptor, and nothing to lose
    with contextlib.suppress(OSError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_special(path: str | Path) -> bool:
    """Tell a pipe or device, which is written into, from a file, which is replaced."""
    path = Path(path)
    return path.exists() and not path.is_file() and not path.is_dir()


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
    if not _is_special(path):
        _check_parent(Path(path))


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
    _check_parent(Path(path))


def check_apart(output: str | Path | None, inputs: Iterable[str | Path | None]) -> None:
    """Raise when writing to `output` would change what is read: it is an input, lies in one, or holds one."""
    if output is None:
        return
    real = Path(os.path.realpath(output))
    for path in inputs:
        if path is None or not Path(path).exists():
            continue
        read = Path(os.path.realpath(path))
        if real.exists() and real.samefile(path):
            msg = f"{output} is the same file as {path}, which is read: choose another name to write to"
            raise InputError(msg)
        if read in real.parents:
            msg = f"{output} lies inside {path}, which is read: choose another place to write to"
            raise InputError(msg)
        if real in read.parents and real.exists():
            msg = f"{output} holds {path}, which is read: choose another name to write to"
            raise InputError(msg)
    store = next((p for p in real.parents if any((p / name).is_file() for name in _ZARR)), None)
    if store is not None:
        msg = f"{output} lies inside the zarr store {store}: choose another place to write to"
        raise InputError(msg)


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


def _check_parent(path: Path) -> None:
    there = next(p for p in path.resolve().parents if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        msg = f"{there} cannot be written to: choose another place for {path.name}"
        raise InputError(msg)
