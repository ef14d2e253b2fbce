"""What is fitted on the validation genes: Platt's sigmoid for the label, conformal scores for the level."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from genexp_scverse._errors import InputError

LEAST = 20
"""Fewer labelled validation pairs than this leave the probability as it is."""


def fit_platt(prob: np.ndarray, label: np.ndarray) -> list[float] | None:
    """Slope and intercept of logit(calibrated) = slope * logit(prob) + intercept (Platt 1999).

    None where there are too few labels, one class alone, or a slope that is not positive: such probabilities
    carry nothing to be calibrated.
    """
    known = ~np.isnan(label) & ~np.isnan(prob)
    prob, label = prob[known], label[known]
    if len(label) < LEAST or len(np.unique(label)) < 2:
        return None
    fit = LogisticRegression().fit(_log_odds(prob)[:, None], label.astype(int))
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    return [slope, intercept] if slope > 0 else None


def calibrated(prob: np.ndarray, platt: list[float] | None) -> np.ndarray:
    """Apply the sigmoid; it is rising, so that no order of genes changes."""
    if platt is None:
        return prob
    return expit(platt[0] * _log_odds(prob) + platt[1])


def _log_odds(prob: np.ndarray) -> np.ndarray:
    # closer to 0 and 1 than any probability of single precision, so that clipping makes no ties
    return logit(np.clip(prob.astype(np.float64), 1e-38, 1 - 1e-9))


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """Return the ceil((n + 1) coverage)-th smallest of n scores (Vovk et al. 2005; Lei et al. 2018, algorithm 2).

    A new score that is exchangeable with the n is no larger with a probability of at least `coverage`, and of at
    most coverage + 1 / (n + 1) without ties.
    """
    n = len(scores)
    # the product is a whole number at times, which rounding must not raise to the next
    rank = math.ceil((n + 1) * coverage - 1e-9)
    if rank > n:
        msg = (
            f"coverage={coverage:g} needs at least {math.ceil(coverage / (1 - coverage) - 1e-9)} measured validation "
            f"genes and there are {n}: ask for at most {n / (n + 1):.3f}, or hold out more genes for validation"
        )
        raise InputError(msg)
    return float(np.partition(scores, rank - 1)[rank - 1])
