from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

import genexp_scverse as gx
from genexp_scverse import metrics


@pytest.fixture
def levels():
    rng = np.random.default_rng(1)
    observed = np.round(rng.gamma(1.0, 2.0, 300), 1)  # rounding makes ties, and many zeros
    predicted = np.round(0.6 * observed + rng.normal(0, 1, 300), 1)
    return observed, predicted


@pytest.fixture
def classes(levels):
    observed, predicted = levels
    return (observed > np.median(observed)).astype(float), np.round(1 / (1 + np.exp(-predicted)), 2)


def by_libraries(observed, predicted):
    return {
        "pearson": stats.pearsonr(observed, predicted).statistic,
        "spearman": stats.spearmanr(observed, predicted).statistic,
        "r2": sk.r2_score(observed, predicted),
        "mse": sk.mean_squared_error(observed, predicted),
        "mae": sk.mean_absolute_error(observed, predicted),
    }


def labels_by_libraries(label, prob):
    return {
        "auroc": sk.roc_auc_score(label, prob),
        "auprc": sk.average_precision_score(label, prob),
        "brier": sk.brier_score_loss(label, prob),
    }


def test_levels_as_scipy_and_sklearn(levels):
    ours = metrics.level_metrics(*levels)
    assert ours.pop("n") == 300
    assert ours == pytest.approx(by_libraries(*levels), rel=1e-12)


def test_labels_as_sklearn(classes):
    ours = metrics.label_metrics(*classes)
    assert ours.pop("n") == 300
    assert ours == pytest.approx(labels_by_libraries(*classes), rel=1e-12)


def test_pearson_keeps_its_digits_far_from_zero(levels):
    observed, predicted = levels
    ours = metrics.level_metrics(observed + 1e6, predicted + 1e6)
    assert ours["pearson"] == pytest.approx(by_libraries(observed, predicted)["pearson"], rel=1e-9)


def test_genes_without_a_pair_are_left_out(levels, classes):
    observed, predicted = (v.copy() for v in levels)
    observed[:7], predicted[5:11] = np.nan, np.nan
    ours = metrics.level_metrics(observed, predicted)
    assert ours.pop("n") == 289
    assert ours == pytest.approx(by_libraries(observed[11:], predicted[11:]), rel=1e-12)
    label, prob = (v.copy() for v in classes)
    label[-3:] = np.nan
    ours = metrics.label_metrics(label, prob)
    assert ours.pop("n") == 297
    assert ours == pytest.approx(labels_by_libraries(label[:-3], prob[:-3]), rel=1e-12)


def test_bootstrap_is_the_plain_loop_over_the_same_resamples(levels, classes, monkeypatch):
    monkeypatch.setattr(metrics, "_BLOCK", 300 * 7)  # several blocks, the last one short
    ours = metrics.bootstrap_metrics(
        observed=levels[0], predicted=levels[1], label=classes[0], prob=classes[1], n=60, seed=3
    )
    drawn = np.random.default_rng(3).integers(0, 300, (60, 300))
    loop = [
        by_libraries(levels[0][rows], levels[1][rows]) | labels_by_libraries(classes[0][rows], classes[1][rows])
        for rows in drawn
    ]
    for name in (*metrics.LEVEL_METRICS, *metrics.LABEL_METRICS):
        assert ours[name] == pytest.approx(np.percentile([row[name] for row in loop], (2.5, 97.5)), rel=1e-10), name


def test_bootstrap_leaves_out_resamples_with_one_class():
    label, prob = np.array([0.0, 0, 0, 1]), np.array([0.1, 0.2, 0.3, 0.25])
    drawn = np.random.default_rng(0).integers(0, 4, (50, 4))
    loop = [sk.roc_auc_score(label[r], prob[r]) for r in drawn if 0 < label[r].sum() < 4]
    assert len(loop) < 50
    ours = metrics.bootstrap_metrics(label=label, prob=prob, n=50)
    assert ours["auroc"] == pytest.approx(np.percentile(loop, (2.5, 97.5)))


@pytest.fixture
def other(levels, classes):
    """Another prediction of the same genes."""
    rng = np.random.default_rng(2)
    predicted = np.round(0.5 * levels[0] + rng.normal(0, 1.5, 300), 1)
    return predicted, np.round(1 / (1 + np.exp(-predicted)), 2)


def test_differences_are_the_plain_loop_over_the_same_resamples(levels, classes, other, monkeypatch):
    monkeypatch.setattr(metrics, "_BLOCK", 300 * 7)
    observed, predicted = (v.copy() for v in levels)
    label, prob = (v.copy() for v in classes)
    observed[:4], predicted[3:9], other[0][20] = np.nan, np.nan, np.nan
    label[100:103], other[1][7] = np.nan, np.nan
    ours = metrics.bootstrap_differences(
        observed=observed,
        predicted=predicted,
        reference_predicted=other[0],
        label=label,
        prob=prob,
        reference_prob=other[1],
        n=60,
        seed=3,
    )
    level = ~np.isnan(observed) & ~np.isnan(predicted) & ~np.isnan(other[0])
    known = ~np.isnan(label) & ~np.isnan(other[1])
    assert (level.sum(), known.sum()) == (290, 296)
    for names, mask, truth, one, two, measure in (
        (metrics.LEVEL_METRICS, level, observed, predicted, other[0], by_libraries),
        (metrics.LABEL_METRICS, known, label, prob, other[1], labels_by_libraries),
    ):
        y, a, b = truth[mask], one[mask], two[mask]
        whole = {k: measure(y, a)[k] - measure(y, b)[k] for k in names}
        drawn = np.random.default_rng(3).integers(0, len(y), (60, len(y)))
        loop = [(measure(y[rows], a[rows]), measure(y[rows], b[rows])) for rows in drawn]
        for name in names:
            expected = (whole[name], *np.percentile([p[name] - q[name] for p, q in loop], (2.5, 97.5)))
            assert ours[name] == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def test_a_pair_is_compared_more_closely_than_two_single_ones(levels):
    """Two predictions that err alike: the difference is known better than either measure."""
    observed, predicted = levels
    near = predicted + np.random.default_rng(0).normal(0, 0.2, 300)
    difference, low, high = metrics.bootstrap_differences(
        observed=observed, predicted=predicted, reference_predicted=near
    )["pearson"]
    alone = metrics.bootstrap_metrics(observed=observed, predicted=predicted)["pearson"]
    assert low <= difference <= high
    assert high - low < (alone[1] - alone[0]) / 3
    same = metrics.bootstrap_differences(observed=observed, predicted=predicted, reference_predicted=predicted, n=20)
    assert same == dict.fromkeys(metrics.LEVEL_METRICS, (0, 0, 0))


def test_same_seed_same_intervals(levels):
    first, again, other = (
        metrics.bootstrap_metrics(observed=levels[0], predicted=levels[1], n=50, seed=s) for s in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("observed, predicted", [([1, 1, 1], [1, 2, 3]), ([5], [4]), ([], []), ([np.nan], [1])])
def test_undefined_levels_are_nan(observed, predicted):
    values = metrics.level_metrics(observed, predicted)
    assert all(math.isnan(values[name]) for name in ("pearson", "spearman", "r2"))
    intervals = metrics.bootstrap_metrics(observed=observed, predicted=predicted, n=5)
    assert all(math.isnan(v) for v in intervals["pearson"])


def test_constant_prediction():
    values = metrics.level_metrics([1, 2, 3], [0.1, 0.1, 0.1])
    assert math.isnan(values["pearson"])
    assert math.isnan(values["spearman"])
    assert values["r2"] == pytest.approx(sk.r2_score([1, 2, 3], [0.1] * 3))
    assert metrics.label_metrics([0, 1, 1], [0.5, 0.5, 0.5])["auroc"] == 0.5


@pytest.mark.parametrize("label", [[1, 1], [0, 0], [], [np.nan]])
def test_one_class_is_nan(label):
    values = metrics.label_metrics(label, [0.5] * len(label))
    assert math.isnan(values["auroc"])
    assert math.isnan(values["auprc"])


def test_evaluation_has_the_same_columns_whatever_is_given(levels, classes):
    both = metrics.evaluate_predictions(
        log=levels[0], predicted=levels[1], label=classes[0], prob=classes[1], n_bootstrap=20
    )
    level = metrics.evaluate_predictions(log=levels[0], predicted=levels[1], n_bootstrap=20)
    assert list(both) == list(level)
    assert list(both)[:8] == ["n", "auroc", "auprc", "pearson", "spearman", "r2", "mse", "mae"]
    assert both["n"] == level["n"] == 300
    assert math.isnan(level["auroc"])
    assert math.isnan(level["auroc_low"])
    for name in metrics.COLUMNS[1:]:
        assert both[f"{name}_low"] < both[name] < both[f"{name}_high"]


def test_errors():
    with pytest.raises(gx.InputError, match="observed has 2 genes and predicted has 3"):
        metrics.level_metrics([1, 2], [1, 2, 3])
    with pytest.raises(gx.InputError, match="label is 2"):
        metrics.label_metrics([0, 2], [0.1, 0.2])
    with pytest.raises(gx.InputError, match="one value per gene of one sample"):
        metrics.level_metrics([[1, 2]], [[1, 2]])
    with pytest.raises(gx.InputError, match="resamples is 0"):
        metrics.bootstrap_metrics(observed=[1], predicted=[1], n=0)
    with pytest.raises(gx.InputError, match="resamples is 0"):
        metrics.bootstrap_differences(observed=[1], predicted=[1], reference_predicted=[1], n=0)
    with pytest.raises(gx.InputError, match="observed has 2 genes and reference_predicted has 1"):
        metrics.bootstrap_differences(observed=[1, 2], predicted=[1, 2], reference_predicted=[1])
    with pytest.raises(gx.InputError, match="reference_prob is missing"):
        metrics.bootstrap_differences(label=[0, 1], prob=[0, 1])
    with pytest.raises(gx.InputError, match="label is 2"):
        metrics.bootstrap_differences(label=[0, 2], prob=[0, 1], reference_prob=[0, 1])
    with pytest.raises(gx.InputError, match="prob is missing"):
        metrics.evaluate_predictions(label=[0, 1])
