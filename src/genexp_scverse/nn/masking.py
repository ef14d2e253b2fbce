"""What stands for a mark that a sample was not measured for."""

from __future__ import annotations

import torch
from torch import nn


class FillMissing(nn.Module):
    """Put a learned value in place of every bin of a missing mark, so that missing is not the same as no signal.

    Parameters
    ----------
    n_marks
        Number of marks; each has a value of its own, 0 at first.

    Examples
    --------
    >>> fill = FillMissing(2)
    >>> with torch.no_grad():
    ...     _ = fill.value.copy_(torch.tensor([5.0, 7.0]))
    >>> fill(torch.ones(1, 2, 3), torch.tensor([[1.0, 0.0]])).tolist()
    [[[1.0, 1.0, 1.0], [7.0, 7.0, 7.0]]]
    """

    def __init__(self, n_marks: int):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(n_marks))

    def forward(self, bins: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Return `bins` (B, marks, bins) with missing marks filled; `present` (B, marks) is 1 where one is there."""
        there = present[:, :, None]
        return bins * there + self.value[:, None] * (1 - there)
