"""Simulated DNA and genes to files: FASTA with its index, and a GENCODE-like GTF."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse.datasets._genome import SCAFFOLD, Genome

LINE = 60


def write_fasta(path: Path, dna: dict[str, np.ndarray]) -> None:
    """Write lines of 60 bases, and the index beside (``.fai``: name, length, offset, bases, bytes a line)."""
    index = []
    with path.open("wb") as out:
        for chrom, bases in dna.items():
            out.write(f">{chrom}\n".encode())
            index.append((chrom, len(bases), out.tell(), LINE, LINE + 1))
            whole = bases[: len(bases) // LINE * LINE].reshape(-1, LINE)
            out.write(np.column_stack([whole, np.full(len(whole), ord("\n"), np.uint8)]).tobytes())
            if len(bases) % LINE:
                out.write(bases[len(whole) * LINE :].tobytes() + b"\n")
    lines = ["\t".join(map(str, row)) + "\n" for row in index]
    path.with_name(path.name + ".fai").write_text("".join(lines), newline="\n")


def write_gtf(path: Path, genome: Genome, rng: np.random.Generator) -> None:
    """Write the genes, a scaffold gene and a ``_PAR_Y`` duplicate; 1-based closed as GTF has it."""
    first = genome.genes.iloc[0]
    copy = first.copy()
    last = genome.genes["chrom"].iat[-1]
    copy["chrom"], copy["start"] = last, genome.sizes[last] - 2_500
    copy["end"] = genome.sizes[last] - 500
    stray = first.copy()
    stray["chrom"], stray["start"], stray["end"], stray["gene_name"] = SCAFFOLD, 2_000, 8_000, "STRAY1"
    odd = [
        (copy, f"{first.gene_id}.{first.version}_PAR_Y"),
        (stray, f"ENSSIMG{len(genome.genes) + 1:011d}.1"),
    ]
    write_genes(path, genome.genes, rng, odd)


def write_genes(
    path: Path, genes: pd.DataFrame, rng: np.random.Generator, odd: Sequence[tuple[pd.Series, str]] = ()
) -> None:
    """Write genes, and after them `odd` ones under the ids beside them."""
    lines = ["##description: simulated genes", "##provider: genexp_scverse", "##format: gtf"]
    for gene in genes.itertuples():
        lines += _gtf_gene(gene, f"{gene.gene_id}.{gene.version}", rng)
    for gene, gene_id in odd:
        lines += _gtf_gene(gene, gene_id, rng)
    # No name and no time in the gzip header: the same genes give the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as out:
        out.write(("\n".join(lines) + "\n").encode())


def _gtf_gene(gene, gene_id: str, rng: np.random.Generator) -> list[str]:
    """Lines of one gene: a main transcript from its TSS, and for some genes one that starts downstream."""
    common = f'gene_id "{gene_id}"; gene_type "{gene.gene_type}"; gene_name "{gene.gene_name}";'

    def line(feature: str, start: int, end: int, more: str = "") -> str:
        fields = (gene.chrom, "SIM", feature, start + 1, end, ".", gene.strand, ".", common + more)
        return "\t".join(map(str, fields))

    lines = [line("gene", gene.start, gene.end, " level 2;")]
    spans = [(gene.start, gene.end)]
    cut = int(rng.integers(200, 500))
    if rng.random() < 0.3 and gene.end - gene.start > 2_000:
        plus = gene.strand == "+"
        spans.append((gene.start + cut, gene.end) if plus else (gene.start, gene.end - cut))
    for number, (start, end) in enumerate(spans):
        name = re.sub(r"^ENSSIMG(\d+)", lambda m: f"ENSSIMT{m[1]}{number}", gene_id)  # noqa: B023
        about = f' transcript_id "{name}"; transcript_type "{gene.gene_type}";'
        tag = ' tag "basic"; tag "Ensembl_canonical";' if number == 0 else ' tag "basic";'
        lines.append(line("transcript", start, end, about + tag))
        n_exons = int(rng.integers(1, 7))
        cuts = np.sort(rng.choice(np.arange(start + 50, end - 50), 2 * (n_exons - 1), replace=False))
        edges = np.concatenate([[start], cuts, [end]]).reshape(-1, 2).tolist()
        for exon, (a, b) in enumerate(edges if gene.strand == "+" else edges[::-1]):
            lines.append(line("exon", a, b, f"{about} exon_number {exon + 1};{tag}"))
    return lines
