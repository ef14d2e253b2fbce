"""The window of a gene as a genome browser shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from genexp_scverse._chroms import same_chrom
from genexp_scverse._errors import InputError, some
from genexp_scverse._rows import rows_of
from genexp_scverse._scores import Places, along_genome, gene_names, intervals_of, places_of, scores_of
from genexp_scverse._tracks import Tracks, one_sample, tracks_of
from genexp_scverse.pl import _stored, _style
from genexp_scverse.pl._gene_models import draw_genes, name_panel, pack_genes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_WIDTH = 9.0
_LABEL = 1.35
"""Inches left of the panels for their names."""
_TRACK, _MASK, _ROW, _FOOT = 0.62, 0.8, 0.24, 0.85
"""Heights in inches of a track, a mask, a row of intervals or genes, and of the title with the axis."""

_SEEN = 2000
"""Bins of a track that can be told apart in a figure."""


class _Panel(NamedTuple):
    kind: str
    name: str
    rows: int
    inches: float


def locus(
    mdata: MuData,
    gene: str,
    *,
    tracks: Sequence[str] | None = None,
    mask: str | Sequence[str] | None = "seq2exp_mask",
    intervals: Sequence[str] | None = None,
    window: int | tuple[int, int] | None = None,
    sample: str | None = None,
    windows: Any = None,
    axes: Sequence[Axes] | None = None,
) -> list[Axes]:
    """Draw tracks, mask, elements, peaks and genes around a gene along one axis, as a genome browser shows them.

    All is read from what is stored: the bins of the tracks and the mask in the window of the gene, turned so that the
    + strand runs from left to right; tables of intervals; and all genes of ``mdata.obs`` in view, by start and end
    where these are known, else by their TSS. The gene itself is orange, and a dotted line marks its TSS.

    Parameters
    ----------
    mdata
        With chrom and tss in obs, and strand, start, end and gene_name if known.
    gene
        Gene id, or a gene name that only one gene has.
    tracks
        Names of tracks (``sample.mark``, as in ``mdata["chromatin"].var_names``), or marks; all of the sample without
        it, none with an empty list.
    mask
        Scores per position to draw, one or several names; a band shows the stored standard deviation. None draws none.
    intervals
        Names of tables in ``mdata.uns["intervals"]``; all that have chrom, start and end without it. Of a table with
        gene_id, such as called elements, only the intervals of this gene are drawn, and of one with sample only those
        of `sample` and of none.
    window
        What to show: bases to either side of the TSS, or the start and end on the chromosome (0-based half-open); by
        default the whole window of tracks and mask.
    sample
        Sample of tracks, scores and intervals; None where there is one.
    windows
        What :func:`genexp_scverse.io.genome_windows` gives, to draw the tracks of a genome store instead of those in
        the MuData.
    axes
        As many axes as there are panels (tracks, masks, intervals together, genes), from top to bottom; a new
        figure without it.

    Returns
    -------
    The axes from top to bottom; x is the position on the chromosome in bases (0-based).

    Raises
    ------
    InputError
        When the gene, a track, scores or intervals are not there, or the number of axes is another.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [5000, 5900], "strand": ["+", "-"]}, index=["a", "b"])
    >>> window = {"upstream": 2000, "downstream": 2000, "bin_size": 100, "stranded": True}
    >>> mdata = gx.io.from_bins(np.ones((2, 1, 40)), genes=["a", "b"], marks=["DNase"], obs=obs, window=window)
    >>> axes = gx.pl.locus(mdata, "a", mask=None)
    >>> len(axes), [int(x) for x in axes[0].get_xlim()]
    (2, [3000, 7000])
    """
    row = _stored.row_of(mdata, gene)
    stored = tracks_of(mdata, windows)
    chosen = _chosen(stored, tracks, sample)
    masks = [mask] if isinstance(mask, str) else list(mask or [])
    scores = {name: scores_of(mdata, name, sample) for name in masks}
    chrom, tss = str(mdata.obs["chrom"].iloc[row]), int(mdata.obs["tss"].iloc[row])
    view = _view(mdata, row, tss, window, stored.window if stored and chosen else None, list(scores.values()))
    tables = _intervals(mdata, intervals, row, chrom, view, sample)
    models = pack_genes(mdata, chrom, view, _WIDTH - _LABEL)
    panels = [_Panel("track", name, 1, _TRACK) for name in chosen]
    panels += [_Panel("mask", name, 1, _MASK) for name in scores]
    if tables:
        panels.append(_Panel("intervals", "", len(tables), _ROW * len(tables) + 0.08))
    n_rows = 1 + max((m.row for m in models), default=0)
    panels.append(_Panel("genes", "", n_rows, 1.45 * _ROW * n_rows + 0.1))
    axes = _axes(axes, panels)
    minus = "strand" in mdata.obs and mdata.obs["strand"].iloc[row] == "-"
    marks = list(dict.fromkeys(chosen.values())) if chosen else []
    for panel, ax in zip(panels, axes, strict=True):
        if panel.kind == "track" and stored is not None:
            color = _style.colors(len(marks))[marks.index(chosen[panel.name])]
            _draw_track(ax, mdata, stored, row, panel.name, color, view)
        elif panel.kind == "mask":
            _draw_mask(ax, mdata, row, panel.name, scores[panel.name], view)
        elif panel.kind == "intervals":
            _draw_intervals(ax, tables, view)
        else:
            draw_genes(ax, models, row, n_rows, view)
        ax.axvline(tss + 0.5, color=_style.PALETTE[1], linestyle=":", linewidth=0.9, zorder=0.5)
        ax.set_xlim(*view)
        last = panel is panels[-1]
        ax.tick_params(axis="x", bottom=last, labelbottom=last)
    _place_axis(axes[-1], chrom, view)
    name = str(gene_names(mdata)[row])
    sign = "−" if minus else "+" if "strand" in mdata.obs else ""
    where = f"{chrom}:{view[0] + 1:,}–{view[1]:,}"
    axes[0].set_title(f"{name}{f' ({sign})' if sign else ''}, {where}", fontsize="medium")
    return axes


def _chosen(stored: Tracks | None, wanted: Sequence[str] | None, sample: str | None) -> dict[str, str]:
    """Name -> mark of the tracks to draw, in order."""
    if wanted is not None and not len(wanted):
        return {}
    if stored is None:
        if wanted is None:
            return {}
        msg = f'mdata["chromatin"] has no bins, so the tracks {some(wanted)} cannot be drawn: leave out tracks='
        raise InputError(msg)
    mark, of = stored.var["mark"].astype(str), stored.var["sample"].astype(str)
    if wanted is not None and set(wanted) <= set(mark.index):
        return {name: mark[name] for name in wanted}
    sample = one_sample(stored.var["sample"], sample, stored.source)
    of_sample = {mark[name]: name for name in mark.index[of == sample]}
    if wanted is None:
        return {name: m for m, name in of_sample.items()}
    lost = [w for w in wanted if w not in of_sample and w not in mark.index]
    if lost:
        msg = f"{stored.source} has no track {some(lost)} in sample {sample!r}: it has {some(of_sample, 8)}"
        raise InputError(msg)
    names = [w if w in mark.index else of_sample[w] for w in wanted]
    return {name: mark[name] for name in names}


def _view(mdata: MuData, row: int, tss: int, window: Any, of_tracks: dict | None, scores: list) -> tuple[int, int]:
    """First base and one past the last to show."""
    if isinstance(window, int | np.integer):
        if window < 1:
            msg = f"window is {window}: give 1 base or more to either side"
            raise InputError(msg)
        return tss - int(window), tss + int(window)
    if window is not None:
        start, end = (int(v) for v in window)
        if end <= start:
            msg = f"window is {start} to {end}: its end has to come after its start"
            raise InputError(msg)
        return start, end
    stored = [s.window for s in scores] + ([] if of_tracks is None else [of_tracks])
    if not stored:
        msg = "neither tracks nor scores have a window: say what to show by window="
        raise InputError(msg)
    starts = [int(places_of(mdata, w).start[row]) for w in stored]
    ends = [s + int(w["upstream"]) + int(w["downstream"]) for s, w in zip(starts, stored, strict=True)]
    return min(starts), max(ends)


def _intervals(
    mdata: MuData, wanted: Sequence[str] | None, row: int, chrom: str, view: tuple[int, int], sample: str | None
) -> dict[str, pd.DataFrame]:
    names = list(mdata.uns.get("intervals", {})) if wanted is None else list(wanted)
    found = {}
    for name in names:
        if wanted is None and not {"chrom", "start", "end"} <= set(mdata.uns["intervals"][name].columns):
            continue
        table = intervals_of(mdata, name)
        theirs = table["chrom"].astype(str)
        same = [c for c in theirs.unique() if same_chrom(c) == same_chrom(chrom)]
        inside = theirs.isin(same) & (table["end"] > view[0]) & (table["start"] < view[1])
        if "gene_id" in table and not {"tss", "gene_type"} & set(table.columns):
            own = str(mdata.obs_names[row])
            inside &= table["gene_id"].astype(str).str.split(",").map(lambda ids, own=own: own in ids).astype(bool)
        if "sample" in table and sample is not None:
            # joined elements name all of theirs
            of = table["sample"].astype(object).fillna("").astype(str)
            inside &= of.map(lambda names: not names or sample in (names, *names.split(","))).astype(bool)
        found[name] = table[inside]
    return found


def _axes(axes: Sequence[Axes] | None, panels: list[_Panel]) -> list[Axes]:
    if axes is None:
        heights = [p.inches for p in panels]
        _, drawn = plt.subplots(
            len(panels),
            figsize=(_WIDTH, sum(heights) + 0.07 * len(panels) + _FOOT),
            height_ratios=heights,
            layout="constrained",
            squeeze=False,
        )
        drawn[0, 0].figure.get_layout_engine().set(hspace=0.0, h_pad=0.03)
        axes = list(drawn[:, 0])
    else:
        axes = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(axes) != len(panels):
        kinds = ", ".join(p.name or p.kind for p in panels)
        msg = f"axes holds {len(axes)} axes, but there are {len(panels)} panels ({kinds}): give one for each"
        raise InputError(msg)
    for ax in axes:
        _style.axes(ax, (0, 0))
    return axes


def _steps(start: int, size: float, n: int, view: tuple[int, int]) -> tuple[np.ndarray, slice]:
    """Edges of the positions in view, and which these are."""
    first = int(np.clip((view[0] - start) // size, 0, n))
    last = int(np.clip(-(-(view[1] - start) // size), 0, n))
    return start + np.arange(first, last + 1) * size, slice(first, last)


def _draw_track(
    ax: Axes, mdata: MuData, tracks: Tracks, row: int, name: str, color: str, view: tuple[int, int]
) -> None:
    at = int(tracks.var.index.get_loc(name))
    values = rows_of(tracks.bins, np.array([row]), np.array([at]))[0, 0].astype(np.float64)
    if tracks.window is None:
        msg = 'mdata["chromatin"] has no uns["window"], so its bins have no place: draw no tracks (tracks=[])'
        raise InputError(msg)
    places = places_of(mdata, tracks.window)
    values = along_genome(values[None], places.reverse[[row]])[0]
    size = (tracks.window["upstream"] + tracks.window["downstream"]) / len(values)
    edges, seen = _steps(int(places.start[row]), size, len(values), view)
    edges, values = _pooled(edges, values[seen])
    known = values[~np.isnan(values)]
    top, low = float(known.max(initial=0)), float(known.min(initial=0))
    if len(edges) > 1:
        ax.stairs(np.nan_to_num(values), edges, fill=True, color=color, linewidth=0)
    ax.set_ylim(low, (top or 1.0) * 1.08)
    several = tracks.var["sample"].nunique() > 1
    name_panel(ax, name if several else str(tracks.var["mark"].iloc[at]), color=color)
    ticks = [low, top] if top > low else [0.0]
    ax.set_yticks(ticks, [f"{v:.3g}" for v in ticks])


def _pooled(edges: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbouring bins where there are more than can be seen, as a browser draws them."""
    step = len(values) // _SEEN
    if step < 2:
        return edges, values
    starts = np.arange(0, len(values), step)
    known = ~np.isnan(values)
    n = np.add.reduceat(known, starts, dtype=np.int64)
    total = np.add.reduceat(np.where(known, values, 0), starts)
    return np.append(edges[starts], edges[-1]), np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


def _draw_mask(ax: Axes, mdata: MuData, row: int, name: str, scores: Any, view: tuple[int, int]) -> None:
    places = places_of(mdata, scores.window)
    values = _turned(scores.values, row, places)
    edges, seen = _steps(int(places.start[row]), scores.window["bin_size"], len(values), view)
    mean = np.nan_to_num(values[seen])
    if len(mean):
        ax.stairs(mean, edges, fill=True, color="0.15", alpha=0.3, linewidth=0)
        ax.stairs(mean, edges, color="0.15", linewidth=0.8, baseline=None)
    if scores.spread is not None and len(mean):
        around = np.nan_to_num(_turned(scores.spread, row, places)[seen])
        low, high = (np.append(v, v[-1:]) for v in (mean - around, mean + around))
        if mean.min() >= 0 and mean.max() <= 1:
            low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
        ax.fill_between(edges, low, high, step="post", color=_style.PALETTE[5], alpha=0.55, linewidth=0, zorder=0.8)
    least, most = float(np.nanmin(values, initial=0)), float(np.nanmax(values, initial=0))
    if least >= 0 and most <= 1:
        least, most = 0.0, 1.0
    ax.set_ylim(least, most + 0.06 * (most - least))
    ax.set_yticks([least, most], [f"{v:.3g}" for v in (least, most)])
    said = name.replace("_", " ")
    name_panel(ax, f"{said}\n(± sd)" if scores.spread is not None else said)


def _turned(array: Any, row: int, places: Places) -> np.ndarray:
    """Scores of one gene along the chromosome."""
    return along_genome(rows_of(array, np.array([row])), places.reverse[[row]])[0].astype(np.float64)


def _draw_intervals(ax: Axes, tables: dict[str, pd.DataFrame], view: tuple[int, int]) -> None:
    """Draw a row per table; a score between 0 and 1 darkens its interval."""
    least = (view[1] - view[0]) / 400
    for i, (name, table) in enumerate(tables.items()):
        name_panel(ax, name.replace("_", " "), y=1 - (i + 0.5) / len(tables))
        color = _style.PALETTE[(2, 3, 4, 7, 0)[i % 5]]
        score = pd.to_numeric(table["score"], errors="coerce") if "score" in table else pd.Series(1.0, table.index)
        shaded = bool(len(score)) and bool(score.between(0, 1).all())
        for (_, of), value in zip(table.iterrows(), score, strict=True):
            # a short one would vanish: drawn a pixel wide about its middle
            width = max(int(of["end"]) - int(of["start"]), least)
            middle = (int(of["start"]) + int(of["end"])) / 2
            alpha = 0.35 + 0.65 * float(value) if shaded else 1.0
            ax.broken_barh([(middle - width / 2, width)], (i - 0.32, 0.64), facecolors=color, alpha=alpha, linewidth=0)
    ax.set_ylim(len(tables) - 0.5, -0.5)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)


def _place_axis(ax: Axes, chrom: str, view: tuple[int, int]) -> None:
    span = view[1] - view[0]
    unit, by = ("Mb", 1e6) if span >= 2_000_000 else ("kb", 1e3)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x / by:,.10g}"))
    ax.set_xlabel(f"Position on {chrom} ({unit})")
