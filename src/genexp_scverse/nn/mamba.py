"""Bidirectional selective state-space layer (Mamba; Gu & Dao 2023), as published for Seq2Exp, in plain torch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from genexp_scverse.nn._layers import CausalConv, Norm, initial_step_bias

RUN = 32
"""Positions that are stepped through, in all runs of a block at once."""

BLOCK = 1024
"""Positions whose states are in memory at once."""


class MambaLayer(nn.Module):
    """Bidirectional Mamba layer as a residual block: every inner channel has a state with decays of its own.

    RMS norm; a linear map to values x and gate z; then for each direction of reading a short causal convolution of x,
    the input map B, output map C and steps dt from it, and the recurrence (:func:`selective_scan`)

        h_t = exp(-exp(a) dt_t) h_(t-1) + dt_t B_t x_t,   y_t = C_t h_t + D x_t

    The sum y of both directions goes, as y silu(z), through a linear map and is added to the input. The linear maps
    at both ends are shared by the directions. On CUDA the kernel of `mamba_ssm` is used where that is installed.

    Parameters
    ----------
    width
        Channels of the input and output.
    d_state
        Length of the state of every inner channel.
    conv
        Positions under the short convolution.
    expand
        Inner channels as a multiple of `width`.

    Examples
    --------
    >>> layer = MambaLayer(32)
    >>> layer(torch.zeros(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    def __init__(self, width: int, *, d_state: int = 16, conv: int = 4, expand: int = 2):
        super().__init__()
        inner = expand * width
        self.norm = Norm(width)
        self.into = nn.Linear(width, 2 * inner, bias=False)
        step_rank = math.ceil(width / 16)
        self.directions = nn.ModuleList(_Direction(inner, d_state, conv, step_rank) for _ in range(2))
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, L, width) of `x` of that shape."""
        values, gate = self.into(self.norm(x)).chunk(2, dim=-1)
        ahead, back = self.directions
        y = ahead(values) + back(values.flip(1)).flip(1)
        return x + self.out(y * F.silu(gate))


class _Direction(nn.Module):
    """What each direction of reading has for itself."""

    def __init__(self, inner: int, d_state: int, conv: int, step_rank: int):
        super().__init__()
        self.parts = [step_rank, d_state, d_state]
        self.conv = CausalConv(inner, conv)
        self.of_values = nn.Linear(inner, sum(self.parts), bias=False)
        self.step = nn.Linear(step_rank, inner, bias=False)
        nn.init.uniform_(self.step.weight, -(step_rank**-0.5), step_rank**-0.5)
        self.step_bias = nn.Parameter(initial_step_bias(inner))
        self.log_decay = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.conv(values))
        step, b, c = self.of_values(x).split(self.parts, dim=-1)
        # steps and states keep the type of the parameters under autocast
        dtype = self.step_bias.dtype
        step = F.softplus(self.step(step).to(dtype) + self.step_bias)
        y = selective_scan(x.to(dtype), step, -self.log_decay.exp(), b.to(dtype), c.to(dtype))
        return (y + x * self.skip).to(x.dtype)


def selective_scan(
    x: torch.Tensor, step: torch.Tensor, rate: torch.Tensor, b: torch.Tensor, c: torch.Tensor
) -> torch.Tensor:
    """Run h_t = exp(step_t rate) h_(t-1) + step_t b_t x_t and y_t = c_t . h_t from h = 0, for every channel.

    In plain torch, blocks of 1024 positions follow each other. A block is 32 runs of 32 positions: all runs take each
    step together from a state of 0, then the states at their ends are passed on. The way back computes the states of
    a block again, so that beyond the input only one state for every block is kept. On CUDA `mamba_ssm`, where it
    imports, does the same in one kernel.

    Parameters
    ----------
    x
        (B, L, channels).
    step
        (B, L, channels), greater than 0.
    rate
        (channels, states), less than 0.
    b, c
        (B, L, states), shared by the channels.

    Returns
    -------
    (B, L, channels).

    Examples
    --------
    >>> one = torch.ones(1, 4, 1)
    >>> [round(y, 4) for y in selective_scan(one, one, torch.log(torch.tensor([[0.5]])), one, one).flatten().tolist()]
    [1.0, 1.5, 1.75, 1.875]
    """
    kernel = _kernel() if x.is_cuda and x.dtype != torch.float64 else None
    if kernel is not None:
        return _by_kernel(kernel, x, step, rate, b, c)
    length = x.shape[1]
    if missing := -length % RUN:
        # without a step the state stays, and nothing is added
        x, step, b, c = (F.pad(each, (0, 0, 0, missing)) for each in (x, step, b, c))
    with torch.autocast(x.device.type, enabled=False):
        return _Scan.apply(x, step, rate, b, c)[:, :length]


def _by_kernel(
    kernel: Callable[..., torch.Tensor],
    x: torch.Tensor,
    step: torch.Tensor,
    rate: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
) -> torch.Tensor:
    """Do as :func:`selective_scan` by a function with the arguments of ``mamba_ssm``'s ``selective_scan_fn``.

    That has channels before positions: u and delta (B, channels, L), A (channels, states), B and C (B, states, L).
    """
    x, step, b, c = (each.transpose(1, 2).contiguous() for each in (x, step, b, c))
    return kernel(x, step, rate, b, c).transpose(1, 2)


class _Scan(torch.autograd.Function):
    """The recurrence over a multiple of `RUN` positions."""

    @staticmethod
    def forward(ctx: Any, x, step, rate, b, c) -> torch.Tensor:
        state = x.new_zeros(len(x), *rate.shape)
        y, before = torch.empty_like(x), []
        for at in _blocks(x.shape[1]):
            before.append(state)
            states = _states(x[:, at], step[:, at], rate, b[:, at], state)
            y[:, at] = _read(states, c[:, at])
            state = states[:, -1].clone()
        ctx.save_for_backward(x, step, rate, b, c, torch.stack(before))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, step, rate, b, c, before = ctx.saved_tensors
        d_x, d_step, d_b, d_c = (torch.empty_like(each) for each in (x, step, b, c))
        d_rate = torch.zeros_like(rate)
        # the gradient of the last state of a block that comes from the blocks after it
        later = torch.zeros_like(before[0])
        for k, at in reversed(list(enumerate(_blocks(x.shape[1])))):
            x_, step_, b_, c_, d_y_ = (each[:, at] for each in (x, step, b, c, d_y))
            states = _states(x_, step_, rate, b_, before[k])
            d_c[:, at] = torch.einsum("bldn,bld->bln", states, d_y_)
            decay = torch.exp(step_[..., None] * rate)
            d_states = d_y_[..., None] * c_[:, :, None]
            d_states[:, -1] += later
            _run_back(decay, step_, rate, d_states)
            later = decay[:, 0] * d_states[:, 0]
            d_added = _read(d_states, b_)
            d_b[:, at] = torch.einsum("bldn,bld->bln", d_states, x_ * step_)
            # of the exponent: what came in from the position before, decayed
            decay[:, 1:] *= states[:, :-1]
            decay[:, 0] *= before[k]
            d_exponent = decay.mul_(d_states)
            d_x[:, at] = d_added * step_
            d_step[:, at] = d_added * x_ + (d_exponent * rate).sum(-1)
            d_rate += (d_exponent * step_[..., None]).sum((0, 1))
        return d_x, d_step, d_rate, d_b, d_c


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _read(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bldn,bln->bld", states, weight)


def _states(x, step, rate, b, before: torch.Tensor) -> torch.Tensor:
    """States (B, L, channels, states) at all positions of a block; `before` is the state at its start."""
    states = (x * step)[..., None] * b[:, :, None]
    decay = torch.exp(step[..., None] * rate)
    by_run, decays = (each.unflatten(1, (-1, RUN)) for each in (states, decay))
    for i in range(1, RUN):
        by_run[:, :, i].addcmul_(decays[:, :, i], by_run[:, :, i - 1])
    # what the runs before have left at the start of every run, and what remains of it from there on
    rest = _passed_on(_whole_run(step, rate), by_run[:, :, -1], before)
    for i in range(RUN):
        rest *= decays[:, :, i]
        by_run[:, :, i] += rest
    return states


def _run_back(decay: torch.Tensor, step: torch.Tensor, rate: torch.Tensor, gradients: torch.Tensor) -> None:
    """Run g_t = given_t + decay_(t+1) g_(t+1) over a block, in place of the given `gradients`."""
    by_run, decays = (each.unflatten(1, (-1, RUN)) for each in (gradients, decay))
    for i in range(RUN - 2, -1, -1):
        by_run[:, :, i].addcmul_(decays[:, :, i + 1], by_run[:, :, i + 1])
    # the gradient in front of a run is that of its first position, decayed; runs are passed through from the end
    first = (by_run[:, :, 0] * decays[:, :, 0]).flip(1)
    rest = _passed_on(_whole_run(step, rate).flip(1), first, torch.zeros_like(first[:, 0])).flip(1)
    for i in range(RUN - 1, -1, -1):
        by_run[:, :, i] += rest
        rest *= decays[:, :, i]


def _whole_run(step: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """Decay (B, runs, channels, states) over all positions of every run."""
    return torch.exp(step.unflatten(1, (-1, RUN)).sum(2)[..., None] * rate)


def _passed_on(decay: torch.Tensor, ends: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """State in front of every run, from their decays and from their ends when they start at 0."""
    front = torch.empty_like(ends)
    front[:, 0] = before
    for k in range(1, ends.shape[1]):
        torch.addcmul(ends[:, k - 1], decay[:, k - 1], front[:, k - 1], out=front[:, k])
    return front


@functools.cache
def _kernel() -> Callable[..., torch.Tensor] | None:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    return selective_scan_fn
