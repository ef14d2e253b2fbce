"""Write a simulated genome in which only sequence and signal together tell the elements that set expression."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse._output import check_folder, written
from genexp_scverse.datasets._annotation import write_fasta, write_genes
from genexp_scverse.datasets._tracks import write_bigwig

MOTIF = "TGCGTCAATCAC"
"""Consensus of the motif of true elements, in one orientation."""
SURE, LOOSE = 0.94, 0.6
_LOOSE_AT = (3, 8, 11)
TRACKS = ("DNase", "H3K27ac")
GRID = 16
MARKED, SILENT = 6, 4
"""Elements with signal per gene, a third of all of them true; and stretches with the motif but without signal."""
PROMOTER = 1_200
_LEVEL, _BACKGROUND, _NOISE = 24.0, 1.5, 0.25


class SimulatedElements(NamedTuple):
    """Paths of the files written by :func:`simulate_elements`.

    Examples
    --------
    >>> SimulatedElements._fields[-2:]
    ('truth_elements', 'truth_genes')
    """

    genome: Path
    genes: Path
    sheet: Path
    expression: Path
    chrom_sizes: Path
    truth: Path
    truth_elements: Path
    truth_genes: Path


def simulate_elements(
    directory: str | os.PathLike[str],
    *,
    n_genes: int = 1000,
    n_chroms: int = 10,
    reach: int = 8000,
    shuffle_motifs: bool = False,
    seed: int = 0,
) -> SimulatedElements:
    r"""Simulate a genome whose true elements no track tells from decoys, and write it as FASTA, GTF, bigWig and tables.

    Around every gene lie six elements with signal in both tracks, DNase and H3K27ac. A third of all of them, drawn at
    random, are true: they carry three to six sites of a motif (drawn from a degenerate position weight matrix, in
    either orientation), and they alone act. The others are decoys: of the same length, shape and height, with
    the letters of such sites shuffled in place, so that composition is the same too. Four more stretches per gene carry
    the motif but no signal, and do nothing, and so does signal at promoters. So neither tracks nor sequence suffice.

    Natural log (expression + 1) of a gene is 0.5 plus the sum over the true elements within `reach` of its TSS of
    height times exp(-distance / (4 `reach`)), with normal noise of standard deviation 0.25. The height of an element
    (log-normal, mean about 1) is what its signal follows, with noise of each track.

    Parameters
    ----------
    directory
        Folder to write to; it is made when missing. Files of these names in it are replaced, all at once,
        when everything has been written beside it; others stay.
    n_genes
        Number of genes; there are 2 `reach` + 1,000 bases for each.
    n_chroms
        Number of chromosomes, ``chr1`` onwards.
    reach
        Bases to either side of the TSS within which elements lie; 5,000 or more. Elements keep 1,200 bases from the
        TSS.
    shuffle_motifs
        Shuffle the letters of all sites: the control, in which nothing tells true elements from decoys. All else
        is as with the same seed without it.
    seed
        Seed of everything: the same arguments give the same files.

    Returns
    -------
    Paths of the files, all in `directory`:

    ``genome.fa`` (with index), ``genes.gtf.gz``, ``chrom.sizes``
        DNA; genes, 1-based closed; chromosome and length, without a header.
    ``tracks/<mark>.bigWig`` and ``sheet.tsv``
        Coverage in bins of 16 bases of one sample, ``sim``.
    ``expression.tsv``
        gene_id and the expression of ``sim`` (unit tpm).
    ``truth.bed``
        True elements as BED6 (0-based half-open), name the gene they were placed for.
    ``truth_elements.tsv``
        chrom, start, end, kind (true, decoy, silent), gene_id, distance of the middle from the TSS (negative is
        upstream), height (0 for silent ones), motifs (``start:strand`` of sites, whole or shuffled, joined by ``;``).
    ``truth_genes.tsv``
        gene_id, n_true, and ``sim``, natural log (expression + 1) without noise.

    Raises
    ------
    InputError
        For a count that is too small, or a folder that cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from genexp_scverse.datasets import simulate_elements
    >>> files = simulate_elements(tempfile.mkdtemp(), n_genes=12, n_chroms=2, seed=1)
    >>> pd.read_csv(files.truth_elements, sep="\t")["kind"].value_counts().sort_index().to_dict()
    {'decoy': 48, 'silent': 48, 'true': 24}
    """
    for name, value, least in (("n_chroms", n_chroms, 1), ("n_genes", n_genes, n_chroms), ("reach", reach, 5000)):
        if value < least:
            msg = f"{name}={value} is too small: it has to be {least} or more."
            raise InputError(msg)
    directory = Path(directory)
    check_folder(directory)
    # a stream for each part: the control differs in the letters of the sites alone
    places, letters, reads, levels, order = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5))
    genes, sizes = _place_genes(places, n_genes, n_chroms, reach)
    elements = _place_elements(places, genes, reach)
    effect = _effects(genes, elements, reach)
    dna, sites = _draw_dna(letters, order, sizes, elements, shuffle_motifs)
    elements["motifs"] = sites
    noisy = effect + levels.normal(0, _NOISE, len(effect))
    with written(directory, own=lambda _: False) as folder:
        (folder / "tracks").mkdir(parents=True)
        write_fasta(folder / "genome.fa", dna)
        write_genes(folder / "genes.gtf.gz", genes, levels)
        _write(folder / "chrom.sizes", pd.DataFrame(sizes.items()), header=False)
        ids = genes["gene_id"].to_numpy()
        tpm = np.expm1(np.maximum(noisy, 0))
        _write(folder / "expression.tsv", pd.DataFrame({"gene_id": ids, "sim": tpm}))
        true = elements[elements["kind"] == "true"].sort_values(["chrom", "start"])
        bed = true[["chrom", "start", "end", "gene_id"]].assign(
            score=np.rint(1000 * true["height"] / max(true["height"].max(), 1)).astype(int), strand="."
        )
        _write(folder / "truth.bed", bed, header=False)
        _write(folder / "truth_elements.tsv", elements.drop(columns="gene"))
        n_true = np.bincount(true["gene"], minlength=len(genes))
        _write(folder / "truth_genes.tsv", pd.DataFrame({"gene_id": ids, "n_true": n_true, "sim": effect}))
        rows = []
        for mark in TRACKS:
            write_bigwig(
                folder / "tracks" / f"{mark}.bigWig", sizes, _draw_track(reads, sizes, genes, elements), grid=GRID
            )
            rows.append(("sim", mark, f"tracks/{mark}.bigWig", "coverage"))
        _write(folder / "sheet.tsv", pd.DataFrame(rows, columns=["sample", "mark", "path", "scale"]))
    text = "Simulated %d genes on %d chromosomes (%.1f Mb), %d true elements and %d decoys in %s."
    n_decoys = int((elements["kind"] == "decoy").sum())
    logger.info(text, len(genes), n_chroms, sum(sizes.values()) / 1e6, len(true), n_decoys, directory)
    files = ("genome.fa", "genes.gtf.gz", "sheet.tsv", "expression.tsv", "chrom.sizes", "truth.bed")
    return SimulatedElements(*(directory / n for n in (*files, "truth_elements.tsv", "truth_genes.tsv")))


def motif_matrix() -> np.ndarray:
    """Probability of A, C, G and T at each place of the motif (12 x 4).

    Examples
    --------
    >>> motif_matrix().shape
    (12, 4)
    """
    matrix = np.empty((len(MOTIF), 4))
    for at, letter in enumerate(MOTIF):
        most = LOOSE if at in _LOOSE_AT else SURE
        matrix[at] = (1 - most) / 3
        matrix[at, "ACGT".index(letter)] = most
    return matrix


def _place_genes(rng, n_genes: int, n_chroms: int, reach: int) -> tuple[pd.DataFrame, dict[str, int]]:
    cell = 2 * reach + 1_000
    of = np.sort(np.arange(n_genes) % n_chroms)
    number = np.arange(n_genes) - np.searchsorted(of, of)
    tss = 500 + number * cell + cell // 2 + rng.integers(-200, 201, n_genes)
    plus = rng.random(n_genes) < 0.5
    length = rng.integers(reach // 4, reach // 2, n_genes)
    genes = pd.DataFrame(
        {
            "gene_id": [f"ENSSIMG{i:011d}" for i in range(1, n_genes + 1)],
            "version": 1,
            "gene_name": [f"GENE{i}" for i in range(1, n_genes + 1)],
            "gene_type": "protein_coding",
            "chrom": [f"chr{c + 1}" for c in of],
            "start": np.where(plus, tss, tss - length + 1),
            "end": np.where(plus, tss + length, tss + 1),
            "strand": np.where(plus, "+", "-"),
            "tss": tss,
        }
    )
    count = np.bincount(of, minlength=n_chroms)
    return genes, {f"chr{c + 1}": int(1_000 + count[c] * cell) for c in range(n_chroms)}


def _place_elements(rng, genes: pd.DataFrame, reach: int) -> pd.DataFrame:
    """Place elements, their kinds at random: the number with signal says nothing of the number that is true."""
    each = MARKED + SILENT
    n = len(genes) * each
    marked = np.tile(np.arange(each) < MARKED, len(genes))
    kind = np.where(marked, "decoy", "silent").astype(object)
    kind[rng.permutation(np.flatnonzero(marked))[: marked.sum() // 3]] = "true"
    length = rng.integers(300, 501, n)
    gap, room = 120, reach - PROMOTER
    start: np.ndarray = np.empty(n, np.int64)
    for row, tss in enumerate(genes["tss"]):
        mine = row * each + rng.permutation(each)
        # half on either side; what is left of the room is dealt out at random between them
        for side, of in ((-1, mine[: each // 2]), (1, mine[each // 2 :])):
            free = room - int((length[of] + gap).sum())
            edges = np.sort(rng.integers(0, free + 1, len(of)))
            first = edges + np.concatenate([[0], np.cumsum(length[of] + gap)[:-1]])
            start[of] = tss + PROMOTER + first if side > 0 else tss - PROMOTER - first - length[of]
    gene = np.repeat(np.arange(len(genes)), each)
    height = np.where(marked, rng.lognormal(0, 0.35, n), 0.0)
    middle = start + length // 2
    sign = np.where(genes["strand"].to_numpy()[gene] == "+", 1, -1)
    return pd.DataFrame(
        {
            "chrom": genes["chrom"].to_numpy()[gene],
            "start": start,
            "end": start + length,
            "kind": kind,
            "gene_id": genes["gene_id"].to_numpy()[gene],
            "distance": (middle - genes["tss"].to_numpy()[gene]) * sign,
            "height": height,
            "gene": gene,
        }
    )


def _effects(genes: pd.DataFrame, elements: pd.DataFrame, reach: int) -> np.ndarray:
    """Natural log (expression + 1) without noise."""
    total = np.full(len(genes), 0.5)
    true = elements[elements["kind"] == "true"]
    share = true["height"].to_numpy() * np.exp(-true["distance"].abs().to_numpy() / (4 * reach))
    np.add.at(total, true["gene"].to_numpy(), share)
    return total


def _draw_dna(rng, order, sizes: dict[str, int], elements: pd.DataFrame, shuffle: bool):
    """ASCII bases per chromosome, and the sites of every element as text."""
    letters = np.frombuffer(b"ACGT", np.uint8)
    # nearly as AT-rich as a mammal
    dna = {chrom: letters[rng.choice(4, size, p=(0.29, 0.21, 0.21, 0.29))] for chrom, size in sizes.items()}
    cumulated = np.cumsum(motif_matrix(), axis=1)
    width, complement = len(MOTIF), np.array([3, 2, 1, 0])
    texts = []
    for element in elements.itertuples():
        said = []
        n = int(rng.integers(3, 7))
        slots = rng.choice((element.end - element.start - 20) // (width + 4), n, replace=False)
        for slot in np.sort(slots):
            start = element.start + 10 + int(slot) * (width + 4) + int(rng.integers(0, 5))
            site = (rng.random(width)[:, None] > cumulated).sum(axis=1).clip(0, 3)
            forward = rng.random() < 0.5
            site = site if forward else complement[site[::-1]]
            # drawn in any case, so that the other sites are the same with and without
            mixed = order.permutation(site)
            kept = element.kind != "decoy" and not shuffle
            dna[element.chrom][start : start + width] = letters[site if kept else mixed]
            said.append(f"{start}:{'+' if forward else '-'}")
        texts.append(";".join(said))
    return dna, texts


def _draw_track(rng, sizes: dict[str, int], genes: pd.DataFrame, elements: pd.DataFrame) -> dict[str, np.ndarray]:
    """Draw counts: flat peaks with soft shoulders at elements and promoters, over a background that drifts."""
    mean = {}
    for chrom, size in sizes.items():
        n = -(-size // GRID)
        knots = rng.lognormal(0, 0.3, n // 100 + 2)
        mean[chrom] = _BACKGROUND * np.interp(np.arange(n) / 100, np.arange(len(knots)), knots)
    seen = elements["height"].to_numpy() * rng.lognormal(0, 0.15, len(elements))
    spots = [(e.chrom, e.start, e.end, h) for e, h in zip(elements.itertuples(), seen, strict=True) if h > 0]
    heights = rng.lognormal(0, 0.35, len(genes))
    spots += [(g.chrom, g.tss - 250, g.tss + 250, h) for g, h in zip(genes.itertuples(), heights, strict=True)]
    for chrom, start, end, height in spots:
        bins = mean[chrom]
        low, high = max(0, (start - 150) // GRID), min(len(bins), (end + 150) // GRID + 1)
        at = (np.arange(low, high) + 0.5) * GRID
        shape = 1 / ((1 + np.exp((start - at) / 15)) * (1 + np.exp((at - end) / 15)))
        bins[low:high] += _LEVEL * height * shape
    return {chrom: rng.poisson(values) for chrom, values in mean.items()}


def _write(path: Path, table: pd.DataFrame, *, header: bool = True) -> None:
    table.to_csv(path, sep="\t", index=False, header=header, float_format="%.6f", lineterminator="\n")
