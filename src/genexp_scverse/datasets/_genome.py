"""Simulated genes, regulatory elements and DNA: where things lie, which motifs they carry, what those do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

PROMOTER_HALF = 300
ISLAND_HALF = 600
ENHANCER_HALF = 250
ENHANCER_DISTANCE = (1_000, 20_000)
GRID = 50
MARGIN = 3_000
DESERT = 30_000
SCAFFOLD, SCAFFOLD_SIZE = "chrUn_KI270302v1", 20_000
ISLAND_EFFECT = 1.0
CLOSED_EFFECT = -2.5
AFFINITY = (1.0, 0.8, 0.6)
"""Strength of a binding site with 0, 1 and 2 bases off the consensus."""


class Factor(NamedTuple):
    """A transcription factor: what it binds, what a site adds to log expression, and where it is found."""

    name: str
    consensus: str
    effect: float
    promoter: float
    enhancer: float
    specific: bool


FACTORS = (
    Factor("SP1", "GGGGCGGGGC", 1.2, 3.0, 0.0, specific=False),
    Factor("NRF1", "TGCGCATGCGCA", 1.6, 1.5, 0.0, specific=False),
    Factor("ETS1", "ACCGGAAGTG", 1.4, 2.0, 1.0, specific=False),
    Factor("AP1", "GATGAGTCATC", 1.2, 0.5, 2.0, specific=False),
    Factor("GATA1", "ACAGATAAGGA", 1.8, 1.0, 2.0, specific=True),
    Factor("CEBPA", "TATTGCGCAATA", 1.8, 1.0, 2.0, specific=True),
    Factor("RUNX1", "TTTGTGGTTTG", 1.5, 0.5, 1.5, specific=True),
    Factor("HNF1A", "GTTAATGATTAAC", 1.5, 0.5, 1.5, specific=True),
    Factor("REST", "TTCAGCACCATGG", -1.6, 0.8, 0.0, specific=False),
)


@dataclass
class Genome:
    """Genes, elements with their sites, and sizes; DNA comes from :func:`draw_dna`."""

    sizes: dict[str, int]
    gaps: dict[str, tuple[int, int]]
    genes: pd.DataFrame
    elements: pd.DataFrame
    sites: pd.DataFrame


def factor_activity(n_samples: int) -> np.ndarray:
    """Activity (factors x samples): 1 for ubiquitous factors; specific ones take turns over the samples."""
    activity = np.ones((len(FACTORS), n_samples))
    specific = [i for i, factor in enumerate(FACTORS) if factor.specific]
    for turn, i in enumerate(specific):
        activity[i] = np.where(np.arange(n_samples) == turn % n_samples, 1.0, 0.1)
    return activity


def draw_genome(rng: np.random.Generator, *, n_genes: int, n_chroms: int, spacing: int) -> Genome:
    """Place genes on chromosomes, promoters, enhancers and decoys around them, and motifs in those.

    Positions are 0-based half-open. Effects and activities are not decided here.
    """
    genes, sizes, gaps = _place_genes(rng, n_genes, n_chroms, spacing)
    elements = _place_elements(rng, genes, sizes, gaps)
    return Genome(sizes, gaps, genes, elements, _place_sites(rng, elements, genes))


def draw_dna(rng: np.random.Generator, genome: Genome) -> dict[str, np.ndarray]:
    """Draw ASCII bases per chromosome: AT-rich, CpG-poor outside islands, with the motifs put in.

    Repeats are in lower case; the telomeric first 1,000 bases and the gap in the middle are N.
    """
    rest, island = _base_table(0.41), _base_table(0.64)
    dna = {}
    islands = genome.genes[genome.genes["island"]]
    for chrom, size in genome.sizes.items():
        bases = rest[rng.integers(0, 1_000, size, dtype=np.uint16)]
        inside = np.zeros(size, bool)
        for tss in islands.loc[islands["chrom"] == chrom, "tss"]:
            inside[max(0, tss - ISLAND_HALF) : tss + ISLAND_HALF] = True
        bases[inside] = island[rng.integers(0, 1_000, int(inside.sum()), dtype=np.uint16)]
        cpg = np.flatnonzero((bases[:-1] == ord("C")) & (bases[1:] == ord("G")) & ~inside[:-1])
        # Deamination of methylated CpG: TG on the one strand, CA on the other.
        fate = rng.random(len(cpg))
        bases[cpg[fate < 0.4]] = ord("T")
        bases[cpg[fate > 0.6] + 1] = ord("A")
        dna[chrom] = bases
    for site in genome.sites.itertuples():
        dna[site.chrom][site.start : site.start + len(site.bases)] = np.frombuffer(site.bases.encode(), dtype=np.uint8)
    for chrom, bases in dna.items():
        n = len(bases) // 1_000
        starts = rng.integers(0, len(bases), n)
        for start, length in zip(starts, rng.integers(100, 500, n), strict=True):
            bases[start : start + length] |= 0x20
        if chrom != SCAFFOLD:
            bases[:1_000] = ord("N")
            bases[slice(*genome.gaps[chrom])] = ord("N")
    return dna


def reverse_complement(bases: str) -> str:
    """Read `bases` from the other strand: ``"AACG"`` becomes ``"CGTT"``."""
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


def _base_table(gc: float) -> np.ndarray:
    """Table of 1,000 bases with a fraction `gc` of G and C: an index drawn evenly gives a base."""
    n = round(500 * gc)
    letters = "C" * n + "G" * n + "A" * (500 - n) + "T" * (500 - n)
    return np.frombuffer(letters.encode(), dtype=np.uint8)


def _place_genes(rng, n_genes, n_chroms, spacing):
    n_noncoding = max(2, round(0.03 * n_genes))
    n = n_genes + n_noncoding
    gene_type = np.full(n, "protein_coding", dtype=object)
    gene_type[rng.choice(n, n_noncoding, replace=False)] = "lncRNA"
    chrom_of = np.sort(np.arange(n) % n_chroms)
    length = np.clip(rng.lognormal(np.log(0.35 * spacing), 0.6, n), 800, 1.5 * spacing).astype(np.int64)
    # At least 1,400 bases between genes, or in a compact genome two halves of a promoter, so that the promoters
    # of a divergent pair do not overlap.
    apart = min(1_400, max(3 * spacing // 10, 2 * PROMOTER_HALF))
    free = apart + rng.gamma(1.2, max(spacing - apart - length.mean(), 300) / 1.2, n).astype(np.int64)
    sizes, gaps = {}, {}
    start = np.empty(n, dtype=np.int64)
    for c in range(n_chroms):
        rows = np.flatnonzero(chrom_of == c)
        begin = MARGIN + np.concatenate([[0], np.cumsum(length[rows] + free[rows])])
        half = len(rows) // 2
        begin[half:] += DESERT
        start[rows] = begin[:-1]
        chrom = f"chr{c + 1}"
        sizes[chrom] = int(start[rows[-1]] + length[rows[-1]] + MARGIN)
        edge = int(begin[half]) - DESERT + 10_000
        gaps[chrom] = (edge, edge + 10_000)
    strand = np.where(rng.random(n) < 0.5, "+", "-")
    number = 1 + np.arange(n)
    genes = pd.DataFrame(
        {
            "gene_id": [f"ENSSIMG{i:011d}" for i in number],
            "version": rng.integers(1, 15, n),
            "gene_name": [f"{'LNC' if t == 'lncRNA' else 'GENE'}{i}" for i, t in zip(number, gene_type, strict=True)],
            "gene_type": gene_type,
            "chrom": [f"chr{c + 1}" for c in chrom_of],
            "start": start,
            "end": start + length,
            "strand": strand,
        }
    )
    genes["tss"] = np.where(strand == "+", genes["start"], genes["end"] - 1)
    genes["island"] = rng.random(n) < 0.6
    sizes[SCAFFOLD] = SCAFFOLD_SIZE
    return genes, sizes, gaps


def _place_elements(rng, genes, sizes, gaps) -> pd.DataFrame:
    taken = {chrom: np.zeros(size // GRID + 1, bool) for chrom, size in sizes.items()}
    for chrom, tss in zip(genes["chrom"], genes["tss"], strict=True):
        taken[chrom][max(0, tss - 800) // GRID : (tss + 800) // GRID + 1] = True
    for chrom, (start, end) in gaps.items():
        taken[chrom][start // GRID : end // GRID + 1] = True
        taken[chrom][: MARGIN // GRID] = True
    rows = [
        (g.chrom, g.tss - PROMOTER_HALF, g.tss + PROMOTER_HALF, "promoter", i) for i, g in enumerate(genes.itertuples())
    ]
    low, high = np.log(ENHANCER_DISTANCE)
    for kind, rate in (("enhancer", 1.3), ("decoy", 0.8)):
        for i, count in enumerate(np.minimum(rng.poisson(rate, len(genes)), 3)):
            chrom, tss = genes["chrom"].iat[i], genes["tss"].iat[i]
            for _ in range(count):
                for _ in range(20):
                    away = int(np.exp(rng.uniform(low, high)) * rng.choice((-1, 1)))
                    start, end = tss + away - ENHANCER_HALF, tss + away + ENHANCER_HALF
                    if start < 0 or end > sizes[chrom]:
                        continue
                    cells = slice((start - 500) // GRID, (end + 500) // GRID + 1)
                    if start > 500 and not taken[chrom][cells].any():
                        taken[chrom][cells] = True
                        rows.append((chrom, start, end, kind, i))
                        break
    elements = pd.DataFrame(rows, columns=["chrom", "start", "end", "kind", "gene"])
    centre = (elements["start"] + elements["end"]) // 2
    sign = np.where(genes["strand"].to_numpy()[elements["gene"]] == "+", 1, -1)
    elements["distance"] = (centre - genes["tss"].to_numpy()[elements["gene"]]) * sign
    return elements


def _place_sites(rng, elements, genes) -> pd.DataFrame:
    shares = {}
    for kind in ("promoter", "enhancer"):
        weight = np.array([getattr(factor, kind) for factor in FACTORS])
        shares[kind] = weight / weight.sum()
    rows = []
    for element in elements.itertuples():
        if element.kind == "decoy":
            continue
        if element.kind == "promoter":
            count = 0 if rng.random() < 0.25 else min(1 + rng.poisson(1.3), 4)
            strand = 1 if genes["strand"].iat[element.gene] == "+" else -1
        else:
            count = rng.integers(2, 5)
            strand = 0
        used: list[tuple[int, int]] = []
        for which in rng.choice(len(FACTORS), count, p=shares[element.kind]):
            width = len(FACTORS[which].consensus)
            for _ in range(20):
                start = _site_start(rng, element, strand, width)
                if all(start + width + 2 <= a or b + 2 <= start for a, b in used):
                    used.append((start, start + width))
                    bases, off = _mutate(rng, FACTORS[which].consensus)
                    forward = rng.random() < 0.5
                    rows.append(
                        (
                            element.Index,
                            which,
                            element.chrom,
                            start,
                            "+" if forward else "-",
                            bases if forward else reverse_complement(bases),
                            AFFINITY[off],
                        )
                    )
                    break
    columns = ["element", "factor", "chrom", "start", "strand", "bases", "affinity"]
    return pd.DataFrame(rows, columns=columns)


def _site_start(rng, element, strand: int, width: int) -> int:
    """Promoter sites gather some 80 bases upstream of the TSS, enhancer sites about the centre."""
    centre = (element.start + element.end) // 2
    low, high = element.start + 10, element.end - 10 - width
    offset = rng.normal(-80 * strand, 110 if strand else 90)
    return int(np.clip(centre + round(offset), low, high))


def _mutate(rng, consensus: str) -> tuple[str, int]:
    """Draw a site with 0, 1 or 2 bases off `consensus`."""
    off = int(rng.choice(3, p=(0.6, 0.3, 0.1)))
    bases = list(consensus)
    for at in rng.choice(len(bases), off, replace=False):
        bases[at] = rng.choice([b for b in "ACGT" if b != bases[at]])
    return "".join(bases), off
