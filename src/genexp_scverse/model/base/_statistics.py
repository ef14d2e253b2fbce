"""What is fitted besides the estimator: input scaling, label thresholds, scale of levels; on training genes only."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from genexp_scverse import pp, schema
from genexp_scverse._errors import InputError, option
from genexp_scverse._logging import logger
from genexp_scverse._tracks import few_of
from genexp_scverse.model.base._registration import split_values
from genexp_scverse.model.base._sources import tracks_of
from genexp_scverse.model.base._tables import GeneTables, targets
from genexp_scverse.pp._dna_features import feature_columns
from genexp_scverse.pp.scaler import SignalScaler

if TYPE_CHECKING:
    from mudata import MuData


def ensure_split(mdata: MuData, split_key: str) -> None:
    """Hold out whole chromosomes when no split was given, or random genes where there are no chromosomes."""
    if split_key in mdata.obs:
        return
    if split_key != schema.SPLIT:
        split_values(mdata, split_key)
    if "chrom" in mdata.obs:
        logger.info("No split was given: whole chromosomes are held out")
        pp.split_by_chromosome(mdata)
    else:
        logger.info("No split was given and the genes have no chromosome: split at random")
        pp.split_at_random(mdata)


def fit_statistics(mdata: MuData, setup: dict, transform: str) -> dict[str, Any]:
    """Statistics of the training genes as plain JSON types.

    Returns
    -------
    ``thresholds`` (median level), ``level_mean``, ``level_std`` by sample, ``feature_mean``, ``feature_std`` where
    there are scalar features, and ``scaler`` where there are tracks.
    """
    samples = setup["samples"]
    training = np.flatnonzero(split_values(mdata, setup["split_key"]) == "train")
    if setup["modalities"][schema.RNA] not in mdata.mod:
        msg = (
            f'the MuData has no expression to learn from (no modality "{setup["modalities"][schema.RNA]}"): build it '
            f"with {option('expression')}"
        )
        raise InputError(msg)
    level, label = targets(mdata, setup["modalities"][schema.RNA], samples, {})
    level, label = level[training], label[training]
    fitted: dict[str, Any] = {"thresholds": {}, "level_mean": {}, "level_std": {}}
    for j, sample in enumerate(samples):
        y = level[:, j][~np.isnan(level[:, j])].astype(np.float64)
        if np.isinf(y).any():
            msg = f"{int(np.isinf(y).sum())} levels of sample {sample!r} are infinite: correct or drop these genes"
            raise InputError(msg)
        if not len(y) and (setup["target"] == "expression" or np.isnan(label[:, j]).all()):
            msg = (
                f"sample {sample!r} has no measured gene among the {len(training)} training genes: check the split "
                f'in mdata.obs["{setup["split_key"]}"] and the expression table'
            )
            raise InputError(msg)
        if len(y):
            fitted["thresholds"][sample] = float(np.median(y))
            fitted["level_mean"][sample] = float(y.mean())
            fitted["level_std"][sample] = float(y.std()) or 1.0
    if setup["features"]:
        fitted["feature_mean"], fitted["feature_std"] = _feature_scale(mdata, setup, training)
    if setup["marks"]:
        chromatin = tracks_of(mdata, setup)
        if setup["genome"]:
            training = few_of(training)
        var = chromatin.var
        used = var["sample"].isin(samples) & var["mark"].isin(setup["marks"])
        fitted["scaler"] = _fit_scaler(
            chromatin.obsm[schema.BINS],
            [str(s) for s in var["scale"]],
            [str(m) for m in var["mark"]],
            [str(s) for s in var["sample"]],
            training,
            np.flatnonzero(used.to_numpy()),
            transform,
        )
    return fitted


def _feature_scale(mdata: MuData, setup: dict, training: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every feature over the training genes, and the samples that have it."""
    dna = mdata.mod[setup["modalities"][schema.DNA]]
    x = np.asarray(dna.X, np.float64)[training]
    _, columns = feature_columns(dna.var, setup["samples"])
    mean, std = [], []
    for of in columns.T:
        values = x[:, np.unique(of[of >= 0])]
        values = values[~np.isnan(values)]
        mean.append(float(values.mean()) if len(values) else 0.0)
        std.append(float(values.std() if len(values) else 0.0) or 1.0)
    return mean, std


def measured_pairs(mdata: MuData, setup: dict, thresholds: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """(gene, sample) pairs of the training and of the validation genes with what the model learns."""
    level, label = targets(mdata, setup["modalities"][schema.RNA], setup["samples"], thresholds)
    has_level, has_label = ~np.isnan(level), ~np.isnan(label)
    measured = {"label": has_label, "expression": has_level, "both": has_label | has_level}[setup["target"]]
    split = split_values(mdata, setup["split_key"])
    train, valid = (np.argwhere(measured & (split == s)[:, None]) for s in ("train", "valid"))
    if not len(train):
        msg = "no training gene has a measured level or label: check the split and the expression table"
        raise InputError(msg)
    if setup["target"] != "expression" and len(np.unique(label[has_label & (split == "train")[:, None]])) < 2:
        msg = (
            "all training genes have the same label, so there is nothing to tell apart: check the expression of the "
            "training genes, or train with " + option("target", "expression")
        )
        raise InputError(msg)
    _warn_of_other_labels(mdata, setup, label)
    return train, valid


def only_labels(mdata: MuData, setup: dict) -> bool:
    """Tell whether the training genes have labels and not one level."""
    level, label = targets(mdata, setup["modalities"][schema.RNA], setup["samples"], {})
    training = split_values(mdata, setup["split_key"]) == "train"
    return bool(np.isnan(level[training]).all() and not np.isnan(label[training]).all())


def _warn_of_other_labels(mdata: MuData, setup: dict, label: np.ndarray) -> None:
    """Labels follow from levels; a layer that says otherwise is the user's, or of another split."""
    rna = mdata.mod.get(setup["modalities"][schema.RNA])
    if rna is None or schema.LABEL not in rna.layers:
        return
    at = {str(s): i for i, s in enumerate(rna.var["sample"])}
    for j, sample in enumerate(setup["samples"]):
        if sample not in at:
            continue
        theirs = np.asarray(rna.layers[schema.LABEL][:, at[sample]], np.float32)
        both = ~np.isnan(theirs) & ~np.isnan(label[:, j])
        differ = int((theirs[both] != label[both, j]).sum())
        if differ:
            logger.warning(
                'layers["label"] of sample %r differs from "level above the median of the training genes" for %d of '
                "%d genes: the model learns the latter; run gx.pp.label, or give your labels without levels",
                sample,
                differ,
                int(both.sum()),
            )


def level_scale(fitted: dict, sample: str) -> tuple[float, float]:
    """Mean and standard deviation of a sample's levels; for a sample not trained on, the mean of the others'."""
    mean, std = fitted["level_mean"], fitted["level_std"]
    if not mean:
        return 0.0, 1.0
    if sample in mean:
        return mean[sample], std[sample]
    return float(np.mean(list(mean.values()))), float(np.mean(list(std.values())))


def standardised(tables: GeneTables, fitted: dict) -> GeneTables:
    """Give the tables with levels in units of each sample's training genes, as estimators learn them."""
    scale = np.array([level_scale(fitted, s) for s in tables.samples])
    level = ((tables.level - scale[:, 0]) / scale[:, 1]).astype(np.float32)
    return dataclasses.replace(tables, level=level)


def thresholds_of(mdata: MuData, setup: dict, fitted: dict, samples: list[str]) -> dict[str, float]:
    """Label thresholds: the model's, and for other samples the median of their own training genes."""
    thresholds = dict(fitted["thresholds"])
    new = [s for s in samples if s not in thresholds]
    if not new:
        return thresholds
    level, _ = targets(mdata, setup["modalities"][schema.RNA], new, {})
    if setup["split_key"] in mdata.obs:
        training = split_values(mdata, setup["split_key"]) == "train"
        level = level[training] if training.any() else level
    for j, sample in enumerate(new):
        if not np.isnan(level[:, j]).all():
            thresholds[sample] = float(np.nanmedian(level[:, j]))
    return thresholds


def of_other_units(mdata: MuData, setup: dict, samples: list[str]) -> list[str]:
    """Name the samples whose levels are in another unit than those that the model learned, and say so."""
    rna = mdata.mod.get(setup["modalities"][schema.RNA])
    if rna is None or setup["target"] == "label":
        return []
    now = dict(zip(rna.var["sample"].astype(str), rna.var["unit"].astype(str), strict=True))
    others = []
    for sample in samples:
        learned = [setup["units"][sample]] if sample in setup["units"] else sorted(set(setup["units"].values()))
        here = now.get(sample)
        if here is None or here == "label" or not learned or learned == [here]:
            continue
        others.append(sample)
        logger.warning(
            "sample %r is in %s here and the levels that the model learned were in %s: levels do not compare, so r2, "
            "mse and mae are left empty; correlations and ranks do",
            sample,
            here,
            " and ".join(learned),
        )
    return others


def _fit_scaler(bins, scales: list[str], marks: list[str], samples: list[str], rows, tracks, transform: str) -> dict:
    if transform == "raw":
        own = list(dict.fromkeys(marks[t] for t in tracks))
        return {"transform": "none", "marks": own, "divisors": [1.0] * len(own)}
    scaler = SignalScaler(transform=transform)
    of = {"marks": [marks[t] for t in tracks], "samples": [samples[t] for t in tracks]}
    scaler.fit(bins, [scales[t] for t in tracks], rows=rows, tracks=tracks, **of)
    return scaler.to_dict()
