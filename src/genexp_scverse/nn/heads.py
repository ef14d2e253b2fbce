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
    n_samples
        Samples that have a readout of their own; 1 for one readout of all.

    Examples
    --------
    >>> head = ExpressionHead(8, "both")
    >>> {k: tuple(v.shape) for k, v in head(torch.zeros(3, 8)).items()}
    {'logit': (3,), 'level': (3,)}
    """

    def __init__(self, n_in: int, target: str, *, label_units: int = 2, n_samples: int = 1):
        super().__init__()
        self.label_units = label_units
        self.label = nn.Linear(n_in, n_samples * label_units) if target in ("label", "both") else None
        self.level = nn.Linear(n_in, n_samples) if target in ("expression", "both") else None

    def forward(self, hidden: torch.Tensor, sample: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """Return ``logit`` (B,) and ``level`` (B,), as asked for, from `hidden` (B, n_in).

        `sample` (B,) says whose readout is taken; -1, as None, is the mean over all.
        """
        out = {}
        if self.label is not None:
            units = self.label(hidden).unflatten(1, (-1, self.label_units))
            out["logit"] = _of_sample(units[..., 1] - units[..., 0] if self.label_units == 2 else units[..., 0], sample)
        if self.level is not None:
            out["level"] = _of_sample(self.level(hidden), sample)
        return out


def _of_sample(values: torch.Tensor, sample: torch.Tensor | None) -> torch.Tensor:
    """Take one of (B, samples) for each gene."""
    if values.shape[1] == 1:
        return values[:, 0]
    mean = values.mean(1)
    if sample is None:
        return mean
    return torch.where(sample < 0, mean, values.gather(1, sample.clamp(min=0)[:, None])[:, 0])
