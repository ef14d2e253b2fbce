"""AttentiveChrome as a user calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from genexp_scverse import _axes, schema
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.model.attentivechrome import _published
from genexp_scverse.model.attentivechrome._module import AttentiveChromeModule
from genexp_scverse.model.base import Choice, Limit, TorchGeneModel
from genexp_scverse.model.base._registration import track_positions
from genexp_scverse.model.base._selection import chosen_samples
from genexp_scverse.model.base._statistics import thresholds_of

if TYPE_CHECKING:
    import torch
    from mudata import MuData


class Attention(NamedTuple):
    """Where the model looked at in one sample: shares that sum to 1 over bins, and over marks."""

    bins: np.ndarray
    """Genes x marks x bins; all 0 for a mark that the sample lacks."""
    marks: np.ndarray
    """Genes x marks."""


class AttentiveChrome(TorchGeneModel):
    """Recurrent network with attention over the bins of each mark and over the marks.

    The default departs from the published setting where that is better on real data: bins are read in the direction
    of transcription and five at a step, signal is log-transformed and scaled by statistics of the training genes,
    label and level are learned together, and training takes AdamW with a one-cycle rate. ``setting="paper"`` is the
    published one (Singh et al. 2017, NeurIPS, "Attend and Predict"): raw signal, not strand-oriented, label alone,
    all weights from U(-0.1, 0.1), Adam at 2e-4 with batches of 16, 30 epochs, gradients clipped to norm 1, best
    epoch by validation AUROC.

    Parameters
    ----------
    mdata
        Gene-centric MuData with the modality chromatin, see :func:`genexp_scverse.io.build_mudata`; registered
        with all samples and shared marks unless :meth:`setup_mudata` was called.
    setting
        ``default`` or ``paper``.
    seed
        Of the initial weights, and of training unless given there.
    target
        ``label``, ``expression`` or ``both``; None for that of the setup.
    stranded
        Read bins in the direction of transcription.
    transform
        ``auto`` (log1p unless the track is a log already), ``log1p``, ``arcsinh`` or ``none``; then divided by
        the standard deviation of each mark over the training genes, except for ``raw``: the signal as it is.
    n_hidden, n_mark_hidden
        Length of the hidden state per direction, over bins and over marks.
    bins_per_step
        Neighbouring bins that the network reads at once; their attention is shared among them.
    dropout
        Share of the marks' summaries, and of the last hidden layer, left out in training.
    label_units
        Units of the label's readout: 2, or 1 as published.
    init_range
        All weights are drawn from U(-init_range, init_range); 0 for torch's ranges.
    label_weight
        Weight of the label's cross-entropy beside the level's squared error.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((60, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> model = gx.model.AttentiveChrome(mdata, n_hidden=4, n_mark_hidden=4)
    >>> model.train(2, enable_progress_bar=False)
    >>> model.predict(split="test").shape
    (12, 2)
    >>> model.get_attention()["K562"].bins.shape
    (60, 2, 20)
    """

    name = "attentivechrome"
    limits: ClassVar[dict[str, Limit | Choice]] = {
        "n_hidden": Limit(1),
        "n_mark_hidden": Limit(1),
        "bins_per_step": Limit(1),
        "dropout": Limit(0, 1, whole=False, below=True),
        "label_units": Limit(1, 2),
        "init_range": Limit(0, whole=False),
        "label_weight": Limit(0, whole=False),
    }
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"train": {"lr": 5e-3}},
        "paper": {
            "target": "label",
            "stranded": False,
            "transform": "raw",
            "n_hidden": 32,
            "n_mark_hidden": 16,
            "bins_per_step": 1,
            "dropout": 0.0,
            "label_units": 1,
            "init_range": 0.1,
            "train": {
                "optimizer": "adam",
                "lr": 2e-4,
                "schedule": "constant",
                "weight_decay": 0.0,
                "batch_size": 16,
                "max_epochs": 30,
                "patience": 30,
                "trainer": {"gradient_clip_val": 1.0},
            },
        },
    }

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {
            **super().defaults(),
            "n_hidden": 32,
            "n_mark_hidden": 16,
            "bins_per_step": 5,
            "dropout": 0.0,
            "label_units": 2,
            "init_range": 0.0,
            "label_weight": 1.0,
        }

    def _network(self) -> AttentiveChromeModule:
        network = {k: v for k, v in self.hyperparameters_.items() if k not in ("stranded", "transform")}
        return AttentiveChromeModule(
            len(self.setup_["marks"]), self.setup_["n_bins"], target=self.setup_["target"], **network
        )

    def get_attention(
        self,
        mdata: MuData | None = None,
        *,
        samples: Sequence[str] | str | None = None,
        key_added: str | None = None,
    ) -> dict[str, Attention]:
        """Return and store what the network looks at in every gene: bins of each mark, and marks.

        Parameters
        ----------
        mdata
            Another MuData with the same marks and window; by default the one that the model was made with.
        samples
            As for :meth:`predict`.
        key_added
            Beginning of the names under which it is stored; by default the model's name, ``attentivechrome``.

        Returns
        -------
        Sample to :class:`Attention`. Also written to the modality chromatin:

        ``obsm["<key_added>_bin_attention"]``
            genes x marks x bins, float32: shares of the bins in the summary of each mark, in the order of
            ``obsm["bins"]``
        ``obsm["<key_added>_mark_attention"]``
            genes x marks, float32: shares of the marks
        ``uns["<key_added>_attention"]``
            ``marks``, the names of the second axis, and ``samples``

        For a model of several samples the two names in ``obsm`` end in ``_<sample>``.

        Raises
        ------
        InputError
            When the model is untrained or `mdata` does not fit it.
        """
        self._need_trained()
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        key = self.name if key_added is None else key_added
        chromatin = mdata.mod[self.setup_["modalities"][schema.CHROMATIN]]
        several = len(names) > 1 or len(self.setup_["samples"]) > 1
        result = {}
        for sample in names:
            tables = self._tables(mdata, [sample])
            pairs = np.stack([np.arange(mdata.n_obs), np.zeros(mdata.n_obs, int)], axis=1)
            out = self._forward(tables, pairs, ("bin_attention", "mark_attention"))
            attention = Attention(out["bin_attention"], out["mark_attention"])
            flip = tables.signal.flip if tables.signal is not None else None
            if flip is not None:
                # as the bins lie in the MuData, not as they were read
                attention.bins[flip] = attention.bins[flip, :, ::-1]
            suffix = f"_{sample}" if several else ""
            tracks = track_positions(chromatin, [sample], self.setup_["marks"], masked=True)[0]
            for part, values in zip(("bin", "mark"), attention, strict=True):
                about = {"names": self.setup_["marks"], "window": self.setup_["window"], "of": sample}
                _axes.put(chromatin, f"{key}_{part}_attention{suffix}", values, tracks=tracks, **about)
            result[sample] = attention
        known = chromatin.uns.get(f"{key}_attention", {}).get("samples", []) if several else []
        chromatin.uns[f"{key}_attention"] = {
            "marks": np.array(self.setup_["marks"]),
            "samples": np.array(list(dict.fromkeys([*map(str, known), *names]))),
        }
        return result

    @classmethod
    def from_published(
        cls,
        weights: str | Path | Mapping[str, torch.Tensor],
        mdata: MuData,
        *,
        samples: Sequence[str] | str | None = None,
        marks: Sequence[str] | None = _published.MARKS,
    ) -> AttentiveChrome:
        """Make a trained model of weights that the authors released (Zenodo record 2616712, one file per cell type).

        The released networks read the read counts of five marks in 100 bins of 100 bases around the TSS, from left
        to right on the forward strand, and predict the label alone.

        Parameters
        ----------
        weights
            A released file, or its state_dict. Only tensors are read from a file; nothing in it is executed.
        mdata
            The MuData to use the model with; it is registered for this class.
        samples
            As for :meth:`setup_mudata`.
        marks
            Names in `mdata` of H3K27me3, H3K36me3, H3K4me1, H3K4me3 and H3K9me3, in this order.

        Returns
        -------
        The model, trained; ``train`` goes on from these weights.

        Raises
        ------
        InputError
            When the file holds anything but tensors, when names or shapes are not those that were released, or when
            `mdata` lacks a mark.

        Examples
        --------
        ``gx.model.AttentiveChrome.from_published("E003_attchrome_avgAUC_model.pt", mdata).evaluate()``
        """
        state = _published.read_state(weights)
        n_marks, n_hidden, n_mark_hidden = _published.sizes(state)
        cls.setup_mudata(mdata, samples=samples, marks=marks, target="label")
        model = cls(mdata, setting="paper", n_hidden=n_hidden, n_mark_hidden=n_mark_hidden)
        setup = model.setup_
        if n_marks != len(setup["marks"]):
            msg = f"the weights are of {n_marks} marks and {len(setup['marks'])} are named: give marks= in their order"
            raise InputError(msg)
        model.module.load_state_dict(_published.from_published(state, model.module.state_dict(), n_marks))
        _warn_of_other_signal(setup)
        model.fitted_ = {
            "thresholds": thresholds_of(mdata, setup, {"thresholds": {}}, setup["samples"]),
            "level_mean": {},
            "level_std": {},
            "scaler": {"transform": "none", "marks": setup["marks"], "divisors": [1.0] * n_marks},
            "n_train": _published.N_TRAIN,
            "training_genes": [],
        }
        model.is_trained_ = True
        logger.info("The genes that these weights were trained on are not known here: evaluate on the published split")
        return model


def _warn_of_other_signal(setup: dict) -> None:
    """Say that the released networks know read counts in 100 bins alone: nothing else tells them."""
    scales = sorted({scale for of_mark in setup["scales"].values() for scale in of_mark} - {"counts"})
    if setup["n_bins"] != _published.N_BINS or scales:
        logger.warning(
            "the released weights were trained on read counts in %d bins, and the MuData has %d bins of %s",
            _published.N_BINS,
            setup["n_bins"],
            " and ".join(scales) or "counts",
        )
