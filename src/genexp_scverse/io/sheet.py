"""The sample sheet: which file is which mark of which sample."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger

COLUMNS = ("sample", "mark", "path")


def read_sheet(sheet: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a sample sheet: a table with the columns sample, mark, path and, if you like, scale.

    Paths are relative to the sheet. Without a column scale (or where it is empty) the scale is ``coverage``.

    Parameters
    ----------
    sheet
        Tab- or comma-separated file with a header, or a DataFrame (paths then relative to the working
        directory).

    Returns
    -------
    A row per track: sample, mark, path (absolute where the sheet is a file), scale.

    Raises
    ------
    InputError
        When columns or files are missing, a track is listed twice, or a scale is unknown.

    Examples
    --------
    >>> import pandas as pd, tempfile, pathlib
    >>> track = pathlib.Path(tempfile.mkdtemp()) / "a.bigWig"
    >>> _ = track.write_bytes(b"")
    >>> read_sheet(pd.DataFrame({"sample": ["K562"], "mark": ["H3K4me3"], "path": [track]})).scale.tolist()
    ['coverage']
    """
    if isinstance(sheet, pd.DataFrame):
        name, folder, table = "the sample sheet", Path(), sheet.copy()
    else:
        path = Path(sheet)
        name, folder = str(path), path.resolve().parent
        table = _read(path)
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        msg = f"{name} lacks the column {some(missing)}: it has {some(table.columns, 6)} and needs sample, mark, path"
        raise InputError(msg)
    if not len(table):
        msg = f"{name} lists no track: give a row for each bigWig file"
        raise InputError(msg)
    if table[list(COLUMNS)].isna().any(axis=None):
        row = int(table[list(COLUMNS)].isna().any(axis=1).to_numpy().argmax()) + 1
        msg = f"row {row} of {name} has an empty sample, mark or path: fill it in"
        raise InputError(msg)
    table = table.reset_index(drop=True).astype(dict.fromkeys(COLUMNS, str))
    scale = table["scale"] if "scale" in table else pd.Series(pd.NA, index=table.index)
    empty = scale.isna() | (scale.astype(str).str.strip() == "")
    if empty.any():
        logger.info("%s: %d of %d tracks have no scale; taken as coverage", name, int(empty.sum()), len(table))
    table["scale"] = scale.astype(object).where(~empty, "coverage").astype(str)
    _check(table, name)
    table["path"] = [str(folder / p) for p in table["path"]]
    gone = [p for p in table["path"] if not Path(p).is_file()]
    if gone:
        msg = (
            f"{len(gone)} of {len(table)} files of {name} do not exist ({some(gone)}): paths are relative to the sheet"
        )
        raise InputError(msg)
    return table[[*COLUMNS, "scale"]]


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        msg = f"the sample sheet {path} does not exist: check the path"
        raise InputError(msg)
    try:
        with path.open(encoding="utf-8") as handle:
            header = handle.readline()
        separator = "\t" if "\t" in header else ","
        return pd.read_csv(path, sep=separator, dtype=str, comment="#", skipinitialspace=True)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        msg = f"{path} is not a sample sheet ({error}): it must be a table with the columns sample, mark, path"
        raise InputError(msg) from None


def _check(table: pd.DataFrame, name: str) -> None:
    twice = table.duplicated(["sample", "mark"])
    if twice.any():
        tracks = (table["sample"] + "." + table["mark"])[twice]
        msg = f"{name} lists the track {some(tracks)} more than once: keep one file for each sample and mark"
        raise InputError(msg)
    unknown = sorted(set(table["scale"]) - set(schema.SCALES))
    if unknown:
        msg = f"{name} has the scale {some(unknown)}: allowed are {', '.join(schema.SCALES)}"
        raise InputError(msg)
    for mark, of in table.groupby("mark", sort=False)["scale"]:
        if of.nunique() > 1:
            logger.warning(
                "%s mixes the scales %s for %s: samples of different scales are not comparable in one model",
                name,
                some(sorted(of.unique())),
                mark,
            )
