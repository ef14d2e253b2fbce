"""DeepChrome as a user calls it."""

from __future__ import annotations

from typing import Any, ClassVar

from genexp_scverse.model.base import Choice, Limit, TorchGeneModel
from genexp_scverse.model.deepchrome._module import DeepChromeModule


class DeepChrome(TorchGeneModel):
    """Convolutional network from histone marks around the TSS to expression.

    The default departs from the published setting where that is better on real data: bins are read in the
    direction of transcription, signal is log-transformed and scaled by statistics of the training genes, label
    and level are learned together, and training takes mini-batches by AdamW. ``setting="paper"`` is the
    published one (Singh et al. 2016, Bioinformatics 32:i639): raw signal, not strand-oriented, label alone,
    SGD with batches of one gene, at most 100 epochs, best epoch by validation AUROC.

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
        ``auto`` (log1p unless the track is a log already), ``quantile`` (that, then all samples brought to one
        distribution), ``log1p``, ``arcsinh`` or ``none``; then divided by the standard deviation of each mark over
        the training genes, except for ``raw``: the signal as it is.
    n_filters, kernel_size, pool_size, n_hidden, dropout
        Of the network. With too few bins for `kernel_size` and `pool_size` (12 nucleosomes, or one bin) a kernel
        of a third of the bins and no pooling take their place, and the log says so.
    label_weight
        Weight of the label's cross-entropy beside the level's squared error.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((60, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> model = gx.model.DeepChrome(mdata)
    >>> model.train(2, enable_progress_bar=False)
    >>> model.predict(split="test").shape
    (12, 2)
    """

    name = "deepchrome"
    limits: ClassVar[dict[str, Limit | Choice]] = {
        "n_filters": Limit(1),
        "kernel_size": Limit(1),
        "pool_size": Limit(1),
        "n_hidden": Limit(1, length=2),
        "dropout": Limit(0, 1, whole=False, below=True),
        "label_weight": Limit(0, whole=False),
    }
    settings: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"train": {"weight_decay": 2.0}},
        "paper": {
            "target": "label",
            "stranded": False,
            "transform": "raw",
            "train": {
                "optimizer": "sgd",
                "lr": 1e-3,
                "schedule": "inverse",
                "weight_decay": 0.0,
                "batch_size": 1,
                "max_epochs": 100,
                "patience": 20,
            },
        },
    }

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {
            **super().defaults(),
            "n_filters": 50,
            "kernel_size": 10,
            "pool_size": 5,
            "n_hidden": [625, 125],
            "dropout": 0.5,
            "label_weight": 1.0,
        }

    def _network(self) -> DeepChromeModule:
        network = {k: v for k, v in self.hyperparameters_.items() if k not in ("stranded", "transform")}
        setup = self.setup_
        return DeepChromeModule(
            len(setup["marks"]), setup["n_bins"], target=setup["target"], masked=setup["masked"], **network
        )
