"""Models side by side: a metric with its interval, one row per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pl import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WORDS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "r2": "R²",
    "mse": "Mean squared error",
    "mae": "Mean absolute error",
    "brier": "Brier score",
}
_LOWER_IS_BETTER = ("mse", "mae", "rmse", "brier", "loss", "nll", "log_loss")


def comparison(table: pd.DataFrame, metric: str = "auroc", *, ax: Axes | None = None) -> Axes:
    """Draw a metric of several models as points with 95 % intervals, the best on top.

    Parameters
    ----------
    table
        A row per model, named by the index or by a column ``model``, with the column `metric` and, for
        intervals, ``<metric>_low`` and ``<metric>_high``. With a column ``sample`` there is a row per model
        and sample: colours tell the samples apart, and models are sorted by their mean over samples.
    metric
        Column to draw. Errors (mse, mae, brier, loss) are sorted with the lowest on top.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes: a row per model, the value printed at the right end of each interval.

    Raises
    ------
    InputError
        When the metric is not a numeric column or holds no value, a sample or model has none, or a model
        occurs twice in a sample.

    Examples
    --------
    >>> import pandas as pd
    >>> import genexp_scverse as gx
    >>> table = pd.DataFrame(
    ...     {"auroc": [0.90, 0.95], "auroc_low": [0.88, 0.94], "auroc_high": [0.92, 0.96]},
    ...     index=["linear", "deepchrome"],
    ... )
    >>> ax = gx.pl.comparison(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['deepchrome', 'linear']
    """
    rows = _rows(table, metric)
    lower = metric in _LOWER_IS_BETTER
    means = rows.groupby("model", sort=False)["value"].mean().sort_values(ascending=lower, kind="stable")
    place = {model: i for i, model in enumerate(means.index)}
    samples = list(dict.fromkeys(rows["sample"]))
    color = dict(zip(samples, _style.colors(len(samples)), strict=True))
    spread = 0 if len(samples) == 1 else min(0.7, 0.24 * (len(samples) - 1))
    offset = dict(zip(samples, np.linspace(-spread / 2, spread / 2, len(samples)), strict=True))

    ax = _style.axes(ax, (5.6, 1.2 + max(0.36, 0.19 * len(samples)) * len(place)))
    for row in rows.itertuples():
        y = place[row.model] + offset[row.sample]
        if np.isfinite(row.low) and np.isfinite(row.high):
            ax.hlines(y, row.low, row.high, color=color[row.sample], linewidth=1.6, alpha=0.75)
        ax.plot(row.value, y, "o", color=color[row.sample], markersize=5)
        end = row.high if np.isfinite(row.high) else row.value
        ax.annotate(
            f"{row.value:.3f}",
            (max(end, row.value), y),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small" if len(samples) > 1 else _style.SMALL,
            color="0.25",
        )
    ax.set_yticks(range(len(place)), list(place))
    ax.set_ylim(len(place) - 0.4, -0.6)
    ends = rows[["value", "low", "high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    span = (high - low) or 0.1 * abs(high) or 1.0
    # The printed values need room at the right.
    ax.set_xlim(low - 0.06 * span, high + 0.24 * span)
    ax.grid(axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    interval = ", 95 % interval" if rows[["low", "high"]].notna().all(axis=1).any() else ""
    direction = " (lower is better)" if lower else ""
    ax.set_xlabel(f"{_WORDS.get(metric, metric)}{interval}{direction}")
    if len(samples) > 1:
        handles = [_style.proxy(str(s), color=color[s], marker="o", linewidth=1.6, markersize=5) for s in samples]
        ax.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
            ncols=min(4, len(samples)),
            fontsize=_style.SMALL,
            frameon=False,
        )
    return ax


def _rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Columns model, sample, value, low, high."""
    if "model" not in table:
        levels = list(table.index.names)
        if "model" not in levels:
            levels = ["model" if i == 0 else name for i, name in enumerate(levels)]
        table = table.rename_axis(index=levels)
    table = table.reset_index(drop="model" in table and "sample" not in table.index.names)
    if metric not in table or not pd.api.types.is_numeric_dtype(table[metric]):
        numeric = [
            str(c)
            for c in table.select_dtypes("number")
            if not str(c).endswith(("_low", "_high")) and c not in ("n", "index")
        ]
        msg = f"the table has no numeric column {metric!r}: choose metric= from {some(numeric, 12)}"
        raise InputError(msg)
    missing = pd.Series(np.nan, index=table.index)
    rows = pd.DataFrame(
        {
            "model": table["model"].astype(str),
            "sample": table["sample"].astype(str) if "sample" in table else "",
            "value": table[metric],
            "low": table.get(f"{metric}_low", missing),
            "high": table.get(f"{metric}_high", missing),
        }
    )
    twice = rows[rows.duplicated(["model", "sample"])]
    if len(twice):
        msg = (
            f"model {some(twice['model'])} occurs more than once in a sample: keep one row for each, "
            'and name the samples in a column "sample"'
        )
        raise InputError(msg)
    known = rows["value"].notna()
    if not known.any():
        msg = f"column {metric!r} of the table holds no value: choose another metric="
        raise InputError(msg)
    if not known.all():
        logger.warning("%d of %d rows have no %s and are left out", int((~known).sum()), len(rows), metric)
    return rows[known]
