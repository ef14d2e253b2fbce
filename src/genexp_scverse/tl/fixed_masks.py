"""What people take instead of a learned mask, in the same form: top signal, distance, chance, peaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from genexp_scverse._chroms import match_chroms
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of
from genexp_scverse._scores import (
    covered,
    holder_of,
    intervals_of,
    places_of,
    samples_of,
    scores_of,
    signed_distance,
    store_scores,
)
from genexp_scverse._tracks import StoreBins, Tracks, few_of, one_sample, store_tracks, tracks_of
from genexp_scverse.pp.scaler import SignalScaler
from genexp_scverse.schema import CHROMATIN, DNA, SPLIT
from genexp_scverse.tl.elements import share_cut

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData

Kind = Literal["signal", "distance", "random", "peaks"]
MOST = 10**9
"""Scores that are stored at most: 4 GB."""


def fixed_mask(
    mdata: MuData,
    kind: Kind,
    *,
    fraction: float | None = None,
    sample: str | None = None,
    peaks: str = "peaks",
    like: str | None = None,
    seed: int = 0,
    windows: Any = None,
    key_added: str | None = None,
) -> None:
    """Score positions without a model, and store the scores as a mask is stored.

    - ``signal``: the sum of the tracks of a sample, each scaled as models scale it (log1p where the scale of the track
      asks for it, divided by its standard deviation on training genes);
    - ``distance``: 1 / (1 + bases to the TSS / 1000), whatever the signal;
    - ``random``: an even draw from 0 to 1;
    - ``peaks``: 1 where a position shares a base with an interval of ``mdata.uns["intervals"][peaks]``, else 0.

    With `fraction` the scores become a mask of 0 and 1: the positions of the highest scores, as many of all positions
    of all genes. What comes out is read by :func:`call_elements`, :func:`score_pairs`,
    :func:`genexp_scverse.io.write_bigwig` and :func:`genexp_scverse.pl.locus`, as any score per position.

    Parameters
    ----------
    mdata
        With tracks and their window, or with scores `like` whose positions are taken.
    kind
        ``signal``, ``distance``, ``random`` or ``peaks``.
    fraction
        Share of positions to keep, above 0 and below 1; None keeps the scores as they are. Not for ``peaks``.
    sample
        Sample whose tracks ``signal`` adds; None where there is one.
    peaks
        Name of the intervals.
    like
        Name of stored scores to take the positions of, for a comparison at the same resolution; by default they are
        the bins of the tracks.
    seed
        Seed of ``random``.
    windows
        What :func:`genexp_scverse.io.genome_windows` gives, to add the tracks of a genome store instead of those in the
        MuData (scaled on 256 training genes). Its bins may be far more than one wants: take the positions of a mask by
        `like`.
    key_added
        Name of the scores; ``<kind>_mask`` by default.

    Returns
    -------
    None. Writes, in ``mdata["chromatin"]`` or where `like` is,

    ``obsm[key_added]`` : ndarray (genes x positions, float32)
        The scores, read in the direction of the window.
    ``uns[key_added]`` : dict
        upstream, downstream and bin_size in bases, stranded, samples.

    Raises
    ------
    InputError
        When tracks, window, places of genes, intervals or a modality for the scores are not there, or an argument is
        out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> window = {"upstream": 200, "downstream": 200, "bin_size": 100, "stranded": True}
    >>> bins = np.array([[[0, 1, 5, 2.0]], [[0, 0, 0, 1.0]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b"], marks=["DNase"], window=window)
    >>> gx.tl.fixed_mask(mdata, "signal", fraction=0.25)
    >>> mdata["chromatin"].obsm["signal_mask"].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    if kind not in get_args(Kind):
        msg = f"kind is {kind!r}: give one of {some(get_args(Kind), 4)}"
        raise InputError(msg)
    if fraction is not None and (kind == "peaks" or not 0 < fraction < 1):
        msg = (
            "fraction does not go with peaks, which are 0 or 1 as they are: leave it out"
            if kind == "peaks"
            else f"fraction is {fraction}: give a share of positions above 0 and below 1"
        )
        raise InputError(msg)
    modality, window = _positions(mdata, like, windows)
    shape = (mdata.n_obs, (window["upstream"] + window["downstream"]) // window["bin_size"])
    samples: list[str] = []
    if kind == "signal":
        tracks, sample = _of_sample(mdata, sample, windows)
        values, samples = _signal(mdata, tracks, sample, window, shape), [sample]
    elif kind == "distance":
        start = np.arange(shape[1]) * window["bin_size"] - window["upstream"]
        away = np.abs(signed_distance(np.zeros(1), start, start + window["bin_size"], np.zeros(1, bool)))
        values = np.tile((1 / (1 + away / 1000)).astype(np.float32), (shape[0], 1))
    elif kind == "random":
        values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    else:
        values = _covered(mdata, intervals_of(mdata, peaks), peaks, window)
    if fraction is not None:
        values = (values >= share_cut(values.ravel(), fraction)).astype(np.float32)
    store_scores(mdata, modality, key_added or f"{kind}_mask", values, window, samples)


def _positions(mdata: MuData, like: str | None, windows: Any) -> tuple[str, dict[str, Any]]:
    if like is not None:
        scores = scores_of(mdata, like, next(iter(samples_of(mdata, like)), None))
        return scores.modality, scores.window
    if windows is not None:
        if len(windows) * windows.n_bins > MOST:
            msg = (
                f"{windows.n_bins} bins of {windows.bin_size} bases for {len(windows)} genes are too many scores to "
                "store: name a stored mask whose positions to take by like="
            )
            raise InputError(msg)
        return holder_of(mdata), dict(store_tracks(windows).window or {})
    for name in (CHROMATIN, DNA):
        window = mdata.mod[name].uns.get("window") if name in mdata.mod else None
        if window is not None and int(window.get("bin_size", 0)):
            kept = {k: int(window[k]) for k in ("upstream", "downstream", "bin_size")}
            return name, kept | {"stranded": bool(window["stranded"])}
    msg = (
        'no modality has a window with a bin_size in uns["window"]: name stored scores whose positions to take by '
        "like=, or give the windows of a genome store, windows=gx.io.genome_windows(mdata)"
    )
    raise InputError(msg)


def _of_sample(mdata: MuData, sample: str | None, windows: Any) -> tuple[Tracks, str]:
    """Tracks, and the sample whose tracks are added."""
    tracks = tracks_of(mdata, windows)
    if tracks is None:
        msg = (
            'mdata["chromatin"] has no "bins" to add: build the MuData with tracks, give '
            "windows=gx.io.genome_windows(mdata) of a genome store that has some, or take another kind of mask"
        )
        raise InputError(msg)
    return tracks, one_sample(tracks.var["sample"], sample, tracks.source)


def _signal(mdata: MuData, found: Tracks, sample: str, window: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    tracks = np.flatnonzero(found.var["sample"].astype(str) == sample)
    scales, marks = (found.var[c].astype(str).iloc[tracks].tolist() for c in ("scale", "mark"))
    bins, own = found.bins, found.window or {}
    differs = [k for k in ("upstream", "downstream", "stranded") if k not in own or own[k] != window[k]]
    size, n = window["bin_size"], bins.shape[2]
    own_size = (window["upstream"] + window["downstream"]) // n
    if differs or (size % own_size and own_size % size):
        msg = (
            f"the bins of the tracks ({n} of {own_size} bases) do not fit positions of {size} bases in the window of "
            f"{window['upstream']} + {window['downstream']}: take tracks of the same window, in bins that divide these"
        )
        raise InputError(msg)
    rows = np.arange(mdata.n_obs)
    train = rows if SPLIT not in mdata.obs else np.flatnonzero((mdata.obs[SPLIT] == "train").to_numpy(bool))
    train = train if len(train) else rows
    if isinstance(bins, StoreBins):
        train = few_of(train)
    scaler = SignalScaler().fit(bins, scales, marks, train, tracks=tracks)
    values = np.empty(shape, np.float32)
    for at, block in blocks_of(bins, rows, tracks):
        total = scaler.transform(block, scales, marks).sum(axis=1)
        if size >= own_size:
            values[at] = total.reshape(len(at), shape[1], -1).mean(axis=2)
        else:
            values[at] = np.repeat(total, own_size // size, axis=1)
    return values


def _covered(mdata: MuData, table: pd.DataFrame, name: str, window: dict[str, Any]) -> np.ndarray:
    """1 where a position shares a base with an interval."""
    places, length = places_of(mdata, window), window["upstream"] + window["downstream"]
    chrom = table["chrom"].astype(str).to_numpy(object)
    start, end = (table[c].to_numpy(np.int64) for c in ("start", "end"))
    longest = int((end - start).max(initial=0))
    if longest > length:
        at = int(np.argmax(end - start))
        text = "intervals %r hold one longer than a window (%s:%d-%d): is it meant?"
        logger.warning(text, name, chrom[at], start[at], end[at])
    row_of, interval_of = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    ours = np.unique(places.chrom[places.known]).tolist()
    names = match_chroms(ours, np.unique(chrom).tolist(), wanted_in="mdata.obs", available_in=f"intervals {name!r}")
    for mine, theirs in names.items():
        rows, of = np.flatnonzero(places.known & (places.chrom == mine)), np.flatnonzero(chrom == theirs)
        of = of[np.argsort(start[of], kind="stable")]
        low = places.start[rows]
        # intervals that end before a window may be anywhere before it, so all back to the longest are looked at
        first = np.searchsorted(start[of], low - longest)
        last = np.searchsorted(start[of], low + length)
        count = last - first
        row = np.repeat(rows, count)
        row_of.append(row)
        interval_of.append(
            of[np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)]
        )
    rows, of = np.concatenate(row_of), np.concatenate(interval_of)
    return covered(places, window, rows, start[of], end[of]).astype(np.float32)
