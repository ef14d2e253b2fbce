"""How many bases of each bin of each window intervals cover."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._windows import Windows, tss_windows
from genexp_scverse.pp._graph_store import expanded

if TYPE_CHECKING:
    from mudata import MuData


def placed_windows(
    mdata: MuData, *, upstream: int, downstream: int, stranded: bool, wanted_by: str
) -> tuple[np.ndarray, Windows]:
    """Positions of the genes that have coordinates, and their windows."""
    missing = [c for c in ("chrom", "tss", "strand") if c not in mdata.obs and (stranded or c != "strand")]
    if missing:
        msg = (
            f"mdata.obs has no column {some(missing)}, and {wanted_by} needs chrom, tss and strand: give the genes "
            "coordinates, for example by gx.io.build_mudata"
        )
        raise InputError(msg)
    there = (mdata.obs["chrom"].notna() & mdata.obs["tss"].notna()).to_numpy()
    if not there.any():
        msg = f"no gene has both chrom and tss in mdata.obs, which {wanted_by} needs: give the genes coordinates"
        raise InputError(msg)
    if not there.all():
        logger.info("%d of %d genes have no coordinates: %s gives them 0", *((~there).sum(), len(there), wanted_by))
    rows = np.flatnonzero(there)
    return rows, tss_windows(mdata.obs.iloc[rows], upstream=upstream, downstream=downstream, stranded=stranded)


def overlap_sum(
    row: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    weight: np.ndarray | None,
    *,
    n_rows: int,
    n_bins: int,
    bin_size: int,
) -> np.ndarray:
    """Sum, over intervals, their overlap with every bin in bases, times their weight.

    Parameters
    ----------
    row
        Window of each interval.
    start, end
        The interval, counted from the first base of its window; parts outside of the window do not count.
    weight
        Of each interval; 1 when None.
    n_rows, n_bins, bin_size
        Number of windows, bins of each, bases of a bin.

    Returns
    -------
    Windows x bins, float64.

    Examples
    --------
    >>> at = np.array([0]), np.array([-5]), np.array([13])
    >>> overlap_sum(*at, None, n_rows=1, n_bins=3, bin_size=10).tolist()
    [[10.0, 3.0, 0.0]]
    """
    start, end = (np.clip(x, 0, n_bins * bin_size) for x in (start, end))
    kept = np.flatnonzero(end > start)
    row, start, end = row[kept], start[kept], end[kept]
    of, at = expanded(start // bin_size, (end - 1) // bin_size + 1)
    bases = np.minimum(end[of], (at + 1) * bin_size) - np.maximum(start[of], at * bin_size)
    amount = bases if weight is None else weight[kept][of] * bases
    return np.bincount(row[of] * n_bins + at, weights=amount, minlength=n_rows * n_bins).reshape(n_rows, n_bins)
