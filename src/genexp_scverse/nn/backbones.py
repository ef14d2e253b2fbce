"""Networks over positions, behind one interface: (B, L, width) in, (B, L, width) out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint as recomputed

from genexp_scverse._errors import InputError, no_such, some
from genexp_scverse.nn._layers import Norm
from genexp_scverse.nn.dilated import DilatedLayer
from genexp_scverse.nn.mamba import MambaLayer
from genexp_scverse.nn.ssd import SSDLayer

HEAD_SIZE = 64


class Backbone(nn.Module):
    """Layers one after another and an RMS norm at the end.

    Parameters
    ----------
    width
        Channels.
    layers
        Each from (B, L, width) to that shape.
    checkpoint
        Keep only the input of every layer in training and compute its inside again on the way back: the memory of
        one layer instead of all, for about a third more time. Results and gradients are the same.

    Examples
    --------
    >>> backbone = Backbone(8, [nn.Linear(8, 8)], checkpoint=True)
    >>> backbone(torch.zeros(2, 10, 8)).shape
    torch.Size([2, 10, 8])
    """

    def __init__(self, width: int, layers: Sequence[nn.Module], *, checkpoint: bool = False):
        super().__init__()
        self.layers, self.norm, self.checkpoint = nn.ModuleList(layers), Norm(width), checkpoint

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, L, width) of `x` of that shape."""
        for layer in self.layers:
            lean = self.checkpoint and torch.is_grad_enabled()
            x = recomputed(layer, x, use_reentrant=False) if lean else layer(x)
        return self.norm(x)


def make_backbone(name: str, width: int, n_layers: int, /, *, checkpoint: bool = False, **settings: Any) -> Backbone:
    """Make a backbone by its name.

    Parameters
    ----------
    name
        One of `BACKBONES`: ``ssd`` for :class:`~genexp_scverse.nn.ssd.SSDLayer`, fast and with any reach; ``mamba``
        for :class:`~genexp_scverse.nn.mamba.MambaLayer`, as published for Seq2Exp; ``conv`` for
        :class:`~genexp_scverse.nn.dilated.DilatedLayer`, the lightest, of limited reach.
    width
        Channels.
    n_layers
        Number of layers.
    checkpoint
        See :class:`Backbone`.
    **settings
        Arguments of the layer; for ``conv`` also `n_dilations` (10): the layers after which the dilation starts
        again at 1.

    Raises
    ------
    InputError
        For a name that is none, or a setting that the layer does not have or cannot take.

    Examples
    --------
    >>> backbone = make_backbone("conv", 16, 4, n_dilations=3)
    >>> [layer.conv.dilation[0] for layer in backbone.layers]
    [1, 2, 4, 1]
    >>> make_backbone("ssd", 16, 2, head_size=8)(torch.zeros(1, 50, 16)).shape
    torch.Size([1, 50, 16])
    """
    check_settings(name, settings)
    return Backbone(width, BACKBONES[name](width, n_layers, **settings), checkpoint=checkpoint)


def check_settings(name: str, settings: Mapping[str, Any] | None) -> None:
    """Refuse a backbone that is none, and settings (a dictionary, or None) that it does not have or cannot take."""
    if name not in BACKBONES:
        raise InputError(no_such("backbone", name, BACKBONES))
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        first, value = next(iter(defaults.items()))
        msg = (
            f"backbone_settings={settings!r} is no dictionary: give settings of the backbone {name!r} by their names, "
            f'such as {{"{first}": {value}}}'
        )
        raise InputError(msg)
    if unknown := [each for each in settings if each not in defaults]:
        msg = f"backbone {name!r} has no setting {some(unknown)}: it has {some(defaults, len(defaults))}"
        raise InputError(msg)
    for each, value in settings.items():
        share, whole = isinstance(defaults[each], float), isinstance(value, int) and not isinstance(value, bool)
        if share:
            fits = (whole or isinstance(value, float)) and 0 <= value < 1
        else:
            fits = (whole and value >= 1) or (value is None and defaults[each] is None)
        if not fits:
            mend = "a number from 0 to below 1" if share else "a whole number, 1 or more"
            msg = f"setting {each}={value!r} of backbone {name!r} is not possible: give {mend}"
            raise InputError(msg)


def _ssd(
    width: int,
    n_layers: int,
    *,
    d_state: int = 32,
    expand: int = 2,
    head_size: int | None = None,
    conv: int = 4,
    chunk: int = 64,
) -> list[nn.Module]:
    # heads of 64 channels where they come out even
    head_size = math.gcd(HEAD_SIZE, width * expand) if head_size is None else head_size
    return [
        SSDLayer(width, d_state=d_state, expand=expand, head_size=head_size, conv=conv, chunk=chunk)
        for _ in range(n_layers)
    ]


def _mamba(width: int, n_layers: int, *, d_state: int = 16, conv: int = 4, expand: int = 2) -> list[nn.Module]:
    return [MambaLayer(width, d_state=d_state, conv=conv, expand=expand) for _ in range(n_layers)]


def _conv(
    width: int, n_layers: int, *, kernel: int = 3, dropout: float = 0.0, n_dilations: int = 10
) -> list[nn.Module]:
    return [
        DilatedLayer(width, dilation=DilatedLayer.dilation_of(i, n_dilations), kernel=kernel, dropout=dropout)
        for i in range(n_layers)
    ]


BACKBONES: dict[str, Callable[..., list[nn.Module]]] = {"ssd": _ssd, "mamba": _mamba, "conv": _conv}
"""What makes the layers of a backbone from width, number of layers and settings, by name."""
