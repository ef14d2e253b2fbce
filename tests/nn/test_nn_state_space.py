"""Scans and state-space layers against the recurrences written as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genexp_scverse import InputError
from genexp_scverse.nn.mamba import MambaLayer, _by_kernel, _kernel, selective_scan
from genexp_scverse.nn.ssd import SSDLayer, scan_states, ssd


def ssd_loop(x, log_decay, b, c):
    state, ys = 0, []
    for t in range(x.shape[1]):
        state = log_decay[:, t].exp()[..., None, None] * state + b[:, t, None, :, None] * x[:, t, :, None]
        ys.append((c[:, t, None, :, None] * state).sum(2))
    return torch.stack(ys, 1)


def selective_loop(x, step, rate, b, c):
    state, ys = 0, []
    for t in range(x.shape[1]):
        state = torch.exp(step[:, t, :, None] * rate) * state + (step[:, t] * x[:, t])[..., None] * b[:, t, None]
        ys.append((c[:, t, None] * state).sum(2))
    return torch.stack(ys, 1)


def drawn(*shape, low=None, high=None):
    generator = torch.Generator().manual_seed(sum(shape))
    if low is None:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    return (low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)).requires_grad_()


def ssd_arguments(length):
    return (
        drawn(2, length, 3, 4),
        drawn(2, length, 3, low=-2.0, high=0.0),
        drawn(2, length, 5),
        drawn(2, length, 5).detach().flip(1).requires_grad_(),
    )


def selective_arguments(length):
    return (
        drawn(2, length, 3),
        drawn(2, length, 3, low=0.01, high=0.8),
        drawn(3, 4, low=-4.0, high=-0.1),
        drawn(2, length, 4),
        drawn(2, length, 4).detach().flip(1).requires_grad_(),
    )


def assert_same(found, expected, arguments, rtol=1e-9):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-10)
    slope = drawn(*expected.shape).detach()
    for one, other in zip(
        torch.autograd.grad((found * slope).sum(), arguments),
        torch.autograd.grad((expected * slope).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize(("length", "chunk"), [(1, 64), (7, 64), (64, 64), (65, 64), (150, 16), (150, 7), (70, 1)])
def test_ssd_is_the_recurrence(length, chunk):
    arguments = ssd_arguments(length)
    assert_same(ssd(*arguments, chunk=chunk), ssd_loop(*arguments), arguments)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 4096, 4100])
def test_states_are_combined_at_every_depth(length):
    log_decay, added = drawn(1, length, 2, low=-0.5, high=0.0), drawn(1, length, 2, 3)
    found = scan_states(log_decay, added).detach().numpy()
    state = np.zeros((2, 3))
    for t in range(length):
        state = np.exp(log_decay[0, t].detach().numpy())[:, None] * state + added[0, t].detach().numpy()
        np.testing.assert_allclose(found[0, t], state, rtol=1e-10, atol=1e-12)


def test_gradients_through_states_combined_twice():
    log_decay, added = drawn(1, 130, 1, low=-0.5, high=0.0), drawn(1, 130, 1, 2)
    # with b and c of 1, ssd with one state is the same recurrence
    one = torch.ones(1, 130, 1, dtype=torch.float64)
    assert_same(scan_states(log_decay, added), ssd_loop(added, log_decay, one, one), (log_decay, added))


@pytest.mark.parametrize("length", [1, 31, 32, 65, 1024, 1100, 2050])
def test_selective_scan_is_the_recurrence(length):
    arguments = selective_arguments(length)
    assert_same(selective_scan(*arguments), selective_loop(*arguments), arguments)


def test_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(lambda *a: ssd(*a, chunk=3), ssd_arguments(5))
    assert torch.autograd.gradcheck(selective_scan, selective_arguments(5))


@pytest.mark.parametrize("decay", [0.0, -1e-6, -50.0, -1e4])
def test_no_nan_whatever_the_decay(decay):
    x, log_decay, b, c = (each.detach().float() for each in ssd_arguments(300))
    log_decay = torch.full_like(log_decay, decay).requires_grad_()
    y = ssd(x, log_decay, b, c, chunk=32)
    expected = ssd_loop(x.double(), log_decay.detach().double(), b.double(), c.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(torch.autograd.grad(y.sum(), log_decay)[0]).all()
    x, step, _, b, c = (each.detach().float() for each in selective_arguments(300))
    rate = torch.full((3, 4), decay).requires_grad_()
    y = selective_scan(x, step, rate, b, c)
    expected = selective_loop(x.double(), step.double(), rate.detach().double(), b.double(), c.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(torch.autograd.grad(y.sum(), rate)[0]).all()


def test_arguments_of_the_kernel_have_its_layout():
    """The documented signature of mamba_ssm's selective_scan_fn: (B, D, L), (D, N), (B, N, L), by a loop."""

    def kernel(u, delta, A, B, C):
        assert all(each.is_contiguous() for each in (u, delta, B, C))
        state, ys = torch.zeros(len(u), *A.shape, dtype=u.dtype), []
        for t in range(u.shape[2]):
            state = torch.exp(delta[:, :, t, None] * A) * state
            state = state + delta[:, :, t, None] * B[:, None, :, t] * u[:, :, t, None]
            ys.append((state * C[:, None, :, t]).sum(2))
        return torch.stack(ys, 2)

    arguments = selective_arguments(40)
    assert_same(_by_kernel(kernel, *arguments), selective_scan(*arguments), arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or _kernel() is None, reason="needs a CUDA device and mamba_ssm")
@pytest.mark.parametrize("length", [1, 33, 1500])
def test_the_kernel_gives_the_same_numbers(length):
    plain = selective_arguments(length)
    moved = [each.detach().float().cuda().requires_grad_() for each in plain]
    ours, theirs = selective_scan(*plain), selective_scan(*moved)
    torch.testing.assert_close(theirs.cpu().double(), ours, rtol=1e-4, atol=1e-4)
    slope = torch.randn_like(ours)
    wanted = torch.autograd.grad((ours * slope).sum(), plain)
    found = torch.autograd.grad((theirs * slope.float().cuda()).sum(), moved)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.cpu().double(), other, rtol=1e-3, atol=1e-3)


def causal(x, weight, bias):
    """Convolution of every channel over positions up to its own, (B, L, channels), position by position."""
    n = weight.shape[2]
    padded = F.pad(x, (0, 0, n - 1, 0))
    return torch.stack([(padded[:, t : t + n] * weight[:, 0].T).sum(1) for t in range(x.shape[1])], 1) + bias


def rms(x, weight):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def shaken(layer):
    """The layer in float64 with every parameter away from its start."""
    torch.manual_seed(0)
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


def test_mamba_layer_is_its_equations():
    layer = shaken(MambaLayer(6, d_state=3))
    p, x = dict(layer.named_parameters()), drawn(2, 40, 6).detach()
    values, gate = (rms(x, p["norm.weight"]) @ p["into.weight"].T).split(12, -1)
    y = 0
    for d in (0, 1):
        q = {name.split(".", 2)[2]: each for name, each in p.items() if name.startswith(f"directions.{d}.")}
        u = values.flip(1) if d else values
        u = F.silu(causal(u, q["conv.weight"], q["conv.bias"]))
        step, b, c = (u @ q["of_values.weight"].T).split([1, 3, 3], -1)
        step = F.softplus(step @ q["step.weight"].T + q["step_bias"])
        out = selective_loop(u, step, -q["log_decay"].exp(), b, c) + u * q["skip"]
        out = out * F.silu(gate.flip(1) if d else gate) @ p["out.weight"].T
        y = y + (out.flip(1) if d else out)
    torch.testing.assert_close(layer(x), x + y)


def test_ssd_layer_is_its_equations():
    layer = shaken(SSDLayer(6, d_state=3, head_size=4, chunk=16))
    p, x = dict(layer.named_parameters()), drawn(2, 40, 6).detach()
    gate, values, step_in = (rms(x, p["norm.weight"]) @ p["into.weight"].T).split([12, 18, 3], -1)
    y = 0
    for d in (0, 1):
        u, step = (each.flip(1) if d else each for each in (values, step_in))
        u, b, c = F.silu(causal(u, p["conv.weight"][18 * d : 18 * d + 18], p["conv.bias"][18 * d : 18 * d + 18])).split(
            [12, 3, 3], -1
        )
        heads = u.unflatten(-1, (3, 4))
        step = F.softplus(step + p["step_bias"][d])
        out = ssd_loop(heads * step[..., None], -p["log_decay"][d].exp() * step, b, c) + heads * p["skip"][d][:, None]
        y = y + (out.flip(1) if d else out).flatten(2)
    expected = x + rms(y * F.silu(gate), p["gated_norm.weight"]) @ p["out.weight"].T
    torch.testing.assert_close(layer(x), expected)


def test_steps_at_the_start_are_in_the_published_range():
    for layer in (MambaLayer(64), SSDLayer(64, head_size=1)):
        for step_bias in layer.step_bias if isinstance(layer, SSDLayer) else [d.step_bias for d in layer.directions]:
            step = F.softplus(step_bias)
            assert 1e-3 <= step.min() < 2e-3
            assert 0.05 < step.max() <= 0.1 + 1e-6


def test_heads_have_to_fit():
    with pytest.raises(InputError, match=r"24 inner channels \(width 12 x expand 2\) are no multiple of head_size 64"):
        SSDLayer(12)
