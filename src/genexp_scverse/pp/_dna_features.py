"""Where numbers per gene lie that models read beside tracks: X of the modality ``dna``, a group of columns each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError, some
from genexp_scverse.schema import DNA

if TYPE_CHECKING:
    from mudata import MuData

GROUP, SEQUENCE, SAMPLE = "group", "sequence", "sample"
COMPOSITION = ("GC", "CpG_oe", "N")


def feature_columns(var: pd.DataFrame, samples: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Name the features, and give the column of each for each sample, samples x features; -1 where there is none.

    A feature of the gene is the same for all samples. One that is measured in samples has a column for each, named
    ``<feature>.<sample>``, with the sample in ``var["sample"]``.
    """
    of = var[SAMPLE].astype(str).tolist() if SAMPLE in var else [""] * len(var)
    places: dict[str, dict[str, int]] = {}
    for i, (name, sample) in enumerate(zip(var.index.astype(str), of, strict=True)):
        places.setdefault(name.removesuffix(f".{sample}") if sample else name, {})[sample] = i
    columns = [[there.get(sample, there.get("", -1)) for there in places.values()] for sample in samples]
    return list(places), np.array(columns, np.int64).reshape(len(samples), len(places))


def replace_features(
    mdata: MuData, names: list[str], features: np.ndarray, *, group: str, samples: list[str] | None = None
) -> None:
    """Put a group of features at the end of ``mdata["dna"].X`` in the place of one of the same name.

    `samples` names the sample of every column where they are measured in samples. The modality is replaced by a new one
    with the same obs, obsm, obsp and uns, or made where there is none.
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
    if samples is not None:
        var[SAMPLE] = pd.Series(samples, index=var.index, dtype=object)
    if len(kept):
        before = old.var.loc[~own].copy()
        groups = before[GROUP].astype(object) if GROUP in before else pd.Series("", index=before.index, dtype=object)
        before[GROUP] = groups.where(groups.notna(), "")
        var = pd.concat([before, var])
        if SAMPLE in var:
            var[SAMPLE] = var[SAMPLE].astype(object).where(var[SAMPLE].notna(), "")
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
