"""Parts of the autoencoder: shapes for any number of bins, divergence, draws."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genexp_scverse.nn.vae import ConvDecoder, ConvEncoder, drawn, kl_to_standard_normal, odd_kernel


def test_kl_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)
    assert kl_to_standard_normal(torch.zeros(1, 3), torch.zeros(1, 3)) == 0


def test_draws_have_the_moments_asked_for():
    mean, log_variance = torch.tensor([1.0, -2.0]), torch.tensor([0.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    z = drawn(mean.expand(200_000, 2), log_variance.expand(200_000, 2), generator=generator)
    torch.testing.assert_close(z.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), log_variance.exp(), atol=0.03, rtol=0)
    again = drawn(mean.expand(200_000, 2), log_variance.expand(200_000, 2), generator=generator.manual_seed(0))
    torch.testing.assert_close(z, again)


@pytest.mark.parametrize("n_bins", [1, 2, 3, 7, 12, 40, 100, 200])
@pytest.mark.parametrize("pool_size", [1, 5])
def test_any_number_of_bins_goes_there_and_back(n_bins, pool_size):
    shape = {"n_filters": [4, 6], "kernel_size": 9, "pool_size": pool_size, "n_hidden": [8]}
    encoder = ConvEncoder(3, n_bins, **shape)
    decoder = ConvDecoder(5, 3, n_bins, **shape)
    assert encoder(torch.randn(2, 3, n_bins)).shape == (2, 8)
    assert decoder(torch.randn(2, 5)).shape == (2, 3, n_bins)


def test_kernels_are_odd_and_fit():
    assert [odd_kernel(k, 100) for k in (1, 2, 5, 10)] == [1, 1, 5, 9]
    assert [odd_kernel(9, n) for n in (1, 2, 4, 12)] == [1, 1, 3, 9]


def test_every_bin_is_read_and_written():
    """The last bins, which pooling would drop, reach the vector; every bin depends on the latent."""
    torch.manual_seed(0)
    bins = torch.randn(1, 2, 23, requires_grad=True)
    ConvEncoder(2, 23, n_filters=[4], kernel_size=5, pool_size=5)(bins).pow(2).sum().backward()
    assert (bins.grad[0].abs().sum(0)[[0, 22]] > 0).all()
    latent = torch.randn(64, 3)
    assert (ConvDecoder(3, 2, 23, n_filters=[4], kernel_size=5, pool_size=5)(latent).std(0) > 0).all()


def test_published_layers():
    """Cheng et al. 2020: 32 and 64 filters of 5, LeakyReLU(0.5); back through 6400 and transposed convolutions."""
    encoder = ConvEncoder(5, 100, slope=0.5)
    layers = [m for m in encoder.layers if not isinstance(m, torch.nn.Dropout)]
    assert [type(m).__name__ for m in layers] == ["Conv1d", "LeakyReLU", "Conv1d", "LeakyReLU", "Flatten"]
    assert [m.negative_slope for m in layers if isinstance(m, torch.nn.LeakyReLU)] == [0.5, 0.5]
    assert encoder.n_out == 6400
    assert sum(p.numel() for p in encoder.parameters()) == 5 * 32 * 5 + 32 + 32 * 64 * 5 + 64
    decoder = ConvDecoder(10, 5, 100, slope=0.5, linear=True)
    assert [type(m).__name__ for m in decoder.layers] == [
        "Linear", "LeakyReLU", "Unflatten", "ConvTranspose1d", "ConvTranspose1d", "ConvTranspose1d",
    ]  # fmt: skip
    transposed = [m for m in decoder.layers if isinstance(m, torch.nn.ConvTranspose1d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in transposed] == [
        (64, 64, (5,)), (64, 32, (5,)), (32, 5, (1,)),
    ]  # fmt: skip
