"""The signal of a bigWig base by base, from one end of a chromosome to the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genexp_scverse.io._bigwig_file import BigWig
from genexp_scverse.io._bigwig_tracks import Track, check_sign

BLOCK_BASES = 2**21
"""Bases read at once."""


def chromosome_bins(
    bw: BigWig, track: Track, chrom: str, *, bin_size: int, scale: str | None
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


def _bases(bw: BigWig, track: Track, chrom: str, low: int, high: int, scale: str | None) -> np.ndarray | None:
    values = bw.values(chrom, low, high)
    if values is None:
        return None
    values[np.isnan(values)] = 0
    check_sign(track.path, scale, values.min())
    return values
