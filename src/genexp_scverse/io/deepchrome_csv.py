"""The CSV folders of DeepChrome and AttentiveChrome, unchanged, to a gene-centric MuData."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from mudata import MuData

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.arrays import from_bins
from genexp_scverse.io.provenance import file_table
from genexp_scverse.schema import CHROMATIN, SPLIT, SPLITS

MARKS = ("H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3")
N_BINS = 100
_N_COLUMNS = 2 + len(MARKS) + 1
_WINDOW = {"upstream": 5000, "downstream": 5000, "bin_size": 100, "stranded": False}


def read_deepchrome(path: str | Path, *, sample: str | Sequence[str] | None = None) -> MuData:
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

    Returns
    -------
    MuData with ``obs["split"]`` (train, valid, test as the files say; absent for a file whose name says
    nothing), ``rna`` (unit ``label``: layer ``label`` 0/1, X and ``log`` NaN) and ``chromatin`` (5 tracks per
    cell, scale ``counts``, ``obsm["bins"]`` genes x tracks x 100). Genes that a cell lacks are NaN there.

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
    cells = _find_cells(Path(path), sample)
    bins, labels, splits = {}, {}, {}
    for cell, files in cells.items():
        bins[cell], labels[cell], splits[cell] = _read_cell(cell, files)
    split = _joined_split(splits)
    genes = split.index
    for cell, label in labels.items():
        if len(label) < len(genes):
            logger.info("%s has %d of %d genes: NaN for the others", cell, len(label), len(genes))
            full = np.full((len(genes), len(MARKS), N_BINS), np.nan, np.float32)
            full[genes.get_indexer(label.index)] = bins[cell]
            bins[cell] = full
        elif not label.index.equals(genes):
            bins[cell] = bins[cell][label.index.get_indexer(genes)]
    mdata = from_bins(
        bins,
        genes=list(genes),
        marks=MARKS,
        labels=pd.DataFrame(labels, index=genes),
        scale="counts",
        window=_WINDOW,
    )
    if split.notna().any():
        mdata.obs[SPLIT] = pd.Categorical(split, categories=list(SPLITS))
    mdata.uns["files"] = file_table(
        [(f"deepchrome:{cell}", f) for cell, files in cells.items() for f in files.values()]
    )
    folder_of = {cell: str(next(iter(files.values())).resolve().parent) for cell, files in cells.items()}
    var = mdata[CHROMATIN].var
    var["source"] = [folder_of[s] for s in var["sample"]]
    logger.info("read %d genes of %d cell(s) from %s", len(genes), len(cells), path)
    return mdata


def _find_cells(path: Path, sample: str | Sequence[str] | None) -> dict[str, dict[str, Path]]:
    """Cell -> split (or the file's name where it says none) -> file."""
    if path.is_file():
        name = sample if isinstance(sample, str) else path.name.split(".")[0]
        return {name: {_split_of(path) or path.name: path}}
    if not path.is_dir():
        msg = f"{path} does not exist"
        raise InputError(msg)
    own = _split_files(path)
    if own:
        folder = path.resolve()
        name = folder.parent.name if folder.name == "classification" else folder.name
        return {sample if isinstance(sample, str) else name: own}
    cells = {d.name: found for d in sorted(path.iterdir()) if d.is_dir() and (found := _split_files(d))}
    if not cells:
        msg = (
            f"{path} holds no train, valid and test .csv, no folder classification, and no folders of cells "
            f"with them; it holds {some(sorted(p.name for p in path.iterdir()))}"
        )
        raise InputError(msg)
    if sample is None:
        return cells
    wanted = [sample] if isinstance(sample, str) else list(sample)
    missing = [s for s in wanted if s not in cells]
    if missing:
        msg = f"{path} has no cell {some(missing)}: it has {some(cells, 6)}"
        raise InputError(msg)
    return {s: cells[s] for s in wanted}


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
            absent = [s for s in SPLITS if s not in files]
            if absent:
                logger.warning("%s has no file for %s", place, some(absent))
            return {s: files[s] for s in SPLITS if s in files}
    return {}


def _split_of(file: Path) -> str | None:
    named = [s for s in SPLITS if s in file.name.split(".")[0].lower()]
    return named[0] if len(named) == 1 else None


def _read_cell(cell: str, files: dict[str, Path]) -> tuple[np.ndarray, pd.Series, pd.Series]:
    parts = [(split, file, *_read_csv(file)) for split, file in files.items()]
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


def _read_csv(file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Gene ids, counts genes x marks x bins float32 and labels of one file."""
    numeric = range(1, _N_COLUMNS)
    try:
        width = pd.read_csv(file, header=None, nrows=1, dtype=str).shape[1]
        if width != _N_COLUMNS:
            msg = (
                f"{file} has {width} columns, expected {_N_COLUMNS}: gene id, bin id, {', '.join(MARKS)}, "
                "label, separated by commas"
            )
            raise InputError(msg)
        table = pd.read_csv(
            file,
            header=None,
            dtype={0: str, **dict.fromkeys(numeric, np.float32)},
            keep_default_na=False,
            na_values={i: [""] for i in numeric},
        )
    except InputError:
        raise
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        why = str(error).strip()
        msg = f"{file} is not a table of numbers without a header ({why}): see gx.io.read_deepchrome"
        raise InputError(msg) from error
    values = table[list(numeric)].to_numpy(np.float32)
    if np.isnan(values).any():
        row = int(np.isnan(values).any(axis=1).argmax())
        msg = f"{file} is incomplete at row {row + 1} (gene {table[0].iat[row]!r}): was the file cut off?"
        raise InputError(msg)
    codes, ids = pd.factorize(table[0])
    genes = [str(g) for g in ids]
    values = _in_order(file, genes, codes, values).reshape(len(genes), N_BINS, _N_COLUMNS - 1)
    counts = np.ascontiguousarray(values[:, :, 1:-1].transpose(0, 2, 1))
    label = values[:, :, -1]
    if (counts < 0).any():
        gene = genes[int((counts < 0).any(axis=(1, 2)).argmax())]
        msg = f"{file} holds negative counts (gene {gene!r}): counts of reads are 0 or more"
        raise InputError(msg)
    bad = (~np.isin(label, (0, 1))).any(axis=1) | (label != label[:, :1]).any(axis=1)
    if bad.any():
        i = int(bad.argmax())
        seen = ", ".join(f"{v:g}" for v in np.unique(label[i]))
        msg = f"the label of gene {genes[i]!r} in {file} is {seen}: it has to be 0 or 1, one for all rows"
        raise InputError(msg)
    return genes, counts, label[:, 0].copy()


def _in_order(file: Path, genes: list[str], codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    rows = np.bincount(codes, minlength=len(genes))
    wrong = np.flatnonzero(rows != N_BINS)
    if len(wrong):
        i = int(wrong[0])
        guess = "was the file cut off?" if rows[i] < N_BINS else "is it there twice?"
        msg = (
            f"{len(wrong)} of {len(genes)} genes of {file} do not have {N_BINS} rows; gene {genes[i]!r} has "
            f"{rows[i]}: {guess}"
        )
        raise InputError(msg)
    bin_id = values[:, 0]
    expected = np.tile(np.arange(1, N_BINS + 1, dtype=np.float32), len(genes))
    if (codes == np.repeat(np.arange(len(genes)), N_BINS)).all() and (bin_id == expected).all():
        return values
    order = np.lexsort((bin_id, codes))
    bad = np.flatnonzero(bin_id[order] != expected)
    if len(bad):
        gene = genes[int(bad[0]) // N_BINS]
        msg = f"the bins of gene {gene!r} in {file} are not 1 to {N_BINS}, each once"
        raise InputError(msg)
    moved = len(np.unique(codes[order != np.arange(len(order))]))
    logger.info("%s: rows of %d of %d genes were not in order and are sorted by bin id", file, moved, len(genes))
    return values[order]


def _joined_split(splits: dict[str, pd.Series]) -> pd.Series:
    (first, joined), *others = splits.items()
    for cell, split in others:
        common = joined.index.intersection(split.index)
        here, there = joined.loc[common].fillna(""), split.loc[common].fillna("")
        differ = common[(here != there).to_numpy()]
        if len(differ):
            gene = differ[0]
            msg = (
                f"{len(differ)} genes are in different splits in {first} and {cell} (gene {gene!r}: "
                f"{joined[gene]} and {split[gene]}): one model of both would be tested on genes it was "
                "trained on; read the cells one by one"
            )
            raise InputError(msg)
        joined = pd.concat([joined, split[~split.index.isin(joined.index)]])
    return joined
