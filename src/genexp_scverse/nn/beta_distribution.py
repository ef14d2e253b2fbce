"""The Beta distribution: its spread, its upper half, its divergence, and draws that gradients pass."""

from __future__ import annotations

import torch
from scipy.special import betainc
from torch.distributions import Gamma


def beta_std(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation sqrt(a b / (a + b + 1)) / (a + b) of Beta(a, b).

    Examples
    --------
    >>> round(beta_std(torch.tensor(1.0), torch.tensor(1.0)).item() ** 2, 4)
    0.0833
    """
    # roots before the product: a b leaves float32 where a and b do not
    return a.sqrt() * b.sqrt() / ((a + b) * (a + b + 1).sqrt())


def beta_upper_half(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the probability that a draw from Beta(a, b) is 0.5 or more, without a gradient.

    The regularised incomplete Beta function I_(1/2)(b, a), by scipy on the CPU.

    Examples
    --------
    >>> beta_upper_half(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0])).tolist()
    [0.5, 0.125]
    """
    x, y = (p.detach().cpu().double().numpy() for p in (a, b))
    return torch.as_tensor(betainc(y, x, 0.5)).to(a)


def beta_kl(a: torch.Tensor, b: torch.Tensor, a0: torch.Tensor | float, b0: torch.Tensor | float) -> torch.Tensor:
    """Kullback-Leibler divergence of Beta(a, b) from Beta(a0, b0) in nats, element by element.

    With B the Beta function and psi the digamma function,

        ln B(a0, b0) - ln B(a, b) + (a - a0) psi(a) + (b - b0) psi(b) + (a0 - a + b0 - b) psi(a + b)

    Its terms cancel to a small difference of large numbers, so it is computed in float64 and returned as that,
    apart from devices that have none (Apple's), where it is float32.

    Examples
    --------
    >>> beta_kl(torch.tensor(1.0), torch.tensor(1.0), 2.0, 1.0).item()
    0.306...
    """
    if a.device.type != "mps":
        a, b = a.double(), b.double()
    a0, b0 = (torch.as_tensor(p, dtype=a.dtype, device=a.device) for p in (a0, b0))
    difference = _log_beta(a0, b0) - _log_beta(a, b)
    total = (a0 - a + b0 - b) * torch.digamma(a + b)
    return difference + (a - a0) * torch.digamma(a) + (b - b0) * torch.digamma(b) + total


def sample_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Draw from Beta(a, b) so that gradients reach a and b.

    z = G_a / (G_a + G_b) with G gamma-distributed, on the logarithmic scale: ln G_a = ln G_(a + 1) + ln(U) / a with U
    uniform, where G_(a + 1) has torch's implicit gradient (Figurnov et al. 2018). torch's own Beta draws 0.5 where a
    and b are both tiny, and has wrong or no gradients for small beside large parameters.

    Examples
    --------
    >>> a = torch.full((1000,), 30.0, requires_grad=True)
    >>> z = sample_beta(a, torch.full((1000,), 10.0))
    >>> bool((z.mean() - 0.75).abs() < 0.02), bool((a.grad is None) & z.requires_grad)
    (True, True)
    """
    return torch.sigmoid(_log_gamma_draw(a) - _log_gamma_draw(b))


def _log_gamma_draw(shape: torch.Tensor) -> torch.Tensor:
    one = torch.ones_like(shape)
    exponential = torch.empty_like(shape).exponential_()
    return Gamma(shape + 1, one, validate_args=False).rsample().log() - exponential / shape


def _log_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
