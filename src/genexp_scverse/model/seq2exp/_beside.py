"""What Seq2Exp reads beside tracks and DNA: contact, embeddings, and positions that stay shut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from genexp_scverse import _axes, pp, schema
from genexp_scverse._errors import InputError
from genexp_scverse.model.seq2exp._geometry import Geometry
from genexp_scverse.model.seq2exp._module import CONTACT, GIVEN


def beside(mdata: Any, hyper: Mapping[str, Any], places: Geometry) -> dict[str, np.ndarray]:
    """Return the arrays, by the name that the network knows them by, genes first."""
    found = {}
    window = {"upstream": places.upstream, "downstream": places.downstream}
    read = {**window, "stranded": places.stranded}
    if (key := hyper["contact"]) is not None:
        holder = _holder(mdata, "contact", key, "make it with gx.pp.contact_track")
        about = holder.uns.get(key, {})
        if any(int(about.get(k, -1)) != v for k, v in read.items()):
            msg = f'obsm["{key}"] has another window than {read}: make it with gx.pp.contact_track(**those)'
            raise InputError(msg)
        _axes.check_window(holder, key, about)
        found[CONTACT] = np.asarray(holder.obsm[key], np.float32)
    if (key := hyper["embeddings"]) is not None:
        n = channels_of(mdata, key, places)
        if n != hyper["n_channels"]:
            msg = f'obsm["{key}"] has {n} channels and {hyper["n_channels"]} in training: make it by the same model'
            raise InputError(msg)
        found[GIVEN] = np.asarray(_holder(mdata, "embeddings", key, "").obsm[key])
    if (key := hyper["blacklist"]) is not None:
        if key not in mdata.uns.get("intervals", {}):
            msg = f"blacklist={key!r} names intervals that are not there: add them with gx.pp.add_intervals"
            raise InputError(msg)
        found["blocked"] = pp.interval_mask(
            mdata, key, **window, bin_size=places.resolution, stranded=places.stranded, min_share=0
        )
    return found


def channels_of(mdata: Any, key: str, places: Geometry) -> int:
    """Return the channels of embeddings, which have to be of the positions of the model."""
    holder = _holder(mdata, "embeddings", key, "put an array of genes x positions x channels into one of them")
    shape = holder.obsm[key].shape
    if len(shape) != 3 or shape[1] != places.n_positions:
        msg = (
            f'obsm["{key}"] of shape {shape} is not (genes, {places.n_positions} positions, channels): average the '
            f"embeddings over the {places.resolution} bases of a position, or choose another resolution"
        )
        raise InputError(msg)
    return int(shape[2])


def _holder(mdata: Any, name: str, key: str, mend: str) -> Any:
    for modality in (schema.CHROMATIN, schema.DNA):
        if modality in mdata.mod and key in mdata[modality].obsm:
            return mdata[modality]
    msg = f"{name}={key!r} is in the obsm of neither chromatin nor dna: {mend}"
    raise InputError(msg)
