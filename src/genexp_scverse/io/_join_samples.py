"""Samples that are there and samples that are new, side by side in one modality."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from genexp_scverse import _axes
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.assemble import _storable
from genexp_scverse.io.sheet import warn_of_mixed_scales
from genexp_scverse.schema import BINS, LABEL, LOG


def check_new_tracks(old: pd.DataFrame, new: pd.DataFrame) -> None:
    """Raise when a track is there already or its mark is not; say which marks a new sample lacks."""
    there = set(zip(old["sample"].astype(str), old["mark"].astype(str), strict=True))
    twice = [f"{s}.{m}" for s, m in zip(new["sample"], new["mark"], strict=True) if (s, m) in there]
    if twice:
        msg = f"the MuData has the track {some(twice)} already: drop it from the sheet or rename its sample"
        raise InputError(msg)
    marks = list(dict.fromkeys(old["mark"].astype(str)))
    others = [m for m in dict.fromkeys(new["mark"]) if m not in marks]
    if others:
        msg = (
            f"the MuData has no mark {some(others)}, it has {some(marks, 12)}: drop the mark from the sheet, name it "
            "the same, or build a MuData of all samples"
        )
        raise InputError(msg)
    for sample, of in new.groupby("sample", sort=False):
        has = set(of["mark"]) | {m for s, m in there if s == sample}
        lacking = [m for m in marks if m not in has]
        if lacking:
            logger.warning(
                "Sample %s lacks the marks %s: models that read them cannot predict it", sample, some(lacking)
            )
    columns = ["sample", "mark", "scale"]
    warn_of_mixed_scales(pd.concat([old[columns].astype(object).astype(str), new[columns]]), "the MuData")


def join_tracks(old: AnnData, new: AnnData) -> AnnData:
    """Put the tracks of `new` behind those of `old`; what describes genes stays."""
    joined = AnnData(X=np.hstack([_dense(old.X), _dense(new.X)]), obs=old.obs.copy(), var=_joined_var(old, new))
    joined.layers[_axes.TRACK] = np.hstack([old.layers[_axes.TRACK], new.layers[_axes.TRACK]])
    bins = np.concatenate([np.asarray(_axes.get(old, BINS, quiet=True)), new.obsm[BINS]], axis=1)
    _axes.put(joined, BINS, bins, tracks=np.arange(joined.n_vars), window=_axes.window_of(old, BINS))
    whole = [k for k in _axes.keys_of(old) if k != BINS and old.obsm[k].shape[1:] == old.obsm[BINS].shape[1:]]
    for key, array in old.obsm.items():
        if key not in joined.obsm and key.removesuffix(_axes.AXES) not in whole:
            joined.obsm[key] = array.copy()
    joined.uns.update(old.copy().uns)
    lost = [*whole, *old.varm, *(k for k in old.layers if k not in (None, _axes.TRACK))]
    if lost:
        logger.info("chromatin: %s left out, as it lacks the new tracks: make it again", some(lost))
    return joined


def join_expression(old: AnnData, new: AnnData) -> AnnData:
    """Put the samples of `new` behind those of `old`; layers that `new` lacks are NaN there."""
    twice = sorted(set(old.var_names) & set(new.var_names))
    if twice:
        msg = f"the MuData has expression of the sample {some(twice)} already: drop it from the table or rename it"
        raise InputError(msg)
    joined = AnnData(X=np.hstack([_dense(old.X), _dense(new.X)]), obs=old.obs.copy(), var=_joined_var(old, new))
    empty = np.full(new.shape, np.nan, np.float32)
    for key in dict.fromkeys([LOG, *(k for k in old.layers if k is not None)]):
        right = _dense(new.layers[key]) if key in new.layers else empty
        joined.layers[key] = np.hstack([_dense(old.layers[key]), right])
    for key, array in old.obsm.items():
        joined.obsm[key] = array.copy()
    joined.uns.update(old.copy().uns)
    if LABEL in joined.layers:
        logger.info("rna: labels of %s are not known yet: gx.pp.label makes them", some(new.var_names))
    return joined


def _joined_var(old: AnnData, new: AnnData) -> pd.DataFrame:
    var = pd.concat([old.var.astype(object), new.var.astype(object)])[list(old.var)]
    for column in var:
        if column not in new.var:
            var[column] = _storable(var[column].infer_objects())
    return var


def _dense(array) -> np.ndarray:
    return array.toarray() if hasattr(array, "toarray") else np.asarray(array)
