"""From bases to tokens: filters that look for motifs, averaged over what a token stands for."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from genexp_scverse._errors import InputError

LARGEST_STEP = 5
"""Bases that the filters move by, at most."""
FEWEST_PLACES = 2048
"""Places that the filters look at in a window at least, where it has as many bases."""
LARGEST_LOGIT = 8.0
"""Of a filter: its exponential has to fit any number format."""


class SequenceStem(nn.Module):
    """Motif filters over one-hot DNA: one token for every `stride` bases.

    `width` filters of `kernel` bases, moved by `step` bases; each brought to mean 0 and
    variance 1 over a batch (in evaluation: over the training), exponentiated, averaged over the bases of a token, and
    mixed linearly. The exponential makes a filter silent where it does not fit, which is what lets it find a motif in
    a long window (Koo & Ploenzke 2021, Nature Machine Intelligence 3:258). Bases other than A, C, G and T, and what
    lies beyond the window, are rows of zeros.

    Parameters
    ----------
    width
        Channels of the tokens.
    stride
        Bases for every token; 1 for a token per base.
    kernel
        Bases under a filter, not fewer than it moves by.
    step
        Bases that the filters move by, a divisor of `stride`; by default the largest up to 5.

    Raises
    ------
    InputError
        For a stride below 1, a step that does not divide it, a kernel that leaves out bases, or, from `forward`, a
        window that is no multiple of the stride.

    Examples
    --------
    >>> stem = SequenceStem(64, stride=32)
    >>> stem(torch.zeros(2, 320, dtype=torch.uint8)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(self, width: int, stride: int, kernel: int = 16, step: int | None = None):
        super().__init__()
        step = filter_step(stride) if step is None else step
        if step < 1 or stride % step:
            msg = f"step is {step} and the stride {stride}: give a divisor of it"
            raise InputError(msg)
        if kernel < step:
            msg = f"kernel is {kernel} and would leave out bases: take {step} (the step of the filters) or more"
            raise InputError(msg)
        self.stride, self.per_token = stride, stride // step
        # one more beyond the window behind it where the number is odd
        before = (kernel - step) // 2
        self.beyond = (before, kernel - step - before)
        self.filters = nn.Conv1d(4, width, kernel, stride=step, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.mix = nn.Linear(width, width)
        self.register_buffer("bases", torch.arange(4, dtype=torch.uint8)[:, None], persistent=False)
        self.bases: torch.Tensor

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, L / stride, width) of `codes` (B, L): A C G T = 0 1 2 3, anything else no base."""
        if codes.shape[-1] % self.stride:
            length = codes.shape[-1]
            nearest = max(1, round(length / self.stride)) * self.stride
            msg = (
                f"the window of {length} bases is no multiple of the stride {self.stride}: "
                f"take {nearest} bases or another stride"
            )
            raise InputError(msg)
        # in the type of the convolution at once: four float32 numbers for every base are 16 times the codes
        one_hot = (codes[:, None] == self.bases).to(self._dtype(codes.device.type))
        fit = self.norm(self.filters(F.pad(one_hot, self.beyond))).clamp(max=LARGEST_LOGIT).exp()
        return self.mix(F.avg_pool1d(fit, self.per_token).transpose(1, 2))

    def _dtype(self, device: str) -> torch.dtype:
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return next(self.parameters()).dtype


def filter_step(stride: int, length: int | None = None) -> int:
    """Return by how many bases filters move: the largest divisor of `stride` up to 5.

    In a window of `length` bases it is the largest that leaves 2,048 places to look at, or 1: a motif that a filter
    meets one base off is half lost, and a short window can afford to look everywhere.

    Raises
    ------
    InputError
        For a stride below 1.

    Examples
    --------
    >>> filter_step(32), filter_step(100), filter_step(13)
    (4, 5, 1)
    >>> filter_step(32, 16_384), filter_step(32, 4_096), filter_step(20, 1_000)
    (4, 2, 1)
    """
    if stride < 1:
        msg = f"stride is {stride}: it has to be 1 or more"
        raise InputError(msg)
    most = LARGEST_STEP if length is None else max(1, min(LARGEST_STEP, length // FEWEST_PLACES))
    return max(step for step in range(1, most + 1) if stride % step == 0)
