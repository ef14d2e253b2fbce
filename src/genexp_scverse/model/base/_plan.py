"""How a network is trained: one plan for all models that learn label and level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning
import numpy as np
import torch
from scipy.special import expit

from genexp_scverse.metrics import evaluate_predictions
from genexp_scverse.model.base._graphed import GraphedStep, hooked, recordable
from genexp_scverse.model.base._module import GeneModule
from genexp_scverse.model.base._tables import GeneTables

METRICS = {"logit": ("auroc", "auprc"), "level": ("pearson", "spearman")}


class SupervisedPlan(lightning.LightningModule):
    """Gather a batch, run the network, step the optimiser; after each epoch measure on the validation genes.

    Parameters
    ----------
    module
        The network.
    tables
        Where batches are gathered from; levels are standardised.
    optimizer
        ``adamw``, ``adam`` or ``sgd``.
    lr, weight_decay
        Of the optimiser.
    schedule
        Of the learning rate: ``constant``, ``one_cycle`` (Smith & Topin 2019: up to `lr` in the first tenth of all
        steps, then down to nearly 0, while AdamW's first beta goes from 0.95 to 0.85 and back), or ``inverse``
        (lr / (1 + 1e-7 * step), as Torch7's SGD decays).
    """

    def __init__(
        self,
        module: GeneModule,
        tables: GeneTables,
        *,
        optimizer: str,
        lr: float,
        weight_decay: float,
        schedule: str,
    ):
        super().__init__()
        self.module = module
        self.tables = tables
        self.optimizer_name, self.lr, self.weight_decay, self.schedule = optimizer, lr, weight_decay, schedule
        self.records: list[dict[str, float]] = []
        self._train_loss: list[torch.Tensor] = []
        self._valid: list[tuple[Any, ...]] = []
        self.validation: dict[str, float] = {}
        self.validated = False
        self.clip_norm: float | None = None
        self.step: GraphedStep | None = None
        self.checkpoint: Callable[[], None] | None = None
        self._rng: torch.Tensor | None = None

    def record(self, trainer: lightning.Trainer) -> None:
        """Record the steps of the training to come, where its trainer, network and tables allow it.

        Loss, gradients and clipping are one replay then, and the optimiser is called here and not by Lightning.
        """
        if recordable(trainer, self.module) and self.tables.to(trainer.strategy.root_device).resident:
            self.automatic_optimization = False
            # Lightning takes no clipping beside it; 0 means none
            self.clip_norm, trainer.gradient_clip_val = trainer.gradient_clip_val or None, None

    def configure_optimizers(self) -> Any:
        """Make AdamW, Adam or plain SGD, with the schedule of the learning rate by step."""
        groups = self.module.parameter_groups(self.weight_decay)
        optimizer: torch.optim.Optimizer
        adaptive = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        if self.optimizer_name in adaptive:
            # the fused step is the faster one; Lightning cannot clip gradients beside it
            fused = self.trainer.gradient_clip_val is None and self.device.type in ("cpu", "cuda")
            optimizer = adaptive[self.optimizer_name](groups, self.lr, fused=fused)
        else:
            optimizer = torch.optim.SGD(groups, self.lr)
        by_step: torch.optim.lr_scheduler.LRScheduler
        if self.schedule == "constant":
            return optimizer
        if self.schedule == "one_cycle":
            # a rise of two steps at least: torch divides by its length less one
            steps = max(10, int(self.trainer.estimated_stepping_batches) + 1)
            rise = max(0.1, 2 / steps)
            by_step = torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                self.lr,
                total_steps=steps,
                pct_start=rise,
                cycle_momentum=self.optimizer_name in adaptive,
            )
        else:
            by_step = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 1e-7 * step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": by_step, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Move the tables to where the network is."""
        self.tables.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Tell the network how much of the training is done."""
        self.module.advance(self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches)))

    def training_step(self, batch: tuple[Any, ...], batch_idx: int) -> torch.Tensor:
        """Loss of a batch of (gene, sample) pairs, with what was read of them ahead."""
        loss = self.loss(*batch) if self.automatic_optimization else self._stepped(batch)
        self._train_loss.append(loss.detach())
        return loss

    def loss(
        self, genes: torch.Tensor, samples: torch.Tensor, read: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Gather a batch of (gene, sample) pairs and return its loss."""
        inputs = self.tables.gather(genes, samples, read)
        return self.module.loss(self.module(inputs), inputs)

    def _stepped(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if self.step is None:
            self.step = GraphedStep(
                self.loss, self.module.parameters(), clip_norm=self.clip_norm, recorded=not hooked(self.module)
            )
        loss = self.step(*batch)
        # Lightning's wrapper of the optimiser counts the steps
        optimizer: Any = self.optimizers()
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        if schedule is not None:
            schedule.step()
        return loss

    def validation_step(self, batch: tuple[Any, ...], batch_idx: int) -> None:
        """Keep outputs and targets until the epoch is over."""
        inputs = self.tables.gather(*batch)
        outputs = self.module(inputs)
        loss = self.module.loss(outputs, inputs)
        kept = {k: outputs[k].float().cpu() for k in METRICS if k in outputs}
        parts = {"loss": loss.item(), **{k: v.item() for k, v in self.module.noted.items()}}
        self._valid.append((batch[1].cpu(), inputs["label"].cpu(), inputs["level"].cpu(), kept, parts))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the validation genes."""
        self.validation, self.validated = self._measured(), True
        for name, value in self.validation.items():
            self.log(name, value, prog_bar=name in ("valid_auroc", "valid_pearson"), sync_dist=True)
        # scvi-tools' callbacks and tuner look for metrics under these names
        self.log("validation_loss", self.validation["valid_loss"], sync_dist=True)
        self.log("validation_score", self.validation["valid_score"], sync_dist=True)

    def score(self, batches: Iterable[tuple[Any, ...]]) -> float:
        """Score the present weights on validation pairs, outside of training."""
        training = self.module.training
        self.module.eval()
        device = self.module.device
        self.tables.to(device)
        with torch.no_grad():
            for i, (genes, samples, *read) in enumerate(batches):
                self.validation_step((genes.to(device), samples.to(device), *read), i)
        self.module.train(training)
        return self._measured()["valid_score"]

    def _measured(self) -> dict[str, float]:
        """Take metrics as means over samples, and the score that decides the best epoch, of the kept outputs."""
        samples = torch.cat([v[0] for v in self._valid]).numpy()
        label, level = (torch.cat([v[i] for v in self._valid]).numpy() for i in (1, 2))
        outputs = {k: torch.cat([v[3][k] for v in self._valid]).numpy() for k in self._valid[0][3]}
        sizes = np.array([len(v[0]) for v in self._valid])
        parts = {k: np.array([v[4][k] for v in self._valid]) for k in self._valid[0][4]}
        self._valid.clear()
        per_sample = []
        for s in np.unique(samples):
            of = samples == s
            per_sample.append(
                evaluate_predictions(
                    log=level[of] if "level" in outputs else None,
                    predicted=outputs["level"][of] if "level" in outputs else None,
                    label=label[of] if "logit" in outputs else None,
                    prob=expit(outputs["logit"][of]) if "logit" in outputs else None,
                )
            )
        logged = {f"valid_{k}": float((values * sizes).sum() / sizes.sum()) for k, values in parts.items()}
        for names in (METRICS[k] for k in outputs):
            for name in names:
                values = [m[name] for m in per_sample if not np.isnan(m.get(name, np.nan))]
                if values:
                    logged[f"valid_{name}"] = float(np.mean(values))
        decisive = [logged[k] for k in ("valid_auroc", "valid_pearson") if k in logged]
        logged["valid_score"] = float(np.mean(decisive)) if decisive else -logged["valid_loss"]
        return logged

    def on_train_epoch_end(self) -> None:
        """Record the epoch."""
        loss = float(torch.stack(self._train_loss).mean()) if self._train_loss else float("nan")
        self._train_loss.clear()
        self.log("train_loss", loss, prog_bar=True, sync_dist=True)
        self.records.append({"train_loss": loss, **self.validation})
        self.validation = {}
        if self.checkpoint is not None:
            self.checkpoint()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint what is needed besides weights and optimiser."""
        last = bool(self.trainer.should_stop) or self.trainer.current_epoch + 1 >= (self.trainer.max_epochs or 0)
        checkpoint["training"] = {"records": self.records, "rng": torch.get_rng_state(), "last": last}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take from a checkpoint what was added to it."""
        self.records, self._rng = list(checkpoint["training"]["records"]), checkpoint["training"]["rng"]
        self.validated = True

    def on_train_start(self) -> None:
        """Go on with the random numbers of a training that was cut short."""
        if self._rng is not None:
            torch.set_rng_state(self._rng)
