"""The recurrence of many LSTMs in torch, for every device and precision.

A lane is one LSTM: those of all groups that read forward, then those that read backward, whose first step is the last
of the input. The arrays are gates (lanes, steps, B, 4 hidden) in the order i, f, g, o, cell (lanes, steps + 1, B,
hidden), state (lanes, steps + 1, B, hidden + inputs + 1), whose rows hold hidden state, input and 1, and weight (lanes,
hidden + inputs + 1, 4 hidden). Where nothing is kept for the way back, gates have one step and cells two, in turn.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Mixing(NamedTuple):
    """How attention mixed the hidden states, and what is known of the gradient."""

    weights: torch.Tensor
    """(groups, steps, B), by which the states were mixed."""
    vectors: torch.Tensor
    """(lanes, B, hidden), gradient of the mixtures."""
    slopes: torch.Tensor
    """(groups, steps, B), gradient of the scores."""
    query: torch.Tensor
    """(lanes, hidden), which scored them."""


def forward(
    gates: torch.Tensor,
    cell: torch.Tensor,
    state: torch.Tensor,
    weight: torch.Tensor,
    query: torch.Tensor,
    n_groups: int,
) -> torch.Tensor:
    """Read all steps: fill the hidden states, the gates' values and the cells.

    Returns the scalar products of the hidden states with the query (lanes, hidden) of their lane, see `products`; a
    query without lanes asks for none.
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
    """Return the gradients of weights and query and, where `d_x` has any length, write that of the input.

    The gradient of the hidden states is `given` (lanes, steps, B, hidden), or follows from `mixing` where `given`
    has no steps. The gates' values give way to the gradients of their inputs.
    """
    n_hidden = cell.shape[3]
    vectors, query = mixing.vectors, mixing.query
    weights, slopes = (_by_lane(each, len(gates)) for each in (mixing.weights, mixing.slopes))
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
    return from_gates(gates, state, weight, mixing, d_x)


def from_gates(
    d_gates: torch.Tensor, state: torch.Tensor, weight: torch.Tensor, mixing: Mixing, d_x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `backward` does from the gradients of the gates' inputs."""
    n_hidden = d_gates.shape[3] // 4
    d_gates, query = d_gates.flatten(1, 2), mixing.query
    if d_x.numel():
        d_x.copy_(torch.bmm(d_gates, weight[:, n_hidden:-1].transpose(1, 2)).view_as(d_x))
    n_parts = parts(state.shape[1] - 1, state.shape[2]) if state.is_cuda else 1
    d_weight = weight_gradient(state, d_gates, n_parts)
    return d_weight, mix(state, mixing.slopes, n_hidden).sum(1) if len(query) else torch.zeros_like(query)


def weight_gradient(state: torch.Tensor, d_gates: torch.Tensor, n_parts: int) -> torch.Tensor:
    """Gradient of the weights from `d_gates` (lanes, steps x B, 4 hidden): a sum over steps, made in `n_parts` of them.

    A GPU shares out the elements of a matrix, not the sum behind each: few lanes of few units leave most of it idle.
    """
    lanes, n_read = len(state), state.shape[3]
    read = state[:, :-1].reshape(lanes * n_parts, -1, n_read)
    d_weight = torch.bmm(read.transpose(1, 2), d_gates.reshape(lanes * n_parts, -1, d_gates.shape[2]))
    return d_weight.unflatten(0, (lanes, n_parts)).sum(1) if n_parts > 1 else d_weight


def parts(n_steps: int, batch: int) -> int:
    """Into how many equal parts `n_steps` are cut so that each has 256 rows at least."""
    most = max(1, min(n_steps, n_steps * batch // 256))
    return next(n for n in range(most, 0, -1) if n_steps % n == 0)


def products(state: torch.Tensor, vectors: torch.Tensor, n_groups: int) -> torch.Tensor:
    """Scalar products (lanes, steps, B), steps as of the input, of hidden states with `vectors` (lanes, B, hidden)."""
    read = (state[:, 1:, :, : vectors.shape[2]] * vectors[:, None]).sum(3)
    return torch.cat([read[:n_groups], read[n_groups:].flip(1)])


def mix(state: torch.Tensor, weights: torch.Tensor, n_hidden: int) -> torch.Tensor:
    """Sum of the hidden states over steps by `weights` (groups, steps, B): (lanes, B, hidden)."""
    return (state[:, 1:, :, :n_hidden] * _by_lane(weights, len(state))[..., None]).sum(1)


def _by_lane(weights: torch.Tensor, lanes: int) -> torch.Tensor:
    """Give (groups, steps, B) to every lane in its order of reading."""
    return torch.cat([weights, weights.flip(1)]) if len(weights) < lanes else weights
