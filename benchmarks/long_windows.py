"""Training of Seq2Exp on long windows at one base a bin: genes a second and peak memory by length and backbone.

    python benchmarks/long_windows.py --out results
    python benchmarks/long_windows.py --lengths 200192 --models ssd published --genes 16000 --whole --bf16 --out results

A genome of --bases with two tracks is simulated and written as a genome store with one value a base. Every row is a
process of its own: it attaches the store to --genes genes, trains the model for --steps steps of --batch-size windows
(for an epoch with --whole), and reports the genes that a second of the steps took (without the first two), the peak
memory of the process and what the imports take of it, and on CUDA the largest amount allocated. The seconds are those
of the clock: leave the machine alone. A run that does not fit in memory has no numbers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from genome_store import SIMULATE, peak_mb

MODELS = {
    "conv": {"backbone": "conv"},
    "ssd": {"backbone": "ssd"},
    "mamba": {"backbone": "mamba"},
    "published": {"setting": "paper-soft"},
}
WARM_UP = 2
"""Steps before the clock runs."""
WRITE = """
import sys
import genexp_scverse as gx
gx.io.write_genome(sys.argv[1] + "/store", fasta=sys.argv[1] + "/genome.fa", sheet=sys.argv[1] + "/sheet.tsv")
"""


def main() -> None:
    """Measure all combinations, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2_048, 20_480, 200_192], help="bases of a window")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["conv", "ssd", "mamba"])
    parser.add_argument("--genes", type=int, default=18_377)
    parser.add_argument("--bases", type=float, default=100e6, help="of the simulated genome")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--whole", action="store_true", help="an epoch in place of --steps")
    parser.add_argument("--step", action="store_true", help="the first batch over and over, without reading others")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 where that is safe")
    parser.add_argument("--checkpoint", action="store_true", help="compute the inside of layers again")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU")
    parser.add_argument("--scratch", type=Path, help="folder for the store (default: that of tempfile)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps <= WARM_UP:
        parser.error(f"--steps {args.steps} leaves none to be timed: take more than {WARM_UP}")
    if args.measure:
        print(json.dumps(measure(args, args.measure, args.lengths[0])))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        # in processes of their own: on Linux one inherits the peak memory of the one that started it
        subprocess.run([sys.executable, "-c", SIMULATE, str(folder), str(int(args.bases))], check=True)
        subprocess.run([sys.executable, "-c", WRITE, str(folder)], check=True)
        for length, model in itertools.product(args.lengths, args.models):
            command = [sys.executable, *sys.argv, "--measure", model, "--lengths", str(length), "--scratch", name]
            done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
            row = {"model": model, "bases": length, "batch_size": args.batch_size}
            row |= json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
            rows.append(row)
            sys.stderr.write(f"{row}\n")
    table = pd.DataFrame(rows)
    table.to_csv(sys.stdout, sep="\t", index=False, float_format="%.4g")
    table.to_csv(args.out / "long_windows.tsv", sep="\t", index=False, float_format="%.4g")


def measure(args: argparse.Namespace, model: str, length: int) -> dict:
    """Train one model on windows of one length."""
    import lightning
    import torch

    import genexp_scverse as gx

    logging.getLogger("genexp_scverse").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    cuda = torch.cuda.is_available()

    class Clock(lightning.Callback):
        """The time from the end of the second step to that of the last, in which a GPU is never waited for."""

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            self.steps = batch_idx + 1
            if self.steps in (WARM_UP, trainer.num_training_batches):
                if cuda:
                    torch.cuda.synchronize()
                at = time.perf_counter()
                self.start, self.seconds = (at, 0.0) if self.steps == WARM_UP else (self.start, at - self.start)

    before = peak_mb()
    rng = np.random.default_rng(0)
    sizes = gx.io.read_genome(args.scratch / "store").chrom_sizes
    genes = pd.DataFrame({"chrom": rng.choice(list(sizes), args.genes), "strand": rng.choice(["+", "-"], args.genes)})
    genes["tss"] = (rng.random(args.genes) * genes["chrom"].map(sizes)).astype(int)
    genes.index = [f"g{i}" for i in range(args.genes)]
    level = pd.DataFrame({"A": rng.normal(size=args.genes)}, genes.index)
    mdata = gx.io.build_mudata(
        genes=genes, expression=level, unit="log", fasta=args.scratch / "genome.fa", upstream=8, downstream=8
    )
    gx.io.attach_genome(mdata, args.scratch / "store", upstream=length // 2, downstream=length // 2)
    mdata.obs["split"] = np.where(np.arange(args.genes) < 16, "valid", "train")
    gx.model.Seq2ExpModel.setup_mudata(mdata, target="expression")
    hyper = MODELS[model] | ({"checkpoint": True} if args.checkpoint else {})
    network = gx.model.Seq2ExpModel(mdata, **hyper)
    if args.step:
        repeat_the_first_batch()
    clock = Clock()
    limits = {} if args.whole else {"limit_train_batches": args.steps, "limit_val_batches": 1}
    start = time.perf_counter()
    network.train(
        max_epochs=1,
        batch_size=args.batch_size,
        callbacks=[clock],
        enable_progress_bar=False,
        **limits,
        **({"precision": "bf16-mixed"} if args.bf16 else {}),
    )
    seconds = time.perf_counter() - start
    return {
        "resolution": network.module.geometry.resolution,
        "genes": args.genes,
        "parameters": network.n_parameters,
        "genes_per_s": args.batch_size * (clock.steps - WARM_UP) / clock.seconds,
        "steps": clock.steps,
        "train_s": seconds,
        "imports_mb": before,
        "peak_mb": peak_mb(),
        "cuda_peak_mb": torch.cuda.max_memory_allocated() / 2**20 if cuda else float("nan"),
        "device": torch.cuda.get_device_name() if cuda else f"{args.threads} threads",
    }


def repeat_the_first_batch() -> None:
    """Let what is computed with stay where it is, so that reading and copying take no time."""
    from genexp_scverse.model.base._tables import GeneTables

    gather, held = GeneTables.gather, {}

    def first(tables, genes, samples, read=None):
        if len(genes) not in held:
            held[len(genes)] = gather(tables, genes, samples)
        return held[len(genes)]

    GeneTables.gather, GeneTables.read = first, lambda tables, genes, samples: {}


if __name__ == "__main__":
    main()
