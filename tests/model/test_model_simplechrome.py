"""SimpleChromeVAE: objective, published setting, latents, reconstruction, choices."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from small_models import FAST, MARKS, make_mdata, make_model
from torch import nn
from torch.distributions import Normal, kl_divergence

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.model.simplechrome._module import Predictor, SimpleChromeModule

QUIET = {"enable_progress_bar": False, "accelerator": "cpu", "batch_size": 32, "lr": 1e-2, "weight_decay": 1e-2}
SMALL = FAST["SimpleChromeVAE"]["hyper"]


def module_of(likelihood: str = "normal", *, n_marks: int = 2, n_bins: int = 20, **kwargs) -> SimpleChromeModule:
    torch.manual_seed(0)
    small = {"n_latent": 3, "n_filters": [4], "kernel_size": 3, "pool_size": 4, "n_hidden": [6], "n_predictor": [5]}
    return SimpleChromeModule(n_marks, n_bins, target="both", likelihood=likelihood, **{**small, **kwargs}).eval()


def batch_of(n: int = 6, n_marks: int = 2, n_bins: int = 20) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    nan = torch.nan
    return {
        "bins": torch.rand(n, n_marks, n_bins) * 2,
        "label": torch.tensor([0.0, 1.0, nan, 1.0, 0.0, nan]),
        "level": torch.tensor([-1.0, nan, nan, 0.5, 0.2, nan]),
    }


def fresh(mdata, **hyper):
    return gx.model.SimpleChromeVAE(mdata, **{**SMALL, **hyper})


@pytest.fixture(scope="module")
def shared():
    return make_mdata()


@pytest.fixture(scope="module")
def joint(shared):
    return make_model("SimpleChromeVAE", shared)


@pytest.fixture(scope="module")
def staged(shared):
    model = fresh(shared, mode="two_stage")
    model.train(10, **QUIET)
    return model


# the objective


def test_negative_elbo_is_that_of_torch_distributions():
    module, batch = module_of(beta=0.7), batch_of()
    module.stage = "vae"
    with torch.no_grad():
        module.autoencoder.likelihood.log_noise.copy_(torch.tensor([0.3, -0.4]))
    out = module(batch)
    posterior = Normal(out["latent"], (out["log_variance"] / 2).exp())
    around = Normal(module.autoencoder.decoder(out["draw"]), module.autoencoder.likelihood.noise[:, None])
    kl = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    elbo = around.log_prob(batch["bins"]).sum((1, 2)) - 0.7 * kl
    torch.testing.assert_close(module.loss(out, batch), -elbo.mean() / 40)
    torch.testing.assert_close(module.noted["kl"], kl.mean())


def test_counts_are_what_the_negative_binomial_is_of():
    module, batch = module_of("nb"), batch_of()
    module.stage = "vae"
    counts = torch.tensor(np.random.default_rng(0).poisson(3, (6, 2, 20)), dtype=torch.float32)
    module.autoencoder.divisor.copy_(torch.tensor([0.5, 2.0]))
    batch["bins"] = torch.log1p(counts) / module.autoencoder.divisor[:, None]
    out = module(batch)
    theta = module.autoencoder.likelihood.log_theta.exp().detach().numpy()[None, :, None]
    mean = module.autoencoder.decoder(out["draw"]).exp().detach().numpy()
    log_prob = stats.nbinom.logpmf(counts.numpy(), theta, theta / (theta + mean)).sum((1, 2))
    kl = kl_divergence(Normal(out["latent"], (out["log_variance"] / 2).exp()), Normal(0.0, 1.0)).sum(1)
    assert module.loss(out, batch).item() == pytest.approx(
        float((kl.detach().numpy() - log_prob).mean() / 40), rel=1e-4
    )


def test_joint_loss_is_the_sum_of_both():
    module, batch = module_of(elbo_weight=0.3), batch_of()
    out = module(batch)
    label = nn.functional.binary_cross_entropy_with_logits(out["logit"][[0, 1, 3, 4]], batch["label"][[0, 1, 3, 4]])
    level = nn.functional.mse_loss(out["level"][[0, 3, 4]], batch["level"][[0, 3, 4]])
    module.stage = "vae"
    negative = module.loss(out, batch)
    module.stage = "joint"
    torch.testing.assert_close(module.loss(out, batch), label + level + 0.3 * negative)


def test_the_weight_of_the_kl_rises_in_training_alone():
    module, batch = module_of(beta=2.0, warmup=0.4), batch_of()
    module.stage = "vae"
    out = module(batch)
    full, kl = float(module.loss(out, batch)), float(module.noted["kl"])
    module.train()
    for progress, weight in ((0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (1.0, 1.0)):
        module.advance(progress)
        assert float(module.loss(out, batch)) == pytest.approx(full - (1 - weight) * 2 * kl / 40, rel=1e-4)


def test_learned_from_draws_and_predicted_from_the_mean():
    module, batch = module_of(), batch_of()
    seen = []
    module.predictor.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    out = module(batch)
    assert seen[0] is out["latent"]
    module.train()
    out = module(batch)
    assert seen[1] is out["draw"]
    assert not torch.equal(out["draw"], out["latent"])


@pytest.mark.parametrize("likelihood", ["normal", "nb", "poisson", "tanh"])
def test_gradients_are_those_of_finite_differences(likelihood):
    module = module_of(likelihood, n_bins=7).double()
    batch = {k: v.double() for k, v in batch_of(n_bins=7).items()}

    def loss(bins):
        now = {**batch, "bins": bins}
        return module.loss(module(now), now)

    assert torch.autograd.gradcheck(loss, (batch["bins"].requires_grad_(),), atol=1e-5)


def test_a_missing_mark_is_neither_read_nor_reconstructed():
    module, batch = module_of(masked=True), batch_of()
    module.stage = "vae"
    batch["present"] = torch.tensor([[1.0, 0.0]] * 6)
    first = module.loss(module(batch), batch)
    batch["bins"] = torch.cat([batch["bins"][:, :1], batch["bins"][:, 1:] + 9], dim=1)
    torch.testing.assert_close(module.loss(module(batch), batch), first)


def test_draws_of_a_score_are_always_the_same():
    module, batch = module_of(), batch_of()
    assert torch.equal(module(batch)["draw"], module(batch)["draw"])


# the published setting


def test_published_setting():
    mdata = make_mdata(n_genes=60, n_bins=100)
    model = gx.model.SimpleChromeVAE(mdata, setting="paper")
    hyper, train = model.hyperparameters_, model.settings["paper"]["train"]
    assert (model.setup_["target"], hyper["stranded"], hyper["mode"]) == ("label", False, "two_stage")
    assert (hyper["n_latent"], hyper["beta"]) == (10, 5e-5)
    assert (train["lr"], train["batch_size"], train["weight_decay"], train["schedule"]) == (1e-4, 64, 0, "constant")
    predictor = [m for m in model.module.predictor.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in predictor] == [256, 128, 2]
    weights = torch.cat([p.flatten() for n, p in model.module.named_parameters() if n.endswith("weight")])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.02)
    posterior = model.module.autoencoder.posterior
    assert (posterior.in_features, posterior.out_features) == (6400, 20)


def test_published_loss_is_squared_error_and_kl():
    module, batch = module_of("tanh", beta=5e-5), batch_of()
    module.stage = "vae"
    module.autoencoder.maximum.copy_(torch.tensor([2.0, 4.0]))
    out = module(batch)
    x = batch["bins"] / torch.tensor([2.0, 4.0])[:, None] * 2 - 1
    kl = kl_divergence(Normal(out["latent"], (out["log_variance"] / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    expected = nn.functional.mse_loss(torch.tanh(module.autoencoder.decoder(out["draw"])), x) + 5e-5 * kl
    torch.testing.assert_close(module.loss(out, batch), expected)


def test_the_maximum_is_that_of_the_training_genes(tmp_path):
    mdata = make_mdata(n_genes=80, n_bins=20)
    train = (mdata.obs["split"] == "train").to_numpy()
    mdata["chromatin"].obsm["bins"][~train] *= 50
    model = gx.model.SimpleChromeVAE(mdata, setting="paper", n_filters=[4])
    model.train(1, **QUIET)
    bins = mdata["chromatin"].obsm["bins"].reshape(80, 2, 3, 20)
    expected = bins[train].max(axis=(0, 1, 3))
    assert model.fitted_["maxima"] == dict(zip(MARKS, expected, strict=True))
    model.save(tmp_path / "m")
    loaded = gx.model.load(tmp_path / "m", mdata)
    np.testing.assert_array_equal(loaded.module.autoencoder.maximum, expected)
    pd.testing.assert_frame_equal(loaded.predict(), model.predict(), check_exact=True)


# latents, reconstruction, draws


def test_latents_are_stored_by_sample(joint, shared):
    latent = joint.get_latent_representation()
    obsm = shared["chromatin"].obsm
    assert set(latent) == {"A", "B"}
    for sample in "AB":
        np.testing.assert_array_equal(obsm[f"X_simplechrome_{sample}"], latent[sample])
        assert latent[sample].shape == (shared.n_obs, 6)
    one = joint.get_latent_representation(samples="B", key_added="mine")
    np.testing.assert_array_equal(one, latent["B"])
    np.testing.assert_array_equal(obsm["mine"], one)
    obsm.pop("mine")
    before = set(obsm)
    joint.get_latent_representation(key_added=None)
    assert set(obsm) == before


def test_predictions_are_those_of_the_posterior_mean(staged):
    """By hand from the stored latent: turned, two linear layers, back to the level of the sample."""
    latent = torch.tensor(staged.get_latent_representation(samples="A", key_added=None))
    p = staged.module.predictor.state_dict()
    turned = (latent - p["center"]) @ p["axes"]
    hidden = torch.relu(turned @ p["own.weight"].T + p["own.bias"])
    level = (hidden @ p["head.level.weight"].T + p["head.level.bias"])[:, 0].numpy()
    mean, std = staged.fitted_["level_mean"]["A"], staged.fitted_["level_std"]["A"]
    np.testing.assert_allclose(level * std + mean, staged.predict()["A"], rtol=1e-4, atol=1e-5)


def test_latents_feed_scikit_learn(joint, shared):
    from sklearn.linear_model import Ridge

    latent = joint.get_latent_representation()["A"]
    log, split = shared["rna"].layers["log"][:, 0], shared.obs["split"].to_numpy()
    measured = ~np.isnan(log)
    train, test = (measured & (split == s) for s in ("train", "test"))
    predicted = Ridge().fit(latent[train], log[train]).predict(latent[test])
    assert np.corrcoef(predicted, log[test])[0, 1] > 0.7


def test_reconstruction_explains_the_signal_and_scales_back(joint, shared):
    scaled = joint.reconstruct(samples="A")
    divisors = np.array(joint.fitted_["scaler"]["divisors"])[:, None]
    observed = np.log1p(shared["chromatin"].obsm["bins"][:, :3]) / divisors
    flat = observed[(shared.obs["split"] == "train").to_numpy()].mean(0)
    test = (shared.obs["split"] == "test").to_numpy()
    near = slice(17, 23)
    error = (observed - scaled)[test][:, :2, near]
    assert (error**2).mean() < 0.8 * ((observed - flat)[test][:, :2, near] ** 2).mean()
    counts = joint.reconstruct(samples="A", units="file")
    np.testing.assert_allclose(counts, np.expm1(scaled * divisors), rtol=1e-3, atol=1e-3)
    rows = joint.reconstruct(samples="A", indices=[5, 2])
    np.testing.assert_allclose(rows, scaled[[5, 2]], rtol=1e-4, atol=1e-5)
    # the expected count is that of the data, not of its logarithm
    assert counts.mean() == pytest.approx(shared["chromatin"].obsm["bins"][:, :3].mean(), rel=0.2)


def test_reconstruction_lies_as_the_bins_lie():
    """Bins built unstranded are reconstructed unstranded, though the network reads them turned."""
    stranded, unstranded = make_mdata(n_genes=120), make_mdata(n_genes=120)
    minus = (unstranded.obs["strand"] == "-").to_numpy()
    bins = unstranded["chromatin"].obsm["bins"]
    bins[minus] = bins[minus][:, :, ::-1]
    unstranded["chromatin"].uns["window"]["stranded"] = False
    gx.schema.name_axes(unstranded, "bins")
    a, b = (make_model("SimpleChromeVAE", m).reconstruct(samples="A") for m in (stranded, unstranded))
    b[minus] = b[minus][:, :, ::-1]
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_reconstruction_is_stored_with_what_a_figure_needs(joint, shared):
    found = joint.reconstruct(samples="B", split="test", key_added="again")
    stored, said = shared["chromatin"].obsm["again"], shared["chromatin"].uns["again"]
    test = (shared.obs["split"] == "test").to_numpy()
    np.testing.assert_array_equal(stored[test], found)
    assert np.isnan(stored[~test]).all()
    assert (said["sample"], list(said["marks"]), said["units"]) == ("B", MARKS, "scaled")
    with pytest.raises(InputError, match="would overwrite the signal"):
        joint.reconstruct(samples="A", key_added="bins")
    with pytest.raises(InputError, match="name one sample of A, B: reconstruct"):
        joint.reconstruct()
    with pytest.raises(InputError, match="units='counts' is not known"):
        joint.reconstruct(samples="A", units="counts")


@pytest.mark.parametrize("transform", ["auto", "log1p", "arcsinh", "none"])
def test_every_transform_is_turned_back(transform):
    from genexp_scverse.model.simplechrome._units import in_units_of_the_files
    from genexp_scverse.pp.scaler import SignalScaler

    bins = np.random.default_rng(0).poisson(4, (20, 2, 6)).astype(np.float32)
    scales, marks = ["counts", "log"], ["H3K4me3", "H3K9ac"]
    scaler = SignalScaler(transform).fit(bins, scales, marks, rows=np.arange(20))
    back = in_units_of_the_files(scaler.transform(bins, scales, marks), scaler, marks, scales)
    np.testing.assert_allclose(back, bins, rtol=1e-4, atol=1e-4)


def test_signal_mapped_by_quantiles_has_no_way_back():
    mdata = make_mdata(n_genes=80)
    model = fresh(mdata, transform="quantile")
    model.train(1, **QUIET)
    assert model.module.autoencoder.name == "normal"
    assert model.reconstruct(samples="A").shape == (80, 3, 40)
    with pytest.raises(InputError, match=r"transform='quantile' cannot be turned back"):
        model.reconstruct(samples="A", units="file")


def test_draws_from_the_prior(joint, shared):
    drawn = joint.sample(400, seed=3, units="file")
    np.testing.assert_array_equal(drawn, joint.sample(400, seed=3, units="file"))
    assert not np.array_equal(drawn, joint.sample(400, seed=4, units="file"))
    assert drawn.shape == (400, 3, 40)
    profile = shared["chromatin"].obsm["bins"][:, :3].mean(0)
    assert np.corrcoef(drawn.mean(0).ravel(), profile.ravel())[0, 1] > 0.9
    with pytest.raises(InputError, match="n=0 draws nothing"):
        joint.sample(0)


# active units


def test_active_units_are_counted_on_the_training_genes(joint, shared, caplog):
    latent = joint.get_latent_representation(key_added=None)
    train = (shared.obs["split"] == "train").to_numpy()
    variance = np.concatenate([latent["A"][train], latent["B"][train]]).var(0)
    np.testing.assert_allclose(joint.fitted_["latent_variance"], variance, rtol=1e-3)
    assert joint.active_units == (variance > 0.01).sum() > 1
    assert f"6 units, {joint.active_units} active (nb likelihood, joint)" in joint.summary


def test_posterior_collapse_is_said(caplog):
    model = fresh(make_mdata(n_genes=80), mode="two_stage", beta=1e4, warmup=0)
    model.train(4, **QUIET)
    assert model.active_units == 0
    assert "Only 0 of 6 latent units vary" in caplog.text
    assert "posterior collapse" in caplog.text


# principal axes


def test_axes_are_those_of_sklearn_shrunk():
    rng = np.random.default_rng(0)
    means = (rng.normal(size=(300, 5)) * [3, 2, 1.5, 1, 0.2]) @ rng.normal(size=(5, 5)) + 4
    predictor = Predictor(5, [3], dropout=0.0, target="both", combine=None, n_neighbors=0, n_heads=1)
    predictor.turn(torch.tensor(means, dtype=torch.float32), 2.0)
    found = predictor._turned(torch.tensor(means, dtype=torch.float32)).numpy()
    pca = PCA().fit(means)
    s = pca.transform(means).std(0)
    np.testing.assert_allclose(found.std(0), 2 * (s / s[0]) ** 3, rtol=1e-3)
    assert np.abs(np.diag(np.corrcoef(found.T, pca.transform(means).T)[:5, 5:])).min() > 0.999


def test_fewer_genes_than_units_can_be_turned():
    predictor = Predictor(8, [3], dropout=0.0, target="both", combine=None, n_neighbors=0, n_heads=1)
    predictor.turn(torch.randn(3, 8), 1.0)
    assert torch.isfinite(predictor._turned(torch.randn(2, 8))).all()


# choices


@pytest.mark.parametrize(
    ("scale", "transform", "expected"),
    [("counts", "auto", "nb"), ("coverage", "auto", "normal"), ("log", "auto", "normal"), ("counts", "none", "normal")],
)
def test_the_scale_of_the_tracks_decides_the_likelihood(scale, transform, expected):
    mdata = make_mdata(n_genes=60)
    mdata["chromatin"].var["scale"] = scale
    assert fresh(mdata, transform=transform).module.autoencoder.name == expected


@pytest.mark.parametrize(
    ("hyper", "said"),
    [
        ({"mode": "both"}, "mode='both' is not known: choose one of joint, two_stage"),
        ({"likelihood": "gamma"}, "likelihood='gamma' is not known"),
        ({"combine": "sum"}, "combine='sum' is not known"),
        ({"likelihood": "tanh"}, 'likelihood="tanh" divides raw signal'),
        ({"likelihood": "nb", "transform": "arcsinh"}, "reads counts through"),
        ({"n_filters": []}, "n_filters=\\[\\] is not possible"),
        ({"n_hidden": [0]}, "n_hidden=\\[0\\] is not possible"),
        ({"n_predictor": 64}, "n_predictor=64 is not possible"),
        ({"n_latent": 0}, "n_latent=0 is not possible"),
        ({"beta": -1}, "beta=-1 is not possible"),
    ],
)
def test_wrong_choices_are_said(hyper, said):
    with pytest.raises(InputError, match=said):
        fresh(make_mdata(n_genes=60), **hyper)


def test_counts_are_not_seen_in_a_log():
    mdata = make_mdata(n_genes=60)
    mdata["chromatin"].var["scale"] = "log"
    with pytest.raises(InputError, match="is for counts, and there are tracks of scale 'log'"):
        fresh(mdata, likelihood="poisson")


def test_parameters_are_those_a_prediction_is_made_with(joint):
    module = joint.module
    used = [module.autoencoder.encoder, module.autoencoder.posterior, module.predictor]
    assert joint.n_parameters == sum(p.numel() for part in used for p in part.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_trains_and_gives_the_same_numbers():
    mdata = make_mdata()
    gx.pp.gene_neighbors(mdata)
    for hyper in ({}, {"mode": "two_stage"}, {"neighbors": "neighbors"}):
        model = fresh(mdata, **hyper)
        model.train(12, **{**QUIET, "accelerator": "gpu"})
        on_gpu = model.predict()
        model.to_device("cpu")
        pd.testing.assert_frame_equal(model.predict(), on_gpu, rtol=1e-3, atol=1e-3)
