"""The scaling of signal that a model fits on its training genes and keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of
from genexp_scverse.pp.quantiles import QuantileMaps, SignalHistogram
from genexp_scverse.schema import SCALES

TRANSFORMS = ("auto", "log1p", "arcsinh", "quantile", "none")
LOGGED = ("log", "log_ratio")


class SignalScaler:
    """Transform signal by its scale, then divide every mark by its standard deviation on training genes.

    Statistics are pooled per mark over all its tracks, the training genes and their bins (population standard
    deviation of what is covered, accumulated in float64), so that a new sample of the same marks is scaled
    alike. Nothing is centred: 0 stays 0, no signal. Uncovered bins (NaN) become 0. A mark that is constant in
    training has no standard deviation and is divided by 1, with a warning.

    Works on any array that is sliced by genes (ndarray, memmap, dask array), a block of genes at a time.

    Parameters
    ----------
    transform
        ``auto``: log1p of tracks in counts, coverage, fold_change and pvalue, nothing on log and log_ratio;
        ``quantile``: that, and then every track is mapped to the mean distribution of its mark
        (:class:`~genexp_scverse.pp.quantiles.QuantileMaps`), which makes samples comparable; ``log1p`` or ``arcsinh``:
        on all tracks; ``none``: on none.

    Raises
    ------
    InputError
        `transform` is not one of these.

    Examples
    --------
    >>> import numpy as np
    >>> bins = np.array([[[0.0, 2.0]], [[9.0, np.nan]]])
    >>> scaler = SignalScaler("none").fit(bins, ["counts"], ["H3K4me3"], rows=[0])
    >>> scaler.divisors
    {'H3K4me3': 1.0}
    >>> scaler.transform(bins, ["counts"], ["H3K4me3"]).tolist()
    [[[0.0, 2.0]], [[9.0, 0.0]]]
    """

    def __init__(self, transform: str = "auto"):
        if transform not in TRANSFORMS:
            msg = f"transform={transform!r} is unknown: choose one of {', '.join(TRANSFORMS)}"
            raise InputError(msg)
        self.name = transform
        self.divisors: dict[str, float] = {}
        self.maps = QuantileMaps() if transform == "quantile" else None

    def fit(
        self,
        bins: Any,
        scales: Sequence[str],
        marks: Sequence[str],
        rows: Sequence[int] | np.ndarray,
        *,
        tracks: Sequence[int] | np.ndarray | None = None,
        samples: Sequence[str] | None = None,
    ) -> SignalScaler:
        """Take the statistics of the training genes.

        Parameters
        ----------
        bins
            Genes x tracks x bins.
        scales, marks
            Scale and mark of every track (of every one of `tracks`, when given).
        rows
            Positions of the training genes.
        tracks
            Positions of the tracks to use; all when None.
        samples
            Sample of every track, for ``quantile``.

        Returns
        -------
        The scaler itself, with :attr:`divisors`, mark -> standard deviation.

        Raises
        ------
        InputError
            There is no training gene, a mark is nowhere covered in training, or a track is negative where
            log1p is to be taken.

        Examples
        --------
        >>> import numpy as np
        >>> SignalScaler().fit(np.array([[[0, 3]]]), ["log"], ["H3K4me3"], rows=[0]).divisors
        {'H3K4me3': 1.5}
        """
        rows = np.sort(np.asarray(rows, np.int64))
        if len(rows) == 0:
            msg = "there are no training genes to take the scale of the signal from: check the split"
            raise InputError(msg)
        steps = self._steps(scales, marks)
        n, mean, squares = (np.zeros(len(marks)) for _ in range(3))
        if self.maps is not None:
            names = _track_names(samples, marks)
            histogram = self._histogram(bins, steps, marks, rows, tracks)
            self.maps = QuantileMaps()
            self.maps.fit(histogram, names, marks)
            for i, (name, mark) in enumerate(zip(names, marks, strict=True)):
                n[i], mean[i], squares[i] = _mapped_moments(histogram, i, self.maps, name, mark)
        else:
            for _, block in blocks_of(bins, rows, None if tracks is None else np.asarray(tracks)):
                x = _transformed(block, steps, marks)
                n, mean, squares = _merged(n, mean, squares, *_moments(x))
        self.divisors = {}
        for mark in dict.fromkeys(str(m) for m in marks):
            mine = [i for i, m in enumerate(marks) if str(m) == mark]
            total = (0.0, 0.0, 0.0)
            for i in mine:
                total = _merged(*total, n[i], mean[i], squares[i])
            if total[0] == 0:
                msg = f"mark {mark!r} is not covered at all in the training genes: leave it out (marks=)"
                raise InputError(msg)
            deviation = float(np.sqrt(total[2] / total[0]))
            if not np.isfinite(deviation):
                raise InputError(_infinite(mark))
            if not deviation > 1e-6 * abs(total[1]):
                logger.warning("mark %r is constant in the training genes: it is left unscaled", mark)
                deviation = 1.0
            self.divisors[mark] = deviation
        return self

    def adapt(
        self,
        bins: Any,
        scales: Sequence[str],
        marks: Sequence[str],
        rows: Sequence[int] | np.ndarray,
        *,
        samples: Sequence[str],
        tracks: Sequence[int] | np.ndarray | None = None,
    ) -> list[str]:
        """Take the maps of tracks that were not there when fitted, from their own signal; ``quantile`` alone has any.

        Parameters
        ----------
        bins, scales, marks, rows, samples, tracks
            As for :meth:`fit`.

        Returns
        -------
        Names of the tracks that are new, ``sample.mark``.

        Examples
        --------
        >>> import numpy as np
        >>> scaler = SignalScaler("quantile").fit(np.array([[[1, 3]]]), ["log"], ["H3K4me3"], [0], samples=["A"])
        >>> scaler.adapt(np.array([[[10, 30]]]), ["log"], ["H3K4me3"], [0], samples=["B"])
        ['B.H3K4me3']
        >>> scaler.transform(np.array([[[30.0]]]), ["log"], ["H3K4me3"], samples=["B"]).tolist()
        [[[3.0]]]
        """
        if self.maps is None:
            return []
        names = _track_names(samples, marks)
        new = [i for i, name in enumerate(names) if name not in self.maps.knots]
        if not new:
            return []
        at = np.arange(len(names)) if tracks is None else np.asarray(tracks)
        own = [marks[i] for i in new]
        steps = self._steps([scales[i] for i in new], own)
        histogram = self._histogram(bins, steps, own, np.sort(np.asarray(rows, np.int64)), at[new])
        self.maps.add(histogram, [names[i] for i in new])
        return [names[i] for i in new]

    def transform(
        self,
        bins: np.ndarray,
        scales: Sequence[str],
        marks: Sequence[str],
        *,
        samples: Sequence[str] | None = None,
    ) -> np.ndarray:
        """Scale the signal of some genes.

        Parameters
        ----------
        bins
            Genes x tracks x bins; left as it is.
        scales, marks
            Scale and mark of every track.
        samples
            Sample of every track, for ``quantile``.

        Returns
        -------
        New array of the same shape, float32, 0 where `bins` is NaN.

        Raises
        ------
        InputError
            A mark was not there when fitted, a track has no map, or is negative where log1p is to be taken.

        Examples
        --------
        >>> import numpy as np
        >>> scaler = SignalScaler.from_dict({"transform": "none", "marks": ["H3K4me3"], "divisors": [4.0]})
        >>> scaler.transform(np.array([[[2.0, np.nan]]]), ["counts"], ["H3K4me3"]).tolist()
        [[[0.5, 0.0]]]
        """
        unknown = [m for m in dict.fromkeys(marks) if m not in self.divisors]
        if unknown:
            msg = f"no scale was fitted for mark {some(unknown)}: fitted are {some(self.divisors, 6)}"
            raise InputError(msg)
        x = _transformed(np.asarray(bins), self._steps(scales, marks), marks)
        if self.maps is not None:
            for i, (name, mark) in enumerate(zip(_track_names(samples, marks), marks, strict=True)):
                x[:, i] = self.maps.apply(x[:, i], name, mark)
        x /= np.array([self.divisors[m] for m in marks], np.float32)[:, None]
        return np.nan_to_num(x, copy=False, nan=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Give the state in plain types, for JSON and for ``uns``.

        Returns
        -------
        transform (str), marks (list of str), divisors (list of float in the order of marks); for ``quantile`` also
        what :meth:`~genexp_scverse.pp.quantiles.QuantileMaps.to_dict` gives.

        Examples
        --------
        >>> SignalScaler("log1p").to_dict()
        {'transform': 'log1p', 'marks': [], 'divisors': []}
        """
        return {
            "transform": self.name,
            "marks": list(self.divisors),
            "divisors": [float(d) for d in self.divisors.values()],
            **({} if self.maps is None else self.maps.to_dict()),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> SignalScaler:
        """Make a scaler from what :meth:`to_dict` gave.

        Parameters
        ----------
        state
            transform, marks and divisors, and the maps of ``quantile``.

        Returns
        -------
        A fitted scaler.

        Examples
        --------
        >>> SignalScaler.from_dict({"transform": "auto", "marks": ["H3K4me3"], "divisors": [0.5]}).divisors
        {'H3K4me3': 0.5}
        """
        scaler = cls(str(state["transform"]))
        pairs = zip(state["marks"], state["divisors"], strict=True)
        scaler.divisors = {str(m): float(d) for m, d in pairs}
        if scaler.maps is not None:
            scaler.maps = QuantileMaps.from_dict(state)
        return scaler

    def _histogram(self, bins: Any, steps: Sequence[str], marks: Sequence[str], rows, tracks) -> SignalHistogram:
        histogram = SignalHistogram(len(marks))
        for _, block in blocks_of(bins, rows, None if tracks is None else np.asarray(tracks)):
            x = _transformed(block, steps, marks)
            infinite = np.isinf(x).any(axis=(0, 2))
            if infinite.any():
                raise InputError(_infinite(marks[int(infinite.argmax())]))
            histogram.add(x)
        return histogram

    def _steps(self, scales: Sequence[str], marks: Sequence[str]) -> list[str]:
        """Name the function for every track."""
        if len(scales) != len(marks):
            msg = f"{len(scales)} scales for {len(marks)} marks: give both for every track"
            raise InputError(msg)
        wrong = [s for s in scales if s not in SCALES]
        if wrong:
            msg = f"unknown scale {some(sorted(set(wrong)))}: allowed are {', '.join(SCALES)}"
            raise InputError(msg)
        if self.name in ("auto", "quantile"):
            return ["none" if s in LOGGED else "log1p" for s in scales]
        return [self.name] * len(scales)


def _track_names(samples: Sequence[str] | None, marks: Sequence[str]) -> list[str]:
    if samples is None or len(samples) != len(marks):
        msg = "transform='quantile' maps every track by its own signal: give samples=, the sample of every track"
        raise InputError(msg)
    return [f"{s}.{m}" for s, m in zip(samples, marks, strict=True)]


def _infinite(mark: str) -> str:
    return f"mark {mark!r} holds infinite values in the training genes: mend the track or leave it out"


def _transformed(x: np.ndarray, steps: Sequence[str], marks: Sequence[str]) -> np.ndarray:
    """Copy of `x` as float32, every track through its function."""
    x = np.array(x, dtype=np.float32)
    if x.ndim != 3 or x.shape[1] != len(steps):
        msg = f"signal has shape {x.shape}, expected genes x {len(steps)} tracks x bins"
        raise InputError(msg)
    for i, step in enumerate(steps):
        if step == "log1p":
            if (x[:, i] < 0).any():
                msg = f"mark {marks[i]!r} is negative, which log1p is not for: say scale='log_ratio'"
                raise InputError(msg)
            x[:, i] = np.log1p(x[:, i])
        elif step == "arcsinh":
            x[:, i] = np.arcsinh(x[:, i])
    return x


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give number, mean and sum of squared deviations per track over covered bins, in float64."""
    covered = ~np.isnan(x)
    n = covered.sum(axis=(0, 2)).astype(np.float64)
    mean = np.where(covered, x, 0).sum(axis=(0, 2), dtype=np.float64) / np.maximum(n, 1)
    squares = np.empty_like(mean)
    for i in range(x.shape[1]):
        off = x[:, i][covered[:, i]].astype(np.float64) - mean[i]
        squares[i] = off @ off
    return n, mean, squares


def _merged(n, mean, squares, other_n, other_mean, other_squares):
    """Pool two sets of moments (Chan, Golub & LeVeque 1983) without the loss of a sum of squares."""
    total = n + other_n
    safe = np.maximum(total, 1)
    shift = other_mean - mean
    return (
        total,
        mean + shift * other_n / safe,
        squares + other_squares + shift**2 * n * other_n / safe,
    )


def _mapped_moments(histogram: SignalHistogram, i: int, maps: QuantileMaps, name: str, mark: str):
    """Moments, as `_moments` gives them, of what a track becomes; its values are those that the histogram keeps."""
    (high, n_high), (low, n_low) = (histogram.values(i, side=side) for side in ("positive", "negative"))
    values = np.concatenate([[0.0], maps.apply(np.concatenate([high, -low]), name, mark)])
    n = np.concatenate([histogram.zeros[i : i + 1], n_high, n_low]).astype(np.float64)
    mean = (n @ values) / max(n.sum(), 1)
    return n.sum(), mean, n @ (values - mean) ** 2
