"""A mask over positions, Beta-distributed, from sequence and signals: the bottleneck of Seq2Exp (Su et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from genexp_scverse._errors import InputError
from genexp_scverse.nn.beta_distribution import beta_kl, beta_std, beta_upper_half, sample_beta

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
    """(B, L), of the Beta distribution, or of the hard mask in evaluation; where a position is forced its value."""
    std: torch.Tensor
    """(B, L), of the same; 0 where a position is forced."""
    kl: torch.Tensor
    """Divergence from the prior in nats, the mean over all positions that are not forced; 0-dimensional."""


class BetaMask(nn.Module):
    """Draw a mask from Beta(a, b), with a and b from the sequence, from signals, or from both.

    The sequence gives a1 and b1 by :func:`from_sequence`, the signals a2 and b2 by :func:`from_signals`, and
    :func:`combine` makes one distribution of them. In training the mask is drawn, so that gradients reach the
    parameters; in evaluation it is the mean a / (a + b). The hard mask is 1 where the draw is 0.5 or more and else 0,
    with the gradient of the soft one (:func:`straight_through`). In evaluation it is the mean of that as well, the
    probability that a draw opens the position, so that the predictor reads on average what it learned from; or, with
    `rounded`, 1 where a / (a + b) is 0.5 or more and else 0. The divergence from the prior Beta(k, k (1 - r) / r),
    whose mean is r, keeps the mask sparse. All is computed in float32 also under autocast, the divergence in float64
    where the device has it. See :mod:`genexp_scverse.nn.beta_distribution`.

    Where there is `contact` c with the TSS, a share of the largest, a and the k of the prior that goes with it are
    multiplied by c: whatever a position holds, the odds that it is open are in proportion to contact, as in the
    activity-by-contact model (Fulco et al. 2019, doi:10.1038/s41588-019-0538-0).

    In training the mask can be led from one that is easy to learn from: with `openness` o and `softness` s, attributes
    that are 0 unless set, it is o + (1 - o) m, where m is the share s of the soft mask and 1 - s of the hard one.

    Parameters
    ----------
    hard
        A mask of 0 and 1.
    rounded
        Round the mean of the Beta distribution in evaluation of a hard mask, as published. Such a mask is shut where
        draws rarely open it.
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
    soft_strength
        k in training while a hard mask is soft; with `softness` s it is soft_strength^s prior_strength^(1 - s). By
        default prior_strength.

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
        rounded: bool = False,
        exact: bool = False,
        weight: Sequence[float] = (),
        offset: Sequence[float] = (),
        b_min: float = 1.0,
        scale: float = 10.0,
        prior_mean: float = 0.1,
        prior_strength: float = 10.0,
        soft_strength: float | None = None,
    ):
        super().__init__()
        soft_strength = prior_strength if soft_strength is None else soft_strength
        _check_settings(weight, offset, b_min, scale, prior_mean, prior_strength, soft_strength)
        self.hard, self.rounded, self.exact, self.b_min, self.scale = hard, rounded, exact, b_min, scale
        self.openness = self.softness = 0.0
        self.prior_mean, self.prior_strength, self.soft_strength = prior_mean, prior_strength, soft_strength
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
        contact: torch.Tensor | None = None,
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
        contact
            (B, L), greater than 0 and at most 1.
        open
            (B, L) or (L,), True where the mask is 1 whatever the parameters.
        blocked
            (B, L) or (L,), True where the mask is 0; a position that is open and blocked is open.
        """
        self._check_input(logits, signals)
        device = (signals if logits is None else logits).device.type  # type: ignore[union-attr]
        with torch.autocast(device, enabled=False):
            a, b = self.parameters_of(logits, signals, present)
            share = 1.0 if contact is None else contact.to(a.dtype)
            a = a * share
            mean, std = a / (a + b), beta_std(a, b)
            if self.training:
                z = sample_beta(a, b)
                mask = torch.lerp(straight_through(z), z, self.softness) if self.hard else z
                mask = self.openness + (1 - self.openness) * mask
            elif self.hard and self.rounded:
                mask = straight_through(mean)
            elif self.hard:
                opened = beta_upper_half(a, b)
                # the gradient of the soft mask, as in training
                mask = opened + (mean - mean.detach())
                mean, std = opened, (opened * (1 - opened)).sqrt()
            else:
                mask = mean
            divergence = beta_kl(a, b, self.prior[0] * share, self.prior[1])
            forced = torch.zeros((), dtype=torch.bool, device=a.device)
            for there, value in ((blocked, 0.0), (open, 1.0)):
                if there is not None:
                    there = there.bool()
                    mask, mean = (torch.where(there, value, each) for each in (mask, mean))
                    forced = forced | there
            forced = forced.expand_as(a)
            kl = divergence.masked_fill(forced, 0).sum() / (~forced).sum().clamp(min=1)
            return MaskOutput(mask, mean, std.masked_fill(forced, 0), kl.to(a.dtype))

    @property
    def prior(self) -> tuple[float, float]:
        """Parameters of the prior; while a hard mask is soft in training, k is on its way from `soft_strength`."""
        softness = self.softness if self.hard and self.training else 0.0
        strength = self.soft_strength**softness * self.prior_strength ** (1 - softness)
        return prior_parameters(self.prior_mean, strength)

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


def _full(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _check_settings(
    weight, offset, b_min: float, scale: float, prior_mean: float, prior_strength: float, soft_strength: float
) -> None:
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
        ("soft_strength", soft_strength, soft_strength > 0, "greater than 0"),
    ):
        if not good:
            msg = f"{name} of BetaMask is {value}: it has to be {mend}"
            raise InputError(msg)
