"""Recorded training steps: the same numbers as kernel by kernel, and everything around a step as Lightning does it."""

from __future__ import annotations

import os
import signal

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback, StochasticWeightAveraging
from lightning.pytorch.strategies import SingleDeviceStrategy
from small_models import FAST, make_mdata
from torch import nn

import genexp_scverse as gx
from genexp_scverse.model.base import _plan
from genexp_scverse.model.base._graphed import GraphedStep, hooked, recordable
from genexp_scverse.model.deepchrome._module import DeepChromeModule
from genexp_scverse.nn.grouped_lstm import GroupedLSTM

ON_A_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
QUIET = {"enable_progress_bar": False, "batch_size": 32}
SMALL = FAST["DeepChrome"]["hyper"]


class Seen(lightning.Callback):
    """What a callback sees of every step."""

    def __init__(self):
        self.rates, self.losses, self.steps, self.automatic = [], [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.steps.append(trainer.global_step)
        self.automatic.append(pl_module.automatic_optimization)


def weights(model) -> list[np.ndarray]:
    return [p.detach().cpu().numpy() for p in model.module.parameters()]


def with_graph(n_genes: int = 100):
    mdata = make_mdata(n_genes=n_genes)
    gx.pp.gene_neighbors(mdata, n_neighbors=4)
    return mdata


CASES = {
    "DeepChrome": (gx.model.DeepChrome, SMALL, {"lr": 1e-2}),
    "AttentiveChrome as published": (gx.model.AttentiveChrome, {"setting": "paper"}, {"lr": 1e-2}),
    "SimpleChromeVAE": (
        gx.model.SimpleChromeVAE,
        {**FAST["SimpleChromeVAE"]["hyper"], "neighbors": "neighbors", "n_neighbors": 4},
        {"lr": 1e-2},
    ),
    "SimpleChromeVAE in two stages": (
        gx.model.SimpleChromeVAE,
        {**FAST["SimpleChromeVAE"]["hyper"], "mode": "two_stage", "neighbors": "neighbors", "n_neighbors": 4},
        {"lr": 1e-2},
    ),
}


def both_ways(name: str, monkeypatch, accelerator: str, n_epochs: int = 2, **hyper):
    """The same training by Lightning's steps and by ours, and what a callback saw of each."""
    cls, given, train = CASES[name]
    mdata, found = with_graph(), []
    for ours in (False, True):
        model, seen = cls(mdata, **{**given, **hyper}), Seen()
        with monkeypatch.context() as patch:
            if not ours or accelerator == "cpu":
                patch.setattr(_plan, "recordable", lambda trainer, module, ours=ours: ours)
            model.train(n_epochs, **train, **QUIET, accelerator=accelerator, callbacks=[seen], early_stopping=False)
        assert seen.automatic
        assert not any(seen.automatic) if ours else all(seen.automatic)
        found.append((model, seen))
    return found


# the decision


def trainer_of(device: str = "cuda:0", **kwargs) -> lightning.Trainer:
    """A trainer as it is where the device is there."""
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, **kwargs
    )
    plugin = trainer.strategy.precision_plugin
    trainer._accelerator_connector.strategy = SingleDeviceStrategy(device, trainer.accelerator, precision_plugin=plugin)
    return trainer


def test_steps_are_recorded_on_one_gpu_in_float32_with_nothing_between():
    module = DeepChromeModule(2, 20, target="both", kernel_size=4)
    assert recordable(trainer_of(), module)
    assert recordable(trainer_of(gradient_clip_val=1.0), module)
    assert recordable(trainer_of(gradient_clip_val=1.0, gradient_clip_algorithm="norm"), module)
    assert recordable(trainer_of(callbacks=[Seen(), LambdaCallback(on_train_batch_end=print)]), module)
    assert not recordable(trainer_of("cpu"), module)
    assert not recordable(lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), module)
    assert not recordable(trainer_of(precision="bf16-mixed"), module)
    assert not recordable(trainer_of(accumulate_grad_batches=2), module)
    assert not recordable(trainer_of(gradient_clip_val=1.0, gradient_clip_algorithm="value"), module)
    assert not recordable(trainer_of(callbacks=[StochasticWeightAveraging(1e-2)]), module)
    assert not recordable(trainer_of(callbacks=[LambdaCallback(on_after_backward=print)]), module)
    module.graphable = False
    assert not recordable(trainer_of(), module)


def test_a_callback_that_looks_inside_a_step_is_called_in_every_step():
    class Watch(lightning.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer): ...

    assert not recordable(trainer_of(callbacks=[Watch()]), DeepChromeModule(2, 20, target="both", kernel_size=4))


def test_hooks_on_layers_are_found():
    module = DeepChromeModule(2, 20, target="both", kernel_size=4)
    assert not hooked(module)
    handle = module.dropout.register_forward_hook(lambda *_: None)
    assert hooked(module)
    handle.remove()
    assert not hooked(module)


def test_tables_say_whether_they_stream():
    mdata = make_mdata(n_genes=60)
    tables = gx.model.DeepChrome(mdata, **SMALL)
    tables.train(1, **QUIET, accelerator="cpu")
    tables = tables._tables(mdata, ["A"])
    assert not tables.resident
    assert tables.to("cpu").resident
    tables.signal._table = None
    tables.signal.resident_bytes = 8
    assert not tables.to("cpu").resident
    tables.latents = torch.zeros(1, 60, 3)
    assert tables.resident


def test_training_on_the_cpu_is_left_to_lightning():
    seen = Seen()
    gx.model.DeepChrome(make_mdata(n_genes=60), **SMALL).train(1, **QUIET, accelerator="cpu", callbacks=[seen])
    assert all(seen.automatic)


# our steps, run on the CPU kernel by kernel, beside Lightning's


@pytest.mark.parametrize("name", list(CASES))
def test_our_steps_are_lightnings(name, monkeypatch):
    (theirs, seen_theirs), (ours, seen_ours) = both_ways(name, monkeypatch, "cpu")
    # Lightning does not clip beside the fused optimiser, which rounds in another way
    close = {"rtol": 1e-3, "atol": 1e-5} if "published" in name else {"rtol": 0, "atol": 0}
    for a, b in zip(weights(theirs), weights(ours), strict=True):
        np.testing.assert_allclose(a, b, **close)
    np.testing.assert_allclose(seen_ours.losses, seen_theirs.losses, **close)
    assert seen_ours.rates == seen_theirs.rates
    assert seen_ours.steps == seen_theirs.steps
    for column in ("train_loss", "valid_score"):
        np.testing.assert_allclose(ours.history[column], theirs.history[column], **close)
    assert ours.fitted_["best_epoch"] == theirs.fitted_["best_epoch"]


def test_our_steps_keep_what_training_promises(monkeypatch, caplog):
    monkeypatch.setattr(_plan, "recordable", lambda trainer, module: True)
    model = gx.model.DeepChrome(make_mdata(n_genes=120), **SMALL)
    model.train(2, lr=1e-2, **QUIET, accelerator="cpu")

    class Interrupt(lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    seen = Seen()
    model.train(
        50, lr=1e-2, early_stopping=False, **QUIET, accelerator="cpu", callbacks=[Interrupt(), seen], max_steps=100
    )
    assert "Interrupted" in caplog.text
    assert 4 <= len(model.history) <= 5
    assert seen.steps == list(range(1, len(seen.steps) + 1))
    assert not hasattr(model.trainer.lightning_module, "step")
    model.train(30, lr=1e-9, patience=1, schedule="constant", **QUIET, accelerator="cpu")
    assert len(model.history) < 12


def test_gradients_are_clipped_to_the_norm():
    weight, still = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(1))
    step = GraphedStep(lambda x: (x * weight).sum() + 7, [weight, still], clip_norm=2.5)
    loss = step(torch.tensor([6.0, 8.0]))
    assert loss.item() == 57
    assert not loss.requires_grad
    np.testing.assert_allclose(weight.grad, [1.5, 2.0], rtol=1e-5)
    step(torch.tensor([0.6, 0.8]))
    np.testing.assert_allclose(weight.grad, [0.6, 0.8], rtol=1e-5)
    # AdamW would let it decay if it had a gradient of 0
    assert still.grad is None


# on a GPU


def made(dropout: float = 0.0):
    """A recurrent network with every kind of layer of ours, its data, and its loss of some rows."""
    torch.manual_seed(0)
    lstm, out = GroupedLSTM(3, 1, 16), nn.Linear(3 * 32, 1)
    query = nn.Parameter((torch.randn(3, 32) / 8).to("cuda"))
    network = nn.ModuleList([lstm, out]).to("cuda")
    x, y = torch.randn(200, 3, 12, 1, device="cuda"), torch.randn(200, device="cuda")

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        mixed, _ = lstm.attend(x[rows], query)
        hidden = nn.functional.dropout(mixed.flatten(1), dropout)
        return ((out(hidden)[:, 0] - y[rows]) ** 2).mean()

    return network, [*network.parameters(), query], loss_of


def batches(n_steps: int = 6, size: int = 32):
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randperm(200, generator=generator)[:size] for _ in range(n_steps)]
    # one of another size in between, and one at the end
    rows[2], rows[-1] = rows[2][:7], rows[-1][:5]
    return [each.to("cuda") for each in rows]


def trained(*, recorded: bool, dropout: float = 0.0, clip_norm: float | None = None, between=None, seed: int = 5):
    network, parameters, loss_of = made(dropout)
    torch.manual_seed(seed)
    step = GraphedStep(loss_of, parameters, clip_norm=clip_norm, recorded=recorded)
    optimizer = torch.optim.SGD(parameters, 0.1)
    losses = []
    for rows in batches():
        losses.append(step(rows))
        optimizer.step()
        if between is not None:
            between(network, parameters)
    assert (step._graph is not None) == recorded
    return [loss.item() for loss in losses], [p.detach().cpu() for p in parameters]


def validate(network, parameters) -> None:
    """What happens between steps: evaluation frees memory, others take it, gradients are dropped."""
    network.eval()
    for parameter in parameters:
        parameter.grad = None
    for size in (10**4, 10**6):
        torch.full((size,), torch.nan, device="cuda")
    network.train()


class TestOnAGpu:
    pytestmark = ON_A_GPU

    @pytest.mark.parametrize("clip_norm", [None, 0.05])
    def test_a_replay_says_what_the_kernels_say(self, clip_norm):
        eager = trained(recorded=False, clip_norm=clip_norm)
        for between in (None, validate):
            losses, parameters = trained(recorded=True, clip_norm=clip_norm, between=between)
            np.testing.assert_allclose(losses, eager[0], rtol=1e-4)
            for a, b in zip(parameters, eager[1], strict=True):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)

    def test_dropout_differs_from_step_to_step_and_the_seed_decides(self):
        _, parameters, loss_of = made(0.5)
        step, rows = GraphedStep(loss_of, parameters), batches()[0]
        torch.manual_seed(3)
        losses = [step(rows).item() for _ in range(5)]
        assert len(set(losses)) == 5
        torch.manual_seed(3)
        assert [step(rows).item() for _ in range(5)] == losses
        torch.manual_seed(4)
        assert step(rows).item() not in losses

    def test_dropout_is_that_without_a_recording(self):
        eager, recorded = (trained(recorded=each, dropout=0.5)[0] for each in (False, True))
        np.testing.assert_allclose(recorded, eager, rtol=1e-4)

    def test_what_cannot_be_recorded_trains_all_the_same(self, caplog):
        _, parameters, loss_of = made(0.5)

        def synchronised(rows: torch.Tensor) -> torch.Tensor:
            loss = loss_of(rows)
            return loss if loss.item() > 0 else -loss

        found = []
        for recorded in (False, True):
            torch.manual_seed(3)
            step = GraphedStep(synchronised, parameters, recorded=recorded)
            found.append([step(rows).item() for rows in batches()])
            found[-1].append(parameters[0].grad.sum().item())
        np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
        assert caplog.text.count("its steps cannot be recorded") == 1
        # and a later one can be
        step = GraphedStep(loss_of, parameters)
        assert step(batches()[0]).item() != step(batches()[0]).item()
        assert step._graph is not None

    @pytest.mark.parametrize("name", list(CASES))
    def test_models_train_as_without(self, name, monkeypatch, caplog):
        hyper = {"dropout": 0.0}
        if "Simple" in name:
            hyper["predictor_dropout"] = 0.0
        (theirs, seen_theirs), (ours, seen_ours) = both_ways(name, monkeypatch, "gpu", **hyper)
        assert "recorded" not in caplog.text
        np.testing.assert_allclose(seen_ours.losses, seen_theirs.losses, rtol=2e-2, atol=1e-3)
        assert seen_ours.rates == seen_theirs.rates
        assert seen_ours.steps == seen_theirs.steps
        np.testing.assert_allclose(ours.history["train_loss"], theirs.history["train_loss"], rtol=1e-2, atol=1e-3)
        before = weights(CASES[name][0](with_graph(), **{**CASES[name][1], **hyper}))
        moved = max(np.abs(a - b).max() for a, b in zip(before, weights(theirs), strict=True))
        apart = max(np.abs(a - b).mean() for a, b in zip(weights(ours), weights(theirs), strict=True))
        assert apart < 0.05 * moved

    def test_the_seed_decides_with_dropout_and_training_goes_on(self):
        mdata = make_mdata(n_genes=120)

        def found(seed: int):
            model = gx.model.DeepChrome(mdata, **{**SMALL, "dropout": 0.5})
            for _ in range(2):
                model.train(3, lr=1e-2, seed=seed, accelerator="gpu", **QUIET)
            assert len(model.history) == 6
            return model.history["train_loss"].to_numpy()

        first, again, other = found(1), found(1), found(2)
        np.testing.assert_allclose(first, again, rtol=1e-3)
        assert np.abs(first - other).max() > 1e-3

    def test_other_precisions_and_hooks_are_respected(self):
        mdata, called = make_mdata(n_genes=60), []
        seen = Seen()
        model = gx.model.DeepChrome(mdata, **SMALL)
        model.train(2, accelerator="gpu", precision="bf16-mixed", callbacks=[seen], **QUIET)
        assert all(seen.automatic)
        handle = model.module.conv.register_forward_hook(lambda layer, *_: called.append(layer.training))
        model.train(4, accelerator="gpu", early_stopping=False, **QUIET)
        handle.remove()
        assert sum(called) == 4 * -(-model.fitted_["n_train"] // 32)
