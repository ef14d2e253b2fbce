"""Many LSTMs of one shape, each with its own weights, run as one batched recurrence."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from genexp_scverse.nn import _lstm_torch
from genexp_scverse.nn._lstm_torch import Mixing


class GroupedLSTM(nn.Module):
    """A one-layer LSTM per group of the input, with weights of its own, in one or both directions of reading.

    The numbers are those of a :class:`torch.nn.LSTM` per group, forward and gradients. All groups and both
    directions take each step together, as one batched matrix product over [hidden state, input, 1] and one pass
    over the gates; the backward pass is written by hand in the same way. On the CPU in float32 the recurrence is
    compiled when first used, and its lanes (groups x directions) are shared by as many threads as torch may use.
    A second derivative is not available, and autocast does not apply.

    Parameters
    ----------
    n_groups
        Number of groups.
    n_inputs
        Values that a group reads at a step.
    n_hidden
        Length of the hidden state, per direction.
    bidirectional
        Read in both directions.

    Examples
    --------
    >>> lstm = GroupedLSTM(n_groups=5, n_inputs=1, n_hidden=32)
    >>> lstm(torch.zeros(2, 5, 100, 1)).shape
    torch.Size([2, 5, 100, 64])
    >>> summary, attention = lstm.attend(torch.zeros(2, 5, 100, 1), query=torch.zeros(5, 64))
    >>> summary.shape, attention.shape
    (torch.Size([2, 5, 64]), torch.Size([2, 5, 100]))
    """

    def __init__(self, n_groups: int, n_inputs: int, n_hidden: int, *, bidirectional: bool = True):
        super().__init__()
        self.n_groups, self.n_inputs, self.n_hidden = n_groups, n_inputs, n_hidden
        self.n_directions = 2 if bidirectional else 1
        lanes = (self.n_directions, n_groups)
        # two biases, as torch has them: optimisers that scale each gradient move their sum twice as fast
        self.weight_ih = nn.Parameter(torch.empty(*lanes, 4 * n_hidden, n_inputs))
        self.weight_hh = nn.Parameter(torch.empty(*lanes, 4 * n_hidden, n_hidden))
        self.bias_ih = nn.Parameter(torch.empty(*lanes, 4 * n_hidden))
        self.bias_hh = nn.Parameter(torch.empty(*lanes, 4 * n_hidden))
        self._spare = _Spare()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-b, b) with b = 1 / sqrt(n_hidden), as torch does."""
        bound = 1 / math.sqrt(self.n_hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return hidden states (B, groups, steps, directions x n_hidden) of `x` (B, groups, steps, n_inputs)."""
        with torch.autocast(x.device.type, enabled=False):
            hidden = _States.apply(*self._operands(x))
        forth, *back = hidden.unflatten(0, (self.n_directions, self.n_groups)).permute(0, 3, 1, 2, 4)
        return torch.cat([forth, *(h.flip(2) for h in back)], dim=-1)

    def attend(
        self, x: torch.Tensor, query: torch.Tensor, present: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix the hidden states h_t of every group by softmax_t(h_t . query), without writing them out.

        Parameters
        ----------
        x
            (B, groups, steps, n_inputs).
        query
            (groups, directions x n_hidden).
        present
            Steps that may be attended to, (B, groups, steps), 1 or 0; by default all. One at least per group.

        Returns
        -------
        The mixtures (B, groups, directions x n_hidden) and the attention (B, groups, steps).
        """
        with torch.autocast(x.device.type, enabled=False):
            x, weight, spare = self._operands(x)
            by_lane = (
                query.to(weight.dtype).unflatten(1, (self.n_directions, self.n_hidden)).transpose(0, 1).flatten(0, 1)
            )
            closed = None if present is None else (present == 0).permute(1, 2, 0)
            mixed, attention = _Attended.apply(x, weight, by_lane, closed, self.n_directions, spare)
        mixed = mixed.unflatten(0, (self.n_directions, self.n_groups)).permute(2, 1, 0, 3).flatten(2)
        return mixed, attention.permute(2, 0, 1)

    def train(self, mode: bool = True) -> GroupedLSTM:
        """Set the mode; evaluation frees the memory that is kept between training steps."""
        if not mode:
            self._spare.clear()
        return super().train(mode)

    def _operands(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, _Spare | None]:
        """Input (lanes, steps, B, n_inputs), each lane in its order of reading, and weights of [hidden, input, 1].

        The lanes are the groups read forward, then the groups read backward.
        """
        bias = (self.bias_ih + self.bias_hh).unsqueeze(-1)
        weight = torch.cat([self.weight_hh, self.weight_ih, bias], dim=-1).flatten(0, 1).transpose(1, 2)
        x = x.to(weight.dtype).permute(1, 2, 0, 3)
        if self.n_directions == 2:
            x = torch.cat([x, x.flip(1)])
        differentiable = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        return x, weight, self._spare if differentiable else None


class _States(torch.autograd.Function):
    """Hidden states (lanes, steps, B, hidden)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, spare: _Spare | None) -> torch.Tensor:
        run = ctx.run = _Run(x, weight, weight.new_empty(0, 0), spare)
        ctx.spare = spare
        ctx.save_for_backward(x, weight)
        return run.state[:, 1:, :, : run.n_hidden].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        run = _run_of(ctx, x, weight, given.new_empty(0, 0))
        nothing = given.new_empty(0, 0, 0)
        mixing = Mixing(nothing, nothing, nothing, nothing.flatten(1))
        d_x, d_weight, _ = run.gradients(given, mixing, of_input=ctx.needs_input_grad[0])
        return d_x, d_weight, None


class _Attended(torch.autograd.Function):
    """Mixtures of hidden states (lanes, B, hidden) by attention, and the attention (groups, steps, B)."""

    @staticmethod
    def forward(ctx: Any, x, weight, query, closed: torch.Tensor | None, n_directions: int, spare: _Spare | None):
        run = ctx.run = _Run(x, weight, query, spare)
        scores = _sum_of_directions(run.scores, n_directions)
        if closed is not None:
            scores = scores.masked_fill(closed, -torch.inf)
        attention = scores.softmax(1)
        ctx.n_directions, ctx.spare = n_directions, spare
        ctx.save_for_backward(x, weight, query, attention)
        return run.recurrence.mix(run.state, _by_direction(attention, n_directions), run.n_hidden), attention

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_mixed: torch.Tensor, d_attention: torch.Tensor):
        x, weight, query, attention = ctx.saved_tensors
        run = _run_of(ctx, x, weight, query)
        d_attention = d_attention + _sum_of_directions(run.recurrence.products(run.state, d_mixed), ctx.n_directions)
        # through the softmax over steps
        d_scores = attention * d_attention
        d_scores -= attention * d_scores.sum(1, keepdim=True)
        weights, slopes = (_by_direction(each, ctx.n_directions) for each in (attention, d_scores))
        mixing = Mixing(weights, d_mixed, slopes, query)
        d_x, d_weight, d_query = run.gradients(query.new_empty(0, 0, 0, 0), mixing, of_input=ctx.needs_input_grad[0])
        return d_x, d_weight, d_query, None, None, None


class _Run:
    """All steps of all lanes, with what the way back needs.

    Parameters
    ----------
    x
        Input, (lanes, steps, B, n_inputs).
    weight
        (lanes, hidden + n_inputs + 1, 4 hidden), gates in the order i, f, g, o.
    query
        (lanes, hidden) to score the hidden states by, or (0, 0).
    spare
        Where arrays are taken from and given back to; None where there is no way back.
    """

    def __init__(self, x: torch.Tensor, weight: torch.Tensor, query: torch.Tensor, spare: _Spare | None):
        lanes, n_steps, batch, n_inputs = x.shape
        self.n_hidden, self.weight, self.spare = weight.shape[2] // 4, weight.detach().contiguous(), spare
        self.recurrence = _recurrence(x)
        shape = (lanes, n_steps, batch, self.n_hidden, n_inputs)
        self.arrays = _arrays(x, shape, n_kept=1) if spare is None else spare.take(x, shape)
        gates, cell, self.state = self.arrays
        cell[:, 0] = 0
        self.state[:, 0, :, : self.n_hidden] = 0
        self.state[:, :-1, :, self.n_hidden : -1] = x.detach()
        self.state[..., -1] = 1
        self.scores = self.recurrence.forward(gates, cell, self.state, self.weight, query.detach())

    def gradients(
        self, given: torch.Tensor, mixing: Mixing, *, of_input: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """Give the gradients of input, weight and query from that of the hidden states; the arrays are used up."""
        lanes, n_steps, batch, n_read = self.state[:, 1:].shape
        n_steps = n_steps if of_input else 0
        d_x = self.state.new_empty(lanes, n_steps, batch, n_read - self.n_hidden - 1)
        d_weight, d_query = self.recurrence.backward(*self.arrays, self.weight, given, mixing, d_x)
        if self.spare is not None:
            self.spare.give(self.arrays)
        return d_x if of_input else None, d_weight, d_query


class _Spare(dict[tuple, list[tuple[torch.Tensor, ...]]]):
    """Arrays that wait for the next training step: to make them anew costs as much as to fill them."""

    def take(self, like: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        free = self.get((shape, like.dtype, like.device))
        return free.pop() if free else _arrays(like, shape, n_kept=shape[1])

    def give(self, arrays: tuple[torch.Tensor, ...]) -> None:
        gates, _, state = arrays
        lanes, n_steps, batch, n_gates = gates.shape
        shape = (lanes, n_steps, batch, n_gates // 4, state.shape[3] - n_gates // 4 - 1)
        self.setdefault((shape, gates.dtype, gates.device), []).append(arrays)

    def __deepcopy__(self, memo: dict) -> _Spare:
        return _Spare()

    def __reduce__(self) -> tuple:
        return _Spare, ()


def _arrays(like: torch.Tensor, shape: tuple[int, ...], *, n_kept: int) -> tuple[torch.Tensor, ...]:
    """Gates and cells of `n_kept` steps, and the states of all."""
    lanes, n_steps, batch, n_hidden, n_inputs = shape
    return (
        like.new_empty(lanes, n_kept, batch, 4 * n_hidden),
        like.new_empty(lanes, n_kept + 1, batch, n_hidden),
        like.new_empty(lanes, n_steps + 1, batch, n_hidden + n_inputs + 1),
    )


def _recurrence(like: torch.Tensor) -> ModuleType:
    if like.device.type != "cpu" or like.dtype != torch.float32:
        return _lstm_torch
    from genexp_scverse.nn import _lstm_numba

    return _lstm_numba


def _run_of(ctx: Any, x: torch.Tensor, weight: torch.Tensor, query: torch.Tensor) -> _Run:
    """Take the run out of the graph; its arrays are used up on the way back, so a further way back needs a new one."""
    run, ctx.run = ctx.run, None
    return _Run(x, weight, query, ctx.spare) if run is None else run


def _sum_of_directions(lanes: torch.Tensor, n_directions: int) -> torch.Tensor:
    """Add (lanes, steps, B) over directions, step by step of the input: (groups, steps, B)."""
    forth, *back = lanes.unflatten(0, (n_directions, -1))
    return forth + back[0].flip(1) if back else forth


def _by_direction(groups: torch.Tensor, n_directions: int) -> torch.Tensor:
    """Give (groups, steps, B) to every lane in its order of reading: (lanes, steps, B)."""
    return torch.cat([groups, groups.flip(1)]) if n_directions == 2 else groups.contiguous()
