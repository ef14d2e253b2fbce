"""Where numbers per gene lie that models read beside tracks: X of the modality ``dna``, a group of columns each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError, some
from genexp_scverse.schema import DNA

if TYPE_CHECKING:
    from mudata import MuData

GROUP, SEQUENCE = "group", "sequence"
COMPOSITION = ("GC", "CpG_oe", "N")


def replace_features(mdata: MuData, names: list[str], features: np.ndarray, *, group: str) -> None:
    """Put a group of features at the end of ``mdata["dna"].X`` in the place of one of the same name.

    The modality is replaced by a new one with the same obs, obsm, obsp and uns, or made where there is none.
    """
    old = mdata.mod.get(DNA)
    if old is None:
        old = AnnData(X=np.zeros((mdata.n_obs, 0), np.float32), obs=pd.DataFrame(index=list(mdata.obs_names)))
    own = _of_group(old.var, group)
    kept = old.var_names[~own]
    clash = [n for n in names if n in set(kept) or (group != SEQUENCE and _is_sequence(pd.Index([n]))[0])]
    if clash:
        msg = f'the features {some(clash)} of "{group}" have names that others in mdata["dna"] have: rename them'
        raise InputError(msg)
    var = pd.DataFrame({GROUP: pd.Series(group, index=pd.Index(names, dtype=object), dtype=object)})
    if len(kept):
        before = old.var.loc[~own].copy()
        groups = before[GROUP].astype(object) if GROUP in before else pd.Series("", index=before.index, dtype=object)
        before[GROUP] = groups.where(groups.notna(), "")
        var = pd.concat([before, var])
    new = AnnData(
        X=np.hstack([np.asarray(old.X, np.float32)[:, ~own], features]) if len(kept) else features,
        obs=old.obs.copy(),
        var=var,
        obsm=dict(old.obsm),
        obsp=dict(old.obsp),
        uns=dict(old.uns),
    )
    with nothing_pulled():
        if own.any():
            # mudata finds its way through features taken away or features added, not through both at once
            mdata.mod[DNA] = old[:, ~own].copy()
            mdata.update()
        mdata.mod[DNA] = new
        mdata.update()


def _of_group(var: pd.DataFrame, group: str) -> np.ndarray:
    by_name = _is_sequence(var.index)
    if group == SEQUENCE:
        return by_name
    return (var[GROUP].astype(str) == group).to_numpy() & ~by_name if GROUP in var else np.zeros(len(var), bool)


def _is_sequence(names: pd.Index) -> np.ndarray:
    return np.asarray(names.isin(COMPOSITION) | names.str.startswith("kmer_"), bool)
