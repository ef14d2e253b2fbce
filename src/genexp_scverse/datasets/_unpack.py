"""Unpack chosen cells of the DeepChrome archive: safely, and each cell at once or not at all."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._output import place, said, workplace

SPLITS = ("train", "valid", "test")
MEMBER = re.compile(rf"(?:.*/)?([^/]+)/classification/({'|'.join(SPLITS)})\.csv")
CELLS = "cells.json"


def is_complete(folder: Path, cell: str) -> bool:
    """Tell whether the three files of `cell` lie in `folder`."""
    return all((folder / cell / "classification" / f"{split}.csv").is_file() for split in SPLITS)


def known_cells(folder: Path) -> list[str] | None:
    """Cells of the archive, as written down when it was last read; None when it never was."""
    path = folder / CELLS
    return json.loads(path.read_text()) if path.is_file() else None


def check_known(wanted: Sequence[str], cells: Sequence[str]) -> None:
    """Raise :class:`InputError` with the cells there are when one that is `wanted` is not among them."""
    unknown = [cell for cell in wanted if cell not in cells]
    if unknown:
        msg = f"Cells {some(unknown)} are not in the DeepChrome archive: choose from {', '.join(cells)}."
        raise InputError(msg)


def unpack(archive: Path, folder: Path, wanted: Sequence[str] | None) -> list[str]:
    """Unpack the files of the cells in `wanted` (all when None) from `archive` into `folder`.

    The archive is read once, from the first member to the last. Its files go to a temporary folder inside
    `folder`; a cell is moved to its place when all has been read, so nothing half-written stays when this is
    cut short.

    Returns
    -------
    The cells in the archive, sorted; they are also written to ``cells.json``.

    Raises
    ------
    InputError
        When a member would be written outside `folder` (nothing is unpacked then), the archive is damaged,
        or a cell that is wanted does not exist or lacks a file.
    """
    found: dict[str, set[str]] = {}
    with said(folder), workplace(folder / CELLS) as work:
        try:
            with tarfile.open(archive, "r:*") as tar:
                for member in tar:
                    # Refused here, with the name as it is; below only names of our own making are written.
                    tarfile.data_filter(member, str(work))
                    match = MEMBER.fullmatch(member.name)
                    if match is None or not member.isfile():
                        continue
                    cell, split = match.groups()
                    if wanted is None or cell in wanted:
                        name = f"{cell}/classification/{split}.csv"
                        tar.extract(member.replace(name=name, deep=False), work, filter="data")
                    found.setdefault(cell, set()).add(split)
        except tarfile.FilterError as err:
            msg = f"{archive} is not safe to unpack ({err}): delete it and get it from a source you trust."
            raise InputError(msg) from err
        except (tarfile.TarError, EOFError, OSError) as err:
            if isinstance(err, OSError) and err.errno is not None:
                msg = f"{archive} cannot be unpacked to {folder} ({err.strerror}): mend that and run again."
            else:
                msg = f"{archive} is damaged ({err}): delete it and run again to download it."
            raise InputError(msg) from err
        cells = sorted(found)
        if not cells:
            msg = f"{archive} has no <cell>/classification/train.csv: it is not the DeepChrome archive."
            raise InputError(msg)
        check_known(wanted or (), cells)
        short = [cell for cell in (wanted or cells) if len(found[cell]) < len(SPLITS)]
        if short:
            msg = f"{archive} lacks train, valid or test of cells {some(short)}: name other cells."
            raise InputError(msg)
        for cell in wanted or cells:
            if not is_complete(folder, cell):
                place(work / cell, folder / cell)
        (work / CELLS).write_text(json.dumps(cells))
        place(work / CELLS, folder / CELLS)
    logger.info("Unpacked %d of %d cells to %s.", len(wanted or cells), len(cells), folder)
    return cells
