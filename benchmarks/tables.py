"""Seconds to read tables of text, in this source tree and in another, taken in turns; and their ratio.

python benchmarks/tables.py [path/to/other/src] [--repeats 5]
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

READ = """
import logging, sys, time
logging.disable()
from genexp_scverse import io
function, path, options = getattr(io, sys.argv[1]), sys.argv[2], eval(sys.argv[3])
function(path, **options)
start = time.perf_counter()
function(path, **options)
print(time.perf_counter() - start)
"""
HERE = Path(__file__).parents[1] / "src"


def write_files(folder: Path) -> dict[str, tuple[str, Path, str]]:
    """Write a table of 20,000 genes and 100 samples, packed as well, with missing values, and a GTF of 60,000 genes."""
    rng = np.random.default_rng(0)
    ids = [f"ENSG{i:011d}.{i % 9}" for i in range(60_000)]
    levels = pd.DataFrame(rng.gamma(0.3, 40, (20_000, 100)).round(3), index=pd.Index(ids[:20_000], name="gene_id"))
    levels.columns = [f"S{i}" for i in range(100)]
    levels.to_csv(folder / "levels.tsv", sep="\t")
    (folder / "levels.tsv.gz").write_bytes(gzip.compress((folder / "levels.tsv").read_bytes(), 6))
    levels.mask(rng.random(levels.shape) < 0.1).to_csv(folder / "missing.tsv", sep="\t")
    levels.round().astype(int).to_csv(folder / "counts.csv")
    levels.to_csv(folder / "commas.csv", sep=";", decimal=",")
    with (folder / "genes.gtf").open("w") as file:
        for i, gene in enumerate(ids):
            about = f'gene_id "{gene}"; gene_name "G{i}"; gene_type "protein_coding";'
            place = f"chr{i % 22 + 1}\tX\t{{}}\t{1000 * i + 1}\t{1000 * i + 900}\t.\t{'+-'[i % 2]}\t.\t{about}"
            file.write(place.format("gene") + "\n")
            for kind in ("transcript", "exon", "exon"):
                file.write(place.format(kind) + f' transcript_id "T{i}";\n')
    table = pd.DataFrame({"chrom": "chr1", "tss": range(60_000), "strand": "+", "gene_name": ids}, index=ids)
    table.to_csv(folder / "genes.tsv", sep="\t", index_label="gene_id")
    return {
        "20,000 genes x 100 samples": ("read_expression", folder / "levels.tsv", "{'unit': 'fpkm'}"),
        "the same, gzip": ("read_expression", folder / "levels.tsv.gz", "{'unit': 'fpkm'}"),
        "the same, a tenth missing": ("read_expression", folder / "missing.tsv", "{'unit': 'fpkm'}"),
        "the same, whole numbers": ("read_expression", folder / "counts.csv", "{'unit': 'counts'}"),
        "the same, decimal commas": ("read_expression", folder / "commas.csv", "{'unit': 'fpkm'}"),
        "GTF of 60,000 genes": ("read_genes", folder / "genes.gtf", "{}"),
        "table of 60,000 genes": ("read_genes", folder / "genes.tsv", "{}"),
    }


def seconds(source: Path, job: tuple[str, Path, str]) -> float:
    """Time one read in a fresh process, after one that does not count; NaN where the tree refuses the file."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", READ, job[0], str(job[1]), job[2]],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return float(done.stdout) if done.returncode == 0 else float("nan")


def main() -> None:
    """Print a row for each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print("file\tseconds" + ("\tother\tratio" if args.other else ""))
    with tempfile.TemporaryDirectory() as folder:
        for name, job in write_files(Path(folder)).items():
            here, there = [], []
            for _ in range(args.repeats):
                here.append(seconds(HERE, job))
                if args.other:
                    there.append(seconds(args.other, job))
            row = [name, f"{statistics.median(here):.3f}"]
            if args.other:
                ratio = statistics.median(a / b for a, b in zip(here, there, strict=True))
                row += [f"{statistics.median(there):.3f}", f"{ratio:.2f}"]
            print("\t".join(row), flush=True)


if __name__ == "__main__":
    main()
