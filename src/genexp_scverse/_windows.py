"""Windows around the TSS of genes: where they start and end, and which ones are read backwards."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some

FURTHEST = 2**40
"""Positions from here on are none: the longest chromosomes have some 2**32 bases."""


class Windows(NamedTuple):
    """Windows of genes, 0-based half-open; they may reach beyond the ends of a chromosome."""

    chrom: np.ndarray
    """Name of the chromosome of each gene (str)."""
    start: np.ndarray
    """First base (int64), possibly negative."""
    end: np.ndarray
    """One past the last base (int64)."""
    reverse: np.ndarray
    """Whether the window is read from its end to its start (bool)."""


def tss_windows(genes: pd.DataFrame, *, upstream: int, downstream: int, stranded: bool = True) -> Windows:
    """Give the window around the TSS of every gene.

    A window is `upstream` bases before the TSS and `downstream` bases from the TSS base on, in the direction
    of transcription: ``[tss - upstream, tss + downstream)`` on +, and on - the mirror image
    ``[tss - downstream + 1, tss + upstream + 1)``, to be read backwards. The TSS base thus has index
    `upstream` on both strands.

    Parameters
    ----------
    genes
        One row per gene with chrom, tss (0-based) and, when `stranded`, strand (+ or -).
    upstream
        Bases before the TSS.
    downstream
        Bases from the TSS base on.
    stranded
        False gives the + form to all genes; strand is then not needed.

    Returns
    -------
    chrom, start, end and reverse of every gene, in the order of `genes`.

    Raises
    ------
    InputError
        When a column is missing, a TSS is not a position, a strand is neither + nor -, or the window is
        empty.

    Examples
    --------
    >>> import pandas as pd
    >>> genes = pd.DataFrame({"chrom": "chr1", "tss": [100, 100], "strand": ["+", "-"]}, index=["a", "b"])
    >>> windows = tss_windows(genes, upstream=10, downstream=5)
    >>> windows.start.tolist(), windows.end.tolist(), windows.reverse.tolist()
    ([90, 96], [105, 111], [False, True])
    """
    _check_extent(upstream, downstream)
    missing = [c for c in ("chrom", "tss", "strand") if c not in genes and (stranded or c != "strand")]
    if missing:
        msg = f"the table of genes lacks the column {some(missing)}: it has {some(genes.columns, 6)}"
        raise InputError(msg)
    tss = _positions(genes)
    reverse = np.zeros(len(genes), dtype=bool)
    if stranded:
        strand = genes["strand"].astype(str).to_numpy(dtype=object)
        reverse = strand == "-"
        unknown = ~reverse & (strand != "+")
        if unknown.any():
            msg = (
                f"strand of {unknown.sum()} of {len(genes)} genes is neither '+' nor '-' "
                f"({some(genes.index[unknown])}: {some(pd.unique(strand[unknown]))}): mend the column, "
                "or take unstranded windows"
            )
            raise InputError(msg)
    start = np.where(reverse, tss - downstream + 1, tss - upstream)
    return Windows(genes["chrom"].astype(str).to_numpy(dtype=object), start, start + upstream + downstream, reverse)


def count_bins(*, upstream: int, downstream: int, bin_size: int) -> int:
    """Count the bins of a window and make sure that they fill it.

    Parameters
    ----------
    upstream
        Bases before the TSS.
    downstream
        Bases from the TSS base on.
    bin_size
        Bases in a bin; divides the length of the window.

    Returns
    -------
    Number of bins.

    Raises
    ------
    InputError
        When the bins do not fill the window, with the nearest sizes that do.

    Examples
    --------
    >>> count_bins(upstream=5000, downstream=5000, bin_size=100)
    100
    """
    _check_extent(upstream, downstream)
    length = int(upstream) + int(downstream)
    if not isinstance(bin_size, Integral) or isinstance(bin_size, bool) or bin_size < 1:
        msg = f"bin_size is {bin_size!r}: give a whole number of bases, 1 or more"
        raise InputError(msg)
    if length % bin_size:
        fitting = [d for d in range(1, length + 1) if length % d == 0]
        below = max(d for d in fitting if d <= max(1, min(bin_size, length)))
        above = min(d for d in fitting if d >= min(bin_size, length))
        sizes = f"bin_size {below}" if below == above else f"bin_size {below} or {above}"
        bins = max(1, round(length / bin_size))
        longer = bins * bin_size - int(upstream)
        msg = (
            f"bins of {bin_size} bases do not fill the window of {upstream} + {downstream} = {length} bases: "
            f"take {sizes}" + (f", or downstream {longer}" if longer >= 0 else "")
        )
        raise InputError(msg)
    return length // int(bin_size)


def check_tss(genes: pd.DataFrame, sizes: Mapping[str, int], *, names: Mapping[str, str], source: str) -> np.ndarray:
    """Make sure that every TSS lies on its chromosome, and tell which genes have one.

    Parameters
    ----------
    genes
        One row per gene with chrom and tss (0-based).
    sizes
        Chromosome of the file -> length in bases.
    names
        Chromosome of the genes -> chromosome of the file, see :func:`match_chroms`.
    source
        What `sizes` is from, for the message.

    Returns
    -------
    Array of bool: whether the chromosome of the gene is in the file.

    Raises
    ------
    InputError
        When a TSS lies beyond the end of its chromosome: most often the genes are of another assembly.

    Examples
    --------
    >>> import pandas as pd
    >>> genes = pd.DataFrame({"chrom": ["1", "2"], "tss": [100, 100]}, index=["a", "b"])
    >>> check_tss(genes, {"chr1": 1000}, names={"1": "chr1"}, source="a.bigWig").tolist()
    [True, False]
    """
    chrom = genes["chrom"].astype(str)
    lengths = {ours: sizes[theirs] for ours, theirs in names.items() if theirs in sizes}
    length = chrom.map(lengths).to_numpy(dtype=float)
    tss = _positions(genes)
    with np.errstate(invalid="ignore"):
        beyond = tss >= length
    if beyond.any():
        examples = [
            f"{gene} at {c}:{t:,} of {int(n):,}"
            for gene, c, t, n in zip(genes.index[beyond][:3], chrom[beyond], tss[beyond], length[beyond], strict=False)
        ]
        msg = (
            f"the TSS of {beyond.sum()} of {len(genes)} genes lies beyond the end of its chromosome in "
            f"{source} ({'; '.join(examples)}): are the genes of another assembly? Take both from one"
        )
        raise InputError(msg)
    return ~np.isnan(length)


def _positions(genes: pd.DataFrame) -> np.ndarray:
    tss = pd.to_numeric(genes["tss"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        wrong = ~((tss >= 0) & (tss == np.floor(tss)) & (tss < FURTHEST))
    if wrong.any():
        msg = (
            f"tss of {wrong.sum()} of {len(genes)} genes is not a 0-based position "
            f"({some(genes.index[wrong])}: {some(genes['tss'][wrong])}): mend or drop these genes"
        )
        raise InputError(msg)
    return tss.astype(np.int64)


def _check_extent(upstream: int, downstream: int) -> None:
    for name, value in (("upstream", upstream), ("downstream", downstream)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
            msg = f"{name} is {value!r}: give a whole number of bases, 0 or more"
            raise InputError(msg)
    if upstream + downstream == 0:
        msg = "upstream and downstream are both 0: give a window of at least one base"
        raise InputError(msg)
