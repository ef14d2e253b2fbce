"""Positions of a window: their number, their bases, and which of them lie at the TSS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from genexp_scverse._errors import InputError

RESOLUTIONS = (32, 25, 20, 16, 10, 8, 5, 4, 2, 1)
"""Bases per position that are tried in turn where there is DNA."""
MOST_POSITIONS = 2048
"""Of signals alone, where no resolution is asked for."""
CENTER, CENTER_SHARE = 2000, 0.2
"""Bases around the TSS that are always open, and their share of the window at most."""


class Geometry(NamedTuple):
    """Window of a model; lengths in bases, or in bins where the window is not known."""

    upstream: int
    downstream: int
    bin_size: int
    resolution: int
    stranded: bool
    first_open: int
    """First position that is always open."""
    last_open: int
    """One past the last one."""

    @property
    def n_positions(self) -> int:
        """Positions of the mask."""
        return (self.upstream + self.downstream) // self.resolution


def geometry(setup: Mapping[str, Any], *, resolution: int | None, center: int | None) -> Geometry:
    """Choose positions for what `setup` reads.

    Raises where DNA and tracks have different windows, or bins, positions and window do not fit into each other.
    """
    dna, tracks = setup["codes"], setup["window"] if setup["marks"] else None
    if dna and setup["marks"] and (tracks is None or any(dna[k] != tracks[k] for k in dna)):
        msg = f"the DNA has the window {dna} and the tracks have {tracks}: build both with the same window"
        raise InputError(msg)
    if dna:
        upstream, downstream, stranded = dna["upstream"], dna["downstream"], dna["stranded"]
    elif tracks:
        upstream, downstream, stranded = tracks["upstream"], tracks["downstream"], tracks["stranded"]
    else:
        upstream, stranded = setup["n_bins"] // 2, True
        downstream = setup["n_bins"] - upstream
    length = upstream + downstream
    bin_size = tracks["bin_size"] if tracks else 1
    if resolution is None:
        if dna:
            fitting = [r for r in RESOLUTIONS if length % r == 0 and _fit(r, bin_size if setup["marks"] else r)]
            resolution = fitting[0] if fitting else bin_size
        else:
            n = length // bin_size
            fold = next(d for d in range(max(1, -(-n // MOST_POSITIONS)), n + 1) if n % d == 0)
            resolution = fold * bin_size
    if length % resolution or (setup["marks"] and not _fit(resolution, bin_size)):
        msg = (
            f"resolution={resolution} does not fit the window of {length} bases in bins of {bin_size}: give a number "
            "of bases that divides the window and is a multiple of a bin, or a part of it"
        )
        raise InputError(msg)
    around = min(CENTER, int(CENTER_SHARE * length)) if center is None else center
    first = max(0, upstream - around // 2) // resolution
    last = min(length // resolution, -(-(upstream + around - around // 2) // resolution))
    return Geometry(upstream, downstream, bin_size, resolution, stranded, first, max(last, first + 1))


def _fit(resolution: int, bin_size: int) -> bool:
    return resolution % bin_size == 0 or bin_size % resolution == 0
