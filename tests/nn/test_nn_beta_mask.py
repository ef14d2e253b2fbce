"""The Beta mask against torch.distributions, finite differences, and numbers worked by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Beta, kl_divergence

from genexp_scverse import InputError
from genexp_scverse.nn.beta_distribution import beta_kl, beta_std, beta_upper_half, sample_beta
from genexp_scverse.nn.beta_mask import (
    BetaMask,
    BetaParameters,
    combine,
    from_sequence,
    from_signals,
    prior_parameters,
    straight_through,
)

SIZES = (1e-6, 1e-3, 0.1, 1.0, 30.0, 1e4, 1e6)
WIDE = torch.tensor(list(itertools.product(SIZES, SIZES)), dtype=torch.float64)
MARKS = {"weight": (0.4, 0.4, 0.2), "offset": (1.5, 0.2, 1.0)}


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    return logits, 3 * torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)


def test_parameters_are_those_of_the_equations(inputs):
    logits, signals = inputs
    a, b = BetaMask(**MARKS, b_min=0.5, scale=4.0).parameters_of(logits, signals)
    x, logit = signals.numpy(), logits.numpy()
    a2 = sum(w * ((x[:, i] + 0.5) * 4 + 1e-8) for i, w in enumerate(MARKS["weight"]))
    b2 = sum(w * (b0 + 0.5) * 4 for w, b0 in zip(*MARKS.values(), strict=True))
    np.testing.assert_allclose(a, np.log1p(np.exp(logit[..., 0])) + 0.5 + 1e-8 + a2, rtol=1e-6)
    np.testing.assert_allclose(b, np.log1p(np.exp(logit[..., 1])) + 0.5 + 1e-8 + b2, rtol=1e-6)


@pytest.mark.parametrize("rows", [False, True])
def test_an_absent_signal_is_as_if_it_had_never_been(inputs, rows):
    logits, signals = inputs
    there = torch.tensor([True, False, True])
    absent = signals.clone()
    absent[:, 1] = torch.nan
    out = BetaMask(**MARKS).eval()(logits, absent, present=there.expand(2, 3) if rows else there)
    fewer = BetaMask(weight=(0.4, 0.2), offset=(1.5, 1.0)).eval()(logits, signals[:, [0, 2]])
    for found, expected in zip(out, fewer, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_each_row_has_the_signals_it_has(inputs):
    logits, signals = inputs
    present = torch.tensor([[True, False, True], [False, False, False]])
    mask = BetaMask(**MARKS).eval()
    both = mask(logits, signals, present=present)
    first = mask(logits[:1], signals[:1], present=present[0])
    torch.testing.assert_close(both.mean[0], first.mean[0])
    torch.testing.assert_close(both.mean[1], mask(logits[1:]).mean[0])


@pytest.mark.parametrize("exact", [False, True])
def test_without_any_source_a_row_has_the_prior(inputs, exact):
    mask = BetaMask(**MARKS, exact=exact, prior_mean=0.2).eval()
    out = mask(None, inputs[1], present=torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(out.mean, torch.full_like(out.mean, 0.2))
    assert out.kl == 0


def test_sum_and_exact_product_by_quadrature():
    first, second = BetaParameters(*torch.tensor([2.5, 3.0])), BetaParameters(*torch.tensor([4.0, 1.5]))
    a, b = (p.item() for p in combine(first, second, exact=True))
    grid = (0.1, 0.4, 0.9)

    def product(z):
        return stats.beta.pdf(z, 2.5, 3.0) * stats.beta.pdf(z, 4.0, 1.5)

    norm = integrate.quad(product, 0, 1)[0]
    np.testing.assert_allclose(stats.beta.pdf(grid, a, b), product(np.array(grid)) / norm, rtol=1e-6)
    assert [p.item() for p in combine(first, second)] == [6.5, 4.5]


def test_a_product_that_is_no_density_is_raised_to_the_smallest():
    tiny = BetaParameters(torch.tensor(0.1), torch.tensor(0.9))
    assert [p.item() for p in combine(tiny, tiny, exact=True)] == pytest.approx([1e-3, 0.8])


def test_signals_alone_and_sequence_alone(inputs):
    logits, signals = inputs
    mask = BetaMask(**MARKS, exact=True)
    weight, offset = (torch.tensor(MARKS[k], dtype=torch.float64) for k in ("weight", "offset"))
    for found, expected in (
        (mask.parameters_of(logits, None), from_sequence(logits)),
        (mask.parameters_of(None, signals), from_signals(signals, weight, offset)),
    ):
        torch.testing.assert_close(found.a, expected.a, rtol=1e-6, atol=0)
        torch.testing.assert_close(found.b, expected.b, rtol=1e-6, atol=0)


def test_negative_signal_counts_as_none():
    weight, offset = torch.ones(1), torch.ones(1)
    x = torch.tensor([[[-5.0, 0.0]]])
    assert from_signals(x, weight, offset).a.tolist() == [[10.0, 10.0]]


def test_mean_std_and_kl_are_those_of_torch_distributions(inputs):
    logits, signals = inputs
    mask = BetaMask(**MARKS, prior_mean=0.45, prior_strength=0.1).eval()
    out = mask(logits, signals)
    expected = Beta(*mask.parameters_of(logits, signals))
    prior = Beta(*(torch.tensor(p, dtype=torch.float64) for p in (0.1, 0.1 * 0.55 / 0.45)))
    torch.testing.assert_close(out.mean, expected.mean)
    torch.testing.assert_close(out.mask, expected.mean)
    torch.testing.assert_close(out.std, expected.stddev)
    torch.testing.assert_close(out.kl, kl_divergence(expected, prior).mean())


@pytest.mark.parametrize(("r", "k"), [(0.1, 10.0), (0.45, 0.1)])
def test_kl_at_small_and_large_parameters(r, k):
    a0, b0 = prior_parameters(r, k)
    assert a0 / (a0 + b0) == pytest.approx(r)
    a, b = WIDE.T
    expected = kl_divergence(Beta(a, b), Beta(torch.full_like(a, a0), torch.full_like(b, b0)))
    torch.testing.assert_close(beta_kl(a, b, a0, b0), expected)
    assert (expected > 0).all()
    # in float32 as well, where the formula written in float32 is off by more than 1
    torch.testing.assert_close(beta_kl(a.float(), b.float(), a0, b0), expected, rtol=1e-4, atol=1e-4)
    assert beta_kl(torch.tensor(a0), torch.tensor(b0), a0, b0).abs() < 1e-5


def test_gradient_of_kl_is_that_of_finite_differences():
    a, b = WIDE[(WIDE >= 0.1).all(1) & (WIDE <= 30).all(1)].T.clone().requires_grad_().unbind()
    assert torch.autograd.gradcheck(lambda a, b: beta_kl(a, b, 10.0, 90.0), (a, b), eps=1e-5)


def test_std_does_not_overflow():
    a, b = WIDE.T
    expected = stats.beta.std(a.numpy(), b.numpy())
    np.testing.assert_allclose(beta_std(a.float(), b.float()), expected, rtol=1e-3)


@pytest.mark.parametrize("a", SIZES)
@pytest.mark.parametrize("b", SIZES)
def test_draws_have_the_mean_and_the_gradient_of_the_mean(a, b):
    n = 4000
    torch.manual_seed(0)
    a_, b_ = (torch.full((n,), p, dtype=torch.float64, requires_grad=True) for p in (a, b))
    z = sample_beta(a_, b_)
    mean, std = stats.beta.mean(a, b), stats.beta.std(a, b)
    assert abs(z.mean().item() - mean) < 5 * std / n**0.5 + 1e-12
    # E[z] = a / (a + b): its derivatives are b / (a + b)^2 and -a / (a + b)^2
    for found, expected in zip(
        torch.autograd.grad(z.sum(), (a_, b_)), (b / (a + b) ** 2, -a / (a + b) ** 2), strict=True
    ):
        assert torch.isfinite(found).all()
        if min(a, b) > 1e-2:  # below, the draws that carry the gradient are too rare for an average of 4000
            spread = found.std().item() / n**0.5
            assert abs(found.mean().item() - expected) < 5 * spread + 1e-9 * abs(expected)
            assert spread < 0.2 * abs(expected)


def test_draws_are_beta_distributed():
    torch.manual_seed(1)
    for a, b in ((0.05, 0.3), (0.7, 2.0), (12.0, 30.0)):
        z = sample_beta(torch.full((4000,), a), torch.full((4000,), b)).numpy()
        # 1e-7 is the last digit of float32 below 1
        assert stats.kstest(np.clip(z, 1e-30, 1 - 1e-7), stats.beta(a, b).cdf).pvalue > 1e-3


def test_gradient_of_an_expectation_of_a_curved_function():
    torch.manual_seed(2)
    n, a, b = 40_000, 2.0, 3.0
    a_, b_ = (torch.full((n,), p, dtype=torch.float64, requires_grad=True) for p in (a, b))
    found = [g.mean().item() for g in torch.autograd.grad((sample_beta(a_, b_) ** 2).sum(), (a_, b_))]

    def second_moment(a, b):
        return a * (a + 1) / ((a + b) * (a + b + 1))

    h = 1e-5
    expected = [
        (second_moment(a + h, b) - second_moment(a - h, b)) / (2 * h),
        (second_moment(a, b + h) - second_moment(a, b - h)) / (2 * h),
    ]
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_straight_through_is_exact_and_passes_the_gradient():
    z = torch.rand(10_000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    h = straight_through(z)
    assert set(h.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(h == 1, z >= 0.5)
    slope = torch.randn(10_000)
    torch.testing.assert_close(torch.autograd.grad((h * slope).sum(), z)[0], slope)


def test_gradient_of_the_prediction_reaches_logits_through_the_hard_mask(inputs):
    torch.manual_seed(0)
    logits, signals = (each.clone().requires_grad_() for each in inputs)
    out = BetaMask(**MARKS, hard=True)(logits, signals)
    assert set(out.mask.unique().tolist()) <= {0.0, 1.0}
    out.mask.sum().backward()
    # a larger a opens, a larger b closes
    assert (logits.grad[..., 0] > 0).all()
    assert (logits.grad[..., 1] < 0).all()
    assert (signals.grad > 0).all()


def test_evaluation_of_the_published_hard_mask_rounds_the_mean():
    mask = BetaMask(hard=True, rounded=True).eval()
    logits = torch.tensor([[[2.0, 1.0], [1.0, 1.0], [1.0, 2.0]]])
    assert mask(logits).mask.tolist() == [[1.0, 1.0, 0.0]]
    assert torch.equal(mask(logits).mask, mask(logits).mask)
    a, b = mask.parameters_of(logits, None)
    torch.testing.assert_close(mask(logits).mean, a / (a + b))


def test_upper_half_is_the_survival_function_of_scipy():
    a, b = WIDE.T
    found = beta_upper_half(a, b)
    np.testing.assert_allclose(found, stats.beta.sf(0.5, a, b), rtol=1e-9, atol=1e-300)
    assert beta_upper_half(a.float(), b.float()).dtype == torch.float32
    assert not beta_upper_half(a.clone().requires_grad_(), b).requires_grad


def test_evaluation_of_the_hard_mask_is_the_mean_of_what_training_draws(inputs):
    torch.manual_seed(0)
    mask = BetaMask(**MARKS, b_min=0.1, scale=0.3, hard=True)
    drawn = torch.stack([mask(*inputs).mask for _ in range(4000)])
    out = mask.eval()(*inputs)
    a, b = mask.parameters_of(*inputs)
    share = stats.beta.sf(0.5, a, b)
    np.testing.assert_allclose(out.mask, share, rtol=1e-9)
    np.testing.assert_allclose(out.mean, share, rtol=1e-9)
    np.testing.assert_allclose(out.std, np.sqrt(share * (1 - share)), rtol=1e-9)
    # five standard errors
    np.testing.assert_allclose(drawn.mean(0), out.mask, atol=5 * 0.5 / 4000**0.5)
    np.testing.assert_allclose(drawn.std(0), out.std, atol=0.03)
    logits = inputs[0].clone().requires_grad_()
    gradient = torch.autograd.grad(mask(logits, inputs[1]).mask.sum(), logits)[0]
    a, b = mask.parameters_of(logits, inputs[1])
    torch.testing.assert_close(gradient, torch.autograd.grad((a / (a + b)).sum(), logits)[0])


@pytest.mark.parametrize("hard", [False, True])
def test_contact_is_a_factor_of_the_odds_and_of_those_of_the_prior(inputs, hard):
    logits, signals = inputs
    contact = torch.tensor([[1.0, 0.5, 0.1, 0.02, 1.0]] * 2, dtype=torch.float64)
    mask = BetaMask(**MARKS, prior_mean=0.2, prior_strength=2.0, hard=hard).eval()
    out = mask(logits, signals, contact=contact)
    a, b = mask.parameters_of(logits, signals)
    ours, prior = Beta(a * contact, b), Beta(2.0 * contact, torch.full_like(contact, 8.0))
    expected = torch.as_tensor(stats.beta.sf(0.5, a * contact, b)) if hard else ours.mean
    torch.testing.assert_close(out.mask, expected)
    torch.testing.assert_close(out.kl, kl_divergence(ours, prior).mean())
    if not hard:
        plain = mask(logits, signals).mean
        torch.testing.assert_close(out.mean / (1 - out.mean), contact * plain / (1 - plain))


def test_the_prior_of_a_hard_mask_is_the_soft_one_as_long_as_it_is_soft(inputs):
    mask = BetaMask(**MARKS, hard=True, prior_mean=0.2, prior_strength=0.1, soft_strength=1.6)
    ours = Beta(*mask.parameters_of(*inputs))
    for softness, strength in ((1.0, 1.6), (0.75, 0.8), (0.5, 0.4), (0.0, 0.1)):
        mask.train().softness = softness
        prior = Beta(*(torch.tensor(p, dtype=torch.float64) for p in (strength, 4 * strength)))
        torch.testing.assert_close(mask(*inputs).kl, kl_divergence(ours, prior).mean())
    # what is reported is measured alike from epoch to epoch
    mask.eval().softness = 1.0
    assert mask.prior == pytest.approx((0.1, 0.4))
    assert BetaMask(**MARKS, prior_strength=0.1, prior_mean=0.2).prior == pytest.approx((0.1, 0.4))


def test_training_draws_and_evaluation_does_not(inputs):
    mask = BetaMask(**MARKS)
    assert not torch.equal(mask(*inputs).mask, mask(*inputs).mask)
    assert torch.equal(mask.eval()(*inputs).mask, mask(*inputs).mask)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_forced_positions(inputs, hard, training):
    logits, signals = inputs
    mask = BetaMask(**MARKS, hard=hard).train(training)
    opened = torch.tensor([True, True, False, False, False])
    blocked = torch.tensor([[False, True, True, False, False], [False] * 5])
    logits = logits.clone().requires_grad_()
    out = mask(logits, signals, open=opened, blocked=blocked)
    for each in (out.mask, out.mean):
        assert (each[:, :2] == 1).all()
        assert each[0, 2] == 0
    free = torch.tensor([[False] * 3 + [True] * 2, [False] * 2 + [True] * 3])
    assert torch.equal(out.std > 0, free)
    a, b = mask.parameters_of(logits, signals)
    torch.testing.assert_close(out.kl, beta_kl(a, b, 10.0, 90.0)[free].mean())
    (out.mask.sum() + out.kl).backward()
    assert torch.equal((logits.grad != 0).all(2), free)


def test_kl_of_a_mask_without_a_free_position_is_zero(inputs):
    out = BetaMask(**MARKS)(*inputs, open=torch.ones(5, dtype=torch.bool))
    assert out.kl == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("b_min", "scale"), [(0.0, 1.0), (1.0, 10.0)])
def test_no_nan_from_small_to_large(dtype, hard, exact, b_min, scale):
    torch.manual_seed(0)
    sizes = torch.tensor([*SIZES, 0.0])
    # softplus is the identity for large and exp for negative values
    logit = torch.where(sizes > 20, sizes, torch.expm1(sizes.clamp(max=20)).clamp(min=1e-12).log())
    pairs = torch.cartesian_prod(logit, logit)[None].to(dtype).requires_grad_()
    signals = sizes.repeat_interleave(8).expand(1, 3, 64).to(dtype).requires_grad_()
    mask = BetaMask(**MARKS, hard=hard, exact=exact, b_min=b_min, scale=scale)
    for sources in ((pairs,), (None, signals), (pairs, signals)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = mask(*sources)
        assert all(each.dtype == torch.float32 for each in out)
        assert all(torch.isfinite(each).all() for each in out)
        assert ((out.mask >= 0) & (out.mask <= 1)).all()
        leaves = [each for each in sources if each is not None]
        for gradient in torch.autograd.grad(out.mask.sum() + out.std.sum() + out.kl, leaves):
            assert torch.isfinite(gradient).all()


def test_limits():
    mask = BetaMask(b_min=0.0, scale=1.0, weight=(1.0,), offset=(1.0,)).eval()
    far = mask(None, torch.tensor([[[0.0, 1.0, 1e6]]]))
    assert far.mean[0].tolist() == pytest.approx([1e-8, 0.5, 1 - 1e-6], rel=1e-6)
    assert far.std[0, 0] < 1e-4
    assert far.std[0, 1].item() == pytest.approx((1 / 12) ** 0.5)


def test_what_does_not_fit_is_said(inputs):
    logits, signals = inputs
    with pytest.raises(InputError, match="neither logits nor signals: pass at least one"):
        BetaMask()()
    with pytest.raises(InputError, match=r"signals of shape \(2, 3, 5\) are not \(genes, 0, positions\)"):
        BetaMask()(logits, signals)
    with pytest.raises(InputError, match=r"logits of shape \(2, 5\) are not \(genes, positions, 2\)"):
        BetaMask()(logits[..., 0])
    with pytest.raises(InputError, match="logits have 5 positions and signals 4: bring the signals"):
        BetaMask(**MARKS)(logits, signals[..., :4])
    with pytest.raises(InputError, match="2 weights and 1 offsets of signals: give one of each"):
        BetaMask(weight=(1, 2), offset=(1,))
    for setting, value in (("prior_mean", 1.0), ("prior_strength", 0), ("scale", 0), ("b_min", -1)):
        with pytest.raises(InputError, match=f"{setting} of BetaMask is {value}: it has to be"):
            BetaMask(**{setting: value})
