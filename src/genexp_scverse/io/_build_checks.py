"""What is compared between the files of one MuData, before the long reading starts."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, option, some
from genexp_scverse._logging import logger
from genexp_scverse.io._bigwig_file import BigWig
from genexp_scverse.io.chroms import same_chrom
from genexp_scverse.io.expression.levels import BySample
from genexp_scverse.io.provenance import file_table
from genexp_scverse.io.window import tss_windows
from genexp_scverse.schema import BASES

_FIRST_CHROMOSOME = {
    ("1", 249_250_621): "hg19",
    ("1", 248_956_422): "hg38",
    ("1", 195_471_971): "mm10",
    ("1", 195_154_279): "mm39",
    ("I", 230_218): "sacCer3",
}
_N = BASES.index("N")
_ATG, _CAT = (np.array([BASES.index(b) for b in codon]) for codon in ("ATG", "CAT"))
_FEW_CODONS, _LEAST_STARTS = 20, 0.5
"""Start codons that tell something, and the share of them that is ATG in the right assembly (nearly all are)."""
_FOLD = 30
_MOST_LOG = 50


def check_genes(genes: pd.DataFrame) -> pd.DataFrame:
    """Make sure that a table of genes names each gene once; a column gene_id becomes the index."""
    if "gene_id" in genes:
        genes = genes.set_index("gene_id")
    missing = [c for c in ("chrom", "tss", "strand") if c not in genes]
    if missing:
        msg = f"the table of genes lacks the column {some(missing)}: it has {some(genes.columns, 6)}"
        raise InputError(msg)
    slashed = [c for c in genes if "/" in str(c)]
    if slashed:
        msg = f"the table of genes has the column {some(slashed)}, whose slash no file can keep: rename it"
        raise InputError(msg)
    if not len(genes):
        msg = "the table of genes has no row: give at least one gene"
        raise InputError(msg)
    attrs = dict(genes.attrs)
    genes = genes.set_axis(pd.Index([str(g) for g in genes.index], name="gene_id"), axis=0)
    genes.attrs = attrs
    twice = genes.index[genes.index.duplicated()].unique()
    if len(twice):
        msg = f"{len(twice)} gene ids occur more than once ({some(twice)}): keep one row of each"
        raise InputError(msg)
    return genes


def report_samples(tracks: pd.DataFrame, levels: pd.DataFrame) -> None:
    """Say which samples have tracks or expression alone; raise when none has both."""
    both = set(tracks["sample"]) & set(levels.columns)
    if not both:
        msg = (
            f"no sample of the sheet ({some(sorted(set(tracks['sample'])))}) is a column of the expression table "
            f"({some(levels.columns)}): give them the same names"
        )
        # featureCounts names a column by the whole path of its file
        samples = sorted(set(tracks["sample"]))
        named = {
            s: found[0] for s in samples if len(found := [c for c in levels.columns if s in re.split(r"[\W]", c)]) == 1
        }
        if named:
            msg += f", as by {option('columns', BySample(named))}"
        raise InputError(msg)
    for names, what in (
        (sorted(set(tracks["sample"]) - both), "tracks but no expression"),
        (sorted(set(levels.columns) - both), "expression but no tracks"),
    ):
        if names:
            logger.info("Samples with %s: %s", what, some(names))


def report_scales(tracks: pd.DataFrame) -> None:
    """Warn of tracks whose values contradict the scale that the sheet gives them."""
    means = []
    for path, scale in zip(tracks["path"], tracks["scale"], strict=True):
        highest, total = _summary(Path(path))
        with BigWig(Path(path)) as track:
            means.append(total / max(1, sum(track.chroms.values())))
        if scale in ("log", "log_ratio") and highest > _MOST_LOG:
            logger.warning(
                "%s has values up to %g, which do not look like the scale %s: is it coverage, fold_change or pvalue?",
                path, highest, scale,
            )  # fmt: skip
    for (mark, scale), of in tracks.assign(mean=means).query("mean > 0").groupby(["mark", "scale"], sort=False):
        low, high = of.loc[of["mean"].idxmin()], of.loc[of["mean"].idxmax()]
        if high["mean"] > _FOLD * low["mean"]:
            logger.warning(
                "Mixed signal scales: the mean signal of %s is %.3g in %s and %.3g in %s, both given as %s: are both "
                "of that scale? Say otherwise in the column scale of the sheet",
                mark, low["mean"], low["sample"], high["mean"], high["sample"], scale,
            )  # fmt: skip


def _summary(path: Path) -> tuple[float, float]:
    """Read the highest value and the sum of all from a bigWig that is whole, 0 where it does not say.

    pyBigWig's ``header()`` rounds both to whole numbers, and ends the process where they are NaN.
    """
    with path.open("rb") as stream:
        stream.seek(44)
        (offset,) = struct.unpack("<Q", stream.read(8))
        if not offset:
            return 0.0, 0.0
        stream.seek(offset)
        _, _, highest, total, _ = struct.unpack("<Qdddd", stream.read(40))
    return highest, total


def check_same_genome(
    sizes: Mapping[str, int], others: Mapping[str, int], *, source: Any, what: str = "the tracks"
) -> None:
    """Compare lengths of chromosomes under whatever names; one that differs means another assembly.

    The mitochondrion alone may differ (hg19 has two versions of it): that is a warning.
    """
    by_name = {same_chrom(str(c)): int(n) for c, n in others.items()}
    wrong = {c: (n, by_name[same_chrom(c)]) for c, n in sizes.items() if by_name.get(same_chrom(c), n) != n}
    text = [f"{c}: {n:,} against {m:,}" for c, (n, m) in wrong.items()]
    if all(same_chrom(c) == "MT" for c in wrong):
        if wrong:
            logger.warning("The mitochondrion of %s is of another version than that of %s (%s)", what, source, text[0])
        return
    msg = (
        f"{what} and {source} are of different assemblies ({len(wrong)} chromosomes differ in length: "
        f"{some(text)}): give both of the same one"
    )
    raise InputError(msg)


def check_windows(genes: pd.DataFrame, sizes: Mapping[str, int], *, window: Mapping[str, Any], source: Any) -> None:
    """Refuse windows that no chromosome can hold, and say how many reach beyond the end of theirs."""
    by_name = {same_chrom(str(c)): int(n) for c, n in sizes.items()}
    size = genes["chrom"].astype(str).map(lambda c: by_name.get(same_chrom(c), np.nan)).to_numpy(float)
    length = window["upstream"] + window["downstream"]
    if np.isnan(size).all():
        return
    if length > np.nanmax(size):
        msg = (
            f"the window of {length:,} bases is longer than every chromosome with genes (the longest in {source} has "
            f"{int(np.nanmax(size)):,}): give a shorter upstream and downstream"
        )
        raise InputError(msg)
    places = tss_windows(genes, **window)
    beyond = int(((places.start < 0) | (places.end > size)).sum())
    if beyond:
        logger.info(
            "%d of %d windows reach beyond the end of their chromosome: nothing is there (N, no signal)",
            beyond, len(genes),
        )  # fmt: skip


def check_start_codons(genes: pd.DataFrame, codes: np.ndarray, *, window: Mapping[str, Any], source: Any) -> None:
    """Read start codons of the annotation in the DNA of the windows: where few are ATG, it is of another assembly."""
    codons = genes.attrs.get("start_codons", {})
    place = np.array([codons.get(gene, -1) for gene in genes.index], np.int64)
    away = place - genes["tss"].to_numpy(np.int64)
    minus = (genes["strand"] == "-").to_numpy()
    if window["stranded"]:
        away, minus = np.where(minus, -away, away), np.zeros(len(genes), bool)
    first = window["upstream"] + away - 2 * minus
    rows = np.flatnonzero((place >= 0) & (first >= 0) & (first + 3 <= codes.shape[1]))
    found = codes[rows[:, None], first[rows, None] + np.arange(3)]
    read, on_minus = (found < _N).all(axis=1), minus[rows]
    start = (found == np.where(on_minus[:, None], _CAT, _ATG)).all(axis=1)
    n, right = int(read.sum()), int(start[read].sum())
    if n >= _FEW_CODONS and right < _LEAST_STARTS * n:
        annotation = genes.attrs.get("path", "the annotation")
        msg = (
            f"of {n} start codons of {annotation} in the windows, {right} are ATG in {source}: they are of different "
            "assemblies, give both of the same one"
        )
        raise InputError(msg)


def guess_assembly(sizes: Mapping[str, int]) -> str:
    """Tell the name of a well-known genome by the length of its first chromosome."""
    for chrom, size in sizes.items():
        name = _FIRST_CHROMOSOME.get((same_chrom(chrom), int(size)))
        if name:
            return name
    return "unknown"


def named_path(role: str, source: Any) -> list[tuple[str, Path]]:
    """Give role and path of a source that is a file, or of a table that says which file it was read from."""
    if isinstance(source, pd.DataFrame):
        source = source.attrs.get("path")
    return [(role, Path(source))] if isinstance(source, str | Path) else []


def provenance(files: list[tuple[str, Path]]) -> pd.DataFrame:
    """List the files as they are before the long reading."""
    try:
        return file_table(files)
    except FileNotFoundError as error:
        msg = f"{error.filename} was there a moment ago and is gone: bring it back and start again"
        raise InputError(msg) from None
