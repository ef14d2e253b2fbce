"""Tables and arrays that are already in memory to the modalities of a gene-centric MuData."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from genexp_scverse import _axes
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError, some
from genexp_scverse._rows import blocks_of
from genexp_scverse.io.gene_table import plain_strand
from genexp_scverse.io.ids import check_names
from genexp_scverse.io.provenance import file_table
from genexp_scverse.schema import BINS, LABEL, LOG, SCALES, SCHEMA_VERSION, UNITS

_WINDOW_KEYS = ("upstream", "downstream", "bin_size", "stranded")


def assemble_rna(
    gene_ids: Sequence[str] | np.ndarray | pd.Index,
    expression: pd.DataFrame | None,
    labels: pd.DataFrame | None = None,
) -> AnnData:
    """Make the modality ``rna`` from a table of expression, of labels, or of both.

    Parameters
    ----------
    gene_ids
        Genes of the MuData in order. Genes that a table lacks become NaN, others in it are left out.
    expression
        Genes x samples; ``.attrs["unit"]`` is a dict sample -> unit (:data:`genexp_scverse.schema.UNITS`).
    labels
        Genes x samples, 0, 1 or NaN. A sample that `expression` lacks gets the unit ``label`` and levels NaN.

    Returns
    -------
    X genes x samples float32; ``.var``: sample, cell_type, unit; layers ``log`` (natural log1p of X, or X
    where the unit is ``log``) and, with labels, ``label``.

    Raises
    ------
    InputError
        Neither table is given, a gene is there twice, a unit is missing or unknown, a level is infinite or
        negative where the unit is no log, or a label is neither 0 nor 1.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"K562": [0.0, 3.0]}, index=["g1", "g2"])
    >>> table.attrs["unit"] = {"K562": "tpm"}
    >>> assemble_rna(["g2", "g1", "g0"], table).layers["log"].round(3).ravel().tolist()
    [1.3860000371932983, 0.0, nan]
    """
    if expression is None and labels is None:
        msg = "the modality rna needs expression or labels, and neither is given"
        raise InputError(msg)
    index = pd.Index([str(g) for g in gene_ids])
    samples: list[str] = []
    units: list[str] = []
    if expression is not None:
        levels = _reindexed(expression, index, "expression")
        samples = list(levels.columns)
        units = _units(samples, expression.attrs.get("unit"))
        # pandas 3 gives views that cannot be written to
        x = levels.to_numpy(np.float32, copy=True)
        _check_levels(x, samples, units)
    else:
        x = np.empty((len(index), 0), np.float32)
    if labels is not None:
        classes = _reindexed(labels, index, "labels")
        _check_labels(classes)
        extra = [s for s in classes.columns if s not in samples]
        samples, units = samples + extra, units + ["label"] * len(extra)
        x = np.hstack([x, np.full((len(index), len(extra)), np.nan, np.float32)])
    var = pd.DataFrame({"sample": samples, "cell_type": samples, "unit": units}, index=pd.Index(samples, dtype=object))
    rna = AnnData(X=x, obs=pd.DataFrame(index=index), var=var)
    as_given = np.array([u == "log" for u in units], bool)
    rna.layers[LOG] = np.where(as_given, x, np.log1p(np.where(as_given, 0, x))).astype(np.float32)
    if labels is not None:
        rna.layers[LABEL] = classes.reindex(columns=samples).to_numpy(np.float32, copy=True)
    return rna


def assemble_chromatin(
    gene_ids: Sequence[str] | np.ndarray | pd.Index,
    tracks: pd.DataFrame,
    bins: Any,
    window: Mapping[str, Any] | None,
) -> AnnData:
    """Make the modality ``chromatin`` from binned signal; NaN in it means not covered and is kept.

    Parameters
    ----------
    gene_ids
        Genes of the MuData in order.
    tracks
        A row per track: sample, mark, scale (:data:`genexp_scverse.schema.SCALES`) and source.
    bins
        Genes x tracks x bins. float16 and float32 stay as they are, also as a memmap or dask array; any other
        type becomes float32.
    window
        upstream, downstream and bin_size in bases, and stranded; None where bins are no stretch of bases.

    Returns
    -------
    var_names ``sample.mark``; ``.var`` as `tracks`; X genes x tracks, mean over the covered bins;
    ``obsm["bins"]`` and what its axes are (layer ``track``, ``obsm["bins_axes"]``); ``uns["window"]`` when given.

    Raises
    ------
    InputError
        Shapes do not fit, a track is there twice, a scale is unknown, a value is infinite, a track whose
        scale is not ``log_ratio`` is negative, or the window is not as long as its bins.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> tracks = pd.DataFrame({"sample": ["K562"], "mark": ["H3K4me3"], "scale": ["counts"], "source": [""]})
    >>> chromatin = assemble_chromatin(["g1", "g2"], tracks, np.array([[[0, 4]], [[1, 1]]]), None)
    >>> chromatin.var_names.tolist(), chromatin.X.ravel().tolist()
    (['K562.H3K4me3'], [2.0, 1.0])
    """
    if bins.ndim != 3 or bins.shape[:2] != (len(gene_ids), len(tracks)) or bins.shape[2] == 0:
        shape = f"{len(gene_ids)} genes x {len(tracks)} tracks x at least one bin"
        msg = f"bins has shape {tuple(bins.shape)}, expected {shape}"
        raise InputError(msg)
    var = tracks[["sample", "mark", "scale", "source"]].astype(object).astype(str)
    wrong = sorted(set(var["scale"]) - set(SCALES))
    if wrong:
        msg = f"unknown scale {some(wrong)}: allowed are {', '.join(SCALES)}"
        raise InputError(msg)
    var.index = pd.Index([f"{s}.{m}" for s, m in zip(var["sample"], var["mark"], strict=True)], dtype=object)
    if not var.index.is_unique:
        msg = f"{some(var.index[var.index.duplicated()])} is there twice: a sample has one track per mark"
        raise InputError(msg)
    if np.dtype(bins.dtype) not in (np.dtype("float16"), np.dtype("float32")):
        bins = bins.astype(np.float32)
    chromatin = AnnData(
        X=_window_means(bins, list(var.index), list(var["scale"])),
        obs=pd.DataFrame(index=pd.Index([str(g) for g in gene_ids])),
        var=var,
    )
    if window is not None:
        chromatin.uns["window"] = _checked_window(window, bins.shape[2])
    _axes.number_tracks(chromatin)
    _axes.put(chromatin, BINS, bins, tracks=np.arange(len(var)), window=chromatin.uns.get("window"))
    return chromatin


def assemble_mudata(obs: pd.DataFrame, mods: Mapping[str, AnnData], *, files: pd.DataFrame | None = None) -> MuData:
    """Join modalities of the same genes into one gene-centric MuData.

    Columns of `obs` are set on ``mdata.obs`` alone; nothing is copied up from the modalities, whichever
    version of mudata is used. Text columns with gaps become categorical, which every file format keeps.

    Parameters
    ----------
    obs
        A row per gene, index gene id; any columns (chrom, tss, strand, ...), also none. A strand of 1 or -1 becomes
        ``+`` or ``-``.
    mods
        Name -> modality; every modality holds the genes of `obs` in its order.
    files
        Where the data came from, see :func:`genexp_scverse.io.provenance.file_table`.

    Returns
    -------
    MuData with ``axis=0``, ``uns["schema_version"]`` and ``uns["files"]``.

    Raises
    ------
    InputError
        A gene id is there twice, a strand is another, or a modality holds other genes or another order.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> table = pd.DataFrame({"K562": [0.0, 3.0]}, index=["g1", "g2"])
    >>> table.attrs["unit"] = {"K562": "tpm"}
    >>> obs = pd.DataFrame({"chrom": ["chr1", "chr2"]}, index=["g1", "g2"])
    >>> assemble_mudata(obs, {"rna": assemble_rna(obs.index, table)}).obs.columns.tolist()
    ['chrom']
    """
    index = pd.Index([str(g) for g in obs.index])
    check_names(index, "gene id", "obs")
    if not index.is_unique:
        msg = f"gene ids must be unique, but {some(index[index.duplicated()].unique())} occur more than once"
        raise InputError(msg)
    for name, adata in mods.items():
        if not adata.obs_names.equals(index):
            msg = f'modality "{name}" does not hold the {len(index)} genes of obs in their order: reindex it'
            raise InputError(msg)
        for column in ("sample", "mark"):
            if column in adata.var:
                check_names(adata.var[column], column, f'modality "{name}"')
    with nothing_pulled():
        mdata = MuData(dict(mods), axis=0)
        for column in obs.columns:
            values = plain_strand(obs[column]) if column == "strand" else obs[column]
            mdata.obs[str(column)] = _storable(values).array
    mdata.uns["schema_version"] = SCHEMA_VERSION
    mdata.uns["files"] = file_table([]) if files is None else files
    return mdata


def _reindexed(table: pd.DataFrame, index: pd.Index, what: str) -> pd.DataFrame:
    table = table.copy()
    table.index = pd.Index([str(g) for g in table.index])
    table.columns = [str(c) for c in table.columns]
    for axis, kind in ((table.index, "gene"), (table.columns, "sample")):
        if not axis.is_unique:
            msg = f"{kind} {some(axis[axis.duplicated()].unique())} occurs more than once in the {what}"
            raise InputError(msg)
    return table.reindex(index)


def _units(samples: list[str], unit: Any) -> list[str]:
    if isinstance(unit, str):
        unit = dict.fromkeys(samples, unit)
    missing = [s for s in samples if s not in (unit or {})]
    if missing:
        msg = f"no unit of expression for sample {some(missing)}: pass unit=, one of {', '.join(UNITS)}"
        raise InputError(msg)
    units = [unit[s] for s in samples]
    wrong = sorted({str(u) for u in units} - set(UNITS))
    if wrong:
        msg = f"unknown unit of expression {some(wrong)}: allowed are {', '.join(UNITS)}"
        raise InputError(msg)
    if "label" in units:
        msg = f"sample {samples[units.index('label')]!r} has the unit 'label': pass its 0/1 classes as labels"
        raise InputError(msg)
    return units


def _check_levels(x: np.ndarray, samples: list[str], units: list[str]) -> None:
    for j, (sample, unit) in enumerate(zip(samples, units, strict=True)):
        infinite = int(np.isinf(x[:, j]).sum())
        if infinite:
            msg = f"{infinite} expression values of sample {sample!r} are infinite: set them to NaN"
            raise InputError(msg)
        negative = int((x[:, j] < 0).sum())
        if negative and unit != "log":
            msg = (
                f"{negative} expression values of sample {sample!r} are negative, which {unit} cannot be: "
                "if they are logs say unit='log'"
            )
            raise InputError(msg)


def _check_labels(labels: pd.DataFrame) -> None:
    try:
        values = labels.to_numpy(np.float64)
    except (TypeError, ValueError):
        values = np.full(labels.shape, 2.0)
    wrong = ~np.isin(values, (0, 1)) & ~np.isnan(values)
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        where = f"gene {labels.index[i]!r} in sample {labels.columns[j]!r}"
        msg = f"label of {where} is {labels.iat[i, j]}, not 0, 1 or NaN"
        raise InputError(msg)


def _window_means(bins: Any, names: list[str], scales: list[str]) -> np.ndarray:
    """Mean over covered bins, NaN where none is, block by block; impossible values are errors."""
    n_genes, n_tracks, _ = bins.shape
    means = np.full((n_genes, n_tracks), np.nan, np.float32)
    signed = np.array([s == "log_ratio" for s in scales])
    for rows, part in blocks_of(bins, np.arange(n_genes)):
        block = part.astype(np.float32, copy=False)
        if np.isinf(block).any():
            track = int(np.isinf(block).any(axis=(0, 2)).argmax())
            msg = f"track {names[track]!r} holds infinite values: set them to NaN (not covered)"
            raise InputError(msg)
        below = (block < 0).any(axis=(0, 2)) & ~signed
        if below.any():
            track = int(below.argmax())
            msg = (
                f"track {names[track]!r} holds negative values, which the scale {scales[track]!r} cannot "
                "have: if they are meant say scale='log_ratio'"
            )
            raise InputError(msg)
        covered = ~np.isnan(block)
        n = covered.sum(axis=2)
        total = np.where(covered, block, 0).sum(axis=2, dtype=np.float64)
        np.divide(total, n, out=means[rows[0] : rows[-1] + 1], where=n > 0, casting="unsafe")
    return means


def _checked_window(window: Mapping[str, Any], n_bins: int) -> dict[str, Any]:
    missing = [k for k in _WINDOW_KEYS if k not in window]
    if missing:
        msg = f"window lacks {some(missing)}: it needs {', '.join(_WINDOW_KEYS)}"
        raise InputError(msg)
    up, down, size = (int(window[k]) for k in _WINDOW_KEYS[:3])
    if size * n_bins != up + down:
        msg = (
            f"a window of {up} + {down} bases in bins of {size} has {(up + down) / size:g} bins, but the "
            f"array has {n_bins}: correct the window"
        )
        raise InputError(msg)
    return {"upstream": up, "downstream": down, "bin_size": size, "stranded": bool(window["stranded"])}


def _storable(column: pd.Series) -> pd.Series:
    """Text with gaps as categorical: the writers of anndata refuse NaN among strings."""
    if not pd.api.types.is_object_dtype(column) and not isinstance(column.dtype, pd.StringDtype):
        return column
    gaps = column.isna()
    text = column.astype(object).map(str)
    return text.mask(gaps).astype("category") if gaps.any() else text
