"""The network of SimpleChrome: a variational autoencoder of signal and a predictor that reads its latent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from genexp_scverse.model.base import GeneModule
from genexp_scverse.nn.heads import ExpressionHead
from genexp_scverse.nn.likelihoods import make_likelihood
from genexp_scverse.nn.masking import FillMissing
from genexp_scverse.nn.neighbors import (
    EdgeFeatures,
    NeighborAttention,
    NeighborConcatenation,
    NeighborContext,
    NeighborMean,
)
from genexp_scverse.nn.vae import ConvDecoder, ConvEncoder, drawn, kl_to_standard_normal

MILD_DECAY = 1e-2
"""Weight decay of the decoder at most."""


class Autoencoder(nn.Module):
    """Encoder to a normal posterior, decoder, and the likelihood of the signal.

    Scaled signal is read; what the likelihood is of follows from it: for ``normal`` the scaled signal itself, for
    counts expm1(scaled signal times `divisor`), for ``tanh`` the signal divided by `maximum`, mapped to [-1, 1],
    which then is what the encoder reads as well.
    """

    def __init__(
        self,
        n_marks: int,
        n_bins: int,
        *,
        n_latent: int,
        likelihood: str,
        masked: bool,
        n_filters: Sequence[int],
        kernel_size: int,
        pool_size: int,
        n_hidden: Sequence[int],
        slope: float,
        dropout: float,
    ):
        super().__init__()
        shape: dict[str, Any] = {
            "n_filters": list(n_filters),
            "kernel_size": kernel_size,
            "pool_size": pool_size,
            "n_hidden": list(n_hidden),
            "slope": slope,
        }
        self.name = likelihood
        self.fill = FillMissing(n_marks) if masked else None
        self.encoder = ConvEncoder(n_marks, n_bins, dropout=dropout, **shape)
        self.posterior = nn.Linear(self.encoder.n_out, 2 * n_latent)
        self.decoder = ConvDecoder(n_latent, n_marks, n_bins, linear=likelihood == "tanh", **shape)
        self.likelihood = make_likelihood(likelihood, n_marks)
        # fitted on the training genes, so that they are saved with the weights
        self.register_buffer("divisor", torch.ones(n_marks))
        self.register_buffer("maximum", torch.ones(n_marks))
        self.divisor: torch.Tensor
        self.maximum: torch.Tensor

    def modelled(self, bins: torch.Tensor) -> torch.Tensor:
        """Return what the likelihood is of, (B, marks, bins), for scaled signal `bins`."""
        if self.name == "tanh":
            return bins / self.maximum[:, None] * 2 - 1
        if self.name == "normal":
            return bins
        return torch.expm1(bins * self.divisor[:, None]).clamp(min=0)

    def scaled(self, modelled: torch.Tensor) -> torch.Tensor:
        """Return the way back from :meth:`modelled`."""
        if self.name == "tanh":
            return (modelled + 1) / 2 * self.maximum[:, None]
        if self.name == "normal":
            return modelled
        return torch.log1p(modelled) / self.divisor[:, None]

    def encode(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the posterior, (B, n_latent) each."""
        bins = self.modelled(batch["bins"]) if self.name == "tanh" else batch["bins"]
        if self.fill is not None:
            bins = self.fill(bins, batch["present"])
        mean, log_variance = self.posterior(self.encoder(bins)).chunk(2, dim=1)
        # outside of these bounds a standard deviation is no number of use, and one bad step would end a training
        return mean, log_variance.clamp(-14, 6)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Mean of the signal in scaled units, (B, marks, bins)."""
        return self.scaled(self.likelihood.mean(self.decoder(latent)))

    def reconstruction_and_kl(
        self, batch: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log likelihood of the signal given the draw, as a mean over measured entries, and KL, (B,) each."""
        log_prob = self.likelihood.log_prob(self.modelled(batch["bins"]), self.decoder(outputs["draw"])).mean(2)
        there = batch["present"] if self.fill is not None else torch.ones_like(log_prob)
        return (log_prob * there).sum(1) / there.sum(1), kl_to_standard_normal(
            outputs["latent"], outputs["log_variance"]
        )


class SimpleChromeModule(GeneModule):
    """Variational autoencoder, neighbours, predictor; `stage` says what is trained.

    In the stage ``vae`` only the autoencoder runs. In ``predictor`` only what follows the posterior mean learns. In
    ``joint`` everything learns one objective, and label and level are learned from the draw that the signal is
    decoded from. Predictions are always those of the posterior mean.
    """

    def __init__(
        self,
        n_marks: int,
        n_bins: int,
        *,
        target: str,
        likelihood: str,
        masked: bool = False,
        n_latent: int = 10,
        n_filters: Sequence[int] = (50,),
        kernel_size: int = 9,
        pool_size: int = 5,
        n_hidden: Sequence[int] = (625,),
        slope: float = 0.0,
        dropout: float = 0.0,
        beta: float = 1.0,
        warmup: float = 0.3,
        elbo_weight: float = 1.0,
        combine: str | None = None,
        n_neighbors: int = 0,
        n_heads: int = 4,
        n_predictor: Sequence[int] = (128,),
        predictor_dropout: float = 0.0,
        label_weight: float = 1.0,
        normal_weights: float = 0.0,
    ):
        super().__init__(label_weight)
        self.beta, self.warmup, self.elbo_weight = beta, warmup, elbo_weight
        self.n_entries, self.published = n_marks * n_bins, likelihood == "tanh"
        self.stage = "joint"
        # in training; a buffer, so that a recorded step reads what it is now
        self.register_buffer("kl_weight", torch.tensor(float(beta)), persistent=False)
        self.kl_weight: torch.Tensor
        self.autoencoder = Autoencoder(
            n_marks,
            n_bins,
            n_latent=n_latent,
            likelihood=likelihood,
            masked=masked,
            n_filters=n_filters,
            kernel_size=kernel_size,
            pool_size=pool_size,
            n_hidden=n_hidden,
            slope=slope,
            dropout=dropout,
        )
        self.predictor = Predictor(
            n_latent,
            n_predictor,
            dropout=predictor_dropout,
            target=target,
            combine=combine,
            n_neighbors=n_neighbors,
            n_heads=n_heads,
        )
        if normal_weights:
            for name, parameter in self.named_parameters():
                if name.endswith("weight"):
                    nn.init.normal_(parameter, 0.0, normal_weights)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Predict from ``batch["bins"]`` (B, marks, bins), or from ``batch["latent"]`` (B, n_latent) encoded before.

        With neighbours their latents are read as well: ``batch["neighbor_latent"]`` (B, k, n_latent), and what the
        graph says of them.
        """
        if "bins" not in batch:
            return {"latent": batch["latent"], **self.predictor(batch["latent"], batch)}
        mean, log_variance = self.autoencoder.encode(batch)
        # the same draw after every epoch, so that the scores of epochs compare
        generator = None if self.training else torch.Generator(mean.device).manual_seed(0)
        draw = drawn(mean, log_variance, generator=generator)
        out = {"latent": mean, "log_variance": log_variance, "draw": draw}
        return out if self.stage == "vae" else {**out, **self.predictor(draw if self.training else mean, batch)}

    def advance(self, progress: float) -> None:
        """Let the weight of the KL rise over the share `warmup` of the training."""
        super().advance(progress)
        self.kl_weight.fill_(self.beta * (min(1.0, progress / self.warmup) if self.warmup else 1.0))

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Spare the decoder and the posterior a strong decay, which is for what predicts, and the noise any."""
        mild = [*self.autoencoder.posterior.parameters(), *self.autoencoder.decoder.parameters()]
        none = list(self.autoencoder.likelihood.parameters())
        spared = {id(p) for p in (*mild, *none)}
        strong = [p for p in self.parameters() if id(p) not in spared]
        return [
            {"params": strong, "weight_decay": weight_decay},
            {"params": mild, "weight_decay": min(weight_decay, MILD_DECAY)},
            {"params": none, "weight_decay": 0.0},
        ]

    def loss(self, outputs: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the loss of the stage.

        ``vae``: minus the evidence lower bound, divided by the number of entries of the signal; ``predictor``: that
        of label and level; ``joint``: the latter plus `elbo_weight` times the former. The weight of the KL rises
        from 0 to `beta` over the share `warmup` of the training.
        """
        self.noted = {}
        if self.stage == "predictor":
            return super().loss(outputs, batch)
        negative = self._negative_elbo(outputs, batch)
        if self.stage == "vae":
            return negative
        return super().loss(outputs, batch) + self.elbo_weight * negative

    def _negative_elbo(self, outputs: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        beta = self.kl_weight if self.training else self.beta
        log_prob, kl = self.autoencoder.reconstruction_and_kl(batch, outputs)
        log_prob, kl = log_prob.mean(), kl.mean()
        self.noted = {"log_likelihood": log_prob.detach(), "kl": kl.detach()}
        # published: the KL is added to a mean over entries as it is
        return -log_prob + beta * (kl if self.published else kl / self.n_entries)


class Predictor(nn.Module):
    """From the latent of a gene, and those of its neighbours, to level and label.

    Latents are turned and stretched by `axes` first, those of neighbours too; see :meth:`turn`.
    """

    context: NeighborContext | None

    def __init__(
        self,
        n_latent: int,
        n_hidden: Sequence[int],
        *,
        dropout: float,
        target: str,
        combine: str | None,
        n_neighbors: int,
        n_heads: int,
    ):
        super().__init__()
        widths = [n_latent, *n_hidden]
        self.register_buffer("center", torch.zeros(n_latent))
        self.register_buffer("axes", torch.eye(n_latent))
        self.center: torch.Tensor
        self.axes: torch.Tensor
        self.own = nn.Linear(n_latent, widths[1])
        self.own_act = nn.ReLU()
        self.edges, self.context = EdgeFeatures(), None
        if combine == "attention":
            self.context = NeighborAttention(widths[1], n_latent, self.edges.n_out, n_heads=n_heads)
        elif combine == "mean":
            self.context = NeighborMean(n_latent)
        elif combine == "concatenation":
            self.context = NeighborConcatenation(n_latent, self.edges.n_out, n_places=n_neighbors)
        if self.context is not None:
            self.context_dropout = nn.Dropout(dropout)
            self.joined = nn.Linear(widths[1] + self.context.n_out, widths[1])
            self.joined_act = nn.ReLU()
        self.hidden = nn.Sequential(nn.Dropout(dropout))
        for n_in, n_out in itertools.pairwise(widths[1:]):
            self.hidden.extend([nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout)])
        self.head = ExpressionHead(widths[-1], target)

    def turn(self, means: torch.Tensor, shrinkage: float) -> None:
        """Read latents along their principal axes from now on, the lesser ones shrunk.

        With s_i the standard deviation of `means`, (genes, units), along axis i, the largest first, the values
        along it are multiplied by 2 / s_1 * (s_i / s_1) ** `shrinkage`.
        """
        self.center.copy_(means.mean(0))
        _, size, axes = torch.linalg.svd(means - self.center, full_matrices=False)
        largest = size[0].clamp(min=1e-12)
        turned = torch.zeros_like(self.axes)
        # the root of the number of genes turns the first singular value into a standard deviation
        turned[:, : len(size)] = axes.T * (2 * len(means) ** 0.5 / largest) * (size / largest) ** shrinkage
        self.axes.copy_(turned)

    def forward(self, latent: torch.Tensor, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return ``logit`` and ``level``, and with neighbours ``attention`` (B, k)."""
        own = self.own_act(self.own(self._turned(latent)))
        out = {}
        if self.context is not None:
            there = batch["neighbor_there"]
            edges = self.edges(
                batch["neighbor_weight"], batch["neighbor_distance"], batch["neighbor_same_strand"], there
            )
            neighbors = self._turned(batch["neighbor_latent"])
            context, out["attention"] = self.context(own, neighbors, edges, there)
            both = torch.cat([own, self.context_dropout(context)], dim=1)
            own = own + self.joined_act(self.joined(both))
        return {**self.head(self.hidden(own)), **out}

    def _turned(self, latent: torch.Tensor) -> torch.Tensor:
        return (latent - self.center) @ self.axes
