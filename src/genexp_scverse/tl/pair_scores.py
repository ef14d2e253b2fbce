"""Element-gene pairs tested by CRISPRi against scores per position, distance, and activity by contact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse._chroms import match_chroms
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import rows_of
from genexp_scverse._scores import (
    Places,
    Scores,
    along_genome,
    gene_names,
    intervals_of,
    places_of,
    scores_of,
    signed_distance,
)
from genexp_scverse.io.ids import strip_versions
from genexp_scverse.metrics import bootstrap_differences, bootstrap_metrics, label_metrics
from genexp_scverse.tl._activity import Tested, activity_by_contact, means_over, signal_of

if TYPE_CHECKING:
    from mudata import MuData

DISTANCE, ACTIVITY = "distance", "activity_by_contact"
_ALIASES = {
    "chromStart": "start",
    "chromEnd": "end",
    "measuredGeneEnsemblId": "gene_id",
    "measuredEnsemblID": "gene_id",
    "measuredGeneSymbol": "gene_name",
    "Regulated": "regulated",
}
SCORED, NO_GENE, NO_PLACE, OUTSIDE = "scored", "gene not in the data", "gene without a place", "outside the window"


class PairScores(NamedTuple):
    """What :func:`score_pairs` gives.

    Examples
    --------
    >>> PairScores._fields
    ('pairs', 'auprc')
    """

    pairs: pd.DataFrame
    """A row per pair, with its scores."""
    auprc: pd.DataFrame
    """A row per score, with its area under the precision-recall curve."""


def score_pairs(
    mdata: MuData,
    pairs: pd.DataFrame,
    *,
    key: str | Sequence[str] = "seq2exp_mask",
    sample: str | None = None,
    how: Literal["max", "mean"] = "max",
    candidates: str | None = None,
    gamma: float = 1.024,
    reference: str = DISTANCE,
    n_bootstrap: int = 1000,
    seed: int = 0,
    windows: Any = None,
    key_added: str = "pair_scores",
) -> PairScores:
    """Score element-gene pairs that were tested, and compare the scores by the area under the precision-recall curve.

    Every pair gets the score of its element in the window of its gene, by each of the scores `key`; its distance, the
    nearer the better; and, where there are tracks, activity by contact (Fulco et al. 2019,
    doi:10.1038/s41588-019-0538-0): the geometric mean over the tracks of the mean signal in the element (logarithms
    undone), times max(distance, 5 kb) to the power of -`gamma`. With `candidates` that is divided by the sum
    over all candidate elements whose middle is in the window of the gene, those that overlap the tested element
    replaced by it: the ABC score.

    All scores are compared on the same pairs: those whose gene is in the data and whose element has its middle in the
    window. How many these are, and why others are not, is said in the log and in the column status.

    Parameters
    ----------
    mdata
        Genes with chrom and tss, scores per position, and tracks for activity by contact.
    pairs
        Tested pairs with chrom, start, end (0-based half-open), gene_id or gene_name (or both; the id counts first,
        without its version), and regulated (True where the element regulates the gene). The columns of ENCODE's
        table of CRISPRi pairs (chromStart, chromEnd, measuredGeneEnsemblId, measuredGeneSymbol, Regulated) are known.
    key
        Names of scores per position, one or several.
    sample
        Sample of the scores and of the tracks; None where there is one.
    how
        ``max`` or ``mean`` over the positions that the element shares a base with (the mean weighted by the bases).
    candidates
        Name of the candidate elements in ``mdata.uns["intervals"]``; None for no normalisation.
    gamma
        Exponent of the power law of contact.
    reference
        Score that differences are taken to: a name in `key`, ``distance`` or ``activity_by_contact``.
    n_bootstrap
        Resamples of the pairs for the 95 % intervals; 0 for none.
    seed
        Seed of the resampling.
    windows
        What :func:`genexp_scverse.io.genome_windows` gives, to read the tracks of a genome store instead of those in
        the MuData.
    key_added
        Name of the result.

    Returns
    -------
    ``pairs``: a row per pair in the given order with chrom, start, end, gene_id, gene_name, regulated, status
    (``scored``, or why not), distance (bases from the TSS to the nearest base, negative upstream), a column per `key`,
    and activity_by_contact. ``auprc``: a row per score with n_pairs, n_regulated, auprc (average precision) and
    auprc_diff to the reference, each with ``_low`` and ``_high``; a score without skill has n_regulated / n_pairs.
    Both are written to ``mdata.uns[key_added]``, a dict.

    Raises
    ------
    InputError
        When a column or scores are missing, or no pair of either class can be scored.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [500], "strand": ["+"]}, index=["a"])
    >>> window = {"upstream": 200, "downstream": 200, "bin_size": 100, "stranded": True}
    >>> mdata = gx.io.from_bins(np.ones((1, 1, 4)), genes=["a"], marks=["DNase"], obs=obs, window=window)
    >>> mdata["chromatin"].obsm["mask"] = np.array([[0.9, 0.2, 0, 0.4]])
    >>> mdata["chromatin"].uns["mask"] = window
    >>> gx.schema.name_axes(mdata, "mask")
    >>> pairs = pd.DataFrame({"chrom": "chr1", "start": [310, 420, 5000], "end": [350, 460, 6000], "gene_id": "a",
    ...                       "regulated": [True, False, True]})
    >>> result = gx.tl.score_pairs(mdata, pairs, key="mask", n_bootstrap=0)
    >>> result.pairs[["status", "mask"]].round(1).to_numpy().tolist()
    [['scored', 0.9], ['scored', 0.2], ['outside the window', nan]]
    >>> result.auprc[["score", "auprc"]].to_numpy().tolist()
    [['mask', 1.0], ['distance', 0.5], ['activity_by_contact', 0.5]]
    """
    keys = [key] if isinstance(key, str) else list(key)
    if how not in ("max", "mean"):
        msg = f'how is {how!r}: give "max" or "mean"'
        raise InputError(msg)
    table = _checked(pairs)
    scores = {name: scores_of(mdata, name, sample) for name in keys}
    activity = signal_of(mdata, sample or next((s.sample for s in scores.values() if s.sample), None), windows)
    if activity is None and candidates is not None:
        msg = "candidates are for activity by contact, which needs tracks of one sample: name it with sample="
        raise InputError(msg)
    windows = [s.window for s in scores.values()] + ([activity.window] if activity else [])
    if not windows:
        msg = "key names no scores, and there are no tracks: nothing can be scored"
        raise InputError(msg)
    places = places_of(mdata, windows[0])
    row = _rows(mdata, table)
    chrom = _chroms(table, places)
    table["status"] = _status(table, row, chrom, places, [(w, places_of(mdata, w)) for w in windows])
    scored = (table["status"] == SCORED).to_numpy()
    _report(table)
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    at = np.flatnonzero(scored)
    table[DISTANCE] = np.nan
    away = signed_distance(places.tss[row[at]], start[at], end[at], places.minus[row[at]])
    table.loc[table.index[at], DISTANCE] = away
    for name, of in scores.items():
        table[name] = _elements_scores(mdata, of, row, start, end, at, how)
    if activity is not None:
        wanted = None if candidates is None else intervals_of(mdata, candidates)
        elements = Tested(row[at], start[at], end[at])
        table[ACTIVITY] = np.nan
        table.loc[table.index[at], ACTIVITY] = activity_by_contact(mdata, activity, elements, gamma, wanted)
    columns = [*keys, DISTANCE, *([ACTIVITY] if activity is not None else [])]
    auprc = _compared(table[scored], columns, reference, n_bootstrap, seed)
    mdata.uns[key_added] = {"pairs": table.copy(), "auprc": auprc.copy()}
    return PairScores(table, auprc)


def _checked(pairs: pd.DataFrame) -> pd.DataFrame:
    renamed = pairs.rename(columns={k: v for k, v in _ALIASES.items() if k in pairs and v not in pairs})
    missing = [c for c in ("chrom", "start", "end", "regulated") if c not in renamed]
    if not {"gene_id", "gene_name"} & set(renamed.columns):
        missing.append("gene_id or gene_name")
    if missing:
        msg = f"the table of pairs lacks the column {some(missing)}: it has {some(pairs.columns, 12)}"
        raise InputError(msg)
    said = renamed["regulated"].map(lambda v: {"true": True, "1": True, "false": False, "0": False}.get(_word(v)))
    if said.isna().any():
        wrong = renamed["regulated"][said.isna()]
        msg = f"regulated of {len(wrong)} of {len(renamed)} pairs is neither True nor False ({some(wrong.unique())})"
        raise InputError(msg)
    columns = [c for c in ("chrom", "start", "end", "gene_id", "gene_name") if c in renamed]
    table = renamed[columns].reset_index(drop=True)
    table.index = table.index.astype(str)
    for column in columns:
        if column in ("start", "end"):
            table[column] = _whole(table[column], column)
        else:
            table[column] = table[column].fillna("").astype(str).astype(object)
    table["regulated"] = said.to_numpy(bool)
    if wrong := int((table["end"] <= table["start"]).sum()):
        msg = f"{wrong} of {len(table)} pairs have an empty element (end is not after start): mend or drop them"
        raise InputError(msg)
    return table


def _whole(column: pd.Series, name: str) -> pd.Series:
    number = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(number) | (number != np.floor(number))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{name} of {int(wrong.sum())} of {len(column)} pairs is no whole number "
            f"({str(column.iloc[first])!r} in row {first + 1}): mend or drop them"
        )
        raise InputError(msg)
    return pd.Series(number.astype(np.int64), index=column.index)


def _word(value: Any) -> str:
    text = str(value).lower()
    return text.removesuffix(".0")


def _rows(mdata: MuData, table: pd.DataFrame) -> np.ndarray:
    """Row of the gene of every pair, -1 where it is not in the data."""
    row = np.full(len(table), -1)
    if "gene_id" in table:
        row = mdata.obs_names.get_indexer(table["gene_id"])
        row = np.where(row < 0, mdata.obs_names.get_indexer(strip_versions(table["gene_id"])), row)
    if "gene_name" in table:
        names = pd.Index(gene_names(mdata))
        once = ~names.duplicated(keep=False)
        by_name = names[once].get_indexer(table["gene_name"])
        by_name = np.where(by_name < 0, -1, np.flatnonzero(once)[by_name])
        row = np.where(row < 0, by_name, row)
    return row


def _chroms(table: pd.DataFrame, places: Places) -> np.ndarray:
    """Chromosomes of the pairs under the names of the genes."""
    ours = np.unique(places.chrom[places.known]).tolist()
    names = match_chroms(table["chrom"].unique(), ours, wanted_in="the table of pairs", available_in="mdata.obs")
    return table["chrom"].map(names).fillna("").to_numpy(object)


def _status(
    table: pd.DataFrame, row: np.ndarray, chrom: np.ndarray, places: Places, windows: list[tuple[dict, Places]]
) -> np.ndarray:
    middle = (table["start"].to_numpy() + table["end"].to_numpy()) // 2
    inside = (row >= 0) & (places.chrom[row] == chrom)
    for window, of in windows:
        offset = middle - of.start[row]
        inside &= (offset >= 0) & (offset < window["upstream"] + window["downstream"])
    status = np.where(inside, SCORED, OUTSIDE).astype(object)
    status[~places.known[row]] = NO_PLACE
    status[row < 0] = NO_GENE
    return status


def _report(table: pd.DataFrame) -> None:
    counts = table["status"].value_counts()
    n = int(counts.get(SCORED, 0))
    reasons = "; ".join(f"{counts[r]} {r}" for r in (NO_GENE, NO_PLACE, OUTSIDE) if r in counts)
    of = table[table["status"] == SCORED]
    text = "%d of %d pairs are scored, %d of them regulated (of %d)%s"
    numbers = (n, len(table), int(of["regulated"].sum()), int(table["regulated"].sum()))
    logger.info(text, *numbers, f"; not scored: {reasons}" if reasons else "")
    if of["regulated"].nunique() < 2:
        msg = (
            f"{n} of {len(table)} pairs can be scored, {int(of['regulated'].sum())} of them regulated, but both "
            f"classes are needed ({reasons}): take a longer window or more genes"
        )
        raise InputError(msg)


def _elements_scores(mdata, of: Scores, row, start, end, at, how) -> np.ndarray:
    out, places = np.full(len(row), np.nan), places_of(mdata, of.window)
    for gene in np.unique(row[at]):
        mine = at[row[at] == gene]
        values = along_genome(rows_of(of.values, np.array([gene])), places.reverse[[gene]])[0].astype(np.float64)
        left = start[mine] - places.start[gene]
        right = end[mine] - places.start[gene]
        if how == "mean":
            out[mine] = means_over(values[None], of.window, left, right)[0]
            continue
        size, n = of.window["bin_size"], len(values)
        first, last = np.clip(left // size, 0, n), np.clip(-(-right // size), 0, n)
        out[mine] = [np.nanmax(np.append(values[a:b], -np.inf)) for a, b in zip(first, last, strict=True)]
    out[np.isneginf(out)] = np.nan
    return out


def _compared(table: pd.DataFrame, columns: list[str], reference: str, n_bootstrap: int, seed: int) -> pd.DataFrame:
    if reference not in columns:
        msg = f"reference is {reference!r}: choose one of the scores {some(columns, 8)}"
        raise InputError(msg)
    values = {c: table[c].to_numpy(np.float64) for c in columns}
    values[DISTANCE] = -np.abs(values[DISTANCE])
    known = np.all([~np.isnan(v) for v in values.values()], axis=0)
    if not known.all():
        logger.info("%d of the pairs have no value in one of the scores and are left out", int((~known).sum()))
    label = table["regulated"].to_numpy(np.float64)[known]
    rows = []
    for name, of in values.items():
        row: dict[str, Any] = {"score": name, "n_pairs": len(label), "n_regulated": int(label.sum())}
        row["auprc"] = label_metrics(label, of[known])["auprc"]
        row["auprc_diff"] = row["auprc"] - label_metrics(label, values[reference][known])["auprc"]
        if n_bootstrap:
            low, high = bootstrap_metrics(label=label, prob=of[known], n=n_bootstrap, seed=seed)["auprc"]
            both = bootstrap_differences(
                label=label, prob=of[known], reference_prob=values[reference][known], n=n_bootstrap, seed=seed
            )["auprc"]
            row |= {"auprc_low": low, "auprc_high": high, "auprc_diff_low": both[1], "auprc_diff_high": both[2]}
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index([str(i) for i in range(len(rows))]))
