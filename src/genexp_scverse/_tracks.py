"""Binned signal of genes, wherever it lies: in the MuData, or in the genome store whose windows are given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genexp_scverse import _axes
from genexp_scverse._errors import InputError, no_such, some
from genexp_scverse.schema import BINS, CHROMATIN

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData


class Tracks(NamedTuple):
    """Signal of genes in bins of their window."""

    bins: Any
    """Genes x tracks x bins, an array or what is read like one by :mod:`genexp_scverse._rows`."""
    var: pd.DataFrame
    """A row per track, named ``sample.mark``: sample, mark, scale."""
    window: dict[str, Any] | None
    """upstream, downstream and bin_size in bases, and stranded; None where bins are no stretches of bases."""
    source: str
    """How errors call it."""


FEW_WINDOWS = 256
"""Training genes whose windows in a genome store are read to fit the scaling."""


def few_of(rows: np.ndarray) -> np.ndarray:
    """Choose the genes to fit the scaling on in a genome store: of windows of bases some tell as much as all."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:FEW_WINDOWS])


def one_sample(samples: Iterable[Any], sample: str | None, source: str) -> str:
    """Name the sample of `samples` that is meant; without a name there must be just one. `source` is what has them.

    Raises
    ------
    InputError
        When there are several, or none of that name.
    """
    there = list(dict.fromkeys(map(str, samples)))
    if sample is None and len(there) != 1:
        msg = f"{source} holds {len(there)} samples ({some(there, 6)}): choose one with sample="
        raise InputError(msg)
    if sample is not None and sample not in there:
        raise InputError(no_such("sample", sample, there, where=f"in {source}"))
    return there[0] if sample is None else sample


class StoreBins:
    """Signal of a genome store as an array of genes x tracks x bins, read by rows."""

    dtype = np.dtype(np.float32)
    ndim = 3

    def __init__(self, windows: Any):
        self.windows = windows
        self.shape = (len(windows), len(windows.tracks), windows.n_bins)

    def __getitem__(self, key: tuple[Any, slice]) -> np.ndarray:
        rows, tracks = key
        return self.windows.signal(np.arange(len(self.windows))[rows], np.arange(self.shape[1])[tracks])


def store_tracks(windows: Any) -> Tracks:
    """Give the tracks of a genome store, of which there may be none, in the windows of genes."""
    var = windows.tracks.copy()
    var.index = var["sample"].astype(str) + "." + var["mark"].astype(str)
    window = {k: getattr(windows, k) for k in ("upstream", "downstream", "bin_size", "stranded")}
    return Tracks(StoreBins(windows), var, window, f"the genome store {windows.store.path}")


def tracks_of(mdata: MuData, windows: Any = None) -> Tracks | None:
    """Find the tracks to read: of `windows` where they are given, else of the MuData; None where there are none.

    Parameters
    ----------
    mdata
        With ``mdata["chromatin"].obsm["bins"]``, unless `windows` is given.
    windows
        What :func:`genexp_scverse.io.genome_windows` gives for these genes, or None.

    Raises
    ------
    InputError
        When `windows` are of other genes.
    """
    if windows is not None:
        if len(windows) != mdata.n_obs:
            msg = (
                f"windows are of {len(windows)} genes and the MuData has {mdata.n_obs}: use gx.io.genome_windows(mdata)"
            )
            raise InputError(msg)
        if not np.array_equal(windows.genes, mdata.obs_names):
            msg = "windows are of other genes than the MuData, or in another order: use gx.io.genome_windows(mdata)"
            raise InputError(msg)
        return store_tracks(windows) if len(windows.tracks) else None
    chromatin = mdata.mod.get(CHROMATIN)
    if chromatin is None or BINS not in chromatin.obsm:
        return None
    bins, window = _axes.get(chromatin, BINS), _axes.window_of(chromatin, BINS)
    if window is not None:
        length = int(window["upstream"]) + int(window["downstream"])
        window = {k: int(window[k]) for k in ("upstream", "downstream")} | {
            "bin_size": int(window.get("bin_size", length // bins.shape[2])),
            "stranded": bool(window["stranded"]),
        }
    return Tracks(bins, chromatin.var, window, 'mdata["chromatin"]')
