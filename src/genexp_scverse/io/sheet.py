"""The sample sheet: which file is which mark of which sample."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.ids import check_names, check_samples
from genexp_scverse.io.plain_text import with_home
from genexp_scverse.io.tables import read_table, table_layout

COLUMNS = ("sample", "mark", "path")
_WHAT = "a sample sheet (a table with the columns sample, mark, path)"


def read_sheet(sheet: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a sample sheet: a table with the columns sample, mark, path and, if you like, scale.

    Paths are relative to the sheet; ``~`` is the home folder. Without a column scale (or where it is empty) the
    scale is ``coverage``. Lines that start with ``#`` are comments; other columns are named in the log and not used.

    Parameters
    ----------
    sheet
        Tab- or comma-separated file with a header, plain or gzip, or a DataFrame (paths then relative to the
        working directory).

    Returns
    -------
    A row per track: sample, mark, path (absolute where the sheet is a file), scale
    (:data:`genexp_scverse.schema.SCALES`).

    Raises
    ------
    InputError
        When columns or files are missing, a track or its name is there twice, a sample ends in ``:prob``, or a
        scale is unknown.

    Examples
    --------
    >>> import pandas as pd, tempfile, pathlib
    >>> track = pathlib.Path(tempfile.mkdtemp()) / "a.bigWig"
    >>> _ = track.write_bytes(b"")
    >>> read_sheet(pd.DataFrame({"sample": ["K562"], "mark": ["H3K4me3"], "path": [track]})).scale.tolist()
    ['coverage']
    """
    if isinstance(sheet, pd.DataFrame):
        name, folder, table = "the sample sheet", Path(), sheet.reset_index(drop=True)
        start = "the working directory"
    else:
        path = with_home(sheet)
        name, folder, start = str(path), path.resolve().parent, "the sheet"
        table = _read(path)
    table.columns = [str(c).strip().lower() for c in table.columns]
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        msg = f"{name} lacks the column {some(missing)}: it has {some(table.columns, 6)} and needs sample, mark, path"
        raise InputError(msg)
    more = [c for c in table.columns if c not in (*COLUMNS, "scale")]
    if more:
        logger.info("%s: columns that are not used: %s", name, some(more, 8))
    if not len(table):
        msg = f"{name} lists no track: give a row for each bigWig file"
        raise InputError(msg)
    text = {c: _text(table[c]) for c in (*COLUMNS, "scale") if c in table}
    table = pd.DataFrame(text, index=table.index)
    empty = (table[list(COLUMNS)] == "").any(axis=1)
    if empty.any():
        row = int(empty.to_numpy().argmax()) + 1
        msg = f"row {row} of {name} has an empty sample, mark or path: fill it in or remove the row"
        raise InputError(msg)
    scale = table["scale"] if "scale" in table else pd.Series("", index=table.index)
    if (scale == "").any():
        n = int((scale == "").sum())
        logger.info("%s: %d of %d tracks have no scale; taken as coverage", name, n, len(table))
    table["scale"] = scale.str.lower().str.replace("[- ]", "_", regex=True).where(scale != "", "coverage")
    _check(table, name)
    addresses = [p for p in table["path"] if "://" in p]
    if addresses:
        msg = f"{name} gives the address {some(addresses)}: bigWigs are read from local files, download it first"
        raise InputError(msg)
    table["path"] = [str(folder / with_home(p)) for p in table["path"]]
    gone = [p for p in table["path"] if not Path(p).is_file()]
    if gone:
        msg = (
            f"{len(gone)} of {len(table)} files of {name} do not exist ({some(gone)}): mend the paths, which are "
            f"relative to {start}"
        )
        raise InputError(msg)
    _warn_of_same_files(table, name)
    return table[[*COLUMNS, "scale"]]


def warn_of_mixed_scales(table: pd.DataFrame, name: str) -> None:
    """Warn where the same mark has different scales in different samples."""
    for mark, of in table.groupby("mark", sort=False)["scale"]:
        if of.nunique() > 1:
            logger.warning(
                "Mixed signal scales: %s has %s for %s, and samples of different scales are not comparable in one "
                "model",
                name,
                some(sorted(of.unique())),
                mark,
            )


def _read(path: Path) -> pd.DataFrame:
    if path.is_dir() or not path.exists():
        msg = f"the sample sheet {path} {'is a folder' if path.is_dir() else 'does not exist'}: check the path"
        raise InputError(msg)
    layout = table_layout(path, what=_WHAT)
    return read_table(path, layout, what=_WHAT, text=layout.names, comments=True)


def _text(column: pd.Series) -> pd.Series:
    given = column.astype(object)
    return given.where(given.notna(), "").map(lambda value: str(value).strip()).astype(object)


def _check(table: pd.DataFrame, name: str) -> None:
    twice = table.duplicated(["sample", "mark"])
    if twice.any():
        tracks = (table["sample"] + "." + table["mark"])[twice]
        msg = f"{name} lists the track {some(tracks)} more than once: keep one file for each sample and mark"
        raise InputError(msg)
    names = table["sample"] + "." + table["mark"]
    alike = names.duplicated(keep=False)
    if alike.any():
        pairs = (table["sample"] + " and " + table["mark"])[names == names[alike].iloc[0]]
        msg = f"{name} gives {some(pairs)} the same track name {names[alike].iloc[0]!r}: rename a sample or a mark"
        raise InputError(msg)
    check_samples(table["sample"], name)
    check_names(table["mark"], "mark", name)
    unknown = sorted(set(table["scale"]) - set(schema.SCALES))
    if unknown:
        msg = f"{name} has the scale {some(unknown)}: allowed are {', '.join(schema.SCALES)}"
        raise InputError(msg)
    warn_of_mixed_scales(table, name)


def _warn_of_same_files(table: pd.DataFrame, name: str) -> None:
    for path, rows in table.groupby([str(Path(p).resolve()) for p in table["path"]], sort=False):
        if len(rows) > 1:
            tracks = rows["sample"] + "." + rows["mark"]
            logger.warning("%s lists the same file %s for the tracks %s: is that meant?", name, path, some(tracks, 6))
