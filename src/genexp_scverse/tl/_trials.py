"""What comparisons, curves and ablations share: light copies, labels that stay, scores of a trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from genexp_scverse import metrics, schema
from genexp_scverse._compat import nothing_pulled
from genexp_scverse.model.base._making import Recipe, new_model, read_recipe, train_whole
from genexp_scverse.model.base._registration import arguments_of, check_reading, split_values
from genexp_scverse.model.base._statistics import ensure_split
from genexp_scverse.model.base._tables import targets

if TYPE_CHECKING:
    from genexp_scverse.model.base import GeneModel

SHOWN = ("auroc", "auprc", "pearson", "spearman")
"""Measures of the tables, in order."""


def light_copy(mdata: MuData, rna: str = schema.RNA) -> MuData:
    """Give the same genes with expression of its own; all other arrays are shared and not copied.

    A label that follows from a level is left out: with fewer training genes it is another.
    """
    mods = {name: adata.copy() if name == rna else _shared(adata) for name, adata in mdata.mod.items()}
    with nothing_pulled():
        light = MuData(mods, axis=0)
        for column in mdata.obs.columns:
            light.obs[column] = mdata.obs[column].array
    for key in mdata.obsp:
        light.obsp[key] = mdata.obsp[key]
    layers = light.mod[rna].layers
    if schema.LABEL in layers and schema.LOG in layers:
        label = np.array(layers[schema.LABEL], np.float32)
        label[~np.isnan(np.asarray(layers[schema.LOG]))] = np.nan
        layers[schema.LABEL] = label
    light.uns.update({k: v for k, v in mdata.uns.items() if not str(k).startswith("_scvi")})
    return light


def _shared(adata: AnnData) -> AnnData:
    return AnnData(
        X=adata.X,
        obs=pd.DataFrame(index=adata.obs_names),
        var=adata.var,
        layers={k: v for k, v in adata.layers.items() if k is not None},
        obsm=dict(adata.obsm),
        varm=dict(adata.varm),
        uns=dict(adata.uns),
    )


class Trials(NamedTuple):
    """What trainings of one model share that differ in their marks, samples or seeds."""

    recipe: Recipe
    training: dict[str, Any]
    """Arguments of ``train`` that the model came with."""
    arguments: dict[str, Any]
    """Of ``setup_mudata``."""
    rna: str
    split_key: str
    light: MuData
    setup: dict[str, Any]
    """What a model made with the arguments reads and learns."""


def prepare(
    model: str | Mapping[str, Any] | GeneModel,
    mdata: MuData,
    samples: Sequence[str] | str | None,
    setup: Mapping[str, Any] | None,
) -> Trials:
    """Read how to train models like `model`; raises where they would read other DNA than it does."""
    recipe, training = read_trial(model)
    own = {} if isinstance(model, str | Mapping) else arguments_of(model.setup_)
    arguments = {**own, **({} if samples is None else {"samples": samples}), **(setup or {})}
    split_key = arguments.get("split_key", schema.SPLIT)
    ensure_split(mdata, split_key)
    rna = (arguments.get("modalities") or {}).get(schema.RNA) or schema.RNA
    light = light_copy(mdata, rna)
    made = new_model(recipe, light, arguments, seed=0)
    if not isinstance(model, str | Mapping) and "modalities" not in (setup or {}):
        check_reading(made.setup_, model.setup_)
    return Trials(recipe, training, arguments, rna, split_key, light, made.setup_)


def read_trial(given: str | Mapping[str, Any] | GeneModel) -> tuple[Recipe, dict[str, Any]]:
    """Read a model as :func:`read_recipe` does, and the arguments of its training under ``train``."""
    if not isinstance(given, Mapping):
        return read_recipe(given), {}
    return read_recipe({k: v for k, v in given.items() if k != "train"}), dict(given.get("train", {}))


def trained(
    recipe: Recipe, mdata: MuData, setup: Mapping[str, Any], *, seed: int, training: Mapping[str, Any]
) -> GeneModel:
    """Make a model and train it to its end."""
    model = new_model(recipe, mdata, setup, seed=seed)
    train_whole(model, **{"enable_progress_bar": False, **training})
    return model


def truth(
    mdata: MuData, samples: Sequence[str], *, rna: str, thresholds: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Level and label of all genes, genes x samples."""
    return targets(mdata, rna, list(samples), dict(thresholds))


def training_medians(mdata: MuData, samples: Sequence[str], *, rna: str, split_key: str) -> dict[str, float]:
    """Median level of all measured training genes, by sample."""
    level, _ = targets(mdata, rna, list(samples), {})
    level = level[split_values(mdata, split_key) == "train"].astype(np.float64)
    return {s: float(np.nanmedian(y)) for s, y in zip(samples, level.T, strict=True) if not np.isnan(y).all()}


def predicted(frame: pd.DataFrame, sample: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Level and probability of a sample in a table of predictions, None for what was not learned."""
    columns = (sample, f"{sample}:prob")
    level, prob = (frame[c].to_numpy(np.float64) if c in frame else None for c in columns)
    return level, prob


def scores(
    level: np.ndarray,
    label: np.ndarray,
    predictions: tuple[np.ndarray | None, np.ndarray | None],
    *,
    n_bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, float]:
    """Measures of one prediction of one sample, NaN for what was not learned or measured."""
    level_said, prob_said = predictions
    return metrics.evaluate_predictions(
        log=None if level_said is None else level,
        predicted=level_said,
        label=None if prob_said is None else label,
        prob=prob_said,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def shown(row: Mapping[str, float]) -> dict[str, float]:
    """Keep n and the measures of the tables, each followed by its interval."""
    ends = ("", "_low", "_high")
    return {"n": row["n"], **{m + e: row[m + e] for m in SHOWN for e in ends if m + e in row}}


def differences(
    level: np.ndarray,
    label: np.ndarray,
    predictions: tuple[np.ndarray | None, np.ndarray | None],
    reference: tuple[np.ndarray | None, np.ndarray | None],
    *,
    n_bootstrap: int,
    seed: int,
) -> dict[str, float]:
    """``<metric>_diff`` to a reference, with ``_diff_low`` and ``_diff_high``; NaN for what one of them lacks."""
    pairs: dict[str, Any] = {}
    if predictions[0] is not None and reference[0] is not None:
        pairs |= {"observed": level, "predicted": predictions[0], "reference_predicted": reference[0]}
    if predictions[1] is not None and reference[1] is not None:
        pairs |= {"label": label, "prob": predictions[1], "reference_prob": reference[1]}
    found = metrics.bootstrap_differences(**pairs, n=max(1, n_bootstrap), seed=seed)
    row = {}
    for name in SHOWN:
        value, low, high = found.get(name, (np.nan, np.nan, np.nan))
        row[f"{name}_diff"] = value
        if n_bootstrap:
            row |= {f"{name}_diff_low": low, f"{name}_diff_high": high}
    return row


def in_words(rows: list[dict[str, Any]]) -> str:
    """Say the means over samples for the log."""
    means = {m: float(np.mean([row[m] for row in rows])) for m in ("auroc", "pearson")}
    words = {"auroc": "AUROC", "pearson": "Pearson"}
    return ", ".join(f"{words[m]} {value:.3f}" for m, value in means.items() if not np.isnan(value))
