"""Contact with the TSS along the window of every gene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from genexp_scverse import _axes
from genexp_scverse._chroms import match_chroms
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._windows import Windows, count_bins
from genexp_scverse.pp._graph_store import expanded
from genexp_scverse.pp._window_overlap import overlap_sum, placed_windows
from genexp_scverse.pp.contacts import checked_counts
from genexp_scverse.schema import BINS, CHROMATIN, CODES, DNA

if TYPE_CHECKING:
    from mudata import MuData

EXPONENT = 1.024238616787792
"""Of the power law: contact falls off as distance to the power of minus this."""
NEAR = 5000
"""Up to so many bases contact does not fall off."""
_AT_TSS = 100.0
_BLOCK, _MOST_GENES = 4_000_000, 500


def contact_track(
    mdata: MuData,
    contacts: pd.DataFrame | None = None,
    *,
    upstream: int,
    downstream: int,
    bin_size: int = 5000,
    stranded: bool = True,
    key_added: str = "contact",
) -> None:
    """Give every gene the contact of its TSS with the bins of its window, as log10(1 + contact).

    Every contact with one end at the TSS (the bin of the matrix, or the anchor of the loop, that holds the TSS) lays
    its count over the other end. A bin of the window holds the mean of these counts over its bases, 0 where nothing
    was measured or the window reaches beyond the chromosome; the bins of the matrix and those of the window need not
    have the same size or edges. Windows of genes on the minus strand are mirrored.

    Without contacts a power law of the distance d between the TSS and the middle of the bin stands in for them:
    ``100 * (max(d, 5000) / 5000) ** -1.024``. The exponent is the one that the activity-by-contact model (Fulco et al.
    2019, doi:10.1038/s41588-019-0538-0) takes in its later versions for the mean of human Hi-C maps, with the same
    distance below which contact does not grow; 100 at the TSS is the scale of that model.

    Parameters
    ----------
    mdata
        With chrom, tss and strand in ``obs``, of the same assembly as the contacts.
    contacts
        What :func:`genexp_scverse.io.read_contacts` gives when read without ``genes=``; None for the power law.
    upstream, downstream
        Window in bases, read in the direction of transcription.
    bin_size
        Bases in a bin of the window; must fill it.
    stranded
        Mirror the windows of genes on the minus strand.
    key_added
        Key of the track.

    Returns
    -------
    None. Writes, into the modality ``chromatin``, or ``dna`` where there is none (it is made if need be),

    ``obsm[key_added]`` : ndarray (genes x bins, float32)
        log10(1 + contact); 0 for genes without coordinates.
    ``uns[key_added]`` : dict
        upstream, downstream, bin_size, stranded, source (a file, ``contacts`` or ``power law``), and of a matrix its
        resolution and normalization.

    Raises
    ------
    InputError
        When there are no coordinates, a column is missing, a count is negative, no chromosome matches, the bins do not
        fill the window, or no contact reaches a window.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [150], "strand": "-"}, index=["a"])
    >>> mdata = gx.io.from_bins(np.ones((1, 1, 1)), genes=["a"], marks=["H3K4me3"], obs=obs)
    >>> contacts = pd.DataFrame(
    ...     {"chrom": "chr1", "start1": 100, "end1": 200, "start2": [100, 200], "end2": [200, 300], "count": [99, 9]}
    ... )
    >>> gx.pp.contact_track(mdata, contacts, upstream=149, downstream=51, bin_size=100)
    >>> mdata["chromatin"].obsm["contact"].tolist()  # bases 299 to 200, then 199 to 100
    [[1.0, 2.0]]
    """
    if not isinstance(key_added, str) or not key_added or "/" in key_added or key_added in (BINS, CODES, "window"):
        msg = f"key_added={key_added!r} is no name for the track: give another one, without a slash"
        raise InputError(msg)
    n_bins = count_bins(upstream=upstream, downstream=downstream, bin_size=bin_size)
    rows, windows = placed_windows(
        mdata, upstream=upstream, downstream=downstream, stranded=stranded, wanted_by="gx.pp.contact_track"
    )
    about: dict[str, object] = {"upstream": int(upstream), "downstream": int(downstream), "bin_size": int(bin_size)}
    about["stranded"] = bool(stranded)
    tss = pd.to_numeric(mdata.obs["tss"].iloc[rows]).to_numpy(np.int64)
    if contacts is None:
        blocks = _power_law(mdata, windows, tss, n_bins, int(bin_size))
        about |= {"source": "power law", "exponent": EXPONENT, "near": NEAR}
    else:
        blocks = _measured(contacts, windows, tss, n_bins, int(bin_size))
        about["source"] = str(contacts.attrs.get("file", "contacts"))
        about |= {k: contacts.attrs[k] for k in ("resolution", "normalization") if contacts.attrs.get(k) is not None}
    track = np.zeros((mdata.n_obs, n_bins), np.float32)
    for genes, contact in blocks:
        flip = windows.reverse[genes]
        contact[flip] = contact[flip, ::-1]
        track[rows[genes]] = np.log10(1 + contact)
    holder = _holder(mdata)
    _axes.put(holder, key_added, track, window=about)
    holder.uns[key_added] = about


_Blocks = Iterator[tuple[np.ndarray, np.ndarray]]


def _power_law(mdata: MuData, windows: Windows, tss: np.ndarray, n_bins: int, bin_size: int) -> _Blocks:
    end = np.full(len(tss), np.inf)
    sizes = mdata.uns.get("chrom_sizes")
    if sizes is not None and len(sizes):
        known = dict(zip(sizes["chrom"].astype(str), sizes["size"].astype(int), strict=True))
        match = match_chroms(pd.unique(windows.chrom), known, wanted_in="mdata.obs", available_in='uns["chrom_sizes"]')
        end = np.array([known[match[c]] if c in match else np.inf for c in windows.chrom])
    for genes in _gene_blocks(np.arange(len(tss)), n_bins):
        middle = windows.start[genes, None] + bin_size * np.arange(n_bins) + (bin_size - 1) / 2
        contact = _AT_TSS * (np.maximum(np.abs(middle - tss[genes, None]), NEAR) / NEAR) ** -EXPONENT
        contact[(middle < 0) | (middle >= end[genes, None])] = 0
        yield genes, contact


def _measured(contacts: pd.DataFrame, windows: Windows, tss: np.ndarray, n_bins: int, bin_size: int) -> _Blocks:
    source = str(contacts.attrs.get("file", "the contacts"))
    if contacts.attrs.get("between_genes"):
        msg = (
            f"{source} was read with genes=, so that only contacts between TSSs are left: read it again without, and "
            "with max_distance= not below the window"
        )
        raise InputError(msg)
    count = checked_counts(contacts)
    codes, names = pd.factorize(contacts["chrom"])
    there = list(dict.fromkeys(windows.chrom))
    match = match_chroms(there, [str(n) for n in names], wanted_in="mdata.obs", available_in=source)
    lacking = [c for c in there if c not in match]
    if lacking:
        n = int(np.isin(windows.chrom, lacking).sum())
        logger.warning("%d genes lie on chromosomes without contacts (%s): theirs are 0", n, some(lacking))
    at = {str(name): i for i, name in enumerate(names)}
    ends = np.stack([contacts[c].to_numpy(np.int64) for c in ("start1", "end1", "start2", "end2")])
    reached = 0
    for name, other in match.items():
        of = np.flatnonzero((codes == at[other]) & (count > 0))
        there_and_back = ends[:, of], count[of]
        genes = np.flatnonzero(windows.chrom == name)
        for block in _gene_blocks(genes[np.argsort(tss[genes], kind="stable")], n_bins):
            contact = _at_tss(*there_and_back, tss[block], windows.start[block], n_bins, bin_size)
            reached += int(contact.any(axis=1).sum())
            yield block, contact
    if not reached:
        msg = (
            f"none of the {len(contacts)} contacts of {source} lies in the window of a TSS: check that both are of the "
            "same assembly, and that max_distance= of gx.io.read_contacts is not below the window"
        )
        raise InputError(msg)
    logger.info("%d of %d genes have contacts in their windows", reached, len(tss))


def _at_tss(
    ends: np.ndarray, count: np.ndarray, tss: np.ndarray, start: np.ndarray, n_bins: int, bin_size: int
) -> np.ndarray:
    """Mean contact of each bin with the TSS, for genes of a chromosome sorted by TSS."""
    total = np.zeros((len(tss), n_bins))
    # a bin in contact with itself counts once
    both = (ends[:2] != ends[2:]).any(axis=0)
    for here, other, used in ((ends[:2], ends[2:], slice(None)), (ends[2:], ends[:2], both)):
        # a TSS is in [start, end)
        low, high = (np.searchsorted(tss, edge[used]) for edge in here)
        pair, gene = expanded(low, high)
        total += overlap_sum(
            gene,
            other[0][used][pair] - start[gene],
            other[1][used][pair] - start[gene],
            count[used][pair],
            n_rows=len(tss),
            n_bins=n_bins,
            bin_size=bin_size,
        )
    return total / bin_size


def _gene_blocks(genes: np.ndarray, n_bins: int) -> list[np.ndarray]:
    """Cut genes into blocks whose contacts fit into memory."""
    step = min(_MOST_GENES, max(1, _BLOCK // n_bins))
    return np.split(genes, np.arange(step, len(genes), step))


def _holder(mdata: MuData) -> AnnData:
    for name in (CHROMATIN, DNA):
        if name in mdata.mod:
            return mdata.mod[name]
    with nothing_pulled():
        mdata.mod[DNA] = AnnData(
            X=np.zeros((mdata.n_obs, 0), np.float32), obs=pd.DataFrame(index=list(mdata.obs_names))
        )
        mdata.update()
    return mdata.mod[DNA]
