"""What each mark is worth, as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse.pl import _stored, _style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData

KINDS = ("without", "alone")


def ablation(
    table: pd.DataFrame | MuData,
    metric: str = "pearson",
    *,
    kind: str = "without",
    sample: str | None = None,
    key: str = "ablation",
    ax: Axes | None = None,
) -> Axes:
    """Draw what a model loses without each mark, or what it reaches with each alone.

    Parameters
    ----------
    table
        What :func:`genexp_scverse.tl.ablate_marks` returned, or the MuData in which it is stored.
    metric
        Column to draw.
    kind
        ``without`` draws the paired differences to all marks, the greatest loss on top: filled where the interval
        leaves out 0. ``alone`` draws the metric itself, the best mark on top, with a line for all marks.
    sample
        Sample to draw; needed when there are several.
    key
        Name of the table in the MuData.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes: a row per mark, with a point and a 95 % interval for each seed.

    Raises
    ------
    InputError
        When the table, the metric or the sample is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> import genexp_scverse as gx
    >>> table = pd.DataFrame(
    ...     {"kind": ["all", "without", "without"], "mark": ["", "H3K4me3", "H3K9me3"], "seed": 0, "sample": "K562",
    ...      "n": 500, "pearson": [0.8, 0.7, 0.8], "pearson_diff": [0.0, -0.1, 0.0]}
    ... )
    >>> ax = gx.pl.ablation(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['H3K4me3', 'H3K9me3']
    """
    frame = _stored.table(table, key, "gx.tl.ablate_marks", ["kind", "mark", "seed", "sample"])
    if kind not in KINDS:
        msg = f"kind={kind!r} is not known: choose one of {', '.join(KINDS)}"
        raise InputError(msg)
    column = f"{metric}_diff" if kind == "without" else metric
    _stored.table_metric(frame, column)
    frame, name = _stored.table_of_sample(frame, sample)
    whole = frame.loc[frame["kind"] == "all", metric]
    frame = frame[frame["kind"] == kind]
    means = frame.groupby("mark", sort=False)[column].mean().sort_values(ascending=kind == "without", kind="stable")
    seeds = list(dict.fromkeys(frame["seed"]))
    offsets = dict(zip(seeds, np.linspace(-0.1, 0.1, len(seeds)) * min(len(seeds) - 1, 3), strict=True))

    ax = _style.axes(ax, (5.2, 1.2 + 0.4 * len(means)))
    color = _style.PALETTE[0]
    for row in frame.to_dict("records"):
        y = list(means.index).index(row["mark"]) + offsets[row["seed"]]
        low, high = row.get(f"{column}_low", np.nan), row.get(f"{column}_high", np.nan)
        if np.isfinite(low) and np.isfinite(high):
            ax.hlines(y, low, high, color=color, linewidth=1.6, alpha=0.75)
        clear = kind == "alone" or low > 0 or high < 0
        ax.plot(row[column], y, "o", color=color, markersize=5, markerfacecolor=color if clear else "white")
    ax.set_yticks(range(len(means)), list(means.index))
    ax.set_ylim(len(means) - 0.4, -0.6)
    line = 0.0 if kind == "without" else float(whole.mean())
    ax.axvline(line, color=_style.GREY, linestyle=":", linewidth=1.2, zorder=0)
    ax.grid(axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    words, interval = _style.metric_words(metric), ", 95 % interval" if f"{column}_low" in frame else ""
    if kind == "without":
        ax.set_xlabel(f"Difference in {words} without the mark{interval}")
    else:
        ax.set_xlabel(f"{words} with the mark alone{interval}\n(dotted: all marks, {line:.3f})")
    n = f", n = {int(frame['n'].max()):,}" if "n" in frame else ""
    ax.set_title(f"{name}{n}", fontsize="medium")
    return ax
