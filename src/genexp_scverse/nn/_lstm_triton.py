"""The recurrence of many LSTMs on a GPU: one kernel reads all steps, and one goes all the way back.

A program holds the hidden states of some rows of one lane, and the lane's weights, from the first step to the last, so
that no kernel is launched per step. For the arrays see :mod:`._lstm_torch`, which takes over where triton cannot
compile (it needs a C compiler).
"""

from __future__ import annotations

import subprocess
from typing import Any

import torch

from genexp_scverse._logging import logger
from genexp_scverse.nn import _lstm_torch
from genexp_scverse.nn._lstm_torch import Mixing, mix, products

try:
    import triton
    import triton.language as tl
    from triton.errors import TritonError
except ModuleNotFoundError:
    # torch for the CPU alone comes without it
    triton, tl, TritonError = None, None, RuntimeError

_compiled: Any = triton.jit if triton is not None else lambda function: function
_ROWS = 16
"""Rows of the batch that a program reads: the fewest that triton multiplies."""
_FAILURES = (TritonError, RuntimeError, OSError, ImportError, subprocess.SubprocessError)
_failed: list[str] = []

__all__ = ["backward", "fits", "forward", "mix", "products"]


def fits(n_hidden: int) -> bool:
    """Tell whether a program holds hidden states of this length."""
    return triton is not None and n_hidden in (16, 32, 64) and not _failed


def forward(
    gates: torch.Tensor,
    cell: torch.Tensor,
    state: torch.Tensor,
    weight: torch.Tensor,
    query: torch.Tensor,
    n_groups: int,
) -> torch.Tensor:
    """Read all steps and return their scores; see the form in torch. Gates and cells of all steps are kept."""
    lanes, n_steps, batch, n_read = state[:, 1:].shape
    n_hidden = cell.shape[3]
    # what the input adds to the gates, for all steps at once
    torch.bmm(state[:, :-1].flatten(1, 2)[..., n_hidden:], weight[:, n_hidden:], out=gates.flatten(1, 2))
    try:
        _read[(lanes, triton.cdiv(batch, _ROWS))](
            gates, cell, state, weight, n_steps, batch, n_read, H=n_hidden, ROWS=_ROWS, num_warps=_warps(n_hidden)
        )
    except _FAILURES as error:
        _say(error)
        return _lstm_torch.forward(gates, cell, state, weight, query, n_groups)
    return products(state, query[:, None], n_groups) if len(query) else query.new_empty(0, 0, 0)


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
    lanes, n_steps, batch, n_read = state[:, 1:].shape
    n_hidden = cell.shape[3]
    arrays = [each.contiguous() for each in (given, *mixing)]
    n_groups = max(1, len(mixing.weights))
    try:
        _go_back[(lanes, triton.cdiv(batch, _ROWS))](
            gates, cell, weight, *arrays, n_steps, batch, n_read, n_groups,
            GIVEN=given.shape[1] > 0, H=n_hidden, ROWS=_ROWS, num_warps=_warps(n_hidden),
        )  # fmt: skip
    except _FAILURES as error:
        _say(error)
        return _lstm_torch.backward(gates, cell, state, weight, given, mixing, d_x)
    return _lstm_torch.from_gates(gates, state, weight, mixing, d_x)


def _warps(n_hidden: int) -> int:
    return 4 if n_hidden <= 32 else 8


def _say(error: Exception) -> None:
    if not _failed:
        logger.warning("LSTMs take the slow path on this GPU, since triton cannot compile: %s", error)
    _failed.append(str(error))


@_compiled
def _read(gates, cell, state, weight, n_steps, batch, n_read, H: tl.constexpr, ROWS: tl.constexpr):
    lane = tl.program_id(0).to(tl.int64)
    rows, units = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, H)
    there = rows[:, None] < batch
    from_hidden = weight + lane * n_read * 4 * H + units[:, None] * 4 * H + units[None, :]
    to_i, to_f = tl.load(from_hidden), tl.load(from_hidden + H)
    to_g, to_o = tl.load(from_hidden + 2 * H), tl.load(from_hidden + 3 * H)
    gate = gates + (lane * n_steps * batch + rows[:, None]) * 4 * H + units[None, :]
    kept = cell + (lane * (n_steps + 1) * batch + rows[:, None]) * H + units[None, :]
    hidden = state + (lane * (n_steps + 1) * batch + rows[:, None]) * n_read + units[None, :]
    h = tl.zeros((ROWS, H), tl.float32)
    c = tl.zeros((ROWS, H), tl.float32)
    for _ in range(n_steps):
        i = tl.load(gate, mask=there, other=0.0) + tl.dot(h, to_i, input_precision="ieee")
        f = tl.load(gate + H, mask=there, other=0.0) + tl.dot(h, to_f, input_precision="ieee")
        g = tl.load(gate + 2 * H, mask=there, other=0.0) + tl.dot(h, to_g, input_precision="ieee")
        o = tl.load(gate + 3 * H, mask=there, other=0.0) + tl.dot(h, to_o, input_precision="ieee")
        i, f, o = tl.sigmoid(i), tl.sigmoid(f), tl.sigmoid(o)
        g = 2 * tl.sigmoid(2 * g) - 1
        c = f * c + i * g
        h = o * (2 * tl.sigmoid(2 * c) - 1)
        tl.store(gate, i, mask=there)
        tl.store(gate + H, f, mask=there)
        tl.store(gate + 2 * H, g, mask=there)
        tl.store(gate + 3 * H, o, mask=there)
        gate += batch * 4 * H
        kept += batch * H
        hidden += batch * n_read
        tl.store(kept, c, mask=there)
        tl.store(hidden, h, mask=there)


@_compiled
def _go_back(
    gates, cell, weight, given, weights, vectors, slopes, query, n_steps, batch, n_read, n_groups,
    GIVEN: tl.constexpr, H: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0).to(tl.int64)
    rows, units = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, H)
    there = rows[:, None] < batch
    to_hidden = weight + lane * n_read * 4 * H + units[None, :] * 4 * H + units[:, None]
    of_i, of_f = tl.load(to_hidden), tl.load(to_hidden + H)
    of_g, of_o = tl.load(to_hidden + 2 * H), tl.load(to_hidden + 3 * H)
    last = n_steps - 1
    gate = gates + ((lane * n_steps + last) * batch + rows[:, None]) * 4 * H + units[None, :]
    before = cell + ((lane * (n_steps + 1) + last) * batch + rows[:, None]) * H + units[None, :]
    later = tl.zeros((ROWS, H), tl.float32)
    d_cell = tl.zeros((ROWS, H), tl.float32)
    if GIVEN:
        outside = given + ((lane * n_steps + last) * batch + rows[:, None]) * H + units[None, :]
    else:
        vector = tl.load(vectors + (lane * batch + rows[:, None]) * H + units[None, :], mask=there, other=0.0)
        asked = tl.load(query + lane * H + units)
        forth = lane < n_groups
    for s in range(n_steps):
        if GIVEN:
            d = later + tl.load(outside, mask=there, other=0.0)
            outside -= batch * H
        else:
            place = tl.where(forth, last - s, s)
            at = ((lane % n_groups) * n_steps + place) * batch + rows
            share = tl.load(weights + at, mask=rows < batch, other=0.0)
            slope = tl.load(slopes + at, mask=rows < batch, other=0.0)
            d = later + share[:, None] * vector + slope[:, None] * asked[None, :]
        i, f = tl.load(gate, mask=there, other=0.0), tl.load(gate + H, mask=there, other=0.0)
        g, o = tl.load(gate + 2 * H, mask=there, other=0.0), tl.load(gate + 3 * H, mask=there, other=0.0)
        c = tl.load(before, mask=there, other=0.0)
        tanh = 2 * tl.sigmoid(2 * tl.load(before + batch * H, mask=there, other=0.0)) - 1
        d_cell += d * o * (1 - tanh * tanh)
        d_i = d_cell * g * i * (1 - i)
        d_f = d_cell * c * f * (1 - f)
        d_g = d_cell * i * (1 - g * g)
        d_o = d * tanh * o * (1 - o)
        d_cell *= f
        tl.store(gate, d_i, mask=there)
        tl.store(gate + H, d_f, mask=there)
        tl.store(gate + 2 * H, d_g, mask=there)
        tl.store(gate + 3 * H, d_o, mask=there)
        later = tl.dot(d_i, of_i, input_precision="ieee") + tl.dot(d_f, of_f, input_precision="ieee")
        later += tl.dot(d_g, of_g, input_precision="ieee") + tl.dot(d_o, of_o, input_precision="ieee")
        gate -= batch * 4 * H
        before -= batch * H
