"""Chromatin signal around the TSS: mean profiles of high and low genes, and heat maps of one track."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pl import _stored, _style
from genexp_scverse.schema import CHROMATIN, LABEL, LOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from mudata import MuData


def profile(
    mdata: MuData,
    *,
    sample: str | None = None,
    marks: Sequence[str] | None = None,
    split: str | None = None,
    normalize: Literal["max", "none"] = "max",
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean signal of marks along the window for high (solid) and low (dashed) genes.

    Reads ``mdata["chromatin"].obsm["bins"]`` and ``mdata["rna"].layers["label"]``; genes without a label are
    left out, as are bins without a value. Marks have different scales, so each is divided by its largest absolute
    mean over both profiles.

    Parameters
    ----------
    mdata
        Gene-centric MuData with labels.
    sample
        Sample to draw; None where the chromatin holds only one.
    marks
        Marks to draw, in this order; all of the sample without it.
    split
        Genes to average: ``train``, ``valid``, ``test``, or None for all.
    normalize
        ``max`` divides every mark by its maximum, ``none`` draws the signal as it is.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes: x is the distance to the TSS in kb where the window is known, else the bin.

    Raises
    ------
    InputError
        When labels, sample, mark or split are not there, or all genes are of one class.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> bins = np.array([[[4.0, 2.0]], [[1.0, 1.0]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b"], marks=["H3K4me3"], labels=[1, 0])
    >>> ax = gx.pl.profile(mdata)
    >>> [line.get_ydata().tolist() for line in ax.get_lines()[:2]]
    [[1.0, 0.5], [0.25, 0.25]]
    """
    if normalize not in ("max", "none"):
        msg = f'normalize is {normalize!r}: give "max" or "none"'
        raise InputError(msg)
    sample = _stored.one_sample(mdata, sample, CHROMATIN)
    tracks = _tracks_of(mdata, sample, marks)
    rows = _stored.genes_of(mdata, split)
    label = _stored.column(mdata, LABEL, sample)[rows]
    _stored.need_both_classes(label, sample, split)
    if unknown := int(np.isnan(label).sum()):
        logger.info("%d of %d genes have no label in sample %r and are left out", unknown, len(rows), sample)

    chromatin = mdata[CHROMATIN]
    ax = _style.axes(ax, (6.0, 4.2))
    n_bins = _stored.n_bins(mdata)
    edges = _style.edges_kb(chromatin.uns, n_bins)
    x = np.arange(n_bins) if edges is None else (edges[:-1] + edges[1:]) / 2
    handles, lowest = [], np.inf
    for (mark, track), color in zip(tracks.items(), _style.colors(len(tracks)), strict=True):
        values = _stored.track_values(mdata, track, rows)
        high, low = (_mean(values[label == k]) for k in (1, 0))
        top = 1.0 if normalize == "none" else np.nanmax(np.abs([high, low])) or 1.0
        lowest = np.nanmin([lowest, *high, *low])
        ax.plot(x, high / top, color=color, linewidth=1.8, label=f"{mark}, high")
        ax.plot(x, low / top, color=color, linewidth=1.4, linestyle=(0, (4, 2)), label=f"{mark}, low")
        handles.append(_style.proxy(mark, color=color, linewidth=1.8))
    handles.append(_style.proxy("high", color="0.25", linewidth=1.8))
    handles.append(_style.proxy("low", color="0.25", linewidth=1.4, linestyle=(0, (4, 2))))
    if edges is None:
        _style.label_bins(ax, chromatin.uns, n_bins)
        ax.margins(x=0.02)
    else:
        ax.set(xlim=(edges[0], edges[-1]), xlabel=_style.distance_label(chromatin.uns))
    ax.set_ylabel(_signal_label(mdata, list(tracks.values()), normalize))
    if lowest >= 0:
        ax.set_ylim(bottom=0)
    counts = f"{int((label == 1).sum()):,} high, {int((label == 0).sum()):,} low genes"
    ax.set_title(f"{sample}, {counts}", fontsize="medium")
    room = _style.legend_above(ax, handles)
    if edges is not None:
        ax.axvline(0, ymax=1 - room, color=_style.GREY, linestyle=":", linewidth=1, zorder=1)
    return ax


def heatmap(
    mdata: MuData,
    track: str,
    *,
    split: str | None = None,
    sort_by: Literal["expression", "signal"] = "expression",
    max_genes: int = 2000,
    vmax_quantile: float = 0.99,
    ax: Axes | None = None,
) -> Axes:
    """Draw one track for all genes: a row per gene, high expression on top.

    Reads ``mdata["chromatin"].obsm["bins"]`` of the track and, to sort, ``mdata["rna"].layers["log"]`` of the
    track's sample; genes without expression are left out then. Beyond `max_genes` neighbouring rows are
    averaged in groups. Tracks with negative values get a diverging colour scale with its centre at 0.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    track
        Name of the track, ``<sample>.<mark>``, as in ``mdata["chromatin"].var_names``.
    split
        Genes to draw: ``train``, ``valid``, ``test``, or None for all.
    sort_by
        ``expression``, or ``signal`` for the mean of the track over the window.
    max_genes
        Largest number of rows.
    vmax_quantile
        Quantile of the drawn values at which the colour scale ends.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes; its image holds rows x bins.

    Raises
    ------
    InputError
        When the track or the split is not there, or expression is wanted and there is none.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> bins = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b"], marks=["H3K4me3"], sample="K562")
    >>> ax = gx.pl.heatmap(mdata, "K562.H3K4me3", sort_by="signal")
    >>> ax.get_images()[0].get_array().tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    if sort_by not in ("expression", "signal"):
        msg = f'sort_by is {sort_by!r}: give "expression" or "signal"'
        raise InputError(msg)
    if max_genes < 1 or not 0 < vmax_quantile <= 1:
        msg = f"max_genes is {max_genes} (give 1 or more), vmax_quantile {vmax_quantile} (give above 0 to 1)"
        raise InputError(msg)
    chromatin = _stored.modality(mdata, CHROMATIN)
    if track not in chromatin.var_names:
        msg = f'mdata["chromatin"] has no track {track!r}: its tracks are {some(chromatin.var_names, 6)}'
        raise InputError(msg)
    at = int(chromatin.var_names.get_loc(track))
    rows = _stored.genes_of(mdata, split)
    if sort_by == "expression":
        rows, key = _by_expression(mdata, str(chromatin.var["sample"].iloc[at]), rows, split)
        values = _stored.track_values(mdata, at, rows)
    else:
        values = _stored.track_values(mdata, at, rows)
        key = np.nan_to_num(_mean(values.T), nan=-np.inf)
    values = values[np.argsort(-key, kind="stable")]
    n_genes, n_bins = values.shape
    if n_genes > max_genes:
        values = np.array([_mean(group) for group in np.array_split(values, max_genes)])

    ax = _style.axes(ax, (4.8, 5.2))
    edges = _style.edges_kb(chromatin.uns, n_bins)
    left, right = (-0.5, n_bins - 0.5) if edges is None else (edges[0], edges[-1])
    signed = bool(np.nanmin(values) < 0)
    top = float(np.nanquantile(np.abs(values), vmax_quantile)) or float(np.nanmax(np.abs(values))) or 1.0
    image = ax.imshow(
        values,
        aspect="auto",
        cmap="RdBu_r" if signed else "Blues",
        vmin=-top if signed else 0,
        vmax=top,
        extent=(left, right, len(values), 0),
        interpolation="antialiased",
    )
    if edges is None:
        _style.label_bins(ax, chromatin.uns, n_bins)
    else:
        ax.axvline(0, color=_style.GREY, linestyle=":", linewidth=1)
        ax.set_xlabel(_style.distance_label(chromatin.uns))
    ax.set_yticks([])
    grouped = f" (means of {n_genes / len(values):.0f})" if n_genes > len(values) else ""
    ax.set_ylabel(f"Genes by {sort_by}{grouped}")
    ax.set_title(_style.where(track, split, n_genes), fontsize="medium")
    words = _style.SCALE_WORDS.get(str(chromatin.var["scale"].iloc[at]), "signal")
    clipped = bool(np.nanmax(np.abs(values)) > top)
    extend = ("both" if signed else "max") if clipped else "neither"
    _style.colorbar(ax, image, words[0].upper() + words[1:], extend=extend)
    return ax


def _tracks_of(mdata: MuData, sample: str, marks: Sequence[str] | None) -> dict[str, int]:
    """Mark to track number in one sample."""
    var = mdata[CHROMATIN].var
    there = {str(m): i for i, (s, m) in enumerate(zip(var["sample"], var["mark"], strict=True)) if s == sample}
    if marks is None:
        return there
    wanted = [marks] if isinstance(marks, str) else list(marks)
    if missing := [m for m in wanted if m not in there]:
        msg = f"sample {sample!r} has no mark {some(missing)}: its marks are {some(there, 12)}"
        raise InputError(msg)
    if not wanted:
        msg = f"marks is empty: name some of {some(there, 12)}, or leave it out for all"
        raise InputError(msg)
    return {m: there[m] for m in wanted}


def _by_expression(mdata: MuData, sample: str, rows: np.ndarray, split: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the measured ones of `rows`, and their log expression."""
    level = _stored.column(mdata, LOG, sample)[rows]
    known = ~np.isnan(level)
    if not known.any():
        msg = (
            f"none of the {len(rows)} genes of {_stored.split_words(split)} has expression in {sample!r}: "
            'sort with sort_by="signal"'
        )
        raise InputError(msg)
    if not known.all():
        text = "%d of %d genes have no expression in sample %r and are left out"
        logger.info(text, int((~known).sum()), len(rows), sample)
    return rows[known], level[known]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without the missing values; NaN where all are missing."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _signal_label(mdata: MuData, tracks: list[int], normalize: str) -> str:
    if normalize == "max":
        return "Mean signal / mark maximum"
    scales = set(mdata[CHROMATIN].var["scale"].iloc[tracks].astype(str))
    words = _style.SCALE_WORDS.get(scales.pop()) if len(scales) == 1 else None
    return f"Mean signal ({words})" if words else "Mean signal"
