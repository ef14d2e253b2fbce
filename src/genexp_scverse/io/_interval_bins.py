"""Bin a signal over windows of equal length: a step function of intervals, or a value per base."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Intervals(NamedTuple):
    """Sorted intervals without overlaps, 0-based half-open, at least one."""

    start: np.ndarray
    end: np.ndarray
    value: np.ndarray


def bin_intervals(
    intervals: Intervals,
    windows: np.ndarray,
    *,
    n_bins: int,
    bin_size: int,
    summary: str,
    uncovered: float,
) -> np.ndarray:
    """Summarise the intervals that overlap each bin of each window.

    Every bin is summed from its own intervals alone: a difference of cumulative sums would lose small values
    behind large ones.

    Parameters
    ----------
    intervals
        The step function (int64, int64, float64).
    windows
        First base of each window.
    n_bins, bin_size
        Bins of a window and bases of a bin.
    summary
        mean, max or sum.
    uncovered
        0 counts bases without a value as 0; nan leaves them out and marks bins without any value.

    Returns
    -------
    Windows x bins, float64.
    """
    start, end, value = intervals
    edges = windows[:, None] + np.arange(n_bins + 1) * bin_size
    first = np.searchsorted(end, edges[:, :-1], side="right").ravel()
    last = np.searchsorted(start, edges[:, 1:], side="left").ravel() - 1
    result = np.full(len(first), uncovered)
    hit = np.flatnonzero(last >= first)
    first, last = first[hit], last[hit]
    left = edges[:, :-1].ravel()[hit]
    right = left + bin_size
    covered = np.full(len(hit), bin_size)
    if np.isnan(uncovered) or summary == "max":
        before = np.concatenate([[0], np.cumsum(end - start)])
        covered = before[last + 1] - before[first]
        covered -= np.maximum(left - start[first], 0) + np.maximum(end[last] - right, 0)
    if summary == "max":
        most = np.maximum(_ranges(np.maximum, value, first, last), value[last])
        if not np.isnan(uncovered):
            most[covered < bin_size] = np.maximum(most[covered < bin_size], uncovered)
        result[hit] = most
    else:
        total = value[first] * (np.minimum(end[first], right) - np.maximum(start[first], left))
        two = np.flatnonzero(last > first)
        total[two] += value[last[two]] * (np.minimum(end[last[two]], right[two]) - start[last[two]])
        more = np.flatnonzero(last > first + 1)
        if len(more):
            total[more] += _ranges(np.add, value * (end - start), first[more] + 1, last[more])
        if summary == "mean":
            total /= covered
        result[hit] = total
    return result.reshape(len(windows), n_bins)


def bin_bases(
    value: np.ndarray, windows: np.ndarray, *, n_bins: int, bin_size: int, summary: str, uncovered: float
) -> np.ndarray:
    """Summarise a signal with a value per base, NaN where there is none.

    Parameters
    ----------
    value
        Signal that holds all windows (float32); with `uncovered` 0 its NaN are set to 0 in place.
    windows
        Index in `value` of the first base of each window.
    n_bins, bin_size, summary, uncovered
        As for :func:`bin_intervals`.

    Returns
    -------
    Windows x bins, float64.
    """
    result = np.empty((len(windows), n_bins))
    keep = np.isnan(uncovered)
    if not keep:
        np.nan_to_num(value, copy=False, posinf=np.inf, neginf=-np.inf)
    for i, first in enumerate(windows):
        bases = value[first : first + n_bins * bin_size].reshape(n_bins, bin_size)
        if summary == "max":
            result[i] = np.fmax.reduce(bases, axis=1)
            continue
        covered = np.sum(~np.isnan(bases), axis=1) if keep else np.full(n_bins, bin_size)
        result[i] = np.nansum(bases, axis=1, dtype=float) if keep else bases.sum(axis=1, dtype=float)
        if summary == "mean":
            result[i] /= np.maximum(covered, 1)
        result[i, covered == 0] = np.nan
    return result


def _ranges(ufunc: np.ufunc, values: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Reduce ``values[first:stop]`` for each pair (``values[first]`` where the range is empty)."""
    return ufunc.reduceat(values, np.column_stack([first, stop]).ravel())[::2]
