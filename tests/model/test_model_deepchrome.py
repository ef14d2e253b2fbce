"""DeepChrome against an independent transcription of the paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import FAST, make_mdata, make_model
from torch import nn

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.deepchrome._module import DeepChromeModule


def published(n_marks: int = 5) -> nn.Sequential:
    """Singh et al. 2016 for 100 bins, written out."""
    return nn.Sequential(
        nn.Conv1d(n_marks, 50, 10), nn.ReLU(), nn.MaxPool1d(5), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(900, 625), nn.ReLU(), nn.Linear(625, 125), nn.ReLU(), nn.Linear(125, 2),
    )  # fmt: skip


def with_the_same_weights() -> tuple[DeepChromeModule, nn.Sequential]:
    torch.manual_seed(0)
    ours, theirs = DeepChromeModule(5, 100, target="label"), published()
    for (_, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert a.shape == b.shape
        with torch.no_grad():
            b.copy_(a)
    return ours.eval(), theirs.eval()


def test_published_network_has_its_parameters():
    assert sum(p.numel() for p in DeepChromeModule(5, 100, target="label").parameters()) == (
        5 * 50 * 10 + 50 + 900 * 625 + 625 + 625 * 125 + 125 + 125 * 2 + 2
    )


def test_log_odds_and_loss_are_those_of_two_classes():
    ours, theirs = with_the_same_weights()
    x, label = torch.rand(16, 5, 100), torch.arange(16) % 2
    log_p = torch.log_softmax(theirs(x), dim=1)
    out = ours({"bins": x})
    torch.testing.assert_close(out["logit"], log_p[:, 1] - log_p[:, 0])
    loss = ours.loss(out, {"label": label.float(), "level": torch.full((16,), torch.nan)})
    torch.testing.assert_close(loss, nn.functional.nll_loss(log_p, label))


def test_one_published_step_is_plain_sgd():
    ours, theirs = with_the_same_weights()
    x, label = torch.rand(1, 5, 100), torch.tensor([1])
    sgd = torch.optim.SGD(theirs.parameters(), lr=1e-3)
    nn.functional.nll_loss(torch.log_softmax(theirs(x), 1), label).backward()
    sgd.step()
    step = torch.optim.SGD(ours.parameters(), lr=1e-3)
    ours.loss(ours({"bins": x}), {"label": label.float(), "level": torch.tensor([torch.nan])}).backward()
    step.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-5)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(1)
    module = DeepChromeModule(2, 20, target="both", n_filters=3, kernel_size=4, pool_size=3, n_hidden=(5, 4))
    module = module.double().eval()
    x = torch.rand(3, 2, 20, dtype=torch.float64, requires_grad=True)
    targets = {
        "label": torch.tensor([0.0, 1.0, torch.nan], dtype=torch.float64),
        "level": torch.tensor([0.3, torch.nan, -1.0], dtype=torch.float64),
    }
    assert torch.autograd.gradcheck(lambda bins: module.loss(module({"bins": bins}), targets), (x,))


def test_unmeasured_pairs_do_not_count():
    module = DeepChromeModule(2, 20, target="both", kernel_size=4)
    out = {"logit": torch.tensor([0.3, -2.0, 5.0]), "level": torch.tensor([1.0, 2.0, 9.0])}
    nan = torch.nan
    loss = module.loss(out, {"label": torch.tensor([1.0, 0.0, nan]), "level": torch.tensor([0.5, nan, nan])})
    by_hand = (np.log1p(np.exp(-0.3)) + np.log1p(np.exp(-2.0))) / 2 + 0.25
    assert float(loss) == pytest.approx(by_hand, rel=1e-6)
    nothing = module.loss(out, {"label": torch.full((3,), nan), "level": torch.full((3,), nan)})
    assert float(nothing) == 0


def test_paper_setting_is_the_published_one():
    mdata = make_mdata(n_genes=60)
    model = gx.model.DeepChrome(mdata, setting="paper")
    assert model.setup_["target"] == "label"
    assert model.hyperparameters_["stranded"] is False
    assert {k: model.hyperparameters_[k] for k in ("n_filters", "kernel_size", "pool_size", "dropout")} == {
        "n_filters": 50, "kernel_size": 10, "pool_size": 5, "dropout": 0.5,
    }  # fmt: skip
    training = model.settings["paper"]["train"]
    assert (training["optimizer"], training["lr"], training["batch_size"]) == ("sgd", 1e-3, 1)
    model.train(2, enable_progress_bar=False, accelerator="cpu")
    assert list(model.predict().columns) == ["A:prob", "B:prob"]
    assert set(model.fitted_["scaler"]["divisors"]) == {1.0}


def test_paper_setting_reads_raw_bins_in_genomic_direction():
    mdata = make_mdata(n_genes=60)
    model = gx.model.DeepChrome(mdata, setting="paper")
    model.train(1, enable_progress_bar=False, accelerator="cpu")
    seen = model._tables(mdata, ["A"]).gather(torch.arange(60), torch.zeros(60, dtype=int))["bins"].numpy()
    raw = mdata["chromatin"].obsm["bins"][:, :3].copy()
    minus = (mdata.obs["strand"] == "-").to_numpy()
    raw[minus] = raw[minus][:, :, ::-1]
    np.testing.assert_array_equal(seen, raw)


def test_default_turns_unstranded_bins_round():
    """The same genes, built unstranded, give the same predictions."""
    stranded = make_mdata()
    unstranded = make_mdata()
    minus = (unstranded.obs["strand"] == "-").to_numpy()
    bins = unstranded["chromatin"].obsm["bins"]
    bins[minus] = bins[minus][:, :, ::-1]
    unstranded["chromatin"].uns["window"]["stranded"] = False
    gx.schema.name_axes(unstranded, "bins")
    a, b = make_model("DeepChrome", stranded), make_model("DeepChrome", unstranded)
    pd.testing.assert_frame_equal(a.predict(), b.predict(), rtol=1e-6)


def test_an_asymmetric_window_cannot_be_turned_round():
    mdata = make_mdata(n_genes=60)
    mdata["chromatin"].uns["window"].update(upstream=1000, downstream=3000)
    gx.schema.name_axes(mdata, "bins")
    with pytest.raises(InputError, match="cannot be turned round"):
        gx.model.DeepChrome(mdata, setting="paper").train(1, enable_progress_bar=False)


@pytest.mark.parametrize(("n_bins", "kernel", "hidden"), [(14, 10, 8), (12, 4, 8 * 9), (2, 1, 8 * 2), (1, 1, 8)])
def test_few_bins_get_shorter_filters_and_the_log_says_so(n_bins, kernel, hidden, caplog):
    """12 nucleosomes, or one value per gene; hand-counted: 12 - 4 + 1 = 9 positions of 8 filters."""
    mdata = make_mdata(n_genes=60)
    rng = np.random.default_rng(0)
    bins = rng.normal(size=(60, 3, n_bins)).astype(np.float32)
    few = gx.io.from_bins(
        bins, genes=mdata.obs_names, marks=["a", "b", "c"], expression=bins[:, 0].mean(1), unit="log", scale="log_ratio"
    )
    gx.pp.split_at_random(few)
    model = gx.model.DeepChrome(few, n_filters=8)
    model.train(1, enable_progress_bar=False)
    assert model.module.conv.kernel_size == (kernel,)
    assert model.module.hidden1.in_features == hidden
    assert ("are few" in caplog.text) == (n_bins < 14)
    assert model.predict().notna().all(axis=None)


def test_latent_is_the_last_hidden_layer():
    mdata = make_mdata()
    model = make_model("DeepChrome", mdata)
    with pytest.raises(InputError, match="there are several samples, A, B: name one"):
        model.get_latent_representation()
    latent = model.get_latent_representation(samples="A", key_added="X_deepchrome")
    np.testing.assert_array_equal(mdata["chromatin"].obsm["X_deepchrome"], latent)
    head = model.module.head.level
    level = latent @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    mean, std = model.fitted_["level_mean"]["A"], model.fitted_["level_std"]["A"]
    np.testing.assert_allclose(level[:, 0] * std + mean, model.predict()["A"], rtol=1e-4)


def test_the_deepchrome_files_train(shared_data):
    mdata = gx.io.read_deepchrome(shared_data / "deepchrome_csv")
    model = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    model.train(2, enable_progress_bar=False, accelerator="cpu")
    assert model.setup_["target"] == "label"
    assert model.predict().shape == (29, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_same_numbers():
    mdata = make_mdata()
    model = make_model("DeepChrome", mdata)
    on_cpu = model.predict()
    model.to_device("cuda:0")
    pd.testing.assert_frame_equal(model.predict(), on_cpu, rtol=1e-3, atol=1e-3)
    again = gx.model.DeepChrome(mdata, **FAST["DeepChrome"]["hyper"])
    again.train(8, lr=1e-2, accelerator="gpu", enable_progress_bar=False)
    assert (again.evaluate()["auroc"] > 0.85).all()
