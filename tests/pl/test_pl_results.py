from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx

MARKS = ["H3K4me3", "H3K36me3", "H3K9me3"]


@pytest.fixture(autouse=True)
def _close_and_never_show(monkeypatch):
    def shown(*args, **kwargs):
        raise AssertionError("a plot called show")

    monkeypatch.setattr(plt, "show", shown)
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def history():
    epochs = pd.RangeIndex(1, 6, name="epoch")
    return pd.DataFrame(
        {
            "train_loss": [0.9, 0.7, 0.6, 0.5, 0.4],
            "valid_loss": [0.8, 0.7, 0.65, 0.68, 0.7],
            "valid_auroc": [0.6, np.nan, 0.9, np.nan, 0.85],
            "valid_pearson": [0.5, 0.6, 0.7, 0.65, 0.6],
            "valid_score": [0.55, np.nan, 0.8, np.nan, 0.725],
            "lr": 1e-3,
        },
        index=epochs,
    )


@pytest.fixture
def mdata():
    genes = pd.Index(["a", "b"])
    var = pd.DataFrame({"sample": "K562", "mark": MARKS, "scale": "log"}, index=[f"K562.{m}" for m in MARKS])
    chromatin = ad.AnnData(np.ones((2, 3), np.float32), obs=pd.DataFrame(index=genes), var=var)
    chromatin.obsm["bins"] = np.ones((2, 3, 8), np.float32)
    chromatin.uns["window"] = {"upstream": 500, "downstream": 300, "bin_size": 100, "stranded": True}
    mdata = md.MuData({"chromatin": chromatin}, axis=0)
    values = np.zeros((2, 3, 8))
    values[0, 2, :6] = 0.9  # low: H3K9me3, 6 active bins
    values[0, 0, :2] = 0.3  # 2 active bins, not above the mean 8 / 3
    values[1, 0, 3:] = 1.0  # high: 5, 4 and 0 active bins, mean 3
    values[1, 1, :4] = 0.26
    values[1, 1, 4:] = 0.25  # not active: not above 0.25
    mdata.uns["deepchrome_patterns"] = {"classes": ["low", "high"], "marks": MARKS, "values": values}
    return mdata


def by_label(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_history_losses_left_metrics_right_and_best_epoch(history):
    _, ax = plt.subplots()
    assert gx.pl.history(history, ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    left, right = (by_label(a) for a in ax.figure.axes)
    assert list(left) == ["train loss", "valid loss", "best epoch 3"]
    assert list(right) == ["valid AUROC", "valid Pearson"]
    assert left["best epoch 3"].get_xdata() == [3, 3]
    np.testing.assert_array_equal(left["valid loss"].get_xydata(), np.c_[range(1, 6), history["valid_loss"]])
    np.testing.assert_array_equal(right["valid AUROC"].get_xydata(), [[1, 0.6], [3, 0.9], [5, 0.85]])
    texts = [t.get_text() for t in ax.figure.axes[1].get_legend().get_texts()]
    assert texts == ["train loss", "valid loss", "valid AUROC", "valid Pearson", "best epoch 3"]


def test_history_of_a_model_and_chosen_keys(history):
    class Trained:
        pass

    trained = Trained()
    trained.history = history
    ax = gx.pl.history(trained, keys=["valid_pearson", "lr"])
    assert len(ax.figure.axes) == 1, "no loss, so no second axis"
    assert list(by_label(ax)) == ["valid Pearson", "lr", "best epoch 3"]
    assert ax.get_ylabel() == "Metric"
    assert gx.pl.history(history, keys=["valid_pearson"]).get_ylabel() == "Pearson"


def test_history_without_a_score_marks_no_epoch(history):
    ax = gx.pl.history(history[["train_loss"]])
    assert list(by_label(ax)) == ["train loss"]
    alone = gx.pl.history(history[["valid_score"]])
    assert list(by_label(alone)) == ["valid score", "best epoch 3"]


def test_history_legend_covers_no_curve(history):
    for size in ((6, 4), (2.6, 2.2)):
        figure, ax = plt.subplots(figsize=size)
        gx.pl.history(history, ax=ax)
        figure.canvas.draw()
        twin = figure.axes[1]
        bottom = twin.get_legend().get_window_extent().y0
        assert ax.transData.transform((1, 0.9))[1] <= bottom
        assert twin.transData.transform((1, 0.9))[1] <= bottom


def test_history_of_a_real_training():
    x = np.random.default_rng(0).random((120, 2, 20)).astype(np.float32)
    mdata = gx.io.from_bins(
        x, genes=[f"g{i}" for i in range(120)], marks=MARKS[:2], expression=x[:, 0].mean(1), unit="log"
    )
    gx.pp.split_at_random(mdata)
    model = gx.model.DeepChrome(mdata)
    model.train(2, enable_progress_bar=False)
    ax = gx.pl.history(model)
    drawn = by_label(ax)
    np.testing.assert_allclose(drawn["train loss"].get_ydata(), model.history["train_loss"])
    assert f"best epoch {model.history['valid_score'].idxmax()}" in drawn
    gx.tl.class_patterns(model, n_steps=5)
    stored = mdata.uns["deepchrome_patterns"]
    image = np.asarray(gx.pl.patterns(mdata).get_images()[0].get_array())
    np.testing.assert_allclose(image[:, :20], stored["values"][0])
    np.testing.assert_allclose(image[:, -20:], stored["values"][1])


def test_history_errors(history):
    with pytest.raises(gx.InputError, match=r"no column 'nosuch': its columns are 'train_loss'"):
        gx.pl.history(history, keys=["nosuch"])
    with pytest.raises(gx.InputError, match=r"an empty history.*model\.train"):
        gx.pl.history(history.iloc[:0])
    with pytest.raises(gx.InputError, match="object without a history"):
        gx.pl.history(object())
    with pytest.raises(gx.InputError, match=r"keys= from 'lr'"):
        gx.pl.history(history[["lr"]])
    assert not plt.get_fignums()


def stars(ax):
    """(block, mark) of every star; a block is 8 bins and a gap of 1."""
    return [(int(x // 9), MARKS[int(y)]) for c in ax.collections for x, y in np.asarray(c.get_offsets())]


def test_patterns_image_stars_and_axis(mdata):
    _, ax = plt.subplots()
    assert gx.pl.patterns(mdata, ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    image = np.ma.filled(ax.get_images()[0].get_array(), np.nan)
    values = mdata.uns["deepchrome_patterns"]["values"]
    assert image.shape == (3, 17)
    np.testing.assert_array_equal(image[:, :8], values[0])
    np.testing.assert_array_equal(image[:, 9:], values[1])
    assert np.isnan(image[:, 8]).all()
    assert stars(ax) == [(0, "H3K9me3"), (1, "H3K4me3"), (1, "H3K36me3")]
    assert [t.get_text() for t in ax.texts] == ["low genes", "high genes"]
    assert [t.get_text() for t in ax.get_yticklabels()] == MARKS
    # the TSS is the left edge of bin 5
    assert ax.get_xticks() == pytest.approx([-0.5, 4.5, 7.5, 8.5, 13.5, 16.5])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["−0.5", "TSS", "+0.3"] * 2


def test_patterns_take_stored_strong_marks(mdata):
    strong = np.array([[True, False, False], [False, False, True]])
    mdata.uns["deepchrome_patterns"]["strong"] = strong
    assert stars(gx.pl.patterns(mdata)) == [(0, "H3K4me3"), (1, "H3K9me3")]


def test_patterns_survive_a_file(mdata, tmp_path):
    mdata.uns["deepchrome_patterns"]["classes"] = np.array(["low", "high"])
    mdata.write(tmp_path / "patterns.h5mu")
    ax = gx.pl.patterns(md.read_h5mu(tmp_path / "patterns.h5mu"))
    assert [t.get_text() for t in ax.texts] == ["low genes", "high genes"]


def test_patterns_per_sample_and_without_a_window(mdata):
    entry = mdata.uns["deepchrome_patterns"]
    mdata.uns["other_patterns"] = {"K562": entry, "H1": entry | {"values": entry["values"] * 0}}
    with pytest.raises(gx.InputError, match="'K562', 'H1'"):
        gx.pl.patterns(mdata, "other")
    with pytest.raises(gx.InputError, match="no sample 'HeLa'"):
        gx.pl.patterns(mdata, "other", sample="HeLa")
    assert stars(gx.pl.patterns(mdata, "other", sample="H1")) == []
    del mdata["chromatin"].uns["window"]
    ax = gx.pl.patterns(mdata)
    assert ax.get_xlabel().startswith("Bin")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "7"] * 2


def test_patterns_errors(mdata):
    with pytest.raises(gx.InputError, match=r'no "svm_patterns".*\'deepchrome\'.*class_patterns'):
        gx.pl.patterns(mdata, "svm")
    with pytest.raises(gx.InputError, match="no sample 'HeLa'"):
        gx.pl.patterns(mdata, sample="HeLa")
    mdata.uns["deepchrome_patterns"]["marks"] = MARKS[:2]
    with pytest.raises(gx.InputError, match=r"shape \(2, 3, 8\) for 2 classes and 2 marks"):
        gx.pl.patterns(mdata)
    del mdata.uns["deepchrome_patterns"]["marks"]
    with pytest.raises(gx.InputError, match="lacks 'marks'"):
        gx.pl.patterns(mdata)
    assert not plt.get_fignums()


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "auroc": [0.90, 0.957, 0.93],
            "auroc_low": [0.88, 0.95, 0.92],
            "auroc_high": [0.91, 0.96, 0.95],
            "mse": [0.5, 0.3, 0.2],
            "n": 100,
        },
        index=["linear", "random_forest", "deepchrome"],
    )


def rows(ax):
    """Model -> value of every point drawn at its height."""
    names = [t.get_text() for t in ax.get_yticklabels()]
    return {names[round(float(y[0]))]: float(x[0]) for x, y in (line.get_data() for line in ax.get_lines())}


def test_comparison_points_intervals_and_values(table):
    _, ax = plt.subplots()
    assert gx.pl.comparison(table, ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    assert rows(ax) == table["auroc"].to_dict()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["random_forest", "deepchrome", "linear"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is on top"
    segments = sorted(s[:, 0].tolist() for c in ax.collections for s in c.get_segments())
    assert segments == [[0.88, 0.91], [0.92, 0.95], [0.95, 0.96]]
    assert sorted(t.get_text() for t in ax.texts) == ["0.900", "0.930", "0.957"]
    assert ax.get_xlabel() == "AUROC, 95 % interval"


def test_comparison_of_an_error_is_lowest_first_and_needs_no_interval(table):
    ax = gx.pl.comparison(table, "mse")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["deepchrome", "random_forest", "linear"]
    assert not ax.collections
    assert ax.get_xlabel() == "Mean squared error (lower is better)"


@pytest.mark.parametrize("form", ["column", "index", "evaluate"])
def test_comparison_of_several_samples(table, form):
    other = table.assign(sample="H1", auroc=[0.99, 0.80, 0.81]).drop(columns=["auroc_low", "auroc_high"])
    both = pd.concat([table.assign(sample="K562"), other]).rename_axis("model")
    # means .945, .8785, .87
    given = {
        "column": both.reset_index(),
        "index": both.set_index("sample", append=True),
        "evaluate": both.reset_index().set_index("sample"),
    }[form]
    ax = gx.pl.comparison(given)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["linear", "random_forest", "deepchrome"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["K562", "H1"]
    assert len(ax.get_lines()) == 6 and len(ax.collections) == 3
    assert len({line.get_color() for line in ax.get_lines()}) == 2
    heights = [float(line.get_ydata()[0]) for line in ax.get_lines()]
    assert len(set(heights)) == 6, "no point hides another"


def test_comparison_leaves_out_what_is_missing(table, caplog):
    table.loc["linear", "auroc"] = np.nan
    assert set(rows(gx.pl.comparison(table))) == {"random_forest", "deepchrome"}
    assert "1 of 3 rows have no auroc" in caplog.text


def test_comparison_errors(table):
    with pytest.raises(gx.InputError, match=r"no numeric column 'r2': choose metric= from 'auroc', 'mse'"):
        gx.pl.comparison(table, "r2")
    with pytest.raises(gx.InputError, match="'linear' occurs more than once"):
        gx.pl.comparison(pd.concat([table, table.loc[["linear"]]]))
    with pytest.raises(gx.InputError, match="holds no value"):
        gx.pl.comparison(table.assign(auroc=np.nan))
    assert not plt.get_fignums()
