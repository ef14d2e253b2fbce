"""Write a small simulated genome as real files: DNA, genes, tracks, expression, and the truth beside."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._output import check_folder, written
from genexp_scverse.datasets._annotation import write_fasta, write_gtf
from genexp_scverse.datasets._genome import (
    CLOSED_EFFECT,
    FACTORS,
    ISLAND_EFFECT,
    Genome,
    draw_dna,
    draw_genome,
    factor_activity,
)
from genexp_scverse.datasets._super_enhancers import draw_super_enhancers, effect_on_genes, no_super_enhancers
from genexp_scverse.datasets._tracks import MARKS, draw_states, draw_track, write_bigwig

ENHANCER_SHARE = 0.5
READS_PER_GENE = 1_000


class Simulated(NamedTuple):
    """Paths of the files written by :func:`simulate`.

    Examples
    --------
    >>> Simulated._fields[:4]
    ('genome', 'genes', 'sheet', 'expression')
    """

    genome: Path
    genes: Path
    sheet: Path
    expression: Path
    chrom_sizes: Path
    truth_elements: Path
    truth_genes: Path


def simulate(
    directory: str | os.PathLike[str],
    *,
    n_genes: int = 1200,
    n_chroms: int = 8,
    samples: Sequence[str] = ("A", "B"),
    marks: Sequence[str] = ("H3K4me3", "H3K27ac", "H3K36me3", "H3K27me3", "H3K9me3"),
    spacing: int = 12_000,
    noise: float = 0.5,
    super_enhancers: float = 0.0,
    seed: int = 0,
) -> Simulated:
    r"""Simulate a genome whose motifs set expression, and write it as FASTA, GTF, bigWig and tables.

    Log expression of a gene is a constant of the sample plus the effects of its promoter and of up to three
    enhancers 1 to 20 kb away. An effect is the sum over the element's binding sites (effect of the factor,
    times affinity of the site, times activity of the factor in the sample); that of an enhancer is halved
    and fades with distance; a CpG island adds to its promoter, and a promoter without sites is closed. Half
    of the factors, about, are active in one sample in turn and nearly absent from the others. Expression
    has log-normal noise and that of counting reads on top, so lowly expressed genes come out at 0.

    Marks follow activity imperfectly: H3K4me3 and H3K27ac at active promoters, H3K27ac at active enhancers,
    H3K36me3 over transcribed bodies, H3K27me3 or H3K9me3 at some silent genes and in domains elsewhere.
    Decoys have the marks of enhancers, but neither motifs nor effect.

    Neighbouring genes know nothing of each other unless there are `super_enhancers`: stretches of 15 to 25 kb,
    one for about 16 genes in a sample, that carry the marks of enhancers throughout and raise every gene around
    them, by `super_enhancers` times exp(-distance / 50 kb) in log expression. The marks at promoter and body of
    a gene do not follow this part of its expression; those in the windows of its neighbours tell of it.

    Parameters
    ----------
    directory
        Folder to write to; it is made when missing. Files of these names in it are replaced, all at once,
        when everything has been written beside it; others stay.
    n_genes
        Number of protein-coding genes on chromosomes. About 3 % non-coding genes come on top, and two genes
        that readers must cope with: one on an unplaced scaffold, and a ``_PAR_Y`` duplicate of the first.
    n_chroms
        Number of chromosomes, ``chr1`` onwards, each with its share of the genes.
    samples
        Names of the samples.
    marks
        Marks to write per sample; of H3K4me3, H3K27ac, H3K36me3, H3K27me3, H3K9me3, H3K4me1, H3K9ac, DNase.
    spacing
        Mean distance between neighbouring genes in bases, 2,000 or more; with `n_genes` it sets the size of the
        genome. 2,200 is that of yeast, and leaves little room for enhancers.
    noise
        Standard deviation of the noise of natural log expression.
    super_enhancers
        What an active super-enhancer adds to natural log expression at its place; 0 for a genome without them.
    seed
        Seed of everything: the same arguments give the same text files byte for byte, and equal tracks.

    Returns
    -------
    Paths of the files, all in `directory`:

    ``genome.fa`` (with index)
        DNA; repeats in lower case, telomere and a gap as N.
    ``genes.gtf.gz``
        GENCODE-like gene, transcript and exon records (1-based closed).
    ``tracks/<sample>.<mark>.bigWig`` and ``sheet.tsv``
        Coverage in bins of 50 bases; sample, mark, path (relative to the sheet), scale.
    ``expression.tsv``
        gene_id with version, and TPM per sample; the two odd genes have no row.
    ``chrom.sizes``
        Chromosome and length, without a header.
    ``truth_elements.tsv``
        element_id, chrom, start, end (0-based half-open), kind (promoter, enhancer, decoy), gene_id (target,
        or for a decoy the gene it lies near), distance of the centre from the TSS in bases (negative is
        upstream), motifs (``factor@start:strand``, joined by ``;``), effect_<sample> on natural log
        expression. Super-enhancers (kind super_enhancer) act on many genes: gene_id and distance are empty, and
        the effect is that at their place.
    ``truth_genes.tsv``
        gene_id, and per sample the natural log of TPM without noise.

    Raises
    ------
    InputError
        For a count that is too small, or a sample or mark that cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from genexp_scverse.datasets import simulate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = simulate(folder, n_genes=20, n_chroms=2, marks=["H3K4me3"], seed=1)
    ...     pd.read_csv(files.sheet, sep="\t")
      sample     mark                     path     scale
    0      A  H3K4me3  tracks/A.H3K4me3.bigWig  coverage
    1      B  H3K4me3  tracks/B.H3K4me3.bigWig  coverage
    """
    samples, marks = _check(n_genes, n_chroms, samples, marks, spacing, noise, super_enhancers, seed)
    directory = Path(directory)
    check_folder(directory)
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)]
    genome = draw_genome(rngs[0], n_genes=n_genes, n_chroms=n_chroms, spacing=spacing)
    effects, drive = _effects(genome, len(samples))
    places, active = no_super_enhancers(), np.zeros((0, len(samples)))
    if super_enhancers:
        places, active = draw_super_enhancers(rngs[5], genome, len(samples))
    own = _log_expression(genome, effects)
    log_expression = _log_expression(genome, effects, effect_on_genes(genome, places, super_enhancers * active))
    states = draw_states(rngs[2], genome, own, drive)
    with written(directory, own=lambda _: False) as folder:
        (folder / "tracks").mkdir(parents=True)
        write_fasta(folder / "genome.fa", draw_dna(rngs[1], genome))
        write_gtf(folder / "genes.gtf.gz", genome, rngs[3])
        _write_table(folder / "chrom.sizes", pd.DataFrame(genome.sizes.items()), header=False)
        tpm = _count_reads(rngs[3], genome, log_expression, noise)
        gene_ids = genome.genes["gene_id"]
        versioned = gene_ids + "." + genome.genes["version"].astype(str)
        _write_table(folder / "expression.tsv", _per_gene(versioned, tpm, samples), float_format="%.4f")
        truth = _per_gene(gene_ids, log_expression, samples)
        _write_table(folder / "truth_genes.tsv", truth, float_format="%.6f")
        elements = _element_table(genome, effects, samples)
        if len(places):
            elements = pd.concat([elements, _place_table(places, super_enhancers * active, samples)])
        _write_table(folder / "truth_elements.tsv", elements, float_format="%.6f")
        rows = []
        for i, sample in enumerate(samples):
            for mark in marks:
                path = f"tracks/{sample}.{mark}.bigWig"
                coverage = draw_track(rngs[4], genome, states, i, mark, places[active[:, i] > 0])
                write_bigwig(folder / path, genome.sizes, coverage)
                rows.append((sample, mark, path, "coverage"))
        sheet = pd.DataFrame(rows, columns=["sample", "mark", "path", "scale"])
        _write_table(folder / "sheet.tsv", sheet)
    logger.info(
        "Simulated %d genes on %d chromosomes (%.1f Mb), %d enhancers, %d decoys%s and %d tracks in %s.",
        len(genome.genes),
        n_chroms,
        sum(genome.sizes.values()) / 1e6,
        (elements["kind"] == "enhancer").sum(),
        (elements["kind"] == "decoy").sum(),
        f", {len(places)} super-enhancers" if len(places) else "",
        len(sheet),
        directory,
    )
    names = ("genome.fa", "genes.gtf.gz", "sheet.tsv", "expression.tsv", "chrom.sizes")
    return Simulated(*(directory / n for n in (*names, "truth_elements.tsv", "truth_genes.tsv")))


def _check(n_genes, n_chroms, samples, marks, spacing, noise, super_enhancers, seed) -> tuple[list[str], list[str]]:
    for name, value, least in (
        ("n_chroms", n_chroms, 1),
        ("n_genes", n_genes, n_chroms),
        ("spacing", spacing, 2000),
        ("seed", seed, 0),
    ):
        if value < least:
            msg = f"{name}={value} is too small: it has to be {least} or more."
            raise InputError(msg)
    if noise < 0:
        msg = f"noise={noise} is negative: a standard deviation of 0 or more is needed."
        raise InputError(msg)
    if not 0 <= super_enhancers < np.inf:
        msg = f"super_enhancers={super_enhancers} is not possible: an effect of 0 or more is needed."
        raise InputError(msg)
    for name, given in (("samples", samples), ("marks", marks)):
        values = [given] if isinstance(given, str) else list(given)
        if not values or len(set(values)) < len(values):
            msg = f"{name}={values} has to be a list of one or more different names."
            raise InputError(msg)
    samples = [samples] if isinstance(samples, str) else list(samples)
    marks = [marks] if isinstance(marks, str) else list(marks)
    odd = [s for s in samples if not re.fullmatch(r"[A-Za-z0-9_-]+", s)]
    if odd:
        msg = f"Sample names {some(odd)} would not do in file names: use letters, digits, '_' and '-' only."
        raise InputError(msg)
    unknown = [m for m in marks if m not in MARKS]
    if unknown:
        msg = f"Marks {some(unknown)} cannot be simulated: choose from {', '.join(MARKS)}."
        raise InputError(msg)
    return samples, marks


def _effects(genome: Genome, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Effects on log expression (elements x samples), and the same before distance (what marks see)."""
    activity = factor_activity(n_samples)
    factor, sites = genome.sites["factor"].to_numpy(), genome.sites
    strength = np.array([f.effect for f in FACTORS])[factor] * sites["affinity"].to_numpy()
    drive = np.zeros((len(genome.elements), n_samples))
    np.add.at(drive, sites["element"].to_numpy(), strength[:, None] * activity[factor])
    kind, gene = genome.elements["kind"].to_numpy(), genome.elements["gene"].to_numpy()
    away = np.abs(genome.elements["distance"].to_numpy())
    effects = drive.copy()
    enhancer = kind == "enhancer"
    effects[enhancer] *= (ENHANCER_SHARE * (1 + away[enhancer] / 5_000) ** -0.7)[:, None]
    empty = ~np.isin(np.arange(len(kind)), sites["element"].to_numpy())
    effects[(kind == "promoter") & empty] += CLOSED_EFFECT
    effects[(kind == "promoter") & genome.genes["island"].to_numpy()[gene]] += ISLAND_EFFECT
    return effects, drive


def _log_expression(genome: Genome, effects: np.ndarray, around: np.ndarray | float = 0.0) -> np.ndarray:
    """Sum the effects per gene and those from around; the constant of a sample makes its TPM sum to a million."""
    total = np.zeros((len(genome.genes), effects.shape[1]))
    np.add.at(total, genome.elements["gene"].to_numpy(), effects)
    total += around
    return total - np.log(np.exp(total).sum(axis=0)) + np.log(1e6)


def _count_reads(rng, genome: Genome, log_expression: np.ndarray, noise: float) -> np.ndarray:
    """Noisy TPM: log-normal noise, then reads counted in proportion to abundance and length."""
    length = np.maximum(0.4 * (genome.genes["end"] - genome.genes["start"]).to_numpy(), 400)[:, None]
    mass = np.exp(log_expression + rng.normal(0, noise, log_expression.shape)) * length
    reads = rng.poisson(READS_PER_GENE * len(mass) * mass / mass.sum(axis=0))
    rate = reads / length
    return 1e6 * rate / rate.sum(axis=0)


def _per_gene(gene_ids: pd.Series, values: np.ndarray, samples: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(values, columns=samples)
    table.insert(0, "gene_id", gene_ids.to_numpy())
    return table


def _element_table(genome: Genome, effects: np.ndarray, samples: list[str]) -> pd.DataFrame:
    table = genome.elements.drop(columns=["gene", "distance"])
    table.insert(0, "element_id", [f"{kind}{i + 1}" for i, kind in enumerate(table["kind"])])
    table["gene_id"] = genome.genes["gene_id"].to_numpy()[genome.elements["gene"]]
    table["distance"] = genome.elements["distance"].astype("Int64")
    motifs: dict[int, list[str]] = {}
    for site in genome.sites.sort_values(["element", "start"]).itertuples():
        motifs.setdefault(site.element, []).append(f"{FACTORS[site.factor].name}@{site.start}:{site.strand}")
    table["motifs"] = [";".join(motifs.get(i, [])) for i in range(len(table))]
    for i, sample in enumerate(samples):
        table[f"effect_{sample}"] = effects[:, i]
    return table


def _place_table(places: pd.DataFrame, effects: np.ndarray, samples: list[str]) -> pd.DataFrame:
    table = places[["chrom", "start", "end"]].copy()
    table.insert(0, "element_id", [f"super_enhancer{i + 1}" for i in range(len(table))])
    table["kind"], table["motifs"] = "super_enhancer", ""
    for i, sample in enumerate(samples):
        table[f"effect_{sample}"] = effects[:, i]
    return table


def _write_table(path: Path, table: pd.DataFrame, *, header: bool = True, float_format: str | None = None) -> None:
    table.to_csv(path, sep="\t", index=False, header=header, float_format=float_format, lineterminator="\n")
