"""Which genes and samples are meant, and where predictions go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError, no_such, some
from genexp_scverse.model.base._registration import split_values

if TYPE_CHECKING:
    from mudata import MuData


def chosen_samples(mdata: MuData, setup: dict, samples: Sequence[str] | str | None) -> list[str]:
    """Choose samples to predict: those asked for, else those of the model that are there, else all with its marks."""
    if samples is not None:
        names = [samples] if isinstance(samples, str) else list(samples)
        rna = mdata.mod.get(setup["modalities"][schema.RNA])
        known = {*setup["samples"], *([] if rna is None else rna.var["sample"].astype(str))}
        chromatin = mdata.mod.get(setup["modalities"][schema.CHROMATIN])
        if setup["marks"] and chromatin is not None and not setup["genome"]:
            known = set(chromatin.var["sample"].astype(str))
        if not names:
            msg = f"samples names none: there are {some(sorted(known), 6)}; give None for all"
            raise InputError(msg)
        # the tracks of a genome store are looked up where they are read
        unknown = [] if setup["marks"] and setup["genome"] else [n for n in names if n not in known]
        if unknown:
            where = "with tracks" if setup["marks"] else "in the model or the MuData"
            raise InputError(no_such("sample", unknown[0], sorted(known), where=where))
        return names
    mods = setup["modalities"]
    if setup["marks"]:
        if mods[schema.CHROMATIN] not in mdata.mod:
            return setup["samples"]
        var = mdata.mod[mods[schema.CHROMATIN]].var
        marks = set(setup["marks"])
        of = {str(s): set(var["mark"][var["sample"] == s].astype(str)) for s in dict.fromkeys(var["sample"])}
        there = [s for s, own in of.items() if (marks & own if setup["masked"] else marks <= own)]
    else:
        rna = mdata.mod.get(mods[schema.RNA])
        there = [] if rna is None else [str(s) for s in rna.var["sample"]]
    ours = [s for s in setup["samples"] if s in there]
    return ours or there or setup["samples"]


def chosen_rows(mdata: MuData, setup: dict, split: str | None, indices: Any) -> np.ndarray:
    """Find positions of the genes asked for by split and by position or gene id."""
    rows = np.arange(mdata.n_obs)
    if indices is not None:
        chosen = np.asarray([indices] if isinstance(indices, str | int) else list(indices))
        if not len(chosen):
            msg = "indices names no gene: give positions or gene ids, or None for all"
            raise InputError(msg)
        if chosen.dtype.kind in "OUS":
            at = mdata.obs_names.get_indexer(chosen)
            if (at < 0).any():
                raise InputError(no_such("gene", chosen[at < 0][0], mdata.obs_names, where="in the MuData"))
            chosen = at
        elif chosen.dtype.kind not in "iu" or chosen.ndim != 1 or ((chosen < -len(rows)) | (chosen >= len(rows))).any():
            msg = f"indices must be positions from 0 to {len(rows) - 1}, or gene ids"
            raise InputError(msg)
        rows = rows[chosen]
    if split is not None:
        of = split_values(mdata, setup["split_key"])
        rows = rows[of[rows] == split]
        if not len(rows):
            msg = f"no gene is in split {split!r}: mdata.obs has {some(sorted(set(of) - {''}))}"
            raise InputError(msg)
    return rows


def store_predictions(
    mdata: MuData, frame: pd.DataFrame, rows: np.ndarray, samples: list[str], *, modality: str, layer_key: str
) -> None:
    """Write predictions as layers of `modality`, NaN where nothing was predicted."""
    if modality not in mdata.mod:
        msg = f'layer_key={layer_key!r} needs the modality "{modality}", which the MuData lacks'
        raise InputError(msg)
    if layer_key in (schema.LOG, schema.LABEL):
        msg = f"layer_key={layer_key!r} would overwrite measurements: choose another name, such as 'predicted'"
        raise InputError(msg)
    rna = mdata.mod[modality]
    at = {str(s): i for i, s in enumerate(rna.var["sample"])}
    for suffix, layer in (("", layer_key), (":prob", f"{layer_key}_prob")):
        if not any(f"{s}{suffix}" in frame for s in samples):
            continue
        values = np.full(rna.shape, np.nan, np.float32)
        for sample in samples:
            if sample in at:
                values[rows, at[sample]] = frame[f"{sample}{suffix}"]
        rna.layers[layer] = values
