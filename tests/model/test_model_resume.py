"""A training that is cut short goes on to the same figures, to the last digit; signals keep what is best."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile

import lightning
import numpy as np
import pandas as pd
import pytest
from small_models import FAST, make_mdata

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.base._checkpoint import Checkpoint

QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = FAST["DeepChrome"]["hyper"]
VAE = {k: v for k, v in FAST["SimpleChromeVAE"]["hyper"].items() if k != "mode"}


class Died(BaseException):
    pass


@pytest.fixture
def dies(monkeypatch):
    """Let the training die once it has written its checkpoint so many times."""
    write = Checkpoint._write

    def after(times: int) -> None:
        left = [times]

        def dying(self):
            write(self)
            left[0] -= 1
            if not left[0]:
                raise Died

        monkeypatch.setattr(Checkpoint, "_write", dying)

    return after


def neighbors(mdata):
    gx.pp.gene_neighbors(mdata, key_added="near")
    return mdata


CASES = {
    # model, hyperparameters, arguments, at which writing it dies
    "early stopping": ("DeepChrome", SMALL, {"lr": 0.03, "schedule": "constant", "patience": 1, "max_epochs": 9}, 2),
    "last epoch": ("DeepChrome", SMALL, {"max_epochs": 2}, 2),
    "plain descent": ("DeepChrome", SMALL, {"max_epochs": 3, "optimizer": "sgd", "schedule": "inverse"}, 1),
    "without validation": ("DeepChrome", SMALL, {"max_epochs": 3}, 2),
    "first stage": ("SimpleChromeVAE", {**VAE, "mode": "two_stage"}, {"max_epochs": 2}, 1),
    "between stages": ("SimpleChromeVAE", {**VAE, "mode": "two_stage"}, {"max_epochs": 2}, 3),
    "second stage": ("SimpleChromeVAE", {**VAE, "mode": "two_stage"}, {"max_epochs": 2}, 4),
    "neighbours": ("SimpleChromeVAE", {**VAE, "mode": "joint", "neighbors": "near"}, {"max_epochs": 3}, 2),
    "a mask that hardens": ("Seq2ExpModel", {**FAST["Seq2ExpModel"]["hyper"], "mask": "hard"}, {"max_epochs": 4}, 2),
    "second member": ("Ensemble", {"model": ["Linear", {"model": "DeepChrome", **SMALL}], "n_members": 2},
                      {"max_epochs": 2}, 4),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_training_that_died_goes_on_to_the_same_figures(tmp_path, dies, monkeypatch, case):
    name, hyper, arguments, times = CASES[case]
    arguments = {"batch_size": 32, **arguments, **QUIET}
    mdata = neighbors(make_mdata(n_genes=120))
    if case == "without validation":
        mdata.obs["split"] = mdata.obs["split"].astype(str).replace("valid", "test")

    def made():
        return getattr(gx.model, name)(mdata, **hyper)

    expected = made()
    expected.train(**arguments)
    with monkeypatch.context():
        dies(times)
        with pytest.raises(Died):
            made().train(checkpoint=tmp_path / "kept", **arguments)
    monkeypatch.undo()
    model = made()
    model.train(checkpoint=tmp_path / "kept", **arguments)
    pd.testing.assert_frame_equal(model.predict(), expected.predict(), check_exact=True)
    if expected.history is not None:
        pd.testing.assert_frame_equal(model.history, expected.history, check_exact=True)
    plain = [{k: v for k, v in m.fitted_.items() if k != "train_seconds"} for m in (model, expected)]
    assert plain[0] == plain[1]
    # one that is over is taken as it is
    monkeypatch.setattr(Checkpoint, "_write", None)
    again = made()
    again.train(checkpoint=tmp_path / "kept", **arguments)
    pd.testing.assert_frame_equal(again.predict(), expected.predict(), check_exact=True)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Data, and the checkpoint of one epoch of a training of three."""
    folder, mdata = tmp_path_factory.mktemp("cut"), make_mdata(n_genes=120)
    model = gx.model.DeepChrome(mdata, **SMALL)
    stop = AtEpoch(1, signal.SIGTERM)
    model.train(3, checkpoint=folder / "kept", callbacks=[stop], **QUIET)
    assert model.stopped_by == signal.SIGTERM
    return mdata, folder / "kept"


class AtEpoch(lightning.Callback):
    """Send a signal in the first step of an epoch."""

    def __init__(self, epoch: int, *signals: int):
        self.epoch, self.signals = epoch, signals

    def on_train_batch_end(self, trainer, *_):
        if trainer.current_epoch == self.epoch:
            for signum in self.signals:
                os.kill(os.getpid(), signum)


def other_expression(mdata):
    mdata["rna"].layers["log"] = np.array(mdata["rna"].layers["log"]) + 0.5
    return {}


def other_signal(mdata):
    mdata["chromatin"].obsm["bins"][:, 0] = mdata["chromatin"].obsm["bins"][::-1, 0].copy()
    return {}


def other_split(mdata):
    mdata.obs["split"] = mdata.obs["split"].astype(str).replace("test", "train")
    return {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 0.5}, "its lr is 0.001 and here it is 0.5"),
        ({"max_epochs": 4}, "its max_epochs is 3 and here it is 4"),
        ({"seed": 7}, "its seed is 0 and here it is 7"),
        ({"early_stopping": False}, "its early_stopping is True and here it is False"),
        ({"hyper": {"dropout": 0.5}}, r"its dropout is 0\.1 and here it is 0\.5"),
        ({"hyper": {"target": "label"}}, "its target is 'both' and here it is 'label'"),
        ({"model": "AttentiveChrome"}, "its model is 'DeepChrome' and here it is 'AttentiveChrome'"),
        (other_expression, "its data differ"),
        (other_signal, "its (data|inputs) differ"),
        (other_split, "its data differ"),
    ],
)
def test_another_training_does_not_go_on(cut, change, said):
    mdata, kept = cut
    if callable(change):
        mdata = mdata.copy()
        change = change(mdata)
    arguments = {"max_epochs": 3, **change}
    hyper, name = {**SMALL, **arguments.pop("hyper", {})}, arguments.pop("model", "DeepChrome")
    model = getattr(gx.model, name)(mdata, **(hyper if name == "DeepChrome" else {}))
    before = {p: p.read_bytes() for p in kept.iterdir()}
    with pytest.raises(InputError, match=rf"kept holds a checkpoint of another training \({said}\)"):
        model.train(checkpoint=kept, **arguments, **QUIET)
    assert not model.is_trained_
    assert {p: p.read_bytes() for p in kept.iterdir()} == before


def shortened(folder):
    (folder / "arrays.npz").write_bytes((folder / "arrays.npz").read_bytes()[:900])


def compressed(folder):
    with np.load(folder / "arrays.npz") as arrays:
        np.savez_compressed(folder / "arrays.npz", **arrays)


def reshaped(folder):
    with np.load(folder / "arrays.npz") as arrays:
        np.savez(folder / "arrays.npz", **{k: np.zeros(3, np.float32) for k in arrays})


def edited(**changes):
    def edit(folder):
        path = folder / "checkpoint.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shortened, "arrays.npz does not hold plain arrays"),
        (compressed, "arrays.npz does not hold plain arrays .it packs"),
        (reshaped, "holds weights of another network"),
        (edited(format=9), "is of another version"),
        (edited(content=[]), "it is damaged"),
        (edited(content={"items": [["done", [1]], ["state", None]]}), "it is damaged"),
        (edited(content={"python": "os"}), "it is damaged"),
        (edited(identity=None), "it is damaged"),
        (lambda folder: (folder / "checkpoint.json").write_text("{" * 99_999), "it is damaged"),
        (lambda folder: (folder / "notes.txt").write_text(""), "is no checkpoint of a training"),
    ],
)
def test_a_checkpoint_is_checked_before_it_is_believed(cut, tmp_path, damage, said):
    mdata, kept = cut
    shutil.copytree(kept, tmp_path / "kept")
    damage(tmp_path / "kept")
    model = gx.model.DeepChrome(mdata, **SMALL)
    with pytest.raises(InputError, match=said):
        model.train(3, checkpoint=tmp_path / "kept", **QUIET)
    assert not model.is_trained_


def test_a_checkpoint_holds_json_and_plain_arrays_alone(cut):
    _, kept = cut
    assert sorted(p.name for p in kept.iterdir()) == ["arrays.npz", "checkpoint.json"]
    json.loads((kept / "checkpoint.json").read_text())
    with zipfile.ZipFile(kept / "arrays.npz") as file:
        assert all(name.endswith(".npy") for name in file.namelist())


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    def full(path):
        raise OSError(28, "No space left on device")

    model = gx.model.DeepChrome(make_mdata(), **SMALL)
    monkeypatch.setattr("genexp_scverse._output.sync", full)
    model.train(2, checkpoint=tmp_path / "kept", **QUIET)
    assert "kept could not be written (No space left on device)" in caplog.text
    assert "the training goes on, with the checkpoint of an earlier epoch" in caplog.text
    assert len(model.history) == 2
    assert list(tmp_path.iterdir()) == []


def test_sigterm_keeps_the_best_so_far(caplog):
    model = gx.model.DeepChrome(make_mdata(), **SMALL)
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    stop = AtEpoch(4, signal.SIGTERM)
    model.train(500, lr=1e-2, schedule="constant", early_stopping=False, callbacks=[stop], **QUIET)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert "Terminated: training ends after this epoch's step and keeps the best" in caplog.text
    assert model.stopped_by == signal.SIGTERM
    assert 4 <= len(model.history) <= 5
    assert (model.evaluate()["auroc"] > 0.8).all()
    model.train(1, **QUIET)
    assert model.stopped_by is None


def test_a_second_signal_ends_at_once():
    model = gx.model.DeepChrome(make_mdata(), **SMALL)
    stop = AtEpoch(2, signal.SIGTERM, signal.SIGTERM)
    model.train(500, early_stopping=False, callbacks=[stop], **QUIET)
    assert len(model.history) == 2
    assert model.stopped_by == signal.SIGTERM


def test_sigterm_in_the_first_stage_leaves_no_model():
    model = gx.model.SimpleChromeVAE(make_mdata(), **VAE, mode="two_stage")
    with pytest.raises(KeyboardInterrupt):
        model.train(5, callbacks=[AtEpoch(1, signal.SIGTERM)], **QUIET)
    assert model.stopped_by == signal.SIGTERM
    assert not model.is_trained_
