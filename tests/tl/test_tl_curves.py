from __future__ import annotations

import os
import signal

import lightning
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.tl import _trials
from genexp_scverse.tl.curves import _with_few

TRAIN = {"max_epochs": 3, "accelerator": "cpu", "lr": 1e-2, "batch_size": 32}
NETWORK = {"model": "DeepChrome", "n_filters": 8, "kernel_size": 5, "n_hidden": [16, 8], "dropout": 0.1}


@pytest.fixture(scope="module")
def mdata():
    return make_mdata(n_genes=600)


def rows_of(mdata, split):
    measured = ~np.isnan(mdata["rna"].layers["log"]).all(axis=1)
    return np.flatnonzero((mdata.obs["split"] == split).to_numpy() & measured)


def test_a_row_is_what_training_on_these_genes_by_hand_gives(mdata):
    table = gx.tl.learning_curve({"linear": "Linear"}, mdata, sizes=(50,), seeds=(4,))
    log = mdata["rna"].layers["log"].astype(float)
    known, valid = rows_of(mdata, "train"), rows_of(mdata, "valid")
    rng = np.random.default_rng(4)
    order, order_valid = rng.permutation(known), rng.permutation(valid)
    n_valid = max(20, round(len(valid) * 50 / len(known)))
    mine = mdata.copy()
    for layer in ("log", "label"):
        mine["rna"].layers[layer][np.concatenate([order[50:], order_valid[n_valid:]])] = np.nan
    model = make_model("Linear", mine, seed=4)
    assert model.fitted_["training_genes"] == sorted(mdata.obs_names[order[:50]])
    predicted = model.predict()
    test, train = ((mdata.obs["split"] == s).to_numpy() for s in ("test", "train"))
    for j, sample in enumerate("AB"):
        row = table[table["sample"] == sample].iloc[0]
        test_known = test & ~np.isnan(log[:, j])
        label = log[test_known, j] > np.nanmedian(log[train, j])
        assert row["n"] == test_known.sum()
        assert row["auroc"] == pytest.approx(roc_auc_score(label, predicted[f"{sample}:prob"][test_known]), abs=1e-6)
        expected = stats.pearsonr(log[test_known, j], predicted[sample][test_known]).statistic
        assert row["pearson"] == pytest.approx(expected, abs=1e-5)
        assert (row["n_train"], row["seed"], row["n_valid"], row["model"]) == (50, 4, n_valid, "linear")


def test_genes_are_nested_and_the_same_for_all_models(mdata):
    known, valid = rows_of(mdata, "train"), rows_of(mdata, "valid")
    shown = {}
    for seed in (0, 1):
        for n in (30, 100, len(known)):
            light, n_valid = _with_few(mdata, "rna", known, valid, n, seed)
            for layer in (light["rna"].X, light["rna"].layers["log"]):
                seen = ~np.isnan(layer).all(axis=1)
                assert seen[known].sum() == n
                assert seen[valid].sum() == n_valid == min(len(valid), max(20, round(len(valid) * n / len(known))))
            assert (light.obs["split"] == mdata.obs["split"]).all(), "hidden genes stay training genes"
            shown[seed, n] = set(np.flatnonzero(seen))
            test = rows_of(mdata, "test")
            np.testing.assert_array_equal(light["rna"].layers["log"][test], mdata["rna"].layers["log"][test])
        assert shown[seed, 30] < shown[seed, 100] < shown[seed, len(known)]
    assert shown[0, 30] != shown[1, 30]
    assert shown[0, len(known)] == shown[1, len(known)]


def test_signal_is_shared_and_the_users_data_stay(mdata):
    gx.model.Linear.setup_mudata(mdata, marks=["H3K36me3"])
    identity = mdata.uns["_scvi_uuid"]
    before = mdata.copy()
    light = _trials.light_copy(mdata)
    for name in ("bins",):
        assert np.shares_memory(light["chromatin"].obsm[name], mdata["chromatin"].obsm[name])
    assert np.shares_memory(light["chromatin"].X, mdata["chromatin"].X)
    assert not np.shares_memory(light["rna"].layers["log"], mdata["rna"].layers["log"])
    assert list(light.obs) == list(mdata.obs)
    gx.tl.learning_curve({"linear": "Linear"}, mdata, sizes=(30, None), seeds=(0,))
    for layer in ("log", "label"):
        np.testing.assert_array_equal(mdata["rna"].layers[layer], before["rna"].layers[layer])
    np.testing.assert_array_equal(mdata["rna"].X, before["rna"].X)
    pd.testing.assert_frame_equal(mdata.obs, before.obs, check_dtype=False)
    assert mdata.uns["_scvi_uuid"] == identity
    assert gx.model.Linear(mdata).setup_["marks"] == ["H3K36me3"]


def test_graphs_go_along(mdata):
    import scipy.sparse as sp

    graph = sp.random(mdata.n_obs, mdata.n_obs, 0.01, format="csr", dtype=np.float32, random_state=0)
    own = mdata.copy()
    own.obsp["neighbors"] = graph
    own.uns["graphs"] = {"neighbors": {"method": "distance"}}
    light = _trials.light_copy(own)
    np.testing.assert_array_equal(light.obsp["neighbors"].toarray(), graph.toarray())
    assert light.uns["graphs"] == own.uns["graphs"]


def test_more_genes_help_and_all_models_are_there(mdata, caplog):
    models = {"linear": "Linear", "forest": {"model": "RandomForest", "n_trees": 20}}
    table = gx.tl.learning_curve(models, mdata, sizes=(None, 25), seeds=(0, 1, 2))
    known = len(rows_of(mdata, "train"))
    assert len(table) == 2 * 2 * 3 * 2
    assert list(dict.fromkeys(table["n_train"])) == [25, known]
    means = table.groupby(["model", "n_train"])["pearson"].mean().unstack()
    assert (means[known] > means[25] + 0.03).all()
    assert "12 of 12: forest, " in caplog.text
    assert "differs from" not in caplog.text, "labels of fewer genes are no contradiction"
    pd.testing.assert_frame_equal(mdata.uns["learning_curve"], table)


def test_a_pooled_model_of_one_sample_and_of_chosen_marks(mdata):
    table = gx.tl.learning_curve(
        {"linear": "Linear"}, mdata, sizes=(60,), seeds=(0,), samples="B", setup={"marks": ["H3K36me3"]}, split="valid"
    )
    assert list(table["sample"]) == ["B"]
    assert abs(table["pearson"].iloc[0]) < 0.5, "this mark tells nothing"


def test_labels_alone_are_enough():
    mdata = make_mdata(n_genes=300)
    rna = mdata["rna"]
    rna.layers["log"] = np.full(rna.shape, np.nan, np.float32)
    rna.X = rna.layers["log"].copy()
    table = gx.tl.learning_curve({"linear": "Linear"}, mdata, sizes=(80,), seeds=(0,))
    assert (table["auroc"] > 0.8).all()
    assert table["pearson"].isna().all()


class AtTraining(lightning.Callback):
    """Do something in the n-th training."""

    def __init__(self, training, what):
        self.left, self.what = training, what

    def on_train_epoch_start(self, trainer, pl_module):
        self.left -= trainer.current_epoch == 0
        if self.left == 0 and trainer.current_epoch == 1:
            self.what()


def press():
    os.kill(os.getpid(), signal.SIGINT)


def fail():
    raise RuntimeError("broken callback")


def test_ctrl_c_keeps_finished_trainings(caplog):
    mdata = make_mdata(n_genes=200)
    handler = signal.getsignal(signal.SIGINT)
    models = {"network": {**NETWORK, "train": {**TRAIN, "callbacks": [AtTraining(3, press)]}}, "linear": "Linear"}
    table = gx.tl.learning_curve(models, mdata, sizes=(30, 60), seeds=(0, 1))
    assert signal.getsignal(signal.SIGINT) is handler
    assert "the table holds the 4 of 8 trainings that were complete" in caplog.text
    assert table[["model", "n_train", "seed"]].drop_duplicates().to_numpy().tolist() == [
        ["network", 30, 0],
        ["linear", 30, 0],
        ["network", 30, 1],
        ["linear", 30, 1],
    ]
    pd.testing.assert_frame_equal(mdata.uns["learning_curve"], table)


def test_ctrl_c_in_the_first_training_is_an_interrupt():
    mdata = make_mdata(n_genes=200)
    models = {"network": {**NETWORK, "train": {**TRAIN, "callbacks": [AtTraining(1, press)]}}}
    with pytest.raises(KeyboardInterrupt):
        gx.tl.learning_curve(models, mdata, sizes=(30,), seeds=(0,))
    assert "learning_curve" not in mdata.uns


def test_finished_trainings_outlive_one_that_fails():
    mdata = make_mdata(n_genes=200)
    models = {"network": {**NETWORK, "train": {"callbacks": [AtTraining(2, fail)]}}}
    with pytest.raises(RuntimeError, match="broken callback"):
        gx.tl.learning_curve(models, mdata, sizes=(30,), seeds=(0, 1), train=TRAIN)
    assert mdata.uns["learning_curve"]["seed"].tolist() == [0, 0]


def test_what_cannot_be_is_said_before_anything_is_trained(mdata, caplog):
    there = len(rows_of(mdata, "train"))
    for arguments, message in (
        ({"sizes": (100, 10_000)}, f"sizes holds 10000, and {there} training genes have expression"),
        ({"sizes": (0,)}, "sizes holds 0: give whole numbers"),
        ({"sizes": (2.5,)}, "sizes holds 2.5"),
        ({"sizes": ()}, "sizes is empty"),
        ({"models": {}}, "models is empty"),
        ({"models": {"a": "Linear", "b": "Lineal"}}, "there is no model 'Lineal'"),
        ({"models": {"a": {"model": "Linear", "depth": 3}}}, "there is no argument 'depth' of Linear"),
        ({"models": {"a": {"model": "Linear", "c": -1}}}, "c=-1 is not possible"),
        ({"samples": ["C"]}, "there is no sample 'C' with tracks"),
        ({"split": "dev"}, "split='dev' is not known"),
    ):
        with pytest.raises(InputError, match=message):
            gx.tl.learning_curve(**{"models": {"linear": "Linear"}, "mdata": mdata, "sizes": (50,), **arguments})
    assert "of 12:" not in caplog.text


def test_the_table_comes_back_from_a_file(tmp_path):
    mdata = make_mdata(n_genes=200)
    table = gx.tl.learning_curve({"linear": "Linear"}, mdata, sizes=(40, 80), seeds=(0,))
    gx.io.write_mudata(mdata, tmp_path / "x.h5mu")
    again = gx.io.read_mudata(tmp_path / "x.h5mu")
    pd.testing.assert_frame_equal(
        again.uns["learning_curve"].reset_index(drop=True), table, check_dtype=False, check_column_type=False
    )
    assert len(gx.pl.learning_curve(again, sample="A").get_lines()) == 1
