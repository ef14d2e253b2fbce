"""Grouped LSTMs against torch.nn.LSTM, one per group."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from genexp_scverse.nn import _lstm_numba, _lstm_torch
from genexp_scverse.nn._lstm_torch import Mixing
from genexp_scverse.nn.grouped_lstm import GroupedLSTM, _arrays

TOLERANCE = {torch.float64: {"atol": 1e-12, "rtol": 1e-10}, torch.float32: {"atol": 2e-6, "rtol": 2e-5}}
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def made(n_groups, n_inputs, n_hidden, *, dtype=torch.float32, bidirectional=True, seed=0):
    torch.manual_seed(seed)
    return GroupedLSTM(n_groups, n_inputs, n_hidden, bidirectional=bidirectional).to(dtype)


def names_of(grouped):
    for direction, suffix in zip(range(grouped.n_directions), ("", "_reverse"), strict=False):
        for part in PARTS:
            yield direction, part, f"{part}_l0{suffix}"


def one_by_one(grouped):
    """A torch.nn.LSTM per group with the same weights."""
    lstms = []
    for group in range(grouped.n_groups):
        lstm = nn.LSTM(grouped.n_inputs, grouped.n_hidden, batch_first=True, bidirectional=grouped.n_directions == 2)
        with torch.no_grad():
            for direction, part, name in names_of(grouped):
                getattr(lstm, name).copy_(getattr(grouped, part)[direction, group])
        lstms.append(lstm.to(grouped.weight_hh.dtype))
    return lstms


def assert_same_gradients(grouped, lstms, tolerance):
    for group, lstm in enumerate(lstms):
        for direction, part, name in names_of(grouped):
            torch.testing.assert_close(
                getattr(grouped, part).grad[direction, group], getattr(lstm, name).grad, **tolerance
            )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("n_groups", "n_inputs", "n_hidden", "batch", "n_steps", "bidirectional"),
    [(3, 1, 32, 16, 40, True), (1, 6, 8, 4, 7, True), (4, 2, 8, 150, 3, False), (2, 3, 5, 1, 1, True)],
)
def test_numbers_and_gradients_are_those_of_torch(n_groups, n_inputs, n_hidden, batch, n_steps, bidirectional, dtype):
    grouped = made(n_groups, n_inputs, n_hidden, dtype=dtype, bidirectional=bidirectional)
    lstms = one_by_one(grouped)
    x = torch.randn(batch, n_groups, n_steps, n_inputs, dtype=dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = grouped(ours)
    expected = torch.stack([lstm(theirs[:, g])[0] for g, lstm in enumerate(lstms)], dim=1)
    torch.testing.assert_close(out, expected, **TOLERANCE[dtype])
    slopes = torch.randn_like(out)
    out.backward(slopes)
    expected.backward(slopes)
    scaled = {k: v * (10 if dtype == torch.float32 else 1) for k, v in TOLERANCE[dtype].items()}
    torch.testing.assert_close(ours.grad, theirs.grad, **scaled)
    assert_same_gradients(grouped, lstms, scaled)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_attention_is_that_over_torchs_hidden_states(dtype, bidirectional):
    grouped = made(3, 1, 8, dtype=dtype, bidirectional=bidirectional)
    lstms = one_by_one(grouped)
    ours = torch.randn(3, 8 * grouped.n_directions, dtype=dtype, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    x = torch.randn(20, 3, 30, 1, dtype=dtype)
    mixed, attention = grouped.attend(x, ours)
    hidden = torch.stack([lstm(x[:, g])[0] for g, lstm in enumerate(lstms)], dim=1)
    weights = torch.softmax(torch.einsum("bgth,gh->bgt", hidden, theirs), dim=2)
    expected = torch.einsum("bgt,bgth->bgh", weights, hidden)
    torch.testing.assert_close(mixed, expected, **TOLERANCE[dtype])
    torch.testing.assert_close(attention, weights, **TOLERANCE[dtype])
    a, b = torch.randn_like(mixed), torch.randn_like(attention)
    ((mixed * a).sum() + (attention * b).sum()).backward()
    ((expected * a).sum() + (weights * b).sum()).backward()
    scaled = {k: v * (10 if dtype == torch.float32 else 1) for k, v in TOLERANCE[dtype].items()}
    torch.testing.assert_close(ours.grad, theirs.grad, **scaled)
    assert_same_gradients(grouped, lstms, scaled)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_finite_differences(masked):
    grouped = made(2, 2, 3, dtype=torch.float64)
    x = torch.randn(3, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    query = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    present = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 1]])[:, None].expand(3, 2, 4) if masked else None
    names = [name for name, _ in grouped.named_parameters()]

    def run(method, *inputs):
        weights = dict(zip(names, inputs[-len(names) :], strict=True))
        return torch.func.functional_call(Method(grouped, method), {f"lstm.{k}": v for k, v in weights.items()}, inputs)

    class Method(nn.Module):
        def __init__(self, lstm, method):
            super().__init__()
            self.lstm, self.method = lstm, method

        def forward(self, *inputs):
            if self.method == "forward":
                return self.lstm(inputs[0])
            return self.lstm.attend(inputs[0], inputs[1], present)

    weights = tuple(grouped.parameters())
    assert torch.autograd.gradcheck(lambda *i: run("attend", *i), (x, query, *weights))
    if not masked:
        assert torch.autograd.gradcheck(lambda *i: run("forward", *i), (x, *weights))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_closed_steps_get_no_attention_and_have_no_gradient(dtype):
    grouped = made(1, 2, 8, dtype=dtype)
    query = torch.randn(1, 16, dtype=dtype, requires_grad=True)
    present = torch.tensor([[[1, 0, 1]], [[0, 1, 0]]])
    mixed, attention = grouped.attend(torch.randn(2, 1, 3, 2, dtype=dtype), query, present)
    assert (attention[present == 0] == 0).all()
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 1, dtype=dtype))
    # where one step is open the mixture is its hidden state, whatever the query
    (slope,) = torch.autograd.grad(mixed[1].sum(), query)
    assert (slope == 0).all()


def test_nothing_changes_without_gradients():
    grouped, query = made(2, 1, 8), torch.randn(2, 16)
    x = torch.randn(5, 2, 9, 1)
    with_gradients = [grouped(x), *grouped.attend(x, query)]
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            without = [grouped(x), *grouped.attend(x, query)]
        for a, b in zip(with_gradients, without, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_memory_of_one_step_serves_the_next_and_is_freed_by_evaluation():
    grouped = made(2, 1, 8)
    first, second = torch.randn(3, 2, 6, 1), torch.randn(3, 2, 6, 1)
    alone = [torch.autograd.grad(grouped(x).square().sum(), grouped.weight_hh)[0] for x in (first, second)]
    assert sum(map(len, grouped._spare.values())) == 1
    kept = grouped(first)
    value = kept.detach().clone()
    # two forward passes before the first backward pass, and results that outlive it
    losses = [kept.square().sum(), grouped(second).square().sum()]
    for loss, expected in zip(losses, alone, strict=True):
        (slope,) = torch.autograd.grad(loss, grouped.weight_hh)
        torch.testing.assert_close(slope, expected, rtol=0, atol=0)
    torch.testing.assert_close(kept, value, rtol=0, atol=0)
    assert sum(map(len, grouped._spare.values())) == 2
    for other in (copy.deepcopy(grouped), pickle.loads(pickle.dumps(grouped))):
        assert not other._spare
        torch.testing.assert_close(other(first), value, rtol=0, atol=0)
    grouped.eval()
    assert not grouped._spare


def test_the_way_back_can_be_taken_twice():
    grouped, query = made(2, 1, 8), torch.randn(2, 16)
    x = torch.randn(2, 2, 3, 1)
    for out in (grouped(x), grouped.attend(x, query)[0]):
        weights = tuple(grouped.parameters())
        first = torch.autograd.grad(out.square().sum(), weights, retain_graph=True)
        grouped(x + 1).sum().backward()
        for a, b in zip(first, torch.autograd.grad(out.square().sum(), weights), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_second_derivative_is_refused():
    x = torch.randn(2, 1, 3, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(made(1, 1, 8)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_no_number_stays_so_and_large_inputs_saturate(dtype):
    grouped = made(2, 1, 8, dtype=dtype)
    x = torch.randn(3, 2, 5, 1, dtype=dtype)
    x[0, 0, 2] = torch.nan
    x[1] *= 1e6
    out = grouped(x)
    assert torch.isnan(out[0, 0, 2:, :8]).all()
    assert torch.isfinite(out[0, 1]).all()
    expected = one_by_one(grouped)[1](x[:, 1])[0]
    torch.testing.assert_close(out[:, 1], expected, **TOLERANCE[dtype])


def test_compiled_sigmoid():
    x = np.linspace(-120, 120, 2001, dtype=np.float32)
    ours = np.array([_lstm_numba._sigmoid(v) for v in x])
    np.testing.assert_allclose(ours, expit(x.astype(np.float64)), rtol=1e-5, atol=1e-37)
    near = np.abs(x) < 20
    np.testing.assert_allclose(ours[near], expit(x[near].astype(np.float64)), rtol=2e-6)


def test_threads_share_the_lanes_without_changing_a_number(monkeypatch):
    monkeypatch.setattr(_lstm_numba, "_WORTH_A_THREAD", 1)
    grouped, query = made(3, 1, 8), torch.randn(3, 16)
    x = torch.randn(6, 3, 20, 1)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 4):
            torch.set_num_threads(n_threads)
            mixed, _ = grouped.attend(x, query)
            found.append([mixed, *torch.autograd.grad(mixed.square().sum(), tuple(grouped.parameters()))])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_autocast_does_not_lower_the_precision():
    grouped, x = made(2, 1, 8), torch.randn(3, 2, 5, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = grouped(x)
    torch.testing.assert_close(out, grouped(x), rtol=0, atol=0)


def test_weights_are_drawn_as_torch_draws_them():
    grouped = made(20, 3, 16)
    for parameter in grouped.parameters():
        assert parameter.abs().max() <= 1 / 4
        assert parameter.detach().std().item() == pytest.approx(1 / 4 / np.sqrt(3), rel=0.1)
    n_theirs = sum(p.numel() for p in nn.LSTM(3, 16, bidirectional=True).parameters())
    assert sum(p.numel() for p in grouped.parameters()) == 20 * n_theirs


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_same_numbers():
    grouped, query = made(5, 1, 32), torch.randn(5, 64)
    x = torch.randn(16, 5, 100, 1)
    found = []
    for device in ("cpu", "cuda"):
        grouped.to(device)
        mixed, attention = grouped.attend(x.to(device), query.to(device))
        slopes = torch.autograd.grad(mixed.square().sum(), tuple(grouped.parameters()))
        found.append([each.cpu() for each in (mixed, attention, *slopes)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def passes(recurrence, *, of_input: bool, dense: bool):
    """All that a form of the recurrence gives back, forward and backward, on the same numbers."""
    groups, n_steps, batch, n_hidden, n_inputs = 2, 5, 19, 16, 3
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    weight, query = 0.3 * drawn(2 * groups, n_hidden + n_inputs + 1, 4 * n_hidden), drawn(2 * groups, n_hidden)
    arrays = _arrays(weight, (2 * groups, n_steps, batch, n_hidden, n_inputs), n_kept=n_steps)
    arrays[2][:, :-1, :, n_hidden:-1] = drawn(2 * groups, n_steps, batch, n_inputs)
    scores = recurrence.forward(*arrays, weight, query, groups)
    hidden = arrays[2][:, 1:, :, :n_hidden].clone()
    given, none = drawn(2 * groups, n_steps, batch, n_hidden), torch.empty(0, 0, 0)
    mixing = Mixing(
        drawn(groups, n_steps, batch), drawn(2 * groups, batch, n_hidden), drawn(groups, n_steps, batch), query
    )
    if dense:
        mixing = Mixing(none, none, none, none.flatten(1))
    else:
        given = torch.empty(0, 0, 0, 0)
    d_x = torch.zeros(2 * groups, n_steps if of_input else 0, batch, n_inputs)
    return [scores, hidden, *recurrence.backward(*arrays, weight, given, mixing, d_x), d_x]


WAYS = [{"of_input": a, "dense": b} for a in (True, False) for b in (True, False)]


@pytest.mark.parametrize("ways", WAYS)
def test_compiled_loops_say_what_torch_says(ways):
    for ours, theirs in zip(passes(_lstm_numba, **ways), passes(_lstm_torch, **ways), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 6])
def test_the_gradient_of_the_weights_is_a_sum_of_parts(n_parts):
    state, d_gates = torch.randn(4, 7, 5, 11), torch.randn(4, 6, 5, 32)
    found = _lstm_torch.weight_gradient(state, d_gates.flatten(1, 2), n_parts)
    torch.testing.assert_close(found, torch.einsum("ltbr,ltbg->lrg", state[:, :-1], d_gates), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("n_steps", "batch", "n_parts"),
    [(100, 128, 50), (100, 16, 5), (5, 16, 1), (101, 128, 1), (20, 1024, 20)],
)
def test_a_part_is_a_whole_number_of_steps_and_256_rows_at_least(n_steps, batch, n_parts):
    assert _lstm_torch.parts(n_steps, batch) == n_parts


def test_gpu_kernels_say_what_torch_says():
    """The kernels in triton's interpreter, which reads the environment when they are defined."""
    pytest.importorskip("triton", reason="needs triton")
    code = (
        "import torch, test_nn_grouped_lstm as t\n"
        "from genexp_scverse.nn import _lstm_torch, _lstm_triton\n"
        "for ways in t.WAYS:\n"
        "    for a, b in zip(t.passes(_lstm_triton, **ways), t.passes(_lstm_torch, **ways), strict=True):\n"
        "        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)\n"
        "assert not _lstm_triton._failed\n"
    )
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here, env={**os.environ, "TRITON_INTERPRET": "1"})


def test_where_triton_cannot_compile_torch_takes_over(caplog, monkeypatch):
    pytest.importorskip("triton", reason="needs triton")
    from genexp_scverse.nn import _lstm_triton

    monkeypatch.setattr(_lstm_triton, "_failed", [])
    assert _lstm_triton.fits(32)
    assert not any(_lstm_triton.fits(n) for n in (8, 24, 128))
    # there is no driver for the CPU
    found = passes(_lstm_triton, of_input=True, dense=False)
    for ours, theirs in zip(found, passes(_lstm_torch, of_input=True, dense=False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert caplog.text.count("take the slow path") == 1
    assert not _lstm_triton.fits(32)
