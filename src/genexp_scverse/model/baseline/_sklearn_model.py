"""A :class:`GeneModel` around scikit-learn estimators."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sklearn
import skops.io
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline

from genexp_scverse import schema
from genexp_scverse._logging import logger
from genexp_scverse.model.base import GeneModel
from genexp_scverse.model.base._plain_arrays import regular_file
from genexp_scverse.model.base._statistics import standardised
from genexp_scverse.model.base._tables import GeneTables
from genexp_scverse.model.baseline._read_skops import read_estimator


class SklearnModel(GeneModel):
    """One scikit-learn estimator for the label and one for the level, on pooled bins and features of the DNA.

    A subclass gives `_estimators`.
    """

    reads: ClassVar[tuple[str, ...]] = (schema.CHROMATIN, schema.DNA)
    required: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {**super().defaults(), "n_pooled": 20}

    @abstractmethod
    def _estimators(self, seed: int) -> tuple[Any, Any]:
        """Return the untrained classifier and regressor."""

    def _build(self) -> None:
        self.classifier: Any = None
        self.regressor: Any = None

    def train(self, *, seed: int | None = None) -> None:  # type: ignore[override]
        """Fit on the training genes.

        Scaling of the signal, label thresholds, the scale of the levels and the means that stand in for missing
        features come from the same genes. Validation genes are not used.

        Parameters
        ----------
        seed
            Of the estimators; by default the model's.

        Raises
        ------
        InputError
            When there is nothing to train on.

        Examples
        --------
        See :meth:`predict`.
        """
        before = self.fitted_, self.classifier, self.regressor
        try:
            start = time.perf_counter()
            self._fit(self.seed if seed is None else int(seed))
            self.fitted_["train_seconds"] = time.perf_counter() - start
        except BaseException:
            self.fitted_, self.classifier, self.regressor = before
            raise
        self.is_trained_ = True

    def _fit(self, seed: int) -> None:
        mdata = self._data(None)
        train, _ = self._fit_statistics(mdata)
        tables = standardised(self._tables(mdata, self.setup_["samples"]), self.fitted_)
        if tables.known is not None:
            logger.warning(
                "%s reads the same of a gene in all %d samples and tells them apart by mean and spread alone: train "
                "one model for each with samples=[...]",
                type(self).__name__,
                len(tables.samples),
            )
        x = self._features(tables, train)
        level, label = tables.level[train[:, 0], train[:, 1]], tables.label[train[:, 0], train[:, 1]]
        classifier, regressor = self._estimators(seed)
        if self.setup_["target"] in ("label", "both"):
            known = ~np.isnan(label)
            self.classifier = classifier.fit(x[known], label[known].astype(int))
        if self.setup_["target"] in ("expression", "both"):
            known = ~np.isnan(level)
            self.regressor = regressor.fit(x[known], level[known])

    def to_device(self, device: Any) -> None:
        """Do nothing: scikit-learn stays on the CPU.

        Parameters
        ----------
        device
            What networks take.
        """

    @property
    def device(self) -> str:
        """Where the estimators are: always ``cpu``."""
        return "cpu"

    def _features(self, tables: GeneTables, pairs: np.ndarray) -> np.ndarray:
        """Pairs x (marks x pooled bins, then which marks are there where some are masked, then features of the DNA)."""
        parts = []
        if tables.signal is not None:
            tables.signal.to("cpu")
            n_bins = self.setup_["n_bins"]
            edges = np.linspace(0, n_bins, min(int(self.hyperparameters_["n_pooled"]), n_bins) + 1).astype(int)
            pooled = np.empty((len(pairs), len(tables.marks), len(edges) - 1), np.float32)
            for start in range(0, len(pairs), 4096):
                chunk = torch.as_tensor(pairs[start : start + 4096])
                bins = tables.signal.gather(chunk[:, 0], chunk[:, 1]).numpy()
                pooled[start : start + 4096] = np.add.reduceat(bins, edges[:-1], axis=2) / np.diff(edges)
            parts.append(pooled.reshape(len(pairs), -1))
        if tables.present is not None:
            parts.append(tables.present[pairs[:, 1]])
        if tables.features is not None and tables.feature_columns is not None:
            features = tables.features[pairs[:, :1], tables.feature_columns[pairs[:, 1]]]
            parts.append(np.where(np.isnan(features), np.float32(self.fitted_["feature_mean"]), features))
        return np.concatenate(parts, axis=1)

    def _predict_tables(self, tables: GeneTables, pairs: np.ndarray) -> dict[str, np.ndarray]:
        x = self._features(tables, pairs)
        out = {}
        # scikit-learn takes no infinity, which is what a scale of next to nothing makes of a signal
        with sklearn.config_context(assume_finite=True), np.errstate(all="ignore"):
            if self.classifier is not None:
                out["prob"] = self.classifier.predict_proba(x)[:, 1]
            if self.regressor is not None:
                out["level"] = self.regressor.predict(x)
        return out

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers: coefficients, or thresholds and leaves of the trees."""
        return sum(_size(e) for e in (self.classifier, self.regressor) if e is not None)

    def _files(self) -> dict[str, Any]:
        there = {"classifier": self.classifier, "regressor": self.regressor}
        return {f"{name}.skops": skops.io.dumps(e) for name, e in there.items() if e is not None}

    def _restore(self, directory: Path) -> None:
        untrained = dict(zip(("classifier", "regressor"), self._estimators(self.seed), strict=True))
        wanted = {"label": ("classifier",), "expression": ("regressor",)}
        for name in wanted.get(self.setup_["target"], tuple(untrained)):
            path = regular_file(directory / f"{name}.skops", directory)
            setattr(self, name, read_estimator(path, untrained[name], self._n_features()))

    def _n_features(self) -> int:
        """Count the numbers that `_features` gives for a pair."""
        setup = self.setup_
        marks, pooled = len(setup["marks"] or []), min(int(self.hyperparameters_["n_pooled"]), setup["n_bins"])
        return marks * (pooled + bool(setup["masked"])) + len(setup["features"])


def _size(estimator: Any) -> int:
    if isinstance(estimator, Pipeline):
        return _size(estimator[-1])
    if isinstance(estimator, CalibratedClassifierCV):
        # every fold has a machine of its own and the two numbers of Platt's sigmoid
        return sum(_size(c.estimator) + 2 for c in estimator.calibrated_classifiers_)
    if hasattr(estimator, "estimators_"):
        return sum(tree.tree_.node_count for tree in estimator.estimators_)
    return int(np.size(estimator.coef_) + np.size(estimator.intercept_))
