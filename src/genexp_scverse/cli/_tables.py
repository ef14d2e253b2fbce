"""``genexp predict`` and ``genexp evaluate``: a table to a file or to the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pandas as pd

from genexp_scverse._errors import InputError


def write_table(table: pd.DataFrame, path: str | None) -> None:
    """Write a TSV whole or not at all; to standard output without a path."""
    if path is None:
        table.to_csv(sys.stdout, sep="\t", float_format="%.6g")
        return
    target = Path(path)
    check_table_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w") as handle:
            table.to_csv(handle, sep="\t", float_format="%.6g")
        Path(beside).chmod(0o644)
        Path(beside).replace(target)
    finally:
        Path(beside).unlink(missing_ok=True)


def check_table_path(path: str | None) -> None:
    """Raise when `path` cannot be a file."""
    if path is not None and Path(path).is_dir():
        msg = f"{path} is a folder: give the name of a TSV file"
        raise InputError(msg)
