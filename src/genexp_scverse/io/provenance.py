"""Where data came from, kept in ``mdata.uns["files"]``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd


def file_table(files: Iterable[tuple[str, str | Path]]) -> pd.DataFrame:
    """List files with size and time of modification, to tell later where data came from.

    Parameters
    ----------
    files
        Pairs of role (``"expression"``, ``"track"``, ...) and path.

    Returns
    -------
    Columns role, path (absolute), size in bytes and modified (UTC, ISO 8601); also with no rows.

    Examples
    --------
    >>> file_table([]).columns.tolist()
    ['role', 'path', 'size', 'modified']
    """
    rows = []
    for role, path in files:
        stat = Path(path).stat()
        when = datetime.fromtimestamp(int(stat.st_mtime), tz=UTC)
        rows.append((role, str(Path(path).resolve()), stat.st_size, when.isoformat()))
    table = pd.DataFrame(rows, columns=["role", "path", "size", "modified"])
    table.index = table.index.astype(str)
    return table.astype({"role": object, "path": object, "size": "int64", "modified": object})
