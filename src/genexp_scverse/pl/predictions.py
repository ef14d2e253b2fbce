"""Predicted probabilities of high expression against labels: ROC, precision and recall, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import binomtest, rankdata
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from genexp_scverse._errors import InputError, some
from genexp_scverse.pl import _stored, _style
from genexp_scverse.schema import LABEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from mudata import MuData


def roc(
    mdata: MuData,
    predictions: str | Sequence[str],
    *,
    sample: str | None = None,
    split: str | None = "test",
    ax: Axes | None = None,
) -> Axes:
    """Draw ROC curves of the predicted probability of high expression.

    Reads ``mdata["rna"].layers["<prediction>_prob"]`` against ``layers["label"]``; genes without a label are
    left out. The legend gives the area under each curve.

    Parameters
    ----------
    mdata
        Gene-centric MuData with labels and predictions.
    predictions
        Name of a stored prediction, or several to compare.
    sample
        Sample to draw. With several samples and one prediction, None draws a curve for each sample that has
        predictions and labels of both classes, and says which are left out; above eight samples the curves are grey
        and the legend gives the median and the range of the areas.
    split
        Genes to draw: ``train``, ``valid``, ``test``, or None for all.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes.

    Raises
    ------
    InputError
        When the prediction, the labels, the sample or the split is not there, when several predictions meet
        several samples and none is chosen, or when all genes are of one class.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(
    ...     np.ones((4, 1, 2)), genes=["a", "b", "c", "d"], marks=["H3K4me3"], labels=[0, 0, 1, 1]
    ... )
    >>> mdata["rna"].layers["ridge_prob"] = np.array([[0.1], [0.6], [0.4], [0.9]])
    >>> ax = gx.pl.roc(mdata, "ridge", split=None)
    >>> ax.get_legend().get_texts()[0].get_text()
    'ridge  AUROC 0.750'
    """
    lines = _lines(mdata, predictions, sample, split)
    ax = _style.axes(ax, (4.4, 4.4))
    ax.plot([0, 1], [0, 1], color=_style.GREY, linestyle=":", linewidth=1, zorder=1)
    for line in lines:
        fpr, tpr, _ = roc_curve(line.label, line.prob)
        ax.plot(fpr, tpr, label=line.name, **line.style)
    _unit_square(ax, "False positive rate", "True positive rate")
    _title(ax, lines, split)
    _score_legend(ax, lines, "AUROC", [roc_auc_score(x.label, x.prob) for x in lines], "lower right")
    return ax


def precision_recall(
    mdata: MuData,
    predictions: str | Sequence[str],
    *,
    sample: str | None = None,
    split: str | None = "test",
    ax: Axes | None = None,
) -> Axes:
    """Draw precision against recall of the predicted probability of high expression.

    Reads ``mdata["rna"].layers["<prediction>_prob"]`` against ``layers["label"]``; genes without a label are
    left out. The legend gives the average precision (AP) of each curve. A dotted line marks the prevalence,
    the share of high genes, which is the precision of guessing.

    Parameters
    ----------
    mdata
        Gene-centric MuData with labels and predictions.
    predictions
        Name of a stored prediction, or several to compare.
    sample
        Sample to draw; as in :func:`roc`, None with several samples draws a curve for each.
    split
        Genes to draw: ``train``, ``valid``, ``test``, or None for all.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes.

    Raises
    ------
    InputError
        As in :func:`roc`.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(
    ...     np.ones((4, 1, 2)), genes=["a", "b", "c", "d"], marks=["H3K4me3"], labels=[0, 0, 1, 1]
    ... )
    >>> mdata["rna"].layers["ridge_prob"] = np.array([[0.1], [0.6], [0.4], [0.9]])
    >>> ax = gx.pl.precision_recall(mdata, "ridge", split=None)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['ridge  AP 0.833', 'prevalence 0.500']
    """
    lines = _lines(mdata, predictions, sample, split)
    ax = _style.axes(ax, (4.4, 4.4))
    shares = [float(line.label.mean()) for line in lines]
    common = len({(len(line.label), share) for line, share in zip(lines, shares, strict=True)}) == 1
    for line, share in zip(lines, shares, strict=True):
        precision, recall, _ = precision_recall_curve(line.label, line.prob)
        ax.plot(recall, precision, label=line.name, drawstyle="steps-post", **line.style)
        if not common:
            ax.axhline(share, color=line.style["color"], linestyle=":", linewidth=1, zorder=1)
    if common:
        ax.axhline(shares[0], color=_style.GREY, linestyle=":", linewidth=1, zorder=1)
    note = f"prevalence {shares[0]:.3f}" if common else f"prevalence {min(shares):.3f}–{max(shares):.3f}"
    _unit_square(ax, "Recall", "Precision")
    _title(ax, lines, split)
    values = [average_precision_score(x.label, x.prob) for x in lines]
    _score_legend(ax, lines, "AP", values, "lower left", note=note)
    return ax


def calibration(
    mdata: MuData,
    predictions: str | Sequence[str],
    *,
    sample: str | None = None,
    split: str | None = "test",
    n_bins: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw how far predicted probabilities are met: a reliability diagram.

    Genes are binned by quantiles of the predicted probability (equal probabilities stay together, so there
    may be fewer bins). Each point is the mean prediction of a bin against the observed fraction of high
    genes, with the 95 % Wilson interval of that fraction. The legend gives the Brier score, the mean squared
    difference of probability and label.

    Parameters
    ----------
    mdata
        Gene-centric MuData with labels and predictions.
    predictions
        Name of a stored prediction, or several to compare.
    sample
        Sample to draw; as in :func:`roc`, None with several samples draws a curve for each.
    split
        Genes to draw: ``train``, ``valid``, ``test``, or None for all.
    n_bins
        Number of quantile bins.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes.

    Raises
    ------
    InputError
        As in :func:`roc`, and when predictions lie outside 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(
    ...     np.ones((4, 1, 2)), genes=["a", "b", "c", "d"], marks=["H3K4me3"], labels=[0, 0, 1, 1]
    ... )
    >>> mdata["rna"].layers["ridge_prob"] = np.array([[0.2], [0.2], [0.8], [0.8]])
    >>> ax = gx.pl.calibration(mdata, "ridge", split=None, n_bins=2)
    >>> ax.get_legend().get_texts()[0].get_text()
    'ridge  Brier 0.040'
    """
    if n_bins < 1:
        msg = f"n_bins is {n_bins}: give at least 1"
        raise InputError(msg)
    lines = _lines(mdata, predictions, sample, split)
    for line in lines:
        if line.prob.min() < 0 or line.prob.max() > 1:
            msg = (
                f"prediction {line.prediction!r} runs from {line.prob.min():.3g} to {line.prob.max():.3g}: "
                "calibration needs probabilities, values from 0 to 1 (gx.pl.roc takes any score)"
            )
            raise InputError(msg)
    ax = _style.axes(ax, (4.4, 4.4))
    ax.plot([0, 1], [0, 1], color=_style.GREY, linestyle=":", linewidth=1, zorder=1)
    for line in lines:
        mean, share, low, high = _reliability(line.label, line.prob, n_bins)
        if len(lines) <= len(_style.PALETTE):
            ax.vlines(mean, low, high, color=line.style["color"], linewidth=1, alpha=0.6)
        ax.plot(mean, share, label=line.name, marker="o", markersize=4, **line.style)
    sizes = sorted({round(len(line.label) / n_bins) for line in lines})
    each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,}–{sizes[-1]:,}"
    _unit_square(ax, f"Mean predicted probability, {each} genes a point", "Observed fraction of high genes")
    _title(ax, lines, split)
    _score_legend(ax, lines, "Brier", [brier_score_loss(x.label, x.prob) for x in lines], "upper left")
    return ax


class _Line(NamedTuple):
    name: str
    prediction: str
    sample: str
    label: np.ndarray
    prob: np.ndarray
    style: dict


def _lines(mdata: MuData, predictions: str | Sequence[str], sample: str | None, split: str | None) -> list[_Line]:
    """One line per prediction in one sample, or per sample of one prediction."""
    names = [predictions] if isinstance(predictions, str) else list(predictions)
    if not names:
        msg = 'predictions is empty: name at least one stored prediction, for example "deepchrome"'
        raise InputError(msg)
    there = list(dict.fromkeys(_stored.samples(mdata)))
    if sample is None:
        drawn = [_stored.predicted_samples(mdata, LABEL, f"{n}_prob", split, classes=True) for n in names]
        # several predictions are compared in what all of them have
        there = [s for s in there if all(s in each for each in drawn)] or there
    if sample is None and len(names) > 1 and len(there) > 1:
        msg = (
            f"{len(names)} predictions and {len(there)} samples ({some(there, 6)}) are too many lines: "
            "choose one with sample=, or give one prediction"
        )
        raise InputError(msg)
    per_sample = sample is None and len(there) > 1
    wanted = [(names[0], s) for s in there] if per_sample else [(n, sample or there[0]) for n in names]
    if len(wanted) > len(_style.PALETTE):
        styles = [{"color": _style.GREY, "linewidth": 0.8, "alpha": 0.6}] * len(wanted)
    else:
        styles = [{"color": c, "linewidth": 1.8} for c in _style.colors(len(wanted))]
    lines = []
    for (name, one), style in zip(wanted, styles, strict=True):
        label, prob = _stored.pairs(mdata, LABEL, f"{name}_prob", one, split)
        _stored.need_both_classes(label, one, split)
        lines.append(_Line(one if per_sample else name, name, one, label, prob, style))
    return lines


def _reliability(label: np.ndarray, prob: np.ndarray, n_bins: int) -> tuple[np.ndarray, ...]:
    """Mean prediction, observed fraction and its 95 % Wilson interval, per quantile bin."""
    # Ties share their mean rank, so that equal probabilities (0 and 1 of a forest) stay in one bin.
    at = ((rankdata(prob) - 0.5) / len(prob) * n_bins).astype(int)
    rows = []
    for b in np.unique(at):
        one = label[at == b]
        interval = binomtest(int(one.sum()), len(one)).proportion_ci(method="wilson")
        rows.append((prob[at == b].mean(), one.mean(), interval.low, interval.high))
    return tuple(np.array(rows).T)


def _unit_square(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set_yticks(np.linspace(0, 1, 6))


def _title(ax: Axes, lines: list[_Line], split: str | None) -> None:
    sizes = {len(line.label) for line in lines}
    one = {line.sample for line in lines}
    name = one.pop() if len(one) == 1 else lines[0].prediction
    ax.set_title(_style.where(name, split, sizes.pop() if len(sizes) == 1 else None), fontsize="medium")


def _score_legend(
    ax: Axes, lines: list[_Line], score: str, values: list[float], place: Any, *, note: str | None = None
) -> None:
    if len(lines) > len(_style.PALETTE):
        text = f"{len(lines)} samples  {score} {np.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"
        handles = [_style.proxy(text, **lines[0].style)]
    else:
        handles = [
            _style.proxy(f"{line.name}  {score} {value:.3f}", **line.style)
            for line, value in zip(lines, values, strict=True)
        ]
    if note:
        handles.append(_style.proxy(note, color=_style.GREY, linestyle=":", linewidth=1))
    ax.legend(handles=handles, loc=place, fontsize=_style.SMALL, frameon=True, framealpha=0.85, edgecolor="none")
