"""Ensembles: means of members, calibration, intervals, saving of whole models within one, interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal

import anndata as ad
import lightning
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from small_models import FAST, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.ensemble._calibration import calibrated, conformal_quantile, fit_platt

NETWORK = {"model": "DeepChrome", "n_filters": 8, "kernel_size": 5, "n_hidden": [16, 8], "dropout": 0.1}
TRAIN = {"max_epochs": 3, "enable_progress_bar": False, "accelerator": "cpu", "lr": 1e-2, "batch_size": 32}
FOREST = {"model": "RandomForest", "n_trees": 10}


@pytest.fixture(scope="module")
def shared():
    return make_mdata()


@pytest.fixture(scope="module")
def three(shared):
    ensemble = gx.model.Ensemble(shared, model=NETWORK, n_members=3, seed=5)
    ensemble.train(**TRAIN)
    return ensemble


def noisy(n_genes: int = 4000, sigma: float = 0.7, seed: int = 0):
    """Levels that are a line of the mean signal plus normal noise of known size."""
    rng = np.random.default_rng(seed)
    x = rng.random((n_genes, 2, 8)).astype(np.float32)
    level = 6 * x[:, 0].mean(axis=1) - 4 * x[:, 1].mean(axis=1) + rng.normal(0, sigma, n_genes)
    genes = [f"g{i}" for i in range(n_genes)]
    mdata = gx.io.from_bins(x, genes=genes, marks=["H3K4me3", "H3K27me3"], expression=level, unit="log", sample="A")
    mdata.obs["split"] = rng.permutation(np.repeat(["train", "valid", "test"], [n_genes - 2500, 500, 2000]))
    gx.pp.label(mdata)
    return mdata


def of_linear(mdata, setup=None, **hyper):
    """The quickest ensemble."""
    if setup is not None:
        gx.model.Ensemble.setup_mudata(mdata, **setup)
    ensemble = gx.model.Ensemble(mdata, **{"model": "Linear", "n_members": 1, **hyper})
    ensemble.train()
    return ensemble


# the mean


def test_levels_are_means_over_members_with_seeds_of_their_own(three, shared):
    assert [m.seed for m in three.members] == [5, 6, 7]
    frames = [m.predict(shared) for m in three.members]
    assert not frames[0]["A"].equals(frames[1]["A"])
    predicted = three.predict()
    for sample in "AB":
        levels = np.stack([f[sample].to_numpy(float) for f in frames])
        np.testing.assert_allclose(predicted[sample], levels.mean(axis=0), rtol=1e-5, atol=1e-6)
        interval = three.predict_interval(coverage=0.5)
        np.testing.assert_allclose(interval[sample], levels.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(interval[f"{sample}:std"], levels.std(axis=0), atol=1e-6)


def test_a_member_is_the_model_that_it_would_be_alone(three, shared):
    alone = gx.model.DeepChrome(shared, seed=6, **{k: v for k, v in NETWORK.items() if k != "model"})
    alone.train(**TRAIN)
    pd.testing.assert_frame_equal(three.members[1].predict(shared), alone.predict(), check_exact=True)
    assert three.n_parameters == 3 * alone.n_parameters + 2


def test_the_probability_is_platts_sigmoid_of_the_mean_fitted_on_validation_genes(three, shared):
    valid = (shared.obs["split"] == "valid").to_numpy()
    log = shared["rna"].layers["log"]
    x, y, raw = [], [], {}
    for j, sample in enumerate("AB"):
        raw[sample] = np.mean([m.predict(shared)[f"{sample}:prob"].to_numpy(float) for m in three.members], axis=0)
        known = valid & ~np.isnan(log[:, j])
        x.append(logit(raw[sample][known]))
        y.append(log[known, j] > three.fitted_["thresholds"][sample])
    fit = LogisticRegression().fit(np.concatenate(x)[:, None], np.concatenate(y))
    for sample in "AB":
        expected = fit.predict_proba(logit(raw[sample])[:, None])[:, 1]
        np.testing.assert_allclose(three.predict()[f"{sample}:prob"], expected, rtol=1e-4, atol=1e-7)


def test_calibration_changes_no_order_and_mends_confidence():
    """A linear model on few genes is far too sure."""
    mdata = noisy(n_genes=2600)
    raw, mended = (of_linear(mdata, model={"model": "Linear", "c": 1000.0}, calibrate=c) for c in (False, True))
    test = (mdata.obs["split"] == "test").to_numpy()
    label = mdata["rna"].layers["label"][test, 0]
    before, after = (m.predict(split="test")["A:prob"] for m in (raw, mended))
    assert roc_auc_score(label, after) == pytest.approx(roc_auc_score(label, before), abs=1e-6)
    assert brier_score_loss(label, after) < brier_score_loss(label, before) - 0.01
    assert raw.fitted_["platt"] is None
    assert 0 < mended.fitted_["platt"][0] < 1


def test_what_cannot_be_calibrated_stays():
    rng = np.random.default_rng(0)
    prob, label = rng.random(200), rng.integers(0, 2, 200).astype(float)
    assert fit_platt(prob[:19], label[:19]) is None
    assert fit_platt(prob, np.ones(200)) is None
    assert fit_platt(label * 0.5 + 0.2, 1 - label) is None, "a falling sigmoid would turn the order round"
    assert fit_platt(prob, np.full(200, np.nan)) is None
    np.testing.assert_array_equal(calibrated(prob, None), prob)
    slope, intercept = fit_platt(np.clip(prob, 0.01, 0.99), (rng.random(200) < prob).astype(float))
    np.testing.assert_allclose(calibrated(prob, [slope, intercept]), expit(slope * logit(prob) + intercept))
    near = np.array([0.0, 1e-30, 1e-8, 1 - 6e-8, 1.0])
    assert (np.diff(calibrated(near, [1.0, 0.0])) > 0).all()


# intervals


def test_intervals_cover_what_they_state_on_held_out_genes():
    mdata = noisy(n_genes=4500, sigma=0.7)
    model = of_linear(mdata)
    test = (mdata.obs["split"] == "test").to_numpy()
    level = mdata["rna"].layers["log"][test, 0]
    for coverage, z in ((0.5, 0.6745), (0.8, 1.2816), (0.9, 1.6449), (0.95, 1.96)):
        frame = model.predict_interval(split="test", coverage=coverage)
        assert frame.attrs["coverage"] == coverage
        inside = ((level >= frame["A:low"]) & (level <= frame["A:high"])).mean()
        # the genes of the test and those of the quantile are both a sample
        error = np.sqrt(coverage * (1 - coverage) * (1 / 2000 + 1 / 500))
        assert abs(inside - coverage) < 3 * error, coverage
        half = (frame["A:high"] - frame["A:low"]).to_numpy() / 2
        assert half == pytest.approx(z * 0.7, rel=0.12), "the noise is normal of standard deviation 0.7"
        np.testing.assert_allclose(frame["A:high"] - frame["A"], half, rtol=1e-4)
        assert (frame["A:std"] == 0).all()


def test_the_width_is_the_rank_of_the_validation_errors(three, shared):
    log, valid = shared["rna"].layers["log"], (shared.obs["split"] == "valid").to_numpy()
    predicted = three.predict()
    frame = three.predict_interval(coverage=0.7, split="test", samples="B")
    assert list(frame) == ["B", "B:std", "B:low", "B:high"]
    known = valid & ~np.isnan(log[:, 1])
    errors = np.sort(np.abs(predicted["B"].to_numpy(float)[known] - log[known, 1]))
    expected = errors[int(np.ceil((len(errors) + 1) * 0.7)) - 1]
    np.testing.assert_allclose(frame["B:high"] - frame["B"], expected, rtol=1e-4)
    np.testing.assert_allclose(frame["B"] - frame["B:low"], expected, rtol=1e-4)


def test_the_rank_is_that_of_a_finite_sample():
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))  # 1 to 19
    assert conformal_quantile(scores, 0.9) == 18  # ceil(20 * 0.9)
    assert conformal_quantile(scores, 0.95) == 19
    assert conformal_quantile(scores, 0.5) == 10
    assert conformal_quantile(scores, 0.901) == 19
    with pytest.raises(InputError, match=r"coverage=0.96 needs at least 24 .*there are 19: ask for at most 0.950"):
        conformal_quantile(scores, 0.96)


def test_intervals_that_cannot_be_given_are_said(shared, caplog):
    model = of_linear(shared)
    for coverage in (0, 1, 90):
        with pytest.raises(InputError, match="is not possible: give a number above 0, below 1"):
            model.predict_interval(coverage=coverage)
    with pytest.raises(InputError, match=r"coverage=0.999 needs at least 999 measured validation genes"):
        model.predict_interval(coverage=0.999)
    other = make_mdata(n_genes=50, seed=9, samples=("C",))
    caplog.clear()
    frame = model.predict_interval(other)
    assert "sample 'C' has no validation errors of its own" in caplog.text
    errors = np.sort(np.concatenate([model.scores["A"], model.scores["B"]]))
    half = errors[int(np.ceil((len(errors) + 1) * 0.9)) - 1]
    np.testing.assert_allclose(frame["C:high"] - frame["C"], half, rtol=1e-4)
    labels = of_linear(shared, target="label")
    with pytest.raises(InputError, match="learned labels alone"):
        labels.predict_interval()
    alone = make_mdata()
    alone.obs["split"] = alone.obs["split"].astype(str).replace("valid", "train")
    without = of_linear(alone)
    assert "the probability is not calibrated" in caplog.text
    with pytest.raises(InputError, match="trained without measured validation genes"):
        without.predict_interval()
    with pytest.raises(InputError, match="is not trained"):
        make_model("Ensemble", shared, train=False).predict_interval()


# the setup


def test_members_have_the_setup_of_the_ensemble_and_the_users_own_stays():
    mdata = make_mdata(n_genes=100)
    gx.model.DeepChrome.setup_mudata(mdata, marks=["H3K36me3"])
    setup = {"samples": ["B"], "marks": ["H3K27me3", "H3K4me3"], "target": "expression"}
    ensemble = make_model("Ensemble", mdata, setup=setup, model=[NETWORK, "Linear"], n_members=1)
    for member in ensemble.members:
        assert {k: member.setup_[k] for k in setup} == setup
    assert list(ensemble.predict()) == ["B"]
    assert gx.model.DeepChrome(mdata).setup_["marks"] == ["H3K36me3"]
    assert gx.model.Linear(mdata).setup_["samples"] == ["A", "B"]


def test_settings_of_the_ensemble_reach_members_that_do_not_say_their_own():
    mdata = make_mdata(n_genes=60)
    models = ["Linear", {"model": "Linear", "transform": "log1p"}, {"model": "DeepChrome", "setting": "paper"}]
    ensemble = gx.model.Ensemble(mdata, model=models, n_members=1, transform="arcsinh", target="label")
    assert [m.hyperparameters_["transform"] for m in ensemble.members] == ["arcsinh", "log1p", "arcsinh"]
    plain = gx.model.Ensemble(mdata, model=models, n_members=1)
    assert [m.hyperparameters_["transform"] for m in plain.members] == ["auto", "log1p", "raw"]
    assert [m.hyperparameters_["stranded"] for m in plain.members] == [True, True, False]


def test_what_no_member_reads_need_not_be_there():
    mdata = make_mdata(n_genes=80)
    dna = ad.AnnData(np.zeros((80, 0), np.float32), obs=pd.DataFrame(index=mdata.obs_names))
    dna.obsm["codes"] = np.random.default_rng(0).integers(0, 4, (80, 60)).astype(np.uint8)
    gx.schema.name_axes(dna)
    whole = gx.io.assemble.assemble_mudata(mdata.obs, {**mdata.mod, "dna": dna})
    gx.pp.sequence_features(whole, k=1)
    network = gx.model.Ensemble(whole, model=NETWORK, n_members=1)
    network.train(**TRAIN)
    assert network.predict(mdata).shape == (80, 4)
    assert "features of the DNA" not in network.summary
    mixed = make_model("Ensemble", whole, model=[NETWORK, "Linear"])
    assert mixed.setup_["features"] == list(whole["dna"].var_names)
    with pytest.raises(InputError, match='"dna", which the MuData lacks'):
        mixed.predict(mdata)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("DeepCrome", "there is no model 'DeepCrome'"),
        ([], "names no model"),
        ("Ensemble", "names an ensemble"),
        (["Linear", {"model": "Ensemble"}], "names an ensemble"),
        ({"n_filters": 3}, "is no model: give a name such as"),
        (7, "is no model"),
        ({"model": "Linear", "n_filters": 3}, "there is no argument 'n_filters' of Linear"),
        ({"model": "DeepChrome", "setting": "papr"}, "there is no setting 'papr' of DeepChrome"),
        ({"model": "DeepChrome", "dropout": 2}, "dropout=2 is not possible"),
    ],
)
def test_wrong_members_are_said_at_once(shared, model, message):
    with pytest.raises(InputError, match=message):
        gx.model.Ensemble(shared, model=model)


def test_wrong_arguments_are_said(shared):
    with pytest.raises(InputError, match="n_members=0 is not possible"):
        gx.model.Ensemble(shared, n_members=0)
    with pytest.raises(InputError, match="calibrate='yes' is neither True nor False"):
        gx.model.Ensemble(shared, calibrate="yes")
    with pytest.raises(InputError, match="'max_epochs', which none of the members takes"):
        gx.model.Ensemble(shared, model="Linear").train(max_epochs=3)


# on disk


def test_members_are_saved_within_and_the_numbers_come_back(three, shared, tmp_path):
    three.save(tmp_path / "m")
    files = sorted(str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m").rglob("*") if p.is_file())
    assert files == sorted(
        ["model.json", "scores.npz", *(f"members/{i}/{f}" for i in range(3) for f in ("model.json", "weights.npz"))]
    )
    loaded = gx.model.load(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(shared), three.predict(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.predict_interval(shared), three.predict_interval(), check_exact=True)
    assert loaded.summary == three.summary
    assert "3 DeepChrome" in loaded.summary
    assert loaded.n_parameters == three.n_parameters
    assert [m.seed for m in loaded.members] == [5, 6, 7]


def test_a_loaded_ensemble_is_trained_anew_on_its_data(three, shared, tmp_path):
    three.save(tmp_path / "m")
    loaded = gx.model.load(tmp_path / "m", shared)
    loaded.train(**TRAIN)
    pd.testing.assert_frame_equal(loaded.predict(), three.predict(), check_exact=True)


def test_saving_over_leaves_no_old_member_and_nothing_of_others_out(three, shared, tmp_path):
    three.save(tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("do not lose")
    small = of_linear(shared)
    small.save(tmp_path / "m", overwrite=True)
    assert [p.name for p in (tmp_path / "m" / "members").iterdir()] == ["0"]
    assert (tmp_path / "m" / "notes.txt").read_text() == "do not lose"
    make_model("Linear", shared).save(tmp_path / "m", overwrite=True)
    assert not (tmp_path / "m" / "members").exists()
    (tmp_path / "m" / "members").mkdir()
    (tmp_path / "m" / "members" / "list.txt").write_text("of a club")
    make_model("Linear", shared).save(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m" / "members" / "list.txt").read_text() == "of a club"


def test_damaged_ensembles_are_said(three, shared, tmp_path):
    whole = tmp_path / "whole"
    three.save(whole)

    def copy(name):
        return shutil.copytree(whole, tmp_path / name)

    shutil.rmtree(copy("a") / "members" / "2")
    with pytest.raises(InputError, match=r"members.2 is not a saved model"):
        gx.model.load(tmp_path / "a")
    (copy("b") / "scores.npz").unlink()
    with pytest.raises(InputError, match=r"scores.npz is missing"):
        gx.model.load(tmp_path / "b")
    np.savez(copy("c") / "scores.npz", **{"0": np.array([object()], dtype=object)})
    with pytest.raises(InputError, match="does not hold plain arrays"):
        gx.model.load(tmp_path / "c")
    np.savez(copy("d") / "scores.npz", **{"0": np.zeros((2, 2))})
    with pytest.raises(InputError, match=r"scores.npz do not fit the model that model.json describes .'0'"):
        gx.model.load(tmp_path / "d")
    shutil.rmtree(copy("e") / "members" / "1")
    make_model("Linear", shared, target="label").save(tmp_path / "e" / "members" / "1")
    with pytest.raises(InputError, match=r"member 1 in .* is of another model"):
        gx.model.load(tmp_path / "e")
    shutil.rmtree(copy("f") / "members" / "0")
    shutil.copytree(whole, tmp_path / "f" / "members" / "0")
    with pytest.raises(InputError, match=r"member 0 in .* is of another model"):
        gx.model.load(tmp_path / "f")
    description = json.loads((copy("g") / "model.json").read_text())
    description["hyperparameters"]["model"] = "os.system"
    (tmp_path / "g" / "model.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"no model 'os.system'"):
        gx.model.load(tmp_path / "g")


def test_a_member_that_holds_itself_is_refused(three, tmp_path):
    three.save(tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "members" / "0")
    (tmp_path / "m" / "members" / "0").symlink_to(tmp_path / "m")
    with pytest.raises(InputError, match="is of another model"):
        gx.model.load(tmp_path / "m")


# interruption


class Interrupt(lightning.Callback):
    """Press Ctrl-C in the n-th training that is watched."""

    def __init__(self, training: int):
        self.left = training

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            self.left -= 1
        if self.left == 0 and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_the_complete_members(shared, caplog, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    ensemble = gx.model.Ensemble(shared, model=NETWORK, n_members=5)
    ensemble.train(**TRAIN, callbacks=[Interrupt(3)])
    assert signal.getsignal(signal.SIGINT) is handler
    assert "the 2 complete members of 5 are kept" in caplog.text
    assert [m.fitted_["epochs"] for m in ensemble.members] == [3, 3]
    ensemble.save(tmp_path / "m")
    pd.testing.assert_frame_equal(gx.model.load(tmp_path / "m").predict(shared), ensemble.predict(), check_exact=True)
    assert len(ensemble.predict_interval()) == shared.n_obs


@pytest.mark.parametrize("training", [1, 2])
def test_ctrl_c_before_two_members_leaves_no_trace(shared, training):
    handler = signal.getsignal(signal.SIGINT)
    ensemble = gx.model.Ensemble(shared, model=NETWORK, n_members=3)
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(**TRAIN, callbacks=[Interrupt(training)])
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(InputError, match="is not trained"):
        ensemble.predict()
    ensemble.train(**TRAIN)
    before, members, fitted = ensemble.predict(), ensemble.members, ensemble.fitted_
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(**TRAIN, callbacks=[Interrupt(training)])
    assert ensemble.members is members
    assert ensemble.fitted_ is fitted
    pd.testing.assert_frame_equal(ensemble.predict(), before, check_exact=True)


class Broken(lightning.Callback):
    def on_train_start(self, trainer, pl_module):
        raise RuntimeError("broken callback")


def test_a_member_that_fails_leaves_the_ensemble_as_it_was(shared):
    ensemble = make_model("Ensemble", shared)
    before = ensemble.predict()
    with pytest.raises(RuntimeError, match="broken callback"):
        ensemble.train(**FAST["Ensemble"]["train"], callbacks=[Broken()])
    pd.testing.assert_frame_equal(ensemble.predict(), before, check_exact=True)


def test_early_stopping_is_no_interruption(shared):
    ensemble = gx.model.Ensemble(shared, model=NETWORK, n_members=2)
    ensemble.train(**{**TRAIN, "max_epochs": 200, "lr": 1e-12}, schedule="constant", weight_decay=0.0, patience=2)
    assert len(ensemble.members) == 2
    assert all(len(m.history) < 20 for m in ensemble.members)
    assert ensemble.history is None
    assert ensemble.fitted_["train_seconds"] > sum(m.fitted_["train_seconds"] for m in ensemble.members) * 0.9


def test_a_mixed_ensemble_trains_each_in_its_way(shared):
    ensemble = gx.model.Ensemble(shared, model=[FOREST, NETWORK], n_members=2)
    ensemble.train(**TRAIN, seed=10)
    assert [type(m).__name__ for m in ensemble.members] == ["RandomForest", "DeepChrome"] * 2
    assert [m.seed for m in ensemble.members] == [0, 0, 1, 1]
    assert ensemble.members[0].regressor.random_state == 10
    assert ensemble.members[2].regressor.random_state == 11
    assert "2 RandomForest, 2 DeepChrome" in ensemble.summary
    ensemble.to_device("cpu")
    assert str(ensemble.device) == "cpu"


def test_trained_models_are_taken_as_they_are(shared, three):
    ensemble = gx.model.Ensemble(shared, model=NETWORK, n_members=3, seed=5)
    ensemble.train(members=three.members)
    assert all(a is b for a, b in zip(ensemble.members, three.members, strict=True))
    pd.testing.assert_frame_equal(ensemble.predict(), three.predict(), check_exact=True)
    assert ensemble.fitted_["train_seconds"] > sum(m.fitted_["train_seconds"] for m in three.members)


def test_members_that_do_not_fit_are_said(shared, three):
    ensemble = gx.model.Ensemble(shared, model=["Linear", NETWORK], n_members=1)
    with pytest.raises(InputError, match="members are DeepChrome and the ensemble is of Linear, DeepChrome"):
        ensemble.train(members=three.members[:1])
    linear = make_model("Linear", shared, train=False)
    with pytest.raises(InputError, match="the member Linear is not trained"):
        ensemble.train(members=[linear, three.members[0]])
    other = make_mdata()
    other.obs["split"] = other.obs["split"].astype(str).to_numpy()[::-1]
    with pytest.raises(InputError, match="the member Linear was trained on other genes"):
        ensemble.train(members=[make_model("Linear", other), three.members[0]])
    with pytest.raises(InputError, match="the member Linear learned another target or other samples"):
        ensemble.train(members=[make_model("Linear", make_mdata(), target="label"), three.members[0]])
    assert not ensemble.is_trained_


def test_every_sample_of_a_pooled_ensemble_has_the_width_of_its_own_errors():
    """Levels of A are a line of the signal and nearly exact, those of B are eight times as far from it."""
    rng = np.random.default_rng(1)
    n = 900
    x = rng.random((n, 1, 4)).astype(np.float32)
    line = 6 * x[:, 0].mean(axis=1)
    levels = {"A": line + rng.normal(0, 0.2, n), "B": line + rng.normal(0, 1.6, n)}
    genes = [f"g{i}" for i in range(n)]
    mdata = gx.io.from_bins({"A": x, "B": x}, genes=genes, marks=["H3K4me3"], expression=levels, unit="log")
    mdata.obs["split"] = np.repeat(["train", "valid", "test"], [300, 300, 300])
    model = of_linear(mdata, setup={"samples": ["A", "B"], "target": "expression"})
    frame, predicted = model.predict_interval(coverage=0.8), model.predict()
    for j, sample in enumerate("AB"):
        log = mdata["rna"].layers["log"][:, j]
        errors = np.sort(np.abs(predicted[sample].to_numpy(float) - log)[300:600])
        half = errors[int(np.ceil(301 * 0.8)) - 1]
        np.testing.assert_allclose(frame[f"{sample}:high"] - frame[sample], half, rtol=1e-3)
        inside = (log >= frame[f"{sample}:low"]) & (log <= frame[f"{sample}:high"])
        assert inside[600:].mean() == pytest.approx(0.8, abs=0.07)
    assert (frame["B:high"] - frame["B"]).iloc[0] > 4 * (frame["A:high"] - frame["A"]).iloc[0]
