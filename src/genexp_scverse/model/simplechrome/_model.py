"""SimpleChrome as a user calls it."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from genexp_scverse._checks import Choice
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._signals import interruption
from genexp_scverse.model.base import Limit
from genexp_scverse.model.base._data import PairBatches
from genexp_scverse.model.base._registration import split_values
from genexp_scverse.model.base._statistics import standardised
from genexp_scverse.model.base._tables import GeneTables
from genexp_scverse.model.simplechrome._checks import CHOICES, chosen_likelihood
from genexp_scverse.model.simplechrome._context import ContextTables, RefreshLatents, encoded
from genexp_scverse.model.simplechrome._module import SimpleChromeModule
from genexp_scverse.model.simplechrome._outputs import LatentOutputs
from genexp_scverse.pp.scaler import SignalScaler

ACTIVE = 0.01
"""Variance of the posterior mean over genes above which a unit is active."""

FEW_ACTIVE = 0.2
"""Share of active units under which the posterior is said to have collapsed."""
FEWEST_STEPS = 50
"""Steps of an epoch of the predictor at least: the training genes are passed over several times where they are few."""
VAE_OPTIONS = ("max_epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule", "patience")


class SimpleChromeVAE(LatentOutputs):
    """Variational autoencoder of histone marks around the TSS, whose latent predicts expression.

    The latent of a gene, and those of its neighbours in any graph of ``obsp``, are read by a small network. The
    autoencoder also learns from genes without expression. The default departs from the published setting (Cheng,
    Murtaza & Wang 2020, arXiv 2012.08671) where that is better on real data; ``setting="paper"`` is the published
    one: signal divided by its maximum over the training genes, squared error plus 5e-5 times the KL, ten latent
    units, first the autoencoder and then the predictor.

    Parameters
    ----------
    mdata
        Gene-centric MuData with the modality chromatin, see :func:`genexp_scverse.io.build_mudata`; registered
        with all samples and shared marks unless :meth:`setup_mudata` was called.
    setting
        ``default`` or ``paper``.
    seed
        Of the initial weights, and of training unless given there.
    n_latent
        Units of the latent.
    mode
        ``joint``: one objective, the evidence lower bound of all training genes and label and level of the
        measured ones. ``two_stage``: the autoencoder first, by all training genes; then, with the encoder as it is,
        the predictor on posterior means.
    neighbors
        Key of ``obsp`` with the graph of neighbours, such as that of :func:`genexp_scverse.pp.gene_neighbors`;
        None for none.
    n_neighbors
        Neighbours read at most, those of the largest weight; then the nearest.
    combine
        ``attention`` (knows distance, strand and weight, and may read none), ``mean`` or ``concatenation``.
    n_heads
        Of the attention.
    likelihood
        Of the signal: ``normal`` with a learned noise for every mark, ``poisson`` or ``nb`` (negative binomial) for
        counts, ``tanh`` for the published squared error; ``auto`` takes ``nb`` where all tracks are counts, else
        ``normal``.
    beta
        Weight of the KL; with 1 the objective is the evidence lower bound.
    warmup
        Share of the training in which the weight of the KL rises from 0 to `beta`.
    elbo_weight
        Weight of the evidence lower bound, per entry of the signal, beside label and level in the mode ``joint``.
    n_filters, kernel_size, pool_size, n_hidden, slope, dropout
        Of the encoder; the decoder mirrors it. `slope` is that of the LeakyReLU, 0 for a ReLU.
    n_predictor, predictor_dropout
        Hidden layers of the predictor; the context of the neighbours joins after the first.
    shrinkage
        In the mode ``two_stage``: the predictor reads latents along their principal axes over the training genes,
        and an axis of standard deviation s_i is shrunk by (s_i / s_1) to this power; 0 leaves latents as they are.
    label_weight
        Weight of the label's cross-entropy beside the level's squared error.
    target, stranded, transform
        As for :class:`~genexp_scverse.model.DeepChrome`.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((60, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> model = gx.model.SimpleChromeVAE(mdata, n_latent=4)
    >>> model.train(2, enable_progress_bar=False)
    >>> model.get_latent_representation().shape
    (60, 4)
    >>> model.predict(split="test").shape
    (12, 2)
    """

    name = "simplechrome"
    module: SimpleChromeModule
    needs_fitted: ClassVar[tuple[str, ...]] = ("latent_variance",)
    limits: ClassVar[dict[str, Limit | Choice]] = {
        **CHOICES,
        "n_latent": Limit(1),
        "n_neighbors": Limit(1),
        "n_heads": Limit(1),
        "beta": Limit(0, whole=False),
        "warmup": Limit(0, 1, whole=False),
        "elbo_weight": Limit(0, whole=False),
        "n_filters": Limit(1, length=None, shortest=1),
        "kernel_size": Limit(1),
        "pool_size": Limit(1),
        "n_hidden": Limit(1, length=None),
        "n_predictor": Limit(1, length=None, shortest=1),
        "shrinkage": Limit(0, whole=False),
        "slope": Limit(0, 1, whole=False),
        "dropout": Limit(0, 1, whole=False, below=True),
        "predictor_dropout": Limit(0, 1, whole=False, below=True),
        "label_weight": Limit(0, whole=False),
    }
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"train": {"weight_decay": 2.0, "vae": {"weight_decay": 1e-2}, "predictor": {"weight_decay": 1.0}}},
        "paper": {
            "target": "label",
            "stranded": False,
            "transform": "raw",
            "mode": "two_stage",
            "n_latent": 10,
            "likelihood": "tanh",
            "beta": 5e-5,
            "warmup": 0.0,
            "n_filters": [32, 64],
            "kernel_size": 5,
            "pool_size": 1,
            "n_hidden": [],
            "slope": 0.5,
            "dropout": 0.0,
            "n_predictor": [256, 128],
            "predictor_dropout": 0.0,
            "shrinkage": 0.0,
            "combine": "concatenation",
            "train": {
                "lr": 1e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "batch_size": 64,
                "max_epochs": 100,
            },
        },
    }

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {
            **super().defaults(),
            "n_latent": 32,
            "mode": "joint",
            "neighbors": None,
            "n_neighbors": 10,
            "combine": "attention",
            "n_heads": 4,
            "likelihood": "auto",
            "beta": 1.0,
            "warmup": 0.3,
            "elbo_weight": 1.0,
            "n_filters": [50],
            "kernel_size": 9,
            "pool_size": 5,
            "n_hidden": [625],
            "slope": 0.0,
            "dropout": 0.5,
            "n_predictor": [128],
            "predictor_dropout": 0.5,
            "shrinkage": 3.0,
            "label_weight": 1.0,
        }

    def _network(self) -> SimpleChromeModule:
        hyper, setup = self.hyperparameters_, self.setup_
        network = {
            k: v for k, v in hyper.items() if k not in ("stranded", "transform", "mode", "neighbors", "shrinkage")
        }
        network["likelihood"] = chosen_likelihood(hyper, setup)
        network["combine"] = hyper["combine"] if self._graph is not None else None
        return SimpleChromeModule(
            len(setup["marks"]),
            setup["n_bins"],
            target=setup["target"],
            masked=setup["masked"],
            normal_weights=0.02 if self.setting == "paper" else 0.0,
            **network,
        )

    def train(self, max_epochs: int | None = None, *, vae: Mapping[str, Any] | None = None, **kwargs) -> None:
        """Train on the genes of the split ``train`` and keep the best epoch by the genes of ``valid``.

        In the mode ``two_stage`` the autoencoder comes first: it learns from all training genes, measured or not, and
        its best epoch is that of the largest evidence lower bound on all validation genes; then the predictor learns
        on posterior means. In the mode ``joint`` both learn at once, and the best epoch is the predictor's. Ctrl-C
        ends the stage and keeps its best epoch; SIGTERM in the first stage ends the training without a model. A further
        call trains the predictor alone (everything in the mode ``joint``) and goes on from the present weights; the
        autoencoder goes on when `vae` is given.

        Parameters
        ----------
        max_epochs
            Passes over the training genes at most, in every stage.
        vae
            In the mode ``two_stage``: options of the first stage where they differ, of ``max_epochs``,
            ``batch_size``, ``optimizer``, ``lr``, ``weight_decay``, ``schedule``, ``patience``.
        kwargs
            As for :meth:`genexp_scverse.model.DeepChrome.train`.

        Raises
        ------
        InputError
            When there is nothing to train on, or an option is not known.

        Examples
        --------
        ``model.train()``; in two stages ``model.train(30, vae={"max_epochs": 50, "lr": 5e-4})``.
        """
        unknown = set(vae or {}) - set(VAE_OPTIONS)
        if unknown:
            msg = f"vae has no option {sorted(unknown)[0]!r}: it has {', '.join(VAE_OPTIONS)}"
            raise InputError(msg)
        if vae is not None and self.hyperparameters_["mode"] == "joint":
            msg = 'vae is for mode="two_stage": in the mode "joint" there is one training'
            raise InputError(msg)
        asked = {k: v for k, v in {"max_epochs": max_epochs, **kwargs}.items() if k in VAE_OPTIONS and v is not None}
        super().train(max_epochs, vae=None if vae is None else dict(vae), asked=asked, **kwargs)

    def _run(
        self,
        train: np.ndarray,
        valid: np.ndarray,
        options: dict,
        seed: int,
        *,
        early_stopping: bool,
        vae: dict | None = None,
        asked: dict | None = None,
        **trainer: Any,
    ) -> None:
        asked = asked or {}
        tables = standardised(self._tables(self._data(None), self.setup_["samples"]), self.fitted_)
        split = split_values(self._data(None), self.setup_["split_key"])
        all_train, all_valid = (_pairs(np.flatnonzero(split == s), len(tables.samples)) for s in ("train", "valid"))
        if not self.is_trained_:
            self._fit_buffers(tables, all_train)
        if self.hyperparameters_["mode"] == "joint":
            self._run_joint(tables, all_train, valid, options, seed, early_stopping=early_stopping, **trainer)
        else:
            if vae is not None or not self.is_trained_:
                first = options | options.get("vae", {}) | asked | (vae or {})
                self._run_vae(tables, all_train, all_valid, first, seed, early_stopping, **trainer)
            second = options | options.get("predictor", {}) | asked
            self._run_predictor(tables, train, valid, second, seed, early_stopping=early_stopping, **trainer)
        self._note_latent(tables, all_train)

    def _run_joint(self, tables, train, valid, options, seed, *, early_stopping, **trainer) -> None:
        if tables.neighbors is not None:
            read = np.concatenate([train, valid])
            tables = ContextTables.of(tables)
            tables.encode(self.module.autoencoder, read)
            refresh = RefreshLatents(tables, self.module.autoencoder, read)
            trainer["callbacks"] = [refresh, *trainer.get("callbacks", [])]
        self.module.stage = "joint"
        self._fit(tables, train, valid, options, seed, early_stopping=early_stopping, stage="joint", **trainer)

    def _run_vae(self, tables, train, valid, options, seed, early_stopping, **trainer) -> None:
        self.module.stage = "vae"
        alone = dataclasses.replace(tables, neighbors=None)
        early_stopping = early_stopping and len(valid) > 0
        self._fit(alone, train, valid, options, seed, early_stopping=early_stopping, stage="vae", **trainer)
        if self.stopped_by == signal.SIGTERM:
            # no time is left for the predictor, and without it there is no model
            raise interruption(signal.SIGTERM)

    def _run_predictor(self, tables, train, valid, options, seed, *, early_stopping, **trainer) -> None:
        n_genes, n_samples = tables.level.shape
        # a batch then holds latents, which are a hundredth of the signal
        latents = encoded(self.module.autoencoder, tables, _pairs(np.arange(n_genes), n_samples))
        if "predictor" not in self.fitted_.get("best_epochs", {}) and self.hyperparameters_["shrinkage"]:
            of_train = torch.as_tensor(train[:, 0] * n_samples + train[:, 1], device=latents.device)
            self.module.predictor.turn(latents[of_train], self.hyperparameters_["shrinkage"])
        latents = latents.unflatten(0, (n_genes, n_samples)).transpose(0, 1).contiguous()
        tables = dataclasses.replace(tables, latents=latents)
        # an epoch of few genes would be over after a step or two
        train = np.tile(train, (-(-FEWEST_STEPS * options["batch_size"] // len(train)), 1))
        self.module.stage = "predictor"
        self._fit(tables, train, valid, options, seed, early_stopping=early_stopping, stage="predictor", **trainer)

    def _fit_buffers(self, tables: GeneTables, pairs: np.ndarray) -> None:
        """Give the network what it needs of the training genes to turn scaled signal into what it models."""
        autoencoder = self.module.autoencoder
        divisors = SignalScaler.from_dict(self.fitted_["scaler"]).divisors
        autoencoder.divisor.copy_(torch.tensor([divisors[m] for m in tables.marks]))
        if autoencoder.name != "tanh":
            return
        maximum = torch.full((len(tables.marks),), -torch.inf)
        alone = dataclasses.replace(tables, neighbors=None).to("cpu")
        for genes, samples in PairBatches(torch.as_tensor(pairs), 1024):
            maximum = torch.maximum(maximum, alone.gather(genes, samples)["bins"].amax(dim=(0, 2)))
        self.fitted_["maxima"] = dict(zip(tables.marks, maximum.tolist(), strict=True))
        flat = [m for m, value in self.fitted_["maxima"].items() if value <= 0]
        if flat:
            logger.warning("%s is nowhere above 0 in the training genes: it is divided by 1", some(flat))
        autoencoder.maximum.copy_(torch.where(maximum > 0, maximum, torch.ones(())))

    def _note_latent(self, tables: GeneTables, pairs: np.ndarray) -> None:
        means = encoded(self.module.autoencoder, tables, pairs).cpu()
        self.fitted_["latent_variance"] = means.var(0, correction=0).tolist()
        n = int(self.hyperparameters_["n_latent"])
        if self.active_units < FEW_ACTIVE * n:
            logger.warning(
                "Only %d of %d latent units vary from gene to gene (posterior collapse): lower beta (%g) or n_latent",
                self.active_units,
                n,
                self.hyperparameters_["beta"],
            )
        else:
            logger.info("%d of %d latent units vary from gene to gene", self.active_units, n)

    @property
    def active_units(self) -> int:
        """Number of latent units whose posterior mean has a variance above 0.01 over the training genes.

        The measure is that of Burda, Grosse & Salakhutdinov (2016); the variances are in
        ``fitted_["latent_variance"]``.
        """
        self._need_trained()
        return sum(v > ACTIVE for v in self.fitted_["latent_variance"])

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers that a prediction is made with: those of the encoder and the predictor."""
        autoencoder = self.module.autoencoder
        spared = sum(p.numel() for part in (autoencoder.decoder, autoencoder.likelihood) for p in part.parameters())
        return super().n_parameters - spared

    @property
    def summary(self) -> str:
        """What the model is, reads and has learned, in a few lines."""
        n, likelihood = self.hyperparameters_["n_latent"], self.module.autoencoder.name
        active = f", {self.active_units} active" if self.is_trained_ else ""
        mode = self.hyperparameters_["mode"].replace("_", " ")
        return f"{super().summary}\nlatent     {n} units{active} ({likelihood} likelihood, {mode})"


def _pairs(genes: np.ndarray, n_samples: int) -> np.ndarray:
    return np.stack([np.repeat(genes, n_samples), np.tile(np.arange(n_samples), len(genes))], axis=1)
