"""Training: best epoch, early stopping, interruption, history, schedules."""

from __future__ import annotations

import os
import signal

import lightning
import numpy as np
import pytest
import torch
from small_models import FAST, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.base._data import PairBatches

QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 32}


class AtEpoch(lightning.Callback):
    """Do something at the start of an epoch."""

    def __init__(self, epoch, what):
        self.epoch, self.what = epoch, what

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            self.what(trainer, pl_module)


def test_history_and_best_epoch():
    model = make_model("DeepChrome", make_mdata())
    history = model.history
    assert {"train_loss", "valid_loss", "valid_auroc", "valid_pearson", "valid_score"} <= set(history.columns)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert model.fitted_["best_epoch"] == history["valid_score"].idxmax()
    np.testing.assert_allclose(history["valid_score"], (history["valid_auroc"] + history["valid_pearson"]) / 2)


def test_restored_weights_are_those_of_the_best_epoch():
    """Weights spoiled after a good epoch must not be what the model predicts with."""
    mdata = make_mdata()

    def spoil(trainer, plan):
        with torch.no_grad():
            for p in plan.module.parameters():
                p.normal_(0, 3)

    model = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    model.train(8, lr=1e-2, callbacks=[AtEpoch(7, spoil)], early_stopping=False, **QUIET)
    best = model.history["valid_score"].max()
    assert model.history["valid_score"].iloc[-1] < best
    table = model.evaluate(split="valid")
    assert (table["auroc"].mean() + table["pearson"].mean()) / 2 == pytest.approx(best, abs=1e-5)


def test_validation_metrics_are_means_over_samples():
    model = make_model("DeepChrome", make_mdata())
    table = model.evaluate(split="valid")
    best = model.history.loc[model.fitted_["best_epoch"]]
    assert best["valid_auroc"] == pytest.approx(table["auroc"].mean(), abs=1e-5)
    assert best["valid_pearson"] == pytest.approx(table["pearson"].mean(), abs=1e-5)


def test_early_stopping_waits_for_patience():
    mdata = make_mdata()
    model = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    # nothing is learned at this rate, so the score cannot rise for long
    model.train(200, lr=1e-12, schedule="constant", weight_decay=0.0, patience=3, **QUIET)
    assert len(model.history) <= 10


def test_training_goes_on_and_keeps_the_whole_history():
    mdata = make_mdata()
    model = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    model.train(3, lr=1e-2, **QUIET)
    first = model.history
    fitted = dict(model.fitted_)
    model.train(2, lr=1e-12, **QUIET)
    assert len(model.history) == 5
    np.testing.assert_array_equal(model.history["train_loss"].iloc[:3], first["train_loss"])
    assert model.fitted_["best_epoch"] == model.history["valid_score"].idxmax()
    assert model.fitted_["scaler"] == fitted["scaler"]


def test_a_worse_second_training_does_not_lose_the_best(caplog):
    mdata = make_mdata()
    model = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    model.train(8, lr=1e-2, **QUIET)
    before = model.predict()
    model.train(2, lr=10.0, optimizer="sgd", schedule="constant", **QUIET)
    assert "Training diverged" in caplog.text
    np.testing.assert_array_equal(model.predict(), before)


def test_ctrl_c_keeps_the_best_so_far(caplog):
    mdata = make_mdata()
    model = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    handler = signal.getsignal(signal.SIGINT)
    interrupt = AtEpoch(4, lambda trainer, plan: os.kill(os.getpid(), signal.SIGINT))
    model.train(500, lr=1e-2, schedule="constant", early_stopping=False, callbacks=[interrupt], **QUIET)
    assert signal.getsignal(signal.SIGINT) is handler
    assert "Interrupted" in caplog.text
    assert 4 <= len(model.history) <= 5
    assert (model.evaluate()["auroc"] > 0.8).all()


def test_an_interrupt_inside_a_step_keeps_the_best_so_far():
    def raise_it(trainer, plan):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    model = gx.model.DeepChrome(make_mdata(), **FAST["DeepChrome"]["hyper"])
    model.train(500, lr=1e-2, schedule="constant", early_stopping=False, callbacks=[AtEpoch(4, raise_it)], **QUIET)
    assert len(model.history) == 4
    assert (model.evaluate()["auroc"] > 0.8).all()
    assert signal.getsignal(signal.SIGINT) is handler
    fresh = gx.model.DeepChrome(make_mdata(), **FAST["DeepChrome"]["hyper"])
    with pytest.raises(KeyboardInterrupt):
        fresh.train(5, callbacks=[AtEpoch(0, raise_it)], **QUIET)


def test_ctrl_c_in_the_first_epoch_leaves_an_untrained_model():
    """Before any validation there is no score to stop by, and nothing to keep."""
    model = gx.model.DeepChrome(make_mdata(), **FAST["DeepChrome"]["hyper"])
    interrupt = AtEpoch(0, lambda trainer, plan: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        model.train(5, callbacks=[interrupt], **QUIET)
    assert not model.is_trained_
    assert model.history is None


def test_without_validation_genes_the_last_epoch_is_kept(caplog):
    mdata = make_mdata()
    mdata.obs["split"] = mdata.obs["split"].astype(str).replace("valid", "train")
    model = make_model("DeepChrome", mdata)
    assert "the last epoch is kept" in caplog.text
    assert model.fitted_["best_epoch"] == len(model.history)
    assert (model.evaluate()["auroc"] > 0.8).all()


def test_wrong_choices_are_said():
    model = gx.model.DeepChrome(make_mdata(n_genes=60), **FAST["DeepChrome"]["hyper"])
    with pytest.raises(InputError, match="optimizer='rmsprop' is not known: choose one of adamw, adam, sgd"):
        model.train(optimizer="rmsprop")
    with pytest.raises(InputError, match="schedule='cosine' is not known"):
        model.train(schedule="cosine")


def test_the_tuner_finds_its_metric():
    """scvi.autotune reads metrics from the trainer's callback metrics."""
    model = make_model("DeepChrome", make_mdata())
    assert {"validation_loss", "valid_score", "train_loss"} <= set(model.trainer.callback_metrics)


def test_dropout_is_on_in_training_and_off_in_validation():
    """Lightning trains a network in the mode that it finds it in."""
    modes = {"train": [], "valid": []}

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            modes["train"].append(pl_module.module.dropout.training)

        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            modes["valid"].append(pl_module.module.dropout.training)

    model = gx.model.DeepChrome(make_mdata(n_genes=60), **FAST["DeepChrome"]["hyper"])
    for _ in range(2):
        model.train(2, callbacks=[Watch()], **QUIET)
        model.predict()
    assert all(modes["train"])
    assert not any(modes["valid"])
    assert not model.module.training


def test_every_pair_is_seen_once_in_an_epoch_and_the_seed_decides_the_order():
    pairs = torch.stack([torch.arange(25), torch.arange(25) % 3], dim=1)
    batches = PairBatches(pairs, 4, shuffle=True, seed=3)
    first = torch.cat([torch.stack(b, dim=1) for b in batches])
    second = torch.cat([torch.stack(b, dim=1) for b in batches])
    assert len(batches) == 7
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, pairs.tolist()))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat([torch.stack(b, dim=1) for b in PairBatches(pairs, 4, shuffle=True, seed=3)]))


def test_the_inverse_schedule_is_torch7s():
    mdata = make_mdata(n_genes=60)
    model = gx.model.DeepChrome(mdata, setting="paper", **FAST["DeepChrome"]["hyper"])
    rates = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    model.train(1, callbacks=[Watch()], **QUIET)
    np.testing.assert_allclose(rates, 1e-3 / (1 + 1e-7 * np.arange(len(rates))), rtol=1e-12)
