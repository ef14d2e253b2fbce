"""CPU seconds to read every kind of file, in this source tree and in another, taken in turns; and their ratio.

python benchmarks/readers.py [path/to/other/src] [--repeats 5] [--data roadmap_peaks_hg19]

Files are made up; stores and models are written by the tree that reads them. ``--data`` adds six real tracks.
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
from typing import NamedTuple

import numpy as np
import pandas as pd

HERE = Path(__file__).parents[1] / "src"
RUN = """
import logging, os, tempfile, time
from pathlib import Path
import numpy as np
import genexp_scverse as gx
logging.disable()
text, out = Path({text!r}), Path(tempfile.mkdtemp(dir={text!r}))
{before}
{read}
start = time.process_time()
for _ in range({times}):
    {read}
print((time.process_time() - start) / {times})
"""
BINS = """
x = np.random.default_rng(0).random((14_000, 6, 200), np.float32)
mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(len(x))], marks=list("ABCDEF"))
"""
SIMULATED = """
files = gx.datasets.simulate(out / "files", n_genes=1000, n_chroms=4)
genes, sheet = gx.io.read_genes(files.genes), gx.io.read_sheet(files.sheet)
"""
STORE = f"""{SIMULATED}
window = dict(upstream=5000, downstream=5000)
store = gx.io.write_genome(out / "store", fasta=files.genome, sheet=sheet)
mdata = gx.io.build_mudata(
    files.sheet, genes=files.genes, expression=files.expression, unit="tpm", bin_size=50, **window)
gx.io.attach_genome(mdata, out / "store", **window)
"""
TRAINED = """
mdata = gx.io.from_bins(np.random.default_rng(0).random((200, 5, 100)), genes=list(map(str, range(200))),
    marks=list("ABCDE"), expression=np.random.default_rng(1).random(200), unit="log")
gx.pp.split_at_random(mdata)
model = gx.model.{}(mdata)
model.train({})
model.save(out / "model")
"""
REAL = """
os.chdir({data!r})
genes, sheet = gx.io.read_genes("genes.tsv"), gx.io.read_sheet("sheet.tsv")
sheet = sheet[sheet["sample"] == "K562"]
"""
TRACKS = "gx.io.bin_tracks(genes, sheet['path'], upstream=5000, downstream=5000, bin_size=50, progress=False)"


class Job(NamedTuple):
    """What is read: Python before it, the line that is timed, and how often that runs in a process."""

    before: str
    read: str
    times: int = 3


JOBS = {
    "expression, 20,000 genes x 100 samples": Job("", "gx.io.read_expression(text / 'levels.tsv', unit='fpkm')", 1),
    "the same, gzip": Job("", "gx.io.read_expression(text / 'levels.tsv.gz', unit='fpkm')", 1),
    "the same, a tenth missing": Job("", "gx.io.read_expression(text / 'missing.tsv', unit='fpkm')", 1),
    "the same, whole numbers": Job("", "gx.io.read_expression(text / 'counts.csv', unit='counts')", 1),
    "the same, decimal commas": Job("", "gx.io.read_expression(text / 'commas.csv', unit='fpkm')", 1),
    "GTF of 60,000 genes": Job("", "gx.io.read_genes(text / 'genes.gtf')", 1),
    "table of 60,000 genes": Job("", "gx.io.read_genes(text / 'genes.tsv')", 1),
    "two tracks, 1,000 genes": Job(SIMULATED, TRACKS, 5),
    "FASTA, 1,000 genes": Job(SIMULATED, "gx.io.read_codes(genes, files.genome, upstream=5000, downstream=5000)", 5),
    "genome store, 1,000 windows": Job(
        STORE, "gx.io.genome_windows(mdata).signal(np.arange(1000), np.arange(len(sheet)))"
    ),
    "h5mu, 14,000 genes x 6 x 200": Job(
        BINS + "gx.io.write_mudata(mdata, out / 'a.h5mu')", "gx.io.read_mudata(out / 'a.h5mu')", 5
    ),
    "the same, left on disk": Job(
        BINS + "gx.io.write_mudata(mdata, out / 'a.h5mu')", "gx.io.read_mudata(out / 'a.h5mu', on_disk=True)", 5
    ),
    "the same as zarr": Job(BINS + "gx.io.write_mudata(mdata, out / 'a.zarr')", "gx.io.read_mudata(out / 'a.zarr')"),
    "DeepChrome": Job(TRAINED.format("DeepChrome", "1, enable_progress_bar=False"), "gx.model.load(out / 'model')", 9),
    "RandomForest": Job(TRAINED.format("RandomForest", ""), "gx.model.load(out / 'model')"),
}


def write_text(folder: Path) -> None:
    """Write tables of 20,000 genes and 100 samples, and 60,000 genes as GTF and as table."""
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


def seconds(source: Path, job: Job, text: Path) -> float:
    """Time one reader in a fresh process, after one call that does not count; NaN where the tree refuses the file."""
    code = RUN.format(text=str(text), **job._asdict())
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{source}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return float("nan")
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print a row for each reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    jobs = dict(JOBS)
    if args.data:
        jobs["six tracks, 14,158 genes"] = Job(REAL.format(data=str(args.data.resolve())), TRACKS)
    print("reader\tseconds" + ("\tother\tratio" if args.other else ""))
    with tempfile.TemporaryDirectory() as folder:
        write_text(Path(folder))
        for name, job in jobs.items():
            here, there = [], []
            for _ in range(args.repeats):
                here.append(seconds(HERE, job, Path(folder)))
                if args.other:
                    there.append(seconds(args.other, job, Path(folder)))
            row = [name, f"{statistics.median(here):.4f}"]
            if args.other:
                ratio = statistics.median(a / b for a, b in zip(here, there, strict=True))
                row += [f"{statistics.median(there):.4f}", f"{ratio:.2f}"]
            print("\t".join(row), flush=True)


if __name__ == "__main__":
    main()
