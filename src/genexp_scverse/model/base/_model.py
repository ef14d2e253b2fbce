"""The contract that every model keeps, whatever it is made of."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from genexp_scverse import metrics, pp, schema
from genexp_scverse._checks import Choice, Limit, check_limits
from genexp_scverse._errors import InputError, no_such, not_known, option, some
from genexp_scverse._errors import setting as setting_of
from genexp_scverse._logging import logger
from genexp_scverse.model.base._registration import TARGETS
from genexp_scverse.model.base._saved import SavedModel
from genexp_scverse.model.base._selection import chosen_rows, chosen_samples, store_predictions
from genexp_scverse.model.base._signal import RESIDENT_BYTES
from genexp_scverse.model.base._statistics import (
    ensure_split,
    fit_statistics,
    level_scale,
    measured_pairs,
    of_other_units,
    only_labels,
    thresholds_of,
)
from genexp_scverse.model.base._tables import GeneTables, build_tables, targets
from genexp_scverse.pp.scaler import TRANSFORMS, SignalScaler

if TYPE_CHECKING:
    from mudata import MuData


class GeneModel(SavedModel):
    """What all models share: registration, prediction, evaluation, saving and loading.

    A model class gives `_build` (make the untrained estimator), `train`, `_predict_tables`, `_files` and
    `_restore`, and lists its settings in `settings`.
    """

    starts_anew: ClassVar[bool] = True
    """Whether a further call of `train` begins from nothing, with statistics of its own."""
    name: ClassVar[str]
    """Under which predictions and patterns are stored by default."""
    limits: ClassVar[Mapping[str, Limit | Choice]] = {}
    """Least and largest values of the hyperparameters that are numbers, and choices of those that are words."""
    settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    """Named settings: hyperparameters that the setting changes; ``train`` holds arguments of training."""

    stopped_by: int | None = None
    """The signal that cut the last training short, if one did: ``signal.SIGINT`` (Ctrl-C) or ``signal.SIGTERM``."""

    def __init__(
        self,
        mdata: MuData | None = None,
        *,
        setting: str = "default",
        seed: int = 0,
        registry: dict | None = None,
        **hyperparameters,
    ):
        if setting not in self.settings:
            raise InputError(no_such("setting", setting, self.settings, where=f"of {type(self).__name__}"))
        if mdata is not None:
            self._register(mdata)
            super().__init__(mdata)
            self.setup_: dict = copy.deepcopy(self._adata_manager.registry["genexp_setup"])
        elif registry is not None:
            super().__init__(registry={"field_registries": {}, **registry})
            self.setup_ = registry["genexp_setup"]
        else:
            msg = f"{type(self).__name__} needs a MuData: see gx.io.build_mudata"
            raise InputError(msg)
        self.setting, self.seed = setting, int(seed)
        chosen = {k: v for k, v in self.settings[setting].items() if k != "train"}
        self.hyperparameters_ = {**self.defaults(), **chosen, **hyperparameters}
        unknown = set(hyperparameters) - set(self.defaults())
        if unknown:
            where = f"of {type(self).__name__}"
            raise InputError(no_such("argument", min(unknown), self.defaults(), where=where))
        self.setup_["target"] = self.hyperparameters_.pop("target", None) or self.setup_["target"]
        if (target := self.setup_["target"]) not in TARGETS:
            raise InputError(not_known(option("target", target), target, TARGETS))
        if (transform := self.hyperparameters_["transform"]) not in (*TRANSFORMS, "raw"):
            raise InputError(not_known(setting_of("transform", transform), transform, (*TRANSFORMS, "raw")))
        check_limits(self.hyperparameters_, self.limits)
        if mdata is not None and self._graph is not None:
            pp.check_graph(mdata, self._graph, samples=self.setup_["samples"])
        self.fitted_: dict[str, Any] = {}
        self.history_: Any = None
        self._build()

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters; ``target=None`` means that of the setup."""
        return {"target": None, "stranded": True, "transform": "auto"}

    @abstractmethod
    def _build(self) -> None: ...

    @abstractmethod
    def train(self, **kwargs) -> None:
        """Fit on the training genes."""

    @abstractmethod
    def _predict_tables(self, tables: GeneTables, pairs: np.ndarray) -> dict[str, np.ndarray]:
        """``logit`` or ``prob`` and ``level`` (standardised) for rows (gene, sample) of `pairs`."""

    def predict(
        self,
        mdata: MuData | None = None,
        *,
        split: str | None = None,
        indices: Sequence[int] | Sequence[str] | int | None = None,
        samples: Sequence[str] | str | None = None,
        layer_key: str | None = None,
    ) -> pd.DataFrame:
        """Predict expression of genes, measured or not.

        Parameters
        ----------
        mdata
            Another MuData with the same marks and window; by default the one that the model was made with.
        split
            Only genes of this split.
        indices
            Only these genes, by position or by gene id.
        samples
            Samples to predict; by default those of the model that `mdata` has, or else all with its marks.
        layer_key
            Also write the level to ``rna.layers[layer_key]`` and the probability to
            ``rna.layers[layer_key + "_prob"]`` (NaN for genes and samples that were not predicted).

        Returns
        -------
        Genes x columns ``<sample>`` (level, natural log scale) and ``<sample>:prob`` (probability that the gene
        is high), as far as the model learned them.

        Raises
        ------
        InputError
            When the model is untrained or `mdata` does not fit it.

        Examples
        --------
        >>> import numpy as np, genexp_scverse as gx
        >>> x = np.random.default_rng(0).random((60, 2, 20))
        >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
        ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
        >>> gx.pp.split_at_random(mdata)
        >>> model = gx.model.Linear(mdata)
        >>> model.train()
        >>> list(model.predict(split="test"))
        ['K562', 'K562:prob']
        """
        self._need_trained()
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        rows = chosen_rows(mdata, self.setup_, split, indices)
        tables = self._tables(mdata, names, few=len(rows) < mdata.n_obs // 10)
        columns: dict[str, np.ndarray] = {}
        for sample, out in zip(names, self._predict_samples(tables, rows), strict=True):
            if "level" in out:
                mean, std = level_scale(self.fitted_, sample)
                columns[sample] = (out["level"] * std + mean).astype(np.float32)
            if "prob" in out:
                columns[f"{sample}:prob"] = out["prob"].astype(np.float32)
        frame = pd.DataFrame(columns, index=pd.Index(tables.genes[rows], name="gene_id"))
        finite = np.isfinite(frame.to_numpy()).all(axis=1)
        if not finite.all():
            msg = (
                f"no finite number is predicted for {some(frame.index[~finite])}: their signal is far out of the range "
                "of the training genes, or the files of the model are damaged"
            )
            raise InputError(msg)
        if layer_key is not None:
            store_predictions(
                mdata, frame, rows, names, modality=self.setup_["modalities"][schema.RNA], layer_key=layer_key
            )
        return frame

    def evaluate(
        self,
        mdata: MuData | None = None,
        *,
        split: str | None = "test",
        samples: Sequence[str] | str | None = None,
        n_bootstrap: int = 0,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Compare predictions with measurements.

        The label of a sample that the model was trained on is level > the training genes' median; for another
        sample it is the median of its own training genes (of all its genes when `mdata` has no split).

        Parameters
        ----------
        mdata
            Another MuData; by default the one that the model was made with.
        split
            Genes to compare; None for all.
        samples
            As for :meth:`predict`.
        n_bootstrap
            Number of bootstrap resamples of genes for 95 % intervals, 0 for none.
        seed
            Of the resampling.

        Returns
        -------
        A row per sample: n, auroc, auprc, pearson, spearman, r2, mse, mae, and ``<metric>_low``,
        ``<metric>_high`` when resampled. r2, mse and mae are NaN for a sample in another unit than the levels that
        the model learned.

        Raises
        ------
        InputError
            When nothing was measured among the genes asked for.

        Examples
        --------
        See :meth:`predict`; ``model.evaluate(split="test", n_bootstrap=1000)``.
        """
        self._need_trained()
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        rows = chosen_rows(mdata, self.setup_, split, None)
        self._warn_of_training_genes(mdata, rows, split)
        modality = self.setup_["modalities"][schema.RNA]
        others = of_other_units(mdata, self.setup_, names)
        if modality not in mdata.mod:
            msg = f'the MuData has no expression (no modality "{modality}"), so there is nothing to compare with'
            raise InputError(msg)
        level, label = targets(mdata, modality, names, thresholds_of(mdata, self.setup_, self.fitted_, names))
        predicted = self.predict(mdata, indices=rows.tolist(), samples=names)
        table = {}
        for j, sample in enumerate(names):
            y, c = level[rows, j], label[rows, j]
            if np.isnan(y).all() and np.isnan(c).all():
                genes = "in the MuData" if split is None else f"in split {split!r}"
                msg = f"sample {sample!r} has no measured gene {genes}: nothing to compare with"
                raise InputError(msg)
            table[sample] = metrics.evaluate_predictions(
                log=y if sample in predicted and not np.isnan(y).all() else None,
                predicted=predicted[sample].to_numpy() if sample in predicted else None,
                label=c if f"{sample}:prob" in predicted else None,
                prob=predicted[f"{sample}:prob"].to_numpy() if f"{sample}:prob" in predicted else None,
                n_bootstrap=n_bootstrap,
                seed=seed,
            )
            if sample in others:
                # a distance between levels of two units is none
                table[sample] |= {k: np.nan for k in table[sample] if k.split("_")[0] in ("r2", "mse", "mae")}
        frame = pd.DataFrame.from_dict(table, orient="index")
        frame.index.name = "sample"
        return frame

    @property
    def history(self) -> pd.DataFrame | None:
        """Losses and validation metrics by epoch, None for a model without epochs."""
        return self.history_ if isinstance(self.history_, pd.DataFrame) else None

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Number of fitted numbers that a prediction is made with."""

    @property
    def summary(self) -> str:
        """What the model is, reads and has learned, in a few lines."""
        s, fitted = self.setup_, self.fitted_
        reads = []
        if s["marks"]:
            reads.append(f"{len(s['marks'])} marks x {s['n_bins']} bins ({', '.join(s['marks'])})")
        if s["codes"]:
            around = f"{s['codes']['upstream']} upstream, {s['codes']['downstream']} downstream of the TSS"
            of = ", of a genome store" if s["genome"] else ""
            reads.append(f"{s['codes']['upstream'] + s['codes']['downstream']} bases of DNA ({around}{of})")
        if s["features"]:
            reads.append(f"{len(s['features'])} features of the DNA")
        if self._graph is not None:
            reads.append(f"{self.hyperparameters_['n_neighbors']} neighbours ({self._graph})")
        lines = [
            f"{type(self).__name__} (setting {self.setting}, target {s['target']}, seed {self.seed})",
            f"reads      {'; '.join(reads)}",
            f"samples    {', '.join(s['samples'])}",
            f"trained    {'no' if not self.is_trained_ else str(fitted['n_train']) + ' (gene, sample) pairs'}",
        ]
        if fitted.get("best_epoch") is not None:
            lines.append(f"best epoch {fitted['best_epoch']} of {fitted['epochs']}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary

    def _data(self, mdata: MuData | None) -> MuData:
        mdata = self._adata if mdata is None else mdata
        if mdata is None:
            msg = "the model was loaded without a MuData: pass one, model.predict(mdata)"
            raise InputError(msg)
        schema.validate(mdata)
        return mdata

    def _tables(self, mdata: MuData, samples: list[str], *, few: bool = False, alone: bool = False) -> GeneTables:
        """Gather sources, made anew so that they are what `mdata` holds now; for a `few` genes signal streams.

        If `alone`, neighbours are not read, and their graph need not be there.
        """
        return build_tables(
            mdata,
            self.setup_,
            samples=samples,
            thresholds=self.fitted_["thresholds"],
            scaler=SignalScaler.from_dict(self.fitted_["scaler"]) if "scaler" in self.fitted_ else None,
            stranded=bool(self.hyperparameters_["stranded"]),
            resident_bytes=0 if few else RESIDENT_BYTES,
            graph=None if alone else self._graph,
            n_neighbors=int(self.hyperparameters_.get("n_neighbors", 0)),
        )

    @property
    def _graph(self) -> str | None:
        """Key of ``obsp`` with the neighbours that the model reads."""
        return self.hyperparameters_.get("neighbors")

    def _fit_statistics(self, mdata: MuData) -> tuple[np.ndarray, np.ndarray]:
        """Fit what is fitted on training genes, once; return training and validation pairs (gene, sample)."""
        setup = self.setup_
        ensure_split(mdata, setup["split_key"])
        if not self.is_trained_ or self.starts_anew:
            labels_alone = setup["target"] == "both" and only_labels(mdata, setup)
            self.fitted_ = fit_statistics(mdata, setup, self.hyperparameters_["transform"])
            if labels_alone:
                logger.info("No expression levels among the training genes: the model learns labels alone")
                setup["target"] = "label"
                self._build()
        train, valid = measured_pairs(mdata, setup, self.fitted_["thresholds"])
        self.fitted_["n_train"] = len(train)
        seen = {str(g) for g in mdata.obs_names[np.unique(train[:, 0])]}
        self.fitted_["training_genes"] = sorted(seen.union(self.fitted_.get("training_genes", [])))
        return train, valid

    def _predict_samples(self, tables: GeneTables, rows: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Predict genes in every sample of `tables`, gene by gene where it is then read once for all."""
        n = len(tables.samples)
        if tables.known is None:
            return [self._predict_tables(tables, np.stack([rows, np.full(len(rows), j)], axis=1)) for j in range(n)]
        pairs = np.stack([np.repeat(rows, n), np.tile(np.arange(n), len(rows))], axis=1)
        out = self._predict_tables(tables, pairs)
        return [{k: v[j::n] for k, v in out.items()} for j in range(n)]

    def _warn_of_training_genes(self, mdata: MuData, rows: np.ndarray, split: str | None) -> None:
        known = mdata.obs_names[rows].isin(self.fitted_["training_genes"])
        if known.any() and split != "train":
            logger.warning(
                "%d of the %d genes evaluated were training genes of this model: the figures are not those of "
                "unseen genes",
                int(known.sum()),
                len(rows),
            )
