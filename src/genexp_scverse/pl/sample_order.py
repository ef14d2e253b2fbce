"""Many samples side by side: a metric of every sample and model, the best sample first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse.pl import _style
from genexp_scverse.pl.compare import _rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def per_sample(
    table: pd.DataFrame,
    metric: str = "auroc",
    *,
    references: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric of many samples, sorted by its mean over the models, a colour per model.

    Parameters
    ----------
    table
        A row per model and sample, columns ``model``, ``sample``, `metric` and, for intervals,
        ``<metric>_low`` and ``<metric>_high``.
    metric
        Column to draw.
    references
        Name -> value, such as what was published: drawn as horizontal lines.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes: samples from left to right, from the highest mean to the lowest; intervals as thin lines.

    Raises
    ------
    InputError
        As for :func:`genexp_scverse.pl.comparison`; or the table has no samples.

    Examples
    --------
    >>> import pandas as pd
    >>> import genexp_scverse as gx
    >>> table = pd.DataFrame(
    ...     {"model": "deepchrome", "sample": ["E003", "E123"], "auroc": [0.80, 0.92]},
    ... )
    >>> ax = gx.pl.per_sample(table, references={"published mean": 0.80})
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['E123', 'E003']
    """
    if "sample" not in table and "sample" not in table.index.names:
        msg = f"the table has no column 'sample' (it has {some(table.columns, 8)}): pass a row per model and sample"
        raise InputError(msg)
    rows = _rows(table, metric)
    order = rows.groupby("sample", sort=False)["value"].mean().sort_values(ascending=False, kind="stable").index
    place = {sample: i for i, sample in enumerate(order)}
    models = list(dict.fromkeys(rows["model"]))
    ax = _style.axes(ax, (max(5.6, 1.6 + 0.19 * len(order)), 3.4))
    spread = 0.5 * (1 - 1 / len(models))
    offsets = np.linspace(-spread / 2, spread / 2, len(models))
    handles = []
    for model, color, offset in zip(models, _style.colors(len(models)), offsets, strict=True):
        mine = rows[rows["model"] == model]
        x = np.array([place[s] for s in mine["sample"]]) + offset
        ax.vlines(x, mine["low"], mine["high"], color=color, linewidth=1, alpha=0.5)
        ax.plot(x, mine["value"], "o", color=color, markersize=3.5)
        handles.append(_style.proxy(model, color=color, marker="o", linestyle="none", markersize=3.5))
    for i, (name, value) in enumerate((references or {}).items()):
        style = ("--", ":", "-.")[i % 3]
        ax.axhline(value, color=_style.GREY, linewidth=1, linestyle=style, zorder=0)
        handles.append(_style.proxy(f"{name} {value:.3f}", color=_style.GREY, linewidth=1, linestyle=style))
    ax.set_xticks(range(len(order)), list(order), rotation=90, fontsize="x-small")
    ax.set_xlim(-0.7, len(order) - 0.3)
    ax.set_ylabel(_style.metric_words(metric))
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        fontsize=_style.SMALL,
        frameon=False,
    )
    return ax
