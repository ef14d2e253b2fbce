"""A model used again: saved over, trained again, loaded, moved to other data; and what is refused."""

from __future__ import annotations

from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from small_models import FAST, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError, _output

QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 32}
SMALL = FAST["DeepChrome"]["hyper"]


def split_by_position(mdata, order=("train", "valid", "test")):
    """Half of the genes for the first, a quarter for each of the others; other genes for another order."""
    n = mdata.n_obs // 4
    counts = {"train": mdata.n_obs - 2 * n, "valid": n, "test": n}
    mdata.obs["split"] = np.concatenate([[s] * counts[s] for s in order])
    return mdata


def by_hand(mdata) -> dict[str, dict[str, float]]:
    """Thresholds and divisors of the present training genes."""
    train = (mdata.obs["split"] == "train").to_numpy()
    log = mdata["rna"].layers["log"][train].astype(float)
    bins = np.log1p(mdata["chromatin"].obsm["bins"][train].astype(float))
    marks = mdata["chromatin"].var["mark"].to_numpy()
    return {
        "thresholds": {s: float(np.nanmedian(log[:, j])) for j, s in enumerate("AB")},
        "level_mean": {s: float(np.nanmean(log[:, j])) for j, s in enumerate("AB")},
        "divisors": {m: float(bins[:, marks == m].std()) for m in dict.fromkeys(marks)},
    }


def fitted(model) -> dict[str, dict[str, float]]:
    scaler = model.fitted_["scaler"]
    return {
        "thresholds": model.fitted_["thresholds"],
        "level_mean": model.fitted_["level_mean"],
        "divisors": dict(zip(scaler["marks"], scaler["divisors"], strict=True)),
    }


def same_statistics(model, mdata) -> bool:
    expected, found = by_hand(mdata), fitted(model)
    return all(found[k] == pytest.approx(expected[k], rel=1e-5) for k in expected)


# saving over


@pytest.fixture(scope="module")
def two():
    """Two models of one class that predict different numbers, and the data."""
    mdata = make_mdata(n_genes=100)
    return make_model("DeepChrome", mdata, seed=1), make_model("DeepChrome", mdata, seed=2), mdata


def test_saving_over_leaves_what_is_not_the_models(two, tmp_path):
    old, new, mdata = two
    old.save(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("do not lose")
    (tmp_path / "m" / "figures").mkdir()
    (tmp_path / "m" / "figures" / "roc.pdf").write_bytes(b"1")
    (tmp_path / "m" / "link").symlink_to("notes.txt")
    new.save(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m" / "notes.txt").read_text() == "do not lose"
    assert (tmp_path / "m" / "figures" / "roc.pdf").read_bytes() == b"1"
    assert (tmp_path / "m" / "link").is_symlink()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    pd.testing.assert_frame_equal(gx.model.load(tmp_path / "m").predict(mdata), new.predict(), check_exact=True)


def test_an_exchange_that_fails_leaves_the_old_model(two, tmp_path, monkeypatch):
    old, new, mdata = two
    old.save(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("do not lose")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}

    def broken(*_):
        raise OSError("disk is gone")

    monkeypatch.setattr(_output, "_exchange", broken)
    with pytest.raises(InputError, match=r"could not be written \(disk is gone\): nothing was changed"):
        new.save(tmp_path / "m", overwrite=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before
    pd.testing.assert_frame_equal(gx.model.load(tmp_path / "m").predict(mdata), old.predict(), check_exact=True)


def test_a_first_save_that_fails_leaves_nothing(two, tmp_path, monkeypatch):
    def broken(self, target):
        raise OSError("disk is gone")

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(InputError, match="could not be written"):
        two[0].save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_model_stays_a_link(two, tmp_path):
    old, new, mdata = two
    old.save(tmp_path / "store" / "v1")
    (tmp_path / "latest").symlink_to(tmp_path / "store" / "v1")
    new.save(tmp_path / "latest", overwrite=True)
    assert (tmp_path / "latest").is_symlink()
    assert not (tmp_path / "store" / "v1").is_symlink()
    assert (tmp_path / "store" / "v1").is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "store"]
    for where in ("latest", "store/v1"):
        pd.testing.assert_frame_equal(gx.model.load(tmp_path / where).predict(mdata), new.predict(), check_exact=True)


# training again


def test_after_a_failed_training_statistics_are_fitted_anew():
    mdata = split_by_position(make_mdata(n_genes=120))
    model = gx.model.DeepChrome(mdata, **SMALL)
    with pytest.raises(InputError, match="there is no argument 'colour' of DeepChrome"):
        model.train(1, colour="red", **QUIET)
    assert not model.is_trained_
    first = by_hand(mdata)
    split_by_position(mdata, ("test", "valid", "train"))
    assert by_hand(mdata)["thresholds"] != pytest.approx(first["thresholds"], rel=1e-3)
    model.train(1, **QUIET)
    assert same_statistics(model, mdata)


@pytest.mark.parametrize("name", ["Linear", "LinearSVM", "RandomForest"])
def test_a_baseline_begins_anew_on_another_split(name):
    mdata = split_by_position(make_mdata(n_genes=120))
    model = make_model(name, mdata)
    assert same_statistics(model, mdata)
    split_by_position(mdata, ("test", "valid", "train"))
    model.train()
    assert same_statistics(model, mdata)
    measured = ~np.isnan(mdata["rna"].layers["log"]).all(axis=1)
    train = (mdata.obs["split"] == "train").to_numpy()
    assert model.fitted_["training_genes"] == list(mdata.obs_names[train & measured])
    pd.testing.assert_frame_equal(model.predict(), make_model(name, mdata).predict(), check_exact=True)


def test_a_network_remembers_all_genes_that_it_was_trained_on(caplog):
    mdata = split_by_position(make_mdata(n_genes=120))
    model = gx.model.DeepChrome(mdata, **SMALL)
    model.train(1, **QUIET)
    first, statistics = set(model.fitted_["training_genes"]), by_hand(mdata)
    split_by_position(mdata, ("test", "valid", "train"))
    model.train(1, **QUIET)
    measured = ~np.isnan(mdata["rna"].layers["log"]).all(axis=1)
    second = set(mdata.obs_names[(mdata.obs["split"] == "train").to_numpy() & measured])
    assert first - second
    assert model.fitted_["training_genes"] == sorted(first | second)
    assert fitted(model)["thresholds"] == pytest.approx(statistics["thresholds"])
    caplog.clear()
    model.evaluate(split="test")
    formerly = first & set(mdata.obs_names[(mdata.obs["split"] == "test").to_numpy()])
    assert f"{len(formerly)} of the 30 genes evaluated were training genes of this model" in caplog.text


def turned(mdata, noise: float):
    """The same marks with the opposite meaning, and noise in the levels: harder, and still to be learned."""
    bins = mdata["chromatin"].obsm["bins"]
    mdata["chromatin"].obsm["bins"] = bins[:, [1, 0, 2, 4, 3, 5]].copy()
    log = mdata["rna"].layers["log"]
    log += np.random.default_rng(0).normal(0, noise, log.shape).astype(np.float32)
    gx.pp.label(mdata)
    return mdata


def test_a_loaded_model_is_scored_anew_on_other_data(tmp_path):
    """The best score on easy data would never be reached on harder ones."""
    make_model("DeepChrome", make_mdata()).save(tmp_path / "m")
    hard = turned(make_mdata(seed=5), noise=1.0)
    model = gx.model.load(tmp_path / "m", hard)
    before, old = model.predict(), model.history["valid_score"].max()
    table = model.evaluate()
    model.train(10, lr=1e-2, weight_decay=1e-2, **QUIET)
    new = model.history["valid_score"].iloc[8:]
    assert new.max() < old
    assert (model.predict() != before).to_numpy().any()
    assert (model.evaluate()["auroc"] > table["auroc"] + 0.2).all()
    assert model.fitted_["best_epoch"] == new.idxmax()
    rows = (hard.obs["split"] == "valid").to_numpy()
    log, predicted, auroc = hard["rna"].layers["log"], model.predict(), []
    for j, sample in enumerate("AB"):
        measured = rows & ~np.isnan(log[:, j])
        label = log[measured, j] > model.fitted_["thresholds"][sample]
        auroc.append(roc_auc_score(label, predicted[f"{sample}:prob"][measured]))
    assert model.history["valid_auroc"][model.fitted_["best_epoch"]] == pytest.approx(np.mean(auroc), abs=1e-5)


class Broken(lightning.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("broken callback")


def test_a_training_that_fails_midway_leaves_the_model_as_it_was():
    """At this rate every epoch is worse than what was there."""
    mdata = make_mdata(n_genes=120)
    model = make_model("DeepChrome", mdata)
    predictions, history = model.predict(), model.history
    with pytest.raises(RuntimeError, match="broken callback"):
        model.train(5, lr=0.3, optimizer="sgd", schedule="constant", callbacks=[Broken(2)], **QUIET)
    assert model.is_trained_
    assert not any(m.training for m in model.module.modules())
    pd.testing.assert_frame_equal(model.history, history)
    pd.testing.assert_frame_equal(model.predict(), predictions, check_exact=True)


def test_a_first_training_that_fails_midway_leaves_the_model_untrained():
    mdata = make_mdata(n_genes=80)
    model = gx.model.DeepChrome(mdata, **SMALL)
    with pytest.raises(RuntimeError, match="broken callback"):
        model.train(5, lr=1e-2, callbacks=[Broken(2)], **QUIET)
    with pytest.raises(InputError, match="is not trained"):
        model.predict()
    model.train(2, **QUIET)
    fresh = gx.model.DeepChrome(mdata, **SMALL)
    fresh.train(2, **QUIET)
    pd.testing.assert_frame_equal(model.predict(), fresh.predict(), check_exact=True)


def test_every_further_training_has_an_order_of_its_own():
    orders = []

    class Order(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            orders.append([])

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            orders[-1] += [tuple(p) for p in zip(*(x.tolist() for x in batch), strict=True)]

    model = gx.model.DeepChrome(make_mdata(n_genes=60), **SMALL)
    for _ in range(3):
        model.train(1, callbacks=[Order()], **QUIET)
    assert len(orders) == 3
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert orders[0] != orders[1]
    assert orders[1] != orders[2]
    assert orders[0] != orders[2]


# other data


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_scales_and_units_that_differ_are_refused_or_said(name, caplog):
    mdata = make_mdata(n_genes=80)
    model = make_model(name, mdata)
    expected = model.predict()
    other = mdata.copy()
    other["chromatin"].var["scale"] = "log"
    with pytest.raises(InputError, match="H3K4me3 is of scale log in the MuData and was 'counts' in training"):
        model.predict(other)
    caplog.clear()
    other["chromatin"].var["scale"] = "pvalue"
    pd.testing.assert_frame_equal(model.predict(other), expected)
    assert "H3K4me3 is of scale pvalue here and was 'counts' in training" in caplog.text
    caplog.clear()
    model.evaluate()
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    other = mdata.copy()
    other["rna"].var["unit"] = ["tpm", "rpkm"]
    model.evaluate(other)
    assert "sample 'B' is in rpkm here and the levels that the model learned were in tpm" in caplog.text
    assert "sample 'A' is in" not in caplog.text


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_a_model_loaded_with_data_is_registered_for_them(name, tmp_path, capsys):
    mdata = make_mdata(n_genes=80)
    model = make_model(name, mdata)
    model.save(tmp_path / "m")
    copy = mdata.copy()
    loaded = gx.model.load(tmp_path / "m", copy)
    assert loaded.adata is copy
    assert loaded.adata_manager.adata is copy
    pd.testing.assert_frame_equal(loaded.predict(), model.predict(), check_exact=True)
    loaded.view_anndata_setup()
    assert name in capsys.readouterr().out
    identity = copy.uns["_scvi_uuid"]
    assert identity in type(loaded)._setup_adata_manager_store
    loaded.deregister_manager()
    assert identity in type(loaded)._setup_adata_manager_store, "its own data stay registered"
    loaded.deregister_manager(copy)
    assert identity not in type(loaded)._setup_adata_manager_store
    assert model.adata is mdata


@pytest.mark.parametrize("name", list(gx.model.MODELS))
def test_other_data_given_to_the_model_are_used(name):
    mdata, other = make_mdata(n_genes=120), turned(make_mdata(n_genes=200, seed=8), noise=0.1)
    model = make_model(name, mdata)
    elsewhere, table = model.predict(other), model.evaluate(other)
    model.adata = other
    assert model.adata is other
    assert model.adata_manager.adata is other
    pd.testing.assert_frame_equal(model.predict(), elsewhere, check_exact=True)
    pd.testing.assert_frame_equal(model.evaluate(), table, check_exact=True)
    assert (table["auroc"] < 0.5).all()
    model.train(**FAST[name]["train"])
    assert (model.evaluate()["auroc"] > 0.8).all()
    measured = ~np.isnan(other["rna"].layers["log"])
    n = int(measured[(other.obs["split"] == "train").to_numpy()].sum())
    assert model.fitted_["n_train"] == n


@pytest.mark.parametrize("name", ["Linear", "LinearSVM", "RandomForest"])
def test_a_baseline_stays_on_the_cpu(name):
    model = make_model(name, make_mdata(n_genes=60))
    before = model.predict()
    model.to_device("cuda:0")
    assert model.device == "cpu"
    pd.testing.assert_frame_equal(model.predict(), before)


# what is refused


@pytest.mark.parametrize("name", list(gx.model.MODELS))
def test_wrong_hyperparameters_are_said(name):
    cls, mdata = gx.model.model_class(name), make_mdata(n_genes=60)
    with pytest.raises(InputError, match="target='levels' is not known: choose one of label, expression, both"):
        cls(mdata, target="levels")
    with pytest.raises(InputError, match=r"transform=.bogus. is not known: .*log1p, arcsinh, quantile, none, raw"):
        cls(mdata, transform="bogus")


def test_trainings_that_cannot_be_are_said():
    model = gx.model.DeepChrome(make_mdata(n_genes=60), **SMALL)
    with pytest.raises(InputError, match="max_epochs=0 is not possible: give a whole number of at least 1"):
        model.train(0)
    with pytest.raises(InputError, match="batch_size=0 is not possible"):
        model.train(1, batch_size=0)
    with pytest.raises(InputError, match=r"train takes no early_stopping_patience: .*see patience"):
        model.train(1, early_stopping_patience=3)
    assert not model.is_trained_


@pytest.mark.parametrize("name", list(gx.model.MODELS))
def test_genes_that_are_not_there_are_said(name):
    model = make_model(name, make_mdata(n_genes=60))
    everything = model.predict()
    with pytest.raises(InputError, match="indices names no gene"):
        model.predict(indices=[])
    for wrong in ([9999], [60], [-61], [True] * 60):
        with pytest.raises(InputError, match="indices must be positions from 0 to 59, or gene ids"):
            model.predict(indices=wrong)
    pd.testing.assert_frame_equal(model.predict(indices="g0007"), everything.iloc[[7]], rtol=1e-5)
    pd.testing.assert_frame_equal(model.predict(indices=59), everything.iloc[[59]], rtol=1e-5)


@pytest.mark.parametrize("key", ["split", "mine"])
def test_a_split_of_another_name_is_refused(key):
    mdata = split_by_position(make_mdata(n_genes=60))
    mdata.obs[key] = mdata.obs["split"].astype(str).replace("valid", "val")
    with pytest.raises(InputError, match=rf'obs\["{key}"\] holds \'val\': allowed are train, valid, test'):
        make_model("Linear", mdata, setup={"split_key": key})
