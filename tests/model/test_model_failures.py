"""A training or a saving that fails leaves everything as it was."""

from __future__ import annotations

import lightning
import numpy as np
import pandas as pd
import pytest
from small_models import FAST, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError

QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 32}
SMALL = FAST["DeepChrome"]["hyper"]


class Broken(lightning.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("broken callback")


@pytest.mark.parametrize("valid", ["valid", "train"])
def test_a_training_that_fails_after_better_epochs_leaves_the_model_as_it_was(valid):
    mdata = make_mdata(n_genes=120)
    mdata.obs["split"] = mdata.obs["split"].astype(str).replace("valid", valid)
    model = gx.model.DeepChrome(mdata, **SMALL)
    model.train(1, lr=1e-4, **QUIET)
    predictions, fitted = model.predict(), dict(model.fitted_)
    mdata.obs["split"] = np.where(mdata.obs["split"] == "test", "train", mdata.obs["split"])
    with pytest.raises(RuntimeError, match="broken callback"):
        model.train(5, lr=1e-2, callbacks=[Broken(3)], **QUIET)
    assert model.fitted_ == fitted
    pd.testing.assert_frame_equal(model.predict(), predictions, check_exact=True)


def test_a_wrong_argument_of_the_trainer_leaves_the_history(tmp_path):
    model = make_model("DeepChrome", make_mdata(n_genes=60))
    history = model.history
    with pytest.raises(InputError, match="there is no argument 'colour' of DeepChrome"):
        model.train(1, colour="red", **QUIET)
    pd.testing.assert_frame_equal(model.history, history)
    model.save(tmp_path / "m")


@pytest.mark.parametrize("name", ["Linear", "LinearSVM", "RandomForest"])
def test_a_baseline_that_cannot_be_trained_again_stays_as_it_was(name):
    mdata = make_mdata(n_genes=120)
    model = make_model(name, mdata)
    predictions, fitted = model.predict(), dict(model.fitted_)
    log = mdata["rna"].layers["log"].copy()
    mdata["rna"].layers["log"][(mdata.obs["split"] == "train").to_numpy()] = 7
    with pytest.raises(InputError, match="have the same label"):
        model.train()
    mdata["rna"].layers["log"] = log
    assert model.fitted_ == fitted
    pd.testing.assert_frame_equal(model.predict(), predictions, check_exact=True)


def test_arrays_of_others_stay_when_a_model_is_saved_over(tmp_path):
    model = make_model("Linear", make_mdata(n_genes=60))
    model.save(tmp_path / "m")
    np.savez(tmp_path / "m" / "embedding.npz", x=np.arange(3))
    (tmp_path / "m" / "other.skops").write_bytes(b"1")
    model.save(tmp_path / "m", overwrite=True)
    np.testing.assert_array_equal(np.load(tmp_path / "m" / "embedding.npz")["x"], np.arange(3))
    assert (tmp_path / "m" / "other.skops").read_bytes() == b"1"
