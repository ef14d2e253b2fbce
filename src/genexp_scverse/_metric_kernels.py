"""Measures of level and class as functions of how often each gene counts."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def level_kernel(observed: np.ndarray, predicted: np.ndarray):
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


def label_kernel(label: np.ndarray, prob: np.ndarray):
    """Make the function counts (resamples x genes) -> measures (per resample)."""
    order = np.argsort(prob, kind="stable")
    starts = np.flatnonzero(np.diff(prob[order], prepend=-np.inf)) if len(prob) else order
    high = label[order] == 1
    squared = (prob - label) ** 2

    def measures(counts: np.ndarray) -> dict[str, np.ndarray]:
        if len(prob) == 0:
            return {name: np.full(len(counts), np.nan) for name in ("auroc", "auprc", "brier")}
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


def difference_kernel(one, other):
    """Make the function that gives how far the measures of one kernel exceed those of the other."""

    def measures(counts: np.ndarray) -> dict[str, np.ndarray]:
        first, second = one(counts), other(counts)
        return {name: first[name] - second[name] for name in first}

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
