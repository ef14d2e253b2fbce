"""Models side by side: a metric with its interval, one row per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pl import _stored, _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_DIFF = "_diff"
_LOWER_IS_BETTER = ("mse", "mae", "rmse", "brier", "loss", "nll", "log_loss")


def comparison(
    table: pd.DataFrame | MuData, metric: str = "auroc", *, key: str = "comparison", ax: Axes | None = None
) -> Axes:
    """Draw a metric of several models as points with 95 % intervals, the best on top.

    Parameters
    ----------
    table
        A row per model, named by the index or by a column ``model``, with the column `metric` and, for
        intervals, ``<metric>_low`` and ``<metric>_high``. With a column ``sample`` there is a row per model
        and sample: colours tell the samples apart, and models are sorted by their mean over samples. Or a MuData
        in which :func:`genexp_scverse.tl.compare` has left such a table.
    metric
        Column to draw. Errors (mse, mae, brier, loss) are sorted with the lowest on top. ``<metric>_diff`` draws
        the differences to the reference, which stands at 0: filled where the interval leaves out 0.
    key
        Name of the table in the MuData.
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
    table = _stored.table(table, key, "gx.tl.compare", [])
    difference = metric.endswith(_DIFF)
    rows = _rows(_with_reference(table, metric) if difference else table, metric)
    chief = str(table["reference"].iloc[0]) if difference and "reference" in table else None
    lower = metric.removesuffix(_DIFF) in _LOWER_IS_BETTER
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
        unclear = difference and not (row.low > 0 or row.high < 0)
        own = color[row.sample]
        ax.plot(row.value, y, "o", color=own, markersize=5, markerfacecolor="white" if unclear else own)
        end = row.high if np.isfinite(row.high) else row.value
        ax.annotate(
            "reference" if row.model == chief else _number(row.value, signed=difference),
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
    if difference:
        ax.axvline(0, color=_style.GREY, linestyle=":", linewidth=1, zorder=0)
        to = f"to {table['reference'].iloc[0]}" if "reference" in table else "to the reference"
        ax.set_xlabel(f"Difference in {_style.metric_words(metric.removesuffix(_DIFF))}\n{to}{interval}{direction}")
    else:
        ax.set_xlabel(f"{_style.metric_words(metric)}{interval}{direction}")
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


def _number(value: float, *, signed: bool) -> str:
    rounded = round(value, 3) + 0.0  # no sign before a zero
    return (f"{rounded:+.3f}" if signed and rounded else f"{rounded:.3f}").replace("-", "−")


def _with_reference(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Set the reference itself, which differs from nothing, to 0."""
    if metric not in table or "reference" not in table:
        return table
    level = "model" if "model" in table.index.names else 0
    model = table["model"] if "model" in table else table.index.get_level_values(level).to_series(index=table.index)
    own = (model.astype(str) == table["reference"].astype(str)).to_numpy()
    ends = [c for c in (metric, f"{metric}_low", f"{metric}_high") if c in table]
    table = table.copy()
    table.loc[own, ends] = 0.0
    return table


def _rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Columns model, sample, value, low, high."""
    if "model" not in table:
        levels = list(table.index.names)
        if "model" not in levels:
            levels = ["model" if i == 0 else name for i, name in enumerate(levels)]
        table = table.rename_axis(index=levels)
    table = table.reset_index(drop="model" in table and "sample" not in table.index.names)
    _stored.table_metric(table.drop(columns=["n", "index"], errors="ignore"), metric)
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
    if not known.all():
        logger.warning("%d of %d rows have no %s and are left out", int((~known).sum()), len(rows), metric)
    return rows[known]
