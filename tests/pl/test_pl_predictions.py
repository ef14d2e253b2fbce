from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, pearsonr, spearmanr
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

import genexp_scverse as gx

N = 400


def make(n_samples: int = 1) -> md.MuData:
    """Genes with noisy predictions; every tenth gene is not measured; a third each train, valid, test."""
    rng = np.random.default_rng(7)
    genes = pd.Index([f"g{i}" for i in range(N)])
    samples = ["K562", "H1", *(f"S{i}" for i in range(2, n_samples))][:n_samples]
    level = rng.gamma(2, 1.5, (N, n_samples))
    level[::10] = np.nan
    label = np.where(np.isnan(level), np.nan, level > np.nanmedian(level, axis=0))
    var = pd.DataFrame({"sample": samples, "unit": "tpm"}, index=samples)
    rna = ad.AnnData(np.expm1(level).astype(np.float32), obs=pd.DataFrame(index=genes), var=var)
    rna.layers["log"] = level
    rna.layers["label"] = label
    for name, noise in (("deepchrome", 1.0), ("random_forest", 3.0)):
        predicted = np.nan_to_num(level, nan=2.0) + rng.normal(0, noise, level.shape)
        rna.layers[name] = predicted
        rna.layers[f"{name}_prob"] = norm.cdf(predicted - 3)
    mdata = md.MuData({"rna": rna}, axis=0)
    mdata.obs["split"] = np.resize(["train", "valid", "test"], N)
    return mdata


@pytest.fixture
def mdata():
    return make()


@pytest.fixture
def two():
    return make(2)


@pytest.fixture(autouse=True)
def _close_and_never_show(monkeypatch):
    def shown(*args, **kwargs):
        raise AssertionError("a plot called show")

    monkeypatch.setattr(plt, "show", shown)
    plt.close("all")
    yield
    plt.close("all")


def measured(mdata, layer, split="test", sample=0, truth="label"):
    y = np.asarray(mdata["rna"].layers[truth])[:, sample]
    p = np.asarray(mdata["rna"].layers[layer])[:, sample]
    keep = ~np.isnan(y)
    if split is not None:
        keep &= (mdata.obs["split"] == split).to_numpy()
    return y[keep], p[keep]


def legend(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def named(ax, label):
    return next(line for line in ax.get_lines() if line.get_label() == label)


DRAW = {
    "roc": lambda m, **k: gx.pl.roc(m, "deepchrome", **k),
    "precision_recall": lambda m, **k: gx.pl.precision_recall(m, "deepchrome", **k),
    "calibration": lambda m, **k: gx.pl.calibration(m, "deepchrome", **k),
    "observed_predicted": lambda m, **k: gx.pl.observed_predicted(m, "deepchrome", **k),
}


@pytest.mark.parametrize("name", DRAW)
def test_axes_given_are_axes_returned_and_no_figure_is_made(mdata, name):
    _, ax = plt.subplots()
    assert DRAW[name](mdata, ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    assert DRAW[name](mdata).figure is not ax.figure
    assert len(plt.get_fignums()) == 2


@pytest.mark.parametrize("name", DRAW)
def test_data_are_not_changed(mdata, name):
    before = {k: np.array(v) for k, v in mdata["rna"].layers.items() if k is not None}
    DRAW[name](mdata)
    after = {k: v for k, v in mdata["rna"].layers.items() if k is not None}
    assert before.keys() == after.keys()
    for k, v in before.items():
        np.testing.assert_array_equal(v, after[k])


@pytest.mark.parametrize("split", ["test", "valid", None])
def test_roc_areas_are_those_of_sklearn_and_the_curve_has_them(mdata, split):
    ax = gx.pl.roc(mdata, ["deepchrome", "random_forest"], split=split)
    for text, name in zip(legend(ax), ["deepchrome", "random_forest"], strict=True):
        area = roc_auc_score(*measured(mdata, f"{name}_prob", split))
        assert text == f"{name}  AUROC {area:.3f}"
        x, y = named(ax, name).get_data()
        assert np.trapezoid(y, x) == pytest.approx(area, abs=1e-12)
    diagonal = ax.get_lines()[0]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]


def test_roc_point_by_point_from_counts(mdata):
    x, y = named(gx.pl.roc(mdata, "deepchrome"), "deepchrome").get_data()
    label, prob = measured(mdata, "deepchrome_prob")
    for threshold in np.quantile(prob, [0.2, 0.5, 0.9]):
        rates = [(prob[label == k] >= threshold).mean() for k in (0, 1)]
        # The point lies on the curve: the highest true positive rate at this false positive rate or below it.
        assert y[x <= rates[0] + 1e-12].max() >= rates[1] - 1e-12
        assert y[x < rates[0] - 1e-12].max(initial=0) <= rates[1] + 1e-12


def test_precision_recall_area_and_prevalence(mdata):
    ax = gx.pl.precision_recall(mdata, "deepchrome")
    label, prob = measured(mdata, "deepchrome_prob")
    area = average_precision_score(label, prob)
    assert legend(ax) == [f"deepchrome  AP {area:.3f}", f"prevalence {label.mean():.3f}"]
    recall, precision = named(ax, "deepchrome").get_data()
    assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(area, abs=1e-12)
    assert ax.get_lines()[-1].get_ydata() == pytest.approx([label.mean()] * 2)


def test_calibration_bins_intervals_and_brier_score(mdata):
    ax = gx.pl.calibration(mdata, "deepchrome", n_bins=4)
    label, prob = measured(mdata, "deepchrome_prob")
    assert legend(ax) == [f"deepchrome  Brier {brier_score_loss(label, prob):.3f}"]
    groups = pd.qcut(prob, 4, labels=False)
    x, y = named(ax, "deepchrome").get_data()
    for k in range(4):
        assert x[k] == pytest.approx(prob[groups == k].mean())
        assert y[k] == pytest.approx(label[groups == k].mean())
    segments = ax.collections[0].get_segments()
    assert len(segments) == 4
    for segment, share in zip(segments, y, strict=True):
        low, high = segment[:, 1]
        assert 0 <= low < share < high <= 1


def test_calibration_by_hand():
    mdata = make()
    prob, label = np.full((N, 1), np.nan), np.full((N, 1), np.nan)
    prob[:10], label[:10, 0] = 0.25, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    prob[10:30], label[10:30, 0] = 0.75, [1] * 15 + [0] * 5
    mdata["rna"].layers["label"], mdata["rna"].layers["hand_prob"] = label, prob
    ax = gx.pl.calibration(mdata, "hand", split=None, n_bins=2)
    x, y = named(ax, "hand").get_data()
    assert x == pytest.approx([0.25, 0.75]) and y == pytest.approx([0.1, 0.75])
    assert legend(ax) == [f"hand  Brier {(0.75**2 + 9 * 0.25**2 + 15 * 0.25**2 + 5 * 0.75**2) / 30:.3f}"]
    # Wilson 1927: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    z = norm.ppf(0.975)
    for segment, p, n in zip(ax.collections[0].get_segments(), (0.1, 0.75), (10, 20), strict=True):
        half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        ends = (p + z**2 / (2 * n) + np.array([-half, half])) / (1 + z**2 / n)
        assert segment[:, 1] == pytest.approx(ends)


@pytest.mark.parametrize("value", [0.5, 0.0])
def test_calibration_of_a_constant_prediction_is_one_point(mdata, value):
    mdata["rna"].layers["flat_prob"] = np.full((N, 1), value)
    ax = gx.pl.calibration(mdata, "flat")
    label, _ = measured(mdata, "flat_prob")
    x, y = named(ax, "flat").get_data()
    assert (list(x), list(y)) == ([value], [label.mean()])


@pytest.mark.parametrize("split", ["test", None])
def test_observed_predicted_text_points_and_limits(mdata, split):
    ax = gx.pl.observed_predicted(mdata, "deepchrome", split=split)
    y, p = measured(mdata, "deepchrome", split, truth="log")
    r, rho = pearsonr(y, p)[0], spearmanr(y, p)[0]
    assert ax.texts[0].get_text() == f"Pearson {r:.3f}\nSpearman {rho:.3f}\nn = {len(y):,}"
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points[np.lexsort(points.T)], np.c_[y, p][np.lexsort([y, p])])
    assert ax.get_xlim() == ax.get_ylim()
    assert ax.get_xlim()[0] < min(y.min(), p.min()) and ax.get_xlim()[1] > max(y.max(), p.max())
    assert ax.get_xlabel() == "Observed expression, ln(TPM + 1)"


def test_denser_points_get_a_higher_colour(mdata):
    rng = np.random.default_rng(1)
    level = np.r_[rng.normal(2, 0.05, N - 20), rng.uniform(6, 9, 20)][:, None]
    mdata["rna"].layers["log"] = mdata["rna"].layers["copy"] = level
    cloud = gx.pl.observed_predicted(mdata, "copy", split=None).collections[0]
    far = np.asarray(cloud.get_offsets())[:, 0] > 5
    colour = np.asarray(cloud.get_array())
    assert far.sum() == 20 and colour[far].max() < np.median(colour[~far])


def test_several_samples_give_a_line_each(two):
    for draw, word, score in (
        (gx.pl.roc, "AUROC", roc_auc_score),
        (gx.pl.precision_recall, "AP", average_precision_score),
        (gx.pl.calibration, "Brier", brier_score_loss),
    ):
        wanted = [
            f"{name}  {word} {score(*measured(two, 'deepchrome_prob', sample=i)):.3f}"
            for i, name in enumerate(["K562", "H1"])
        ]
        assert legend(draw(two, "deepchrome"))[:2] == wanted
    one = gx.pl.roc(two, ["deepchrome"], sample="H1")
    assert legend(one) == [f"deepchrome  AUROC {roc_auc_score(*measured(two, 'deepchrome_prob', sample=1)):.3f}"]


def test_many_samples_are_summarised():
    many = make(12)
    areas = [roc_auc_score(*measured(many, "deepchrome_prob", sample=i)) for i in range(12)]
    ax = gx.pl.roc(many, "deepchrome")
    assert legend(ax) == [f"12 samples  AUROC {np.median(areas):.3f} ({min(areas):.3f}–{max(areas):.3f})"]
    assert len(ax.get_lines()) == 13


def test_what_is_left_out_is_counted(mdata, caplog):
    mdata["rna"].layers["deepchrome_prob"][1] = np.nan
    caplog.set_level("INFO")
    gx.pl.roc(mdata, "deepchrome", split=None)
    assert "40 of 400 genes are not measured in sample 'K562'" in caplog.text
    assert "1 measured genes have no prediction in layer 'deepchrome_prob'" in caplog.text


@pytest.mark.parametrize("draw", [gx.pl.roc, gx.pl.precision_recall, gx.pl.calibration])
def test_errors_of_probabilities(mdata, two, draw):
    with pytest.raises(gx.InputError, match=r"'nosuch_prob'.*'deepchrome', 'random_forest'.*layer_key=\"nosuch\""):
        draw(mdata, "nosuch")
    with pytest.raises(gx.InputError, match=r"no sample 'HeLa'.*'K562'"):
        draw(mdata, "deepchrome", sample="HeLa")
    with pytest.raises(gx.InputError, match=r"2 predictions and 2 samples \('K562', 'H1'\)"):
        draw(two, ["deepchrome", "random_forest"])
    with pytest.raises(gx.InputError, match=r"split='dev' is not known: choose one of train, valid, test"):
        draw(mdata, "deepchrome", split="dev")
    with pytest.raises(gx.InputError, match="predictions is empty"):
        draw(mdata, [])
    mdata["rna"].layers["label"][:] = 1
    with pytest.raises(gx.InputError, match="label 1, but high"):
        draw(mdata, "deepchrome")
    mdata["rna"].layers["label"][:] = np.nan
    with pytest.raises(gx.InputError, match="none of the 133 genes of split 'test'"):
        draw(mdata, "deepchrome")
    del mdata["rna"].layers["label"]
    with pytest.raises(gx.InputError, match=r"gx\.pp\.label"):
        draw(mdata, "deepchrome")
    assert not plt.get_fignums(), "errors come before a figure is made"


def test_other_errors(mdata, two):
    with pytest.raises(gx.InputError, match=r"2 samples \('K562', 'H1'\): choose one"):
        gx.pl.observed_predicted(two, "deepchrome")
    with pytest.raises(gx.InputError, match=r"no 'nosuch': of predictions of the level there are 'deepchrome'"):
        gx.pl.observed_predicted(mdata, "nosuch")
    mdata["rna"].layers["svm_prob"] = np.full((N, 1), 1.5)
    with pytest.raises(gx.InputError, match=r"'svm' runs from 1.5 to 1.5"):
        gx.pl.calibration(mdata, "svm")
    with pytest.raises(gx.InputError, match="n_bins=0 is not possible"):
        gx.pl.calibration(mdata, "deepchrome", n_bins=0)
    del mdata.obs["split"]
    with pytest.raises(gx.InputError, match=r"split_by_chromosome\(mdata\), or .* split=None"):
        gx.pl.roc(mdata, "deepchrome")
    assert gx.pl.roc(mdata, "deepchrome", split=None).get_title() == "K562, all genes, n = 360"
    with pytest.raises(gx.InputError, match="expected a MuData"):
        gx.pl.roc(mdata["rna"], "deepchrome")


def test_public_names_stay_functions_after_use():
    for name in gx.pl.__all__:
        assert callable(getattr(gx.pl, name)) and callable(getattr(gx.pl, name))
