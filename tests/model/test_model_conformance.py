"""The contract of gx.model, held over every registered model."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from small_models import FAST, MARKS, make_mdata, make_model, without

import genexp_scverse as gx
from genexp_scverse import InputError

NAMES = list(gx.model.MODELS)


@pytest.fixture(scope="module")
def shared():
    return make_mdata()


@pytest.fixture(scope="module")
def model_of(shared):
    """The trained model of a name, trained when it is first asked for."""
    return functools.cache(lambda name: make_model(name, shared))


@pytest.fixture(scope="module", params=NAMES)
def trained(request, model_of):
    return model_of(request.param)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


def test_every_registered_model_has_a_fast_form_here():
    assert set(FAST) == set(gx.model.MODELS)


def test_predicts_every_gene_and_sample_in_order(trained, shared):
    frame = trained.predict()
    assert list(frame.columns) == ["A", "A:prob", "B", "B:prob"]
    assert frame.index.equals(pd.Index(shared.obs_names, name="gene_id"))
    assert np.isfinite(frame.to_numpy()).all()
    assert frame[["A:prob", "B:prob"]].to_numpy().min() >= 0
    assert frame[["A:prob", "B:prob"]].to_numpy().max() <= 1


def test_learns_what_the_marks_say(trained):
    table = trained.evaluate(split="test")
    assert (table["auroc"] > 0.85).all()
    assert (table["pearson"] > 0.75).all()


def test_evaluate_is_what_sklearn_and_scipy_say(trained, shared):
    table = trained.evaluate(split="test", n_bootstrap=100)
    test = (shared.obs["split"] == "test").to_numpy()
    log = shared["rna"].layers["log"]
    train = (shared.obs["split"] == "train").to_numpy()
    predicted = trained.predict()
    for j, sample in enumerate(["A", "B"]):
        measured = test & ~np.isnan(log[:, j])
        label = log[measured, j] > np.nanmedian(log[train, j])
        row = table.loc[sample]
        assert row["n"] == measured.sum()
        assert row["auroc"] == pytest.approx(roc_auc_score(label, predicted[f"{sample}:prob"][measured]), abs=1e-6)
        assert row["pearson"] == pytest.approx(
            stats.pearsonr(log[measured, j], predicted[sample][measured])[0], abs=1e-5
        )
        assert row["mse"] == pytest.approx(np.mean((log[measured, j] - predicted[sample][measured]) ** 2), rel=1e-4)
        for metric in ("auroc", "auprc", "pearson", "spearman"):
            assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]


def test_shuffled_expression_is_not_learned(name):
    mdata = make_mdata(seed=3)
    rng = np.random.default_rng(0)
    rna = mdata["rna"]
    rna.layers["log"] = rna.layers["log"][rng.permutation(mdata.n_obs)]
    gx.pp.label(mdata)
    table = make_model(name, mdata).evaluate(split="test")
    assert (table["auroc"] < 0.75).all()
    assert (table["pearson"].abs() < 0.45).all()


def test_only_training_genes_are_fitted_on(name, model_of):
    """What test genes hold has no influence on the model."""
    changed = make_mdata()
    test = (changed.obs["split"] == "test").to_numpy()
    changed["chromatin"].obsm["bins"][test] *= 1000
    changed["rna"].layers["log"][test] = 77
    a, b = model_of(name), make_model(name, changed)
    assert {k: v for k, v in a.fitted_.items() if k != "train_seconds"} == {
        k: v for k, v in b.fitted_.items() if k != "train_seconds"
    }
    np.testing.assert_array_equal(a.predict(split="train"), b.predict(split="train"))


def test_statistics_are_those_of_the_training_genes(trained, shared):
    train = (shared.obs["split"] == "train").to_numpy()
    log = shared["rna"].layers["log"]
    assert trained.fitted_["thresholds"] == pytest.approx({s: np.nanmedian(log[train, j]) for j, s in enumerate("AB")})
    bins = np.log1p(shared["chromatin"].obsm["bins"].astype(float))
    var = shared["chromatin"].var
    for mark, divisor in zip(trained.fitted_["scaler"]["marks"], trained.fitted_["scaler"]["divisors"], strict=True):
        assert divisor == pytest.approx(bins[train][:, (var["mark"] == mark).to_numpy()].std(), rel=1e-5)
    measured = train & ~np.isnan(log).all(axis=1)
    assert trained.fitted_["training_genes"] == list(shared.obs_names[measured])


def test_the_given_split_is_used(name):
    mdata = make_mdata()
    wanted = np.random.default_rng(5).permutation(np.repeat(["train", "valid", "test"], 80))
    mdata.obs["mine"] = wanted
    model = make_model(name, mdata, setup={"split_key": "mine"})
    measured = ~np.isnan(mdata["rna"].layers["log"]).all(axis=1)
    assert model.fitted_["training_genes"] == list(mdata.obs_names[(wanted == "train") & measured])
    assert len(model.predict(split="valid")) == 80


def test_without_a_split_chromosomes_are_held_out(name, caplog):
    mdata = make_mdata()
    del mdata.obs["split"]
    make_model(name, mdata)
    assert "whole chromosomes are held out" in caplog.text
    per_chromosome = mdata.obs.groupby("chrom", observed=True)["split"].nunique()
    assert (per_chromosome == 1).all()


def test_same_seed_same_numbers(name, model_of):
    again = make_model(name, make_mdata())
    assert again.seed == model_of(name).seed
    pd.testing.assert_frame_equal(again.predict(), model_of(name).predict(), check_exact=True)


def test_saved_models_give_the_same_numbers_in_a_fresh_process(shared, model_of, tmp_path):
    """Also with maps of quantiles, and with marks that a sample lacks."""
    ragged = without(make_mdata(), f"B.{MARKS[2]}")
    models = {name: model_of(name) for name in NAMES}
    for name in ("DeepChrome", "RandomForest"):
        models[f"{name}-quantile"] = make_model(name, shared, transform="quantile")
        models[f"{name}-masked"] = make_model(name, ragged, setup={"marks": "all"})
    gx.io.write_mudata(shared, tmp_path / "whole.h5mu")
    gx.io.write_mudata(ragged, tmp_path / "ragged.h5mu")
    for name, model in models.items():
        model.save(tmp_path / name)
    code = (
        "import sys, genexp_scverse as gx; folder, *names = sys.argv[1:];"
        "whole, ragged = (gx.io.read_mudata(f'{folder}/{n}.h5mu') for n in ('whole', 'ragged'));"
        "[gx.model.load(f'{folder}/{n}', ragged if 'masked' in n else whole).predict().to_pickle(f'{folder}/{n}.pkl')"
        " for n in names]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *models], check=True)
    for name, model in models.items():
        pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / f"{name}.pkl"), model.predict(), check_exact=True)


def test_loaded_model_is_complete(trained, shared, tmp_path):
    trained.save(tmp_path / "model")
    loaded = type(trained).load(tmp_path / "model")
    assert loaded.summary == trained.summary
    assert loaded.setup_ == trained.setup_
    assert loaded.fitted_ == trained.fitted_
    if trained.history is not None:
        pd.testing.assert_frame_equal(loaded.history, trained.history)
    pd.testing.assert_frame_equal(loaded.evaluate(shared), trained.evaluate())
    with pytest.raises(InputError, match="loaded without a MuData"):
        loaded.predict()
    json.loads((tmp_path / "model" / "model.json").read_text())


def test_saving_does_not_overwrite_unasked(trained, tmp_path):
    trained.save(tmp_path / "model")
    with pytest.raises(InputError, match="exists"):
        trained.save(tmp_path / "model")
    trained.save(tmp_path / "model", overwrite=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("do not lose")
    with pytest.raises(InputError, match="not a saved model"):
        trained.save(tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "do not lose"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "precious"]


def test_predictions_are_stored_as_layers(name):
    mdata = make_mdata()
    model = make_model(name, mdata, setup={"samples": "A"})
    frame = model.predict(layer_key=model.name)
    rna = mdata["rna"]
    np.testing.assert_array_equal(rna.layers[model.name][:, 0], frame["A"])
    np.testing.assert_array_equal(rna.layers[f"{model.name}_prob"][:, 0], frame["A:prob"])
    assert np.isnan(rna.layers[model.name][:, 1]).all()
    with pytest.raises(InputError, match="overwrite measurements"):
        model.predict(layer_key="log")


def test_rows_can_be_chosen(trained, shared):
    everything = trained.predict()
    pd.testing.assert_frame_equal(trained.predict(indices=[7, 3, 3]), everything.iloc[[7, 3, 3]])
    pd.testing.assert_frame_equal(trained.predict(indices=["g0100", "g0002"]), everything.loc[["g0100", "g0002"]])
    pd.testing.assert_frame_equal(
        trained.predict(split="valid"), everything[(shared.obs["split"] == "valid").to_numpy()]
    )
    assert list(trained.predict(samples="B").columns) == ["B", "B:prob"]
    with pytest.raises(InputError, match="no gene 'BRCA1'"):
        trained.predict(indices=["BRCA1"])
    with pytest.raises(InputError, match="split='dev' is not known"):
        trained.predict(split="dev")
    with pytest.raises(InputError, match="there is no sample 'C'"):
        trained.predict(samples="C")


def test_a_new_sample_and_new_genes_are_predicted(trained):
    other = make_mdata(n_genes=200, seed=9, samples=("C",))
    table = trained.evaluate(other, split=None)
    assert list(table.index) == ["C"]
    assert table.loc["C", "auroc"] > 0.8
    del other.mod["rna"]
    assert list(trained.predict(other).columns) == ["C", "C:prob"]


def test_evaluating_training_genes_is_said(trained, shared, caplog):
    trained.evaluate(split="test")
    assert "training genes of this model" not in caplog.text
    swapped = shared.copy()
    swapped.obs["split"] = np.where(swapped.obs["split"] == "test", "train", "test")
    trained.evaluate(swapped, split="test")
    assert "were training genes of this model" in caplog.text


def test_window_and_marks_must_fit(trained):
    with pytest.raises(InputError, match="same window and bin size"):
        trained.predict(make_mdata(n_genes=40, n_bins=20))
    fewer = make_mdata(n_genes=40)
    fewer.mod["chromatin"] = fewer["chromatin"][:, [0, 1, 3, 4]].copy()
    with pytest.raises(InputError, match=r"'A' lacks 1 of the 3 marks .*'H3K36me3'.*marks=\['H3K4me3', 'H3K27me3'\]"):
        trained.predict(fewer)


def test_labels_alone_are_enough(name):
    mdata = make_mdata()
    rna = mdata["rna"]
    rna.layers["log"] = np.full(rna.shape, np.nan, np.float32)
    rna.X = rna.layers["log"].copy()
    model = make_model(name, mdata)
    assert list(model.predict().columns) == ["A:prob", "B:prob"]
    assert (model.evaluate()["auroc"] > 0.8).all()
    assert model.evaluate()["pearson"].isna().all()


@pytest.mark.parametrize(("target", "columns"), [("label", ["A:prob"]), ("expression", ["A"])])
def test_target_decides_what_is_predicted(name, target, columns):
    mdata = make_mdata()
    model = make_model(name, mdata, setup={"samples": ["A"], "target": target})
    assert list(model.predict().columns) == columns


def test_untrained_model_says_so(name, mdata_fresh):
    model = make_model(name, mdata_fresh, train=False)
    for use in (model.predict, model.evaluate, lambda: model.save("x")):
        with pytest.raises(InputError, match=r"call model.train\(\) first"):
            use()


@pytest.fixture
def mdata_fresh():
    return make_mdata(n_genes=60)


def test_marks_can_be_chosen_and_ordered(name, mdata_fresh):
    model = make_model(name, mdata_fresh, setup={"marks": [MARKS[2], MARKS[0]], "samples": ["B"]})
    assert model.setup_["marks"] == [MARKS[2], MARKS[0]]
    assert list(model.predict().columns) == ["B", "B:prob"]


def test_unknown_arguments_are_named(name, mdata_fresh):
    with pytest.raises(InputError, match=r"no argument 'dept'.*stranded"):
        gx.model.model_class(name)(mdata_fresh, dept=3)
    with pytest.raises(InputError, match="no setting 'papr'"):
        gx.model.model_class(name)(mdata_fresh, setting="papr")


def test_nothing_measured_is_said(name, mdata_fresh):
    mdata_fresh["rna"].layers["log"][(mdata_fresh.obs["split"] == "train").to_numpy(), 1] = np.nan
    mdata_fresh["rna"].layers["label"][:, 1] = np.nan
    with pytest.raises(InputError, match="sample 'B' has no measured gene among the"):
        make_model(name, mdata_fresh)


def test_the_mudata_is_left_as_it_was(trained, shared):
    trained.evaluate()
    before = make_mdata()
    np.testing.assert_array_equal(shared["chromatin"].obsm["bins"], before["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(shared["rna"].layers["log"], before["rna"].layers["log"])


def test_predictions_follow_the_signal_as_it_is_now(trained, shared):
    """A changed array, as in an experiment in silico, is seen by the next call; a few genes give what all give."""
    mdata = shared.copy()
    before = trained.predict(mdata)
    mdata["chromatin"].obsm["bins"][5] *= 50
    after = trained.predict(mdata)
    assert (after.iloc[5] != before.iloc[5]).any()
    pd.testing.assert_frame_equal(after.drop(after.index[5]), before.drop(before.index[5]), rtol=1e-5)
    pd.testing.assert_frame_equal(trained.predict(mdata, indices=[5, 9]), after.iloc[[5, 9]], rtol=1e-5)


@pytest.mark.parametrize("name", ["Linear", "LinearSVM", "RandomForest"])
def test_baselines_read_tracks_dna_or_both(name):
    mdata = make_mdata()
    dna = ad.AnnData(np.zeros((mdata.n_obs, 0), np.float32), obs=pd.DataFrame(index=mdata.obs_names))
    rng = np.random.default_rng(0)
    dna.obsm["codes"] = rng.integers(0, 4, (mdata.n_obs, 60)).astype(np.uint8)
    gx.schema.name_axes(dna)
    whole = gx.io.assemble.assemble_mudata(mdata.obs, {**mdata.mod, "dna": dna})
    gx.pp.sequence_features(whole, k=2)
    columns = {
        "both": (None, 3 * 20 + 19),
        "tracks": ({"dna": None}, 3 * 20),
        "dna": ({"chromatin": None}, 19),
    }
    for modalities, n in columns.values():
        model = make_model(name, whole, setup={"modalities": modalities})
        assert model.regressor.n_features_in_ == n
        assert model.predict().shape == (mdata.n_obs, 4)
