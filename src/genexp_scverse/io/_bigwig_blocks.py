"""Read a bigWig in blocks of many windows and bin them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse.io._bigwig_file import BigWig
from genexp_scverse.io._bigwig_tracks import Track, check_sign
from genexp_scverse.io._interval_bins import bin_bases, bin_intervals

# About 60 MB of arrays; a query costs as much as 500 intervals.
_BLOCK_INTERVALS, _GAP_INTERVALS = 1_000_000, 500
_BLOCK_BASES, _BLOCK_BINS = 2**24, 1_000_000

# Intervals per base from which on a value per base is read faster.
_DENSE = 0.1


class Options(NamedTuple):
    """How windows are summarised, see :func:`bin_intervals`."""

    n_bins: int
    bin_size: int
    summary: str
    uncovered: float


def bin_track(
    track: Track,
    chrom: np.ndarray,
    start: np.ndarray,
    reverse: np.ndarray,
    options: Options,
    dtype: np.dtype,
    scale: str | None,
) -> np.ndarray:
    """Bin one track: genes x bins, rows of `reverse` mirrored; `chrom` is None where the track lacks it."""
    result = np.full((len(start), options.n_bins), options.uncovered, dtype=dtype)
    length = options.n_bins * options.bin_size
    with BigWig(track.path) as bw:
        codes, names = pd.factorize(chrom)
        order = np.lexsort((start, codes))
        for code, name in enumerate(names):
            rows = order[slice(*np.searchsorted(codes[order], [code, code + 1]))]
            for block in _blocks(start[rows], length, track, options.n_bins):
                bins = _bin_block(bw, track, name, start[rows[block]], length, options, scale)
                if bins is None:
                    continue
                if dtype == np.float16 and np.nanmax(np.abs(bins), initial=0) > np.finfo(dtype).max:
                    msg = f"{track.path} has bins beyond 65,504, the end of float16: take dtype float32"
                    raise InputError(msg)
                result[rows[block]] = bins
    result[reverse] = result[reverse, ::-1]
    return result


def _bin_block(
    bw: BigWig, track: Track, chrom: str, windows: np.ndarray, length: int, options: Options, scale: str | None
) -> np.ndarray | None:
    first, last = windows[0], windows[-1] + length
    low, high = int(max(first, 0)), int(min(last, track.chroms[chrom]))
    if high <= low:
        return None
    if is_dense(bw, track, chrom, low, high):
        value = np.full(last - first, np.nan, dtype=np.float32)
        found = bw.values(chrom, low, high)
        if found is None:
            return None
        value[low - first : high - first] = found
        check_sign(track.path, scale, np.nanmin(value, initial=0))
        return bin_bases(value, windows - first, **options._asdict())
    intervals = bw.intervals(chrom, low, high)
    if not len(intervals.start):
        return None
    check_sign(track.path, scale, intervals.value.min())
    return bin_intervals(intervals, windows, **options._asdict())


def is_dense(bw: BigWig, track: Track, chrom: str, low: int, high: int) -> bool:
    """Look into the middle of a block; NaN in a file are found in its intervals alone."""
    header = track.header
    if not header.finite or header.intervals < _DENSE * header.covered:
        return False
    middle = (low + high) // 2
    probe = (max(low, middle - 500), min(high, middle + 500))
    return len(bw.intervals(chrom, *probe).start) > _DENSE * (probe[1] - probe[0])


def _blocks(starts: np.ndarray, length: int, track: Track, n_bins: int) -> Iterator[slice]:
    """Cut sorted windows into runs that are read at once: close together, and not too much in all."""
    genome, intervals = sum(track.chroms.values()), track.header.intervals
    gap = _GAP_INTERVALS * genome / intervals
    most = min(_BLOCK_INTERVALS * (track.header.covered or genome) / intervals, _BLOCK_BASES)
    start = starts.tolist()
    first = 0
    for i in range(1, len(start)):
        if (
            start[i] - start[i - 1] > length + gap
            or start[i] - start[first] > most - length
            or (i - first) * n_bins >= _BLOCK_BINS
        ):
            yield slice(first, i)
            first = i
    yield slice(first, len(start))
