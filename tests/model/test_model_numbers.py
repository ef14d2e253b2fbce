"""Numbers of the models against sklearn, scipy and numpy written out: scales, seeds, optimisers, losses, inputs."""

from __future__ import annotations

import itertools
import random

import anndata as ad
import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from small_models import FAST, MARKS, make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse.model.base._data import PairBatches
from genexp_scverse.model.deepchrome._module import DeepChromeModule

QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = FAST["DeepChrome"]["hyper"]


def two_scales(**kwargs):
    """Sample B has the levels of another unit: three times as wide and 5 higher."""
    mdata = make_mdata(**kwargs)
    log = mdata["rna"].layers["log"]
    log[:, 1] = 3 * log[:, 1] + 5
    gx.pp.label(mdata)
    return mdata


def rows_of(mdata, split: str) -> np.ndarray:
    return (mdata.obs["split"] == split).to_numpy()


class Watch(lightning.Callback):
    """Keep the optimiser's settings and gradients of every step."""

    def __init__(self):
        self.groups, self.gradients = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        group = trainer.optimizers[0].param_groups[0]
        self.groups.append({k: v for k, v in group.items() if k != "params"})

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients.append([p.grad.double().numpy().copy() for p in pl_module.module.parameters()])


# levels


@pytest.mark.parametrize("name", ["DeepChrome", "Linear", "RandomForest"])
def test_predicted_levels_are_on_the_scale_of_each_sample(name):
    mdata = two_scales()
    model = make_model(name, mdata)
    predicted = model.predict()
    train, log = rows_of(mdata, "train"), mdata["rna"].layers["log"]
    for j, sample in enumerate("AB"):
        rows = train & ~np.isnan(log[:, j])
        observed, fitted = log[rows, j].astype(float), predicted[sample][rows].astype(float)
        assert fitted.mean() == pytest.approx(observed.mean(), abs=0.5 * float(observed.std()))
        assert 0.4 * observed.std() < fitted.std() < 1.3 * observed.std()


def test_statistics_of_the_levels_are_those_of_the_training_genes():
    mdata = two_scales()
    model = make_model("Linear", mdata)
    log = mdata["rna"].layers["log"][rows_of(mdata, "train")].astype(float)
    for j, sample in enumerate("AB"):
        assert model.fitted_["level_mean"][sample] == pytest.approx(np.nanmean(log[:, j]))
        assert model.fitted_["level_std"][sample] == pytest.approx(np.nanstd(log[:, j]))


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_a_sample_not_trained_on_has_the_mean_scale_and_its_own_median(name):
    """C has the very tracks of A, so that what is predicted for it follows from what is predicted for A."""
    mdata = two_scales(n_genes=300)
    model = make_model(name, mdata)
    log = mdata["rna"].layers["log"].astype(float)
    train, test = rows_of(mdata, "train"), rows_of(mdata, "test")
    mean, std = np.nanmean(log[train], axis=0), np.nanstd(log[train], axis=0)
    of_a = (model.predict()["A"].to_numpy() - mean[0]) / std[0]

    level = 0.7 * log[:, 0] + np.where(test, 0.5, 0) + np.random.default_rng(1).normal(3, 0.2, len(log)).clip(2)
    other = gx.io.from_bins(
        {"C": mdata["chromatin"].obsm["bins"][:, :3].copy()},
        genes=list(mdata.obs_names),
        marks=MARKS,
        expression=pd.DataFrame({"C": np.expm1(level)}, index=mdata.obs_names),
        unit="tpm",
        scale="counts",
        obs=mdata.obs[["chrom", "tss", "strand"]].copy(),
        window=dict(mdata["chromatin"].uns["window"]),
    )
    other.obs["split"] = mdata.obs["split"].to_numpy()
    predicted = model.predict(other)
    np.testing.assert_allclose(predicted["C"], of_a * std.mean() + mean.mean(), rtol=1e-3, atol=1e-3)

    rows = test & ~np.isnan(level)
    table = model.evaluate(other).loc["C"]
    y, p, prob = level[rows].astype(np.float32), predicted["C"][rows], predicted["C:prob"][rows]
    label = level[rows] > np.nanmedian(level[train])
    assert abs(label.mean() - 0.5) > 0.1, "the median of the test genes would give the same labels"
    expected = {
        "n": rows.sum(),
        "auroc": sk.roc_auc_score(label, prob),
        "auprc": sk.average_precision_score(label, prob),
        "pearson": stats.pearsonr(y, p)[0],
        "spearman": stats.spearmanr(y, p)[0],
        "r2": sk.r2_score(y, p),
        "mse": sk.mean_squared_error(y, p),
        "mae": sk.mean_absolute_error(y, p),
    }
    for metric, value in expected.items():
        assert table[metric] == pytest.approx(value, rel=1e-4), metric

    del other.obs["split"]
    everywhere = ~np.isnan(level)
    auroc = model.evaluate(other, split=None).loc["C", "auroc"]
    label = level[everywhere] > np.median(level[everywhere])
    assert auroc == pytest.approx(sk.roc_auc_score(label, predicted["C:prob"][everywhere]), rel=1e-6)


# seeds


@pytest.mark.parametrize(
    ("what", "dropout", "batch_size"), [("the order of batches", 0.0, 16), ("dropout", 0.5, 10_000)]
)
def test_the_seed_of_training_decides(what, dropout, batch_size):
    mdata = make_mdata(n_genes=120)

    def predictions(seed: int) -> np.ndarray:
        torch.manual_seed(random.randrange(10**6))
        model = gx.model.DeepChrome(mdata, **{**SMALL, "dropout": dropout})
        model.train(2, lr=1e-2, seed=seed, batch_size=batch_size, **QUIET)
        return model.predict(samples="A")["A"].to_numpy()

    first, again, other = predictions(1), predictions(1), predictions(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3, what


def test_the_seed_of_training_decides_what_dropout_drops():
    """Looked at alone: the input of the layer is made positive, so that a 0 behind it was dropped."""
    mdata = make_mdata(n_genes=60)

    def dropped(seed: int) -> torch.Tensor:
        masks = []
        model = gx.model.DeepChrome(mdata, **{**SMALL, "dropout": 0.5})
        model.module.dropout.register_forward_pre_hook(lambda layer, x: (x[0].abs() + 1,))
        model.module.dropout.register_forward_hook(lambda layer, x, y: masks.append(y == 0) if layer.training else None)
        model.train(1, seed=seed, batch_size=16, **QUIET)
        return torch.cat(masks)

    first = dropped(1)
    assert 0.45 < first.float().mean() < 0.55
    assert torch.equal(first, dropped(1))
    assert not torch.equal(first, dropped(2))


@pytest.mark.parametrize("name", list(gx.model.MODELS))
def test_the_state_of_the_global_generators_is_left_alone(name):
    mdata = make_mdata(n_genes=80)
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - the global generator is what is looked at
    random.seed(11)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    model = make_model(name, mdata, train=False)
    for use in (lambda: model.train(**FAST[name]["train"]), model.predict, lambda: model.evaluate(n_bootstrap=5)):
        use()
        now = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        assert torch.equal(now[0], before[0])
        np.testing.assert_array_equal(now[1][1], before[1][1])
        assert now[1][2:] == before[1][2:]
        assert now[2] == before[2]


# losses and optimisers


def test_label_weight_weighs_the_label():
    module = DeepChromeModule(2, 20, target="both", kernel_size=4, label_weight=2.0)
    out = {"logit": torch.tensor([0.3, -2.0]), "level": torch.tensor([1.0, 2.0])}
    loss = module.loss(out, {"label": torch.tensor([1.0, 1.0]), "level": torch.tensor([0.5, 4.0])})
    cross_entropy = (np.log1p(np.exp(-0.3)) + np.log1p(np.exp(2.0))) / 2
    assert float(loss) == pytest.approx(2 * cross_entropy + (0.25 + 4.0) / 2, rel=1e-6)


def test_label_weight_reaches_the_network():
    model = gx.model.DeepChrome(make_mdata(n_genes=60), **SMALL, label_weight=2.0)
    assert model.module.label_weight == 2.0


def test_steps_are_those_of_adamw_with_decoupled_decay():
    """Loshchilov & Hutter 2019, algorithm 2, in float64."""
    mdata = make_mdata(n_genes=80)
    lr, decay, beta1, beta2, eps = 3e-3, 5.0, 0.9, 0.999, 1e-8
    weights = [p.detach().double().numpy().copy() for p in gx.model.DeepChrome(mdata, **SMALL).module.parameters()]
    model, watch = gx.model.DeepChrome(mdata, **SMALL), Watch()
    model.train(1, lr=lr, weight_decay=decay, schedule="constant", batch_size=40, callbacks=[watch], seed=3, **QUIET)
    assert len(watch.gradients) == -(-model.fitted_["n_train"] // 40) >= 2
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t, gradients in enumerate(watch.gradients, start=1):
        for i, g in enumerate(gradients):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g**2
            step = m[i] / (1 - beta1**t) / (np.sqrt(v[i] / (1 - beta2**t)) + eps)
            weights[i] = weights[i] - lr * decay * weights[i] - lr * step
    for p, w in zip(model.module.parameters(), weights, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-4, atol=2e-6)


def test_one_cycle_is_the_published_one():
    """Up by a cosine from lr / 25 in a tenth of the steps, down to lr / 25e4; the first beta goes the other way."""
    model, watch = gx.model.DeepChrome(make_mdata(), **SMALL), Watch()
    lr, epochs = 4e-3, 4
    model.train(epochs, lr=lr, schedule="one_cycle", batch_size=16, early_stopping=False, callbacks=[watch], **QUIET)
    steps = epochs * -(-model.fitted_["n_train"] // 16)
    rates, betas = (np.array(x) for x in zip(*[(g["lr"], g["betas"][0]) for g in watch.groups], strict=True))
    assert len(rates) == steps > 40
    total = steps + 1
    top = 0.1 * total - 1
    low, lowest = lr / 25, lr / 25 / 1e4
    for s in range(steps):
        if s <= top:
            way = (1 - np.cos(np.pi * s / top)) / 2
            expected, beta = low + (lr - low) * way, 0.95 - 0.1 * way
        else:
            way = (1 - np.cos(np.pi * (s - top) / (total - 1 - top))) / 2
            expected, beta = lr + (lowest - lr) * way, 0.85 + 0.1 * way
        assert rates[s] == pytest.approx(expected, rel=1e-6)
        assert betas[s] == pytest.approx(beta, rel=1e-6)
    assert abs(rates.argmax() - steps / 10) < 2


@pytest.mark.parametrize(
    ("given", "name", "decay"),
    [
        ({}, "AdamW", 2.0),
        ({"weight_decay": 0.5}, "AdamW", 0.5),
        ({"optimizer": "adamw"}, "AdamW", 2.0),
        ({"optimizer": "sgd"}, "SGD", 0.0),
        ({"optimizer": "sgd", "weight_decay": 0.3}, "SGD", 0.3),
    ],
)
def test_weight_decay_is_that_of_the_setting_or_none_for_sgd(given, name, decay):
    kinds = []

    class Kind(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            kinds.append(type(trainer.optimizers[0]).__name__)

    watch = Watch()
    model = gx.model.DeepChrome(make_mdata(n_genes=60), **SMALL)
    model.train(1, lr=1e-4, batch_size=500, callbacks=[Kind(), watch], **given, **QUIET)
    assert kinds == [name]
    assert {g["weight_decay"] for g in watch.groups} == {decay}


def test_validation_loss_is_the_mean_over_pairs():
    """1024 pairs and the rest are two batches; those of the rest are harder."""
    mdata = make_mdata(n_genes=760)
    mdata.obs["split"] = ["train"] * 60 + ["valid"] * 700
    mdata["rna"].layers["log"][650:] += 8
    gx.pp.label(mdata)
    model = gx.model.DeepChrome(mdata, **SMALL)
    model.train(1, batch_size=64, **QUIET)
    log = mdata["rna"].layers["log"].astype(float)
    predicted = model.predict()
    losses = []
    for j, sample in enumerate("AB"):
        train = log[:60, j]
        rows = np.flatnonzero(~np.isnan(log[:, j]) & rows_of(mdata, "valid"))
        y = log[rows, j] > np.nanmedian(train)
        p = predicted[f"{sample}:prob"].to_numpy(float)[rows]
        error = (log[rows, j] - predicted[sample].to_numpy(float)[rows]) / np.nanstd(train)
        losses.append(-np.log(np.where(y, p, 1 - p)) + error**2)
    losses = np.concatenate(losses)
    assert 1024 < len(losses) < 2048
    assert model.history["valid_loss"].iloc[0] == pytest.approx(losses.mean(), rel=1e-4)


# several processes


@pytest.mark.parametrize("n", [26, 25])
def test_two_processes_share_the_training_pairs(n, monkeypatch):
    pairs = torch.stack([torch.arange(n), torch.arange(n) % 3], dim=1)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True, raising=False)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2, raising=False)
    seen, everything = [], []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank, raising=False)
        for shuffle, into in ((True, seen), (False, everything)):
            batches = PairBatches(pairs, 4, shuffle=shuffle, seed=3)
            found = list(batches)
            assert len(batches) == len(found)
            into.append([tuple(p) for b in found for p in torch.stack(b, dim=1).tolist()])
    whole = [tuple(p) for p in pairs.tolist()]
    assert [len(s) for s in seen] == [n // 2, n // 2]
    assert len(set(seen[0]) | set(seen[1])) == n // 2 * 2
    assert set(seen[0]) | set(seen[1]) <= set(whole)
    assert everything == [whole, whole]


# what baselines and networks read


@pytest.mark.parametrize("n_pooled", [8, 7, 1, 40, 100])
def test_pooled_bins_are_means(n_pooled):
    """The pipeline's first step keeps mean and variance of every feature over the training pairs."""
    mdata = make_mdata(n_genes=100)
    model = make_model("Linear", mdata, n_pooled=n_pooled, transform="raw")
    bins, log = mdata["chromatin"].obsm["bins"].astype(float), mdata["rna"].layers["log"]
    n = min(n_pooled, 40)
    borders = [i * 40 // n for i in range(n + 1)]
    assert borders[0] == 0
    assert borders[-1] == 40
    rows = []
    for gene in np.flatnonzero(rows_of(mdata, "train")):
        for j in range(2):
            if not np.isnan(log[gene, j]):
                tracks = bins[gene, 3 * j : 3 * j + 3]
                rows.append([sum(t[a:b]) / (b - a) for t in tracks for a, b in itertools.pairwise(borders)])
    scaler = model.regressor[0]
    assert scaler.n_features_in_ == 3 * n
    np.testing.assert_allclose(scaler.mean_, np.mean(rows, axis=0), rtol=1e-5)
    np.testing.assert_allclose(scaler.var_, np.var(rows, axis=0), rtol=1e-4)


@pytest.mark.parametrize("name", ["Linear", "LinearSVM", "RandomForest"])
def test_features_of_the_dna_reach_the_estimator(name):
    """Tracks are noise; one feature of the DNA follows the level."""
    rng = np.random.default_rng(0)
    mdata = make_mdata(n_genes=500, samples=("A",))
    bins = mdata["chromatin"].obsm["bins"]
    bins[:] = rng.poisson(1.0, bins.shape)
    level = np.nan_to_num(mdata["rna"].layers["log"][:, 0])
    x = rng.normal(size=(mdata.n_obs, 2)).astype(np.float32)
    x[:, 1] = level
    var = pd.DataFrame(index=["noise", "signal"])
    dna = ad.AnnData(x, obs=pd.DataFrame(index=mdata.obs_names), var=var)
    whole = gx.io.assemble.assemble_mudata(mdata.obs, {**mdata.mod, "dna": dna})
    model = make_model(name, whole)
    assert model.evaluate(split="test").loc["A", "auroc"] > 0.9
    assert model.evaluate(split="test").loc["A", "pearson"] > 0.85
    whole["dna"].X[:, 1] = rng.permutation(level)
    permuted = model.evaluate(split="test").loc["A"]
    assert 0.35 < permuted["auroc"] < 0.65
    assert abs(permuted["pearson"]) < 0.25


@pytest.mark.parametrize(
    ("transform", "function", "divided"),
    [
        ("auto", np.log1p, True),
        ("log1p", np.log1p, True),
        ("arcsinh", np.arcsinh, True),
        ("none", np.asarray, True),
        ("raw", np.asarray, False),
    ],
)
@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_the_transform_of_the_model_is_numpys(name, transform, function, divided):
    mdata = make_mdata(n_genes=80)
    model = gx.model.model_class(name)(mdata, transform=transform, **FAST[name]["hyper"])
    model.train(**{**FAST[name]["train"], **({"max_epochs": 1} if name == "DeepChrome" else {})})
    expected = function(mdata["chromatin"].obsm["bins"].astype(float))
    if divided:
        train = rows_of(mdata, "train")
        for i in range(3):
            expected[:, [i, i + 3]] /= expected[train][:, [i, i + 3]].std()
    for j, sample in enumerate("AB"):
        tables = model._tables(mdata, [sample])
        seen = tables.gather(torch.arange(80), torch.zeros(80, dtype=int))["bins"].numpy()
        np.testing.assert_allclose(seen, expected[:, 3 * j : 3 * j + 3], rtol=1e-5)


def test_baselines_read_the_training_mean_for_a_missing_feature():
    mdata = make_mdata(n_genes=60)
    values = 40 + np.random.default_rng(0).normal(size=60).cumsum()
    values[[3, 4]] = np.nan
    gx.pp.add_gene_features(mdata, pd.DataFrame({"half_life": values}, index=mdata.obs_names))
    model = make_model("Linear", mdata)
    train = rows_of(mdata, "train")
    mean = np.nanmean(values[train])
    assert model.fitted_["feature_mean"] == pytest.approx([mean], rel=1e-6)
    given = mdata.copy()
    given["dna"].X[[3, 4]] = mean
    said = model.predict(given)
    np.testing.assert_allclose(model.predict(mdata), said, rtol=1e-5)
    given["dna"].X[[3, 4]] = 0
    assert not np.allclose(model.predict(given), said)


@pytest.fixture
def of_samples():
    """Levels of both samples follow a number that each sample has of each gene, and nothing else."""
    mdata = make_mdata(n_genes=120)
    rng = np.random.default_rng(1)
    atac = pd.DataFrame(rng.normal(size=(120, 2)), mdata.obs_names, ["A", "B"])
    mdata["rna"].layers["log"] = mdata["rna"].X = atac.to_numpy(np.float32)
    gx.pp.label(mdata)
    table = {s: atac[[s]].set_axis(["ATAC"], axis=1) for s in atac}
    gx.pp.add_gene_features(mdata, table, key="atac")
    return mdata


@pytest.mark.parametrize("name", ["Linear", "RandomForest", "Seq2ExpModel"])
def test_a_pair_reads_the_features_of_its_sample(of_samples, name):
    model = make_model(name, of_samples)
    assert model.setup_["features"] == ["ATAC"]
    train = rows_of(of_samples, "train")
    x = np.asarray(of_samples["dna"].X)
    assert model.fitted_["feature_mean"] == pytest.approx([x[train].mean()], abs=1e-5)
    assert model.fitted_["feature_std"] == pytest.approx([x[train].std()], rel=1e-5)
    told = model.evaluate(split="test", n_bootstrap=0)
    assert told["pearson"].min() > {"Linear": 0.95, "RandomForest": 0.8, "Seq2ExpModel": 0.6}[name]
    said = model.predict(of_samples)
    # what another sample has does not count
    of_samples["dna"].X[:, 1] = 0
    again = model.predict(of_samples)
    first = [c for c in said if str(c).startswith("A")]
    np.testing.assert_allclose(again[first], said[first], rtol=1e-5, atol=1e-6)
    assert not np.allclose(again, said)


def test_a_sample_without_a_feature_reads_its_mean(of_samples, caplog):
    model = make_model("Linear", of_samples)
    said = model.predict(of_samples)
    dna = of_samples["dna"][:, ["ATAC.A"]].copy()
    other = of_samples.copy()
    other.mod["dna"] = dna
    other.update()
    lacking = model.predict(other)
    assert "'B': without 'ATAC', for which the mean of the training genes stands in" in caplog.text
    whole = of_samples.copy()
    whole["dna"].X[:, 1] = model.fitted_["feature_mean"][0]
    np.testing.assert_allclose(lacking, model.predict(whole), rtol=1e-5)
    assert not np.allclose(lacking, said)
