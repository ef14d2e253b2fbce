"""State-space layer in its chunked, dual form (Mamba-2; Dao & Gu 2024): matrix products, linear in length."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from genexp_scverse._errors import InputError
from genexp_scverse.nn._layers import CausalConv, Norm, initial_step_bias

RADIX = 64
"""States of so many chunks are combined at once."""


class SSDLayer(nn.Module):
    """Bidirectional state-space layer with a scalar decay for every head, as a residual block.

    RMS norm; a linear map to the gate z, the values x, the input and output maps B and C of the state and the steps
    dt; then for each direction of reading a short causal convolution over x, B and C, and the recurrence (:func:`ssd`)

        h_t = exp(-exp(a) dt_t) h_(t-1) + B_t (dt_t x_t)^T,   y_t = C_t^T h_t + D x_t

    The sum y of both directions goes, as RMS norm of y silu(z), through a linear map and is added to the input. Only
    the convolution, a, D and the bias of the steps are each direction's own. Memory and time are linear in length.

    Parameters
    ----------
    width
        Channels of the input and output.
    d_state
        Length of the state of every channel.
    expand
        Inner channels as a multiple of `width`.
    head_size
        Inner channels that share a decay.
    conv
        Positions under the short convolution.
    chunk
        Positions that are one chunk; it changes the cost and not the result.

    Raises
    ------
    InputError
        When the inner channels are no multiple of `head_size`.

    Examples
    --------
    >>> layer = SSDLayer(32, head_size=16)
    >>> layer(torch.zeros(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    def __init__(
        self, width: int, *, d_state: int = 32, expand: int = 2, head_size: int = 64, conv: int = 4, chunk: int = 64
    ):
        super().__init__()
        inner = expand * width
        if inner % head_size:
            msg = (
                f"{inner} inner channels (width {width} x expand {expand}) are no multiple of head_size {head_size}: "
                "take another width or a head_size that divides them"
            )
            raise InputError(msg)
        n_heads = inner // head_size
        self.norm = Norm(width)
        self.parts, self.own_parts = [inner, inner + 2 * d_state, n_heads], [inner, d_state, d_state]
        self.head_size, self.chunk = head_size, chunk
        self.into = nn.Linear(width, sum(self.parts), bias=False)
        # each direction's own: the channels of the one after those of the other, and a row for each
        self.conv = CausalConv(2 * sum(self.own_parts), conv)
        self.log_decay = nn.Parameter(torch.empty(2, n_heads).uniform_(1, 16).log())
        self.step_bias = nn.Parameter(initial_step_bias(2 * n_heads).view(2, n_heads))
        self.skip = nn.Parameter(torch.ones(2, n_heads))
        self.gated_norm = Norm(inner)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, L, width) of `x` of that shape."""
        gate, values, step = self.into(self.norm(x)).split(self.parts, dim=-1)
        y = self._read(values, step)
        return x + self.out(self.gated_norm(y * F.silu(gate)))

    def _read(self, values: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Read in both directions at once, as twice the windows: half as many kernels for a GPU to be given."""
        both = F.silu(self.conv(torch.cat([values, values.flip(1)], dim=2)))
        # positions lie last in memory: (B, 2 x channels, L) is (2 B, channels, L)
        both = both.transpose(1, 2).unflatten(1, (2, -1)).flatten(0, 1).transpose(1, 2)
        x, b, c = both.split(self.own_parts, dim=-1)
        x = x.unflatten(-1, (-1, self.head_size))
        # steps and decays add up along a chunk: they keep the type of the parameters under autocast
        step = torch.stack([step, step.flip(1)], dim=1).to(self.step_bias.dtype)
        step = F.softplus(step + self.step_bias[:, None])
        log_decay = (-self.log_decay.exp()[:, None] * step).flatten(0, 1)
        y = ssd(x * step.flatten(0, 1)[..., None].to(x.dtype), log_decay, b, c, chunk=self.chunk)
        y, x = (each.unflatten(0, (-1, 2)) for each in (y, x))
        ahead, back = (y + x * self.skip.to(x.dtype)[:, None, :, None]).unbind(1)
        return (ahead + back.flip(1)).flatten(2)


def ssd(x: torch.Tensor, log_decay: torch.Tensor, b: torch.Tensor, c: torch.Tensor, *, chunk: int = 64) -> torch.Tensor:
    """Run h_t = exp(log_decay_t) h_(t-1) + b_t x_t^T and y_t = c_t^T h_t from h = 0, for every head.

    Within a chunk y is (c_i . b_j) exp(sum of log_decay over j+1 ... i) x_j, summed over j <= i: a product of matrices.
    The states at the ends of the chunks are combined by :func:`scan_states`. Sums of decays and their exponentials are
    float32 (float64 for such input) whatever the type of x, b and c, which is the type of the products.

    Parameters
    ----------
    x
        (B, L, heads, channels), multiplied with the step.
    log_decay
        (B, L, heads), 0 or less.
    b, c
        (B, L, states), shared by the heads.
    chunk
        Positions in a chunk.

    Returns
    -------
    (B, L, heads, channels), in the type of x.

    Examples
    --------
    >>> one = torch.ones(1, 4, 1)
    >>> ssd(one[..., None], 0.5 * one.log(), one, one).flatten().tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    length = x.shape[1]
    chunk = min(chunk, length)
    missing = -length % chunk
    # a position that is padded has no input and does not decay
    x, log_decay, b, c = (_in_groups(each, missing, chunk) for each in (x, log_decay, b, c))
    cumulated = log_decay.to(_wide(log_decay)).cumsum(2)
    with torch.autocast(x.device.type, enabled=False):
        y = _WithinChunks.apply(x, cumulated, b, c)
    if x.shape[1] > 1:
        y = y + _from_chunks_before(x, cumulated, b, c)
    return y.flatten(1, 2)[:, :length]


def scan_states(log_decay: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Run h_k = exp(log_decay_k) h_(k-1) + added_k from h = 0, in a logarithmic number of steps.

    64 elements at a time are combined by one matrix product; their ends are a scan of a 64th of the length, which
    is done in the same way.

    Parameters
    ----------
    log_decay
        (B, K, heads), 0 or less.
    added
        (B, K, heads, values).

    Returns
    -------
    h, (B, K, heads, values).

    Examples
    --------
    >>> scan_states(torch.zeros(1, 3, 1), torch.ones(1, 3, 1, 1)).flatten().tolist()
    [1.0, 2.0, 3.0]
    """
    length = added.shape[1]
    size = min(length, RADIX)
    missing = -length % size
    log_decay, added = (_in_groups(each, missing, size) for each in (log_decay, added))
    cumulated = log_decay.cumsum(2)
    state = torch.einsum("bghij,bgjhv->bgihv", _decays(cumulated), added)
    if state.shape[1] > 1:
        ends = scan_states(cumulated[:, :-1, -1], state[:, :-1, -1])
        before = F.pad(ends, (0, 0, 0, 0, 1, 0))
        state = state + cumulated.exp()[..., None] * before[:, :, None]
    return state.flatten(1, 2)[:, :length]


class _WithinChunks(torch.autograd.Function):
    """Sum up, for every position, what comes from positions of the same chunk, (B, chunks, positions, ...).

    The weights of pairs of positions are made again on the way back: they are most of the memory otherwise.
    """

    @staticmethod
    def forward(ctx: Any, x, cumulated, b, c) -> torch.Tensor:
        ctx.save_for_backward(x, cumulated, b, c)
        return torch.einsum("bkhij,bkjhp->bkihp", _pairs(cumulated, b, c)[1], x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, cumulated, b, c = ctx.saved_tensors
        decays, weights = _pairs(cumulated, b, c)
        d_x = torch.einsum("bkhij,bkihp->bkjhp", weights, d_y)
        d_weights = torch.einsum("bkihp,bkjhp->bkhij", d_y, x)
        d_exponents = (d_weights * weights).to(cumulated.dtype)
        d_cumulated = (d_exponents.sum(4) - d_exponents.sum(3)).transpose(2, 3)
        d_scores = d_weights.mul_(decays).sum(2)
        return d_x, d_cumulated, d_scores.transpose(2, 3) @ c, d_scores @ b


def _pairs(cumulated: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Decays from position j to i and weights c_i . b_j times decay, (B, chunks, heads, i, j) each."""
    decays = _decays(cumulated).to(b.dtype)
    return decays, (c @ b.transpose(2, 3))[:, :, None] * decays


def _from_chunks_before(x: torch.Tensor, cumulated: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Sum up, for every position, what comes from the state at the end of the chunk before."""
    heads = x.shape[3:]
    left = (cumulated[:, :, -1:] - cumulated).exp()
    added = b.transpose(2, 3) @ (x * left[..., None].to(x.dtype)).flatten(3)
    with torch.autocast(x.device.type, enabled=False):
        # (B, chunks, states, heads, channels) -> (B, chunks, heads, states x channels)
        added = added.to(cumulated.dtype).unflatten(3, heads).transpose(2, 3)
        state = scan_states(cumulated[:, :-1, -1], added[:, :-1].flatten(3))
        before = F.pad(state, (0, 0, 0, 0, 1, 0)).unflatten(3, (-1, heads[1])).transpose(2, 3).flatten(3)
    read = (c @ before.to(c.dtype)).unflatten(3, heads)
    return read * cumulated.exp()[..., None].to(read.dtype)


def _decays(cumulated: torch.Tensor) -> torch.Tensor:
    """Decay from position j to position i of (B, groups, positions, heads): (B, groups, heads, i, j), 0 for j > i."""
    by_head = cumulated.transpose(2, 3)
    n = by_head.shape[3]
    later = torch.ones(n, n, dtype=torch.bool, device=cumulated.device).triu(1)
    return (by_head[..., :, None] - by_head[..., None, :]).masked_fill_(later, -torch.inf).exp_()


def _in_groups(x: torch.Tensor, missing: int, size: int) -> torch.Tensor:
    """Pad dimension 1 at its end and split it into groups of `size`."""
    if missing:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return x.unflatten(1, (-1, size))


def _wide(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
