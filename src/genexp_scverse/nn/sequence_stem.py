"""From bases to tokens: strided convolutions that set the resolution of what follows."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from genexp_scverse._errors import InputError

LARGEST_FACTOR = 7


class SequenceStem(nn.Module):
    """Strided convolutions over one-hot DNA with a GELU between them: one token for every `stride` bases.

    The stride is split into small factors, the stride of one convolution each (:func:`stride_factors`). The first
    reads `kernel` bases; the others see half a stride beyond theirs on both sides. Widths double up to `width`, so
    that most of the cost and memory is not at the resolution of bases. Bases other than A, C, G and T, and what lies
    beyond the window, are rows of zeros.

    Parameters
    ----------
    width
        Channels of the tokens.
    stride
        Bases for every token, a product of numbers up to 7; 1 for a token per base.
    kernel
        Bases that the first convolution reads, not fewer than its stride.

    Raises
    ------
    InputError
        For a stride with larger factors, a kernel that leaves out bases, or, from `forward`, a window that is no
        multiple of the stride.

    Examples
    --------
    >>> stem = SequenceStem(64, stride=32)
    >>> stem(torch.zeros(2, 320, dtype=torch.uint8)).shape
    torch.Size([2, 10, 64])
    """

    def __init__(self, width: int, stride: int, kernel: int = 16):
        super().__init__()
        factors = stride_factors(stride)
        if kernel < factors[0]:
            msg = f"kernel is {kernel} and would leave out bases: take {factors[0]} (its stride) or more"
            raise InputError(msg)
        self.stride = stride
        n = len(factors)
        widths = [4, *(max(1, width // 2 ** (n - 1 - i)) for i in range(n))]
        layers: list[nn.Module] = []
        for i, (factor, (n_in, n_out)) in enumerate(zip(factors, itertools.pairwise(widths), strict=True)):
            size = factor + 2 * (factor // 2) if i else kernel
            before = (size - factor) // 2
            layers += [nn.GELU()] if i else []
            # the values beyond the window are 0 on both sides, one more behind where the number is odd
            layers += [nn.ConstantPad1d((before, size - factor - before), 0.0)]
            layers += [nn.Conv1d(n_in, n_out, size, stride=factor)]
        self.layers = nn.Sequential(*layers)
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
        return self.layers(one_hot).transpose(1, 2)

    def _dtype(self, device: str) -> torch.dtype:
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return next(self.parameters()).dtype


def stride_factors(stride: int) -> list[int]:
    """Split a stride into factors up to 7, pairs of 2 as 4, the largest first.

    Raises
    ------
    InputError
        When that cannot be done.

    Examples
    --------
    >>> stride_factors(32), stride_factors(100), stride_factors(1)
    ([4, 4, 2], [5, 5, 4], [1])
    """
    factors, rest = [], stride
    for factor in (4, 2, 3, 5, 7):
        while rest > 1 and rest % factor == 0:
            factors.append(factor)
            rest //= factor
    if rest != 1:
        msg = f"stride {stride} is no product of numbers up to {LARGEST_FACTOR}: take one such as 16, 32, 100 or 128"
        raise InputError(msg)
    return sorted(factors, reverse=True) or [1]
