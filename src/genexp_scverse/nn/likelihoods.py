"""How signal is distributed around what a decoder gives: the likelihoods of a variational autoencoder."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn
from torch.distributions import NegativeBinomial, Normal, Poisson


class Likelihood(nn.Module):
    """Distribution of signal, (B, marks, bins), around the output `raw` of a decoder of the same shape."""

    @abstractmethod
    def mean(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the mean, (B, marks, bins)."""

    @abstractmethod
    def log_prob(self, signal: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """Return the log density of every entry of `signal`, (B, marks, bins)."""


class NormalLikelihood(Likelihood):
    """Continuous signal: normal around `raw`, with a learned standard deviation for every mark.

    Parameters
    ----------
    n_marks
        Number of marks; their standard deviations start at 1.
    floor
        Smallest standard deviation: a mark that is constant would otherwise drive it to 0.

    Examples
    --------
    >>> likelihood = NormalLikelihood(1)
    >>> round(float(likelihood.log_prob(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))), 4)
    -1.4189
    """

    def __init__(self, n_marks: int, floor: float = 0.05):
        super().__init__()
        self.log_noise = nn.Parameter(torch.zeros(n_marks))
        self.floor = floor

    @property
    def noise(self) -> torch.Tensor:
        """Standard deviation of every mark."""
        return (self.log_noise.exp() ** 2 + self.floor**2).sqrt()

    def mean(self, raw: torch.Tensor) -> torch.Tensor:
        """Return `raw`."""
        return raw

    def log_prob(self, signal: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """Log density of the normal distribution."""
        return Normal(raw, self.noise[:, None], validate_args=False).log_prob(signal)


class PoissonLikelihood(Likelihood):
    """Counts whose variance is their mean, exp(`raw`); means of counts over a bin need not be whole numbers.

    Examples
    --------
    >>> likelihood = PoissonLikelihood()
    >>> float(likelihood.log_prob(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)))
    -1.0
    """

    def mean(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the rate."""
        return _rate(raw).exp()

    def log_prob(self, signal: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """Log probability of the counts."""
        return Poisson(self.mean(raw), validate_args=False).log_prob(signal)


class NegativeBinomialLikelihood(Likelihood):
    """Counts around exp(`raw`) with variance mean + mean² / theta, theta learned for every mark.

    Parameters
    ----------
    n_marks
        Number of marks; theta starts at 1.

    Examples
    --------
    >>> likelihood = NegativeBinomialLikelihood(1)
    >>> float(likelihood.log_prob(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).exp())
    0.5
    """

    def __init__(self, n_marks: int):
        super().__init__()
        self.log_theta = nn.Parameter(torch.zeros(n_marks))

    def mean(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the mean."""
        return _rate(raw).exp()

    def log_prob(self, signal: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """Log probability of the counts."""
        log_theta = self.log_theta.clamp(-10, 10)[:, None]
        # the odds are those of a count beside theta: mean / theta
        distribution = NegativeBinomial(log_theta.exp(), logits=_rate(raw) - log_theta, validate_args=False)
        return distribution.log_prob(signal)


class SquaredError(Likelihood):
    """The published loss: signal in [-1, 1] around tanh(`raw`), of which the squared error counts.

    Up to constants it is a normal density of variance 1/2.

    Examples
    --------
    >>> float(SquaredError().log_prob(torch.ones(1, 1, 1), torch.zeros(1, 1, 1)))
    -1.0
    """

    def mean(self, raw: torch.Tensor) -> torch.Tensor:
        """Return tanh of `raw`."""
        return torch.tanh(raw)

    def log_prob(self, signal: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """Return minus the squared error."""
        return -((signal - torch.tanh(raw)) ** 2)


def make_likelihood(name: str, n_marks: int) -> Likelihood:
    """Make a likelihood by its name: ``normal``, ``poisson``, ``nb`` or ``tanh``."""
    if name == "normal":
        return NormalLikelihood(n_marks)
    if name == "nb":
        return NegativeBinomialLikelihood(n_marks)
    return PoissonLikelihood() if name == "poisson" else SquaredError()


def _rate(raw: torch.Tensor) -> torch.Tensor:
    # counts of a bin do not reach e^15, and a rate of 0 has no gradient: one bad step would end a training
    return raw.clamp(-15, 15)
