"""How training went: losses and validation metrics by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse.pl import _style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_METRICS = ("auroc", "auprc", "pearson", "spearman", "r2", "accuracy", "score")
_SCORE = "valid_score"


def history(model_or_history: Any, *, keys: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw losses (left axis) and metrics (right axis) by epoch.

    The best epoch, where ``valid_score`` is largest, is marked by a vertical line: its weights are what the
    trained model keeps. Where there are stages, as in a column ``stage``, they are named and set apart, and the best
    epoch is that of the last one. Values of training genes are dashed, those of validation genes solid.

    Parameters
    ----------
    model_or_history
        A trained model, or its ``history``: a data frame indexed by epoch with columns such as train_loss,
        valid_loss, valid_auroc, valid_pearson and valid_score.
    keys
        Columns to draw; without it all losses and all known metrics (valid_score only where there is
        nothing else).
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The left axes; metrics lie on a twin of it, or on itself where no loss is drawn.

    Raises
    ------
    InputError
        When there is no history yet, or a key is not one of its columns.

    Examples
    --------
    >>> import pandas as pd
    >>> import genexp_scverse as gx
    >>> frame = pd.DataFrame(
    ...     {"train_loss": [0.7, 0.5, 0.4], "valid_auroc": [0.7, 0.9, 0.8], "valid_score": [0.7, 0.9, 0.8]}
    ... )
    >>> ax = gx.pl.history(frame)
    >>> [line.get_label() for line in ax.get_lines()]
    ['train loss', 'best epoch 1']
    """
    frame = _frame(model_or_history)
    losses, metrics = _columns(frame, keys)
    ax = _style.axes(ax, (6.0, 4.0))
    color = _colors(losses, metrics)
    axis = {"loss": ax, "metric": ax}
    if losses and metrics:
        axis["metric"] = twin = ax.twinx()
        twin.spines[["top", "left"]].set_visible(False)
        twin.tick_params(labelsize=_style.SMALL)
    handles = []
    stages = _stages(frame)
    for key in losses + metrics:
        style: dict[str, Any] = {
            "linestyle": (0, (4, 2)) if key.startswith("train") else "-",
            "color": color[key],
            "marker": "o" if frame[key].notna().sum() < 15 else None,
            "markersize": 3,
            "linewidth": 1.6,
            "label": _words(key),
        }
        target = axis["loss" if key in losses else "metric"]
        # what one stage minimises has no line to what the next does
        for _, part in stages:
            values = part[key].dropna()
            if len(values):
                (line,) = target.plot(values.index, values, **style)
        handles.append(line)
    last = pd.concat([part for stage, part in stages if stage == stages[-1][0]])
    best = last[_SCORE].idxmax() if _SCORE in last and last[_SCORE].notna().any() else None
    best_style: dict[str, Any] = {"color": _style.GREY, "linestyle": ":", "linewidth": 1.2}
    if best is not None:
        handles.append(_style.proxy(f"best epoch {best}", **best_style))
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    ax.set_xlabel("Epoch")
    ax.set_ylabel("Loss" if losses else _metric_label(metrics))
    if losses and metrics:
        axis["metric"].set_ylabel(_metric_label(metrics))
    room = _style.legend_above(ax, handles, others=[axis["metric"]] if losses and metrics else [])
    for i, (stage, part) in enumerate(stages if len(stages) > 1 else []):
        ax.text(part.index[0], 0.01, stage, transform=ax.get_xaxis_transform(), color=_style.GREY, fontsize="x-small")
        if i < len(stages) - 1:
            ax.axvline(part.index[-1] + 0.5, ymax=1 - room, color=_style.GREY, linewidth=0.8, zorder=1)
    if best is not None:
        ax.axvline(float(best), ymax=1 - room, label=f"best epoch {best}", zorder=1, **best_style)
    return ax


def _frame(source: Any) -> pd.DataFrame:
    frame = source if isinstance(source, pd.DataFrame) else getattr(source, "history", None)
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        what = "an empty history" if isinstance(frame, pd.DataFrame) else f"{type(source).__name__} without a history"
        msg = f"got {what}: give a trained model (model.train()) or its .history, a data frame by epoch"
        raise InputError(msg)
    return frame


def _stages(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Give the epochs of every stage of the training in order; all of them where there are no stages."""
    if "stage" not in frame:
        return [("", frame)]
    run = (frame["stage"] != frame["stage"].shift()).cumsum()
    return [(str(part["stage"].iloc[0]), part) for _, part in frame.groupby(run)]


def _columns(frame: pd.DataFrame, keys: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Columns for the left and for the right axis."""
    there = [str(c) for c in frame.columns]
    if keys is None:
        losses = [c for c in there if "loss" in c]
        metrics = [c for c in there if c not in losses and _kind(c) in _METRICS]
        if losses or metrics != [_SCORE]:
            metrics = [c for c in metrics if c != _SCORE]
        drawn = [c for c in losses + metrics if frame[c].notna().any()]
        if not drawn:
            msg = f"the history has no loss and no known metric: choose with keys= from {some(there, 12)}"
            raise InputError(msg)
    else:
        drawn = [keys] if isinstance(keys, str) else list(keys)
        if missing := [k for k in drawn if k not in there]:
            msg = f"the history has no column {some(missing)}: its columns are {some(there, 12)}"
            raise InputError(msg)
        if not drawn:
            msg = f"keys is empty: name some of {some(there, 12)}, or leave it out"
            raise InputError(msg)
    return [c for c in drawn if "loss" in c], [c for c in drawn if "loss" not in c]


def _kind(key: str) -> str:
    return key.split("_", 1)[-1]


def _colors(losses: list[str], metrics: list[str]) -> dict[str, str]:
    """Losses dark, so that the two axes are told apart; metrics in colours, the same for train and valid."""
    kinds = list(dict.fromkeys(_kind(k) for k in metrics))
    of_kind = dict(zip(kinds, _style.colors(len(kinds)), strict=True))
    return dict.fromkeys(losses, "0.25") | {k: of_kind[_kind(k)] for k in metrics}


def _words(key: str) -> str:
    part, _, kind = key.partition("_")
    known = {"auroc": "AUROC", "auprc": "AUPRC", "pearson": "Pearson", "spearman": "Spearman", "r2": "R²"}
    return f"{part} {known.get(kind, kind.replace('_', ' '))}" if kind else key


def _metric_label(metrics: list[str]) -> str:
    kinds = {_words(k).split(" ", 1)[-1] for k in metrics}
    return kinds.pop() if len(kinds) == 1 else "Metric"
