"""Some samples and marks of a MuData, in the order asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata import AnnData
from mudata import MuData

from genexp_scverse import _axes
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError, no_such, some
from genexp_scverse._logging import logger
from genexp_scverse.pp._dna_features import SAMPLE
from genexp_scverse.schema import CHROMATIN, DNA, RNA, validate

if TYPE_CHECKING:
    import pandas as pd


def select(
    mdata: MuData, *, samples: str | Sequence[str] | None = None, marks: str | Sequence[str] | None = None
) -> MuData:
    """Return a MuData of some samples and marks, in this order: tracks, expression, predictions and scores alike.

    Genes, their columns and their graphs stay. Without `samples` and `marks` everything is kept, and arrays whose
    tracks stand in another order than ``var`` (after ``mdata["chromatin"][:, order]``, which anndata does not carry
    over to ``obsm``) are written in that of ``var``.

    Parameters
    ----------
    mdata
        Gene-centric MuData; it is not changed.
    samples
        Samples, in the order that they are to have; by default all as they are.
    marks
        Marks of every sample, in the order that they are to have; by default all as they are. A sample may lack some.

    Returns
    -------
    A new MuData. ``chromatin`` has its tracks by sample and mark, ``rna`` and per-sample features of ``dna`` those of
    the samples; scores and attention of other samples are left out. Arrays on disk stay there, and are gathered by
    dask where it is installed.

    Raises
    ------
    InputError
        When a sample or a mark is not there or is named twice, or a sample has none of the marks.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> bins = {s: np.full((2, 2, 5), i) for i, s in enumerate(["H1", "K562"])}
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b"], marks=["H3K4me3", "H3K27me3"])
    >>> few = gx.pp.select(mdata, samples=["K562", "H1"], marks="H3K27me3")
    >>> few["chromatin"].var_names.tolist(), few["chromatin"].obsm["bins"][0, :, 0].tolist()
    (['K562.H3K27me3', 'H1.H3K27me3'], [1.0, 0.0])
    """
    validate(mdata)
    var = {name: adata.var for name, adata in mdata.mod.items()}
    of = {name: var[name]["sample"].astype(str).tolist() for name in (CHROMATIN, RNA) if name in var}
    asked = _asked(samples, "sample", dict.fromkeys(s for names in of.values() for s in names))
    places: dict[str, Sequence[int]] = {}
    if CHROMATIN in of:
        places[CHROMATIN] = _tracks(var[CHROMATIN], asked, marks)
    elif marks is not None:
        msg = 'marks= chooses tracks, and the MuData has no modality "chromatin"'
        raise InputError(msg)
    if asked is not None and RNA in of:
        places[RNA] = [i for s in asked for i, name in enumerate(of[RNA]) if name == s]
    if asked is not None and DNA in var and SAMPLE in var[DNA]:
        own = var[DNA][SAMPLE].astype(object).where(var[DNA][SAMPLE].notna(), "").astype(str)
        places[DNA] = np.flatnonzero(own.isin(["", *asked]).to_numpy()).tolist()
    mods = {name: _columns(adata, places.get(name)) for name, adata in mdata.mod.items()}
    if asked is not None:
        for name in (CHROMATIN, DNA):
            if name in mods:
                _keep_results(mods[name], asked)
    with nothing_pulled():
        out = MuData(mods, axis=0)
        for column in mdata.obs.columns:
            out.obs[column] = mdata.obs[column].array.copy()
    for key, graph in mdata.obsp.items():
        out.obsp[key] = graph.copy()
    for key, array in mdata.obsm.items():
        if key not in mods:
            out.obsm[key] = array.copy()
    out.uns.update(deepcopy({k: v for k, v in mdata.uns.items() if not str(k).startswith("_scvi")}))
    return out


def _asked(names: str | Sequence[str] | None, kind: str, there: Mapping[str, Any]) -> list[str] | None:
    if names is None:
        return None
    asked = [names] if isinstance(names, str) else [str(n) for n in names]
    for name in asked:
        if name not in there:
            raise InputError(no_such(kind, name, there))
    if not asked or len(set(asked)) < len(asked):
        msg = f"{kind}s={asked!r}: name at least one {kind}, and each once"
        raise InputError(msg)
    return asked


def _tracks(var: pd.DataFrame, samples: list[str] | None, marks: str | Sequence[str] | None) -> list[int]:
    """Places in var of the tracks, by sample and then by mark; as they are where neither is asked for."""
    at: dict[str, dict[str, int]] = {}
    for i, (sample, mark) in enumerate(zip(var["sample"].astype(str), var["mark"].astype(str), strict=True)):
        at.setdefault(sample, {})[mark] = i
    asked = _asked(marks, "mark", dict.fromkeys(m for of in at.values() for m in of))
    if samples is None and asked is None:
        return list(range(len(var)))
    # a sample may have expression alone
    chosen = [s for s in (at if samples is None else samples) if s in at]
    if lacking := [s for s in chosen if asked is not None and not set(asked) & set(at[s])]:
        msg = f"the sample {some(lacking)} has none of the marks {some(asked or (), 6)}"
        if samples is not None:
            msg = f"{msg}: leave it out or name others"
            raise InputError(msg)
        logger.info("%s, and its tracks are left out", msg)
    return [at[s][m] for s in chosen for m in (at[s] if asked is None else asked) if m in at[s]]


def _columns(adata: AnnData, places: Sequence[int] | None) -> AnnData:
    """Copy a modality with some of its columns; arrays of tracks, which may be huge, are gathered and not copied."""
    arrays = {k: adata.obsm[k] for k in _axes.keys_of(adata) if _axes.has_tracks(adata, k)}
    light = AnnData(
        X=adata.X,
        obs=adata.obs,
        var=adata.var,
        layers={k: v for k, v in adata.layers.items() if k is not None},
        obsm={k: v for k, v in adata.obsm.items() if k not in arrays},
        varm=dict(adata.varm),
        obsp=dict(adata.obsp),
        varp=dict(adata.varp),
        uns=dict(adata.uns),
    )
    out = light.copy() if places is None else light[:, list(places)].copy()
    for key, array in arrays.items():
        out.obsm[key] = array
        _axes.settle(out, key)
        if out.obsm[key] is array and not _axes.on_disk(array):
            out.obsm[key] = array.copy()
    return out


def _keep_results(adata: AnnData, samples: list[str]) -> None:
    """Drop scores, attention and reconstructions of other samples than `samples`."""
    for key, about in list(adata.uns.items()):
        named = about.get("samples", about.get("sample", [])) if hasattr(about, "keys") else []
        of = [str(s) for s in np.ravel(np.asarray(named, object))]
        kept = [s for s in samples if s in of]
        if kept == of:
            continue
        base = str(key).removesuffix("_attention")
        stems = (key, f"{key}_std") if base == key else (f"{base}_bin_attention", f"{base}_mark_attention")
        for sample in of:
            for stem in stems:
                _keep_array(adata, stem, stem if len(of) == 1 else f"{stem}_{sample}", sample, kept)
        if kept:
            adata.uns[key] = {**about, "samples": np.array(kept, dtype=object)}
        else:
            del adata.uns[key]


def _keep_array(adata: AnnData, stem: str, name: str, sample: str, kept: list[str]) -> None:
    """Drop the array of a sample that is not kept; that of the only sample loses its name."""
    for end in ("", _axes.AXES):
        if f"{name}{end}" in adata.obsm and (sample not in kept or len(kept) == 1):
            array = adata.obsm.pop(f"{name}{end}")
            if sample in kept:
                adata.obsm[f"{stem}{end}"] = array
