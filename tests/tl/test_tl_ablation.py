from __future__ import annotations

import os
import signal

import lightning
import numpy as np
import pandas as pd
import pytest
from small_models import MARKS, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError, metrics


@pytest.fixture(scope="module")
def mdata():
    return make_mdata(n_genes=400)


@pytest.fixture(scope="module")
def table(mdata):
    return gx.tl.ablate_marks("Linear", mdata, n_bootstrap=50)


def test_every_mark_is_left_out_and_alone(mdata, table):
    found = table[table["sample"] == "A"][["kind", "mark"]].to_numpy().tolist()
    assert found == [["all", ""], *(["without", m] for m in MARKS), *(["alone", m] for m in MARKS)]
    assert len(table) == 2 * 7
    pd.testing.assert_frame_equal(mdata.uns["ablation"], table)


def test_informative_marks_are_told_from_the_idle_one(table):
    means = table.groupby(["kind", "mark"])["pearson"].mean()
    assert means["alone", "H3K4me3"] > 0.8
    assert abs(means["alone", "H3K36me3"]) < 0.35
    of = table.set_index(["kind", "mark", "sample"])
    for sample in "AB":
        assert of.loc[("without", "H3K4me3", sample), "pearson_diff_high"] < 0
        low, high = of.loc[("without", "H3K36me3", sample), ["pearson_diff_low", "pearson_diff_high"]]
        assert low < 0.02 and high > -0.02
        assert of.loc[("all", "", sample), "pearson_diff"] == 0


def test_a_row_is_a_model_of_these_marks_and_its_paired_difference(mdata, table):
    whole = make_model("Linear", mdata, setup={"marks": MARKS}).predict(split="test")
    less = make_model("Linear", mdata, setup={"marks": [MARKS[0], MARKS[2]]}).predict(split="test")
    test = (mdata.obs["split"] == "test").to_numpy()
    level = mdata["rna"].layers["log"][test, 1]
    expected = metrics.bootstrap_differences(observed=level, predicted=less["B"], reference_predicted=whole["B"], n=50)[
        "pearson"
    ]
    row = table[(table["kind"] == "without") & (table["mark"] == MARKS[1]) & (table["sample"] == "B")].iloc[0]
    assert row[["pearson_diff", "pearson_diff_low", "pearson_diff_high"]].tolist() == pytest.approx(expected, abs=1e-6)
    assert row["pearson"] == pytest.approx(metrics.level_metrics(level, less["B"])["pearson"], abs=1e-6)
    assert row["n"] == (~np.isnan(level)).sum()


def test_a_model_gives_its_settings_samples_and_marks(mdata, caplog):
    forest = make_model("RandomForest", mdata, setup={"marks": [MARKS[2], MARKS[0]], "samples": ["B"]}, n_trees=7)
    table = gx.tl.ablate_marks(forest, mdata, seeds=(3, 4), n_bootstrap=0)
    assert set(table["sample"]) == {"B"}
    assert set(table["mark"]) == {"", MARKS[0], MARKS[2]}
    assert set(table["seed"]) == {3, 4}
    assert not [c for c in table if c.endswith("_low")]
    assert "10 of 10: alone H3K4me3, seed 4" in caplog.text
    whole = make_model(
        "RandomForest", mdata, setup={"marks": [MARKS[2], MARKS[0]], "samples": ["B"]}, n_trees=7, seed=4
    )
    row = table[(table["kind"] == "all") & (table["seed"] == 4)].iloc[0]
    assert row["pearson"] == pytest.approx(whole.evaluate()["pearson"].iloc[0], abs=1e-6)
    # of two marks, one left out is the other alone
    same = table[table["seed"] == 3].set_index(["kind", "mark"])["pearson"]
    assert same["without", MARKS[0]] == same["alone", MARKS[2]]


def test_one_mark_cannot_be_left_out(mdata):
    with pytest.raises(InputError, match="the model reads H3K4me3: two marks at least are needed"):
        gx.tl.ablate_marks("Linear", mdata, setup={"marks": ["H3K4me3"]})


class PressAt(lightning.Callback):
    def __init__(self, training):
        self.left = training

    def on_train_epoch_start(self, trainer, pl_module):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_finished_trainings(caplog):
    mdata = make_mdata(n_genes=120)
    network = {"model": "DeepChrome", "n_filters": 8, "kernel_size": 5, "n_hidden": [16, 8]}
    train = {"max_epochs": 1, "accelerator": "cpu", "callbacks": [PressAt(3)]}
    table = gx.tl.ablate_marks(network, mdata, samples="A", train=train, n_bootstrap=0)
    assert table[["kind", "mark"]].to_numpy().tolist() == [["all", ""], ["without", MARKS[0]]]
    assert "the table holds the 2 of 7 trainings that were complete" in caplog.text
    assert len(mdata.uns["ablation"]) == 2
