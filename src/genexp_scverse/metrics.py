"""How well predictions fit: measures of level and of class, with bootstrap intervals over genes.

Every measure is a function of how often each gene counts. The value on the data counts every gene once; a
bootstrap resample counts a gene as often as it was drawn. So a thousand resamples are a few matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata

from genexp_scverse._errors import InputError

LEVEL_METRICS = ("pearson", "spearman", "r2", "mse", "mae")
LABEL_METRICS = ("auroc", "auprc", "brier")
COLUMNS = ("n", "auroc", "auprc", "pearson", "spearman", "r2", "mse", "mae")
"""Columns of an evaluation, in order."""

_BLOCK = 4_000_000


def level_metrics(observed, predicted) -> dict[str, float]:
    """Compare predicted with observed levels.

    Parameters
    ----------
    observed, predicted
        One value per gene; genes where either is NaN are left out.

    Returns
    -------
    pearson, spearman, r2 (coefficient of determination, 1 - SSE / SST, not the squared correlation), mse, mae
    and n, the number of genes used. NaN where not defined (fewer than 2 genes, no variation).

    Raises
    ------
    InputError
        The two differ in shape or are no vectors.

    Examples
    --------
    >>> level_metrics([1, 2, 3, None], [1, 2, 6, 4])["mae"]
    1.0
    """
    observed, predicted = _pairs(observed, predicted, "observed", "predicted")
    return _once(_level_kernel(observed, predicted), LEVEL_METRICS, len(observed))


def label_metrics(label, prob) -> dict[str, float]:
    """Compare predicted probabilities (or any score) with classes.

    Parameters
    ----------
    label
        0 or 1 per gene, NaN where unknown.
    prob
        Probability of class 1 per gene; genes where either is NaN are left out.

    Returns
    -------
    auroc, auprc (average precision), brier (mean squared error of the probability) and n, the number of genes
    used. auroc and auprc are NaN where only one class is there.

    Raises
    ------
    InputError
        The two differ in shape, or a label is neither 0 nor 1.

    Examples
    --------
    >>> label_metrics([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])["auroc"]
    0.75
    """
    label, prob = _label_pairs(label, prob)
    return _once(_label_kernel(label, prob), LABEL_METRICS, len(label))


def bootstrap_metrics(
    *, observed=None, predicted=None, label=None, prob=None, n: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Give 95 % percentile bootstrap intervals over genes.

    Genes with a pair of values are drawn with replacement, as many as there are. Resamples where a measure is
    not defined (one class alone) are left out of its percentiles. Two predictions of the same genes get the
    same resamples from the same seed.

    Parameters
    ----------
    observed, predicted
        Levels, as for :func:`level_metrics`; both or neither.
    label, prob
        Classes, as for :func:`label_metrics`; both or neither.
    n
        Number of resamples.
    seed
        Seed of the generator.

    Returns
    -------
    Measure -> (low, high), for the measures of what is given.

    Raises
    ------
    InputError
        As for :func:`level_metrics` and :func:`label_metrics`, or `n` is less than 1.

    Examples
    --------
    >>> low, high = bootstrap_metrics(observed=[1, 2, 3, 4], predicted=[1, 2, 3, 5], n=200)["mse"]
    >>> bool(low <= 0.25 <= high)
    True
    """
    if n < 1:
        msg = f"the number of bootstrap resamples is {n}: give at least 1"
        raise InputError(msg)
    intervals = {}
    if observed is not None:
        pairs = _pairs(observed, predicted, "observed", "predicted")
        intervals.update(_intervals(_level_kernel(*pairs), LEVEL_METRICS, len(pairs[0]), n, seed))
    if label is not None:
        pairs = _label_pairs(label, prob)
        intervals.update(_intervals(_label_kernel(*pairs), LABEL_METRICS, len(pairs[0]), n, seed))
    return intervals


def evaluate_predictions(
    *, log=None, predicted=None, label=None, prob=None, n_bootstrap: int = 0, seed: int = 0
) -> dict[str, float]:
    """Evaluate the predictions for one sample: a row of the table that ``model.evaluate`` gives.

    Parameters
    ----------
    log, predicted
        Observed and predicted level per gene on the log scale; both or neither.
    label, prob
        Class and predicted probability of class 1 per gene; both or neither.
    n_bootstrap
        Number of bootstrap resamples for intervals; 0 for none.
    seed
        Seed of the bootstrap.

    Returns
    -------
    n (genes that were measured and predicted, by level or by class), auroc, auprc, pearson, spearman, r2, mse
    and mae, NaN for what is not given; with `n_bootstrap` also ``<metric>_low`` and ``<metric>_high``.

    Raises
    ------
    InputError
        As for :func:`level_metrics` and :func:`label_metrics`.

    Examples
    --------
    >>> row = evaluate_predictions(label=[0, 1, 1], prob=[0.2, 0.7, 0.1])
    >>> row["n"], row["auroc"], row["pearson"]
    (3, 0.5, nan)
    """
    row: dict[str, float] = dict.fromkeys(COLUMNS, math.nan)
    row["n"] = 0
    if log is not None:
        row |= {k: v for k, v in level_metrics(log, predicted).items() if k != "n"}
        row["n"] = int((~np.isnan(_vector(log, "log")) & ~np.isnan(_vector(predicted, "predicted"))).sum())
    if label is not None:
        values = label_metrics(label, prob)
        row |= {k: v for k, v in values.items() if k in COLUMNS and k != "n"}
        row["n"] = max(int(row["n"]), int(values["n"]))
    if n_bootstrap:
        intervals = bootstrap_metrics(
            observed=log, predicted=predicted, label=label, prob=prob, n=n_bootstrap, seed=seed
        )
        for name in COLUMNS[1:]:
            row[f"{name}_low"], row[f"{name}_high"] = intervals.get(name, (math.nan, math.nan))
    return row


def _vector(values, name: str) -> np.ndarray:
    if values is None:
        msg = f"{name} is missing: give what was predicted together with what was observed"
        raise InputError(msg)
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        msg = f"{name} has shape {vector.shape}, expected one value per gene of one sample"
        raise InputError(msg)
    return vector


def _pairs(a, b, name_a: str, name_b: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = _vector(a, name_a), _vector(b, name_b)
    if len(a) != len(b):
        msg = f"{name_a} has {len(a)} genes and {name_b} has {len(b)}: give both for the same genes"
        raise InputError(msg)
    both = ~np.isnan(a) & ~np.isnan(b)
    return a[both], b[both]


def _label_pairs(label, prob) -> tuple[np.ndarray, np.ndarray]:
    label, prob = _pairs(label, prob, "label", "prob")
    wrong = label[~np.isin(label, (0, 1))]
    if len(wrong):
        msg = f"a label is {wrong[0]:g}: labels are 0, 1 or NaN"
        raise InputError(msg)
    return label, prob


def _once(kernel, names: tuple[str, ...], n: int) -> dict[str, float]:
    values = kernel(np.ones((1, n)))
    return {name: float(values[name][0]) for name in names} | {"n": n}


def _intervals(kernel, names, n_genes: int, n: int, seed: int) -> dict[str, tuple[float, float]]:
    if n_genes == 0:
        return dict.fromkeys(names, (math.nan, math.nan))
    blocks = [kernel(counts) for counts in _resampled(n_genes, n, seed)]
    intervals = {}
    for name in names:
        values = np.concatenate([b[name] for b in blocks])
        values = values[~np.isnan(values)]
        low, high = np.percentile(values, (2.5, 97.5)) if len(values) else (math.nan, math.nan)
        intervals[name] = (float(low), float(high))
    return intervals


def _resampled(n_genes: int, n: int, seed: int) -> Iterator[np.ndarray]:
    """How often each gene is drawn, resamples x genes, in blocks that fit in memory."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // n_genes)
    for start in range(0, n, step):
        size = min(step, n - start)
        drawn = rng.integers(0, n_genes, (size, n_genes))
        drawn += np.arange(size)[:, None] * n_genes
        yield np.bincount(drawn.ravel(), minlength=size * n_genes).reshape(size, n_genes).astype(np.float64)


def _level_kernel(observed: np.ndarray, predicted: np.ndarray):
    """Make the function counts (resamples x genes) -> measures (per resample)."""
    error = predicted - observed
    # centring first keeps the digits that sums of squares would lose
    x = observed - observed.mean() if len(observed) else observed
    y = predicted - predicted.mean() if len(predicted) else predicted
    terms = np.column_stack([x, y, x * x, y * y, x * y, error**2, np.abs(error)])
    ranks = _ranker(observed), _ranker(predicted)
    flat = np.ptp(x) == 0 if len(x) else True, np.ptp(y) == 0 if len(y) else True

    def measures(counts: np.ndarray) -> dict[str, np.ndarray]:
        total = counts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mx, my, xx, yy, xy, mse, mae = (counts @ terms / total[:, None]).T
            spread_x, spread_y = _spread(xx - mx**2, xx), _spread(yy - my**2, yy)
            if flat[0]:
                spread_x[:] = np.nan
            if flat[1]:
                spread_y[:] = np.nan
            pearson = (xy - mx * my) / np.sqrt(spread_x * spread_y)
            centre = (total[:, None] + 1) / 2
            rx, ry = (rank(counts) - centre for rank in ranks)
            top = (counts * rx * ry).sum(axis=1)
            bottom = np.sqrt((counts * rx**2).sum(axis=1) * (counts * ry**2).sum(axis=1))
            spearman = np.where(bottom > 0, top / bottom, np.nan)
            r2 = 1 - mse / spread_x
        return {
            "pearson": np.clip(pearson, -1, 1),
            "spearman": np.clip(spearman, -1, 1),
            "r2": r2,
            "mse": mse,
            "mae": mae,
        }

    return measures


def _label_kernel(label: np.ndarray, prob: np.ndarray):
    """Make the function counts (resamples x genes) -> measures (per resample)."""
    order = np.argsort(prob, kind="stable")
    starts = np.flatnonzero(np.diff(prob[order], prepend=-np.inf)) if len(prob) else order
    high = label[order] == 1
    squared = (prob - label) ** 2

    def measures(counts: np.ndarray) -> dict[str, np.ndarray]:
        if len(prob) == 0:
            return {name: np.full(len(counts), np.nan) for name in LABEL_METRICS}
        ordered = counts[:, order]
        # genes with the same score are one threshold
        positive = np.add.reduceat(np.where(high, ordered, 0), starts, axis=1)
        negative = np.add.reduceat(np.where(high, 0, ordered), starts, axis=1)
        positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            auroc = (positive * below).sum(axis=1) / (positives * negatives)
            hits = np.cumsum(positive[:, ::-1], axis=1)
            called = hits + np.cumsum(negative[:, ::-1], axis=1)
            precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
            auprc = (positive[:, ::-1] * precision).sum(axis=1) / positives
            brier = counts @ squared / counts.sum(axis=1)
        auprc[negatives == 0] = np.nan
        return {"auroc": auroc, "auprc": auprc, "brier": brier}

    return measures


def _ranker(values: np.ndarray):
    """Make the function that gives the average rank of every gene within each resample, ties shared."""
    order = np.argsort(values, kind="stable")
    group = np.empty(len(values), np.int64)
    group[order] = rankdata(values[order], "dense") - 1
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))

    def ranks(counts: np.ndarray) -> np.ndarray:
        if len(values) == 0:
            return counts
        drawn = np.add.reduceat(counts[:, order], starts, axis=1)
        return (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, group]

    return ranks


def _spread(variance: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Variance, NaN where it is nothing but rounding (one gene drawn over and over)."""
    return np.where(variance > 1e-14 * scale, variance, np.nan)
