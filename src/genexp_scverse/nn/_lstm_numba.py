"""The recurrence of many LSTMs on the CPU in float32: compiled by numba, lane after lane, lanes shared by threads.

A lane is one LSTM. Its gates, weights and states stay in the cache from the matrix product of a step to what is done
with its result, and between two steps nothing returns to Python. The length of the hidden state is known when the
steps are compiled, and their indices are unsigned, since a signed one may count from the end: both let the compiler
make vector instructions of the inner loops. For the arrays see :mod:`._lstm_torch`, which says the same in fewer words
and runs on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import scipy.linalg.blas  # noqa: F401 - numba multiplies matrices by scipy's BLAS: its threads are counted below
import torch
from threadpoolctl import ThreadpoolController

from genexp_scverse.nn._lstm_torch import Mixing

_F, _U = np.float32, np.uint64
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True}
# sums of products may be taken in any order
_SUMS = {**_OPTIONS, "fastmath": {"contract", "nsz", "reassoc"}}
_ROWS_AT_ONCE = 128
"""Rows (steps x batch) whose gradients of the weights are summed by one product: so many stay in cache."""
_WORTH_A_THREAD = 10_000_000
"""Multiplications that take longer than to start a thread."""


def forward(
    gates: torch.Tensor,
    cell: torch.Tensor,
    state: torch.Tensor,
    weight: torch.Tensor,
    query: torch.Tensor,
    n_groups: int,
) -> torch.Tensor:
    """Read all steps and return their scores; see the form in torch."""
    n_hidden = cell.shape[3]
    doubled = weight.clone()
    # tanh(a) = 2 sigmoid(2 a) - 1, so that one function serves all gates
    doubled[:, :, 2 * n_hidden : 3 * n_hidden] *= 2
    scores = state.new_empty(len(query), state.shape[1] - 1, state.shape[2])
    _over_lanes(_kernels(n_hidden)[0], [gates, cell, state, doubled, query, scores], state, weight, n_groups)
    return scores


def backward(
    gates: torch.Tensor,
    cell: torch.Tensor,
    state: torch.Tensor,
    weight: torch.Tensor,
    given: torch.Tensor,
    mixing: Mixing,
    d_x: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of weights and query and write that of the input; see the form in torch."""
    n_hidden = cell.shape[3]
    n_back = weight.shape[1] - 1 if d_x.numel() else n_hidden
    back = weight[:, :n_back].transpose(1, 2)
    d_weight, d_query = torch.zeros_like(weight), torch.zeros_like(mixing.query)
    tensors = [gates, cell, state, back, given, *mixing, d_x, d_weight, d_query]
    _over_lanes(_kernels(n_hidden)[1], tensors, state, weight, len(mixing.weights))
    return d_weight, d_query


def products(state: torch.Tensor, vectors: torch.Tensor, n_groups: int) -> torch.Tensor:
    """Scalar products of hidden states and vectors; see the form in torch."""
    out = state.new_empty(state.shape[0], state.shape[1] - 1, state.shape[2])
    _over_lanes(_products, [state, vectors, out], state, vectors, n_groups)
    return out


def mix(state: torch.Tensor, weights: torch.Tensor, n_hidden: int) -> torch.Tensor:
    """Sum of hidden states by weights; see the form in torch."""
    out = state.new_zeros(state.shape[0], state.shape[2], n_hidden)
    _over_lanes(_mix, [state, weights, out], state, out, len(weights))
    return out


def _over_lanes(
    kernel: Callable, tensors: list[torch.Tensor], state: torch.Tensor, per_row: torch.Tensor, n_groups: int
) -> None:
    """Run a kernel on all lanes, on as many threads as torch may use."""
    arrays = [each.detach().contiguous().numpy() for each in tensors]
    lanes, n_steps, batch = state.shape[:3]
    work = lanes * n_steps * batch * per_row[0].numel()
    n_threads = max(1, min(torch.get_num_threads(), lanes, work // _WORTH_A_THREAD))
    bounds = [lanes * i // n_threads for i in range(n_threads + 1)]
    # the products are too small to be shared out a second time
    with _blas().limit(limits=1):
        if n_threads == 1:
            kernel(*arrays, n_groups, 0, lanes)
            return
        with ThreadPoolExecutor(n_threads - 1) as pool:
            others = [pool.submit(kernel, *arrays, n_groups, *bounds[i : i + 2]) for i in range(1, n_threads)]
            kernel(*arrays, n_groups, *bounds[:2])
            for each in others:
                each.result()


@lru_cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _compiled(**options: Any) -> Callable:
    """Compile on first use, and keep the machine code on disk where numba finds a place for it."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(**options)(function)

    return decorate


@numba.njit(inline="always", **_OPTIONS)
def _sigmoid(x):
    """1 / (1 + exp(-x)) to 2e-7, written without a call so that loops become vector instructions."""
    t = x * _F(-1.4426950408889634)
    # in this form NaN stays NaN
    t = _F(126) if t > _F(126) else t
    t = _F(-126) if t < _F(-126) else t
    whole = np.rint(t)
    y = t - whole
    # 2^y for |y| <= 1/2, and 2^whole by its exponent bits
    p = _F(1.535336188e-4) * y + _F(1.339887440e-3)
    p = p * y + _F(9.618437357e-3)
    p = p * y + _F(5.550332471e-2)
    p = p * y + _F(2.402264791e-1)
    p = p * y + _F(6.931472028e-1)
    p = p * y + _F(1)
    power = np.uint32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return _F(1) / (_F(1) + p * power)


@numba.njit(inline="always", **_OPTIONS)
def _place(step, n_steps, lane, n_groups):
    """Step of the input that a lane reads at its own step."""
    return step if lane < n_groups else n_steps - 1 - step


@numba.njit(inline="always", **_SUMS)
def _product(hidden, vector):
    total = _F(0)
    for h in range(vector.shape[0]):
        total += hidden[h] * vector[h]
    return total


@numba.njit(inline="always", **_OPTIONS)
def _add(total, weight, hidden):
    for h in range(total.shape[0]):
        total[h] += weight * hidden[h]


@_compiled(**_SUMS)
def _products(state, vectors, out, n_groups, first, end):
    for lane in range(first, end):
        for t in range(out.shape[1]):
            place = _place(t, out.shape[1], lane, n_groups)
            for r in range(out.shape[2]):
                out[lane, place, r] = _product(state[lane, t + 1, r], vectors[lane, r])


@_compiled(**_OPTIONS)
def _mix(state, weights, out, n_groups, first, end):
    for lane in range(first, end):
        for t in range(weights.shape[1]):
            weight = weights[lane % n_groups, _place(t, weights.shape[1], lane, n_groups)]
            for r in range(weights.shape[2]):
                _add(out[lane, r], weight[r], state[lane, t + 1, r])


@numba.njit(inline="always", **_OPTIONS)
def _step(gate, now, after, hidden, n_hidden):
    """From the gates' inputs, g's doubled, to their values, the cell and the hidden state."""
    one, two = _F(1), _F(2)
    H, F, G, E = _U(n_hidden), _U(n_hidden), _U(2 * n_hidden), _U(3 * n_hidden)
    for r in range(_U(gate.shape[0])):
        for h in range(H):
            i, f = _sigmoid(gate[r, h]), _sigmoid(gate[r, F + h])
            g, o = two * _sigmoid(gate[r, G + h]) - one, _sigmoid(gate[r, E + h])
            c = f * now[r, h] + i * g
            gate[r, h] = i
            gate[r, F + h] = f
            gate[r, G + h] = g
            gate[r, E + h] = o
            now[r, h] = c
            after[r, h] = c
            hidden[r, h] = o * (two * _sigmoid(two * c) - one)


@numba.njit(inline="always", **_OPTIONS)
def _step_back(gate, before, after, given, later, d_cell, n_hidden):
    """From the gradient of the hidden state, given from outside and by the step later, to that of the gates' inputs."""
    one, two = _F(1), _F(2)
    H, F, G, E = _U(n_hidden), _U(n_hidden), _U(2 * n_hidden), _U(3 * n_hidden)
    for r in range(_U(gate.shape[0])):
        for h in range(H):
            i, f, g, o = gate[r, h], gate[r, F + h], gate[r, G + h], gate[r, E + h]
            tanh = two * _sigmoid(two * after[r, h]) - one
            d_hidden = given[r, h] + later[r, h]
            d = d_cell[r, h] + d_hidden * o * (one - tanh * tanh)
            gate[r, h] = d * g * i * (one - i)
            gate[r, F + h] = d * before[r, h] * f * (one - f)
            gate[r, G + h] = d * i * (one - g * g)
            gate[r, E + h] = d_hidden * tanh * o * (one - o)
            d_cell[r, h] = d * f


@numba.njit(inline="always", **_OPTIONS)
def _spread(weight, vector, slope, query, out, n_hidden):
    """Gradient of hidden states that were mixed by `weight` and scored by `query`."""
    for r in range(_U(out.shape[0])):
        for h in range(_U(n_hidden)):
            out[r, h] = weight[r] * vector[r, h] + slope[r] * query[h]


@lru_cache
def _kernels(n_hidden: int) -> tuple[Callable, Callable]:
    """Functions that read lanes, and that go the way back.

    What they enclose is the length of the hidden state alone, so that numba finds their machine code again.
    """

    @_compiled(**_SUMS)
    def forward_lanes(gates, cell, state, weight, query, scores, n_groups, first, end):
        kept, cells = gates.shape[1], cell.shape[1]
        # the cell of the step before, apart: steps within one array would keep the loop from vector instructions
        now = np.empty((state.shape[2], n_hidden), _F)
        for lane in range(first, end):
            now[:] = _F(0)
            for t in range(state.shape[1] - 1):
                gate, hidden = gates[lane, t % kept], state[lane, t + 1]
                np.dot(state[lane, t], weight[lane], gate)
                _step(gate, now, cell[lane, (t + 1) % cells], hidden, n_hidden)
                if scores.shape[0] > 0:
                    place = _place(t, scores.shape[1], lane, n_groups)
                    for r in range(now.shape[0]):
                        scores[lane, place, r] = _product(hidden[r], query[lane])

    @_compiled(**_SUMS)
    def backward_lanes(
        gates, cell, state, back, given, weights, vectors, slopes, query, d_x, d_weight, d_query, n_groups, first, end
    ):  # fmt: skip
        n_steps, batch, n_read = gates.shape[1], gates.shape[2], state.shape[3]
        n_at_once = max(1, _ROWS_AT_ONCE // batch)
        mixed = np.empty((batch, n_hidden), _F)
        later, d_cell = np.empty((batch, back.shape[2]), _F), np.empty((batch, n_hidden), _F)
        part = np.empty((n_read, 4 * n_hidden), _F)
        for lane in range(first, end):
            later[:], d_cell[:] = _F(0), _F(0)
            until = n_steps
            for t in range(n_steps - 1, -1, -1):
                gate = gates[lane, t]
                if given.shape[1] > 0:
                    _step_back(gate, cell[lane, t], cell[lane, t + 1], given[lane, t], later, d_cell, n_hidden)
                else:
                    group, place = lane % n_groups, _place(t, n_steps, lane, n_groups)
                    slope = slopes[group, place]
                    _spread(weights[group, place], vectors[lane], slope, query[lane], mixed, n_hidden)
                    _step_back(gate, cell[lane, t], cell[lane, t + 1], mixed, later, d_cell, n_hidden)
                    for r in range(batch):
                        _add(d_query[lane], slope[r], state[lane, t + 1, r])
                np.dot(gate, back[lane], later)
                if d_x.shape[1] > 0:
                    d_x[lane, t] = later[:, n_hidden:]
                if t == 0 or until - t == n_at_once:
                    rows = (until - t) * batch
                    read, d_gates = state[lane, t:until], gates[lane, t:until]
                    np.dot(read.reshape(rows, n_read).T, d_gates.reshape(rows, 4 * n_hidden), part)
                    d_weight[lane] += part
                    until = t

    return forward_lanes, backward_lanes
