"""Figures against the number of training genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from genexp_scverse.pl import _stored, _style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from mudata import MuData


def learning_curve(
    table: pd.DataFrame | MuData,
    metric: str = "pearson",
    *,
    sample: str | None = None,
    key: str = "learning_curve",
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric against the number of training genes, a line for each model.

    The line is the mean over seeds, the band goes from the lowest to the highest of them. The axis of numbers is
    logarithmic.

    Parameters
    ----------
    table
        What :func:`genexp_scverse.tl.learning_curve` returned, or the MuData in which it is stored.
    metric
        Column to draw.
    sample
        Sample to draw; needed when there are several.
    key
        Name of the table in the MuData.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes.

    Raises
    ------
    InputError
        When the table, the metric or the sample is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> import genexp_scverse as gx
    >>> table = pd.DataFrame(
    ...     {"model": ["linear"] * 4, "n_train": [100, 100, 1000, 1000], "seed": [0, 1, 0, 1], "sample": "K562",
    ...      "n": 500, "pearson": [0.6, 0.7, 0.8, 0.8]}
    ... )
    >>> ax = gx.pl.learning_curve(table)
    >>> ax.get_lines()[0].get_ydata().round(2).tolist()
    [0.65, 0.8]
    """
    frame = _stored.table(table, key, "gx.tl.learning_curve", ["model", "n_train", "seed", "sample"])
    _stored.table_metric(frame, metric)
    frame, name = _stored.table_of_sample(frame, sample)
    frame = frame[frame[metric].notna()]
    models = list(dict.fromkeys(frame["model"].astype(str)))
    ax = _style.axes(ax, (6.0, 4.2))
    handles = []
    for model, color in zip(models, _style.colors(len(models)), strict=True):
        of = frame[frame["model"].astype(str) == model].groupby("n_train")[metric].agg(["mean", "min", "max"])
        (line,) = ax.plot(of.index, of["mean"], color=color, marker="o", markersize=4, linewidth=1.8, label=model)
        ax.fill_between(of.index, of["min"], of["max"], color=color, alpha=0.15, linewidth=0)
        handles.append(line)
    sizes = np.sort(frame["n_train"].unique())
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel("Training genes with expression")
    seeds = frame["seed"].nunique()
    ax.set_ylabel(_style.metric_words(metric) + (f", mean and range of {seeds} seeds" if seeds > 1 else ""))
    if "n" in frame:
        ax.set_title(f"{name}, n = {int(frame['n'].max()):,} other genes", fontsize="medium")
    _style.legend_above(ax, handles)
    return ax
