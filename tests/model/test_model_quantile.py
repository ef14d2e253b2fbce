"""Models whose samples are brought to one distribution of signal."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
from small_models import MARKS, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError

NAMES = ["DeepChrome", "Linear", "RandomForest"]


def other_instrument(mdata, sample: str):
    """The signal of one sample as a deeper experiment with another response would have it."""
    chromatin = mdata["chromatin"]
    tracks = np.flatnonzero(chromatin.var["sample"] == sample)
    chromatin.obsm["bins"][:, tracks] = np.floor(4 * chromatin.obsm["bins"][:, tracks] ** 1.5)
    return mdata


@pytest.fixture(scope="module")
def pooled():
    return make_mdata()


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_another_depth_is_predicted_as_well(name, pooled):
    """C never seen: with maps of its own it does not matter how deep it was sequenced."""
    model = make_model(name, pooled, transform="quantile")
    plain = make_mdata(n_genes=300, seed=9, samples=("C",))
    deep = other_instrument(make_mdata(n_genes=300, seed=9, samples=("C",)), "C")
    first, second = (model.evaluate(m, split=None, samples="C").loc["C"] for m in (plain, deep))
    assert first["auroc"] > 0.8
    assert second["auroc"] == pytest.approx(first["auroc"], abs=0.01)
    assert second["mse"] == pytest.approx(first["mse"], rel=0.1)


def test_without_maps_it_does_matter(pooled):
    model = make_model("Linear", pooled)
    plain = make_mdata(n_genes=300, seed=9, samples=("C",))
    deep = other_instrument(make_mdata(n_genes=300, seed=9, samples=("C",)), "C")
    first, second = (model.evaluate(m, split=None, samples="C").loc["C", "mse"] for m in (plain, deep))
    assert second > 1.5 * first


def test_maps_are_kept_with_the_model(pooled, tmp_path):
    names = ["DeepChrome", "RandomForest"]
    new = make_mdata(n_genes=200, seed=9, samples=("B", "C"))
    gx.io.write_mudata(new, tmp_path / "new.h5mu")
    for name in names:
        model = make_model(name, pooled, transform="quantile")
        state = copy.deepcopy(model.fitted_["scaler"])
        assert state["transform"] == "quantile"
        assert sorted(state["knots"]) == sorted(f"{s}.{m}" for s in "AB" for m in MARKS)
        expected = model.predict(new, samples=["C", "B"])
        # predicting does not teach the model
        assert model.fitted_["scaler"] == state
        pd.testing.assert_frame_equal(model.predict(new, samples=["C", "B"]), expected, check_exact=True)
        model.save(tmp_path / name)
        loaded = gx.model.load(tmp_path / name)
        found = loaded.predict(gx.io.read_mudata(tmp_path / "new.h5mu"), samples=["C", "B"])
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_new_sample_is_mapped_by_its_training_genes_alone(pooled, caplog):
    model = make_model("Linear", pooled, transform="quantile")
    new, changed = (make_mdata(n_genes=200, seed=9, samples=("C",)) for _ in range(2))
    train = (new.obs["split"] == "train").to_numpy()
    before = model.predict(new)
    assert f"quantiles are taken of the signal of {train.sum()} genes (the training genes)" in caplog.text
    # the others may hold anything, and expression is not looked at
    test = np.flatnonzero(~train)
    changed["chromatin"].obsm["bins"][test[1:]] *= 100
    changed["rna"].layers["log"][:] = 7
    pd.testing.assert_frame_equal(model.predict(changed)[train], before[train], check_exact=True)
    pd.testing.assert_frame_equal(model.predict(changed).iloc[test[:1]], before.iloc[test[:1]], check_exact=True)
    # a few genes are mapped as all are
    pd.testing.assert_frame_equal(model.predict(new, indices=[4, 9]), before.iloc[[4, 9]], rtol=1e-5)
    caplog.clear()
    del new.obs["split"]
    model.predict(new)
    assert "of the signal of 200 genes (all, since there is no split)" in caplog.text


def test_a_trained_sample_keeps_its_map(pooled):
    """Signal of sample A that is ten times as strong elsewhere is ten times as strong, not another instrument."""
    model = make_model("Linear", pooled, transform="quantile")
    stronger = make_mdata()
    stronger["chromatin"].obsm["bins"] *= 10
    assert (model.predict(stronger)["A"] != model.predict(pooled)["A"]).mean() > 0.9


def test_statistics_do_not_depend_on_test_genes(pooled):
    changed = make_mdata()
    changed["chromatin"].obsm["bins"][(changed.obs["split"] == "test").to_numpy()] *= 1000
    first, second = (make_model("Linear", m, transform="quantile").fitted_["scaler"] for m in (pooled, changed))
    assert first == second


def test_scales_that_do_not_compare_are_refused(pooled):
    model = make_model("Linear", pooled, transform="quantile")
    other = make_mdata(n_genes=100, samples=("C",))
    other["chromatin"].var["scale"] = "log"
    with pytest.raises(InputError, match="is of scale log in the MuData and was 'counts' in training"):
        model.predict(other)
