"""Simulated chromatin: coverage per mark that follows the state of genes and elements, imperfectly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse.datasets._genome import GRID, Genome
from genexp_scverse.io._bigwig_write import new_bigwig

FRAGMENT = 4
"""Length of a sequenced fragment in bins: coverage of neighbouring bins is correlated over this length."""


class Mark(NamedTuple):
    """Mean coverage of a mark at its highest: at promoters, at enhancers, over bodies and over domains."""

    promoter: float = 0.0
    enhancer: float = 0.0
    body: float = 0.0
    polycomb: float = 0.0
    hetero: float = 0.0
    background: float = 0.8
    spread: float = 300.0


MARKS = {
    "H3K4me3": Mark(promoter=40.0, enhancer=2.0, spread=300.0),
    "H3K27ac": Mark(promoter=24.0, enhancer=20.0, spread=330.0),
    "H3K36me3": Mark(body=9.0, background=1.0),
    "H3K27me3": Mark(polycomb=8.0, background=1.0),
    "H3K9me3": Mark(hetero=8.0, background=1.0),
    "H3K4me1": Mark(promoter=5.0, enhancer=14.0, spread=650.0),
    "H3K9ac": Mark(promoter=28.0, enhancer=9.0, spread=300.0),
    "DNase": Mark(promoter=30.0, enhancer=22.0, spread=110.0, background=0.6),
}


@dataclass
class States:
    """How active genes and elements are in each sample (0 to 1), and what silences a silent gene."""

    gene: np.ndarray
    element: np.ndarray
    polycomb: np.ndarray
    hetero: np.ndarray
    bivalent: np.ndarray


def draw_states(
    rng: np.random.Generator, genome: Genome, log_expression: np.ndarray, element_drive: np.ndarray
) -> States:
    """Turn expression (genes x samples) and the drive of enhancers (elements x samples) into states.

    The states are what all marks of a sample follow; they follow expression with noise of their own.
    A decoy has the state of an enhancer drawn at random, so that the two look the same.
    """
    n, n_samples = log_expression.shape
    middle = np.median(log_expression) - 0.5
    shift = rng.normal(0, 0.8, (n, 1)) + rng.normal(0, 0.5, (n, n_samples))
    gene = _sigmoid((log_expression + shift - middle) / 1.3)
    kind = genome.elements["kind"].to_numpy()
    drive = element_drive + rng.normal(0, 0.5, element_drive.shape)
    element = _sigmoid((drive - 2.0) / 0.7)
    enhancers, decoys = np.flatnonzero(kind == "enhancer"), np.flatnonzero(kind == "decoy")
    if len(enhancers):
        element[decoys] = element[rng.choice(enhancers, len(decoys))]
    island = genome.genes["island"].to_numpy()
    draw = rng.random(n)
    polycomb = draw < np.where(island, 0.6, 0.35)
    hetero = ~polycomb & (draw < np.where(island, 0.7, 0.75))
    bivalent = polycomb & island & (rng.random(n) < 0.35)
    return States(gene, element, polycomb, hetero, bivalent)


def draw_track(
    rng: np.random.Generator,
    genome: Genome,
    states: States,
    sample: int,
    mark: str,
    super_enhancers: pd.DataFrame,
) -> dict[str, np.ndarray]:
    """Draw the coverage of one track: chromosome -> counts of fragments over bins of 50 bases.

    `super_enhancers` are those that are active in the sample: chrom, start, end, height.
    """
    spec = MARKS[mark]
    mean = {chrom: spec.background * _waves(rng, size // GRID + 1) for chrom, size in genome.sizes.items()}
    _paint_genes(rng, genome, states, sample, spec, mean)
    if spec.enhancer:
        _paint_elements(rng, genome, states.element[:, sample], spec, mean)
    if spec.enhancer:
        for place in super_enhancers.itertuples():
            _add_plateau(mean[place.chrom], place.start, place.end, spec.enhancer * place.height)
    if spec.hetero or spec.polycomb:
        _paint_domains(rng, spec, mean)
    depth = rng.lognormal(0, 0.12)
    coverage = {}
    for chrom, values in mean.items():
        starts = rng.poisson(depth * values / FRAGMENT)
        counts = np.convolve(starts, np.ones(FRAGMENT, dtype=np.int64))[: len(starts)]
        if chrom in genome.gaps:
            start, end = genome.gaps[chrom]
            counts[start // GRID : end // GRID] = 0
            counts[: 1_000 // GRID] = 0
        coverage[chrom] = counts
    return coverage


def write_bigwig(path: Path, sizes: dict[str, int], coverage: dict[str, np.ndarray], grid: int = GRID) -> None:
    """Write runs of equal coverage; bins (of `grid` bases) without a fragment are left uncovered, as in real files."""
    with new_bigwig(path, sizes) as out:
        for chrom, size in sizes.items():
            values = coverage[chrom]
            begin = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
            end = np.append(begin[1:], len(values))
            keep = (values[begin] > 0) & (begin * grid < size)
            out.add(chrom, begin[keep] * grid, np.minimum(end[keep] * grid, size), values[begin[keep]])


def _paint_genes(rng, genome, states, sample, spec, mean) -> None:
    genes: pd.DataFrame = genome.genes
    state = states.gene[:, sample]
    # A mark that failed to be seen at a few genes, and bivalent promoters that have it while silent.
    seen = np.where(rng.random(len(genes)) < 0.04, 0.15, 1.0)
    promoter = seen * np.where(states.bivalent, np.maximum(state, 0.3), state)
    noise = rng.lognormal(0, 0.35, len(genes))
    width = spec.spread * rng.lognormal(0, 0.35, len(genes))
    reach = rng.uniform(2_000, 8_000, (len(genes), 2))
    for i, gene in enumerate(genes.itertuples()):
        bins = mean[gene.chrom]
        sign = 1 if gene.strand == "+" else -1
        if spec.promoter:
            height = spec.promoter * promoter[i] * noise[i]
            # Nucleosomes flank the TSS, with more signal on the transcribed side.
            _add_peak(bins, gene.tss - sign * 280, 0.55 * height, 0.8 * width[i])
            _add_peak(bins, gene.tss + sign * (280 + 0.5 * width[i]), height, width[i])
        if spec.body:
            _add_body(bins, gene, spec.body * state[i] * noise[i])
        silent = (1 - state[i]) ** 2 * noise[i]
        if spec.polycomb and states.polycomb[i]:
            _add_plateau(bins, gene.tss - reach[i, 0], gene.tss + reach[i, 1], spec.polycomb * silent)
        if spec.hetero and states.hetero[i]:
            _add_plateau(bins, gene.start - reach[i, 0], gene.end + reach[i, 1], spec.hetero * silent)


def _paint_elements(rng, genome, state, spec, mean) -> None:
    noise = rng.lognormal(0, 0.35, len(state))
    width = 0.7 * spec.spread * rng.lognormal(0, 0.35, len(state))
    for i, element in enumerate(genome.elements.itertuples()):
        if element.kind != "promoter":
            centre = (element.start + element.end) / 2
            height = 0.75 * spec.enhancer * state[i] * noise[i]
            _add_peak(mean[element.chrom], centre - 200, height, width[i])
            _add_peak(mean[element.chrom], centre + 200, height, width[i])


def _paint_domains(rng, spec, mean) -> None:
    """Silent chromatin that has to do with no gene in particular: a few broad domains per megabase."""
    for bins in mean.values():
        for _ in range(rng.poisson(len(bins) * GRID * 6e-6)):
            start = rng.uniform(0, len(bins) * GRID)
            height = (spec.hetero + spec.polycomb) * rng.uniform(0.2, 0.7)
            _add_plateau(bins, start, start + rng.uniform(5_000, 25_000), height)


def _waves(rng, n: int) -> np.ndarray:
    """Background that drifts over some 10 kb, as mappability and copy number make it."""
    knots = rng.lognormal(0, 0.2, n // 200 + 2)
    return np.interp(np.arange(n) / 200, np.arange(len(knots)), knots)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _add_peak(bins: np.ndarray, centre: float, height: float, sd: float) -> None:
    low = max(0, int((centre - 4 * sd) // GRID))
    high = min(len(bins), int((centre + 4 * sd) // GRID) + 1)
    if high > low:
        at = (np.arange(low, high) + 0.5) * GRID
        bins[low:high] += height * np.exp(-0.5 * ((at - centre) / sd) ** 2)


def _add_body(bins: np.ndarray, gene, height: float) -> None:
    """H3K36me3 sets in some 500 bases into the gene, rises towards its end, and runs on for 1 kb."""
    sign = 1 if gene.strand == "+" else -1
    low = max(0, (gene.start - 1_500) // GRID)
    high = min(len(bins), (gene.end + 1_500) // GRID + 1)
    at = ((np.arange(low, high) + 0.5) * GRID - gene.tss) * sign
    length = gene.end - gene.start
    rise = _sigmoid((at - min(800, 0.4 * length)) / 200)
    fall = _sigmoid((length + 800 - at) / 250)
    bins[low:high] += height * rise * fall * (0.6 + 0.4 * np.clip(at / length, 0, 1))


def _add_plateau(bins: np.ndarray, start: float, end: float, height: float) -> None:
    low, high = max(0, int((start - 1_500) // GRID)), min(len(bins), int((end + 1_500) // GRID) + 1)
    if high > low:
        at = (np.arange(low, high) + 0.5) * GRID
        bins[low:high] += height * _sigmoid((at - start) / 300) * _sigmoid((end - at) / 300)
