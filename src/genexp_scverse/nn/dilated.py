"""Dilated convolutions: the light backbone."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from genexp_scverse._errors import InputError
from genexp_scverse.nn._layers import NORM_EPS, Norm


class DilatedLayer(nn.Module):
    """Residual block x + W gelu(conv(norm(x))), with a dilated convolution that sees both sides alike.

    Layers in a row double the dilation: see :meth:`dilation_of`. A stack of n layers with kernel 3 sees
    2^(n + 1) - 1 positions as long as the dilation does not start again.

    Parameters
    ----------
    width
        Channels of the input and output.
    dilation
        Distance between the positions under the kernel.
    kernel
        Positions under the kernel, an odd number.
    dropout
        Share of the channels of every position that is left out in training.

    Raises
    ------
    InputError
        For an even kernel.

    Examples
    --------
    >>> layer = DilatedLayer(16, dilation=4)
    >>> layer(torch.zeros(2, 100, 16)).shape
    torch.Size([2, 100, 16])
    """

    def __init__(self, width: int, *, dilation: int = 1, kernel: int = 3, dropout: float = 0.0):
        super().__init__()
        if kernel % 2 == 0:
            msg = f"kernel is {kernel}: it has to be odd, so that a position sees both sides alike"
            raise InputError(msg)
        self.norm = Norm(width)
        self.conv = nn.Conv1d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, L, width) of `x` of that shape."""
        # positions last in memory from layer to layer: a third faster on a CPU
        channels = x.transpose(1, 2)
        hidden = self.dropout(F.gelu(self.conv(self._normed(channels))))
        return (channels + F.conv1d(hidden, self.out.weight[:, :, None], self.out.bias)).transpose(1, 2)

    def _normed(self, channels: torch.Tensor) -> torch.Tensor:
        """Norm over the channels of (B, width, L), in the type of the weight also under autocast."""
        weight = self.norm.weight
        with torch.autocast(channels.device.type, enabled=False):
            x = channels.to(weight.dtype)
            return x * torch.rsqrt(x.square().mean(1, keepdim=True) + NORM_EPS) * weight[:, None]

    @staticmethod
    def dilation_of(layer: int, n_dilations: int) -> int:
        """Return 2 to the power of the number of the layer, starting again at 1 after `n_dilations` layers.

        Examples
        --------
        >>> [DilatedLayer.dilation_of(i, 3) for i in range(5)]
        [1, 2, 4, 1, 2]
        """
        return 2 ** (layer % n_dilations)
