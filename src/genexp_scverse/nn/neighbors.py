"""Ways to sum up the neighbours of a gene, each given as a vector and by what is known of the edge."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import nn

CENTERS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
"""Centres of the bumps over log10(1 + distance / 1 kb): from 0 to 10 Mb."""

WIDTH = 0.5


class EdgeFeatures(nn.Module):
    """Describe edges by signed distance, strand and weight, as numbers that a linear layer can use.

    The distance is ``log10(1 + |d| / 1 kb)`` seen through Gaussian bumps of width 0.5 at `CENTERS`, once as they are,
    once with the sign of the distance and once with that of the strand; an unknown distance has no bump. Then come
    whether the distance is known, the strand, log(1 + weight) and the share of the weight among the neighbours.
    """

    n_out = 3 * len(CENTERS) + 4

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centers", torch.tensor(CENTERS), persistent=False)
        self.centers: torch.Tensor

    def forward(
        self, weight: torch.Tensor, distance: torch.Tensor, same_strand: torch.Tensor, there: torch.Tensor
    ) -> torch.Tensor:
        """Return (B, k, n_out).

        Parameters
        ----------
        weight
            (B, k), 0 or more.
        distance
            (B, k), bases, positive downstream; NaN where unknown.
        same_strand
            (B, k), 1, -1, or 0 where unknown.
        there
            (B, k), False where there is no neighbour.
        """
        known = ~torch.isnan(distance) & there
        distance = torch.nan_to_num(distance)
        log_distance = torch.log10(1 + distance.abs() / 1000)
        bumps = torch.exp(-(((log_distance[..., None] - self.centers) / WIDTH) ** 2)) * known[..., None]
        weight = weight * there
        share = weight / weight.sum(1, keepdim=True).clamp(min=1e-12)
        plain = torch.stack([known.to(weight.dtype), same_strand, torch.log1p(weight), share], dim=-1)
        return torch.cat(
            [bumps, bumps * torch.sign(distance)[..., None], bumps * same_strand[..., None], plain], dim=-1
        )


class NeighborContext(nn.Module):
    """A vector for the surroundings of a gene, (B, n_out), and the weight of every neighbour in it, (B, k)."""

    n_out: int

    @abstractmethod
    def forward(
        self, query: torch.Tensor, neighbors: torch.Tensor, edges: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum up `neighbors` (B, k, n_neighbor) with `edges` (B, k, n_edge) for genes `query` (B, n_query).

        Where `there` (B, k) is False there is no neighbour, and nothing of that place is used.
        """


class NeighborAttention(NeighborContext):
    """Attention of a gene to its neighbours, and to nothing.

    For head h with query q of the gene, and key and value k_j, v_j of neighbour j from its vector and its edge,

        s_j = q . k_j / sqrt(d) + b_h(edge_j),    a = softmax(s_1 ... s_k, s_0)

    where s_0 is a learned score for no neighbour at all, so that the weights may sum to less than 1 (and are 0 for
    a gene without neighbours). The context is the heads' sums of a_j v_j, side by side.

    Parameters
    ----------
    n_query, n_neighbor, n_edge
        Lengths of the vectors of a gene, a neighbour and an edge.
    n_heads, n_head
        Number of heads and units of each.
    n_hidden
        Units of the layer that reads the edge.

    Examples
    --------
    >>> attention = NeighborAttention(8, 4, 3)
    >>> there = torch.tensor([[True, False], [False, False]])
    >>> context, weight = attention(torch.zeros(2, 8), torch.zeros(2, 2, 4), torch.zeros(2, 2, 3), there)
    >>> tuple(context.shape), weight.detach().tolist()
    ((2, 64), [[0.5, 0.0], [0.0, 0.0]])
    """

    def __init__(
        self, n_query: int, n_neighbor: int, n_edge: int, *, n_heads: int = 4, n_head: int = 16, n_hidden: int = 32
    ):
        super().__init__()
        self.n_heads, self.n_head, self.n_out = n_heads, n_head, n_heads * n_head
        self.edge = nn.Linear(n_edge, n_hidden)
        self.edge_act = nn.ReLU()
        self.query = nn.Linear(n_query, self.n_out)
        self.key = nn.Linear(n_neighbor + n_hidden, self.n_out)
        self.value = nn.Linear(n_neighbor + n_hidden, self.n_out)
        self.edge_score = nn.Linear(n_hidden, n_heads, bias=False)
        self.nothing = nn.Parameter(torch.zeros(n_heads))
        # at first a neighbour has the score of nothing, whatever it is
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        nn.init.zeros_(self.edge_score.weight)

    def forward(
        self, query: torch.Tensor, neighbors: torch.Tensor, edges: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the context and the mean over heads of the weights; see :class:`NeighborContext`."""
        n, k = there.shape
        heads = (n, k, self.n_heads, self.n_head)
        edge = self.edge_act(self.edge(edges))
        described = torch.cat([neighbors, edge], dim=-1)
        q = self.query(query).view(n, 1, self.n_heads, self.n_head)
        score = (q * self.key(described).view(heads)).sum(-1) / self.n_head**0.5 + self.edge_score(edge)
        score = score.masked_fill(~there[..., None], -torch.inf)
        score = torch.cat([score, self.nothing.expand(n, 1, self.n_heads)], dim=1)
        weight = torch.softmax(score, dim=1)[:, :k]
        context = (weight[..., None] * self.value(described).view(heads)).sum(1).flatten(1)
        return context, weight.mean(2)


class NeighborMean(NeighborContext):
    """Plain mean of the neighbours' vectors through a linear layer; a gene without neighbours has the vector 0.

    Parameters
    ----------
    n_neighbor
        Length of the vector of a neighbour.
    n_out
        Length of the result.

    Examples
    --------
    >>> mean = NeighborMean(4)
    >>> there = torch.tensor([[True, True, False]])
    >>> mean(torch.zeros(1, 8), torch.zeros(1, 3, 4), torch.zeros(1, 3, 3), there)[1].tolist()
    [[0.5, 0.5, 0.0]]
    """

    def __init__(self, n_neighbor: int, n_out: int = 64):
        super().__init__()
        self.linear, self.n_out = nn.Linear(n_neighbor, n_out), n_out

    def forward(
        self, query: torch.Tensor, neighbors: torch.Tensor, edges: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the transformed mean and equal weights; see :class:`NeighborContext`."""
        weight = there / there.sum(1, keepdim=True).clamp(min=1)
        return self.linear((weight[..., None] * neighbors).sum(1)), weight


class NeighborConcatenation(NeighborContext):
    """Neighbours' vectors and edges side by side, in their order, through a linear layer, as published.

    What stands in a place decides, so the order of the neighbours matters; no neighbour is 0. Weights of single
    neighbours are not defined and are NaN.

    Parameters
    ----------
    n_neighbor, n_edge
        Lengths of the vectors of a neighbour and of an edge.
    n_places
        Number of neighbours.
    n_out
        Length of the result.

    Examples
    --------
    >>> concatenation = NeighborConcatenation(4, 3, n_places=2)
    >>> there = torch.tensor([[True, False]])
    >>> tuple(concatenation(torch.zeros(1, 8), torch.zeros(1, 2, 4), torch.zeros(1, 2, 3), there)[0].shape)
    (1, 64)
    """

    def __init__(self, n_neighbor: int, n_edge: int, *, n_places: int, n_out: int = 64):
        super().__init__()
        self.linear, self.n_out = nn.Linear((n_neighbor + n_edge) * n_places, n_out), n_out

    def forward(
        self, query: torch.Tensor, neighbors: torch.Tensor, edges: torch.Tensor, there: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the transformed vector and NaN for weights; see :class:`NeighborContext`."""
        described = torch.cat([neighbors, edges], dim=-1) * there[..., None]
        return self.linear(described.flatten(1)), torch.full(there.shape, torch.nan, device=there.device)
