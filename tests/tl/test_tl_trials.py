"""Models that are trained anew read what the given one reads, and other data are set up for what a model reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from small_models import FAST, make_mdata, make_model, without

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.io.assemble import assemble_mudata
from genexp_scverse.model.base._registration import arguments_of
from genexp_scverse.tl._trials import prepare

READ = ("samples", "marks", "masked", "target", "split_key", "features", "codes", "window", "n_bins", "genome")
ROLES = ("chromatin", "dna")


def with_dna(mdata, modality: str = "dna", *, features: bool = True):
    """DNA whose share of G and C follows the level of sample A, as bases and as features, and a graph."""
    rng = np.random.default_rng(7)
    level = np.nan_to_num(mdata["rna"].layers["log"][:, 0])
    share = 0.5 + 0.12 * (level - level.mean())
    strong = rng.random((mdata.n_obs, 4000)) < share[:, None].clip(0.05, 0.95)
    codes = np.where(strong, rng.integers(1, 3, strong.shape), 3 * rng.integers(0, 2, strong.shape)).astype(np.uint8)
    dna = AnnData(X=np.zeros((mdata.n_obs, 0), np.float32), obs=pd.DataFrame(index=mdata.obs_names))
    dna.obsm["codes"] = codes
    dna.uns["window"] = {"upstream": 2000, "downstream": 2000, "stranded": True}
    gx.schema.name_axes(dna)
    whole = assemble_mudata(mdata.obs, {**mdata.mod, "dna": dna})
    if features:
        gx.pp.sequence_features(whole, k=1)
    if modality != "dna":
        whole = assemble_mudata(
            whole.obs, {**{k: v for k, v in whole.mod.items() if k != "dna"}, modality: whole["dna"]}
        )
    gx.pp.gene_neighbors(whole, n_neighbors=3)
    whole.obs["mine"] = whole.obs["split"].astype(str).replace({"train": "test", "test": "train"})
    return whole


@pytest.fixture(scope="module")
def whole():
    return with_dna(make_mdata(n_genes=120))


TINY = FAST["Seq2ExpModel"]["hyper"]
OTHER = {"marks": ["H3K27me3", "H3K4me3"], "target": "label", "split_key": "mine"}
CASES = {
    # what is read of the DNA: bases, features
    "bases": ("Seq2ExpModel", {}, {}, True, True),
    "bases alone": ("Seq2ExpModel", {"modalities": {"chromatin": None}}, {}, True, True),
    "no bases": ("Seq2ExpModel", {"modalities": {"dna": None}}, {}, False, False),
    "features": ("RandomForest", {}, {}, False, True),
    "features alone": ("Linear", {"modalities": {"chromatin": None}, "samples": ["B"]}, {}, False, True),
    "marks, target and split": ("DeepChrome", OTHER, {}, False, False),
    "graph": ("SimpleChromeVAE", {"samples": ["A"]}, {"neighbors": "neighbors", "n_neighbors": 2}, False, False),
    "ensemble of bases": ("Ensemble", {}, {"model": [{"model": "Seq2ExpModel", **TINY}]}, True, True),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_model_made_anew_reads_the_same(whole, case):
    name, setup, hyper, bases, features = CASES[case]
    model = make_model(name, whole, setup=setup, train=False, **hyper)
    # what the case is about is there
    assert (bool(model.setup_["codes"]), bool(model.setup_["features"])) == (bases, features)
    recipe, _, arguments, _, _, _, resolved = prepare(model, whole, None, None)
    for key in READ:
        assert resolved[key] == model.setup_[key], key
    assert recipe.cls is type(model)
    assert recipe.hyperparameters == model.hyperparameters_
    assert arguments == arguments_of(model.setup_)
    other = whole.copy()
    model.is_trained_ = True
    model.adata = other
    again = model.adata_manager.registry["genexp_setup"]
    assert {k: again[k] for k in READ if k != "codes"} == {k: model.setup_[k] for k in READ if k != "codes"}
    if name == "Ensemble":
        members = model._make_members(other)
        assert [m.setup_["codes"] for m in members] == [model.setup_["codes"]]


def test_masked_marks_stay_masked():
    mdata = without(make_mdata(n_genes=80), "B.H3K36me3")
    model = make_model("DeepChrome", mdata, setup={"marks": "all"}, train=False)
    assert model.setup_["masked"]
    assert prepare(model, mdata, None, None).setup["masked"]
    # a sample that has all leaves nothing to mask
    assert not prepare(model, mdata, ["A"], None).setup["masked"]


def test_modalities_of_other_names_are_found_again():
    mdata = with_dna(make_mdata(n_genes=80), modality="promoters")
    model = make_model("Seq2ExpModel", mdata, setup={"modalities": {"dna": "promoters"}}, train=False)
    assert model.setup_["codes"] is not None
    assert prepare(model, mdata, None, None).setup["codes"] == model.setup_["codes"]


@pytest.mark.parametrize(("name", "said"), [("Seq2ExpModel", "reads DNA in the window"), ("Linear", "features of the")])
def test_dna_that_is_not_there_is_said_before_anything_is_trained(whole, name, said):
    model = make_model(name, whole, setup={}, train=False)
    for function in (gx.tl.ablate_marks, gx.tl.leave_one_sample_out):
        with pytest.raises(InputError, match=said):
            function(model, make_mdata(n_genes=120))
    # asked for, it is left out
    assert prepare(model, make_mdata(n_genes=120), None, {"modalities": {"dna": None}}).setup["codes"] is None


def test_bases_without_features_are_read_again():
    mdata = with_dna(make_mdata(n_genes=80), features=False)
    model = make_model("Seq2ExpModel", mdata, train=False)
    assert (model.setup_["codes"] is not None, model.setup_["features"]) == (True, [])
    assert prepare(model, mdata, None, None).setup["codes"] == model.setup_["codes"]
    model.is_trained_ = True
    model.adata = other = mdata.copy()
    assert model.adata_manager.registry["genexp_setup"]["codes"] == model.setup_["codes"]
    assert other["dna"].obsm["codes"].shape == (80, 4000)


def test_the_figures_of_all_marks_are_those_of_the_model_with_its_dna(whole):
    """The same seed and training on the same bases give the same numbers; without bases they are others."""
    training = {"max_epochs": 1, "enable_progress_bar": False, "accelerator": "cpu"}
    model = make_model("Seq2ExpModel", whole, setup={"samples": ["A"], "marks": ["H3K4me3", "H3K27me3"]}, train=False)
    model.train(**training)
    table = gx.tl.ablate_marks(model, whole, train=training, n_bootstrap=0)
    row = table[table["kind"] == "all"].iloc[0]
    assert row["pearson"] == pytest.approx(model.evaluate()["pearson"].iloc[0], abs=1e-6)
    without_dna = gx.tl.ablate_marks(model, whole, train=training, n_bootstrap=0, setup={"modalities": {"dna": None}})
    assert abs(row["pearson"] - without_dna["pearson"].iloc[0]) > 1e-3
