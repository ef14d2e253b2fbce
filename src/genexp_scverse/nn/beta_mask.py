"""A mask over positions, Beta-distributed, from sequence and signals: the bottleneck of Seq2Exp (Su et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.distributions import Gamma
from torch.nn import functional as F

from genexp_scverse._errors import InputError

SMALLEST = 1e-8
"""Added to parameters that may be 0."""

SMALLEST_OF_PRODUCT = 1e-3
"""Parameters of the exact product of two Beta densities are raised to this where the product is no density."""


class BetaParameters(NamedTuple):
    """The two parameters of a Beta distribution at every position, (B, L) each."""

    a: torch.Tensor
    b: torch.Tensor


class MaskOutput(NamedTuple):
    """What :class:`BetaMask` gives; float32, or float64 where its input is."""

    mask: torch.Tensor
    """(B, L), what the input of the predictor is multiplied with, between 0 and 1."""
    mean: torch.Tensor
    """(B, L), of the Beta distribution; where a position is forced its value."""
    std: torch.Tensor
    """(B, L), of the Beta distribution; 0 where a position is forced."""
    kl: torch.Tensor
    """Divergence from the prior in nats, the mean over all positions that are not forced; 0-dimensional."""


class BetaMask(nn.Module):
    """Draw a mask from Beta(a, b), with a and b from the sequence, from signals, or from both.

    The sequence gives a1 and b1 by :func:`from_sequence`, the signals a2 and b2 by :func:`from_signals`, and
    :func:`combine` makes one distribution of them. In training the mask is drawn by :func:`sample_beta`, so that
    gradients reach the parameters; in evaluation it is the mean a / (a + b). The hard mask is 1 where that is 0.5 or
    more and else 0, with the gradient of the soft one (:func:`straight_through`). The divergence from the prior
    Beta(k, k (1 - r) / r), whose mean is r, keeps the mask sparse. All is computed in float32 also under autocast,
    the divergence in float64 where the device has it.

    In training the mask can be led from one that is easy to learn from: with `openness` o and `softness` s, attributes
    that are 0 unless set, it is o + (1 - o) m, where m is the share s of the soft mask and 1 - s of the hard one.

    Parameters
    ----------
    hard
        A mask of 0 and 1.
    exact
        Combine by the exact product of the two densities; see :func:`combine`.
    weight, offset
        For every signal its weight w and its b0, two sequences of one length; empty without signals.
    b_min
        Added to the parameters and to the signals; 0 or more.
    scale
        Factor s of the parameters from signals; greater than 0.
    prior_mean
        r, the share of the mask that is expected to be open, between 0 and 1.
    prior_strength
        k, greater than 0: the first parameter of the prior. Large values are a prior that is hard to move.

    Raises
    ------
    InputError
        For settings out of these ranges; from `forward` when there is no source or a shape does not fit.

    Examples
    --------
    >>> mask = BetaMask(weight=(0.6, 0.4), offset=(1.5, 0.2)).eval()
    >>> out = mask(torch.zeros(1, 3, 2), torch.tensor([[[0.0, 5.0, 9.0], [0.0, 1.0, 9.0]]]))
    >>> [round(m, 2) for m in out.mean[0].tolist()]
    [0.35, 0.68, 0.83]
    >>> opened = mask(torch.zeros(1, 3, 2), open=torch.tensor([[True, False, False]]))
    >>> opened.mask.tolist(), opened.std[0, 0].item()
    ([[1.0, 0.5, 0.5]], 0.0)
    """

    def __init__(
        self,
        *,
        hard: bool = False,
        exact: bool = False,
        weight: Sequence[float] = (),
        offset: Sequence[float] = (),
        b_min: float = 1.0,
        scale: float = 10.0,
        prior_mean: float = 0.1,
        prior_strength: float = 10.0,
    ):
        super().__init__()
        _check_settings(weight, offset, b_min, scale, prior_mean, prior_strength)
        self.hard, self.exact, self.b_min, self.scale = hard, exact, b_min, scale
        self.openness = self.softness = 0.0
        self.prior = prior_parameters(prior_mean, prior_strength)
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))
        self.weight: torch.Tensor
        self.offset: torch.Tensor

    def forward(
        self,
        logits: torch.Tensor | None = None,
        signals: torch.Tensor | None = None,
        *,
        present: torch.Tensor | None = None,
        open: torch.Tensor | None = None,
        blocked: torch.Tensor | None = None,
    ) -> MaskOutput:
        """Make the mask.

        Parameters
        ----------
        logits
            (B, L, 2), of the sequence: l1 for open, l0 for closed. None for signals alone.
        signals
            (B, S, L), 0 or more. None for the sequence alone.
        present
            Which signals there are, (S,) or (B, S), True or False; by default all. What an absent one holds is not
            read. A row without any signal has the parameters of the sequence, or the prior when there are none.
        open
            (B, L) or (L,), True where the mask is 1 whatever the parameters.
        blocked
            (B, L) or (L,), True where the mask is 0; a position that is open and blocked is open.
        """
        self._check_input(logits, signals)
        device = (signals if logits is None else logits).device.type  # type: ignore[union-attr]
        with torch.autocast(device, enabled=False):
            a, b = self.parameters_of(logits, signals, present)
            mean, std = a / (a + b), beta_std(a, b)
            z = sample_beta(a, b) if self.training else mean
            mask = straight_through(z) if self.hard else z
            if self.training:
                mask = torch.lerp(mask, z, self.softness) if self.hard else mask
                mask = self.openness + (1 - self.openness) * mask
            divergence = beta_kl(a, b, *self.prior)
            forced = torch.zeros((), dtype=torch.bool, device=a.device)
            for there, value in ((blocked, 0.0), (open, 1.0)):
                if there is not None:
                    there = there.bool()
                    mask, mean = (torch.where(there, value, each) for each in (mask, mean))
                    forced = forced | there
            forced = forced.expand_as(a)
            kl = divergence.masked_fill(forced, 0).sum() / (~forced).sum().clamp(min=1)
            return MaskOutput(mask, mean, std.masked_fill(forced, 0), kl.to(a.dtype))

    def parameters_of(
        self, logits: torch.Tensor | None, signals: torch.Tensor | None, present: torch.Tensor | None = None
    ) -> BetaParameters:
        """Return a and b, (B, L) each, of the arguments of `forward`."""
        sequence = None if logits is None else from_sequence(_full(logits), b_min=self.b_min)
        if signals is None:
            assert sequence is not None
            return sequence
        signals = _full(signals)
        if present is not None:
            present = present.bool().expand(len(signals), -1)
        of_signals = from_signals(
            signals,
            self.weight.to(signals.dtype),
            self.offset.to(signals.dtype),
            b_min=self.b_min,
            scale=self.scale,
            present=present,
        )
        alone = of_signals if sequence is None else combine(sequence, of_signals, exact=self.exact)
        if present is None:
            return alone
        any_signal = present.any(1)[:, None]
        a, b = self.prior if sequence is None else sequence
        return BetaParameters(torch.where(any_signal, alone.a, a), torch.where(any_signal, alone.b, b))

    def _check_input(self, logits: torch.Tensor | None, signals: torch.Tensor | None) -> None:
        if logits is None and signals is None:
            msg = "BetaMask has neither logits nor signals: pass at least one"
            raise InputError(msg)
        if logits is not None and (logits.ndim != 3 or logits.shape[2] != 2):
            msg = f"logits of shape {tuple(logits.shape)} are not (genes, positions, 2)"
            raise InputError(msg)
        if signals is not None and (signals.ndim != 3 or signals.shape[1] != len(self.weight)):
            msg = (
                f"signals of shape {tuple(signals.shape)} are not (genes, {len(self.weight)}, positions): "
                f"BetaMask was made for {len(self.weight)} signals, one weight and one offset each"
            )
            raise InputError(msg)
        if logits is not None and signals is not None and logits.shape[1] != signals.shape[2]:
            msg = (
                f"logits have {logits.shape[1]} positions and signals {signals.shape[2]}: "
                "bring the signals to the resolution of the logits"
            )
            raise InputError(msg)


def prior_parameters(mean: float, strength: float) -> tuple[float, float]:
    """Parameters of the Beta distribution with this mean whose first parameter is `strength`.

    Examples
    --------
    >>> prior_parameters(0.1, 10.0)
    (10.0, 90.0)
    """
    return float(strength), strength * (1 - mean) / mean


def from_sequence(logits: torch.Tensor, *, b_min: float = 1.0) -> BetaParameters:
    """Parameters softplus(l) + b_min + 1e-8 of `logits` (..., 2), l1 and l0.

    Examples
    --------
    >>> [round(float(p), 4) for p in from_sequence(torch.zeros(2), b_min=0)]
    [0.6931, 0.6931]
    """
    a, b = (F.softplus(logits) + (b_min + SMALLEST)).unbind(-1)
    return BetaParameters(a, b)


def from_signals(
    signals: torch.Tensor,
    weight: torch.Tensor,
    offset: torch.Tensor,
    *,
    b_min: float = 1.0,
    scale: float = 10.0,
    present: torch.Tensor | None = None,
) -> BetaParameters:
    """Parameters a = sum_i w_i ((x_i + b_min) s + 1e-8) and b = sum_i w_i (b0_i + b_min) s of signals x.

    The weights are divided by their sum over the signals that are there. A negative signal counts as 0.

    Parameters
    ----------
    signals
        (B, S, L).
    weight, offset
        w and b0, (S,).
    b_min, scale
        b_min and s.
    present
        (B, S), True where a signal is there; by default all. Rows without any give 0 and 0.

    Examples
    --------
    >>> x = torch.tensor([[[2.0], [torch.nan]]])
    >>> weight, offset = torch.tensor([0.4, 0.4]), torch.tensor([1.5, 0.2])
    >>> a, b = from_signals(x, weight, offset, present=torch.tensor([[True, False]]))
    >>> a.item(), b.item()
    (30.0, 25.0)
    """
    x = signals.clamp(min=0)
    if present is None:
        share = (weight / weight.sum()).expand(len(x), -1)
    else:
        x = torch.where(present[:, :, None], x, 0.0)
        share = weight * present
        share = share / share.sum(1, keepdim=True).clamp(min=SMALLEST)
    a = torch.einsum("bs,bsl->bl", share, (x + b_min) * scale + SMALLEST)
    b = (share * (offset + b_min) * scale).sum(1, keepdim=True)
    return BetaParameters(a, b.expand_as(a))


def combine(first: BetaParameters, second: BetaParameters, *, exact: bool = False) -> BetaParameters:
    """Make one Beta distribution of two.

    By default the parameters are added. The exact product of the two densities, normalised, is
    Beta(a1 + a2 - 1, b1 + b2 - 1); it is a density only where both are greater than 0. With `exact` that is taken, and
    what is below 1e-3 is raised to 1e-3 (no gradient passes there). With b_min of 1 the product always is a density.

    Examples
    --------
    >>> one, other = BetaParameters(*torch.tensor([2.0, 3.0])), BetaParameters(*torch.tensor([4.0, 1.0]))
    >>> [float(p) for p in combine(one, other)], [float(p) for p in combine(one, other, exact=True)]
    ([6.0, 4.0], [5.0, 3.0])
    """
    a, b = first.a + second.a, first.b + second.b
    if exact:
        a, b = (a - 1).clamp(min=SMALLEST_OF_PRODUCT), (b - 1).clamp(min=SMALLEST_OF_PRODUCT)
    return BetaParameters(a, b)


def beta_std(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation sqrt(a b / (a + b + 1)) / (a + b) of Beta(a, b).

    Examples
    --------
    >>> round(beta_std(torch.tensor(1.0), torch.tensor(1.0)).item() ** 2, 4)
    0.0833
    """
    # roots before the product: a b leaves float32 where a and b do not
    return a.sqrt() * b.sqrt() / ((a + b) * (a + b + 1).sqrt())


def beta_kl(a: torch.Tensor, b: torch.Tensor, a0: float, b0: float) -> torch.Tensor:
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
    a0_, b0_ = a.new_tensor(a0), a.new_tensor(b0)
    difference = _log_beta(a0_, b0_) - _log_beta(a, b)
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


def straight_through(z: torch.Tensor) -> torch.Tensor:
    """1 where z >= 0.5, else 0, with the gradient of z (Bengio et al. 2013).

    Examples
    --------
    >>> z = torch.tensor([0.2, 0.5], requires_grad=True)
    >>> h = straight_through(z)
    >>> h.tolist(), torch.autograd.grad(h.sum(), z)[0].tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    # the bracket is 0 to the last digit; (h - z) + z would not be h
    return (z >= 0.5).to(z.dtype) + (z - z.detach())


def _log_gamma_draw(shape: torch.Tensor) -> torch.Tensor:
    one = torch.ones_like(shape)
    exponential = torch.empty_like(shape).exponential_()
    return Gamma(shape + 1, one, validate_args=False).rsample().log() - exponential / shape


def _log_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _full(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _check_settings(weight, offset, b_min: float, scale: float, prior_mean: float, prior_strength: float) -> None:
    if len(weight) != len(offset):
        msg = f"{len(weight)} weights and {len(offset)} offsets of signals: give one of each for every signal"
        raise InputError(msg)
    for name, value, good, mend in (
        ("weight", list(weight), all(w > 0 for w in weight), "numbers greater than 0"),
        ("offset + b_min", [b + b_min for b in offset], all(b + b_min > 0 for b in offset), "greater than 0"),
        ("b_min", b_min, b_min >= 0, "0 or more"),
        ("scale", scale, scale > 0, "greater than 0"),
        ("prior_mean", prior_mean, 0 < prior_mean < 1, "between 0 and 1"),
        ("prior_strength", prior_strength, prior_strength > 0, "greater than 0"),
    ):
        if not good:
            msg = f"{name} of BetaMask is {value}: it has to be {mend}"
            raise InputError(msg)
