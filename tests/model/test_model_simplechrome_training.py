"""SimpleChromeVAE in training: what it learns from, stages, further training, sources of signal."""

from __future__ import annotations

import os
import signal

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from small_models import FAST, MARKS, make_mdata, make_model, without

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.base import _signal

QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 32, "lr": 1e-2, "weight_decay": 1e-2}
SMALL = FAST["SimpleChromeVAE"]["hyper"]


def fresh(mdata, **hyper):
    return gx.model.SimpleChromeVAE(mdata, **{**SMALL, **hyper})


@pytest.fixture(scope="module")
def shared():
    return make_mdata()


@pytest.fixture(scope="module")
def joint(shared):
    return make_model("SimpleChromeVAE", shared)


@pytest.fixture(scope="module")
def staged(shared):
    model = fresh(shared, mode="two_stage")
    model.train(10, **QUIET)
    return model


# what is learned from


def weights_after(mdata, **hyper):
    model = fresh(mdata, **hyper)
    model.train(2, **QUIET)
    return {k: v.clone() for k, v in model.module.state_dict().items()}


@pytest.mark.parametrize("mode", ["joint", "two_stage"])
def test_genes_without_expression_teach_the_autoencoder(mode):
    """An unmeasured training gene changes the encoder, an unmeasured test gene nothing at all."""
    changed = {}
    for what in ("nothing", "train", "test"):
        mdata = make_mdata(n_genes=120)
        if what != "nothing":
            unmeasured = np.isnan(mdata["rna"].layers["log"]).all(axis=1) & (mdata.obs["split"] == what).to_numpy()
            assert unmeasured.any()
            # another order of bins: the scaling of the signal stays what it was
            bins = mdata["chromatin"].obsm["bins"]
            bins[unmeasured] = np.roll(bins[unmeasured], 7, axis=2)
        changed[what] = weights_after(mdata, mode=mode)
    for key, value in changed["nothing"].items():
        assert torch.equal(value, changed["test"][key])
    key = "autoencoder.posterior.weight"
    assert not torch.equal(changed["nothing"][key], changed["train"][key])


def test_joint_training_moves_the_encoder_by_expression_and_stages_do_not():
    given, other = make_mdata(n_genes=120), make_mdata(n_genes=120)
    rng = np.random.default_rng(0)
    other["rna"].layers["log"] = other["rna"].layers["log"][rng.permutation(120)]
    other["rna"].layers.pop("label")
    given["rna"].layers.pop("label")
    # the same pairs are measured, so that batches are the same
    for mdata in (given, other):
        mdata["rna"].layers["log"] = np.nan_to_num(mdata["rna"].layers["log"], nan=1.0)
    for mode, same in (("joint", False), ("two_stage", True)):
        a, b = weights_after(given, mode=mode), weights_after(other, mode=mode)
        found = [torch.equal(a[k], b[k]) for k in a if k.startswith("autoencoder.encoder") and k.endswith("weight")]
        assert all(found) is same


def test_latent_carries_what_makes_the_signal(joint, shared):
    latent = joint.get_latent_representation(samples="A", key_added=None)
    train = (shared.obs["split"] == "train").to_numpy()
    signal = np.log1p(shared["chromatin"].obsm["bins"][:, :3, 17:23]).mean(2)
    design = np.column_stack([latent, np.ones(len(latent))])
    for mark in (0, 1):
        solution = np.linalg.lstsq(design[train], signal[train, mark], rcond=None)[0]
        assert np.corrcoef(design[~train] @ solution, signal[~train, mark])[0, 1] > 0.7


# stages


def test_history_tells_the_stages(staged, shared):
    history = staged.history
    assert list(history["stage"]) == ["vae"] * 10 + ["predictor"] * 10
    vae = history[history["stage"] == "vae"]
    np.testing.assert_allclose(vae["valid_score"], -vae["valid_loss"])
    assert staged.fitted_["best_epochs"]["vae"] == vae["valid_loss"].idxmin()
    assert staged.fitted_["best_epoch"] == history["valid_score"][10:].idxmax()
    # the part of the loss that is the KL, and the part that is the likelihood
    entries = 3 * 40
    np.testing.assert_allclose(
        vae["valid_loss"], -vae["valid_log_likelihood"] + vae["valid_kl"] / entries, rtol=1e-4, atol=1e-5
    )
    table = staged.evaluate(split="valid")
    best = history.loc[staged.fitted_["best_epoch"]]
    assert best["valid_pearson"] == pytest.approx(table["pearson"].mean(), abs=1e-5)


def test_the_autoencoder_is_chosen_by_all_validation_genes(staged, shared):
    """Its validation loss is that of measured and unmeasured genes, worked out anew."""
    valid = np.flatnonzero(shared.obs["split"] == "valid")
    assert np.isnan(shared["rna"].layers["log"][valid]).any()
    module, tables = staged.module, staged._tables(shared, ["A", "B"])
    pairs = torch.tensor([(g, s) for g in valid for s in (0, 1)])
    module.stage = "vae"
    with torch.no_grad():
        batch = tables.gather(pairs[:, 0], pairs[:, 1])
        loss = float(module.loss(module(batch), batch))
    module.stage = "predictor"
    assert loss == pytest.approx(staged.history.loc[staged.fitted_["best_epochs"]["vae"], "valid_loss"], rel=1e-5)


def test_a_further_training_leaves_the_encoder_unless_asked():
    mdata = make_mdata(n_genes=120)
    model = fresh(mdata, mode="two_stage")
    model.train(3, **QUIET)
    encoder = {k: v.clone() for k, v in model.module.autoencoder.state_dict().items()}
    axes = model.module.predictor.axes.clone()
    model.train(2, **QUIET)
    assert list(model.history["stage"]) == ["vae"] * 3 + ["predictor"] * 5
    assert all(torch.equal(v, encoder[k]) for k, v in model.module.autoencoder.state_dict().items())
    model.train(2, vae={"max_epochs": 4, "lr": 1e-3}, **QUIET)
    assert list(model.history["stage"][8:]) == ["vae"] * 4 + ["predictor"] * 2
    vae = model.history[model.history["stage"] == "vae"]
    assert model.fitted_["best_epochs"]["vae"] == vae["valid_loss"].idxmin()
    assert torch.equal(axes, model.module.predictor.axes)


@pytest.mark.parametrize("mode", ["joint", "two_stage"])
def test_a_worse_further_training_does_not_lose_the_best(mode):
    mdata = make_mdata(n_genes=120)
    model = fresh(mdata, mode=mode)
    model.train(8, **QUIET)
    before, best = model.predict(), model.fitted_["best_epoch"]
    model.train(2, **{**QUIET, "lr": 1e-12})
    assert len(model.history) == (10 if mode == "joint" else 18)
    pd.testing.assert_frame_equal(model.predict(), before)
    assert model.fitted_["best_epoch"] == best


def test_vae_options_are_its_own():
    mdata = make_mdata(n_genes=120)
    model = fresh(mdata, mode="two_stage")
    model.train(5, vae={"max_epochs": 2}, **QUIET)
    assert list(model.history["stage"]) == ["vae"] * 2 + ["predictor"] * 5
    with pytest.raises(InputError, match="vae has no option 'epochs'"):
        model.train(1, vae={"epochs": 2}, **QUIET)
    with pytest.raises(InputError, match='vae is for mode="two_stage"'):
        fresh(mdata).train(1, vae={"max_epochs": 2}, **QUIET)


def test_few_training_genes_are_passed_over_several_times():
    mdata = make_mdata(n_genes=60, samples=("A",))
    log = mdata["rna"].layers["log"]
    train = np.flatnonzero((mdata.obs["split"] == "train").to_numpy() & ~np.isnan(log[:, 0]))
    log[train[8:]] = np.nan
    steps = {}

    class Count(lightning.Callback):
        def on_train_end(self, trainer, plan):
            steps[plan.module.stage] = trainer.global_step

    model = fresh(mdata, mode="two_stage")
    model.train(2, callbacks=[Count()], **QUIET)
    assert steps["predictor"] >= 100
    assert model.fitted_["n_train"] == 8


class Interrupt(lightning.Callback):
    """Press Ctrl-C at the start of an epoch of a stage."""

    def __init__(self, stage, epoch):
        self.stage, self.epoch = stage, epoch

    def on_train_epoch_start(self, trainer, plan):
        if plan.module.stage == self.stage and trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("stage", "counts"), [("vae", (4, 6)), ("predictor", (6, 4))])
def test_ctrl_c_ends_a_stage_and_keeps_its_best(stage, counts, caplog):
    model = fresh(make_mdata(n_genes=120), mode="two_stage")
    model.train(6, callbacks=[Interrupt(stage, 3)], early_stopping=False, **QUIET)
    assert "Interrupted" in caplog.text
    per_stage = model.history["stage"].value_counts()
    assert abs(per_stage["vae"] - counts[0]) <= 1
    assert abs(per_stage["predictor"] - counts[1]) <= 1
    assert np.isfinite(model.predict().to_numpy()).all()


def test_a_failed_second_stage_leaves_no_trace():
    class Fail(lightning.Callback):
        def on_train_epoch_start(self, trainer, plan):
            if plan.module.stage == "predictor":
                raise RuntimeError("no disk")

    model = fresh(make_mdata(n_genes=120), mode="two_stage")
    before = {k: v.clone() for k, v in model.module.state_dict().items() if "maximum" not in k and "divisor" not in k}
    with pytest.raises(RuntimeError, match="no disk"):
        model.train(2, callbacks=[Fail()], **QUIET)
    after = model.module.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    with pytest.raises(InputError, match=r"call model.train\(\) first"):
        model.predict()
    model.train(2, **QUIET)
    assert list(model.history["stage"]) == ["vae"] * 2 + ["predictor"] * 2


def test_a_saved_model_goes_on(staged, shared, tmp_path):
    staged.save(tmp_path / "m")
    loaded = gx.model.load(tmp_path / "m", shared)
    assert loaded.hyperparameters_["mode"] == "two_stage"
    assert loaded.active_units == staged.active_units
    pd.testing.assert_frame_equal(loaded.predict(), staged.predict(), check_exact=True)
    np.testing.assert_array_equal(loaded.sample(2), staged.sample(2))
    loaded.train(1, **QUIET)
    assert list(loaded.history["stage"]) == [*staged.history["stage"], "predictor"]


# shapes and sources of signal


@pytest.mark.parametrize("n_bins", [1, 2, 12])
@pytest.mark.parametrize("setting", ["default", "paper"])
def test_few_bins_fit(n_bins, setting):
    rng = np.random.default_rng(0)
    x = rng.random((90, 2, n_bins)).astype(np.float32)
    mdata = gx.io.from_bins(
        x, genes=[f"g{i}" for i in range(90)], marks=["a", "b"], expression=x[:, 0].mean(1), unit="log"
    )
    gx.pp.split_at_random(mdata)
    model = gx.model.SimpleChromeVAE(mdata, setting=setting)
    model.train(1, **QUIET)
    assert model.reconstruct().shape == (90, 2, n_bins)
    assert np.isfinite(model.predict().to_numpy()).all()


def test_yeast_nucleosomes_are_read(shared_data):
    """26 marks on 12 nucleosomes, log ratios below 0 and 2 % missing."""
    z = np.load(shared_data / "yeast" / "marks26_nuc12.npz")
    genes = pd.Index(z["gene_id"].astype(str))
    keep = np.flatnonzero((genes != "") & ~genes.duplicated())[:600]
    x = z["x"][keep]
    mdata = gx.io.from_bins(
        x, genes=genes[keep], marks=z["mark"].astype(str), scale="log_ratio",
        expression=np.nanmean(x[:, :, 4:8], axis=(1, 2)), unit="log",
    )  # fmt: skip
    gx.pp.split_at_random(mdata)
    model = gx.model.SimpleChromeVAE(mdata)
    model.train(4, enable_progress_bar=False, accelerator="cpu")
    assert model.module.autoencoder.name == "normal"
    assert model.evaluate()["pearson"].iloc[0] > 0.5


def test_signal_that_streams_gives_the_same(shared, tmp_path, monkeypatch):
    expected = make_model("SimpleChromeVAE", shared)
    mdata = make_mdata()
    np.save(tmp_path / "x.npy", mdata["chromatin"].obsm["bins"])
    mdata["chromatin"].obsm["bins"] = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(_signal, "RESIDENT_BYTES", 0)
    monkeypatch.setattr("genexp_scverse.model.base._model.RESIDENT_BYTES", 0)
    model = make_model("SimpleChromeVAE", mdata)
    assert not model._tables(mdata, ["A"]).signal.resident
    pd.testing.assert_frame_equal(model.predict(), expected.predict(), rtol=1e-5)


def test_marks_that_a_sample_lacks():
    mdata = without(make_mdata(), f"B.{MARKS[2]}")
    model = make_model("SimpleChromeVAE", mdata, setup={"marks": "all"})
    assert model.setup_["masked"]
    assert (model.evaluate()["auroc"] > 0.8).all()
    # what the sample lacks is filled by the decoder
    assert np.isfinite(model.reconstruct(samples="B")).all()
    assert model.reconstruct(samples="B").shape == (240, 3, 40)
