"""Neighbours by contact in the nucleus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._chroms import match_chroms
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pp._graph_store import check_count, check_key, coordinates, expanded, strongest, write_graph

if TYPE_CHECKING:
    from mudata import MuData

_COLUMNS = ("chrom", "start1", "end1", "start2", "end2", "count")
_Edges = tuple[np.ndarray, np.ndarray, np.ndarray]


def contact_neighbors(
    mdata: MuData,
    contacts: pd.DataFrame,
    *,
    n_neighbors: int = 10,
    slop: int = 0,
    key_added: str = "contacts",
) -> None:
    """Take the genes whose TSSs are in strongest contact as neighbours.

    The weight of two genes is the count of the pair of bins (or of loop anchors) that hold their TSSs, the
    largest where there are several. Genes in one bin have the count of that bin with itself.

    Parameters
    ----------
    mdata
        With ``obs["chrom"]`` and ``obs["tss"]``, of the same assembly as the contacts.
    contacts
        What :func:`genexp_scverse.io.read_contacts` gives: chrom, start1, end1, start2, end2 (0-based half-open)
        and count. Names of chromosomes are matched with those of the genes.
    n_neighbors
        Largest number of neighbours of a gene: those of the largest weight, of equal ones the nearest.
    slop
        Bases by which every anchor is widened on both sides, for loops; leave it 0 for a matrix.
    key_added
        Key of the graph.

    Returns
    -------
    None. Writes

    ``mdata.obsp[key_added]`` : csr_matrix (genes x genes, float32)
        Count of the contact in row i for the neighbours of gene i. Both directions are counted alike, but a gene
        need not be among the strongest of its neighbours.
    ``mdata.obsp[f"{key_added}_distances"]`` : csr_matrix (int64)
        TSS of the neighbour minus TSS of the gene in bases, for the same pairs, zeros kept.
    ``mdata.uns["graphs"][key_added]`` : dict
        method, settings, file, resolution and normalization where known, and ``expression_of``, which is empty.

    Contacts without a finite count or with a count of 0 are left out and counted in the log.

    Raises
    ------
    InputError
        There are no coordinates, a column is missing, a count is negative, no chromosome matches, or no contact
        joins two genes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [150, 620, 680]}, index=list("abc"))
    >>> mdata = gx.io.from_bins(np.ones((3, 1, 1)), genes=list("abc"), marks=["H3K4me3"], obs=obs)
    >>> contacts = pd.DataFrame(
    ...     {"chrom": "1", "start1": [100, 600], "end1": [200, 700], "start2": 600, "end2": 700, "count": [3, 8]}
    ... )
    >>> gx.pp.contact_neighbors(mdata, contacts)
    >>> mdata.obsp["contacts"].toarray().tolist()
    [[0.0, 3.0, 3.0], [3.0, 0.0, 8.0], [3.0, 8.0, 0.0]]
    """
    check_key(key_added)
    n_neighbors = check_count(n_neighbors, "n_neighbors")
    if not slop >= 0:
        msg = f"slop={slop!r}: give bases, 0 or more"
        raise InputError(msg)
    chrom, tss = coordinates(mdata, "gx.pp.contact_neighbors")
    count = checked_counts(contacts)
    codes, names = pd.factorize(contacts["chrom"])
    there = list(dict.fromkeys(c for c in chrom if c is not None))
    source = str(contacts.attrs.get("file", "the contacts"))
    match = match_chroms(there, [str(n) for n in names], wanted_in="mdata.obs", available_in=source)
    lacking = [c for c in there if c not in match]
    if lacking:
        n = int(np.isin(chrom, lacking).sum())
        logger.warning("%d genes lie on chromosomes without contacts (%s)", n, some(lacking))
    at = {str(name): i for i, name in enumerate(names)}
    parts, joining = [], 0
    for name in match:
        rows = np.flatnonzero((codes == at[match[name]]) & (count > 0))
        genes = np.flatnonzero(chrom == name)
        genes = genes[np.argsort(tss[genes], kind="stable")]
        gene, other, weight, joined = _joined(contacts, rows, count[rows], tss[genes], float(slop))
        parts.append((genes[gene], genes[other], weight))
        joining += joined
    gene, other, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(gene) == 0:
        msg = (
            f"none of the {len(contacts)} contacts of {source} joins the TSSs of two genes: check that both are of "
            "the same assembly, or widen the anchors of loops by slop="
        )
        raise InputError(msg)
    logger.info("%d of %d contacts join genes", joining, len(contacts))
    kept = strongest(gene, other, weight, n_neighbors, distance=tss[other] - tss[gene])
    came = {k: contacts.attrs[k] for k in ("file", "resolution", "normalization") if contacts.attrs.get(k) is not None}
    write_graph(
        mdata,
        key_added,
        *(gene[kept], other[kept], weight[kept]),
        method="contact_neighbors",
        n_neighbors=n_neighbors,
        slop=int(slop),
        **came,
    )


def checked_counts(contacts: pd.DataFrame) -> np.ndarray:
    """Give the counts, 0 where there is none."""
    missing = [c for c in _COLUMNS if c not in getattr(contacts, "columns", ())]
    if missing:
        msg = f"contacts lacks the column {some(missing, 6)}: give what gx.io.read_contacts returns"
        raise InputError(msg)
    count = pd.to_numeric(contacts["count"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if (count < 0).any():
        msg = f"{int((count < 0).sum())} counts of contacts are negative, and weights cannot be: shift or clip them"
        raise InputError(msg)
    without = ~np.isfinite(count)
    if without.any() or (count == 0).any():
        logger.info(
            "%d of %d contacts have no finite count, %d a count of 0: they are left out",
            *(int(without.sum()), len(count), int((count == 0).sum())),
        )
    return np.where(without, 0.0, count)


def _joined(
    contacts: pd.DataFrame, rows: np.ndarray, count: np.ndarray, tss: np.ndarray, slop: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Join genes, sorted by TSS, that lie in the two anchors of `rows`: gene, other, weight; and rows that join."""
    ends = {}
    for side in ("1", "2"):
        start = contacts[f"start{side}"].to_numpy()[rows]
        end = contacts[f"end{side}"].to_numpy()[rows]
        # a TSS is in [start, end)
        ends[side] = np.searchsorted(tss, start - slop), np.searchsorted(tss, end + slop)
    (low1, high1), (low2, high2) = ends["1"], ends["2"]
    holding = (high1 > low1) & (high2 > low2)
    low1, high1, low2, high2, count = (x[holding] for x in (low1, high1, low2, high2, count))
    row, first = expanded(low1, high1)
    pair, second = expanded(low2[row], high2[row])
    first, weight = first[pair], count[row[pair]]
    off = first != second
    first, second, weight = first[off], second[off], weight[off]
    joined = len(np.unique(row[pair][off]))
    gene, other, weight = (np.concatenate(x) for x in ((first, second), (second, first), (weight, weight)))
    order = np.lexsort((-weight, other, gene))
    gene, other, weight = gene[order], other[order], weight[order]
    once = np.ones(len(gene), bool)
    once[1:] = (np.diff(gene) != 0) | (np.diff(other) != 0)
    return gene[once], other[once], weight[once], joined
