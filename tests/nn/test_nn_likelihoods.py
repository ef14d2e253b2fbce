"""Likelihoods of signal against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from genexp_scverse.nn.likelihoods import (
    NegativeBinomialLikelihood,
    NormalLikelihood,
    PoissonLikelihood,
    SquaredError,
    make_likelihood,
)

MARKS = 2


@pytest.fixture
def raw():
    torch.manual_seed(0)
    return torch.randn(4, MARKS, 3)


def by_mark(values):
    return np.asarray(values)[None, :, None]


def test_normal_is_that_of_scipy(raw):
    likelihood = NormalLikelihood(MARKS, floor=0.3)
    with torch.no_grad():
        likelihood.log_noise.copy_(torch.tensor([0.2, -0.7]))
    signal = torch.randn(4, MARKS, 3)
    noise = by_mark(np.sqrt(np.exp([0.2, -0.7]) ** 2 + 0.3**2))
    np.testing.assert_allclose(
        likelihood.log_prob(signal, raw).detach(), stats.norm.logpdf(signal, raw, noise), rtol=1e-4
    )
    torch.testing.assert_close(likelihood.mean(raw), raw)


def test_noise_has_a_floor(raw):
    likelihood = NormalLikelihood(MARKS, floor=0.05)
    with torch.no_grad():
        likelihood.log_noise.fill_(-40.0)
    log_prob = likelihood.log_prob(raw, raw)
    np.testing.assert_allclose(log_prob.detach(), stats.norm.logpdf(0, 0, 0.05), rtol=1e-4)


def test_poisson_is_that_of_scipy(raw):
    counts = torch.tensor(np.random.default_rng(0).poisson(2, (4, MARKS, 3)), dtype=torch.float32)
    likelihood = PoissonLikelihood()
    np.testing.assert_allclose(
        likelihood.log_prob(counts, raw), stats.poisson.logpmf(counts, np.exp(raw.numpy())), rtol=1e-4
    )
    np.testing.assert_allclose(likelihood.mean(raw), np.exp(raw.numpy()), rtol=1e-5)
    assert torch.isfinite(likelihood.log_prob(counts + 0.5, raw)).all()


def test_negative_binomial_is_that_of_scipy(raw):
    counts = torch.tensor(np.random.default_rng(0).poisson(2, (4, MARKS, 3)), dtype=torch.float32)
    likelihood = NegativeBinomialLikelihood(MARKS)
    with torch.no_grad():
        likelihood.log_theta.copy_(torch.tensor([0.5, 1.5]))
    theta, mean = by_mark(np.exp([0.5, 1.5])), np.exp(raw.numpy())
    # scipy: failures before theta successes, of probability theta / (theta + mean)
    expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mean))
    np.testing.assert_allclose(likelihood.log_prob(counts, raw).detach(), expected, rtol=1e-4)
    np.testing.assert_allclose(likelihood.mean(raw), mean, rtol=1e-5)
    drawn = stats.nbinom.rvs(theta.ravel()[0], theta.ravel()[0] / (theta.ravel()[0] + 3), size=200_000, random_state=0)
    assert drawn.var() == pytest.approx(3 + 9 / theta.ravel()[0], rel=0.05)


def test_squared_error_is_a_normal_of_variance_one_half(raw):
    signal = torch.rand(4, MARKS, 3) * 2 - 1
    normal = stats.norm.logpdf(signal, np.tanh(raw.numpy()), np.sqrt(0.5))
    found = SquaredError().log_prob(signal, raw)
    np.testing.assert_allclose(found, normal + 0.5 * np.log(np.pi), rtol=1e-4, atol=1e-5)
    assert SquaredError().mean(raw).abs().max() < 1


@pytest.mark.parametrize("likelihood", [PoissonLikelihood(), NegativeBinomialLikelihood(MARKS)])
def test_a_wild_decoder_gives_finite_numbers_and_gradients(likelihood):
    raw = torch.tensor([[[1e4], [-1e4]]], requires_grad=True)
    log_prob = likelihood.log_prob(torch.tensor([[[3.0], [0.0]]]), raw)
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("name", ["normal", "poisson", "nb", "tanh"])
def test_gradients_are_those_of_finite_differences(name, raw):
    likelihood = make_likelihood(name, MARKS).double()
    signal = torch.randint(0, 4, raw.shape).double()
    argument = raw.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda r: likelihood.log_prob(signal, r), (argument,))


def test_names_are_those_of_the_classes():
    made = {name: type(make_likelihood(name, MARKS)) for name in ("normal", "poisson", "nb", "tanh")}
    assert made == {
        "normal": NormalLikelihood,
        "poisson": PoissonLikelihood,
        "nb": NegativeBinomialLikelihood,
        "tanh": SquaredError,
    }
