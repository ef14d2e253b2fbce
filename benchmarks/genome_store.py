"""Read long windows of DNA and signal base by base: a genome store against pyBigWig and pyfaidx gene by gene.

    python benchmarks/genome_store.py --out results/genome_store
    python benchmarks/genome_store.py --fasta hg38.fa --sheet sheet.tsv --genes genes.tsv --out results/genome_store

Without files a genome of --bases is simulated, with two tracks that have a value for about every 25 bases. Without
--fasta signal alone is compared. A store is written, and read in random batches of 8 genes at --window bases, in two
passes over the same --read genes: the first with the files dropped from the cache of the system (as far as it lets
them go), the second with them in it. Every measurement is a process of its own on one core; peak memory is ru_maxrss,
that of the imports beside it. Writes genome_store.tsv into --out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasta", type=Path, help="plain FASTA of the genome")
    parser.add_argument("--sheet", type=Path, help="sample sheet of the tracks")
    parser.add_argument("--genes", type=Path, help="annotation of the genes")
    parser.add_argument("--bases", type=float, default=100e6, help="of the simulated genome (default 1e8)")
    parser.add_argument("--window", type=int, default=200_000, help="bases of a window (default 200,000)")
    parser.add_argument("--read", type=int, default=800, help="genes to read (default 800)")
    parser.add_argument("--dtype", default="float32", help="float32 or float16")
    parser.add_argument("--scratch", type=Path, help="folder for the store (default: that of tempfile)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--measure", choices=["imports", "write", "store", "peer", "check"], help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(MEASURES[args.measure](args)))
        return
    if bool(args.sheet) != bool(args.genes):
        sys.exit("give both --sheet and --genes, or neither")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        if args.sheet is None:
            run([sys.executable, "-c", SIMULATE, str(folder), str(int(args.bases))])
            args.fasta, args.sheet, args.genes = (folder / n for n in ("genome.fa", "sheet.tsv", "genes.tsv"))
        rows = [{"what": "imports", **measured(args, "imports", folder)}]
        rows.append({"what": "write the store", **measured(args, "write", folder)})
        run(command_of(args, "check", folder))
        for what, kind in (("genome store", "store"), ("pyBigWig and pyfaidx", "peer")):
            rows.append({"what": what, **measured(args, kind, folder)})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([text(row.get(c, "")) for c in columns] for row in rows)]
    (args.out / "genome_store.tsv").write_text("\n".join("\t".join(line) for line in lines) + "\n")


def text(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def command_of(args: argparse.Namespace, kind: str, folder: Path) -> list[str]:
    command = [sys.executable, __file__, "--measure", kind, "--store", str(folder / "store"), "--out", str(args.out)]
    command += ["--sheet", str(args.sheet), "--genes", str(args.genes), "--window", str(args.window)]
    command += ["--read", str(args.read), "--dtype", args.dtype]
    return command + (["--fasta", str(args.fasta)] if args.fasta else [])


def measured(args: argparse.Namespace, kind: str, folder: Path) -> dict:
    row = json.loads(run(command_of(args, kind, folder)).splitlines()[-1])
    print(json.dumps({"what": kind, **row}), flush=True)
    return row


def run(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# In a process of its own: on Linux one inherits the peak memory of the one that started it.
SIMULATE = """
import sys
from pathlib import Path
import numpy as np
import pyBigWig
folder, bases = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
sizes = {f"chr{i + 1}": bases // 4 for i in range(4)}
with (folder / "genome.fa").open("wb") as out:
    for chrom, size in sizes.items():
        out.write(f">{chrom}\\n".encode())
        for first in range(0, size, 6_000_000):
            n = min(6_000_000, size - first)
            letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, n, dtype=np.uint8)]
            whole = n // 60 * 60
            lines = np.hstack([letters[:whole].reshape(-1, 60), np.full((whole // 60, 1), 10, np.uint8)])
            out.write(lines.tobytes() + (letters[whole:].tobytes() + b"\\n" if whole < n else b""))
sheet = ["sample\\tmark\\tpath\\tscale"]
for mark in ("H3K27ac", "DNase"):
    with pyBigWig.open(str(folder / f"{mark}.bw"), "w") as out:
        out.addHeader(list(sizes.items()))
        for chrom, size in sizes.items():
            edges = np.cumsum(rng.integers(1, 50, size // 25))
            edges = edges[edges < size]
            value = rng.gamma(0.5, 2, len(edges) - 1).round(2)
            out.addEntries([chrom] * len(value), edges[:-1].tolist(), ends=edges[1:].tolist(), values=value.tolist())
    sheet.append(f"A\\t{mark}\\t{mark}.bw\\tcoverage")
(folder / "sheet.tsv").write_text("\\n".join(sheet) + "\\n")
genes = ["gene_id\\tchrom\\ttss\\tstrand"]
for i in range(2000):
    chrom = f"chr{rng.integers(1, 5)}"
    genes.append(f"g{i}\\t{chrom}\\t{rng.integers(0, sizes[chrom])}\\t{'+-'[rng.integers(2)]}")
(folder / "genes.tsv").write_text("\\n".join(genes) + "\\n")
"""


def imports(args: argparse.Namespace) -> dict:
    import pyBigWig  # noqa: F401
    import pyfaidx  # noqa: F401

    import genexp_scverse as gx

    return {"genes": len(chosen(gx, args)[0]), "peak_mb": peak_mb()}


def write(args: argparse.Namespace) -> dict:
    import genexp_scverse as gx

    start, cpu = time.perf_counter(), time.process_time()
    store = gx.io.write_genome(args.store, fasta=args.fasta, sheet=args.sheet, dtype=args.dtype)
    took = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    files = [p.stat() for p in args.store.rglob("*") if p.is_file()]
    return {
        **took,
        "peak_mb": peak_mb(),
        "gigabases": sum(store.chrom_sizes.values()) / 1e9,
        "tracks": len(store.tracks),
        "size_gb": sum(f.st_size for f in files) / 1e9,
        "on_disk_gb": sum(512 * f.st_blocks for f in files) / 1e9,
    }


def read_store(args: argparse.Namespace) -> dict:
    import genexp_scverse as gx

    genes, batches = chosen(gx, args)
    windows = windows_of(gx, genes, args)
    forget(p for p in args.store.rglob("*.npy"))

    def read(rows) -> None:
        windows.signal(rows)
        if args.fasta:
            windows.codes(rows)

    return passes(read, batches)


def read_peer(args: argparse.Namespace) -> dict:
    import genexp_scverse as gx

    genes, batches = chosen(gx, args)
    read = peer(gx, genes, args)
    forget([*([args.fasta] if args.fasta else []), *map(Path, gx.io.read_sheet(args.sheet)["path"])])
    return passes(read, batches)


def check(args: argparse.Namespace) -> dict:
    """Make sure that both read the same."""
    import numpy as np

    import genexp_scverse as gx

    genes, batches = chosen(gx, args)
    windows, read = windows_of(gx, genes, args), peer(gx, genes, args)
    for rows in batches[:5]:
        signal, codes = read(rows)
        np.testing.assert_allclose(windows.signal(rows), signal, rtol=1e-3 if args.dtype == "float16" else 1e-6)
        if args.fasta:
            np.testing.assert_array_equal(windows.codes(rows), codes)
    return {}


def chosen(gx, args: argparse.Namespace):
    import logging

    import numpy as np

    logging.getLogger("genexp_scverse").setLevel("ERROR")
    genes = gx.io.read_genes(args.genes)
    rows = np.random.default_rng(1).permutation(len(genes))[: args.read]
    return genes, np.split(rows, np.arange(BATCH, len(rows), BATCH))


def windows_of(gx, genes, args: argparse.Namespace):
    half = args.window // 2
    return gx.io.GenomeWindows(genes, gx.io.read_genome(args.store), upstream=half, downstream=half)


def peer(gx, genes, args: argparse.Namespace):
    """Give what reads a batch with the libraries themselves: signal, and codes where there is a FASTA."""
    import numpy as np
    import pyBigWig
    from pyfaidx import Faidx

    from genexp_scverse.io.window import tss_windows

    half = args.window // 2
    windows = tss_windows(genes, upstream=half, downstream=half)
    tracks = [pyBigWig.open(path) for path in gx.io.read_sheet(args.sheet)["path"]]
    fasta = Faidx(str(args.fasta), as_raw=True) if args.fasta else None
    sizes = tracks[0].chroms()
    code = np.full(256, 4, np.uint8)
    for i, letter in enumerate(b"ACGT"):
        code[[letter, letter + 32]] = i
    complement = np.array([3, 2, 1, 0, 4], np.uint8)

    def read(rows):
        signal = np.zeros((len(rows), len(tracks), args.window), np.float32)
        codes = np.full((len(rows), args.window), 4, np.uint8)
        for i, row in enumerate(rows):
            chrom, start, end = windows.chrom[row], int(windows.start[row]), int(windows.end[row])
            low, high = max(0, start), min(sizes[chrom], end)
            for t, track in enumerate(tracks):
                signal[i, t, low - start : high - start] = np.nan_to_num(track.values(chrom, low, high, numpy=True))
            if fasta:
                letters = np.frombuffer(fasta.fetch(chrom, low + 1, high).encode(), np.uint8)
                codes[i, low - start : high - start] = code[letters]
            if windows.reverse[row]:
                signal[i] = signal[i, :, ::-1]
                codes[i] = complement[codes[i, ::-1]]
        return signal, codes

    return read


def forget(files) -> None:
    if hasattr(os, "posix_fadvise"):
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def passes(read, batches) -> dict:
    n, row = sum(map(len, batches)), {}
    for name in ("first", "second"):
        start, cpu = time.perf_counter(), time.process_time()
        for rows in batches:
            read(rows)
        row[f"{name}_genes_per_s"] = n / (time.perf_counter() - start)
        row[f"{name}_cpu_ms_per_gene"] = 1000 * (time.process_time() - cpu) / n
    return {"genes": n, **row, "peak_mb": peak_mb()}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


MEASURES = {"imports": imports, "write": write, "store": read_store, "peer": read_peer, "check": check}


if __name__ == "__main__":
    main()
