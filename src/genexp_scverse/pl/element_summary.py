"""Elements of all genes at a glance: where, under which marks, how many, how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from genexp_scverse._errors import InputError, some
from genexp_scverse._rows import blocks_of
from genexp_scverse._scores import Places, Scores, covered, intervals_of, places_of, scores_of
from genexp_scverse._tracks import one_sample, tracks_of
from genexp_scverse.pl import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_POINTS = 200
_MOST = 12
"""Numbers of elements that have a bar each at least; what is beyond that of 98 % of the genes shares the last bar."""


def elements(
    mdata: MuData,
    *,
    intervals: str = "elements",
    key: str = "seq2exp_mask",
    sample: str | None = None,
    windows: Any = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw where elements lie, under which marks, how many a gene has, and how long they are.

    1. The mean score of the positions, and the share of genes with a called element, by distance to the TSS.
    2. The mean signal of every track inside and outside of the elements of each gene, divided by its mean over all
       windows.
    3. How many genes have how many elements.
    4. How long the elements are.

    Parameters
    ----------
    mdata
        With scores per position, elements called from them, and tracks for the second panel.
    intervals
        Name of the elements in ``mdata.uns["intervals"]``, as :func:`genexp_scverse.tl.call_elements` stores them.
    key
        Name of the scores.
    sample
        Sample to draw; None where there is one.
    windows
        What :func:`genexp_scverse.io.genome_windows` gives, to take the signal of a genome store in place of that in
        the MuData.
    axes
        Four axes to draw into; a new figure without it.

    Returns
    -------
    The four axes, in this order.

    Raises
    ------
    InputError
        When scores or elements are not there, axes are not four, `windows` are of other genes, or the tracks are of
        several samples and none is named.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [5000, 9000], "strand": ["+", "-"]}, index=["a", "b"])
    >>> window = {"upstream": 2000, "downstream": 2000, "bin_size": 100, "stranded": True}
    >>> mdata = gx.io.from_bins(np.ones((2, 1, 40)), genes=["a", "b"], marks=["DNase"], obs=obs, window=window)
    >>> gx.tl.fixed_mask(mdata, "random", key_added="mask")
    >>> table = gx.tl.call_elements(None, mdata, key="mask", threshold=0.9)
    >>> axes = gx.pl.elements(mdata, key="mask")
    >>> [ax.get_xlabel() for ax in axes[2:]]
    ['Elements of a gene', 'Length of an element (bp)']
    """
    scores = scores_of(mdata, key, sample)
    table = intervals_of(mdata, intervals)
    if missing := [c for c in ("gene_id", "score") if c not in table]:
        msg = (
            f'mdata.uns["intervals"][{intervals!r}] lacks the column {some(missing)}: elements are called by '
            "gx.tl.call_elements"
        )
        raise InputError(msg)
    if scores.sample is not None and "sample" in table and table["sample"].astype(str).isin(["", scores.sample]).any():
        table = table[table["sample"].astype(str).isin(["", scores.sample])]
    row = mdata.obs_names.get_indexer(table["gene_id"].astype(str))
    table, row = table[row >= 0], row[row >= 0]
    if axes is None:
        _, grid = plt.subplots(2, 2, figsize=(8.6, 6.2), layout="constrained")
        axes = list(grid.ravel())
    axes = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(axes) != 4:
        msg = f"axes holds {len(axes)} axes, but there are 4 panels: give one for each"
        raise InputError(msg)
    for ax in axes:
        _style.axes(ax, (0, 0))
    _by_distance(axes[0], mdata, scores, table, row, key)
    _by_mark(axes[1], mdata, table, row, scores.sample or sample, windows)
    _numbers(axes[2], mdata, row)
    _lengths(axes[3], table)
    return axes


def _by_distance(ax: Axes, mdata: MuData, scores: Scores, table: pd.DataFrame, row: np.ndarray, key: str) -> None:
    places, window = places_of(mdata, scores.window), scores.window
    inside = covered(places, window, row, *_ends(table))[places.known].mean(axis=0)
    total, count = np.zeros(len(inside)), np.zeros(len(inside))
    for _, block in blocks_of(scores.values, np.flatnonzero(places.known)):
        known = ~np.isnan(block)
        total += np.where(known, block, 0).sum(axis=0, dtype=np.float64)
        count += known.sum(axis=0)
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    # neighbours together, so that the line of thousands of positions can be read
    step = max(1, len(mean) // _POINTS)
    whole = len(mean) // step * step
    mean, inside = (v[:whole].reshape(-1, step).mean(axis=1) for v in (mean, inside))
    at = ((np.arange(len(mean)) + 0.5) * step * window["bin_size"] - window["upstream"]) / 1000
    ax.plot(at, mean, color=_style.PALETTE[0], linewidth=1.4, label=f"mean of {key.replace('_', ' ')}")
    ax.plot(at, inside, color=_style.PALETTE[2], linewidth=1.4, label="share of genes with an element")
    ax.set(xlabel=_style.distance_label({"window": window}), xlim=(at[0], at[-1]), ylabel="Share")
    ax.set_ylim(min(0, np.nanmin(mean)), None)
    n = int(places.known.sum())
    ax.set_title(f"{f'{scores.sample}, ' if scores.sample else ''}{n:,} genes", fontsize="medium")
    room = _style.legend_above(ax, ax.get_lines())
    ax.axvline(0, ymax=1 - room, color=_style.GREY, linestyle=":", linewidth=1, zorder=1)


def _by_mark(ax: Axes, mdata: MuData, table: pd.DataFrame, row: np.ndarray, sample: str | None, windows: Any) -> None:
    stored = tracks_of(mdata, windows)
    if stored is None or stored.window is None:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no tracks", ha="center", va="center", color=_style.GREY, transform=ax.transAxes)
        return
    of = stored.var["sample"].astype(str)
    tracks = np.flatnonzero(of == one_sample(of, sample, stored.source))
    marks = stored.var["mark"].astype(str).iloc[tracks].tolist()
    places = places_of(mdata, stored.window)
    start, end = _ends(table)
    sums, counts, n_inside, n_all = np.zeros((2, len(tracks))), np.zeros((2, len(tracks))), 0, 0
    for at, block in blocks_of(stored.bins, np.flatnonzero(places.known), tracks):
        # by blocks as well: long windows at one base have as many positions as signal
        mine = np.isin(row, at)
        here = Places(*(each[at] for each in places))
        inside = covered(here, stored.window, np.searchsorted(at, row[mine]), start[mine], end[mine])
        n_inside, n_all = n_inside + int(inside.sum()), n_all + inside.size
        known = ~np.isnan(block)
        values = np.where(known, block, 0).astype(np.float64)
        for i, there in enumerate((inside, ~inside)):
            sums[i] += (values * there[:, None]).sum(axis=(0, 2))
            counts[i] += (known & there[:, None]).sum(axis=(0, 2))
    overall = sums.sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    share = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    share = np.divide(share, overall, out=np.full_like(share, np.nan), where=overall != 0)
    y = np.arange(len(tracks))
    colors = _style.colors(len(tracks))
    ax.barh(y - 0.19, share[0], 0.36, color=colors, label="inside")
    ax.barh(y + 0.19, share[1], 0.36, color=colors, alpha=0.35, label="outside")
    ax.axvline(1, color=_style.GREY, linestyle=":", linewidth=1)
    for i in range(len(tracks)):
        for value, where, text in ((share[0, i], i - 0.19, "inside"), (share[1, i], i + 0.19, "outside")):
            if np.isfinite(value):
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
                said = f"{text} {value:.2g}"
                ax.annotate(
                    said, (value, where), (4, 0), textcoords="offset points", va="center", fontsize="x-small", bbox=box
                )
    ax.set_yticks(y, marks)
    ax.set_ylim(len(tracks) - 0.5, -0.5)
    ax.set_xlim(0, 1.25 * max(1.0, float(np.nanmax(share, initial=1))))
    ax.tick_params(axis="y", length=0)
    part = 100 * n_inside / max(1, n_all)
    ax.set_xlabel("Mean signal / mean of the windows")
    ax.set_title(f"Elements take {part:.2g} % of the windows", fontsize="medium")


def _numbers(ax: Axes, mdata: MuData, row: np.ndarray) -> None:
    each = np.bincount(row, minlength=mdata.n_obs)
    most = int(min(each.max(initial=0), max(_MOST, np.quantile(each, 0.98))))
    counts = np.bincount(np.minimum(each, most), minlength=most + 1)
    ax.bar(np.arange(most + 1), counts, 0.9, color=_style.PALETTE[2])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if each.max(initial=0) > most:
        ticks = list(range(0, most, max(2, most // 7)))[:-1]
        ax.set_xticks([*ticks, most], [*map(str, ticks), f"≥ {most}"])
    ax.set(xlabel="Elements of a gene", ylabel="Genes")
    ax.set_title(f"{len(row):,} elements, {each.mean():.1f} a gene", fontsize="medium")


def _lengths(ax: Axes, table: pd.DataFrame) -> None:
    start, end = _ends(table)
    length = end - start
    ax.set(xlabel="Length of an element (bp)", ylabel="Elements")
    if not len(length):
        ax.set_title("no elements", fontsize="medium")
        return
    low, high = max(1, length.min()), length.max()
    edges = np.geomspace(low * 0.9, high * 1.1, 24)
    ax.hist(length, edges.tolist(), color=_style.PALETTE[2])
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_title(f"median {np.median(length):,.0f} bp, {low:,} to {high:,}", fontsize="medium")


def _ends(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return table["start"].to_numpy(np.int64), table["end"].to_numpy(np.int64)
