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
    over the gates; the backward pass is written by hand in the same way. In float32 the recurrence is compiled when
    first used: on the CPU its lanes (groups x directions) are shared by as many threads as torch may use, and on a GPU
    with triton it is one kernel, where `n_hidden` is 16, 32 or 64.
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
            return _States.apply(x.to(self.weight_hh.dtype), self._spare_if_needed(x), *self._weights)

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
        dtype = self.weight_hh.dtype
        with torch.autocast(x.device.type, enabled=False):
            return _Attended.apply(
                x.to(dtype), query.to(dtype), present, self._spare_if_needed(x, query), *self._weights
            )

    def train(self, mode: bool = True) -> GroupedLSTM:
        """Set the mode; evaluation frees the memory that is kept between training steps."""
        if not mode:
            self._spare.clear()
        return super().train(mode)

    @property
    def _weights(self) -> tuple[nn.Parameter, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def _spare_if_needed(self, *inputs: torch.Tensor) -> _Spare | None:
        """Arrays for the way back, None where there will be none."""
        needed = torch.is_grad_enabled() and any(each.requires_grad for each in (*inputs, *self._weights))
        return self._spare if needed else None


class _States(torch.autograd.Function):
    """Hidden states (B, groups, steps, directions x hidden)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, spare: _Spare | None, *weights: torch.Tensor) -> torch.Tensor:
        run = ctx.run = _Run(x, weights, spare)
        ctx.spare = spare
        ctx.save_for_backward(x, *weights)
        hidden = run.state[:, 1:, :, : run.n_hidden].unflatten(0, (-1, run.n_groups))
        # (groups, steps, B, hidden) of each direction in the order of the input
        ordered = [each if d == 0 else each.flip(1) for d, each in enumerate(hidden)]
        return torch.cat([each.permute(2, 0, 1, 3) for each in ordered], dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        run = _run_of(ctx, x, weights)
        by_direction = given.permute(1, 2, 0, 3).unflatten(3, (-1, run.n_hidden)).unbind(3)
        ordered = [each if d == 0 else each.flip(1) for d, each in enumerate(by_direction)]
        d_x, d_weights, _ = run.gradients(torch.cat(ordered), None, of_input=ctx.needs_input_grad[0])
        return d_x, None, *d_weights


class _Attended(torch.autograd.Function):
    """Mixtures of hidden states (B, groups, directions x hidden) by attention, and the attention (B, groups, steps)."""

    @staticmethod
    def forward(ctx: Any, x, query, present: torch.Tensor | None, spare: _Spare | None, *weights: torch.Tensor):
        run = ctx.run = _Run(x, weights, spare, query)
        scores = run.scores.unflatten(0, (-1, run.n_groups)).sum(0)
        if present is not None:
            scores.masked_fill_((present == 0).permute(1, 2, 0), -torch.inf)
        attention = scores.softmax(1)
        ctx.spare = spare
        ctx.save_for_backward(x, query, attention, *weights)
        mixed = run.recurrence.mix(run.state, attention, run.n_hidden).unflatten(0, (-1, run.n_groups))
        return mixed.permute(2, 1, 0, 3).flatten(2), attention.permute(2, 0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_mixed: torch.Tensor, d_attention: torch.Tensor):
        x, query, attention, *weights = ctx.saved_tensors
        run = _run_of(ctx, x, weights, query)
        d_mixed = d_mixed.unflatten(2, (-1, run.n_hidden)).permute(2, 1, 0, 3).flatten(0, 1)
        d_scores = run.recurrence.products(run.state, d_mixed, run.n_groups).unflatten(0, (-1, run.n_groups)).sum(0)
        # through the softmax over steps
        d_scores += d_attention.permute(1, 2, 0)
        d_scores *= attention
        d_scores -= attention * d_scores.sum(1, keepdim=True)
        mixing = Mixing(attention, d_mixed, d_scores, run.query)
        d_x, d_weights, d_query = run.gradients(None, mixing, of_input=ctx.needs_input_grad[0])
        d_query = d_query.unflatten(0, (-1, run.n_groups)).transpose(0, 1).flatten(1)
        return d_x, d_query, None, None, *d_weights


class _Run:
    """All steps of all lanes, with what the way back needs.

    The lanes are the groups read forward, then the groups read backward.

    Parameters
    ----------
    x
        Input, (B, groups, steps, n_inputs).
    weights
        Of input and hidden state, and the two biases: (directions, groups, 4 hidden, ...), gates i, f, g, o.
    spare
        Where arrays are taken from and given back to; None where there is no way back.
    query
        (groups, directions x hidden) to score the hidden states by, if at all.
    """

    def __init__(self, x: torch.Tensor, weights: Any, spare: _Spare | None, query: torch.Tensor | None = None):
        weight_ih, weight_hh, bias_ih, bias_hh = (each.detach() for each in weights)
        self.n_directions, self.n_groups, _, self.n_hidden = weight_hh.shape
        joined = torch.cat([weight_hh, weight_ih, (bias_ih + bias_hh).unsqueeze(-1)], dim=-1)
        self.weight = joined.flatten(0, 1).transpose(1, 2).contiguous()
        self.recurrence, self.spare = _recurrence(x, self.n_hidden), spare
        lanes, steps = self.n_directions * self.n_groups, x.shape[2]
        shape = (lanes, steps, x.shape[0], self.n_hidden, x.shape[3])
        # without a way back gates and cells are scratch, but for kernels that read all steps by themselves
        n_kept = steps if x.is_cuda else 1
        self.arrays = _arrays(x, shape, n_kept=n_kept) if spare is None else spare.take(x, shape)
        gates, cell, self.state = self.arrays
        to_read = self.state[:, :-1, :, self.n_hidden : -1].unflatten(0, (-1, self.n_groups))
        x = x.detach().permute(1, 2, 0, 3)
        to_read[0] = x
        if self.n_directions == 2:
            to_read[1] = x.flip(1)
        self.query = x.new_empty(0, 0)
        if query is not None:
            self.query = query.detach().unflatten(1, (-1, self.n_hidden)).transpose(0, 1).flatten(0, 1)
        self.scores = self.recurrence.forward(gates, cell, self.state, self.weight, self.query, self.n_groups)

    def gradients(
        self, given: torch.Tensor | None, mixing: Mixing | None, *, of_input: bool
    ) -> tuple[torch.Tensor | None, list[torch.Tensor], torch.Tensor]:
        """Give the gradients of input, weights and query; the arrays are used up.

        They follow from that of the hidden states (lanes, steps, B, hidden), or from how attention mixed them.
        """
        lanes, n_steps, batch, n_read = self.state[:, 1:].shape
        if given is None:
            given = self.state.new_empty(0, 0, 0, 0)
        if mixing is None:
            nothing = given.new_empty(0, 0, 0)
            mixing = Mixing(nothing, nothing, nothing, nothing.flatten(1))
        d_read = self.state.new_empty(lanes, n_steps if of_input else 0, batch, n_read - self.n_hidden - 1)
        d_weight, d_query = self.recurrence.backward(*self.arrays, self.weight, given, mixing, d_read)
        if self.spare is not None:
            self.spare.give(self.arrays)
        d_x = None
        if of_input:
            d_x, *back = d_read.unflatten(0, (-1, self.n_groups))
            d_x = (d_x + back[0].flip(1) if back else d_x).permute(2, 0, 1, 3)
        by_lane = d_weight.transpose(1, 2).unflatten(0, (-1, self.n_groups))
        d_hh, d_ih, d_bias = by_lane.split([self.n_hidden, n_read - self.n_hidden - 1, 1], dim=-1)
        return d_x, [d_ih, d_hh, d_bias[..., 0], d_bias[..., 0]], d_query


def _run_of(ctx: Any, x: torch.Tensor, weights: Any, query: torch.Tensor | None = None) -> _Run:
    """Take the run out of the graph; its arrays are used up on the way back, so a further way back needs a new one."""
    run, ctx.run = ctx.run, None
    return _Run(x, weights, ctx.spare, query) if run is None else run


class _Spare(dict[tuple, list[tuple[torch.Tensor, ...]]]):
    """Arrays that wait for the next training step: to make them anew costs as much as to fill them."""

    def take(self, like: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        # what a recording uses belongs to its graph: given to others, or freed, a replay would write into their memory
        free = None if _recorded(like) else self.get((shape, like.dtype, like.device))
        return free.pop() if free else _arrays(like, shape, n_kept=shape[1])

    def give(self, arrays: tuple[torch.Tensor, ...]) -> None:
        gates, _, state = arrays
        if _recorded(gates):
            return
        lanes, n_steps, batch, n_gates = gates.shape
        shape = (lanes, n_steps, batch, n_gates // 4, state.shape[3] - n_gates // 4 - 1)
        self.setdefault((shape, gates.dtype, gates.device), []).append(arrays)

    def __deepcopy__(self, memo: dict) -> _Spare:
        return _Spare()

    def __reduce__(self) -> tuple:
        return _Spare, ()


def _recorded(like: torch.Tensor) -> bool:
    return like.is_cuda and torch.cuda.is_current_stream_capturing()


def _arrays(like: torch.Tensor, shape: tuple[int, ...], *, n_kept: int) -> tuple[torch.Tensor, ...]:
    """Gates and cells of `n_kept` steps, and the states of all, with 0 before the first step and 1 for the bias."""
    lanes, n_steps, batch, n_hidden, n_inputs = shape
    gates = like.new_empty(lanes, n_kept, batch, 4 * n_hidden)
    cell = like.new_empty(lanes, n_kept + 1, batch, n_hidden)
    state = like.new_empty(lanes, n_steps + 1, batch, n_hidden + n_inputs + 1)
    cell[:, 0] = 0
    state[:, 0, :, :n_hidden] = 0
    state[..., -1] = 1
    return gates, cell, state


def _recurrence(like: torch.Tensor, n_hidden: int) -> ModuleType:
    """Choose what runs the steps; the functions of all are those of the form in torch."""
    if like.dtype == torch.float32 and like.device.type == "cpu":
        from genexp_scverse.nn import _lstm_numba

        return _lstm_numba
    if like.dtype == torch.float32 and like.is_cuda:
        from genexp_scverse.nn import _lstm_triton

        return _lstm_triton if _lstm_triton.fits(n_hidden) else _lstm_torch
    return _lstm_torch
