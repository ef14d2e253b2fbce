"""Parts of a variational autoencoder of signal along a gene (Kingma & Welling 2014)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn


class ConvEncoder(nn.Module):
    """Convolutions over the bins, one maximum over neighbouring bins, hidden layers: signal to a vector.

    Kernels and the pool are cut to the number of bins, and an even kernel is shortened by one, so that every
    number of bins from 1 on fits.

    Parameters
    ----------
    n_marks, n_bins
        Shape of the signal of a gene.
    n_filters
        Filters of every convolution.
    kernel_size
        Bins under a filter.
    pool_size
        Bins of which the maximum is taken after the last convolution; 1 for none.
    n_hidden
        Units of every hidden layer.
    slope
        Of the LeakyReLU after every layer; 0 makes it a ReLU.
    dropout
        Share of the values in front of the first linear layer that are left out in training.

    Examples
    --------
    >>> encoder = ConvEncoder(5, 100, n_filters=[50], pool_size=5, n_hidden=[625])
    >>> tuple(encoder(torch.zeros(2, 5, 100)).shape), encoder.n_out
    ((2, 625), 625)
    """

    def __init__(
        self,
        n_marks: int,
        n_bins: int,
        *,
        n_filters: Sequence[int] = (32, 64),
        kernel_size: int = 5,
        pool_size: int = 1,
        n_hidden: Sequence[int] = (),
        slope: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        kernel = odd_kernel(kernel_size, n_bins)
        layers: list[nn.Module] = []
        for n_in, n_out in zip([n_marks, *n_filters], n_filters, strict=False):
            layers += [nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2), nn.LeakyReLU(slope)]
        pool = min(pool_size, n_bins)
        if pool > 1:
            layers.append(nn.MaxPool1d(pool, ceil_mode=True))
        layers += [nn.Flatten(), nn.Dropout(dropout)]
        widths = [-(-n_bins // pool) * n_filters[-1], *n_hidden]
        for n_in, n_out in zip(widths, n_hidden, strict=False):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(slope)]
        self.layers = nn.Sequential(*layers)
        self.n_out = widths[-1]

    def forward(self, bins: torch.Tensor) -> torch.Tensor:
        """Return (B, n_out) of `bins` (B, marks, bins)."""
        return self.layers(bins)


class ConvDecoder(nn.Module):
    """The way back: hidden layers, then transposed convolutions to the shape of the signal.

    Parameters
    ----------
    n_latent
        Length of the vector.
    n_marks, n_bins, n_filters, kernel_size, pool_size, n_hidden, slope
        Of the encoder; its layers come in reverse.
    linear
        No nonlinearity between the transposed convolutions, as published.

    Examples
    --------
    >>> decoder = ConvDecoder(10, 5, 100, n_filters=[32, 64], linear=True)
    >>> tuple(decoder(torch.zeros(2, 10)).shape)
    (2, 5, 100)
    """

    def __init__(
        self,
        n_latent: int,
        n_marks: int,
        n_bins: int,
        *,
        n_filters: Sequence[int] = (32, 64),
        kernel_size: int = 5,
        pool_size: int = 1,
        n_hidden: Sequence[int] = (),
        slope: float = 0.0,
        linear: bool = False,
    ):
        super().__init__()
        kernel, pool = odd_kernel(kernel_size, n_bins), min(pool_size, n_bins)
        n_pooled, last = -(-n_bins // pool), n_filters[-1]
        widths = [n_latent, *reversed(n_hidden), n_pooled * last]
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(slope)]
        layers.append(nn.Unflatten(1, (last, n_pooled)))
        if pool > 1:
            layers.append(nn.ConvTranspose1d(last, last, pool, stride=pool))
            layers += [] if linear else [nn.LeakyReLU(slope)]
        outputs = list(reversed(n_filters))
        for n_in, n_out in zip([last, *outputs], outputs, strict=False):
            layers.append(nn.ConvTranspose1d(n_in, n_out, kernel, padding=kernel // 2))
            layers += [] if linear else [nn.LeakyReLU(slope)]
        layers.append(nn.ConvTranspose1d(outputs[-1], n_marks, 1))
        self.layers = nn.Sequential(*layers)
        self.n_bins = n_bins

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Return (B, marks, bins) of `latent` (B, n_latent)."""
        return self.layers(latent)[:, :, : self.n_bins]


def odd_kernel(kernel_size: int, n_bins: int) -> int:
    """Largest odd number up to `kernel_size` and `n_bins`, so that the middle of a kernel is a bin."""
    widest = max(1, min(kernel_size, n_bins))
    return widest - 1 + widest % 2


def kl_to_standard_normal(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of N(mean, diag exp(log_variance)) from N(0, I) in nats, (B,).

    Parameters
    ----------
    mean, log_variance
        (B, units).

    Examples
    --------
    >>> kl_to_standard_normal(torch.ones(1, 2), torch.zeros(1, 2)).tolist()
    [1.0]
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def drawn(mean: torch.Tensor, log_variance: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw from N(mean, diag exp(log_variance)) so that gradients reach both."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + noise * (0.5 * log_variance).exp()
