"""Seq2Exp as a user calls it."""

from __future__ import annotations

from typing import Any, ClassVar

import lightning
import numpy as np
import torch

from genexp_scverse import schema
from genexp_scverse._checks import Choice
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.model.base import Limit
from genexp_scverse.model.base._tables import GeneTables, own_readouts
from genexp_scverse.model.seq2exp._beside import beside, channels_of
from genexp_scverse.model.seq2exp._geometry import Geometry, geometry
from genexp_scverse.model.seq2exp._mask_outputs import MaskOutputs
from genexp_scverse.model.seq2exp._module import CONTACT, Seq2ExpModule
from genexp_scverse.nn.backbones import check_settings

PUBLISHED_SIGNALS = {"H3K27ac": (0.4, 1.5), "DNase": (0.4, 0.2), CONTACT: (0.2, 1.0)}
"""Weight and offset of the signals of the paper."""
OFFSET = 1.0
"""Of every signal by default: they are scaled alike."""
PRIOR = {"soft": (0.1, 1.0), "hard": (0.2, 0.1), "none": (0.1, 1.0)}
"""Mean and strength where none is given. Draws from a weak prior are near 0 or 1: about the mean of them is open."""
CLOSED, OPENED = 1e-3, 0.999
"""Mean of the mask beyond which it is said to have collapsed."""
_PUBLISHED = {
    "target": "expression",
    "stranded": False,
    "transform": "raw",
    "backbone": "mamba",
    "width": 128,
    "n_layers": 4,
    "generator_reads": "sequence",
    "join": "sum",
    "readout": "center",
    "warmup": 0.0,
    "hardens": [0.0, 0.0],
    "kl_weight": 0.01,
    "n_hidden": [128, 128],
    "center": 2000,
    "resolution": 1,
    "dropout": 0.0,
    "train": {
        "lr": 5e-4,
        "weight_decay": 1e-6,
        "batch_size": 8,
        "max_epochs": 50,
        "trainer": {"gradient_clip_val": 1.0},
    },
}


class Seq2ExpModel(MaskOutputs):
    """Discover which positions around a gene matter, and predict its expression from those alone.

    A generator reads DNA, signals or both, and gives every position of the window a Beta distribution; a mask is drawn
    from it, and the predictor sees what the mask lets through. An information bottleneck keeps the mask sparse. The
    default departs from the published setting (Su, Yu, Zhi & Ji, ICLR 2025, arXiv 2502.13991) where that is better;
    ``setting="paper-soft"`` and ``setting="paper-hard"`` are the published ones.

    DNA and signals are those of the MuData (``dna.obsm["codes"]``, ``chromatin.obsm["bins"]``, of one window), or of
    the genome store that :func:`genexp_scverse.io.attach_genome` named. Where there are several samples and no tracks
    to tell them apart, every sample has a readout of its own; one that was not there in training gets their mean.

    Parameters
    ----------
    mdata
        Gene-centric MuData with DNA, tracks, or both.
    setting
        ``default``, ``paper-soft`` or ``paper-hard``.
    seed
        Of the initial weights, and of training unless given there.
    mask
        ``soft``, ``hard`` (0 or 1, with the gradient of the soft one), or ``none`` for the predictor by itself.
    resolution
        Bases per position; by default 32 or the next smaller number that fits where there is DNA, else the bin size of
        the tracks or the multiple of it that leaves at most 2048 positions.
    center
        Bases around the TSS that are always open; by default 2,000, at most a fifth of the window.
    backbone, backbone_settings, width, n_layers
        See :func:`genexp_scverse.nn.backbones.make_backbone`.
    kernel_size
        Positions that the embedding of the signals sees.
    generator_reads
        ``both``, or ``sequence`` as published.
    join
        ``product`` of the embeddings of DNA and signals, so that a motif counts where there is signal, or their
        ``sum``, as published.
    readout
        ``both``: what the predictor says at the TSS, and the sum of what it says of all that is open; ``center``:
        the former alone.
    prior_mean, prior_strength
        r and k of the prior Beta(k, k (1 - r) / r). By default r is 0.1 and k is 1; for a hard mask r is 0.2 and k
        falls to 0.1 while the mask turns hard: a draw from that prior opens a position with probability 0.19.
    signal_scale, b_min
        s and bmin of the parameters that the signals give.
    published_signals
        Weights and offsets of H3K27ac, DNase and contact as published in place of equal ones.
    exact
        The exact product of the two Beta distributions in place of the sum of their parameters.
    rounded
        Predict with the mean of the Beta distribution rounded where the mask is hard, as published. By default a hard
        mask is to predict what it is on average in training, the probability that a draw opens the position.
    kl_weight
        Of the divergence of the mask from its prior.
    warmup
        Share of the training in which the mask comes down from open to what is drawn, and its divergence comes in:
        the predictor has to find out what matters before the mask can.
    hardens
        Shares of the training between which a hard mask turns from soft to hard, two numbers.
    contact
        Key of ``obsm`` with contact, see :func:`genexp_scverse.pp.contact_track`; None for none. The odds that a
        position is open are in proportion to it; with `published_signals` it is a signal like any other.
    embeddings
        Key of ``obsm`` of DNA or chromatin with embeddings (genes x positions x channels) of the same windows, such as
        those of a pretrained DNA language model, which the generator reads beside the window; None for none. With
        stranded windows they have to be in the direction of transcription as well.
    n_channels
        Of the embeddings; counted where it is None.
    blacklist
        Name of intervals (``mdata.uns["intervals"]``) whose positions the mask never opens, but for those around the
        TSS; None for none.
    share_weights
        One backbone for generator and predictor.
    reverse_complement
        Average over both strands, so that a window and its reverse complement get the same mask and prediction; wants
        a TSS in the middle of the window.
    checkpoint
        Compute activations again on the way back instead of keeping them: less memory, more time.
    n_hidden, dropout
        Of the layers before the output.
    label_weight
        Weight of the label's cross-entropy beside the level's loss.
    target, stranded, transform
        As for :class:`~genexp_scverse.model.DeepChrome`.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((60, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K27ac", "DNase"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> model = gx.model.Seq2ExpModel(mdata, width=16, n_layers=1)
    >>> model.train(2, enable_progress_bar=False)
    >>> model.predict(split="test").shape
    (12, 2)
    >>> model.get_mask().mean.shape
    (60, 20)
    """

    name = "seq2exp"
    module: Seq2ExpModule
    reads: ClassVar[tuple[str, ...]] = (schema.CHROMATIN, schema.DNA)
    required: ClassVar[tuple[str, ...]] = ()
    sequence: ClassVar[bool] = True
    limits: ClassVar[dict[str, Limit | Choice]] = {
        "generator_reads": Choice(("both", "sequence")),
        "join": Choice(("product", "sum")),
        "readout": Choice(("both", "center")),
        "mask": Choice(("soft", "hard", "none")),
        "width": Limit(1),
        "n_layers": Limit(1, 1000),
        "kernel_size": Limit(1),
        "prior_mean": Limit(1e-6, 1 - 1e-6, whole=False, optional=True),
        "prior_strength": Limit(1e-6, whole=False, optional=True),
        "signal_scale": Limit(1e-6, whole=False),
        "b_min": Limit(0, whole=False),
        "kl_weight": Limit(0, whole=False),
        "warmup": Limit(0, 1, whole=False),
        "hardens": Limit(0, 1, whole=False, length=2),
        "n_hidden": Limit(1, length=None),
        "dropout": Limit(0, 1, whole=False, below=True),
        "label_weight": Limit(0, whole=False),
    }
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {
            "train": {"batch_size": 32, "lr": 2e-3, "weight_decay": 0.1, "trainer": {"gradient_clip_val": 1.0}}
        },
        "paper-soft": {
            **_PUBLISHED,
            "b_min": 1.0,
            "signal_scale": 10.0,
            "prior_mean": 0.1,
            "prior_strength": 10.0,
            "published_signals": True,
        },
        "paper-hard": {
            **_PUBLISHED,
            "mask": "hard",
            "rounded": True,
            "b_min": 0.0,
            "signal_scale": 1.0,
            "prior_mean": 0.45,
            "prior_strength": 0.1,
            "published_signals": True,
            "share_weights": True,
        },
    }

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {
            **super().defaults(),
            "mask": "soft",
            "resolution": None,
            "center": None,
            "backbone": "ssd",
            "backbone_settings": None,
            "width": 64,
            "n_layers": 2,
            "kernel_size": 5,
            "generator_reads": "both",
            "join": "product",
            "readout": "both",
            "prior_mean": None,
            "prior_strength": None,
            "signal_scale": 0.3,
            "b_min": 0.1,
            "published_signals": False,
            "exact": False,
            "rounded": False,
            "kl_weight": 0.03,
            "warmup": 0.1,
            "hardens": [0.5, 1.0],
            "contact": None,
            "embeddings": None,
            "n_channels": None,
            "blacklist": None,
            "share_weights": False,
            "reverse_complement": False,
            "checkpoint": False,
            "n_hidden": [128],
            "dropout": 0.2,
            "label_weight": 1.0,
        }

    def _network(self) -> Seq2ExpModule:
        hyper, setup = self.hyperparameters_, self.setup_
        if hyper["hardens"][0] > hyper["hardens"][1]:
            msg = f"hardens={hyper['hardens']} ends before it begins: give the earlier share of the training first"
            raise InputError(msg)
        if hyper["mask"] == "none" and hyper["blacklist"] is not None:
            msg = f'blacklist={hyper["blacklist"]!r} acts on the mask, and there is none: leave it out, or mask="none"'
            raise InputError(msg)
        check_settings(hyper["backbone"], hyper["backbone_settings"])
        for name in ("resolution", "center"):
            value = hyper[name]
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                msg = f"{name}={value!r} is not possible: give a whole number of bases, or None"
                raise InputError(msg)
        if hyper["reverse_complement"] and hyper["embeddings"] is not None:
            msg = "reverse_complement=True is not possible with embeddings, which are of one strand: leave one out"
            raise InputError(msg)
        if hyper["reverse_complement"] and not setup["codes"]:
            msg = "reverse_complement=True is for DNA, and the MuData has none: leave it out"
            raise InputError(msg)
        marks = list(setup["marks"] or [])
        if not marks and not setup["codes"]:
            msg = "Seq2ExpModel reads DNA or tracks and the MuData has features alone: see gx.io.build_mudata"
            raise InputError(msg)
        places = geometry(setup, resolution=hyper["resolution"], center=hyper["center"])
        if hyper["reverse_complement"] and abs(places.upstream - places.downstream) > 1:
            msg = (
                f"reverse_complement=True wants the TSS in the middle and the window has {places.upstream} bases "
                f"before and {places.downstream} after it: build a symmetric one, or leave it out"
            )
            raise InputError(msg)
        if hyper["mask"] != "none" and places.last_open - places.first_open == places.n_positions:
            logger.warning(
                "All %d positions of the window lie at the TSS, where the mask is always open: take a smaller center "
                "(%s) or resolution (%d), or mask=\"none\"", places.n_positions, hyper["center"], places.resolution,
            )  # fmt: skip
        weight, offset = self._signal_terms(marks)
        mean, strength = hyper["prior_mean"], hyper["prior_strength"]
        usual_mean, usual_strength = PRIOR[hyper["mask"]]
        passed = ("width", "n_layers", "backbone", "kernel_size", "generator_reads", "join", "readout", "share_weights",
                  "warmup", "hardens",
                  "reverse_complement", "checkpoint", "n_hidden", "dropout", "kl_weight", "label_weight")  # fmt: skip
        return Seq2ExpModule(
            len(marks),
            geometry=places,
            sequence=bool(setup["codes"]),
            contact=None if hyper["contact"] is None else "signal" if hyper["published_signals"] else "factor",
            n_features=len(setup["features"]),
            n_given=0 if hyper["embeddings"] is None else self._channels(places),
            n_samples=own_readouts(setup),
            target=setup["target"],
            use_mask=hyper["mask"] != "none",
            mask={
                "hard": hyper["mask"] == "hard",
                "rounded": hyper["rounded"],
                "exact": hyper["exact"],
                "weight": weight,
                "offset": offset,
                "b_min": hyper["b_min"],
                "scale": hyper["signal_scale"],
                "prior_mean": usual_mean if mean is None else mean,
                "prior_strength": usual_strength if strength is None else strength,
                "soft_strength": PRIOR["soft"][1] if strength is None else strength,
            },
            backbone_settings=hyper["backbone_settings"] or {},
            **{k: hyper[k] for k in passed},
        )

    def _channels(self, places: Geometry) -> int:
        """Channels of the embeddings, which a saved model knows without the data."""
        hyper = self.hyperparameters_
        if hyper["n_channels"] is None:
            hyper["n_channels"] = channels_of(self._data(None), hyper["embeddings"], places)
        return int(hyper["n_channels"])

    def _signal_terms(self, marks: list[str]) -> tuple[list[float], list[float]]:
        """Weights and offsets of the tracks, as published with contact as the last one."""
        if self.hyperparameters_["published_signals"]:
            names = [*marks, *([CONTACT] if self.hyperparameters_["contact"] is not None else [])]
            terms = [PUBLISHED_SIGNALS.get(name, (0.4, OFFSET)) for name in names]
            return [t[0] for t in terms], [t[1] for t in terms]
        return [1 / max(1, len(marks))] * len(marks), [OFFSET] * len(marks)

    def _tables(self, mdata, samples: list[str], **reading: Any) -> GeneTables:
        tables = super()._tables(mdata, samples, **reading)
        extra = beside(mdata, self.hyperparameters_, self.module.geometry)
        turned = self._turned(mdata)
        if turned is not None:
            # what lies beside is of the windows as they are stored, and the network reads these turned
            for name, array in extra.items():
                extra[name] = np.array(array)
                extra[name][turned] = extra[name][turned, ::-1]
        tables.extra |= extra
        return tables

    def _run(self, train: np.ndarray, valid: np.ndarray, options: dict, seed: int, **trainer: Any) -> None:
        if not self.is_trained_ and len(self.module.feature_mean):
            for name in ("feature_mean", "feature_std"):
                getattr(self.module, name).copy_(torch.as_tensor(self.fitted_[name]))
        trainer["callbacks"] = [_WatchMask(), *trainer.get("callbacks", [])]
        super()._run(train, valid, options, seed, **trainer)


class _WatchMask(lightning.Callback):
    """Say once when the mask lets nothing through, or everything, and when it was not ready at the end."""

    said = False

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        share = pl_module.validation.get("valid_open")
        mask = pl_module.module.mask
        if share is None or mask is None or self.said:
            return
        # draws of one that is still soft seldom reach the half that opens a position
        least = 0.0 if mask.hard and mask.softness > 0.5 else CLOSED
        if least <= share <= OPENED:
            return
        self.said = True
        kl, mean = pl_module.module.kl_weight, mask.prior_mean
        if share < CLOSED:
            logger.warning(
                "The mask lets next to nothing through (%.2g of the window): lower kl_weight (%g) or raise "
                "prior_mean (%g)", share, kl, mean,
            )  # fmt: skip
        else:
            logger.warning(
                "The mask lets everything through (%.4g of the window): raise kl_weight (%g) or lower prior_mean (%g)",
                share, kl, mean,
            )  # fmt: skip

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        module = pl_module.module
        if not module.settled:
            logger.warning(
                "Training ended before the mask was what it is to be (open for the share %g of the training, and a "
                "hard one soft for %g): train to the end, or lower warmup and hardens",
                module.warmup, module.hardens[0],
            )  # fmt: skip
