"""Networks that give the same for a sequence and its reverse complement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from genexp_scverse._errors import InputError


def reverse_complement(codes: torch.Tensor) -> torch.Tensor:
    """Return the reverse complement of `codes` (..., L), A C G T = 0 1 2 3; larger codes stay what they are.

    Examples
    --------
    AACGN becomes NCGTT:

    >>> reverse_complement(torch.tensor([0, 0, 1, 2, 4])).tolist()
    [4, 1, 2, 3, 3]
    """
    flipped = codes.flip(-1)
    return torch.where(flipped < 4, 3 - flipped, flipped)


class ReverseComplementMean(nn.Module):
    """Run a network on a sequence and on its reverse complement and average, so that both strands give the same.

    Outputs over positions are turned round before they are averaged: those of the reverse complement are those of the
    sequence, turned round. All other outputs do not change. Both strands run as one batch of twice the size. A network
    that draws at random draws for each strand: let it end before the draw (at the logits of a mask).

    Parameters
    ----------
    network
        Called with codes, tensors over positions and keyword arguments; gives a tensor, a tuple or a dict.
    positions
        Which outputs are over positions and in which dimension: key (or place in a tuple; 0 for a single tensor) to
        dimension. Outputs that are not named are scalar features of the gene.

    Raises
    ------
    InputError
        When `positions` names what the network does not give.

    Examples
    --------
    Counting A minus C at every position, seen from both strands:

    >>> class Count(nn.Module):
    ...     def forward(self, codes):
    ...         return (codes == 0).float() - (codes == 1).float()
    >>> both = ReverseComplementMean(Count(), positions={0: 1})
    >>> both(torch.tensor([[0, 0, 1, 3]], dtype=torch.uint8)).tolist()
    [[0.5, 0.5, -0.5, 0.5]]
    """

    def __init__(self, network: Callable[..., Any], *, positions: Mapping[Any, int]):
        super().__init__()
        self.network, self.positions = network, dict(positions)

    def forward(self, codes: torch.Tensor, *tracks: torch.Tensor | None, **genes: torch.Tensor | None) -> Any:
        """Return what the network gives.

        Parameters
        ----------
        codes
            (B, L), bases.
        *tracks
            Tensors (B, ..., positions), such as signals or a mask, at any resolution, turned round for the other
            strand; or None.
        **genes
            Tensors (B, ...) that have no direction; or None.
        """
        n = len(codes)
        both = torch.cat([codes, reverse_complement(codes)])
        turned = [None if each is None else torch.cat([each, each.flip(-1)]) for each in tracks]
        twice = {name: None if each is None else torch.cat([each, each]) for name, each in genes.items()}
        out = self.network(both, *turned, **twice)
        single = isinstance(out, torch.Tensor)
        named = dict(enumerate([out] if single else out)) if single or isinstance(out, tuple) else out
        if unknown := [each for each in self.positions if each not in named]:
            msg = f"the network gives no output {unknown[0]!r}: it gives {', '.join(map(repr, named))}"
            raise InputError(msg)
        mean = {name: self._mean(name, each[:n], each[n:]) for name, each in named.items()}
        if single:
            return mean[0]
        if isinstance(out, tuple):
            # a NamedTuple takes its fields one by one
            return type(out)(*mean.values()) if hasattr(out, "_fields") else tuple(mean.values())
        return mean

    def _mean(self, name: Any, given: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if name in self.positions:
            other = other.flip(self.positions[name])
        return (given + other) / 2
