"""The neighbours of every gene as arrays of fixed width, taken from a graph in ``obsp``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from genexp_scverse import pp

if TYPE_CHECKING:
    from mudata import MuData


@dataclass
class NeighborTable:
    """Neighbours by gene, the strongest first.

    Attributes
    ----------
    index
        Genes x k, position of the neighbour; -1 where there is none.
    weight
        Genes x k, weight of the edge; 0 where there is none.
    distance
        Genes x k, bases from the gene's TSS to the neighbour's, positive downstream in the gene's direction of
        transcription; NaN where it is unknown (other chromosome, no coordinates, no neighbour).
    same_strand
        Genes x k, 1 for the same strand, -1 for the other, 0 where it is unknown.
    """

    index: np.ndarray
    weight: np.ndarray
    distance: np.ndarray
    same_strand: np.ndarray
    _device: dict[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> None:
        """Move everything to `device`."""
        self._device = {
            "index": torch.as_tensor(self.index, device=device),
            "neighbor_there": torch.as_tensor(self.index >= 0, device=device),
            "neighbor_weight": torch.as_tensor(self.weight, device=device),
            "neighbor_distance": torch.as_tensor(self.distance, device=device),
            "neighbor_same_strand": torch.as_tensor(self.same_strand, device=device),
        }

    def gather(self, genes: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Positions of the neighbours, (B, k), and what is known of them by the names of a batch, (B, k) each."""
        index, *described = (self._device[key][genes] for key in self._device)
        return index, dict(zip(list(self._device)[1:], described, strict=True))


def neighbor_table(mdata: MuData, key: str, n_neighbors: int, *, samples: list[str]) -> NeighborTable:
    """Take at most `n_neighbors` neighbours of every gene from ``obsp[key]``: by weight, then by distance.

    Raises as :func:`genexp_scverse.pp.check_graph` does, for a graph that knows the expression of `samples` too.
    """
    graph = pp.check_graph(mdata, key, samples=samples).tocsr()
    gene = np.repeat(np.arange(mdata.n_obs), np.diff(graph.indptr))
    other, weight = graph.indices.astype(np.int64), graph.data.astype(np.float32)
    off = (gene != other) & (weight > 0)
    gene, other, weight = gene[off], other[off], weight[off]
    distance, same_strand = _described(mdata, gene, other)
    order = np.lexsort((other, np.nan_to_num(np.abs(distance), nan=np.inf), -weight, gene))
    gene, other, weight = gene[order], other[order], weight[order]
    distance, same_strand = distance[order], same_strand[order]
    degree = np.bincount(gene, minlength=mdata.n_obs)
    rank = np.arange(len(gene)) - np.repeat(np.cumsum(degree) - degree, degree)
    kept = rank < n_neighbors
    at = (gene[kept], rank[kept])
    shape = (mdata.n_obs, n_neighbors)
    table = NeighborTable(
        np.full(shape, -1, np.int64),
        np.zeros(shape, np.float32),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.float32),
    )
    table.index[at], table.weight[at] = other[kept], weight[kept]
    table.distance[at], table.same_strand[at] = distance[kept], same_strand[kept]
    return table


def _described(mdata: MuData, gene: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance along the gene's direction of transcription, and whether the strands agree."""
    distance = np.full(len(gene), np.nan)
    same_strand = np.zeros(len(gene), np.float32)
    obs = mdata.obs
    sign = np.ones(mdata.n_obs)
    if "strand" in obs:
        strand = obs["strand"].astype(str).to_numpy()
        known = np.isin(strand, ["+", "-"])
        sign[strand == "-"] = -1
        same_strand = np.where(known[gene] & known[other], sign[gene] * sign[other], 0).astype(np.float32)
    if "tss" in obs and "chrom" in obs:
        chrom, tss = obs["chrom"].astype(str).to_numpy(), obs["tss"].to_numpy(np.float64)
        same = chrom[gene] == chrom[other]
        distance[same] = ((tss[other] - tss[gene]) * sign[gene])[same]
    return distance, same_strand
