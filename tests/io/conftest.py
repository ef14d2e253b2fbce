"""A small genome as files, for building from files."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyBigWig
import pytest

import genexp_scverse as gx

SIZES = {"chr1": 600, "chr2": 400}
GENES = [
    ("g1", "chr1", 100, 300, "+"),
    ("g2", "chr1", 250, 500, "-"),
    ("g3", "chr2", 5, 90, "+"),
    ("g4", "chr2", 200, 395, "-"),
]


WINDOW = {"upstream": 40, "downstream": 20, "bin_size": 10}


def build(files, **changes):
    arguments = {
        "sheet": files / "sheet.tsv",
        "genes": files / "genes.gtf",
        "expression": files / "expression.tsv",
        "unit": "tpm",
        "fasta": files / "genome.fa",
        **WINDOW,
        **changes,
    }
    return gx.io.build_mudata(arguments.pop("sheet"), **arguments)


def rewrite(path, sizes, value=2.0):
    with pyBigWig.open(str(path), "w") as out:
        out.addHeader(list(sizes.items()))
        out.addEntries(["chr1", "chr1"], [50, 100], ends=[51, 400], values=[value / 2, value])


@pytest.fixture
def files(tmp_path):
    """Tracks of two samples and two marks, a genome, an annotation and expression of two chromosomes."""
    rng = np.random.default_rng(3)
    rows = []
    for sample in ("A", "B"):
        for mark in ("H3K4me3", "H3K27me3"):
            with pyBigWig.open(str(tmp_path / f"{sample}.{mark}.bw"), "w") as out:
                out.addHeader(list(SIZES.items()))
                for chrom, size in SIZES.items():
                    edges = np.sort(rng.choice(np.arange(1, size), 40, replace=False)).tolist()
                    out.addEntries(
                        [chrom] * 20, edges[::2], ends=edges[1::2], values=rng.integers(1, 9, 20).astype(float).tolist()
                    )
            rows.append((sample, mark, f"{sample}.{mark}.bw", "counts"))
    pd.DataFrame(rows, columns=["sample", "mark", "path", "scale"]).to_csv(
        tmp_path / "sheet.tsv", sep="\t", index=False
    )
    share = [0.25, 0.25, 0.25, 0.2, 0.05]
    dna = {chrom: "".join(rng.choice(list("ACGTN"), size, p=share)) for chrom, size in SIZES.items()}
    (tmp_path / "genome.fa").write_text("".join(f">{chrom}\n{dna[chrom]}\n" for chrom in SIZES))
    gtf = [
        f'{chrom}\ttest\tgene\t{start + 1}\t{end}\t.\t{strand}\t.\tgene_id "{gene}"; gene_type "protein_coding";\n'
        for gene, chrom, start, end, strand in GENES
    ]
    (tmp_path / "genes.gtf").write_text("".join(gtf))
    (tmp_path / "expression.tsv").write_text("gene_id\tA\tB\ng1\t3\t0\ng2\t0\t7.5\ng4\t1\t2\nother\t5\t5\n")
    return tmp_path


@pytest.fixture(scope="session")
def small_genome():
    """What the files hold, and how to build from them and to write a track anew."""
    return SimpleNamespace(sizes=SIZES, genes=GENES, window=WINDOW, build=build, rewrite=rewrite)
