"""Monotone maps that give the signal of every track of a mark the same distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genexp_scverse._errors import InputError, some

LEVELS = np.concatenate([np.linspace(0, 0.99, 100), [0.993, 0.996, 0.998, 0.999, 1.0]])
"""Where quantiles are taken: every percent, and closer in the thin upper tail."""

_LARGEST = float(np.finfo(np.float16).max)
_PATTERNS = int(np.array(_LARGEST, np.float16).view(np.uint16)) + 1


class SignalHistogram:
    """How often every value occurs in every track, in one pass and in memory that does not grow with the genes.

    Values are counted by size, as float16, which keeps 11 significant bits (an error of 0.05 % at most): positive and
    negative ones apart, zeros and uncovered bins (NaN) not at all.

    Parameters
    ----------
    n_tracks
        Number of tracks.

    Examples
    --------
    >>> histogram = SignalHistogram(1)
    >>> histogram.add(np.array([[[0.0, 1.0, 2.0, 4.0, np.nan]]]))
    >>> histogram.quantiles(0, levels=[0, 0.25, 1]).tolist()
    [1.0, 1.5, 4.0]
    """

    def __init__(self, n_tracks: int):
        self.n_tracks = n_tracks
        self.counts: dict[str, np.ndarray] = {}
        self.zeros = np.zeros(n_tracks, np.int64)

    def add(self, x: np.ndarray) -> None:
        """Count the bins of some genes.

        Parameters
        ----------
        x
            Genes x tracks x bins.

        Examples
        --------
        See :class:`SignalHistogram`.
        """
        for i in range(self.n_tracks):
            values = x[:, i].ravel()
            self.zeros[i] += int((values == 0).sum())
            for side, of in (("positive", values[values > 0]), ("negative", -values[values < 0])):
                if len(of):
                    if side not in self.counts:
                        self.counts[side] = np.zeros((self.n_tracks, _PATTERNS), np.int32)
                    # float16 numbers above 0 rise with the whole numbers that their bits are
                    bits = np.minimum(of, _LARGEST).astype(np.float16).view(np.uint16)
                    self.counts[side][i] += np.bincount(bits, minlength=_PATTERNS).astype(np.int32)

    def quantiles(
        self, track: int, *, side: str = "positive", levels: Sequence[float] | np.ndarray = LEVELS
    ) -> np.ndarray:
        """Quantiles of the sizes of a track's positive or negative signal, interpolated as numpy's default.

        Parameters
        ----------
        track
            Position of the track.
        side
            ``positive`` or ``negative``.
        levels
            From 0 to 1.

        Returns
        -------
        One value per level; none where the track has no such signal.

        Examples
        --------
        See :class:`SignalHistogram`.
        """
        values, n = self.values(track, side=side)
        if not len(values):
            return np.empty(0)
        upto = np.cumsum(n)
        at = np.asarray(levels) * (upto[-1] - 1)
        low, high = (values[np.searchsorted(upto, f(at), side="right")] for f in (np.floor, np.ceil))
        return low + (high - low) * (at - np.floor(at))

    def values(self, track: int, *, side: str = "positive") -> tuple[np.ndarray, np.ndarray]:
        """Sizes that occur in a track, rising, and how often.

        Parameters
        ----------
        track, side
            As for :meth:`quantiles`.

        Returns
        -------
        Values (float64) and counts.

        Examples
        --------
        >>> histogram = SignalHistogram(1)
        >>> histogram.add(np.array([[[3.0, -1.0, 3.0]]]))
        >>> [v.tolist() for v in histogram.values(0)]
        [[3.0], [2]]
        """
        if side not in self.counts:
            return np.empty(0), np.empty(0, np.int64)
        there = np.flatnonzero(self.counts[side][track])
        return there.astype(np.uint16).view(np.float16).astype(np.float64), self.counts[side][track][there]


class QuantileMaps:
    """A map for every track from its own signal to the common distribution of its mark.

    Quantiles of the signal of training genes are taken per track; the reference of a mark is their mean over its
    tracks (Bolstad et al. 2003), so that a signal that is stronger than p of the track's signal becomes the
    reference's p-quantile. Only what is not 0 is ranked: 0 is no signal and stays 0, negative values are mapped by
    their size. Between quantiles the map is linear, beyond the largest it is flat.

    Examples
    --------
    >>> maps = QuantileMaps()
    >>> histogram = SignalHistogram(2)
    >>> histogram.add(np.array([[[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]]]))
    >>> maps.fit(histogram, ["A.H3K4me3", "B.H3K4me3"], ["H3K4me3", "H3K4me3"])
    >>> maps.apply(np.array([0.0, 1.0, 3.0]), "A.H3K4me3", "H3K4me3").tolist()
    [0.0, 2.0, 6.0]
    >>> maps.apply(np.array([0.0, 3.0, 9.0]), "B.H3K4me3", "H3K4me3").tolist()
    [0.0, 2.0, 6.0]
    """

    def __init__(self) -> None:
        self.reference: dict[str, dict[str, list[float]]] = {}
        self.knots: dict[str, dict[str, list[float]]] = {}
        self._maps: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]] = {}

    def fit(self, histogram: SignalHistogram, tracks: Sequence[str], marks: Sequence[str]) -> None:
        """Take the maps and the references of training tracks.

        Parameters
        ----------
        histogram
            Of their signal in the training genes.
        tracks, marks
            Name and mark of every track of `histogram`.

        Examples
        --------
        See :class:`QuantileMaps`.
        """
        self.add(histogram, tracks)
        for mark in dict.fromkeys(marks):
            own = [self.knots[t] for t, m in zip(tracks, marks, strict=True) if m == mark]
            self.reference[mark] = {
                side: np.mean([k[side] for k in own if k[side]], axis=0).tolist()
                for side in ("positive", "negative")
                if any(k[side] for k in own)
            }

    def add(self, histogram: SignalHistogram, tracks: Sequence[str]) -> None:
        """Take maps of further tracks to the references that are there.

        Parameters
        ----------
        histogram
            Of their signal.
        tracks
            Name of every track of `histogram`.

        Examples
        --------
        >>> maps, histogram = QuantileMaps(), SignalHistogram(1)
        >>> histogram.add(np.array([[[1.0, 2.0, 3.0]]]))
        >>> maps.add(histogram, ["C.H3K4me3"])
        >>> maps.knots["C.H3K4me3"]["positive"][-1]
        3.0
        """
        for i, track in enumerate(tracks):
            self.knots[track] = {s: histogram.quantiles(i, side=s).tolist() for s in ("positive", "negative")}
        self._maps.clear()

    def apply(self, x: np.ndarray, track: str, mark: str) -> np.ndarray:
        """Map the signal of one track.

        Parameters
        ----------
        x
            Any shape; NaN stays NaN.
        track, mark
            Its name and mark.

        Returns
        -------
        New array of the type of `x`. Where the track had no signal to take quantiles of, `x` as it is.

        Raises
        ------
        InputError
            The track has no map.

        Examples
        --------
        See :class:`QuantileMaps`.
        """
        if track not in self.knots:
            msg = f"no quantiles were taken of the track {track!r}: there are those of {some(self.knots, 6)}"
            raise InputError(msg)
        out = x.copy()
        for side, sign in (("positive", 1), ("negative", -1)):
            there = x * sign > 0
            if there.any():
                knots, values = self._map(track, mark, side)
                if len(knots) > 1:
                    out[there] = sign * np.interp(sign * x[there], knots, values)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Give the state in plain types.

        Returns
        -------
        reference (mark -> side -> values at :data:`LEVELS`) and knots (track -> side -> values).

        Examples
        --------
        >>> QuantileMaps().to_dict()
        {'reference': {}, 'knots': {}}
        """
        return {"reference": self.reference, "knots": self.knots}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> QuantileMaps:
        """Make maps from what :meth:`to_dict` gave.

        Parameters
        ----------
        state
            reference and knots.

        Returns
        -------
        The maps.

        Examples
        --------
        >>> QuantileMaps.from_dict({"reference": {}, "knots": {}}).knots
        {}
        """
        maps = cls()
        maps.reference, maps.knots = (
            {
                str(k): {str(s): [float(v) for v in values] for s, values in sides.items()}
                for k, sides in state[key].items()
            }
            for key in ("reference", "knots")
        )
        return maps

    def _map(self, track: str, mark: str, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Points of a map, from 0 on; where the signal has ties, their mean rank decides."""
        key = (track, mark, side)
        if key not in self._maps:
            knots, reference = self.knots[track].get(side, []), self.reference.get(mark, {}).get(side, [])
            if not len(knots) or not len(reference):
                self._maps[key] = (np.zeros(1), np.zeros(1))
            else:
                points, at = np.unique([0.0, *knots], return_inverse=True)
                values = np.bincount(at, [0.0, *reference]) / np.bincount(at)
                self._maps[key] = (points, values)
        return self._maps[key]
