"""Peaks, blacklists and other intervals beside the genes, and as masks of their windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._chroms import match_chroms
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._windows import count_bins
from genexp_scverse.pp._graph_store import expanded
from genexp_scverse.pp._window_overlap import overlap_sum, placed_windows

if TYPE_CHECKING:
    from mudata import MuData

INTERVALS = "intervals"
_COLUMNS = ("chrom", "start", "end")
_BLOCK = 4_000_000


def add_intervals(mdata: MuData, table: pd.DataFrame, name: str) -> None:
    """Keep intervals with the genes, for masks and for drawing.

    Parameters
    ----------
    mdata
        Gene-centric MuData; where ``obs`` has chrom, at least one chromosome must be that of an interval.
    table
        With chrom, start and end (0-based half-open), as :func:`genexp_scverse.io.read_intervals` gives; other columns
        are kept.
    name
        Name of the intervals; older ones of that name are replaced.

    Returns
    -------
    None. Writes

    ``mdata.uns["intervals"][name]`` : DataFrame
        The table, with a plain index.

    Raises
    ------
    InputError
        When a column is missing, positions run backwards, or no chromosome is one of the genes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((1, 1, 1)), genes=["a"], marks=["H3K4me3"])
    >>> gx.pp.add_intervals(mdata, pd.DataFrame({"chrom": ["chr1"], "start": [5], "end": [9]}), "peaks")
    >>> mdata.uns["intervals"]["peaks"].values.tolist()
    [['chr1', 5, 9]]
    """
    if not isinstance(name, str) or not name or "/" in name:
        msg = f"name={name!r} is no name for intervals: give text without a slash"
        raise InputError(msg)
    _check(table, name)
    chroms = table["chrom"].astype(str)
    if "chrom" in mdata.obs and mdata.obs["chrom"].notna().any():
        genes = mdata.obs["chrom"].dropna().astype(str).unique()
        match_chroms(genes, chroms.unique(), wanted_in="mdata.obs", available_in=f"the intervals {name}")
    sizes = mdata.uns.get("chrom_sizes")
    if sizes is not None and len(sizes):
        known = dict(zip(sizes["chrom"].astype(str), sizes["size"].astype(int), strict=True))
        match = match_chroms(chroms.unique(), known, wanted_in=f"the intervals {name}", available_in="the MuData")
        beyond = table["end"].to_numpy() > chroms.map({c: known[o] for c, o in match.items()}).to_numpy(float)
        if beyond.any():
            logger.warning(
                "%d of %d intervals of %s end beyond their chromosome (%s): are they of another assembly?",
                *(int(beyond.sum()), len(table), name, some(chroms[beyond].unique())),
            )
    kept = table.copy()
    kept["chrom"] = chroms.astype(object).to_numpy()
    kept.index = pd.Index([str(i) for i in range(len(kept))], dtype=object)
    kept.attrs = {}
    mdata.uns[INTERVALS] = {**mdata.uns.get(INTERVALS, {}), name: kept}


def interval_mask(
    mdata: MuData,
    intervals: pd.DataFrame | str,
    *,
    upstream: int,
    downstream: int,
    bin_size: int,
    stranded: bool = True,
    min_share: float = 0.5,
) -> np.ndarray:
    """Say which bins of the window of every gene lie in intervals.

    A bin lies in the intervals where they cover at least `min_share` of its bases together; bases covered twice count
    once. Half of the bases keeps the share of the genome that is marked about right at any bin size. ``min_share=0``
    takes every bin that an interval touches, the careful choice for a blacklist.

    Parameters
    ----------
    mdata
        With chrom, tss and strand in ``obs``.
    intervals
        Table with chrom, start and end (0-based half-open), or its name in ``mdata.uns["intervals"]``. Names of
        chromosomes are matched with those of the genes.
    upstream, downstream
        Window in bases, read in the direction of transcription.
    bin_size
        Bases in a bin; must fill the window.
    stranded
        Mirror the windows of genes on the minus strand.
    min_share
        Share of a bin that is to be covered, 0 to 1.

    Returns
    -------
    Array of genes x bins, bool; False for genes without coordinates and beyond the ends of the chromosome.

    Raises
    ------
    InputError
        When there are no coordinates or no such intervals, no chromosome matches, or the bins do not fill the window.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [20, 20], "strand": ["+", "-"]}, index=["a", "b"])
    >>> mdata = gx.io.from_bins(np.ones((2, 1, 1)), genes=["a", "b"], marks=["H3K4me3"], obs=obs)
    >>> peaks = pd.DataFrame({"chrom": "1", "start": [5, 19], "end": [17, 22]})
    >>> gx.pp.interval_mask(mdata, peaks, upstream=20, downstream=10, bin_size=10).astype(int).tolist()
    [[1, 1, 0], [0, 0, 1]]
    """
    if not 0 <= min_share <= 1:
        msg = f"min_share={min_share!r}: give a share from 0 (any overlap) to 1 (the whole bin)"
        raise InputError(msg)
    name = intervals if isinstance(intervals, str) else "the intervals"
    if isinstance(intervals, str):
        stored = mdata.uns.get(INTERVALS, {})
        if intervals not in stored:
            msg = f"there are no intervals {intervals!r}: there are {some(stored, 6)}; add some by gx.pp.add_intervals"
            raise InputError(msg)
        intervals = stored[intervals]
    _check(intervals, name)
    n_bins, bin_size = count_bins(upstream=upstream, downstream=downstream, bin_size=bin_size), int(bin_size)
    rows, windows = placed_windows(
        mdata, upstream=upstream, downstream=downstream, stranded=stranded, wanted_by="gx.pp.interval_mask"
    )
    chroms = intervals["chrom"].astype(str).to_numpy(dtype=object)
    match = match_chroms(list(dict.fromkeys(windows.chrom)), chroms, wanted_in="mdata.obs", available_in=name)
    mask = np.zeros((mdata.n_obs, n_bins), bool)
    least = max(1, min_share * bin_size)
    for chrom, other in match.items():
        here = chroms == other
        start, end = _merged(*(intervals[c].to_numpy(np.int64)[here] for c in ("start", "end")))
        genes = np.flatnonzero(windows.chrom == chrom)
        for part in np.split(genes, np.arange(max(1, _BLOCK // n_bins), len(genes), max(1, _BLOCK // n_bins))):
            first = windows.start[part]
            low = np.searchsorted(end, first, side="right")
            of, at = expanded(low, np.searchsorted(start, windows.end[part], side="left"))
            covered = overlap_sum(
                of,
                start[at] - first[of],
                end[at] - first[of],
                None,
                n_rows=len(part),
                n_bins=n_bins,
                bin_size=bin_size,
            )
            inside = covered >= least
            flip = windows.reverse[part]
            inside[flip] = inside[flip, ::-1]
            mask[rows[part]] = inside
    return mask


def _merged(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join intervals that overlap or touch; sorted."""
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    new = np.flatnonzero(np.concatenate([[True], start[1:] > reach[:-1]]))
    return start[new], reach[np.append(new[1:] - 1, len(reach) - 1)]


def _check(table: pd.DataFrame, name: str) -> None:
    missing = [c for c in _COLUMNS if c not in getattr(table, "columns", ())]
    if missing:
        msg = f"{name} lacks the column {some(missing)}: give what gx.io.read_intervals returns"
        raise InputError(msg)
    if not len(table):
        msg = f"{name} has no interval: give at least one"
        raise InputError(msg)
    if table["start"].dtype.kind not in "iu" or table["end"].dtype.kind not in "iu":
        msg = f"{name} has positions that are no whole numbers: give start and end as integers"
        raise InputError(msg)
    wrong = ((table["start"] < 0) | (table["start"] >= table["end"])).to_numpy()
    if wrong.any():
        row = table.iloc[int(wrong.argmax())]
        msg = f"{name} has an interval from {row['start']} to {row['end']}: a start is 0 or more and below its end"
        raise InputError(msg)
