"""Whether intervals hold what they state, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse.pl import _stored, _style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData

SHIFT = 0.004
"""How far points of different samples stand apart along the axis of stated coverage."""


def interval_coverage(table: pd.DataFrame | MuData, *, key: str = "interval_coverage", ax: Axes | None = None) -> Axes:
    """Draw the share of genes in their intervals against the coverage that was stated.

    Parameters
    ----------
    table
        What :func:`genexp_scverse.tl.interval_coverage` returned, or the MuData in which it is stored.
    key
        Name of the table in the MuData.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes: a line per sample with 95 % intervals of the share, and the diagonal where both agree. The legend gives
    the mean width of the widest intervals.

    Raises
    ------
    InputError
        When the table is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> import genexp_scverse as gx
    >>> table = pd.DataFrame(
    ...     {"sample": "K562", "coverage": [0.5, 0.9], "n": 100, "observed": [0.48, 0.91],
    ...      "observed_low": [0.38, 0.84], "observed_high": [0.58, 0.95], "width": [0.7, 1.6]}
    ... )
    >>> ax = gx.pl.interval_coverage(table)
    >>> ax.get_legend().get_texts()[0].get_text()
    'K562  width 1.60 at 90 %'
    """
    needed = ["sample", "coverage", "n", "observed", "observed_low", "observed_high", "width"]
    frame = _stored.table(table, key, "gx.tl.interval_coverage", needed)
    samples = list(dict.fromkeys(frame["sample"].astype(str)))
    ax = _style.axes(ax, (4.6, 4.6))
    low = float(min(frame["coverage"].min(), frame["observed_low"].min()))
    ends = (max(0.0, low - 0.05), 1.02)
    ax.plot(ends, ends, color=_style.GREY, linestyle=":", linewidth=1, zorder=1)
    handles = []
    for i, (sample, color) in enumerate(zip(samples, _style.colors(len(samples)), strict=True)):
        of = frame[frame["sample"].astype(str) == sample].sort_values("coverage")
        x = of["coverage"].to_numpy() + SHIFT * (i - (len(samples) - 1) / 2)
        ax.vlines(x, of["observed_low"], of["observed_high"], color=color, linewidth=1, alpha=0.6)
        last = of.iloc[-1]
        label = f"{sample}  width {last['width']:.2f} at {100 * last['coverage']:g} %"
        handles += ax.plot(x, of["observed"], color=color, marker="o", markersize=4, linewidth=1.8, label=label)
    ax.set(xlim=ends, ylim=ends, aspect="equal", xlabel="Stated coverage", ylabel="Share of genes in their interval")
    sizes = np.unique(frame["n"])
    ax.set_title(f"n = {sizes[0]:,}" if len(sizes) == 1 else f"n = {sizes[0]:,}–{sizes[-1]:,}", fontsize="medium")
    ax.legend(handles=handles, loc="upper left", fontsize=_style.SMALL, framealpha=0.85, edgecolor="none")
    return ax
