"""Scores per position of all genes to one bigWig."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from tqdm.auto import tqdm

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._output import check_apart, is_special, written
from genexp_scverse._rows import rows_of
from genexp_scverse._scores import Places, Scores, along_genome, chrom_sizes, places_of, scores_of
from genexp_scverse.io._bigwig_write import new_bigwig
from genexp_scverse.io._store_on_disk import files_of
from genexp_scverse.io.chroms import match_chroms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mudata import MuData

_TILE = 2_000_000


def write_bigwig(
    mdata: MuData,
    path: str | Path,
    *,
    key: str,
    sample: str | None = None,
    how: Literal["max", "mean"] = "max",
) -> None:
    """Write scores per position, such as a mask, as one bigWig over the genome.

    Windows of neighbouring genes overlap: a base gets the largest of its scores, or their mean. Neighbouring bases
    of equal score are one interval; bases in no window, and those without a score (NaN), are left out. What reaches
    beyond the end of a chromosome is cut off.

    Parameters
    ----------
    mdata
        With ``obsm[key]`` and ``uns[key]`` as ``model.get_mask`` or :func:`genexp_scverse.tl.fixed_mask` store
        them, the place of genes in obs, and ``uns["chrom_sizes"]``.
    path
        File to write; an older one is replaced when the new one is complete.
    key
        Name of the scores.
    sample
        Sample to write; None where the scores are of one.
    how
        ``max`` or ``mean`` of the genes whose windows hold a base.

    Raises
    ------
    InputError
        When the scores, the places of genes or the sizes of chromosomes are not there, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, pandas as pd, pyBigWig
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [500], "strand": ["-"]}, index=["a"])
    >>> window = {"upstream": 200, "downstream": 200, "bin_size": 100, "stranded": True}
    >>> mdata = gx.io.from_bins(np.ones((1, 1, 4)), genes=["a"], marks=["DNase"], obs=obs, window=window)
    >>> mdata.uns["chrom_sizes"] = pd.DataFrame({"chrom": ["chr1"], "size": [1000]})
    >>> mdata["chromatin"].obsm["mask"] = np.array([[0.5, 0.25, 0, 0]])
    >>> mdata["chromatin"].uns["mask"] = window
    >>> gx.schema.name_axes(mdata, "mask")
    >>> path = tempfile.mkdtemp() + "/mask.bigWig"
    >>> gx.io.write_bigwig(mdata, path, key="mask")
    >>> pyBigWig.open(path).intervals("chr1")
    ((301, 501, 0.0), (501, 601, 0.25), (601, 701, 0.5))
    """
    path = Path(path)
    if path.is_dir() or is_special(path):
        msg = f"{path} is a {'folder' if path.is_dir() else 'pipe or device'}: give the name of a bigWig file"
        raise InputError(msg)
    check_apart(path, files_of(mdata))
    scores = scores_of(mdata, key, sample)
    places = places_of(mdata, scores.window)
    sizes = chrom_sizes(mdata)
    if not sizes:
        msg = (
            'mdata.uns has no "chrom_sizes", which a bigWig needs: put a DataFrame with chrom and size there, as '
            "gx.io.build_mudata does"
        )
        raise InputError(msg)
    names = match_chroms(
        np.unique(places.chrom[places.known]).tolist(), sizes, wanted_in="mdata.obs", available_in="uns['chrom_sizes']"
    )
    lost = sorted(set(places.chrom[places.known]) - set(names))
    if lost:
        logger.warning("genes on %s are left out: uns['chrom_sizes'] has no such chromosome", some(lost))
    theirs = {other: ours for ours, other in names.items()}
    with written(path) as made, new_bigwig(made, sizes) as out:
        for chrom in tqdm([c for c in sizes if c in theirs], desc="bigWig", unit="chrom", disable=None):
            rows = np.flatnonzero(places.known & (places.chrom == theirs[chrom]))
            for start, end, value in _chrom_runs(scores, places, rows, sizes[chrom], how):
                out.add(chrom, start, end, value)


def _chrom_runs(
    scores: Scores, places: Places, rows: np.ndarray, size: int, how: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Give runs of equal score along a chromosome, tile by tile, so that no whole chromosome lies in memory."""
    bin_size = int(scores.window["bin_size"])
    length = scores.values.shape[1] * bin_size
    first = places.start[rows]
    for low in range(0, size, _TILE):
        high = min(low + _TILE, size)
        of = rows[(first < high) & (first + length > low)]
        if not len(of):
            continue
        values = along_genome(rows_of(scores.values, of), places.reverse[of])
        total, count = np.full(high - low, -np.inf if how == "max" else 0.0), np.zeros(high - low, np.int32)
        for row, per_position in zip(of, values, strict=True):
            begin = int(places.start[row])
            a, b = max(begin, low), min(begin + length, high)
            bases = np.repeat(per_position, bin_size)[a - begin : b - begin]
            known = ~np.isnan(bases)
            here = slice(a - low, b - low)
            if how == "max":
                np.fmax(total[here], bases, out=total[here])
            else:
                total[here] += np.where(known, bases, 0)
            count[here] += known
        joined = np.full(high - low, np.nan)
        np.divide(total, 1 if how == "max" else count, out=joined, where=count > 0)
        # what is stored is float32: runs are of what is equal there
        kept = joined.astype(np.float32)
        same = (kept[1:] == kept[:-1]) | (np.isnan(kept[1:]) & np.isnan(kept[:-1]))
        start = np.flatnonzero(np.concatenate([[True], ~same]))
        end = np.append(start[1:], len(kept))
        covered = ~np.isnan(kept[start])
        if covered.any():
            yield low + start[covered], low + end[covered], kept[start[covered]].astype(np.float64)
