"""How well predictions fit: measures of level and of class, with bootstrap intervals over genes.

Every measure is a function of how often each gene counts. The value on the data counts every gene once; a
bootstrap resample counts a gene as often as it was drawn. So a thousand resamples are a few matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from genexp_scverse._checks import checked
from genexp_scverse._errors import InputError
from genexp_scverse._metric_kernels import difference_kernel, label_kernel, level_kernel

LEVEL_METRICS = ("pearson", "spearman", "r2", "mse", "mae")
LABEL_METRICS = ("auroc", "auprc", "brier")
COLUMNS = ("n", "auroc", "auprc", "pearson", "spearman", "r2", "mse", "mae")
"""Columns of an evaluation, in order."""

_BLOCK = 4_000_000


@checked
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
    return _once(level_kernel(observed, predicted), LEVEL_METRICS, len(observed))


@checked
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
    return _once(label_kernel(label, prob), LABEL_METRICS, len(label))


@checked
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
    _check_resamples(n)
    intervals = {}
    if observed is not None:
        pairs = _pairs(observed, predicted, "observed", "predicted")
        intervals.update(_intervals(level_kernel(*pairs), LEVEL_METRICS, len(pairs[0]), n, seed))
    if label is not None:
        pairs = _label_pairs(label, prob)
        intervals.update(_intervals(label_kernel(*pairs), LABEL_METRICS, len(pairs[0]), n, seed))
    return intervals


@checked
def bootstrap_differences(
    *,
    observed=None,
    predicted=None,
    reference_predicted=None,
    label=None,
    prob=None,
    reference_prob=None,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Compare two predictions of the same genes: differences of measures with 95 % paired bootstrap intervals.

    Every resample of genes counts for both predictions, and the difference is taken within it. What makes a gene
    hard for both cancels, so that the interval is narrower than those of the two measures suggest.

    Parameters
    ----------
    observed, predicted, reference_predicted
        Observed level per gene, and the two predictions of it; genes where one of the three is NaN are left out.
    label, prob, reference_prob
        Class per gene, and the two predicted probabilities, likewise.
    n
        Number of resamples.
    seed
        Seed of the generator; resamples are those of :func:`bootstrap_metrics` for the same genes.

    Returns
    -------
    Measure -> (difference, low, high), prediction minus reference, for the measures of what is given.

    Raises
    ------
    InputError
        As for :func:`bootstrap_metrics`.

    Examples
    --------
    >>> near, far = [1, 2, 3, 5], [1, 4, 2, 4]
    >>> difference, low, high = bootstrap_differences(
    ...     observed=[1, 2, 3, 4], predicted=near, reference_predicted=far, n=200
    ... )["mse"]
    >>> difference, bool(low <= difference <= high)
    (-1.0, True)
    """
    _check_resamples(n)
    kernels: list[tuple] = []
    if observed is not None:
        level, first, second = _triples(observed, predicted, reference_predicted, "observed", "predicted")
        kernels.append((level_kernel(level, first), level_kernel(level, second), LEVEL_METRICS, len(level)))
    if label is not None:
        _label_pairs(label, prob)
        of, first, second = _triples(label, prob, reference_prob, "label", "prob")
        kernels.append((label_kernel(of, first), label_kernel(of, second), LABEL_METRICS, len(of)))
    found = {}
    for one, other, names, n_genes in kernels:
        kernel = difference_kernel(one, other)
        value, intervals = _once(kernel, names, n_genes), _intervals(kernel, names, n_genes, n, seed)
        found.update({name: (value[name], *intervals[name]) for name in names})
    return found


@checked
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


def _check_resamples(n: int) -> None:
    if n < 1:
        msg = f"the number of bootstrap resamples is {n}: give at least 1"
        raise InputError(msg)


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


def _triples(truth, first, second, name: str, of: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Genes where the truth and both predictions of it are known."""
    truth, first, second = _vector(truth, name), _vector(first, of), _vector(second, f"reference_{of}")
    for other, label in ((first, of), (second, f"reference_{of}")):
        if len(other) != len(truth):
            msg = f"{name} has {len(truth)} genes and {label} has {len(other)}: give both for the same genes"
            raise InputError(msg)
    known = ~np.isnan(truth) & ~np.isnan(first) & ~np.isnan(second)
    return truth[known], first[known], second[known]


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
