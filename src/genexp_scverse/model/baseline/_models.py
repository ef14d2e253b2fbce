"""The baselines: linear, linear SVM, random forest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from genexp_scverse.model.base import Choice, Limit
from genexp_scverse.model.baseline._sklearn_model import SklearnModel


class Linear(SklearnModel):
    """Logistic regression for the label and ridge regression for the level.

    Reads every mark in `n_pooled` bins, and the features of the DNA where the MuData has them. The strength of
    the ridge is chosen by leave-one-out on the training genes.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    setting, seed, target, stranded, transform
        As for :class:`~genexp_scverse.model.DeepChrome`.
    n_pooled
        Bins of a mark are averaged into this many.
    c
        Inverse strength of the logistic regression's penalty.

    Examples
    --------
    See :meth:`predict`.
    """

    name = "linear"
    limits: ClassVar[dict[str, Limit | Choice]] = {"n_pooled": Limit(1), "c": Limit(1e-12, whole=False)}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {**super().defaults(), "c": 0.01}

    def _estimators(self, seed: int) -> tuple[Any, Any]:
        logistic = LogisticRegression(C=self.hyperparameters_["c"], max_iter=2000)
        ridge = RidgeCV(alphas=np.logspace(-1, 6, 15))
        return make_pipeline(StandardScaler(), logistic), make_pipeline(StandardScaler(), ridge)


class LinearSVM(SklearnModel):
    """Linear support vector machines; the classifier's probability is calibrated by Platt's method in 3 folds.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    setting, seed, target, stranded, transform, n_pooled
        As for :class:`Linear`.
    c
        Inverse strength of the penalty.

    Examples
    --------
    As for :class:`Linear`.
    """

    name = "linear_svm"
    limits: ClassVar[dict[str, Limit | Choice]] = {"n_pooled": Limit(1), "c": Limit(1e-12, whole=False)}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {**super().defaults(), "c": 0.001}

    def _estimators(self, seed: int) -> tuple[Any, Any]:
        c = self.hyperparameters_["c"]
        svc = CalibratedClassifierCV(LinearSVC(C=c, random_state=seed), cv=3)
        svr = LinearSVR(C=c, loss="squared_epsilon_insensitive", dual=False, random_state=seed)
        return make_pipeline(StandardScaler(), svc), make_pipeline(StandardScaler(), svr)


class RandomForest(SklearnModel):
    """Random forests for label and level: 300 trees, leaves of at least 3 genes, a third of the features a split.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    setting, seed, target, stranded, transform, n_pooled
        As for :class:`Linear`.
    n_trees, min_leaf, max_features
        Of both forests.

    Examples
    --------
    As for :class:`Linear`.
    """

    name = "random_forest"
    limits: ClassVar[dict[str, Limit | Choice]] = {
        "n_pooled": Limit(1),
        "n_trees": Limit(1),
        "min_leaf": Limit(1),
        "max_features": Limit(1e-6, 1, whole=False),
    }

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {**super().defaults(), "n_trees": 300, "min_leaf": 3, "max_features": 1 / 3}

    def _estimators(self, seed: int) -> tuple[Any, Any]:
        h = self.hyperparameters_
        args = {
            "n_estimators": h["n_trees"],
            "min_samples_leaf": h["min_leaf"],
            "max_features": h["max_features"],
            "n_jobs": -1,
            "random_state": seed,
        }
        return RandomForestClassifier(**args), RandomForestRegressor(**args)
