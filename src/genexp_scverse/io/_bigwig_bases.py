"""The signal of a bigWig base by base, from one end of a chromosome to the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse.io._bigwig_blocks import as_intervals, is_dense
from genexp_scverse.io._bigwig_tracks import Track, check_sign

BLOCK_BASES = 2**21
"""Bases read at once: their intervals take some 300 MB where there is one for every base."""


def chromosome_bins(
    bw, track: Track, chrom: str, *, bin_size: int, scale: str | None
) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """Yield the signal of a chromosome in blocks from left to right.

    Parameters
    ----------
    bw
        The open bigWig.
    track
        What is known of it.
    chrom
        Name of the chromosome in the file.
    bin_size
        Bases in a bin. Bases without a value, and those that the last bin has beyond the end, count as 0.
    scale
        Scale of the track, which says whether values may be negative.

    Yields
    ------
    First bin, bases of the block, and the mean of its bins (float32), None where all are 0.

    Raises
    ------
    InputError
        When the file is damaged, or a value is not finite or against the scale.
    """
    size = track.chroms[chrom]
    step = max(1, BLOCK_BASES // bin_size) * bin_size
    for low in range(0, size, step):
        high = min(low + step, size)
        values = _bases(bw, track, chrom, low, high, scale)
        if values is not None and bin_size > 1:
            values = np.pad(values, (0, -len(values) % bin_size)).reshape(-1, bin_size)
            values = values.mean(axis=1, dtype=np.float64).astype(np.float32)
        yield low // bin_size, high - low, values


def _bases(bw, track: Track, chrom: str, low: int, high: int, scale: str | None) -> np.ndarray | None:
    try:
        if is_dense(bw, track, chrom, low, high):
            values = np.nan_to_num(bw.values(chrom, low, high, numpy=True), posinf=np.inf, neginf=-np.inf)
            check_sign(track.path, scale, values.min())
            return values
        found = bw.intervals(chrom, low, high)
    except RuntimeError as error:
        msg = f"{track.path} is damaged at {chrom}:{low:,}-{high:,} ({error}): copy or download it again"
        raise InputError(msg) from error
    if not found:
        return None
    start, end, value = as_intervals(found, track, chrom)
    check_sign(track.path, scale, value.min())
    # gap, interval, gap, interval, ..., gap
    edges = np.empty(2 * len(start) + 2, np.int64)
    edges[0], edges[-1] = low, high
    edges[1:-1:2], edges[2:-1:2] = np.maximum(start, low), np.minimum(end, high)
    steps = np.zeros(2 * len(start) + 1, np.float32)
    steps[1::2] = value
    return np.repeat(steps, np.diff(edges))
