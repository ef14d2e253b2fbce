"""The common look: colours, axes, legends and the axis of distances to the TSS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's colours for colour-blind readers (https://jfly.uni-koeln.de/color/), the pale yellow
replaced by a brown that shows as a line on white."""

GREY = "#767676"
SMALL = "small"

SCALE_WORDS = {
    "counts": "read counts",
    "coverage": "coverage",
    "fold_change": "fold change",
    "pvalue": "−log10 p",
    "log": "log signal",
    "log_ratio": "log ratio",
}


METRIC_WORDS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "r2": "R²",
    "mse": "Mean squared error",
    "mae": "Mean absolute error",
    "brier": "Brier score",
}


def metric_words(metric: str) -> str:
    """Name a metric as a figure does."""
    return METRIC_WORDS.get(metric, metric)


def axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """Return `ax`, or the axes of a new figure; the frame is opened on the top and on the right."""
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=SMALL)
    return ax


def colors(n: int) -> list[str]:
    """`n` colours: the palette while it lasts, beyond it a perceptually even ramp."""
    if n <= len(PALETTE):
        return list(PALETTE[:n])
    return [mpl.colors.to_hex(c) for c in mpl.colormaps["viridis"](np.linspace(0, 0.95, n))]


def where(sample: str | None, split: str | None, n: int | None = None) -> str:
    """Say in a title which genes are drawn: ``K562, test genes, n = 1,556``."""
    parts = [sample, "all genes" if split is None else f"{split} genes", None if n is None else f"n = {n:,}"]
    return ", ".join(p for p in parts if p)


def proxy(label: str, **style: Any) -> Line2D:
    """Make a legend entry that stands for no single line."""
    return Line2D([], [], label=label, **style)


def legend_above(ax: Axes, handles: Sequence[Artist], *, others: Sequence[Axes] = ()) -> float:
    """Put the legend along the top inside the axes and make room for it, so that it covers no curve.

    `others` are twin axes: they get the same room, and the legend lies on the last of them.
    Returns the share of the height that the legend takes.
    """
    owner = others[-1] if others else ax
    width, height = _inches(ax)
    dpi = owner.figure.dpi
    room = 0.0
    # As flat as the width allows; smaller letters only where it would take half of the axes.
    for fontsize in (SMALL, "x-small", "xx-small"):
        for ncols in range(min(4, len(handles)), 0, -1):
            legend = owner.legend(
                handles=handles,
                loc="upper center",
                ncols=ncols,
                fontsize=fontsize,
                frameon=False,
                columnspacing=1.2,
                handlelength=2.2,
                borderaxespad=0.1,
            )
            size = legend.get_window_extent()
            if size.width / dpi < width:
                break
        room = (size.height / dpi + 0.05) / height
        if room < 0.45:
            break
    room = min(room, 0.6)
    for one in (ax, *others):
        low, high = one.get_ylim()
        ticks = [tick for tick in one.get_yticks() if low <= tick <= high]
        one.set_ylim(low, low + (high - low) / (1 - room))
        one.set_yticks(ticks)
    return room


def colorbar(ax: Axes, image: Any, label: str, **options: Any) -> None:
    """Draw a slim colour bar beside `ax`."""
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.03, aspect=25, **options)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize="x-small")
    bar.outline.set_visible(False)


def edges_kb(uns: Mapping, n_bins: int) -> np.ndarray | None:
    """Edges of the bins in kb from the TSS (n_bins + 1), or None where the bins have no window."""
    window = uns.get("window")
    if not window or not {"upstream", "downstream"} <= set(window):
        return None
    upstream, downstream = float(window["upstream"]), float(window["downstream"])
    size = float(window.get("bin_size") or 0)
    # Pooled bins (fewer than the window says) still cover the whole window.
    if size <= 0 or abs(size * n_bins - upstream - downstream) >= size:
        size = (upstream + downstream) / n_bins
    return (np.arange(n_bins + 1) * size - upstream) / 1000


def distance_label(uns: Mapping) -> str:
    """Label of the axis of distances; it says when genes of both strands are read in one direction."""
    stranded = bool(uns["window"].get("stranded", True))
    return "Distance to TSS (kb)" if stranded else "Distance to TSS (kb, along the + strand)"


def label_blocks(ax: Axes, uns: Mapping, n_classes: int, n_bins: int, step: int) -> str:
    """Set ticks at the ends and at the TSS of windows drawn side by side, `step` apart; return what the axis is."""
    edges = edges_kb(uns, n_bins)
    if edges is None:
        at = np.array([0, n_bins - 1])
        texts = ["0", str(n_bins - 1)]
        names = np.asarray(uns.get("bin_names", [])).tolist()
        if len(names) == n_bins:
            texts = [str(names[0]), str(names[-1])]
        label = "Bin"
    else:
        size = edges[1] - edges[0]
        at = np.array([-0.5, -edges[0] / size - 0.5, n_bins - 0.5])
        texts = [f"{edges[0]:g}".replace("-", "−"), "TSS", f"{edges[-1]:+g}"]
        label = distance_label(uns)
    places = [float(a) + c * step for c in range(n_classes) for a in at]
    ax.set_xticks(places, texts * n_classes, fontsize=SMALL)
    # The ends of neighbouring blocks lie close: their labels point inwards.
    drawn = ax.get_xticklabels()
    for first, last in zip(drawn[:: len(at)], drawn[len(at) - 1 :: len(at)], strict=True):
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    return label


def label_bins(ax: Axes, uns: Mapping, n_bins: int) -> None:
    """Label an x axis of bin indices by ``uns["bin_names"]`` where they are stored, else by number."""
    names = [str(n) for n in np.asarray(uns.get("bin_names", [])).tolist()]
    if len(names) != n_bins:
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        ax.set_xlabel("Bin")
        return
    width, _ = _inches(ax)
    longest = max(len(n) for n in names)
    step = max(1, int(np.ceil(n_bins * (longest + 1) * 0.085 / width)))
    ax.set_xticks(range(0, n_bins, step), names[::step])
    ax.set_xlabel("Bin")


def _inches(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes, as far as they are known before the layout."""
    size = ax.get_position()
    width, height = ax.figure.get_figwidth(), ax.figure.get_figheight()  # type: ignore[union-attr]
    # Axis labels and a layout engine take their part.
    return max(0.92 * size.width * width, 0.5), max(0.92 * size.height * height, 0.5)
