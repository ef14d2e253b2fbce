"""From scores per position to elements: merged intervals with their genes, and their union over the genome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of
from genexp_scverse._scores import (
    Places,
    Scores,
    along_genome,
    always_open,
    gene_chrom_sizes,
    gene_names,
    holder_of,
    places_of,
    samples_of,
    scores_of,
    signed_distance,
)

if TYPE_CHECKING:
    from mudata import MuData

COLUMNS = ("chrom", "start", "end", "name", "score", "strand", "gene_id", "distance", "gene_tss", "sample")
PROMOTER = 1000
"""Bases on either side of a TSS."""


def call_elements(
    model: Any,
    mdata: MuData,
    *,
    key: str = "seq2exp_mask",
    threshold: float | None = None,
    top: float | None = None,
    merge_gap: int = 0,
    min_length: int = 0,
    exclude_promoter: int | None = None,
    samples: Sequence[str] | str | None = None,
    key_added: str = "elements",
) -> pd.DataFrame:
    """Call the elements of every gene: stretches of its window whose score is high.

    Works on any score per position that is stored as a mask is: ``obsm[key]`` (genes x positions) of
    ``mdata["chromatin"]`` or ``mdata["dna"]`` with the window in ``uns[key]``; see :func:`fixed_mask`. Positions
    are kept by value (`threshold`) or by rank (`top`). Kept positions that touch, or lie at most `merge_gap` bases
    apart on the same side of the promoter, become one element.

    Parameters
    ----------
    model
        Asked for its mask of `samples`, which is stored as `key` in place of older scores of this name; None to work
        on what is stored.
    mdata
        Genes with chrom, tss and, for stranded windows, strand. Genes without a place are left out.
    key
        Name of the scores.
    threshold
        Smallest score that is kept; 0.5 where neither this nor `top` is given.
    top
        Share of positions to keep by rank, above 0 and below 1, of all that can be elements (outside of promoters,
        on the chromosome) in all genes of a sample together. Positions of equal score are kept or left together,
        and the lowest score is never kept.
    merge_gap
        Largest gap in bases within an element; its positions count in the score.
    min_length
        Shortest element in bases.
    exclude_promoter
        Positions with a base less than this many bases from the TSS are no elements; 0 leaves none out. By default
        those that a mask keeps open in every gene are none, or of scores that say nothing of it those of 1,000 bases.
    samples
        Samples to call; None for all of the model, or all that the stored scores are of.
    key_added
        Name of the result.

    Returns
    -------
    A row per element and gene, in the order of samples, of genes, and along the chromosome: chrom, start, end
    (0-based half-open, the strand of the window undone, cut at the ends of the chromosome), name (of the gene, with a
    number, and where several samples are called the sample: ``MYC_3_K562``), score (mean over its positions), strand
    (``.``), gene_id, distance (bases from the TSS to the nearest base of the element: 0 where it covers the TSS,
    negative upstream in the direction of transcription), gene_tss and sample. Also written to
    ``mdata.uns["intervals"][key_added]``.

    Raises
    ------
    InputError
        When no scores are stored, the model has no mask or the MuData no modality for it, or an argument is out of
        range.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [500, 500], "strand": ["+", "-"]}, index=["a", "b"])
    >>> window = {"upstream": 200, "downstream": 200, "bin_size": 100, "stranded": True}
    >>> mdata = gx.io.from_bins(np.ones((2, 1, 4)), genes=["a", "b"], marks=["DNase"], obs=obs, window=window)
    >>> mdata["chromatin"].obsm["mask"] = np.array([[0.9, 0.7, 0, 0], [0.8, 0, 0, 0]])
    >>> mdata["chromatin"].uns["mask"] = window
    >>> gx.schema.name_axes(mdata, "mask")
    >>> table = gx.tl.call_elements(None, mdata, key="mask", exclude_promoter=0)
    >>> table[["start", "end", "score", "gene_id", "distance"]].round(3).to_numpy().tolist()
    [[300, 500, 0.8, 'a', -1], [601, 701, 0.8, 'b', -101]]
    """
    threshold = _check(threshold, top, merge_gap, min_length, exclude_promoter)
    if model is not None:
        if not hasattr(model, "get_mask"):
            msg = f"{type(model).__name__} has no mask: give a model that selects positions, such as Seq2ExpModel"
            raise InputError(msg)
        holder_of(mdata)
        model.get_mask(mdata, samples=samples, key_added=key)
    there: list[str | None] = list(samples_of(mdata, key)) or [None]
    wanted = there if samples is None else [samples] if isinstance(samples, str) else list(samples)
    tables, sizes = [], gene_chrom_sizes(mdata)
    for sample in wanted:
        scores = scores_of(mdata, key, sample)
        places = places_of(mdata, scores.window)
        able = _Able(scores, places, sizes, exclude_promoter, always_open(mdata, key))
        cut = _cut(able, top) if top is not None else threshold
        table = _elements(mdata, able, cut, merge_gap, min_length)
        if len(wanted) > 1 and scores.sample:
            # the first elements of a gene in two samples are two elements
            table["name"] += f"_{scores.sample}"
        tables.append(table)
    if lost := int((~places.known).sum()):
        logger.info("%d of %d genes have no chromosome or no TSS and no elements", lost, mdata.n_obs)
    table = pd.concat(tables, ignore_index=True)
    table.index = table.index.astype(str)
    n_genes = table["gene_id"].nunique()
    logger.info("%d elements of %d genes from the scores %r", len(table), n_genes, key)
    mdata.uns["intervals"] = {**mdata.uns.get("intervals", {}), key_added: table.copy()}
    return table


def union_elements(table: pd.DataFrame) -> pd.DataFrame:
    """Join elements that overlap or touch, of all genes and samples, into one set over the genome.

    Parameters
    ----------
    table
        What :func:`call_elements` returned.

    Returns
    -------
    A row per joined element, by chromosome and start: chrom, start, end (0-based half-open), name
    (``chrom:start-end``), score (the best), strand (``.``), gene_id (of all its genes, joined by a comma), n_genes
    and, where `table` has it, sample (likewise joined).

    Raises
    ------
    InputError
        When a column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"chrom": "chr1", "start": [100, 150, 900], "end": [200, 300, 950],
    ...                       "score": [0.6, 0.9, 0.7], "gene_id": ["a", "b", "a"]})
    >>> union_elements(table)[["start", "end", "score", "gene_id"]].to_numpy().tolist()
    [[100, 300, 0.9, 'a,b'], [900, 950, 0.7, 'a']]
    """
    if missing := [c for c in ("chrom", "start", "end", "score", "gene_id") if c not in table]:
        msg = f"the table of elements lacks the column {some(missing)}: give what gx.tl.call_elements returned"
        raise InputError(msg)
    table = table.sort_values(["chrom", "start", "end"], kind="stable", ignore_index=True)
    first = np.unique(table["chrom"].astype(str), return_inverse=True)[1]
    # far apart, chromosomes can share one line along which the furthest end so far is kept
    step = int(table["end"].max()) + 2 if len(table) else 1
    start = table["start"].to_numpy(np.int64) + first * step
    reach = np.maximum.accumulate(table["end"].to_numpy(np.int64) + first * step)
    group = np.cumsum(np.concatenate([[True], start[1:] > reach[:-1]])[: len(table)]) - 1
    by = table.groupby(group, sort=True)
    out = pd.DataFrame({"chrom": by["chrom"].first(), "start": by["start"].min(), "end": by["end"].max()})
    out["name"] = [f"{c}:{s}-{e}" for c, s, e in zip(out["chrom"], out["start"], out["end"], strict=True)]
    out["score"], out["strand"] = by["score"].max(), "."
    out["gene_id"], out["n_genes"] = _joined(table["gene_id"], group), by["gene_id"].nunique()
    if "sample" in table:
        out["sample"] = _joined(table["sample"], group)
    return out.reset_index(drop=True)


def _joined(column: pd.Series, group: np.ndarray) -> pd.Series:
    pairs = pd.DataFrame({"group": group, "value": column.astype(str)}).drop_duplicates()
    alone = ~pairs["group"].duplicated(keep=False)
    one, several = pairs[alone].set_index("group")["value"], pairs[~alone]
    return pd.concat([one, several.groupby("group")["value"].agg(",".join)]).sort_index()


def share_cut(values: np.ndarray, share: float) -> float:
    """Score from which on about `share` of `values` lies; equal scores stay together, the lowest is never kept.

    Parameters
    ----------
    values
        Scores, none of them NaN.
    share
        Share to keep, above 0 and below 1.

    Returns
    -------
    Smallest score to keep; infinity where all are equal.

    Examples
    --------
    >>> share_cut(np.array([0.1, 0.4, 0.2, 0.3]), 0.5)
    0.3
    """
    if not len(values):
        return np.inf
    k = min(max(1, round(share * len(values))), len(values))
    cut = float(np.partition(values, len(values) - k)[len(values) - k])
    lowest = float(values.min())
    if cut <= lowest:
        above = values[values > lowest]
        cut = float(above.min()) if len(above) else np.inf
    kept = float((values >= cut).mean())
    if abs(kept - share) > max(0.1 * share, 1 / len(values)):
        logger.warning("%.3g of the positions are kept instead of %.3g: many have the same score", kept, share)
    return cut


class _Able:
    """Which positions can be elements: on the chromosome, outside of the promoter."""

    def __init__(
        self,
        scores: Scores,
        places: Places,
        sizes: dict[str, int] | None,
        exclude: int | None,
        opened: tuple[int, int] | None,
    ):
        self.scores, self.places = scores, places
        self.exclude = (PROMOTER if opened is None else None) if exclude is None else exclude
        """Bases; None for the positions that are always open."""
        self.opened = opened
        self.size = int(scores.window["bin_size"])
        ends = pd.Series(places.chrom).map(sizes) if sizes else pd.Series(np.nan, index=range(len(places.chrom)))
        self.end = ends.fillna(np.iinfo(np.int64).max // 2).to_numpy(np.int64)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, scores along the chromosome, and whether a position can be an element."""
        n = self.scores.values.shape[1]
        at = np.arange(n + 1) * self.size
        closed = np.ones(n, bool)
        if self.opened is not None:
            closed[slice(*self.opened)] = False
        for rows, block in blocks_of(self.scores.values, np.flatnonzero(self.places.known)):
            edges = self.places.start[rows, None] + at
            start, end = edges[:, :-1], edges[:, 1:]
            able = (end > 0) & (start < self.end[rows, None])
            if self.exclude:
                tss = self.places.tss[rows, None]
                able &= (end - 1 <= tss - self.exclude) | (start >= tss + self.exclude)
            elif self.exclude is None:
                able &= along_genome(np.tile(closed, (len(rows), 1)), self.places.reverse[rows])
            yield rows, along_genome(block, self.places.reverse[rows]), able


def _cut(able: _Able, top: float) -> float:
    """Score from which on a share of the positions is kept."""
    values = np.concatenate([block[ok & ~np.isnan(block)] for _, block, ok in able.blocks()] or [np.zeros(0)])
    return share_cut(values, top)


def _elements(mdata: MuData, able: _Able, cut: float, merge_gap: int, min_length: int) -> pd.DataFrame:
    places, size = able.places, able.size
    parts = [_runs(rows, block, ok, cut, merge_gap, able) for rows, block, ok in able.blocks()]
    row, first, last, score = (
        np.concatenate([p[i] for p in parts]) if parts else np.zeros(0, np.float64 if i == 3 else np.int64)
        for i in range(4)
    )
    start = np.maximum(places.start[row] + first * size, 0)
    end = np.minimum(places.start[row] + last * size, able.end[row])
    keep = end - start >= max(min_length, 1)
    row, start, end, score = row[keep], start[keep], end[keep], score[keep]
    new = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
    number = np.arange(len(row)) - np.maximum.accumulate(np.where(new, np.arange(len(row)), 0)) + 1
    names = gene_names(mdata)[row]
    ids = np.asarray(mdata.obs_names, dtype=object)[row]
    columns = {
        "chrom": places.chrom[row].astype(object),
        "start": start,
        "end": end,
        "name": np.array([f"{name}_{k}" for name, k in zip(names, number, strict=True)], dtype=object),
        "score": score,
        "strand": ".",
        "gene_id": ids,
        "distance": signed_distance(places.tss[row], start, end, places.minus[row]),
        "gene_tss": places.tss[row],
        "sample": able.scores.sample or "",
    }
    return pd.DataFrame(columns)[list(COLUMNS)]


def _runs(rows, block, ok, cut, merge_gap, able) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, first position, one past the last, and mean score of each run of kept positions."""
    with np.errstate(invalid="ignore"):
        kept = ok & (block >= cut)
    padded = np.zeros((len(rows), kept.shape[1] + 2), np.int8)
    padded[:, 1:-1] = kept
    step = np.diff(padded, axis=1)
    at, first = np.nonzero(step == 1)
    last = np.nonzero(step == -1)[1]
    if merge_gap and len(at) > 1:
        side = able.places.start[rows[at]] + first * able.size > able.places.tss[rows[at]]
        gap = (first[1:] - last[:-1]) * able.size
        joined = (at[1:] == at[:-1]) & (gap <= merge_gap) & ((side[1:] == side[:-1]) | (able.exclude == 0))
        opens = np.concatenate([[True], ~joined])
        at, first, last = at[opens], first[opens], last[np.concatenate([~joined, [True]])]
    total = np.zeros((len(rows), kept.shape[1] + 1))
    np.cumsum(np.nan_to_num(block.astype(np.float64)), axis=1, out=total[:, 1:])
    return rows[at], first, last, (total[at, last] - total[at, first]) / (last - first)


def _check(threshold, top, merge_gap, min_length, exclude_promoter) -> float:
    if threshold is not None and top is not None:
        msg = f"threshold={threshold} and top={top} are both given: keep positions by value or by rank"
        raise InputError(msg)
    if top is not None and not 0 < top < 1:
        msg = f"top is {top}: give a share of positions above 0 and below 1"
        raise InputError(msg)
    for name, value in (
        ("merge_gap", merge_gap),
        ("min_length", min_length),
        ("exclude_promoter", exclude_promoter),
    ):
        if value is not None and value < 0:
            msg = f"{name} is {value}: give a number of bases, 0 or more"
            raise InputError(msg)
    threshold = 0.5 if threshold is None else float(threshold)
    if np.isnan(threshold):
        msg = "threshold is NaN: give a score"
        raise InputError(msg)
    return threshold
