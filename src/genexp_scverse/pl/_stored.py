"""Take stored results out of a MuData, with an error that says what is missing and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse import _axes, _tracks
from genexp_scverse._errors import InputError, no_such, some
from genexp_scverse._logging import logger
from genexp_scverse._scores import gene_names
from genexp_scverse.schema import BINS, CHROMATIN, LABEL, LOG, RNA, SPLIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

_PROB = "_prob"


def modality(mdata: MuData, name: str) -> AnnData:
    """``mdata[name]``."""
    if not hasattr(mdata, "mod"):
        msg = f"expected a MuData of genes, got {type(mdata).__name__}: see gx.io.build_mudata"
        raise InputError(msg)
    if name not in mdata.mod:
        msg = f'the MuData has no modality "{name}" (it has {some(mdata.mod, 6)}): see gx.io.build_mudata'
        raise InputError(msg)
    return mdata.mod[name]


def samples(mdata: MuData, name: str = RNA) -> list[str]:
    """Sample of every column of a modality."""
    return [str(s) for s in modality(mdata, name).var["sample"]]


def one_sample(mdata: MuData, sample: str | None, name: str = RNA) -> str:
    """Return the sample that is meant; without a name there must be just one."""
    return _tracks.one_sample(samples(mdata, name), sample, f'mdata["{name}"]')


def predicted_samples(mdata: MuData, truth: str, layer: str, split: str | None, *, classes: bool = False) -> list[str]:
    """Choose the samples of which genes of a split have a measured `truth` and a prediction, of both classes if asked.

    The others are said in the log. Without any, all are returned, so that what is missing is said where it is read.
    """
    there = list(dict.fromkeys(samples(mdata)))
    if len(there) < 2 or layer not in modality(mdata, RNA).layers or truth not in modality(mdata, RNA).layers:
        return there
    rows, reasons = genes_of(mdata, split), {}
    for sample in there:
        y, p = column(mdata, truth, sample)[rows], column(mdata, layer, sample)[rows]
        both = y[~np.isnan(y) & ~np.isnan(p)]
        if np.isnan(p).all():
            reasons[sample] = "no prediction"
        elif not len(both):
            reasons[sample] = f'no measured "{truth}"'
        elif classes and len(np.unique(both)) < 2:
            reasons[sample] = "genes of one class alone"
    if len(reasons) == len(there):
        return there
    for reason in dict.fromkeys(reasons.values()):
        left = [s for s, why in reasons.items() if why == reason]
        logger.info("%s: left out of the figure, %s among the genes of %s", some(left, 6), reason, split_words(split))
    return [s for s in there if s not in reasons]


def genes_of(mdata: MuData, split: str | None) -> np.ndarray:
    """Row numbers of the genes of `split`, of all genes for None."""
    if split is None:
        return np.arange(mdata.n_obs)
    if SPLIT not in mdata.obs:
        msg = (
            f'mdata.obs has no column "split", so the {split!r} genes are not known: run '
            "gx.pp.split_by_chromosome(mdata), or draw all genes with split=None"
        )
        raise InputError(msg)
    column = np.asarray(mdata.obs[SPLIT].astype(object))
    rows = np.flatnonzero(column == split)
    if not len(rows):
        there = sorted({str(s) for s in mdata.obs[SPLIT].dropna()})
        msg = f'no gene has split {split!r} in mdata.obs["split"]: it holds {some(there, 6)}'
        raise InputError(msg)
    return rows


def column(mdata: MuData, layer: str, sample: str) -> np.ndarray:
    """Return the values of one sample in a layer of ``mdata["rna"]`` for all genes, as float64."""
    rna = modality(mdata, RNA)
    if sample not in (there := samples(mdata)):
        raise InputError(no_such("sample", sample, dict.fromkeys(there), where='in mdata["rna"]'))
    if layer not in rna.layers:
        raise InputError(_no_layer(rna, layer))
    return np.asarray(rna.layers[layer][:, there.index(sample)], dtype=np.float64)


def pairs(mdata: MuData, truth: str, layer: str, sample: str, split: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Truth (layer "label" or "log") and prediction of the measured genes of a split in one sample."""
    y, p = column(mdata, truth, sample), column(mdata, layer, sample)
    rows = genes_of(mdata, split)
    y, p = y[rows], p[rows]
    known, predicted = ~np.isnan(y), ~np.isnan(p)
    if not known.all():
        text = "%d of %d genes are not measured in sample %r and are left out"
        logger.info(text, int((~known).sum()), len(rows), sample)
    if unpredicted := int((known & ~predicted).sum()):
        text = "%d measured genes have no prediction in layer %r for sample %r and are left out"
        logger.warning(text, unpredicted, layer, sample)
    keep = known & predicted
    if not keep.any():
        msg = (
            f'none of the {len(rows)} genes of {split_words(split)} has both a measured "{truth}" and a '
            f"prediction {layer!r} in sample {sample!r}: choose another split= or sample="
        )
        raise InputError(msg)
    return y[keep], p[keep]


def need_both_classes(label: np.ndarray, sample: str, split: str | None) -> None:
    """Raise unless genes of both classes are there."""
    classes = np.unique(label[~np.isnan(label)])
    if len(classes) == 2:
        return
    said = f"label {classes[0]:g}" if len(classes) else "no label"
    msg = (
        f"all {len(label)} genes of {split_words(split)} in sample {sample!r} have {said}, but high (1) and "
        "low (0) genes are both needed: choose another split= or sample="
    )
    raise InputError(msg)


def split_words(split: str | None) -> str:
    """``split 'test'`` or ``the whole set``."""
    return "the whole set" if split is None else f"split {split!r}"


def table(source: MuData | pd.DataFrame, key: str, made_by: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table, as it is or from ``uns[key]``; it must have `columns`."""
    if not isinstance(source, pd.DataFrame):
        if not hasattr(source, "mod"):
            msg = f"expected a table or a MuData of genes, got {type(source).__name__}: give what {made_by} returned"
            raise InputError(msg)
        if not isinstance(source.uns.get(key), pd.DataFrame):
            msg = f'mdata.uns has no table "{key}": make it with {made_by}'
            raise InputError(msg)
        source = source.uns[key]
    if missing := [c for c in columns if c not in source]:
        msg = f"the table has no column {some(missing)}: give what {made_by} returned"
        raise InputError(msg)
    return source


def table_metric(frame: pd.DataFrame, metric: str) -> None:
    """Raise unless `metric` is a column of numbers, not all of them missing."""
    if metric not in frame or not pd.api.types.is_numeric_dtype(frame[metric]):
        numeric = [str(c) for c in frame.select_dtypes("number") if not str(c).endswith(("_low", "_high"))]
        msg = f"the table has no numeric column {metric!r}: choose metric= from {some(numeric, 12)}"
        raise InputError(msg)
    if frame[metric].isna().all():
        msg = f"column {metric!r} of the table holds no value: choose another metric="
        raise InputError(msg)


def table_of_sample(frame: pd.DataFrame, sample: str | None) -> tuple[pd.DataFrame, str]:
    """Rows of one sample, and its name; without a name there must be just one."""
    name = _tracks.one_sample(frame["sample"], sample, "the table")
    return frame[frame["sample"].astype(str) == name], name


def row_of(mdata: MuData, gene: str) -> int:
    """Row of a gene that has a place, by its id, or a name that only one gene has."""
    missing = [name for name in ("chrom", "tss") if name not in mdata.obs]
    if missing:
        msg = f"mdata.obs has no column {some(missing)}, so there is no place to draw the genes at"
        raise InputError(msg)
    if gene in mdata.obs_names:
        row = int(mdata.obs_names.get_loc(gene))
    else:
        named = np.flatnonzero(gene_names(mdata) == gene)
        if len(named) != 1:
            ids = f": choose one by its id, {some(mdata.obs_names[named], 6)}" if len(named) else ""
            msg = f"{len(named) or 'no'} genes have the id or name {gene!r}{ids}"
            raise InputError(msg)
        row = int(named[0])
    if pd.isna(mdata.obs["chrom"].iloc[row]) or pd.isna(mdata.obs["tss"].iloc[row]):
        msg = f"gene {gene!r} has no chromosome or no TSS in mdata.obs, so it cannot be drawn"
        raise InputError(msg)
    return row


def n_bins(mdata: MuData) -> int:
    """Count the bins of a window."""
    return int(_bins(mdata).shape[2])


def track_values(mdata: MuData, track: int, rows: np.ndarray) -> np.ndarray:
    """Bins of one track for some genes, genes x bins float64; only that track is read from a file."""
    return np.asarray(_bins(mdata)[:, track, :])[rows].astype(np.float64)


def by_mark(chromatin: AnnData, key: str, sample: str, marks: Sequence[str]) -> Any:
    """Give an array of genes x marks x ... of one sample, its marks in this order whatever var was reordered to."""
    var = chromatin.var
    at = {(str(s), str(m)): i for i, (s, m) in enumerate(zip(var["sample"], var["mark"], strict=True))}
    return _axes.get_named(chromatin, key, [at.get((sample, m), -1) for m in marks], of=sample)


def _bins(mdata: MuData) -> Any:
    chromatin = modality(mdata, CHROMATIN)
    if BINS not in chromatin.obsm:
        msg = 'mdata["chromatin"].obsm has no "bins" (genes x tracks x bins): see gx.io.build_mudata'
        raise InputError(msg)
    return _axes.get(chromatin, BINS, quiet=True)


def _no_layer(rna: AnnData, layer: str) -> str:
    # anndata 0.13 lists X among the layers, under None.
    names = [k for k in rna.layers if isinstance(k, str)]
    if layer == LABEL:
        return 'mdata["rna"].layers has no "label" (high 1, low 0): run gx.pp.label(mdata) first'
    if layer == LOG:
        return 'mdata["rna"].layers has no "log" (log expression): build the MuData with expression levels'
    if layer.endswith(_PROB):
        kind, there = "probability", [k.removesuffix(_PROB) for k in names if k.endswith(_PROB)]
    else:
        kind, there = "level", [k for k in names if k not in (LOG, LABEL) and not k.endswith(_PROB)]
    name = layer.removesuffix(_PROB)
    found = f"there are {some(there, 6)}" if there else "there are none"
    return (
        f'mdata["rna"].layers has no {layer!r}: of predictions of the {kind} {found}; '
        f'store it with model.predict(mdata, layer_key="{name}")'
    )
