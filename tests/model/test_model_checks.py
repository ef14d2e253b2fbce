"""What does not fit a model is said: hyperparameters, labels, bins and features made in another way."""

from __future__ import annotations

import json

import anndata as ad
import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from small_models import FAST, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse._checks import Limit


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("DeepChrome", {"dropout": 1.5}, "dropout=1.5 is not possible: give a number of at least 0, below 1"),
        ("DeepChrome", {"n_filters": 0}, "n_filters=0 is not possible: give a whole number of at least 1"),
        ("DeepChrome", {"n_hidden": [3]}, "n_hidden=.3. is not possible: give 2 whole numbers"),
        ("DeepChrome", {"n_hidden": "x"}, "n_hidden='x' is not possible"),
        ("DeepChrome", {"pool_size": 0}, "pool_size=0"),
        ("DeepChrome", {"stranded": "no"}, "stranded='no' is neither True nor False"),
        ("DeepChrome", {"label_weight": -1}, "label_weight=-1"),
        ("Linear", {"n_pooled": 0}, "n_pooled=0"),
        ("Linear", {"c": -1}, "c=-1"),
        ("RandomForest", {"n_trees": 0}, "n_trees=0"),
        ("RandomForest", {"max_features": 5.0}, "max_features=5.0 is not possible: give a number .* at most 1"),
    ],
)
def test_impossible_hyperparameters_are_said(name, arguments, message):
    with pytest.raises(InputError, match=message):
        gx.model.model_class(name)(make_mdata(n_genes=60), **arguments)


@pytest.mark.parametrize("name", list(gx.model.MODELS))
def test_every_numeric_hyperparameter_has_a_limit(name):
    cls = gx.model.model_class(name)
    numeric = {k for k, v in cls.defaults().items() if isinstance(v, int | float | list) and not isinstance(v, bool)}
    limits = {k: limit for k, limit in cls.limits.items() if isinstance(limit, Limit)}
    assert {k for k, limit in limits.items() if not limit.optional} == numeric
    assert all(cls.defaults()[k] is None for k, limit in limits.items() if limit.optional)
    words = {k: limit for k, limit in cls.limits.items() if not isinstance(limit, Limit)}
    assert all(cls.defaults()[k] in choice.known for k, choice in words.items())


@pytest.mark.parametrize("name", list(gx.model.MODELS))
def test_one_class_is_said(name):
    mdata = make_mdata(n_genes=60)
    mdata["rna"].layers["log"][:] = 1.0
    with pytest.raises(InputError, match="have the same label"):
        make_model(name, mdata)


def test_labels_that_contradict_the_levels_are_said(caplog):
    mdata = make_mdata()
    make_model("Linear", mdata)
    assert "differs from" not in caplog.text
    mdata["rna"].layers["label"] = 1 - mdata["rna"].layers["label"]
    make_model("Linear", mdata)
    assert "the model learns the latter" in caplog.text


def test_a_wrong_split_does_not_change_what_is_learned_later():
    mdata = make_mdata()
    right = mdata.obs["split"].copy()
    mdata.obs["split"] = np.where(right == "train", "test", right)
    model = make_model("DeepChrome", mdata, train=False)
    with pytest.raises(InputError, match="no measured gene among the 0 training genes"):
        model.train(**FAST["DeepChrome"]["train"])
    mdata.obs["split"] = right
    model.train(**FAST["DeepChrome"]["train"])
    assert list(model.predict().columns) == ["A", "A:prob", "B", "B:prob"]


def test_bins_made_in_another_way_are_refused():
    mdata = make_mdata()
    mdata["chromatin"].uns["binning"] = {"summary": "mean", "uncovered": "0.0"}
    model = make_model("Linear", mdata)
    other = make_mdata(seed=1)
    other["chromatin"].uns["binning"] = {"summary": "sum", "uncovered": "0.0"}
    with pytest.raises(InputError, match=r"'summary': 'mean'.*'summary': 'sum'.*build it alike"):
        model.predict(other)
    other["chromatin"].uns["binning"]["summary"] = np.array("mean")
    model.predict(other)


def with_dna(length: int):
    mdata = make_mdata(n_genes=80)
    dna = ad.AnnData(np.zeros((80, 0), np.float32), obs=pd.DataFrame(index=mdata.obs_names))
    dna.obsm["codes"] = np.random.default_rng(0).integers(0, 4, (80, length)).astype(np.uint8)
    dna.uns["window"] = {"upstream": length // 2, "downstream": length // 2, "stranded": True}
    gx.schema.name_axes(dna)
    whole = gx.io.assemble.assemble_mudata(mdata.obs, {**mdata.mod, "dna": dna})
    gx.pp.sequence_features(whole, k=2)
    return whole


def test_features_of_another_window_are_refused(tmp_path):
    mdata = with_dna(100)
    model = make_model("Linear", mdata)
    gx.io.write_mudata(mdata, tmp_path / "x.h5mu")
    pd.testing.assert_frame_equal(model.predict(gx.io.read_mudata(tmp_path / "x.h5mu")), model.predict())
    with pytest.raises(InputError, match=r"features of the DNA.*make them alike"):
        model.predict(with_dna(200))


def test_unknown_samples_of_a_dna_model_are_refused():
    mdata = with_dna(100)
    model = make_model("Linear", mdata, setup={"modalities": {"chromatin": None}})
    with pytest.raises(InputError, match="there is no sample 'ZZ'"):
        model.predict(samples="ZZ")
    with pytest.raises(InputError, match="samples names none"):
        model.predict(samples=[])


def test_infinite_values_are_said():
    mdata = make_mdata(n_genes=80)
    train = int(np.flatnonzero(mdata.obs["split"] == "train")[1])
    mdata["rna"].layers["log"][train, 0] = np.inf
    with pytest.raises(InputError, match="1 levels of sample 'A' are infinite"):
        make_model("Linear", mdata)
    mdata = make_mdata(n_genes=80)
    mdata["chromatin"].obsm["bins"][train, 1, 3] = np.inf
    with pytest.raises(InputError, match="'H3K27me3' holds infinite values"):
        make_model("Linear", mdata)


class Spoil(lightning.Callback):
    """Let the weights become no numbers, as too high a learning rate does."""

    def on_train_epoch_start(self, trainer, pl_module):
        with torch.no_grad():
            for p in pl_module.module.parameters():
                p.fill_(torch.nan)


def test_a_diverged_model_is_not_kept():
    model = gx.model.DeepChrome(make_mdata(n_genes=80), **FAST["DeepChrome"]["hyper"])
    with pytest.raises(InputError, match="training diverged"):
        model.train(2, callbacks=[Spoil()], enable_progress_bar=False, accelerator="cpu")
    with pytest.raises(InputError, match="not trained"):
        model.predict()
    model.train(1, enable_progress_bar=False, accelerator="cpu")
    before = model.predict()
    model.train(2, callbacks=[Spoil()], enable_progress_bar=False, accelerator="cpu")
    pd.testing.assert_frame_equal(model.predict(), before)


def test_strands_that_are_none_are_refused_where_bins_are_turned():
    mdata = make_mdata(n_genes=60)
    mdata["chromatin"].uns["window"]["stranded"] = False
    gx.schema.name_axes(mdata, "bins")
    mdata.obs["strand"] = np.where(mdata.obs["strand"] == "-", "-1", "1")
    with pytest.raises(InputError, match=r"strand.*holds '-1', '1'"):
        make_model("DeepChrome", mdata)


def test_a_path_is_no_mudata(tmp_path):
    model = make_model("Linear", make_mdata(n_genes=60))
    with pytest.raises(InputError, match=r"expected a MuData.*got str"):
        model.predict("x.h5mu")


def test_an_incomplete_description_is_said(tmp_path):
    make_model("Linear", make_mdata(n_genes=60)).save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    description = json.loads(path.read_text())
    del description["setup"]
    path.write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"cannot be read.*setup"):
        gx.model.load(tmp_path / "m")
