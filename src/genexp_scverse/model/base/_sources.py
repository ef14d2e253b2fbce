"""Where a model reads tracks and DNA from: arrays of the MuData, or the genome store that it names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from genexp_scverse import _axes, schema
from genexp_scverse._errors import InputError
from genexp_scverse._tracks import store_tracks
from genexp_scverse.io.genome_attach import GENOME, genome_windows

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.io._genome_windows import GenomeWindows


class StoreCodes:
    """DNA of a genome store as an array of genes x bases, read by rows."""

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __init__(self, windows: GenomeWindows):
        self.windows = windows
        self.shape = (len(windows), windows.length)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.windows.codes(np.arange(len(self.windows))[rows])


def has_store(mdata: MuData) -> bool:
    """Tell whether a genome store is attached."""
    return GENOME in mdata.uns


def tracks_of(mdata: MuData, setup: dict, *, quiet: bool = True) -> Any:
    """Give what holds the tracks, with ``var``, ``var_names``, ``obsm["bins"]`` and ``uns``, or None without any.

    It is the modality chromatin, its bins in the order of ``var``, or for a model that reads the attached genome store
    (``setup["genome"]``) its tracks. Unless `quiet`, it warns where the bins lie in another order.
    """
    if not setup["genome"]:
        chromatin = mdata.mod.get(setup["modalities"][schema.CHROMATIN])
        if chromatin is None:
            return None
        return SimpleNamespace(
            var=chromatin.var,
            var_names=chromatin.var_names,
            obsm={schema.BINS: _axes.get(chromatin, schema.BINS, quiet=quiet)},
            uns={"window": _axes.window_of(chromatin, schema.BINS), "binning": chromatin.uns.get("binning")},
        )
    if setup["modalities"][schema.CHROMATIN] is None:
        return None
    windows = genome_windows(mdata)
    if not len(windows.tracks):
        return None
    tracks = store_tracks(windows)
    return SimpleNamespace(
        var=tracks.var,
        var_names=tracks.var.index,
        obsm={schema.BINS: tracks.bins},
        uns={"window": tracks.window, "binning": None},
    )


def codes_of(mdata: MuData, setup: dict) -> tuple[Any, dict | None]:
    """Give the DNA, genes x bases of codes, and its window; None and None without any."""
    name = setup["modalities"][schema.DNA]
    if name is None:
        return None, None
    if setup["genome"]:
        windows = genome_windows(mdata)
        if not windows.store.has_codes:
            return None, None
        return StoreCodes(windows), _plain(windows.upstream, windows.downstream, windows.stranded)
    dna = mdata.mod.get(name)
    if dna is None or schema.CODES not in dna.obsm:
        return None, None
    _axes.check_window(dna, schema.CODES)
    window = _axes.window_of(dna, schema.CODES)
    if window is None:
        msg = f'mdata["{name}"].uns has no "window", so that the TSS is not known: build the MuData with a FASTA'
        raise InputError(msg)
    return dna.obsm[schema.CODES], _plain(window["upstream"], window["downstream"], window["stranded"])


def _plain(upstream: Any, downstream: Any, stranded: Any) -> dict:
    return {"upstream": int(upstream), "downstream": int(downstream), "stranded": bool(stranded)}
