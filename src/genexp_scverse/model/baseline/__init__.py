"""Baselines under the same contract, so that every table can show them."""

from genexp_scverse.model.baseline._models import Linear, LinearSVM, RandomForest

__all__ = ["Linear", "LinearSVM", "RandomForest"]
