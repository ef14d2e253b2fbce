"""Samples left out in turn, against models trained by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from small_models import FAST, MARKS, make_mdata, make_model, without

import genexp_scverse as gx
from genexp_scverse import InputError


@pytest.fixture(scope="module")
def three():
    return make_mdata(samples=("A", "B", "C"))


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_figures_are_those_of_models_made_by_hand(name, three):
    training = FAST[name]["train"]
    table = gx.tl.leave_one_sample_out(
        {"model": name, **FAST[name]["hyper"]}, three, seeds=[4], train=training, n_bootstrap=20
    )
    assert table["sample"].tolist() == ["A", "A", "B", "B", "C", "C"]
    assert table["kind"].tolist() == ["seen", "unseen"] * 3
    assert table["n_samples"].tolist() == [3, 2] * 3
    assert (table["n_marks"] == 3).all()
    assert (table["seed"] == 4).all()
    pd.testing.assert_frame_equal(three.uns["leave_one_sample_out"], table)
    log = three["rna"].layers["log"]
    split = three.obs["split"].to_numpy()
    seen = make_model(name, make_mdata(samples=("A", "B", "C")), setup={"samples": list("ABC")}, seed=4)
    for j, sample in enumerate("ABC"):
        rows = table[table["sample"] == sample].set_index("kind")
        others = [s for s in "ABC" if s != sample]
        unseen = make_model(name, make_mdata(samples=("A", "B", "C")), setup={"samples": others}, seed=4)
        measured = (split == "test") & ~np.isnan(log[:, j])
        label = log[measured, j] > np.nanmedian(log[split == "train", j])
        found = {}
        for kind, model in (("seen", seen), ("unseen", unseen)):
            said = model.predict(samples=sample)[measured]
            found[kind] = roc_auc_score(label, said[f"{sample}:prob"])
            assert rows.loc[kind, "n"] == measured.sum()
            # evaluate does the same for a sample that the model has not seen
            assert model.evaluate(samples=sample).loc[sample, "auroc"] == pytest.approx(found[kind], abs=1e-6)
            assert rows.loc[kind, "auroc"] == pytest.approx(found[kind], abs=1e-6)
            pearson = stats.pearsonr(log[measured, j], said[sample])[0]
            assert rows.loc[kind, "pearson"] == pytest.approx(pearson, abs=1e-5)
            assert rows.loc[kind, "auroc_low"] <= rows.loc[kind, "auroc"] <= rows.loc[kind, "auroc_high"]
        assert rows.loc["unseen", "auroc_diff"] == pytest.approx(found["unseen"] - found["seen"], abs=1e-6)
        assert rows.loc["seen", "auroc_diff"] == 0


def test_nothing_of_the_sample_left_out_but_its_signal_is_read():
    """Its training expression changes its own label's threshold alone, here not even that."""
    clean, changed = (make_mdata(samples=("A", "B")) for _ in range(2))
    train = (changed.obs["split"] == "train").to_numpy()
    log = changed["rna"].layers["log"]
    rng = np.random.default_rng(0)
    measured = np.flatnonzero(train & ~np.isnan(log[:, 1]))
    # another order of the same levels: the median stays
    log[measured, 1] = log[rng.permutation(measured), 1]
    tables = [gx.tl.leave_one_sample_out("Linear", m, n_bootstrap=0) for m in (clean, changed)]
    unseen = [t[(t["sample"] == "B") & (t["kind"] == "unseen")].iloc[0] for t in tables]
    seen = [t[(t["sample"] == "B") & (t["kind"] == "seen")].iloc[0] for t in tables]
    for metric in ("n", "auroc", "auprc", "pearson", "spearman"):
        assert unseen[0][metric] == unseen[1][metric]
    assert seen[0]["pearson"] > seen[1]["pearson"] + 0.05


def test_a_model_gives_its_hyperparameters_and_setup(three):
    model = make_model(
        "Linear",
        three,
        setup={"samples": ["C", "A"], "marks": MARKS[:2], "target": "expression"},
        train=False,
        n_pooled=5,
    )
    table = gx.tl.leave_one_sample_out(model, three, n_bootstrap=0)
    assert table["sample"].tolist() == ["C", "C", "A", "A"]
    assert (table["n_marks"] == 2).all()
    assert table["auroc"].isna().all()
    assert model.setup_["samples"] == ["C", "A"]
    assert gx.model.Linear(three).setup_["samples"] == ["C", "A"]


def test_marks_that_nothing_can_be_learned_about_are_left_out(caplog):
    """K562 has three marks and H1 two: each alone knows no missing mark."""
    mdata = without(make_mdata(samples=("K562", "H1")), f"H1.{MARKS[2]}")
    table = gx.tl.leave_one_sample_out("Linear", mdata, setup={"marks": "all"}, n_bootstrap=0)
    assert table.set_index(["sample", "kind"])["n_marks"].to_dict() == {
        ("K562", "seen"): 3,
        ("K562", "unseen"): 2,
        ("H1", "seen"): 3,
        ("H1", "unseen"): 2,
    }
    assert f"Without H1 the model reads the marks that it has ({MARKS[0]}, {MARKS[1]})" in caplog.text
    assert (table["auroc"] > 0.8).all()


def test_marks_are_masked_where_others_lack_some():
    """Without C there are A with all marks and B with two, so that C may lack another one."""
    mdata = without(make_mdata(samples=("A", "B", "C")), f"B.{MARKS[2]}", f"C.{MARKS[1]}")
    table = gx.tl.leave_one_sample_out("Linear", mdata, setup={"marks": "all"}, n_bootstrap=0)
    assert (table["n_marks"] == 3).all()
    assert (table["auroc"] > 0.75).all()


def test_quantile_maps_of_the_sample_left_out(three):
    table = gx.tl.leave_one_sample_out({"model": "Linear", "transform": "quantile"}, three, n_bootstrap=0)
    assert (table["auroc"] > 0.8).all()


def test_what_cannot_be_left_out_is_said_before_training(three):
    with pytest.raises(InputError, match="there is one sample, 'B'"):
        gx.tl.leave_one_sample_out("Linear", three, samples="B")
    tracks = [f"B.{m}" for m in MARKS[1:]] + [f"A.{MARKS[0]}"]
    apart = without(make_mdata(), *tracks)
    with pytest.raises(InputError, match="sample 'A' has none of the marks of the others"):
        gx.tl.leave_one_sample_out("Linear", apart, setup={"marks": "all"})
    assert "leave_one_sample_out" not in apart.uns


def test_the_table_is_written_to_a_file(three, tmp_path):
    mdata = make_mdata()
    table = gx.tl.leave_one_sample_out("Linear", mdata, n_bootstrap=10, key_added="out")
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    back = gx.io.read_mudata(tmp_path / "m.h5mu").uns["out"]
    pd.testing.assert_frame_equal(back.reset_index(drop=True), table, check_dtype=False)
