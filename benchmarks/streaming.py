"""Train one DeepChrome on many samples whose signal stays on disk: memory and time by the number of samples.

    python benchmarks/streaming.py --out results/streaming
    python benchmarks/streaming.py --samples 7,14,28,56 --genes 19802 --out results/streaming

Signal of that many samples is simulated into one numpy file of genes x tracks x bins (56 samples x 19,802 genes x 5
marks x 100 bins are 2.2 GB in --scratch, and the same again while the model trains). For every size a fresh process
opens it as a memmap, trains an epoch with its validation and evaluates on test genes. The sizes named by --in-memory
are also trained from an array in memory. Peak memory is ru_maxrss of the whole process, mapped files included; seconds
are of the clock and of the processor. Writes streaming.tsv into --out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKS = ["H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3"]
N_BINS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="7,14,28,56", help="numbers of samples (default 7,14,28,56)")
    parser.add_argument("--genes", type=int, default=19_802)
    parser.add_argument("--in-memory", default="7", help="sizes to train from memory too (default 7; '' for none)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--transform", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--scratch", type=Path, help="folder for the signal (default: that of tempfile)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--measure", choices=["disk", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict] = []
    in_memory = {int(n) for n in args.in_memory.split(",") if n}
    for n in (int(n) for n in args.samples.split(",")):
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            file = Path(folder) / "bins.npy"
            run([sys.executable, "-c", SIMULATE, str(file), str(args.genes), str(n), str(len(MARKS)), str(N_BINS)])
            for where in ("disk", *(["memory"] if n in in_memory else [])):
                command = [sys.executable, __file__, *sys.argv[1:], "--measure", where, "--file", str(file)]
                command += ["--samples", str(n)]
                rows.append(json.loads(run(command).splitlines()[-1]))
                print(json.dumps(rows[-1]), flush=True)
                write(rows, args.out / "streaming.tsv")


def run(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def write(rows: list[dict], path: Path) -> None:
    cells = [[f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    path.write_text("\n".join("\t".join(line) for line in [list(rows[0]), *cells]) + "\n")


# In a process of its own: on Linux one inherits the peak memory of the one that started it.
SIMULATE = """
import sys, numpy as np
file, genes, samples, marks, bins = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(genes, samples * marks, bins))
level = np.random.default_rng(1).gamma(2, 1, (genes, samples)).astype(np.float32)
for start in range(0, genes, 256):
    part = level[start : start + 256]
    x = rng.standard_exponential((len(part), samples, marks, bins), dtype=np.float32)
    x[:, :, 3, 40:60] *= 1 + part[:, :, None]
    x[:, :, 0, 30:70] *= np.exp(-part)[:, :, None] * 2
    out[start : start + 256] = np.floor(2 * x).reshape(len(part), samples * marks, bins)
out.flush()
np.save(file.replace("bins.npy", "level.npy"), level)
"""


def measure(args: argparse.Namespace) -> dict:
    import lightning
    import numpy as np
    import pandas as pd
    import torch

    import genexp_scverse as gx
    from genexp_scverse.model import DeepChrome

    torch.set_num_threads(args.threads)
    import_mb = peak_mb()
    n = int(args.samples)
    bins = np.load(args.file, mmap_mode="r" if args.measure == "disk" else None)
    level = np.load(args.file.with_name("level.npy"))
    samples, genes = [f"E{i + 1:03d}" for i in range(n)], [f"g{i}" for i in range(args.genes)]
    mdata = gx.io.from_bins(
        {s: bins[:, i * len(MARKS) : (i + 1) * len(MARKS)] for i, s in enumerate(samples)},
        genes=genes,
        marks=MARKS,
        expression=pd.DataFrame(level, index=genes, columns=samples),
        unit="log",
        scale="counts",
    )
    gx.pp.split_at_random(mdata)

    class Clock(lightning.Callback):
        def __init__(self):
            self.marks: list[tuple[float, float]] = []

        def stamp(self, *_) -> None:
            self.marks.append((time.perf_counter(), time.process_time()))

        on_train_epoch_start = on_validation_start = on_validation_end = stamp

    model, clock, start = DeepChrome(mdata, transform=args.transform), Clock(), time.perf_counter()
    model.train(
        args.epochs,
        accelerator="cpu",
        batch_size=args.batch_size,
        callbacks=[clock],
        enable_progress_bar=False,
        early_stopping=False,
    )
    train_mb = peak_mb()
    begin, between, end = (np.array(clock.marks[i::3]) for i in range(3))
    evaluating = time.perf_counter()
    table = model.evaluate(split="test")
    return {
        "samples": n,
        "genes": args.genes,
        "pairs": n * args.genes,
        "signal": args.measure,
        "signal_gb": bins.nbytes / 1e9,
        "import_mb": import_mb,
        "peak_train_mb": train_mb,
        "peak_mb": peak_mb(),
        "prepare_s": float(clock.marks[0][0] - start),
        "epoch_s": float(np.median((end - begin)[:, 0])),
        "epoch_cpu_s": float(np.median((end - begin)[:, 1])),
        "of_it_validation_s": float(np.median((end - between)[:, 0])),
        "cpu_us_per_pair": float(1e6 * np.median((between - begin)[:, 1]) / model.fitted_["n_train"]),
        "evaluate_s": time.perf_counter() - evaluating,
        "valid_pearson": float(model.history["valid_pearson"].iloc[-1]),
        "test_pearson": float(table["pearson"].mean()),
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
