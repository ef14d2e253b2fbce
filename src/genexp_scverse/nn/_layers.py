"""What the layers of all backbones are made of."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

STEPS = (1e-3, 0.1)
"""Smallest and largest step of time at the start of training (Gu & Dao 2023)."""
NORM_EPS = 1e-5
"""Added to the mean square."""


class Norm(nn.RMSNorm):
    """Root-mean-square norm over the last dimension, computed in the type of the weight also under autocast."""

    def __init__(self, width: int):
        super().__init__(width, eps=NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., width)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class CausalConv(nn.Conv1d):
    """Short convolution of every channel by itself: position t sees t - kernel + 1 ... t."""

    def __init__(self, channels: int, kernel: int):
        super().__init__(channels, channels, kernel, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, L, channels) of `x` of that shape."""
        padded = F.pad(x.transpose(1, 2), (self.kernel_size[0] - 1, 0))
        return super().forward(padded).transpose(1, 2)


def initial_step_bias(n: int) -> torch.Tensor:
    """Bias (n,) in front of a softplus that makes steps between those of `STEPS`, even on the logarithmic scale."""
    low, high = (math.log(step) for step in STEPS)
    step = torch.exp(torch.rand(n) * (high - low) + low)
    # the inverse of softplus
    return step + torch.log(-torch.expm1(-step))
