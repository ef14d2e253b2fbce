"""AttentiveChrome against an independent transcription of the paper, its attention, and the released weights."""

from __future__ import annotations

import logging

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from released_weights import LSTM, released
from small_models import FAST, MARKS, make_mdata, make_model, without
from torch import nn

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.attentivechrome._module import AttentiveChromeModule
from genexp_scverse.model.attentivechrome._published import from_published

PUBLISHED = ["H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3"]
QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}


def plain(state: dict[str, torch.Tensor], bins: torch.Tensor) -> dict[str, torch.Tensor]:
    """Singh et al. 2017 with torch.nn.LSTM, mark after mark, from released weights and `bins` (B, marks, bins)."""

    def summary(prefix: str, sequence: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n_in, n = state[f"{prefix}.rnn.weight_ih_l0"].shape[1], state[f"{prefix}.rnn.weight_hh_l0"].shape[1]
        lstm = nn.LSTM(n_in, n, bidirectional=True).to(bins.dtype)
        lstm.load_state_dict({name: state[f"{prefix}.rnn.{name}"] for name in LSTM})
        hidden = lstm(sequence)[0].permute(1, 0, 2)
        scores = hidden @ state[f"{prefix}.bin_attention.bin_context_vector"].to(bins.dtype)
        attention = torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
        return (attention * hidden).sum(1), attention[:, :, 0]

    with torch.no_grad():
        per_mark = [summary(f"rnn_hms.{m}", bins[:, m].T[:, :, None]) for m in range(bins.shape[1])]
        last, over_marks = summary("hm_level_rnn_1", torch.stack([s for s, _ in per_mark]))
        logit = last @ state["fdiff1_1.weight"].to(bins.dtype)[0] + state["fdiff1_1.bias"].to(bins.dtype)
    return {"logit": logit, "latent": last, "bins": torch.stack([a for _, a in per_mark], 1), "marks": over_marks}


def counts_mdata(n_genes: int = 40, **kwargs):
    rng = np.random.default_rng(1)
    signal = rng.poisson(2.0, (n_genes, 5, 100)).astype(np.float32)
    obs = pd.DataFrame({"strand": rng.choice(["+", "-"], n_genes)}, index=[f"g{i}" for i in range(n_genes)])
    obs["split"] = np.resize(["train", "train", "valid", "test"], n_genes)
    window = {"upstream": 5000, "downstream": 5000, "bin_size": 100, "stranded": False}
    return gx.io.from_bins(
        signal, genes=obs.index, marks=PUBLISHED, scale="counts", obs=obs, window=window,
        **{"labels": rng.integers(0, 2, n_genes), **kwargs},
    )  # fmt: skip


def network(n_marks: int = 5, n_bins: int = 100, **kwargs) -> AttentiveChromeModule:
    torch.manual_seed(0)
    return AttentiveChromeModule(n_marks, n_bins, **{"target": "label", "label_units": 1, **kwargs}).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_those_of_the_published_network(dtype):
    state, module = released(), network()
    module.load_state_dict(from_published(state, module.state_dict(), 5))
    assert set(module.state_dict()) == set(from_published(state, module.state_dict(), 5))
    bins = torch.from_numpy(np.random.default_rng(0).poisson(1.5, (7, 5, 100))).to(dtype)
    out = module.to(dtype)({"bins": bins})
    expected = plain(state, bins)
    close = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 1e-12, "rtol": 1e-10}
    for ours, theirs in (
        ("logit", "logit"),
        ("latent", "latent"),
        ("bin_attention", "bins"),
        ("mark_attention", "marks"),
    ):
        torch.testing.assert_close(out[ours], expected[theirs], **close)


def test_published_network_has_its_parameters():
    of_marks = 5 * (2 * 4 * 32 * (1 + 32 + 2) + 64)
    over_marks = 2 * 4 * 16 * (64 + 16 + 2) + 32
    assert sum(p.numel() for p in network().parameters()) == of_marks + over_marks + 32 + 1
    assert sum(v.numel() for v in released().values()) == of_marks + over_marks + 32 + 1


def test_attention_is_a_share_and_weighs_what_is_summed():
    module = network(3, 23, target="both", bins_per_step=4)
    out = module({"bins": torch.randn(6, 3, 23)})
    assert set(out) == {"logit", "level", "latent", "bin_attention", "mark_attention"}
    assert out["bin_attention"].shape == (6, 3, 23)
    for name, last in (("bin_attention", 2), ("mark_attention", 1)):
        assert (out[name] >= 0).all()
        torch.testing.assert_close(out[name].sum(last), torch.ones_like(out[name].sum(last)))
    # bins that are read together share their attention alike
    steps = out["bin_attention"][:, :, :20].unflatten(2, (5, 4))
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps))


def test_a_missing_mark_has_no_influence():
    """Neither what stands in its bins nor its own weights matter, forward or backward; the others sum to 1."""
    present = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    bins = torch.randn(3, 3, 12)
    module = network(3, 12, n_hidden=8, n_mark_hidden=8)
    seen = bins * present[:, :, None]
    out = module({"bins": seen, "present": present})
    garbage = seen + 100 * torch.randn_like(bins) * (1 - present[:, :, None])
    again = module({"bins": garbage, "present": present})
    for name, value in out.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    assert (out["mark_attention"][present == 0] == 0).all()
    assert (out["bin_attention"][present == 0] == 0).all()
    torch.testing.assert_close(out["mark_attention"].sum(1), torch.ones(3))
    assert out["mark_attention"][2].tolist() == [0, 0, 1]
    out["logit"][[0, 2]].sum().backward()
    assert (module.bin_lstm.weight_hh.grad[:, 1] == 0).all()
    assert (module.bin_lstm.weight_hh.grad[:, 2] != 0).any()
    # where no mark is missing the mask changes nothing
    everything = torch.ones(3, 3)
    for name, value in module({"bins": bins}).items():
        torch.testing.assert_close(module({"bins": bins, "present": everything})[name], value)


def test_a_sample_without_a_mark_trains_and_predicts():
    mdata = without(make_mdata(), f"B.{MARKS[1]}")
    model = make_model("AttentiveChrome", mdata, setup={"marks": "all"})
    assert (model.evaluate(split="test")["auroc"] > 0.8).all()
    attention = model.get_attention()
    assert (attention["B"].marks[:, 1] == 0).all()
    assert (attention["A"].marks[:, 1] > 0).all()
    np.testing.assert_allclose(attention["B"].marks.sum(1), 1, rtol=1e-5)


def test_paper_setting_is_the_published_one():
    mdata = make_mdata(n_genes=60)
    model = gx.model.AttentiveChrome(mdata, setting="paper")
    assert model.setup_["target"] == "label"
    assert {k: model.hyperparameters_[k] for k in ("stranded", "transform", "n_hidden", "n_mark_hidden")} == {
        "stranded": False, "transform": "raw", "n_hidden": 32, "n_mark_hidden": 16,
    }  # fmt: skip
    weights = torch.cat([p.detach().flatten() for p in model.module.parameters()])
    assert weights.abs().max() <= 0.1
    assert weights.std().item() == pytest.approx(0.1 / np.sqrt(3), rel=0.02)
    assert model.module.head.label.out_features == 1

    seen = {}

    class Watch(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            seen["optimizer"], seen["clip"] = trainer.optimizers[0], trainer.gradient_clip_val

    model.train(1, callbacks=[Watch()], **QUIET)
    assert type(seen["optimizer"]) is torch.optim.Adam
    group = seen["optimizer"].param_groups[0]
    assert (group["lr"], group["weight_decay"], seen["clip"]) == (2e-4, 0, 1.0)
    assert model.settings["paper"]["train"]["batch_size"] == 16
    assert model.settings["paper"]["train"]["max_epochs"] == 30
    assert set(model.fitted_["scaler"]["divisors"]) == {1.0}
    assert list(model.predict().columns) == ["A:prob", "B:prob"]


def test_one_published_step_is_adam_on_clipped_gradients():
    """A step of ours and of torch.nn.LSTMs with the same weights move them alike."""
    state, module = released(), network()
    module.load_state_dict(from_published(state, module.state_dict(), 5))
    theirs = {k: v.clone().requires_grad_() for k, v in state.items()}
    bins = torch.from_numpy(np.random.default_rng(0).poisson(3, (16, 5, 100))).float()
    label = (torch.arange(16) % 2).float()

    def summary(prefix, sequence):
        lstm = nn.LSTM(sequence.shape[2], theirs[f"{prefix}.rnn.weight_hh_l0"].shape[1], bidirectional=True)
        weights = {name: theirs[f"{prefix}.rnn.{name}"] for name in LSTM}
        hidden = torch.func.functional_call(lstm, weights, (sequence,))[0].permute(1, 0, 2)
        return (torch.softmax(hidden @ theirs[f"{prefix}.bin_attention.bin_context_vector"], 1) * hidden).sum(1)

    last = summary("hm_level_rnn_1", torch.stack([summary(f"rnn_hms.{m}", bins[:, m].T[:, :, None]) for m in range(5)]))
    logit = last @ theirs["fdiff1_1.weight"][0] + theirs["fdiff1_1.bias"]
    nn.functional.binary_cross_entropy_with_logits(logit, label).backward()
    module.train()
    module.loss(module({"bins": bins}), {"label": label, "level": torch.full((16,), torch.nan)}).backward()
    for parameters in (list(theirs.values()), list(module.parameters())):
        nn.utils.clip_grad_norm_(parameters, 0.01)
        torch.optim.Adam(parameters, 2e-4).step()
    moved = from_published({k: v.detach() for k, v in theirs.items()}, module.state_dict(), 5)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, moved[name], atol=2e-6, rtol=1e-4)


def test_attention_is_stored_under_its_names():
    mdata = make_mdata(n_genes=120)
    model = make_model("AttentiveChrome", mdata, setup={"samples": ["A"]})
    (sample, attention), *others = model.get_attention().items()
    assert (sample, others) == ("A", [])
    chromatin = mdata["chromatin"]
    np.testing.assert_array_equal(chromatin.obsm["attentivechrome_bin_attention"], attention.bins)
    np.testing.assert_array_equal(chromatin.obsm["attentivechrome_mark_attention"], attention.marks)
    assert attention.bins.shape == (120, 3, 40)
    assert chromatin.uns["attentivechrome_attention"]["marks"].tolist() == MARKS
    np.testing.assert_allclose(attention.bins.sum(2), 1, rtol=1e-5)
    np.testing.assert_allclose(attention.marks.sum(1), 1, rtol=1e-5)
    bins = model._tables(mdata, ["A"]).gather(torch.arange(120), torch.zeros(120, dtype=int))["bins"]
    with torch.no_grad():
        out = model.module({"bins": bins})
    np.testing.assert_allclose(attention.bins, out["bin_attention"], rtol=1e-4, atol=1e-6)
    gx.pp.label(mdata)
    assert gx.pl.attention(mdata, sample="A") is not None


def test_attention_of_several_samples_and_other_names():
    mdata = make_mdata(n_genes=80)
    model = make_model("AttentiveChrome", mdata)
    model.get_attention(samples="B", key_added="mine")
    both = model.get_attention(key_added="mine")
    obsm, about = mdata["chromatin"].obsm, mdata["chromatin"].uns["mine_attention"]
    for sample in "AB":
        np.testing.assert_array_equal(obsm[f"mine_bin_attention_{sample}"], both[sample].bins)
        np.testing.assert_array_equal(obsm[f"mine_mark_attention_{sample}"], both[sample].marks)
    assert sorted(about["samples"].tolist()) == ["A", "B"]
    assert not np.array_equal(both["A"].bins, both["B"].bins)


def test_attention_survives_a_file(tmp_path):
    mdata = make_mdata(n_genes=60)
    model = make_model("AttentiveChrome", mdata, setup={"samples": ["A"]})
    bins = model.get_attention()["A"].bins
    gx.io.write_mudata(mdata, tmp_path / "data.h5mu")
    again = gx.io.read_mudata(tmp_path / "data.h5mu")
    np.testing.assert_array_equal(again["chromatin"].obsm["attentivechrome_bin_attention"], bins)
    drawn = gx.pl.attention(again, gene="g0001", sample="A").get_images()[0].get_array()
    np.testing.assert_allclose(drawn[:, :40], bins[1] * 40, rtol=1e-6)


def test_attention_lies_as_the_bins_do():
    """Bins built unstranded are turned round to be read, and their attention is turned back."""
    stranded, unstranded = make_mdata(), make_mdata()
    minus = (unstranded.obs["strand"] == "-").to_numpy()
    bins = unstranded["chromatin"].obsm["bins"]
    bins[minus] = bins[minus][:, :, ::-1]
    unstranded["chromatin"].uns["window"]["stranded"] = False
    gx.schema.name_axes(unstranded, "bins")
    a, b = (make_model("AttentiveChrome", m).get_attention()["A"] for m in (stranded, unstranded))
    np.testing.assert_allclose(a.marks, b.marks, rtol=1e-5)
    np.testing.assert_allclose(a.bins[~minus], b.bins[~minus], rtol=1e-5)
    np.testing.assert_allclose(a.bins[minus], b.bins[minus][:, :, ::-1], rtol=1e-5)


def test_few_bins_fit():
    for n_bins, per_step in ((12, 1), (12, 5), (2, 5)):
        mdata = make_mdata(n_genes=60, n_bins=n_bins)
        model = gx.model.AttentiveChrome(mdata, n_hidden=8, n_mark_hidden=8, bins_per_step=per_step)
        model.train(1, **QUIET)
        assert model.get_attention()["A"].bins.shape == (60, 3, n_bins)


def test_latent_is_what_the_head_reads():
    mdata = make_mdata()
    model = make_model("AttentiveChrome", mdata)
    latent = model.get_latent_representation(samples="A", key_added="X_attentivechrome")
    head = model.module.head.level
    level = latent @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    mean, std = model.fitted_["level_mean"]["A"], model.fitted_["level_std"]["A"]
    np.testing.assert_allclose(level[:, 0] * std + mean, model.predict()["A"], rtol=1e-4)


def test_released_weights_predict_what_their_network_says(tmp_path):
    state, mdata = released(), counts_mdata()
    torch.save(state, tmp_path / "E003.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    bins = torch.from_numpy(np.asarray(mdata["chromatin"].obsm["bins"]))
    expected = plain(state, bins)
    for weights in (state, tmp_path / "E003.pt", str(tmp_path / "old.pt")):
        model = gx.model.AttentiveChrome.from_published(weights, mdata)
        (column,) = model.predict()
        np.testing.assert_allclose(model.predict()[column], torch.sigmoid(expected["logit"]), atol=1e-5)
    attention = model.get_attention()["sample"]
    np.testing.assert_allclose(attention.bins, expected["bins"], atol=1e-5)
    np.testing.assert_allclose(attention.marks, expected["marks"], atol=1e-5)
    assert model.evaluate(split=None)["n"].tolist() == [40]
    model.save(tmp_path / "model")
    again = gx.model.load(tmp_path / "model", mdata)
    pd.testing.assert_frame_equal(again.predict(), model.predict())
    # and training goes on from there
    model.train(1, **QUIET)
    assert len(model.history) == 1


def test_released_weights_read_marks_in_their_order():
    state, mdata = released(), counts_mdata()
    chromatin = mdata["chromatin"]
    chromatin.var["mark"] = ["a", "b", "c", "d", "e"]
    model = gx.model.AttentiveChrome.from_published(state, mdata, marks=["b", "a", "c", "d", "e"])
    bins = torch.from_numpy(np.asarray(chromatin.obsm["bins"])[:, [1, 0, 2, 3, 4]])
    np.testing.assert_allclose(model.predict().iloc[:, 0], torch.sigmoid(plain(state, bins)["logit"]), atol=1e-5)
    with pytest.raises(InputError, match="H3K27me3"):
        gx.model.AttentiveChrome.from_published(state, mdata)


def test_released_weights_of_another_size():
    state, mdata = released(n_marks=3, n_hidden=16), counts_mdata()
    model = gx.model.AttentiveChrome.from_published(state, mdata, marks=PUBLISHED[:3])
    bins = torch.from_numpy(np.asarray(mdata["chromatin"].obsm["bins"])[:, :3])
    np.testing.assert_allclose(model.predict().iloc[:, 0], torch.sigmoid(plain(state, bins)["logit"]), atol=1e-5)
    with pytest.raises(InputError, match="weights are of 3 marks and 5 are named"):
        gx.model.AttentiveChrome.from_published(state, mdata)


def test_labels_of_released_weights_are_by_the_training_median():
    rng = np.random.default_rng(0)
    expression = rng.random(40).astype(np.float32)
    mdata = counts_mdata(expression=expression, unit="log", labels=None)
    model = gx.model.AttentiveChrome.from_published(released(), mdata)
    train = (mdata.obs["split"] == "train").to_numpy()
    assert model.fitted_["thresholds"] == pytest.approx({"sample": np.median(expression[train])})
    assert model.evaluate()["n"].tolist() == [10]


def test_other_signal_than_the_released_networks_know_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        gx.model.AttentiveChrome.from_published(released(), counts_mdata())
    assert "read counts" not in caplog.text
    mdata = counts_mdata()
    mdata["chromatin"].var["scale"] = "log"
    gx.model.AttentiveChrome.from_published(released(), mdata)
    assert "were trained on read counts in 100 bins, and the MuData has 100 bins of log" in caplog.text


class Rocket:
    def __reduce__(self):
        return print, ("launched",)


def test_files_that_carry_more_than_tensors_are_not_run(tmp_path, capsys):
    torch.save(Rocket(), tmp_path / "bad.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    (tmp_path / "text.pt").write_text("not found")
    for name, said in {
        "bad.pt": "does not hold a plain state_dict",
        "whole.pt": "does not hold a plain state_dict",
        "text.pt": "does not hold a plain state_dict",
        "list.pt": "holds a list, not a state_dict",
        "absent.pt": "is not there",
    }.items():
        with pytest.raises(InputError, match=said):
            gx.model.AttentiveChrome.from_published(tmp_path / name, counts_mdata())
    assert "launched" not in capsys.readouterr().out


def test_names_and_shapes_that_do_not_fit_are_named():
    mdata = counts_mdata()
    make = gx.model.AttentiveChrome.from_published
    state = released()
    del state["rnn_hms.2.rnn.bias_hh_l0"]
    with pytest.raises(InputError, match=r"they lack 'rnn_hms\.2\.rnn\.bias_hh_l0'"):
        make(state, mdata)
    with pytest.raises(InputError, match=r"have the unknown 'extra\.weight'"):
        make({**released(), "extra.weight": torch.zeros(1)}, mdata)
    with pytest.raises(InputError, match=r"another shape than \(128, 1\).*'rnn_hms\.1\.rnn\.weight_ih_l0 \(128, 2\)'"):
        make({**released(), "rnn_hms.1.rnn.weight_ih_l0": torch.zeros(128, 2)}, mdata)
    with pytest.raises(InputError, match=r"no matrix 'rnn_hms\.0\.rnn\.weight_hh_l0'.*they have 'weight'"):
        make({"weight": torch.zeros(2, 2)}, mdata)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_same_numbers():
    mdata = make_mdata()
    model = make_model("AttentiveChrome", mdata)
    on_cpu = model.predict()
    model.to_device("cuda:0")
    pd.testing.assert_frame_equal(model.predict(), on_cpu, rtol=1e-3, atol=1e-3)
    again = gx.model.AttentiveChrome(mdata, **FAST["AttentiveChrome"]["hyper"])
    again.train(8, lr=3e-2, accelerator="gpu", enable_progress_bar=False)
    assert (again.evaluate()["auroc"] > 0.85).all()
