"""Batches with the latents of neighbouring genes, and the encoding of genes into latents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch

from genexp_scverse.model.base._data import PairBatches
from genexp_scverse.model.base._graph import NeighborTable
from genexp_scverse.model.base._tables import GeneTables
from genexp_scverse.model.simplechrome._module import Autoencoder


@dataclass
class ContextTables(GeneTables):
    """Tables that give the signal of a gene and the latents of its neighbours, encoded before.

    Attributes
    ----------
    around
        Which genes are the neighbours of each.
    codes
        Samples x genes x units, by :meth:`encode`.
    """

    around: NeighborTable | None = None
    codes: torch.Tensor | None = None

    @classmethod
    def of(cls, tables: GeneTables) -> ContextTables:
        """Take the neighbours of `tables`, to be read as latents."""
        own = {f.name: getattr(tables, f.name) for f in dataclasses.fields(tables)}
        return cls(**{**own, "neighbors": None}, around=tables.neighbors)

    def to(self, device: torch.device | str) -> ContextTables:
        """Move what fits to `device`."""
        super().to(device)
        if self.around is not None:
            self.around.to(device)
        if self.codes is not None:
            self.codes = self.codes.to(device)
        return self

    def gather(
        self, genes: torch.Tensor, samples: torch.Tensor, read: dict[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Collect inputs and targets; ``neighbor_latent`` (B, k, units) beside those of :class:`GeneTables`."""
        batch = super().gather(genes, samples, read)
        assert self.around is not None and self.codes is not None
        index, described = self.around.gather(genes)
        others = torch.where(index < 0, genes[:, None], index)
        return {**batch, **described, "neighbor_latent": self.codes[samples[:, None], others]}

    def encode(self, autoencoder: Autoencoder, pairs: np.ndarray) -> None:
        """Encode the neighbours of the genes of `pairs`, in the samples of these."""
        assert self.around is not None
        alone = GeneTables(**{f.name: getattr(self, f.name) for f in dataclasses.fields(GeneTables)})
        n_latent = autoencoder.posterior.out_features // 2
        if self.codes is None:
            self.codes = torch.zeros(len(self.samples), len(self.genes), n_latent)
        for sample in np.unique(pairs[:, 1]):
            wanted = self.around.index[np.unique(pairs[pairs[:, 1] == sample, 0])]
            wanted = np.unique(wanted[wanted >= 0])
            of = np.stack([wanted, np.full(len(wanted), sample)], axis=1)
            found = encoded(autoencoder, alone, of)
            self.codes = self.codes.to(found.device)
            self.codes[sample, torch.as_tensor(wanted, device=found.device)] = found


def encoded(autoencoder: Autoencoder, tables: GeneTables, pairs: np.ndarray) -> torch.Tensor:
    """Posterior means of (gene, sample) pairs on the device of the network, (pairs, units)."""
    device = autoencoder.divisor.device
    alone = dataclasses.replace(tables, neighbors=None).to(device)
    training = autoencoder.training
    autoencoder.eval()
    try:
        with torch.no_grad():
            means = [
                autoencoder.encode(alone.gather(genes.to(device), samples.to(device)))[0]
                for genes, samples in PairBatches(torch.as_tensor(pairs), 1024)
            ]
    finally:
        autoencoder.train(training)
    return torch.cat(means) if means else torch.zeros(0, autoencoder.posterior.out_features // 2, device=device)


class RefreshLatents(lightning.Callback):
    """Encode the neighbours anew, by the present encoder, before training, after every epoch, at the end.

    Gradients do not flow through the latents of neighbours: a step costs no more than without them.
    """

    def __init__(self, tables: ContextTables, autoencoder: Autoencoder, pairs: np.ndarray):
        self._tables, self._autoencoder, self._pairs = tables, autoencoder, pairs

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Encode before the first step."""
        self._tables.encode(self._autoencoder, self._pairs)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Encode for the next epoch where no validation has done so."""
        if not trainer.val_dataloaders:
            self._tables.encode(self._autoencoder, self._pairs)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Encode for the validation and for the next epoch."""
        self._tables.encode(self._autoencoder, self._pairs)
