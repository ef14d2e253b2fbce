"""Contacts between places of a chromosome: Hi-C matrices and loops."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, option, some
from genexp_scverse._logging import logger
from genexp_scverse.io._hic_index import check_hic
from genexp_scverse.io._hictk_process import MatrixFile, open_matrix
from genexp_scverse.io._untrusted import UNREADABLE, check_hdf5
from genexp_scverse.io.chroms import match_chroms
from genexp_scverse.io.loops import read_loops
from genexp_scverse.io.plain_text import existing_file, with_home

RAW = "none"
_BALANCED = ("weight", "ICE", "KR", "SCALE", "VC_SQRT", "VC")
_HDF5, _HIC = b"\x89HDF\r\n\x1a\n", b"HIC\x00"
_PIXELS = 2**22
"""Pixels looked at at once."""
_KINDS = "a .cool, .mcool or .hic matrix, or loops in BEDPE"


def read_contacts(
    path: str | Path,
    *,
    resolution: int | None = None,
    normalization: str | None = "auto",
    chroms: str | Sequence[str] | None = None,
    max_distance: int | None = 2_000_000,
    genes: pd.DataFrame | None = None,
    strength: str | int | None = None,
) -> pd.DataFrame:
    r"""Read contacts within chromosomes from a Hi-C matrix or from loops.

    The kind of the file is seen from its content. Matrices (``.cool``, ``.mcool``, ``.hic``) are read by hictkpy
    (``pip install genexp-scverse[contacts]``), one chromosome after the other and only along the diagonal. BEDPE
    loops, plain or gzip, are 0-based half-open; the count is the column that the header names (HiCCUPS, FitHiChIP,
    Fit-Hi-C, cooltools, and others with ``count``, ``observed`` or ``score``), never a p-value, and 1 where there is
    none (Mustache). Without a header it is the score (column 8), where column 7 is a name and the scores are no shares;
    else it is asked for (hichipper). Contacts between chromosomes and contacts without a finite count are left out, and
    counted in the log.

    Parameters
    ----------
    path
        The file. One resolution of a .mcool may be named as in cooler, ``file.mcool::/resolutions/10000``.
    resolution
        Size of the bins in bases, needed where the file has several; not for loops.
    normalization
        Name of the balancing as the file has it (``weight``, ``KR``, ``VC_SQRT``, ...), ``"none"`` or None for the
        counts as they are; ``auto`` takes the first of weight, ICE, KR, SCALE, VC_SQRT and VC that is there, else
        the counts.
    chroms
        Chromosomes to read; all without it. Other spellings of a name are matched.
    max_distance
        Largest distance between the starts of the two bins or anchors, in bases; None for all, which takes much
        memory for a fine matrix.
    genes
        Table with chrom and tss, such as ``mdata.obs``: of a matrix only contacts between bins that both hold a TSS
        are kept, which is a small part of it and all that :func:`genexp_scverse.pp.contact_neighbors` uses.
        Chromosomes without a gene are not read.
    strength
        For loops, the column that is their count: its name, or its number from 1 on.

    Returns
    -------
    A row per contact in the order of the file: chrom (categorical), start1, end1, start2, end2 (int32, 0-based
    half-open; start1 <= start2, the upper triangle) and count (float32, above 0 unless the file has lower ones).
    ``attrs`` holds ``file`` (its name), ``resolution`` (None for loops) and ``normalization``, and ``between_genes``
    (True) where `genes` left contacts of a matrix out.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind, hictkpy is missing, there is no such resolution,
        normalization or chromosome, or nothing is left.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "loops.bedpe"
    ...     _ = path.write_text("chr1\t5000\t6000\tchr1\t9000\t10000\tloop1\t7\n")
    ...     contacts = read_contacts(path)
    >>> contacts.values.tolist()
    [['chr1', 5000, 6000, 9000, 10000, 7.0]]
    """
    if max_distance is not None and not max_distance >= 0:
        msg = f"max_distance={max_distance!r}: give bases, 0 or more, or None"
        raise InputError(msg)
    if genes is not None and (lacking := [c for c in ("chrom", "tss") if c not in genes]):
        msg = f"genes has no column {some(lacking)}: give a table with chrom and tss, such as mdata.obs"
        raise InputError(msg)
    wanted = _wanted(chroms, genes)
    path = with_home(path)
    name, _, _ = str(path).partition("::")
    start = _first_bytes(Path(name))
    if start.startswith((_HDF5, _HIC)):
        if strength is not None:
            msg = f"{path} is a matrix, and {option('strength', strength)} is for loops: leave it out"
            raise InputError(msg)
        table = _read_matrix(str(path), start, resolution, normalization, wanted, max_distance, genes)
    else:
        if resolution is not None or normalization not in ("auto", RAW, None):
            msg = f"{path} is text, so it holds loops, which have no resolution or normalization: leave them out"
            raise InputError(msg)
        table = _read_loops(Path(path), wanted, max_distance, strength)
    table.attrs["file"] = Path(name).name
    if genes is not None and start.startswith((_HDF5, _HIC)):
        table.attrs["between_genes"] = True
    return table


def _read_matrix(
    path: str,
    start: bytes,
    resolution: int | None,
    normalization: str | None,
    wanted: list[str] | None,
    max_distance: int | None,
    genes: pd.DataFrame | None,
) -> pd.DataFrame:
    _need_hictkpy(path)
    try:
        if start.startswith(_HDF5):
            # a matrix is read in parts, which need not fit into memory together
            check_hdf5(path.partition("::")[0], in_memory=lambda name: False)
        else:
            check_hic(path, resolution)
        with open_matrix(path, resolution) as file, ThreadPoolExecutor(1) as beside:
            if start.startswith(_HIC):
                return _tabled(file, path, normalization, wanted, max_distance, genes)
            # while the other process reads, this one looks at what it leaves out without a word, or never ends with
            checked = beside.submit(_check_pixels, path, file.about)
            checked.add_done_callback(lambda check: file.stop() if check.exception() else None)
            try:
                table = _tabled(file, path, normalization, wanted, max_distance, genes)
            finally:
                checked.result()
            return table
    except InputError:
        raise
    except UNREADABLE as error:
        msg = f"{path} cannot be read as a contact matrix ({' '.join(str(error).split())}): copy or make it again"
        raise InputError(msg) from error


def _tabled(
    file: MatrixFile,
    path: str,
    normalization: str | None,
    wanted: list[str] | None,
    max_distance: int | None,
    genes: pd.DataFrame | None,
) -> pd.DataFrame:
    resolution = int(file.about["resolution"])
    if resolution == 0:
        msg = f"{path} has bins of different sizes: give a matrix with bins of one size"
        raise InputError(msg)
    name = _normalization(path, normalization, file.about["normalizations"])
    sizes: dict[str, int] = file.about["chromosomes"]
    match = _match(path, wanted, sizes)
    dtype = np.int32 if max(sizes.values()) < 2**31 else np.int64
    parts: list[dict[str, np.ndarray]] = []
    unknown = 0
    for chrom, other in match.items():
        held = None if genes is None else _bins_of(genes, chrom, resolution)
        row, column, count, n = _fetched(file, other, name, resolution, max_distance, held)
        unknown += n
        start1, start2 = row * resolution, column * resolution
        columns: dict[str, np.ndarray] = {
            "chrom": np.full(len(row), len(parts), np.int32),
            "start1": start1.astype(dtype),
            "end1": np.minimum(start1 + resolution, sizes[other]).astype(dtype),
            "start2": start2.astype(dtype),
            "end2": np.minimum(start2 + resolution, sizes[other]).astype(dtype),
            "count": count.astype(np.float32),
        }
        parts.append(columns)
    table = _table(parts, list(match.values()))
    if unknown:
        logger.info("%d contacts of %s have no finite count (%s) and are left out", unknown, path, name)
    if not len(table):
        within = "" if max_distance is None else f" within {max_distance} bases"
        where = " between bins that hold genes" if genes is not None else ""
        msg = f"{path} has no contact{within}{where} on {some(match.values())}: choose other chroms= or max_distance="
        raise InputError(msg)
    logger.info(
        "%s: %d contacts of %d chromosomes at %d bases, normalization %s",
        *(Path(path).name, len(table), len(match), resolution, name),
    )
    table.attrs.update(resolution=resolution, normalization=name)
    return table


def _check_pixels(path: str, about: dict[str, Any]) -> None:
    """Raise ValueError where pixels of a .cool are not in the order of its bins and index, or of bins there are not."""
    name, _, place = path.partition("::")
    with h5py.File(name, "r") as file:
        root = file[place] if place else file
        if "resolutions" in root:
            root = root[f"resolutions/{about['resolution']}"]
        resolution = int(about["resolution"])
        n_bins = [-(-size // resolution) for size in about["chromosomes"].values()] if resolution else []
        starts = np.concatenate([np.arange(n) * resolution for n in n_bins]) if n_bins else np.empty(0)
        if not np.array_equal(root["bins/start"][:], starts):
            msg = "its bins are not those of its chromosomes"
            raise ValueError(msg)
        one, two, n = root["pixels/bin1_id"], root["pixels/bin2_id"], root["pixels/count"].shape[0]
        held = np.zeros(len(starts) + 1, np.int64)
        square, last = root.attrs.get("storage-mode") == "square", 0
        fits = one.shape == two.shape == (n,)
        for at in range(0, n if fits else 0, _PIXELS):
            a, b = (np.asarray(ids[at : at + _PIXELS], np.int64) for ids in (one, two))
            fits &= bool(a[0] >= last and (np.diff(a) >= 0).all() and a[-1] < len(starts))
            fits &= bool((b >= (0 if square else a)).all() and (b < len(starts)).all())
            fits &= bool((np.diff(a * len(starts) + b) > 0).all())
            if not fits:
                break
            last = int(a[-1])
            held[a[0] + 1 : last + 2] += np.bincount(a - a[0])
        if not fits or not np.array_equal(root["indexes/bin1_offset"][:], np.cumsum(held)):
            msg = "its pixels are not in the order of its bins and of its index"
            raise ValueError(msg)


def _fetched(
    file: MatrixFile, chrom: str, name: str, resolution: int, max_distance: int | None, held: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Bins and finite counts of one chromosome, upper triangle; and how many counts are not finite."""
    band = None if max_distance is None else int(max_distance // resolution)
    width = None if band is None else band + 1
    matrix = file.fetch(
        chrom, normalization="NONE" if name == RAW else name, count_type="float32", diagonal_band_width=width
    )
    row, column, count = matrix.row.astype(np.int64), matrix.col.astype(np.int64), matrix.data
    row, column = np.minimum(row, column), np.maximum(row, column)
    kept = np.ones(len(row), bool) if band is None else column - row <= band
    if held is not None:
        held = held[held < matrix.shape[0]]
        of_gene = np.zeros(matrix.shape[0], bool)
        of_gene[held] = True
        kept &= of_gene[row] & of_gene[column]
    finite = np.isfinite(count)
    unknown = int((kept & ~finite).sum())
    kept &= finite
    row, column, count = row[kept], column[kept], count[kept]
    place = row * matrix.shape[1] + column
    if (np.diff(place) < 0).any():
        order = np.argsort(place, kind="stable")
        row, column, count = row[order], column[order], count[order]
    return row, column, count, unknown


def _bins_of(genes: pd.DataFrame, chrom: str, resolution: int) -> np.ndarray:
    tss = pd.to_numeric(genes["tss"][(genes["chrom"].astype(str) == chrom).to_numpy(bool)], errors="coerce").dropna()
    bins = tss.to_numpy(np.int64) // resolution
    return np.unique(bins[bins >= 0])


def _read_loops(
    path: Path, wanted: list[str] | None, max_distance: int | None, strength: str | int | None
) -> pd.DataFrame:
    table, names = read_loops(path, strength=strength)
    match = _match(str(path), wanted, names)
    table = table[table["chrom"].isin(list(match.values()))]
    known = np.isfinite(table["count"].to_numpy())
    if not known.all():
        logger.info("%s: %d loops have no number as their count and are left out", path.name, int((~known).sum()))
        table = table[known]
    near = table if max_distance is None else table[table["start2"] - table["start1"] <= max_distance]
    if len(near) < len(table):
        far = len(table) - len(near)
        logger.info("%s: %d loops span more than %d bases and are left out", path.name, far, max_distance)
    if not len(near):
        msg = f"{path} has no loop within {max_distance} bases on {some(match.values())}: choose other settings"
        raise InputError(msg)
    logger.info("%s: %d loops of %d chromosomes", path.name, len(near), near["chrom"].nunique())
    near = near.reset_index(drop=True)
    near["chrom"] = pd.Categorical(near["chrom"], categories=list(dict.fromkeys(near["chrom"])))
    near.attrs = {"resolution": None, "normalization": RAW}
    return near


def _normalization(path: str, asked: str | None, there: list[str]) -> str:
    if asked is None or asked.lower() == RAW:
        return RAW
    if asked == "auto":
        return next((n for n in _BALANCED if n in there), RAW)
    if asked not in there:
        found = f"it has {', '.join(there)}, or none" if there else 'it has none, so give normalization="none"'
        msg = f"{path} has no normalization {asked!r}: {found}"
        raise InputError(msg)
    return asked


def _wanted(chroms: str | Sequence[str] | None, genes: pd.DataFrame | None) -> list[str] | None:
    named = None if chroms is None else [chroms] if isinstance(chroms, str) else [str(c) for c in chroms]
    if named == []:
        msg = "chroms names no chromosome: leave it out for all"
        raise InputError(msg)
    if genes is None:
        return named
    of_genes = list(dict.fromkeys(genes["chrom"].dropna().astype(str)))
    if named is None:
        return of_genes
    return list(match_chroms(named, of_genes, wanted_in="chroms", available_in="genes").values())


def _match(path: str, wanted: list[str] | None, there: Iterable[str]) -> dict[str, str]:
    """Wanted name -> name in the file."""
    if wanted is None:
        return {c: c for c in there}
    match = match_chroms(wanted, there, wanted_in="what is asked for", available_in=Path(path).name)
    lacking = [c for c in wanted if c not in match]
    if lacking:
        logger.warning("%s has no contacts on %s", Path(path).name, some(lacking, 6))
    return match


def _table(parts: list[dict[str, np.ndarray]], names: list[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for column in list(parts[0]):
        # a column at a time, so that the whole lies in memory only once
        columns[column] = np.concatenate([part.pop(column) for part in parts])
    columns["chrom"] = pd.Categorical.from_codes(columns["chrom"], categories=names)
    return pd.DataFrame(columns, copy=False)


def _need_hictkpy(path: str) -> None:
    try:
        found = importlib.util.find_spec("hictkpy") is not None
    except ValueError:
        found = False
    if not found:
        msg = f"reading {path} needs hictkpy: install it by pip install 'genexp-scverse[contacts]'"
        raise InputError(msg)


def _first_bytes(path: Path) -> bytes:
    try:
        with existing_file(path, what=_KINDS).open("rb") as file:
            return file.read(8)
    except PermissionError as error:
        msg = f"{path} may not be read (permission denied): change its permissions"
        raise InputError(msg) from error
