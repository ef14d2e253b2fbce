"""Simulated super-enhancers: long stretches of active enhancers that raise all genes around them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genexp_scverse.datasets._genome import MARGIN, SCAFFOLD, Genome

GENES_EACH = 8
"""Genes for each place of a super-enhancer; in a sample about half of the places are active."""
LENGTH = (15_000, 25_000)
REACH = 50_000
"""Distance in bases over which the effect falls to 1/e."""


def no_super_enhancers() -> pd.DataFrame:
    """Return a table of none of them."""
    return pd.DataFrame({"chrom": [], "start": [], "end": [], "height": []})


def draw_super_enhancers(rng: np.random.Generator, genome: Genome, n_samples: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw places (chrom, start, end, height of their marks) and where they are active (places x samples, 0 or 1)."""
    rows = []
    for chrom, size in genome.sizes.items():
        if chrom == SCAFFOLD:
            continue
        gap_start, gap_end = genome.gaps[chrom]
        for _ in range(rng.poisson((genome.genes["chrom"] == chrom).sum() / GENES_EACH)):
            length = int(rng.integers(*LENGTH))
            start = int(rng.integers(MARGIN, max(size - MARGIN - length, MARGIN + 1)))
            height = float(rng.lognormal(0, 0.2))
            if start + length < min(size, gap_start) or gap_end < start < size - length:
                rows.append((chrom, start, start + length, height))
    places = pd.DataFrame(rows, columns=["chrom", "start", "end", "height"])
    return places, (rng.random((len(places), n_samples)) < 0.5).astype(float)


def effect_on_genes(genome: Genome, places: pd.DataFrame, effects: np.ndarray) -> np.ndarray:
    """Sum effects (places x samples) per gene, genes x samples: each falls with the distance to the TSS."""
    total = np.zeros((len(genome.genes), effects.shape[1]))
    chrom, tss = genome.genes["chrom"].to_numpy(), genome.genes["tss"].to_numpy()
    for place, effect in zip(places.itertuples(), effects, strict=True):
        here = np.flatnonzero(chrom == place.chrom)
        away = np.abs(tss[here] - (place.start + place.end) / 2)
        total[here] += np.exp(-away / REACH)[:, None] * effect
    return total
