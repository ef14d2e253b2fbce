"""The CSV folders of DeepChrome and AttentiveChrome, unchanged, to a gene-centric MuData."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from mudata import MuData

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io._bins_by_cell import BinsByCell, check_bins_path
from genexp_scverse.io._deepchrome_file import MARKS, N_BINS, read_csv
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata, assemble_rna
from genexp_scverse.io.ids import check_samples
from genexp_scverse.io.plain_text import existing_file, with_home
from genexp_scverse.io.provenance import file_table
from genexp_scverse.schema import CHROMATIN, RNA, SPLIT, SPLITS

_WINDOW = {"upstream": 5000, "downstream": 5000, "bin_size": 100, "stranded": False}


def read_deepchrome(
    path: str | Path, *, sample: str | Sequence[str] | None = None, bins_path: str | Path | None = None
) -> MuData:
    r"""Read data in the format of DeepChrome (Singh et al. 2016) and AttentiveChrome.

    A file has no header and 100 rows per gene: gene id (text, leading zeros count), bin id 1 to 100, read
    counts of H3K27me3, H3K36me3, H3K4me1, H3K4me3 and H3K9me3, and the label 0 or 1. Bins are 100 bp over
    TSS +/- 5 kb, not turned with the strand; there are no coordinates and no levels.

    Parameters
    ----------
    path
        ``<cell>/classification`` with train.csv, valid.csv and test.csv (or one name holding each of these
        words, as in toy_train.csv), the folder ``<cell>`` above it, a folder of several such cells, or one
        file. Files may be compressed (``.csv.gz``).
    sample
        Name of the cell, by default that of its folder or file. In a folder of several cells: those to read,
        by default all.
    bins_path
        A ``.npy`` file to write the bins to, cell after cell, instead of keeping them in memory (all 56 cells
        take 2.2 GB); an older one is replaced. Models read from it what a batch needs. The MuData is of use as
        long as the file is there.

    Returns
    -------
    MuData with ``obs["split"]`` (train, valid, test as the files say; absent for a file whose name says
    nothing), ``rna`` (unit ``label``: layer ``label`` 0/1, X and ``log`` NaN) and ``chromatin`` (5 tracks per
    cell, scale ``counts``, ``obsm["bins"]`` genes x tracks x 100, with `bins_path` a memory map of that file that
    cannot be written to). Genes that a cell lacks are NaN there.

    Raises
    ------
    InputError
        A file has other columns, an incomplete gene, negative counts, or labels that are not 0 or 1 or vary
        within a gene; a gene is in two files of a cell; or two cells disagree on the split of a gene.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import genexp_scverse as gx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "train.csv")
    ...     _ = file.write_text("".join(f"000003,{bin},0,1,0,{bin},0,1\n" for bin in range(1, 101)))
    ...     mdata = gx.io.read_deepchrome(file, sample="E003")
    >>> mdata.obs_names.tolist(), mdata["rna"].layers["label"].tolist()
    (['000003'], [[1.0]])
    """
    if bins_path is not None:
        check_bins_path(bins_path)
    cells = find_cells(path, sample)
    check_samples(cells, str(path))
    splits = pd.Series(dtype=object, index=pd.Index([], dtype=object))
    labels: dict[str, pd.Series] = {}
    with BinsByCell(len(MARKS) * len(cells), N_BINS, bins_path) as by_cell:
        for cell, files in cells.items():
            bins, labels[cell], split = _read_cell(cell, files)
            splits = _joined_split(splits, split, list(labels))
            by_cell.put(splits.index.get_indexer(split.index), bins)
            if bins_path is not None:
                logger.info("%s (%d of %d): %d genes", cell, len(labels), len(cells), len(split))
        genes = splits.index
        mods = {
            RNA: assemble_rna(genes, None, pd.DataFrame(labels, index=genes)),
            CHROMATIN: assemble_chromatin(genes, _tracks(cells), by_cell.finish(), _WINDOW),
        }
    for cell, label in labels.items():
        if len(label) < len(genes):
            logger.info("%s has %d of %d genes: NaN for the others", cell, len(label), len(genes))
    files_read = [(f"deepchrome:{cell}", f) for cell, files in cells.items() for f in files.values()]
    mdata = assemble_mudata(pd.DataFrame(index=genes), mods, files=file_table(files_read))
    if splits.notna().any():
        mdata.obs[SPLIT] = pd.Categorical(splits, categories=list(SPLITS))
    logger.info("read %d genes of %d cell(s) from %s", len(genes), len(cells), path)
    return mdata


def find_cells(path: str | Path, sample: str | Sequence[str] | None = None) -> dict[str, dict[str, Path]]:
    """Find the files of cells in any of the layouts that :func:`read_deepchrome` takes.

    Parameters
    ----------
    path, sample
        As for :func:`read_deepchrome`.

    Returns
    -------
    Cell -> split (or the name of the file where that says none) -> file.

    Raises
    ------
    InputError
        Nothing of the kind is there, or not the cell asked for.

    Examples
    --------
    See :func:`read_deepchrome`.
    """
    path = with_home(path)
    wanted = [sample] if isinstance(sample, str) else None if sample is None else list(dict.fromkeys(sample))
    if wanted == []:
        msg = "sample names no cell: name at least one, or leave it out for all"
        raise InputError(msg)
    cells, alone = _cells_there(path)
    if alone and isinstance(sample, str):
        cells = {sample: next(iter(cells.values()))}
    missing = [s for s in wanted or () if s not in cells]
    if missing:
        msg = f"{path} has no cell {some(missing)}: it has {', '.join(cells)}"
        raise InputError(msg)
    chosen = {s: cells[s] for s in wanted or cells}
    for cell, files in chosen.items():
        absent = [s for s in SPLITS if s not in files]
        if absent and not path.is_file():
            logger.warning("cell %s of %s has no file for %s", cell, path, some(absent))
    return chosen


def _cells_there(path: Path) -> tuple[dict[str, dict[str, Path]], bool]:
    """Cells in `path`, and whether it is one alone, whose name is free."""
    if not path.is_dir():
        path = existing_file(path, what="a CSV of DeepChrome or a folder with them")
        return {path.name.split(".")[0]: {_split_of(path) or path.name: path}}, True
    own = _split_files(path)
    if own:
        folder = path.resolve()
        return {(folder.parent if folder.name == "classification" else folder).name: own}, True
    folders = [d for d in sorted(path.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    cells = {d.name: found for d in folders if (found := _split_files(d))}
    if not cells:
        msg = (
            f"{path} holds no train, valid and test .csv, no folder classification, and no folders of cells "
            f"with them; it holds {some(sorted(p.name for p in path.iterdir())) or 'nothing'}"
        )
        raise InputError(msg)
    return cells, False


def _split_files(folder: Path) -> dict[str, Path]:
    for place in (folder, folder / "classification"):
        files: dict[str, Path] = {}
        for file in sorted([*place.glob("*.csv"), *place.glob("*.csv.gz")]):
            split = _split_of(file)
            if split in files:
                msg = f"{place} holds two files for {split}: {files[split].name} and {file.name}; pass one"
                raise InputError(msg)
            if split:
                files[split] = file
        if files:
            return {s: files[s] for s in SPLITS if s in files}
    return {}


def _split_of(file: Path) -> str | None:
    named = [s for s in SPLITS if s in file.name.split(".")[0].lower()]
    return named[0] if len(named) == 1 else None


def _read_cell(cell: str, files: dict[str, Path]) -> tuple[np.ndarray, pd.Series, pd.Series]:
    parts = [(split, file, *read_csv(file)) for split, file in files.items()]
    genes = pd.Index([g for _, _, ids, _, _ in parts for g in ids], dtype=object)
    if not genes.is_unique:
        twice = genes[genes.duplicated()].unique()
        names = " and ".join(f.name for _, f, ids, _, _ in parts if twice[0] in set(ids))
        msg = f"gene {some(twice)} of {cell} is in more than one file ({names}): a gene belongs to one split"
        raise InputError(msg)
    split = np.concatenate([np.full(len(ids), s if s in SPLITS else None, object) for s, _, ids, _, _ in parts])
    return (
        np.concatenate([x for _, _, _, x, _ in parts]),
        pd.Series(np.concatenate([y for _, _, _, _, y in parts]), index=genes),
        pd.Series(split, index=genes, dtype=object),
    )


def _joined_split(joined: pd.Series, split: pd.Series, cells: list[str]) -> pd.Series:
    """Add the genes of the last of `cells` to those of the others; raise when they disagree."""
    common = joined.index.intersection(split.index)
    here, there = joined.loc[common].fillna(""), split.loc[common].fillna("")
    differ = common[(here != there).to_numpy()]
    if len(differ):
        gene = differ[0]
        msg = (
            f"{len(differ)} genes are in other splits in {cells[-1]} than in {some(cells[:-1])} (gene {gene!r}: "
            f"{split[gene]} and {joined[gene]}): one model of both would be tested on genes it was "
            "trained on; read the cells one by one"
        )
        raise InputError(msg)
    new = split[~split.index.isin(joined.index)]
    return pd.concat([joined, new]) if len(joined) else new


def _tracks(cells: dict[str, dict[str, Path]]) -> pd.DataFrame:
    folders = {cell: str(next(iter(files.values())).resolve().parent) for cell, files in cells.items()}
    return pd.DataFrame(
        [(cell, mark, "counts", folder) for cell, folder in folders.items() for mark in MARKS],
        columns=["sample", "mark", "scale", "source"],
    )
