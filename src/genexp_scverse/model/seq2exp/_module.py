"""The network of Seq2Exp: generator, Beta mask, predictor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from genexp_scverse.model.base import GeneModule
from genexp_scverse.model.seq2exp._geometry import Geometry
from genexp_scverse.nn.backbones import Backbone, make_backbone
from genexp_scverse.nn.beta_mask import BetaMask, MaskOutput
from genexp_scverse.nn.heads import ExpressionHead
from genexp_scverse.nn.reverse_complement import ReverseComplementMean
from genexp_scverse.nn.sequence_stem import SequenceStem, filter_step

CONTACT, GIVEN = "contact", "given"
LN_10 = math.log(10)
LEAST_CONTACT = 0.01
"""Share of the largest contact below which none counts: a measured 0 is a small number."""
EVAL_POSITIONS = 2**18
"""Positions in a batch of evaluation."""
UNDECAYED = ("bias", "norm", "log_decay", "step_bias", "skip")


class Seq2ExpModule(GeneModule):
    """Generator reads the window, a Beta mask opens some of its positions, the predictor sees those alone.

    Su et al. 2025, sections 3.2 to 3.4. The embedding of the window is multiplied with the mask. The positions
    around the TSS are always open.

    Parameters
    ----------
    n_marks
        Tracks of a sample; 0 for the sequence alone.
    geometry
        Positions of the window.
    sequence
        Whether DNA is read.
    contact
        How contact with the TSS, a track of every gene for all samples, acts on the mask: ``factor`` of the odds that
        a position is open, or ``signal`` like any other, as published; None where there is none.
    n_features
        Scalar features of a gene.
    n_given
        Channels of the embeddings that are given to the generator, 0 for none.
    n_samples
        Samples that have a readout of their own.
    target
        ``label``, ``expression`` or ``both``.
    use_mask
        False leaves every position open: the predictor without a bottleneck.
    mask
        Arguments of :class:`~genexp_scverse.nn.beta_mask.BetaMask`.
    generator_reads
        ``both`` or ``sequence``, as published; without a sequence it reads the signals.
    join
        How the embeddings of the sequence and of the signals become one: ``product``, so that a motif counts where
        there is signal, or ``sum``, as published.
    readout
        ``both``: mean over the positions around the TSS and sum over all of the window that is open, as a multiple of
        the number around the TSS, each channel brought to mean 0 and variance 1; ``center``: the former as it is.
    warmup
        Share of the training in which the mask comes down from open to what is drawn, and its divergence comes in.
    hardens
        Shares of the training between which a hard mask turns from soft to hard.
    """

    def __init__(
        self,
        n_marks: int,
        *,
        geometry: Geometry,
        sequence: bool,
        contact: str | None,
        n_features: int,
        n_given: int,
        n_samples: int,
        target: str,
        use_mask: bool,
        mask: Mapping[str, Any],
        width: int,
        n_layers: int,
        backbone: str,
        backbone_settings: Mapping[str, Any],
        kernel_size: int,
        generator_reads: str,
        join: str,
        readout: str,
        warmup: float,
        hardens: Sequence[float],
        share_weights: bool,
        reverse_complement: bool,
        checkpoint: bool,
        n_hidden: Sequence[int],
        dropout: float,
        kl_weight: float,
        label_weight: float = 1.0,
    ):
        super().__init__(label_weight)
        # its kernels are long, and checkpoints and draws of the mask are decided step by step
        self.graphable = False
        self.geometry, self.kl_weight = geometry, kl_weight
        self.join, self.readout, self.warmup, self.hardens = join, readout, warmup, tuple(hardens)
        n_tracks = n_marks + (contact is not None)
        self.n_signals, self.contact = n_tracks if contact == "signal" else n_marks, contact
        self.generator_reads = generator_reads if sequence and n_tracks else "both"
        # of filters, where there is DNA
        step = filter_step(geometry.resolution, geometry.upstream + geometry.downstream)
        n_places = geometry.n_positions * (geometry.resolution // step if sequence else 1)
        self.eval_batch = max(1, EVAL_POSITIONS // n_places)
        self.stem = SequenceStem(width, geometry.resolution, step=step) if sequence else None
        self.tracks = nn.Conv1d(n_tracks, width, kernel_size, padding="same") if n_tracks else None

        def made() -> Backbone:
            return make_backbone(backbone, width, n_layers, checkpoint=checkpoint, **backbone_settings)

        self.predictor = made()
        self.mask: BetaMask | None = None
        if use_mask:
            self.mask = BetaMask(**mask)
            generator = _Generator(self.predictor if share_weights else made(), width)
            self.generator = generator
        self.given = nn.Linear(n_given, width) if n_given and use_mask else None
        self.both_strands = reverse_complement and sequence
        self.pooled = nn.BatchNorm1d(2 * width) if readout == "both" else None
        n_read = width * (2 if readout == "both" else 1) + n_features
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_std", torch.ones(n_features))
        self.feature_mean: torch.Tensor
        self.feature_std: torch.Tensor
        layers: list[nn.Module] = []
        for n in n_hidden:
            layers += [nn.Dropout(dropout), nn.Linear(n_read, n), nn.GELU()]
            n_read = n
        self.hidden = nn.Sequential(*layers)
        self.head = ExpressionHead(n_read, target, n_samples=n_samples)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Predict from ``codes`` (B, bases) and ``bins`` (B, marks, bins), as there are.

        Besides level, logit and latent there are ``mask``, ``mask_mean`` and ``mask_std`` (B, positions) and ``kl``.
        """
        codes, signals = batch.get("codes"), self._signals(batch)
        if self.both_strands:
            made = self.masked(batch, signals, ReverseComplementMean(self.logits, positions={0: 1}))
            opened = None if made is None else made.mask[:, None]
            latent = ReverseComplementMean(self.read, positions={})(codes, signals, opened)
        else:
            embedded = self.embedded(codes, signals)
            made = self.masked(batch, signals, self.logits, embedded)
            opened = None if made is None else made.mask[:, None]
            latent = self.read(codes, signals, opened, embedded)
        if self.pooled is not None:
            # a batch of one gene has no variance
            norm = self.pooled
            if self.training and len(latent) == 1:
                latent = F.batch_norm(latent, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
            else:
                latent = norm(latent)
        if "features" in batch:
            features = (batch["features"] - self.feature_mean) / self.feature_std
            latent = torch.cat([latent, torch.nan_to_num(features)], dim=1)
        latent = self.hidden(latent)
        # a gene is read once for all of its samples
        of_pairs = batch.get("gene", slice(None))
        latent = latent[of_pairs]
        out = {**self.head(latent, batch.get("sample")), "latent": latent}
        if made is not None:
            masks = {"mask": made.mask, "mask_mean": made.mean, "mask_std": made.std}
            out |= {"kl": made.kl, **{k: v[of_pairs] for k, v in masks.items()}}
        return out

    def masked(
        self,
        batch: dict[str, torch.Tensor],
        signals: torch.Tensor | None,
        logits_of: Callable[..., Any],
        *embedded: Any,
    ) -> MaskOutput | None:
        """Make the mask of a batch by what the generator says of it, None where there is none."""
        if self.mask is None:
            return None
        given = {} if self.given is None else {"given": self.given(batch[GIVEN].to(self.given.weight.dtype))}
        if self.generator_reads == "sequence":
            logits = logits_of(batch.get("codes"), None, **given)
        else:
            logits = logits_of(batch.get("codes"), signals, *embedded, **given)
        there = torch.zeros(self.geometry.n_positions, dtype=torch.bool, device=logits.device)
        there[self.geometry.first_open : self.geometry.last_open] = True
        present = batch.get("present")
        if present is not None and self.contact == "signal":
            present = torch.cat([present, present.new_ones(len(present), 1)], dim=1)
        read = signals[:, : self.n_signals] if signals is not None and self.n_signals else None
        factor = self._share_of_contact(batch[CONTACT]) if self.contact == "factor" else None
        present = None if read is None else present
        return self.mask(logits, read, present=present, contact=factor, open=there, blocked=batch.get("blocked"))

    def logits(
        self,
        codes: torch.Tensor | None,
        signals: torch.Tensor | None,
        embedded: torch.Tensor | None = None,
        given: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return what the generator says of every position, (B, positions, 2); `given` is added to what it reads."""
        x = self.embedded(codes, signals) if embedded is None else embedded
        return self.generator(x if given is None else x + given)

    def embedded(self, codes: torch.Tensor | None, signals: torch.Tensor | None) -> torch.Tensor:
        """Embed sequence and signals, as they are given, (B, positions, width)."""
        parts = []
        if codes is not None and self.stem is not None:
            parts.append(self.stem(codes))
        if signals is not None and self.tracks is not None:
            parts.append(self.tracks(signals).transpose(1, 2))
        if len(parts) == 1:
            return parts[0]
        return parts[0] * parts[1] if self.join == "product" else parts[0] + parts[1]

    def read(
        self,
        codes: torch.Tensor | None,
        signals: torch.Tensor | None,
        mask: torch.Tensor | None,
        embedded: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return what the predictor says of a window whose positions `mask` (B, 1, positions) opens."""
        x = self.embedded(codes, signals) if embedded is None else embedded
        opened = None if mask is None else mask.transpose(1, 2).to(x.dtype)
        hidden = self.predictor(x if opened is None else x * opened)
        first, last = self.geometry.first_open, self.geometry.last_open
        center = hidden[:, first:last].mean(1)
        if self.readout == "center":
            return center
        everywhere = (hidden if opened is None else hidden * opened).sum(1) / (last - first)
        return torch.cat([center, everywhere], dim=1)

    def loss(self, outputs: dict[str, torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Smooth L1 of the level, cross-entropy of the label, and `kl_weight` times the divergence of the mask."""
        total = super().loss(outputs, batch)
        self.noted = {}
        if self.mask is not None:
            geometry = self.geometry
            mean = outputs["mask_mean"]
            outside = mean.sum(1) - mean[:, geometry.first_open : geometry.last_open].sum(1)
            n_outside = geometry.n_positions - (geometry.last_open - geometry.first_open)
            self.noted = {"kl": outputs["kl"].detach()}
            if n_outside:
                self.noted["open"] = (outside / n_outside).mean().detach()
            total = total + self.kl_weight * (1 - self.mask.openness) * outputs["kl"]
        return total

    def advance(self, progress: float) -> None:
        """Close the mask over the share `warmup` of the training, and harden it between the shares `hardens`."""
        super().advance(progress)
        if self.mask is not None:
            self.mask.openness = max(0.0, 1 - progress / self.warmup) if self.warmup else 0.0
            first, last = self.hardens
            self.mask.softness = min(1.0, max(0.0, (last - progress) / (last - first))) if last > first else 0.0

    @property
    def settled(self) -> bool:
        """Whether the mask is no longer led from open, and a hard one is no longer soft alone."""
        mask = self.mask
        return mask is None or (mask.openness == 0 and not (mask.hard and mask.softness == 1))

    def level_loss(self, level: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Huber's loss, as published."""
        return F.smooth_l1_loss(level, target, reduction="none")

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Spare biases, norms and the parameters of decays and steps the weight decay."""
        spared: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            (spared if any(word in name for word in UNDECAYED) or parameter.ndim < 2 else others).append(parameter)
        return [{"params": others, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]

    def _signals(self, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """Bring tracks and contact to the positions, (B, tracks, positions)."""
        if self.tracks is None:
            return None
        n = self.geometry.n_positions
        parts = []
        if "bins" in batch:
            bins = batch["bins"]
            if bins.shape[2] >= n:
                parts.append(bins.unflatten(2, (n, -1)).mean(3))
            else:
                parts.append(bins.repeat_interleave(n // bins.shape[2], dim=2))
        if CONTACT in batch:
            parts.append(F.adaptive_avg_pool1d(batch[CONTACT][:, None], n))
        return torch.cat(parts, dim=1)

    def _share_of_contact(self, logged: torch.Tensor) -> torch.Tensor:
        """Bring log10(1 + contact) to the positions, as a share of the largest; 1 where a gene has none."""
        contact = torch.expm1(F.adaptive_avg_pool1d(logged[:, None].float(), self.geometry.n_positions)[:, 0] * LN_10)
        largest = contact.amax(1, keepdim=True)
        return torch.where(largest > 0, contact / largest.clamp(min=1e-12), 1.0).clamp(min=LEAST_CONTACT)


class _Generator(nn.Module):
    """Backbone and two logits per position."""

    def __init__(self, backbone: Backbone, width: int):
        super().__init__()
        self.backbone, self.logits = backbone, nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.backbone(x))
