"""Last layers: from a hidden vector to what is predicted of a gene."""

from __future__ import annotations

import torch
from torch import nn


class ExpressionHead(nn.Module):
    """Linear readout of a label, a level, or both.

    The label has two units by default; their difference is the log odds, so that the cross-entropy of the log odds
    equals the negative log likelihood over the two classes. One unit gives the log odds itself.

    Parameters
    ----------
    n_in
        Length of the hidden vector.
    target
        ``label``, ``expression`` or ``both``.
    label_units
        Units of the label: 2 as in DeepChrome, 1 as in AttentiveChrome.

    Examples
    --------
    >>> head = ExpressionHead(8, "both")
    >>> {k: tuple(v.shape) for k, v in head(torch.zeros(3, 8)).items()}
    {'logit': (3,), 'level': (3,)}
    """

    def __init__(self, n_in: int, target: str, *, label_units: int = 2):
        super().__init__()
        self.label = nn.Linear(n_in, label_units) if target in ("label", "both") else None
        self.level = nn.Linear(n_in, 1) if target in ("expression", "both") else None

    def forward(self, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``logit`` (B,) and ``level`` (B,), as asked for, from `hidden` (B, n_in)."""
        out = {}
        if self.label is not None:
            units = self.label(hidden)
            out["logit"] = units[:, 1] - units[:, 0] if units.shape[1] == 2 else units[:, 0]
        if self.level is not None:
            out["level"] = self.level(hidden)[:, 0]
        return out
