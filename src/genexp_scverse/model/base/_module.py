"""What every network of the package returns, and the loss that goes with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class GeneModule(nn.Module):
    """A network from a gathered batch to level and label.

    ``forward(batch)`` returns a dictionary with ``logit`` (B,), the log odds of a high gene, and ``level`` (B,),
    the standardised expression, as far as the network has them, and ``latent`` (B, n) where it has one.

    Parameters
    ----------
    label_weight
        Weight of the label's cross-entropy beside the level's squared error.
    """

    eval_batch: int = 1024
    """(gene, sample) pairs at once where no gradient is kept."""
    progress: float = 1.0
    """Share of the training that is done, see :meth:`advance`."""
    graphable: bool = True
    """Whether a training step may be recorded once and replayed on a GPU. It may where Python decides no number of it:
    neither by the values of tensors, nor by what changes from step to step, but for buffers changed in place."""
    noted: dict[str, torch.Tensor]
    """Parts of the last loss, scalars by name, that the history shows for the validation genes."""

    def __init__(self, label_weight: float = 1.0):
        super().__init__()
        self.label_weight = label_weight
        self.noted = {}

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def advance(self, progress: float) -> None:
        """Learn before every step which share of the training is done.

        A recorded step is blind to `progress`: what follows from it goes into a buffer, by ``fill_`` or ``copy_``.
        """
        self.progress = progress

    @property
    def settled(self) -> bool:
        """Whether what is trained now is what is to be kept: epochs before that are not compared with later ones."""
        return True

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Give the parameters to the optimiser; a network may spare some of them the weight decay."""
        return [{"params": list(self.parameters()), "weight_decay": weight_decay}]

    def loss(self, outputs: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of the label plus mean squared error of the level, each over the measured pairs."""
        total = next(iter(outputs.values())).new_zeros(())
        if "logit" in outputs:
            target = batch["label"]
            measured = ~torch.isnan(target)
            losses = F.binary_cross_entropy_with_logits(outputs["logit"], torch.nan_to_num(target), reduction="none")
            total = total + self.label_weight * _mean_over(losses, measured)
        if "level" in outputs:
            target = batch["level"]
            measured = ~torch.isnan(target)
            losses = self.level_loss(outputs["level"], torch.nan_to_num(target))
            total = total + _mean_over(losses, measured)
        return total

    def level_loss(self, level: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Loss of every level, (B,): the squared error unless a network has another."""
        return F.mse_loss(level, target, reduction="none")


def _mean_over(losses: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    return (losses * measured).sum() / measured.sum().clamp(min=1)
