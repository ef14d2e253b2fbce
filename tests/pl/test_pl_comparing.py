"""Figures of comparisons, learning curves, ablations, coverage and calibration."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from small_models import make_mdata

import genexp_scverse as gx
from genexp_scverse import InputError


@pytest.fixture(autouse=True)
def _close():
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def compared():
    table = pd.DataFrame(
        {
            "sample": "K562",
            "n": 100,
            "pearson": [0.80, 0.86, 0.87],
            "pearson_low": [0.78, 0.84, 0.85],
            "pearson_high": [0.82, 0.88, 0.89],
            "pearson_diff": [-0.06, np.nan, 0.01],
            "pearson_diff_low": [-0.08, np.nan, -0.002],
            "pearson_diff_high": [-0.04, np.nan, 0.022],
            "reference": "forest",
        },
        index=pd.Index(["linear", "forest", "network"], name="model"),
    )
    mdata = gx.io.from_bins(np.ones((3, 1, 4)), genes=list("abc"), marks=["H3K4me3"])
    mdata.uns["comparison"] = table
    return mdata


def points(ax):
    """Label of the row -> (value, is it filled)."""
    names = [t.get_text() for t in ax.get_yticklabels()]
    drawn = [line for line in ax.get_lines() if line.get_marker() == "o"]
    return {
        names[round(float(line.get_ydata()[0]))]: (
            float(line.get_xdata()[0]),
            line.get_markerfacecolor() == line.get_color(),
        )
        for line in drawn
    }


def test_differences_stand_around_the_reference(compared):
    ax = gx.pl.comparison(compared, "pearson_diff")
    assert points(ax) == {"network": (0.01, False), "forest": (0.0, False), "linear": (-0.06, True)}
    assert [t.get_text() for t in ax.get_yticklabels()] == ["network", "forest", "linear"]
    assert ax.get_xlabel() == "Difference in Pearson correlation\nto forest, 95 % interval"
    assert sorted(t.get_text() for t in ax.texts) == ["+0.010", "reference", "−0.060"]
    (zero,) = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert list(zero.get_xdata()) == [0, 0]
    segments = sorted(s[:, 0].tolist() for c in ax.collections for s in c.get_segments())
    assert segments == [[-0.08, -0.04], [-0.002, 0.022], [0, 0]]
    assert compared.uns["comparison"].loc["forest"].isna().sum() == 3, "the table is as it was"


@pytest.mark.parametrize(("value", "printed"), [(-0.0004, "0.000"), (0.0004, "0.000"), (-0.0006, "−0.001")])
def test_a_difference_that_rounds_to_nothing_has_no_sign(value, printed):
    table = pd.DataFrame({"pearson_diff": [value, np.nan], "reference": "forest"}, index=["network", "forest"])
    ax = gx.pl.comparison(table, "pearson_diff")
    assert sorted(t.get_text() for t in ax.texts) == sorted([printed, "reference"])


def test_a_table_in_any_form_gives_the_same_figure(compared):
    table = compared.uns["comparison"]
    for given in (table, table.reset_index(), table.set_index("sample", append=True)):
        assert points(gx.pl.comparison(given, "pearson_diff")) == points(gx.pl.comparison(compared, "pearson_diff"))
    assert set(points(gx.pl.comparison(compared, "pearson"))) == {"linear", "forest", "network"}


def test_no_table_is_said(compared):
    with pytest.raises(InputError, match=r'no table "other": make it with gx.tl.compare'):
        gx.pl.comparison(compared, key="other")
    with pytest.raises(
        InputError, match="no numeric column 'auroc_diff': choose metric= from 'pearson', 'pearson_diff'"
    ):
        gx.pl.comparison(compared, "auroc_diff")
    for draw, name in ((gx.pl.learning_curve, "learning_curve"), (gx.pl.ablation, "ablate_marks")):
        with pytest.raises(InputError, match=rf"make it with gx.tl.{name}"):
            draw(compared)
        with pytest.raises(InputError, match="is not possible: give a data frame or a MuData of genes"):
            draw([1])
        with pytest.raises(InputError, match=rf"the table has no column .*: give what gx.tl.{name} returned"):
            draw(compared.uns["comparison"])
    with pytest.raises(InputError, match=r"make it with gx.tl.interval_coverage"):
        gx.pl.interval_coverage(compared)
    assert not plt.get_fignums()


@pytest.fixture
def curve():
    rows = [
        {"model": model, "n_train": n, "seed": seed, "sample": sample, "n": 500, "pearson": value + 0.01 * seed}
        for model, values in (("raw", (0.5, 0.7, 0.8)), ("latent", (0.6, 0.72, 0.79)))
        for n, value in zip((100, 1000, 11_553), values, strict=True)
        for seed in (0, 1, 2)
        for sample in ("K562", "H1")
    ]
    return pd.DataFrame(rows)


def test_curves_are_means_and_bands_are_ranges(curve):
    _, ax = plt.subplots()
    assert gx.pl.learning_curve(curve, sample="H1", ax=ax) is ax
    raw, latent = ax.get_lines()
    np.testing.assert_allclose(raw.get_xydata(), [[100, 0.51], [1000, 0.71], [11_553, 0.81]])
    np.testing.assert_allclose(latent.get_ydata(), [0.61, 0.73, 0.80])
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["100", "1,000", "11,553"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["raw", "latent"]
    for band, low in zip(ax.collections, ((0.5, 0.7, 0.8), (0.6, 0.72, 0.79)), strict=True):
        y = band.get_paths()[0].vertices[:, 1]
        assert y.min() == pytest.approx(min(low))
        assert y.max() == pytest.approx(max(low) + 0.02)
    assert ax.get_ylabel() == "Pearson correlation, mean and range of 3 seeds"
    assert ax.get_title() == "H1, n = 500 other genes"


def test_a_sample_must_be_chosen(curve):
    with pytest.raises(InputError, match=r"holds 2 samples \('K562', 'H1'\): choose one with sample="):
        gx.pl.learning_curve(curve)
    with pytest.raises(InputError, match="there is no sample 'Z' in the table: it has 'K562', 'H1'"):
        gx.pl.learning_curve(curve, sample="Z")
    with pytest.raises(InputError, match="no numeric column 'r2'"):
        gx.pl.learning_curve(curve, "r2", sample="H1")
    with pytest.raises(InputError, match="holds no value"):
        gx.pl.learning_curve(curve.assign(pearson=np.nan), sample="H1")


@pytest.fixture
def ablated():
    rows = [{"kind": "all", "mark": "", "pearson": 0.8, "pearson_diff": 0.0, "low": 0.0, "high": 0.0}]
    for kind, mark, value, low, high in (
        ("without", "H3K4me3", 0.70, -0.12, -0.08),
        ("without", "H3K9me3", 0.81, -0.01, 0.03),
        ("without", "H3K36me3", 0.60, -0.22, -0.18),
        ("alone", "H3K4me3", 0.60, -0.22, -0.18),
        ("alone", "H3K9me3", 0.05, -0.80, -0.70),
        ("alone", "H3K36me3", 0.50, -0.32, -0.28),
    ):
        rows.append(
            {"kind": kind, "mark": mark, "pearson": value, "pearson_diff": value - 0.8, "low": low, "high": high}
        )
    frame = pd.DataFrame(rows).rename(columns={"low": "pearson_diff_low", "high": "pearson_diff_high"})
    frame["pearson_low"], frame["pearson_high"] = frame["pearson"] - 0.02, frame["pearson"] + 0.02
    return frame.assign(seed=0, sample="K562", n=100)


def test_losses_are_differences_with_the_greatest_on_top(ablated):
    ax = gx.pl.ablation(ablated)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["H3K36me3", "H3K4me3", "H3K9me3"]
    found = points(ax)
    assert found["H3K36me3"] == (pytest.approx(-0.2), True)
    assert found["H3K9me3"] == (pytest.approx(0.01), False), "its interval holds 0"
    assert ax.get_xlabel() == "Difference in Pearson correlation without the mark, 95 % interval"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_marks_alone_stand_beside_all(ablated):
    ax = gx.pl.ablation(ablated, kind="alone")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["H3K4me3", "H3K36me3", "H3K9me3"]
    assert {k: v for k, (v, _) in points(ax).items()} == {"H3K4me3": 0.6, "H3K36me3": 0.5, "H3K9me3": 0.05}
    (line,) = [line for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert line.get_xdata()[0] == pytest.approx(0.8)
    assert "all marks, 0.800" in ax.get_xlabel()
    with pytest.raises(InputError, match="kind='both' is not known: choose one of without, alone"):
        gx.pl.ablation(ablated, kind="both")


def test_seeds_stand_apart(ablated):
    both = pd.concat([ablated, ablated.assign(seed=1, pearson_diff=ablated["pearson_diff"] - 0.01)])
    ax = gx.pl.ablation(both)
    heights = [float(line.get_ydata()[0]) for line in ax.get_lines() if line.get_marker() == "o"]
    assert len(heights) == len(set(heights)) == 6


def test_coverage_is_drawn_against_what_was_stated():
    table = pd.DataFrame(
        {
            "sample": ["A"] * 2 + ["B"] * 2,
            "coverage": [0.9, 0.5] * 2,
            "n": [100, 100, 90, 90],
            "observed": [0.91, 0.48, 0.8, 0.4],
            "observed_low": [0.84, 0.38, 0.7, 0.3],
            "observed_high": [0.95, 0.58, 0.87, 0.5],
            "width": [1.6, 0.7, 2.0, 0.9],
        }
    )
    ax = gx.pl.interval_coverage(table)
    diagonal, a, b = ax.get_lines()
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_array_equal(a.get_ydata(), [0.48, 0.91])
    np.testing.assert_allclose(a.get_xdata(), [0.5, 0.9], atol=0.005)
    np.testing.assert_array_equal(b.get_ydata(), [0.4, 0.8])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["A  width 1.60 at 90 %", "B  width 2.00 at 90 %"]
    assert ax.get_title() == "n = 90–100"
    assert ax.get_ylim()[0] < 0.3


def test_calibration_says_how_many_genes_a_point_has():
    mdata = make_mdata(n_genes=300)
    rng = np.random.default_rng(0)
    for name in ("one", "other"):
        mdata["rna"].layers[f"{name}_prob"] = rng.random((300, 2)).astype(np.float32)
    measured = int((~np.isnan(mdata["rna"].layers["label"][:, 0])).sum())
    ax = gx.pl.calibration(mdata, ["one", "other"], sample="A", split=None, n_bins=5)
    assert ax.get_xlabel() == f"Mean predicted probability, {round(measured / 5)} genes a point"
    assert [t.get_text().split("  ")[0] for t in ax.get_legend().get_texts()] == ["one", "other"]
