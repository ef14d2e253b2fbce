"""Bin bigWig tracks over promoters: bin_tracks against deepTools computeMatrix and a plain loop.

    python benchmarks/binning.py --data ../shared/data/roadmap_peaks_hg19 --out results/binning

Needs deepTools (dependency group ``benchmark``) on the PATH, or its computeMatrix by --compute-matrix. Every
measurement is a process of its own on one core. Writes peers.tsv, scaling.tsv and binning.png into --out.

The reference point of deepTools is the start of a region on + and its end on -, and its window is
[start - b, start + a) and [end - a, end + b): for regions of the one TSS base these are the windows of
bin_tracks, so the same bins are compared.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKS = ["H3K4me3", "H3K4me1", "H3K36me3", "H3K9me3", "H3K27me3", "H3K9ac"]
UPSTREAM, DOWNSTREAM, BIN_SIZE = 5000, 5000, 100
N_BINS = (UPSTREAM + DOWNSTREAM) // BIN_SIZE
GENES, TRACKS = [1000, 2000, 5000, 10_000, None], [1, 2, 4, 6]
AGREE = 1e-4

# A small parent: on Linux a process inherits the peak memory of the one that started it.
LAUNCHER = """
import json, os, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
use = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = use.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"wall_s": time.perf_counter() - start, "cpu_s": use.ru_utime + use.ru_stime, "peak_mb": peak}))
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with genes.tsv and K562.<mark>.bigWig")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--peer-genes", default="1000", help="genes for computeMatrix, or 'all' (default 1000)")
    parser.add_argument("--compute-matrix", default="computeMatrix", help="the computeMatrix command")
    parser.add_argument("--measure", choices=["import", "bin_tracks", "loop"], help=argparse.SUPPRESS)
    parser.add_argument("--genes", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tracks", type=int, default=len(MARKS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args)
        return
    command = shutil.which(args.compute_matrix)
    if command is None:
        sys.exit(f"{args.compute_matrix} not found: pip install deeptools, or give --compute-matrix")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        compare(args, command, Path(folder))
        scale(args, Path(folder))
    draw(args.out)


def compare(args: argparse.Namespace, command: str, folder: Path) -> None:
    import numpy as np
    import pandas as pd

    every = read_genes(args.data)
    n = len(every) if args.peer_genes == "all" else min(int(args.peer_genes), len(every))
    subset = every if n == len(every) else every.sample(n, random_state=0).sort_index()
    rows = [{"tool": "bin_tracks", "genes": len(every), **run_measure(args, "bin_tracks", every, folder)}]
    rows += [{"tool": "bin_tracks", "genes": n, **run_measure(args, "bin_tracks", subset, folder)}]
    ours = np.load(folder / "bins.npy")
    rows += [{"tool": "loop over genes", "genes": n, **run_measure(args, "loop", subset, folder)}]
    loop = np.load(folder / "bins.npy")
    start_up, _ = compute_matrix(args, command, subset.iloc[:2], folder)
    peer, matrix = compute_matrix(args, command, subset, folder)
    # call_s of computeMatrix leaves out its start-up: CPU seconds less those of a run on two genes.
    rows += [{"tool": "computeMatrix", "genes": n, **peer, "call_s": peer["cpu_s"] - start_up["cpu_s"]}]
    differences = {"loop over genes": np.abs(loop - ours).max(), "computeMatrix": np.abs(matrix - ours).max()}
    table = pd.DataFrame(rows)
    table["ms_per_gene"] = 1000 * table.call_s / table.genes
    table["times_bin_tracks"] = table.ms_per_gene / table.ms_per_gene[0]
    table["largest_difference"] = table.tool.map(differences)
    table.to_csv(args.out / "peers.tsv", sep="\t", index=False, float_format="%.6g")
    print(
        f"{len(MARKS)} tracks, TSS -{UPSTREAM} +{DOWNSTREAM}, bins of {BIN_SIZE}, one core; values up to {ours.max():g}"
    )
    print(table.to_string(index=False, float_format="%.4g"))
    if not max(differences.values()) <= AGREE:
        sys.exit(f"the values differ by more than {AGREE}")


def scale(args: argparse.Namespace, folder: Path) -> None:
    import pandas as pd

    every = read_genes(args.data).sample(frac=1, random_state=0)
    runs = [("genes", n or len(every), len(MARKS)) for n in GENES]
    runs += [("tracks", len(every), n) for n in TRACKS]
    base = run_measure(args, "import", every, folder)["peak_mb"]
    rows = []
    for by, n_genes, n_tracks in runs:
        found = run_measure(args, "bin_tracks", every.iloc[:n_genes], folder, n_tracks)
        rows.append({"by": by, "genes": n_genes, "tracks": n_tracks, "import_mb": base, **found})
    table = pd.DataFrame(rows)
    table.to_csv(args.out / "scaling.tsv", sep="\t", index=False, float_format="%.6g")
    print(table.to_string(index=False, float_format="%.4g"))


def draw(out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import pandas as pd

    scaling, peers = pd.read_csv(out / "scaling.tsv", sep="\t"), pd.read_csv(out / "peers.tsv", sep="\t")
    fig, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for ax, by in zip(axes, ("genes", "tracks"), strict=False):
        part = scaling[scaling.by == by]
        ax.plot(part[by], part.call_s, "o-", color="C0")
        ax.set(xlabel=f"number of {by}", ylabel="seconds on one core", xlim=(0, None))
        ax.set_ylim(0, 1.15 * part.call_s.max())
        ax.yaxis.label.set_color("C0")
        right = ax.twinx()
        right.plot(part[by], part.peak_mb, "s--", color="C1")
        right.axhline(part.import_mb.iloc[0], color="C1", linewidth=0.8, linestyle=":")
        right.set_ylim(0, 1.15 * part.peak_mb.max())
        right.set_ylabel("peak memory (MB)", color="C1")
        right.text(part[by].max(), part.import_mb.iloc[0], "imports alone", color="C1", ha="right", va="top")
        other = {"genes": f"{part.tracks.iloc[0]} tracks", "tracks": f"{part.genes.iloc[0]:,} genes"}[by]
        ax.set_title(other, fontsize="medium")
    bars = peers.drop_duplicates("tool")
    axes[2].barh(bars.tool, bars.ms_per_gene, color=["C0", "0.6", "0.4"])
    for i, (ms, times) in enumerate(zip(bars.ms_per_gene, bars.times_bin_tracks, strict=True)):
        axes[2].text(ms * 1.15, i, f"{ms:.2g} ms" + (f", × {times:.0f}" if i else ""), va="center")
    axes[2].set(xscale="log", xlabel="ms of one core per gene (6 tracks)", title="")
    axes[2].set_xlim(bars.ms_per_gene.min() / 3, bars.ms_per_gene.max() * 500)
    fig.savefig(out / "binning.png", dpi=150)


def read_genes(data: Path):
    import pandas as pd

    return pd.read_csv(data / "genes.tsv", sep="\t", index_col="gene_id")


def run_measure(args, what: str, genes, folder: Path, tracks: int = len(MARKS)) -> dict[str, float]:
    genes.to_csv(folder / "genes.tsv", sep="\t")
    command = [sys.executable, str(Path(__file__).resolve()), "--data", str(args.data), "--out", str(folder)]
    command += ["--measure", what, "--genes", str(folder / "genes.tsv"), "--tracks", str(tracks)]
    found = launch(command)
    return {"call_s": json.loads((folder / "call.json").read_text()), **found}


def launch(command: list[str]) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} ... failed:\n{done.stderr}")
    return json.loads(done.stdout)


def measure(args: argparse.Namespace) -> None:
    """Run within a process of its own: the best of three calls, in seconds of CPU."""
    import numpy as np
    import pandas as pd

    from genexp_scverse.io.bigwig import bin_tracks

    genes = pd.read_csv(args.genes, sep="\t", index_col="gene_id")
    paths = [args.data / f"K562.{mark}.bigWig" for mark in MARKS[: args.tracks]]
    window = {"upstream": UPSTREAM, "downstream": DOWNSTREAM, "bin_size": BIN_SIZE}
    seconds = [0.0]
    if args.measure != "import":
        seconds = []
        for _ in range(3 if args.measure == "bin_tracks" else 1):
            start = time.process_time()
            bins = (
                bin_tracks(genes, paths, **window, n_jobs=1, progress=False)
                if args.measure == "bin_tracks"
                else loop_over_genes(genes, paths)
            )
            seconds.append(time.process_time() - start)
        np.save(args.out / "bins.npy", bins)
    (args.out / "call.json").write_text(json.dumps(min(seconds)))


def loop_over_genes(genes, paths: list[Path]):
    """What is usually written: values() of each window, missing bases 0, the mean of each bin."""
    import numpy as np
    import pyBigWig

    bins = np.zeros((len(genes), len(paths), N_BINS), dtype=np.float32)
    for j, path in enumerate(paths):
        with pyBigWig.open(str(path)) as bw:
            for i, (chrom, tss, strand) in enumerate(zip(genes.chrom, genes.tss, genes.strand, strict=True)):
                start = tss - UPSTREAM if strand == "+" else tss - DOWNSTREAM + 1
                low, high = max(0, start), min(bw.chroms(chrom), start + UPSTREAM + DOWNSTREAM)
                bases = np.zeros(UPSTREAM + DOWNSTREAM)
                bases[low - start : high - start] = np.nan_to_num(bw.values(chrom, low, high, numpy=True))
                means = bases.reshape(N_BINS, BIN_SIZE).mean(axis=1)
                bins[i, j] = means if strand == "+" else means[::-1]
    return bins


def compute_matrix(args, command: str, genes, folder: Path):
    import numpy as np

    with (folder / "tss.bed").open("w") as bed:
        for gene, chrom, tss, strand in zip(genes.index, genes.chrom, genes.tss, genes.strand, strict=True):
            bed.write(f"{chrom}\t{tss}\t{tss + 1}\t{gene}\t0\t{strand}\n")
    files = [args.data / f"K562.{mark}.bigWig" for mark in MARKS]
    options = ["-b", UPSTREAM, "-a", DOWNSTREAM, "-bs", BIN_SIZE, "-p", 1, "--referencePoint", "TSS"]
    options += ["--averageTypeBins", "mean", "--missingDataAsZero", "--sortRegions", "keep"]
    options += ["-R", folder / "tss.bed", "-o", folder / "matrix.gz", "-S", *files]
    found = launch([command, "reference-point", *map(str, options)])
    matrix = {}
    with gzip.open(folder / "matrix.gz", "rt") as lines:
        next(lines)
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            matrix[fields[3]] = np.array(fields[6:], dtype=float)
    if sorted(matrix) != sorted(genes.index):
        sys.exit(f"computeMatrix gave {len(matrix)} of {len(genes)} genes")
    return found, np.stack([matrix[gene] for gene in genes.index]).reshape(len(genes), len(MARKS), N_BINS)


if __name__ == "__main__":
    main()
