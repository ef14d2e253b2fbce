"""Neighbours along the chromosome."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.pp._graph_store import check_count, check_key, coordinates, expanded, write_graph

if TYPE_CHECKING:
    from mudata import MuData


def gene_neighbors(
    mdata: MuData,
    *,
    n_neighbors: int | None = 10,
    max_distance: int | None = None,
    key_added: str = "neighbors",
) -> None:
    """Take the genes nearest on the chromosome as neighbours.

    Nearness is that of the TSSs, on either strand. Of two at the same distance the one of the lower coordinate
    comes first, and of several at one position those with the next gene ids. Nothing is known of expression.

    Parameters
    ----------
    mdata
        With ``obs["chrom"]`` and ``obs["tss"]``.
    n_neighbors
        Largest number of neighbours of a gene; None for all within `max_distance`.
    max_distance
        Largest distance of the TSSs in bases; None for any on the chromosome.
    key_added
        Key of the graph.

    Returns
    -------
    None. Writes

    ``mdata.obsp[key_added]`` : csr_matrix (genes x genes, float32)
        1 in row i for the neighbours of gene i. Directed: a gene need not be among the neighbours of its
        neighbours.
    ``mdata.obsp["distances"]``, or ``[f"{key_added}_distances"]`` for another key : csr_matrix (int64)
        TSS of the neighbour minus TSS of the gene in bases, for the same pairs, zeros kept.
    ``mdata.uns["graphs"][key_added]`` : dict
        method, settings and ``expression_of``, which is empty.

    Genes that have fewer than `n_neighbors`, or none, are counted in the log.

    Raises
    ------
    InputError
        There are no coordinates, or a setting is out of range.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": ["chr1", "chr1", "chr1", "chr2"], "tss": [100, 900, 400, 400]}, index=list("abcd"))
    >>> mdata = gx.io.from_bins(np.ones((4, 1, 1)), genes=list("abcd"), marks=["H3K4me3"], obs=obs)
    >>> gx.pp.gene_neighbors(mdata, n_neighbors=1)
    >>> mdata.obsp["neighbors"].toarray().astype(int).tolist()
    [[0, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    >>> mdata.obsp["distances"].toarray().tolist()
    [[0, 0, 300, 0], [0, 0, -500, 0], [-300, 0, 0, 0], [0, 0, 0, 0]]
    """
    check_key(key_added)
    if n_neighbors is None and max_distance is None:
        msg = "n_neighbors and max_distance are both None, which makes every gene a neighbour: give one of them"
        raise InputError(msg)
    if n_neighbors is not None:
        n_neighbors = check_count(n_neighbors, "n_neighbors")
    if max_distance is not None and not max_distance >= 0:
        msg = f"max_distance={max_distance!r}: give bases, 0 or more, or None"
        raise InputError(msg)
    chrom, tss = coordinates(mdata, "gx.pp.gene_neighbors")
    code = pd.factorize(chrom)[0]
    ids = np.argsort(np.argsort(np.asarray(mdata.obs_names, dtype=str), kind="stable"))
    order = np.lexsort((ids, tss, code))
    order = order[code[order] >= 0]
    code, tss = code[order], tss[order]
    limit = np.inf if max_distance is None else float(max_distance)
    gene, other = _within(code, tss, limit) if n_neighbors is None else _nearest(code, tss, n_neighbors, limit)
    degree = np.bincount(gene, minlength=len(order))
    if n_neighbors is not None and (degree < n_neighbors).any():
        logger.info("%d genes have fewer than %d neighbours", int((degree < n_neighbors).sum()), n_neighbors)
    write_graph(
        mdata,
        key_added,
        order[gene],
        order[other],
        np.ones(len(gene), np.float32),
        method="gene_neighbors",
        n_neighbors=n_neighbors,
        max_distance=None if max_distance is None else int(max_distance),
    )


def _nearest(code: np.ndarray, tss: np.ndarray, k: int, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest of genes sorted by chromosome and TSS, among the k before and the k after."""
    n = len(code)
    k = min(k, int(np.bincount(code).max()) - 1)
    at = np.arange(n)
    # in this order a stable sort by distance decides between equal ones
    steps = np.array([step for i in range(1, k + 1) for step in (-i, i)], dtype=np.int64)
    distance = np.full((n, 2 * k), np.inf)
    for column, step in enumerate(steps):
        here = at[max(0, -step) : n - max(0, step)]
        here = here[code[here] == code[here + step]]
        distance[here, column] = np.abs(tss[here + step] - tss[here])
    best = np.argsort(distance, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(distance, best, axis=1)
    gene, rank = np.nonzero(np.isfinite(near) & (near <= limit))
    return gene, gene + steps[best[gene, rank]]


def _within(code: np.ndarray, tss: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.empty(len(code), np.int64), np.empty(len(code), np.int64)
    for first, last in _runs(code):
        part = tss[first:last]
        low[first:last] = first + np.searchsorted(part, part - limit, side="left")
        high[first:last] = first + np.searchsorted(part, part + limit, side="right")
    gene, other = expanded(low, high)
    return gene[gene != other], other[gene != other]


def _runs(code: np.ndarray) -> list[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(code)) + 1).tolist(), len(code)]
    return list(itertools.pairwise(edges))
