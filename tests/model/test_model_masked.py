"""Models of samples that do not all have the same marks."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import FAST, MARKS, make_mdata, make_model, without

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.cli import main

NAMES = ["DeepChrome", "Linear", "RandomForest"]
K4, K27, K36 = MARKS


def ragged(**kwargs):
    """A has all three marks, B lacks the third, C the second."""
    return without(make_mdata(samples=("A", "B", "C"), **kwargs), f"B.{K36}", f"C.{K27}")


@pytest.fixture(scope="module")
def shared():
    return ragged()


@pytest.fixture(scope="module")
def models(shared):
    return {name: make_model(name, shared, setup={"marks": "all"}) for name in NAMES}


@pytest.fixture(params=NAMES)
def trained(request, models):
    return models[request.param]


def test_all_marks_are_taken_and_missing_ones_named(shared, caplog):
    model = make_model("DeepChrome", shared, setup={"marks": "all"}, train=False)
    assert model.setup_["marks"] == MARKS
    assert model.setup_["masked"] is True
    assert f"2 of the tracks are missing and are masked: 'B.{K36}', 'C.{K27}'" in caplog.text
    assert make_model("DeepChrome", shared, setup={"marks": ["all"]}, train=False).setup_["masked"] is True
    caplog.clear()
    default = make_model("DeepChrome", shared, setup={}, train=False)
    assert default.setup_["marks"] == [K4]
    assert "marks='all' takes them" in caplog.text


def test_a_batch_says_what_is_there(trained, shared):
    tables = trained._tables(shared, ["C", "A", "B"]).to("cpu")
    expected = {"A": [1, 1, 1], "B": [1, 1, 0], "C": [1, 0, 1]}
    genes, samples = torch.tensor([7, 7, 7, 19]), torch.tensor([0, 1, 2, 0])
    batch = tables.gather(genes, samples)
    assert batch["present"].tolist() == [expected[s] for s in "CABC"]
    bins, var = np.asarray(shared["chromatin"].obsm["bins"]), shared["chromatin"].var
    train = (shared.obs["split"] == "train").to_numpy()
    for i, (gene, sample) in enumerate(zip(genes.tolist(), "CABC", strict=True)):
        for m, mark in enumerate(MARKS):
            name = f"{sample}.{mark}"
            if name not in var.index:
                assert (batch["bins"][i, m] == 0).all()
                continue
            # the scale of a mark is that of the samples that have it
            tracks = np.flatnonzero(var["mark"] == mark)
            divisor = np.log1p(bins[train][:, tracks].astype(float)).std()
            x = np.log1p(bins[gene, var.index.get_loc(name)]) / divisor
            np.testing.assert_allclose(batch["bins"][i, m], x, rtol=1e-5)


def test_every_sample_is_learned(trained, shared):
    table = trained.evaluate(split="test")
    assert list(table.index) == ["A", "B", "C"]
    assert (table["auroc"] > 0.8).all()
    assert (table["pearson"] > 0.7).all()
    assert np.isfinite(trained.predict().to_numpy()).all()


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_missing_is_not_the_same_as_no_signal(name, models, shared):
    """Sample C with a track of zeros instead of none; the other samples stay what they are."""
    model = models[name]
    whole = make_mdata(samples=("A", "B", "C"))
    at = whole["chromatin"].var_names.get_loc(f"C.{K27}")
    whole["chromatin"].obsm["bins"][:, at] = 0
    with_zeros, missing = model.predict(without(whole, f"B.{K36}")), model.predict(shared)
    pd.testing.assert_frame_equal(with_zeros.filter(regex="^[AB]"), missing.filter(regex="^[AB]"))
    assert (with_zeros[["C", "C:prob"]] != missing[["C", "C:prob"]]).mean().min() > 0.9


def test_the_network_learns_what_stands_for_a_missing_mark(models):
    value = models["DeepChrome"].module.fill.value.detach().numpy()
    # the first mark is never missing, so it has no gradient
    assert value[0] == 0
    assert (np.abs(value[1:]) > 1e-3).all()


def test_baselines_read_which_marks_are_there(models):
    assert models["Linear"].regressor.n_features_in_ == 3 * 20 + 3


def test_saved_and_loaded(trained, shared, tmp_path):
    trained.save(tmp_path / "m")
    loaded = gx.model.load(tmp_path / "m", shared.copy())
    pd.testing.assert_frame_equal(loaded.predict(), trained.predict(), check_exact=True)
    assert json.loads((tmp_path / "m" / "model.json").read_text())["setup"]["masked"] is True


def test_a_new_sample_may_lack_marks(trained):
    """D lacks a mark, E has all, F none of them: F is not predicted, and asked for by name it is refused."""
    new = make_mdata(n_genes=200, seed=9, samples=("D", "E", "F"))
    other = without(new, f"D.{K36}", f"F.{K27}", f"F.{K36}", renamed={f"F.{K4}": "DNase"})
    table = trained.evaluate(other, split=None)
    assert list(table.index) == ["D", "E"]
    assert (table["auroc"] > 0.75).all()
    with pytest.raises(InputError, match=rf"sample 'F' lacks 3 of the 3 marks that the model reads .*'{K4}'"):
        trained.predict(other, samples=["D", "F"])
    alone = without(other, *(f"{s}.{m}" for s in "DE" for m in MARKS if f"{s}.{m}" != f"D.{K36}"))
    with pytest.raises(InputError, match=r"there is no sample .A. with tracks: it has"):
        trained.predict(alone)


def test_a_trained_sample_may_lack_a_mark_later(trained, shared):
    """A was trained with all marks; without one it is predicted as a sample that lacks it."""
    later = without(shared, f"A.{K36}")
    before, after = trained.predict(shared, samples="A"), trained.predict(later, samples="A")
    assert (before["A"] != after["A"]).any()
    assert trained.evaluate(later, samples="A").loc["A", "auroc"] > 0.75
    few = trained.predict(later, indices=[3, 5], samples="A")
    pd.testing.assert_frame_equal(few, after.iloc[[3, 5]], rtol=1e-5)


def test_a_loaded_model_takes_a_mudata_with_other_gaps(trained, shared, tmp_path):
    trained.save(tmp_path / "m")
    later = without(shared, f"A.{K27}")
    loaded = gx.model.load(tmp_path / "m", later)
    pd.testing.assert_frame_equal(loaded.predict(), trained.predict(later), check_exact=True)
    if hasattr(loaded, "module"):
        loaded.train(1, accelerator="cpu", enable_progress_bar=False)
        assert np.isfinite(loaded.predict().to_numpy()).all()


def test_nothing_to_mask_is_a_model_of_shared_marks():
    mdata = make_mdata()
    everything, default = (make_model("DeepChrome", mdata, setup={"marks": m}) for m in ("all", None))
    assert everything.setup_ == default.setup_
    assert everything.setup_["masked"] is False
    pd.testing.assert_frame_equal(everything.predict(), default.predict(), check_exact=True)
    with pytest.raises(InputError, match=rf"sample 'B' lacks 1 of the 3 marks that the model reads .'{K36}'"):
        everything.predict(without(mdata, f"B.{K36}"), samples="B")


def test_chosen_samples_decide_which_marks_there_are(shared):
    model = make_model("Linear", shared, setup={"marks": "all", "samples": ["B", "C"]}, train=False)
    assert model.setup_["marks"] == MARKS
    model = make_model("Linear", shared, setup={"marks": "all", "samples": ["B"]}, train=False)
    assert model.setup_["marks"] == [K4, K27]
    assert model.setup_["masked"] is False


def test_latents_of_a_sample_with_missing_marks(models, shared):
    latent = models["DeepChrome"].get_latent_representation(samples="C")
    assert latent.shape == (shared.n_obs, FAST["DeepChrome"]["hyper"]["n_hidden"][1])
    assert np.isfinite(latent).all()


@pytest.mark.parametrize("name", NAMES)
def test_with_maps_of_every_track(name, shared):
    """Masks and quantile maps together, also where a new sample lacks a mark."""
    model = make_model(name, shared, setup={"marks": "all"}, transform="quantile")
    assert (model.evaluate()["auroc"] > 0.75).all()
    other = without(make_mdata(n_genes=200, seed=9, samples=("D",)), f"D.{K36}")
    assert model.evaluate(other, split=None).loc["D", "auroc"] > 0.7


def test_from_the_command_line(shared, tmp_path, capfd):
    gx.io.write_mudata(shared, tmp_path / "m.h5mu")
    data, model, table = (str(tmp_path / n) for n in ("m.h5mu", "model", "t.tsv"))
    assert main(["train", "Linear", data, "--mark", "all", "-o", model]) == 0
    assert "masked" in capfd.readouterr().err
    assert main(["evaluate", model, data, "-o", table]) == 0
    assert list(pd.read_csv(table, sep="\t")["sample"]) == ["A", "B", "C"]
