from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_models import make_mdata, make_model
from statsmodels.stats.proportion import proportion_confint

import genexp_scverse as gx
from genexp_scverse import InputError


@pytest.fixture(scope="module")
def mdata():
    return make_mdata(n_genes=500)


@pytest.fixture(scope="module")
def model(mdata):
    ensemble = gx.model.Ensemble(mdata, model="Linear", n_members=1)
    ensemble.train()
    return ensemble


def test_shares_and_widths_are_counted(mdata, model):
    table = gx.tl.interval_coverage(model, mdata, coverages=(0.9, 0.5))
    assert table[["sample", "coverage"]].to_numpy().tolist() == [["A", 0.5], ["A", 0.9], ["B", 0.5], ["B", 0.9]]
    test = (mdata.obs["split"] == "test").to_numpy()
    for row in table.to_dict("records"):
        level = mdata["rna"].layers["log"][test, "AB".index(row["sample"])]
        frame = model.predict_interval(split="test", coverage=row["coverage"], samples=row["sample"])
        low, high = (frame[f"{row['sample']}:{end}"].to_numpy() for end in ("low", "high"))
        known = ~np.isnan(level)
        inside = int(((low <= level) & (level <= high)).sum())
        assert row["n"] == known.sum()
        assert row["observed"] == pytest.approx(inside / known.sum())
        expected = proportion_confint(inside, known.sum(), method="wilson")
        assert (row["observed_low"], row["observed_high"]) == pytest.approx(expected)
        assert row["width"] == pytest.approx((high - low)[known].mean(), rel=1e-5)
    pd.testing.assert_frame_equal(mdata.uns["interval_coverage"], table)


def test_validation_and_training_genes_are_said(mdata, model, caplog):
    gx.tl.interval_coverage(model, mdata, coverages=[0.5])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    gx.tl.interval_coverage(model, mdata, coverages=[0.5, 0.9], split="valid")
    assert "what these cover says nothing" in caplog.text
    gx.tl.interval_coverage(model, mdata, coverages=[0.5, 0.9], split=None)
    assert caplog.text.count("were training genes of this model") == 1


def test_what_gives_no_intervals_is_said(mdata):
    with pytest.raises(InputError, match=r"Linear gives no intervals: make it the one member of gx.model.Ensemble"):
        gx.tl.interval_coverage(make_model("Linear", mdata), mdata)


def test_nothing_measured_is_said(mdata, model):
    other = make_mdata(n_genes=80, seed=3)
    other["rna"].layers["log"][(other.obs["split"] == "test").to_numpy(), 0] = np.nan
    with pytest.raises(InputError, match="sample 'A' has no measured level in split 'test'"):
        gx.tl.interval_coverage(model, other)
