"""The recurrence of many LSTMs in torch, for every device and precision.

A lane is one LSTM. The arrays are gates (lanes, steps, B, 4 hidden) in the order i, f, g, o, cell (lanes, steps + 1, B,
hidden), state (lanes, steps + 1, B, hidden + inputs + 1), whose rows hold hidden state, input and 1, and weight (lanes,
hidden + inputs + 1, 4 hidden). Where nothing is kept for the way back, gates have one step and cells two, in turn.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Mixing(NamedTuple):
    """How attention mixed the hidden states, and what is known of the gradient."""

    weights: torch.Tensor
    """(lanes, steps, B), by which the states were mixed."""
    vectors: torch.Tensor
    """(lanes, B, hidden), gradient of the mixtures."""
    slopes: torch.Tensor
    """(lanes, steps, B), gradient of the scores."""
    query: torch.Tensor
    """(lanes, hidden), which scored them."""


def forward(
    gates: torch.Tensor, cell: torch.Tensor, state: torch.Tensor, weight: torch.Tensor, query: torch.Tensor
) -> torch.Tensor:
    """Read all steps: fill the hidden states, the gates' values and the cells.

    Returns the scalar products (lanes, steps, B) of the hidden states with the query (lanes, hidden) of their lane;
    a query without lanes asks for none.
    """
    n_hidden = cell.shape[3]
    for t in range(state.shape[1] - 1):
        gate = gates[:, t % gates.shape[1]]
        before, after = (cell[:, s % cell.shape[1]] for s in (t, t + 1))
        torch.bmm(state[:, t], weight, out=gate)
        i, f, g, o = gate.split(n_hidden, dim=2)
        for each in (i, f, o):
            each.sigmoid_()
        g.tanh_()
        torch.mul(f, before, out=after)
        after.addcmul_(i, g)
        state[:, t + 1, :, :n_hidden] = o * after.tanh()
    return products(state, query[:, None]) if len(query) else query.new_empty(0, 0, 0)


def backward(
    gates: torch.Tensor,
    cell: torch.Tensor,
    state: torch.Tensor,
    weight: torch.Tensor,
    given: torch.Tensor,
    mixing: Mixing,
    d_x: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of weights and query and, where `d_x` has any length, write that of the input.

    The gradient of the hidden states is `given` (lanes, steps, B, hidden), or follows from `mixing` where `given`
    has no steps. The gates' values give way to the gradients of their inputs.
    """
    n_hidden = cell.shape[3]
    weights, vectors, slopes, query = mixing
    later = torch.zeros_like(cell[:, 0])
    d_cell = torch.zeros_like(later)
    for t in range(gates.shape[1] - 1, -1, -1):
        i, f, g, o = gates[:, t].split(n_hidden, dim=2)
        tanh = cell[:, t + 1].tanh()
        if given.shape[1]:
            d_hidden = later + given[:, t]
        else:
            d_hidden = later + weights[:, t, :, None] * vectors + slopes[:, t, :, None] * query[:, None]
        d_cell += d_hidden * o * (1 - tanh.square())
        by_gate = (
            d_cell * g * i * (1 - i),
            d_cell * cell[:, t] * f * (1 - f),
            d_cell * i * (1 - g.square()),
            d_hidden * tanh * o * (1 - o),
        )
        d_cell *= f
        torch.cat(by_gate, dim=2, out=gates[:, t])
        later = torch.bmm(gates[:, t], weight[:, :n_hidden].transpose(1, 2))
    d_gates = gates.flatten(1, 2)
    if d_x.numel():
        d_x.copy_(torch.bmm(d_gates, weight[:, n_hidden:-1].transpose(1, 2)).view_as(d_x))
    d_weight = torch.bmm(state[:, :-1].flatten(1, 2).transpose(1, 2), d_gates)
    return d_weight, mix(state, slopes, n_hidden).sum(1) if len(query) else torch.zeros_like(query)


def products(state: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Scalar products (lanes, steps, B) of the hidden states with `vectors` (lanes, B, hidden)."""
    return (state[:, 1:, :, : vectors.shape[2]] * vectors[:, None]).sum(3)


def mix(state: torch.Tensor, weights: torch.Tensor, n_hidden: int) -> torch.Tensor:
    """Sum of the hidden states over steps by `weights` (lanes, steps, B): (lanes, B, hidden)."""
    return (state[:, 1:, :, :n_hidden] * weights[..., None]).sum(1)
