"""How a graph between genes lies in a MuData: weights, signed distances, and what it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger

if TYPE_CHECKING:
    from mudata import MuData

GRAPHS = "graphs"
"""Key of ``uns`` with an entry for every graph: how it was made, and from whose expression."""
EXPRESSION_OF = "expression_of"
_DISTANCES = "distances"


def distances_key(key: str) -> str:
    """Give the key of the signed distances that belong to a graph."""
    return _DISTANCES if key == "neighbors" else f"{key}_{_DISTANCES}"


def check_key(key: str) -> None:
    """Raise where a graph cannot be stored under `key`."""
    if not isinstance(key, str) or not key or "/" in key or key == _DISTANCES or key.endswith(f"_{_DISTANCES}"):
        msg = (
            f"key_added={key!r} is no name for a graph: give text without a slash that is not, and does not end in, "
            '"distances", where the distances of graphs are kept'
        )
        raise InputError(msg)


def check_count(value: Any, name: str) -> int:
    """Return a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        msg = f"{name}={value!r}: give a whole number of at least 1"
        raise InputError(msg)
    return int(value)


def coordinates(mdata: MuData, wanted_by: str) -> tuple[np.ndarray, np.ndarray]:
    """Chromosome (object, None where there is none) and TSS (float64, NaN) of every gene."""
    missing = [name for name in ("chrom", "tss") if name not in mdata.obs]
    if missing:
        msg = (
            f"mdata.obs has no column {' and no column '.join(repr(m) for m in missing)}, and {wanted_by} needs the "
            "chromosome and the TSS of every gene: give the genes coordinates, for example by gx.io.build_mudata"
        )
        raise InputError(msg)
    tss = pd.to_numeric(mdata.obs["tss"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    given = mdata.obs["chrom"].astype(object)
    there = given.notna().to_numpy() & ~np.isnan(tss)
    chrom = np.array([str(c) if ok else None for c, ok in zip(given, there, strict=True)], dtype=object)
    if not there.any():
        msg = f"no gene has both chrom and tss in mdata.obs, which {wanted_by} needs: give the genes coordinates"
        raise InputError(msg)
    if not there.all():
        logger.info("%d of %d genes have no coordinates, and so no neighbour", int((~there).sum()), len(there))
    return chrom, np.where(there, tss, np.nan)


def expanded(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write out ranges [low, high): the number of the range, and the member, of every member."""
    length = np.maximum(high - low, 0)
    of = np.repeat(np.arange(len(length)), length)
    return of, np.arange(len(of)) - np.repeat(np.cumsum(length) - length, length) + low[of]


def strongest(
    gene: np.ndarray, other: np.ndarray, weight: np.ndarray, n_neighbors: int, *, distance: np.ndarray | None = None
) -> np.ndarray:
    """Positions of the `n_neighbors` strongest edges of every gene; of equal ones the nearest, then the first."""
    near = np.zeros(len(gene)) if distance is None else np.abs(distance)
    order = np.lexsort((other, near, -weight, gene))
    ranked = gene[order]
    first = np.searchsorted(ranked, ranked)
    return order[np.arange(len(order)) - first < n_neighbors]


def write_graph(
    mdata: MuData,
    key: str,
    gene: np.ndarray,
    other: np.ndarray,
    weight: np.ndarray,
    *,
    method: str,
    expression_of: Iterable[str] = (),
    **settings: Any,
) -> None:
    """Write edges gene -> other to ``obsp[key]``, their distances beside it, and what they were made from."""
    n = mdata.n_obs
    order = np.lexsort((other, gene))
    gene, other, weight = gene[order], other[order], weight[order]
    mdata.obsp[key] = _csr(n, gene, other, weight.astype(np.float32))
    _write_distances(mdata, key, gene, other)
    entry = {"method": method, **{k: v for k, v in settings.items() if v is not None}}
    graphs = dict(mdata.uns.get(GRAPHS, {}))
    graphs[key] = {**entry, EXPRESSION_OF: list(expression_of)}
    mdata.uns[GRAPHS] = graphs
    degree = np.bincount(gene, minlength=n)
    logger.info(
        'obsp["%s"]: %d edges by %s, %.1f for each of the %d genes that have any; %d genes have none',
        *(key, len(gene), method, len(gene) / max(int((degree > 0).sum()), 1)),
        *(int((degree > 0).sum()), int((degree == 0).sum())),
    )


def _write_distances(mdata: MuData, key: str, gene: np.ndarray, other: np.ndarray) -> None:
    at = distances_key(key)
    if not {"chrom", "tss"} <= set(mdata.obs):
        # those of an earlier graph of this name
        if at in mdata.obsp:
            del mdata.obsp[at]
        return
    chrom = mdata.obs["chrom"].astype(object)
    code = np.where(chrom.notna(), pd.factorize(chrom.astype(str))[0], -1)
    tss = pd.to_numeric(mdata.obs["tss"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    same = (code[gene] == code[other]) & (code[gene] >= 0) & ~np.isnan(tss[gene]) & ~np.isnan(tss[other])
    gene, other = gene[same], other[same]
    mdata.obsp[at] = _csr(mdata.n_obs, gene, other, (tss[other] - tss[gene]).astype(np.int64))


def _csr(n: int, row: np.ndarray, column: np.ndarray, data: np.ndarray) -> csr_matrix:
    """Rows are in order; zeros stay."""
    start = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    return csr_matrix((data, column.astype(np.int32), start.astype(np.int32)), shape=(n, n))
