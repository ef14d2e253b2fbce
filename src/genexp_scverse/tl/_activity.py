"""Activity by contact: signal in an element times the power law of its distance to a gene (the ABC score)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genexp_scverse._chroms import match_chroms
from genexp_scverse._logging import logger
from genexp_scverse._rows import rows_of
from genexp_scverse._scores import Places, along_genome, places_of, signed_distance
from genexp_scverse._tracks import tracks_of

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData

NEAR = 5000
"""Contact does not rise any further below this distance, as in the ABC model."""


class Signal(NamedTuple):
    """Tracks of one sample."""

    bins: Any
    """Genes x tracks x bins."""
    tracks: np.ndarray
    """Positions of the tracks of the sample."""
    scales: list[str]
    """Scale of each of them."""
    window: dict[str, Any]
    """upstream, downstream and bin_size in bases, and stranded."""


class Tested(NamedTuple):
    """Elements, each with the gene it was tested for."""

    row: np.ndarray
    """Position of the gene."""
    start: np.ndarray
    """First base."""
    end: np.ndarray
    """One past the last base."""


def signal_of(mdata: MuData, sample: str | None, windows: Any = None) -> Signal | None:
    """Tracks of a sample, of the only one without a name; None where there are none."""
    found = tracks_of(mdata, windows)
    if found is None or found.window is None:
        return None
    there = found.var["sample"].astype(str)
    if sample is None and there.nunique() > 1:
        logger.info("activity by contact is left out: there are %d samples and none is named", there.nunique())
        return None
    tracks = np.flatnonzero(there == (there.iloc[0] if sample is None else sample))
    if not len(tracks):
        logger.info("activity by contact is left out: sample %r has no tracks", sample)
        return None
    return Signal(found.bins, tracks, found.var["scale"].astype(str).iloc[tracks].tolist(), found.window)


def activity_by_contact(
    mdata: MuData, signal: Signal, elements: Tested, gamma: float, candidates: pd.DataFrame | None
) -> np.ndarray:
    """Activity by contact of each element for its gene, divided by the sum over the candidates where there are any."""
    out, places = np.full(len(elements.row), np.nan), places_of(mdata, signal.window)
    length = signal.window["upstream"] + signal.window["downstream"]
    others = {} if candidates is None else _by_chrom(candidates, places)
    none = np.zeros(0, np.int64)
    for gene in np.unique(elements.row):
        mine = np.flatnonzero(elements.row == gene)
        start, end = elements.start[mine], elements.end[mine]
        linear = _linear(signal, gene, places)
        own = _power(linear, signal, places, gene, start, end, gamma)
        if candidates is not None:
            first, last = others.get(places.chrom[gene], (none, none))
            middle = (first + last) // 2 - places.start[gene]
            near = (middle >= 0) & (middle < length)
            first, last = first[near], last[near]
            rest = _power(linear, signal, places, gene, first, last, gamma)
            apart = (last[None] <= start[:, None]) | (first[None] >= end[:, None])
            total = own + (apart * rest).sum(axis=1)
            own = np.divide(own, total, out=np.zeros(len(own)), where=total > 0)
        out[mine] = own
    return out


def means_over(values: np.ndarray, window: dict[str, Any], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean of each row over ``[left, right)``, bases counted from the start of the window; NaN counts as 0."""
    length = window["upstream"] + window["downstream"]
    edges = np.linspace(0, length, values.shape[1] + 1)
    total = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(np.nan_to_num(values) * (edges[1] - edges[0]), axis=1, out=total[:, 1:])
    a, b = np.clip(left, 0, length), np.clip(right, 0, length)
    sums = np.stack([np.interp(b, edges, t) - np.interp(a, edges, t) for t in total])
    return sums / np.maximum(b - a, 1)


def _by_chrom(candidates: pd.DataFrame, places: Places) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    chrom = candidates["chrom"].astype(str)
    ours = np.unique(places.chrom[places.known]).tolist()
    names = match_chroms(ours, chrom.unique(), wanted_in="mdata.obs", available_in="the candidate elements")
    columns = {mine: candidates[chrom == theirs] for mine, theirs in names.items()}
    return {c: (of["start"].to_numpy(np.int64), of["end"].to_numpy(np.int64)) for c, of in columns.items()}


def _linear(signal: Signal, gene: int, places: Places) -> np.ndarray:
    """Tracks x bins of a gene along the chromosome, logarithms undone."""
    bins = rows_of(signal.bins, np.array([gene]), signal.tracks)[0].astype(np.float64)
    undo = {"log": np.expm1, "log_ratio": np.exp}
    linear = np.stack([undo.get(s, np.asarray)(b) for b, s in zip(bins, signal.scales, strict=True)])
    return along_genome(linear, np.full(len(linear), places.reverse[gene]))


def _power(
    linear: np.ndarray, signal: Signal, places: Places, gene: int, start: np.ndarray, end: np.ndarray, gamma: float
) -> np.ndarray:
    begin = places.start[gene]
    means = np.maximum(means_over(linear, signal.window, start - begin, end - begin), 0)
    away = np.abs(signed_distance(places.tss[gene], start, end, np.zeros(len(start), bool)))
    return np.prod(means, axis=0) ** (1 / len(means)) * np.maximum(away, NEAR) ** -gamma
