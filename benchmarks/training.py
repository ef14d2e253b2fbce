"""Time an epoch of DeepChrome beside a bare PyTorch loop over the same network and data, in one run.

    python benchmarks/training.py --out benchmarks/results

Both train the published network with AdamW on level and label, and after each epoch predict the validation genes and
take their AUROC and Pearson. The bare loop is timed with torch's default step and with the fused one, which
DeepChrome uses; on a GPU DeepChrome also replays recorded steps. Epochs alternate. On the CPU the times are processor
seconds of this process on --threads threads. On a GPU it also says which share of the wall time of an epoch no kernel
was running.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

import genexp_scverse as gx
from genexp_scverse.model.base._torch_model import TRAINING


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=14_000)
    parser.add_argument("--marks", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=7, help="epochs of each that are timed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    mdata = simulated(args.genes, args.marks)
    model = gx.model.DeepChrome(mdata)
    model.train(1, enable_progress_bar=False, accelerator=accelerator(args.device), batch_size=args.batch_size)
    clock = EpochClock(args.device)
    loops = {fused: BareLoop(mdata, args.device, args.batch_size, fused=fused) for fused in (False, True)}
    for bare in loops.values():
        bare.epoch()
    ours: list[float] = []
    theirs: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(args.epochs):
        model.train(
            2,
            early_stopping=False,
            batch_size=args.batch_size,
            enable_progress_bar=False,
            accelerator=accelerator(args.device),
            callbacks=[clock],
        )
        # the first epoch of a call also sets Lightning up; the second is an epoch as all that follow
        ours.append(clock.seconds[-1])
        for fused, bare in loops.items():
            start = now(args.device)
            bare.epoch()
            theirs[fused].append(now(args.device) - start)
    row = {
        "device": args.device,
        "genes": args.genes,
        "batch_size": args.batch_size,
        "epoch_s": statistics.median(ours),
        "bare_loop_s": statistics.median(theirs[False]),
        "bare_fused_s": statistics.median(theirs[True]),
        "ratio": statistics.median(o / t for o, t in zip(ours, theirs[False], strict=True)),
        "ratio_to_fused": statistics.median(o / t for o, t in zip(ours, theirs[True], strict=True)),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if args.device != "cpu":
        row["share_outside_kernels"] = outside_kernels(model, args)
    table = pd.DataFrame([row])
    table.to_csv(sys.stdout, sep="\t", index=False, float_format="%.4g")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / f"training_{args.device}.tsv", sep="\t", index=False, float_format="%.4g")


def simulated(n_genes: int, n_marks: int):
    """Signal of the size of the real data, with a level that depends on it."""
    rng = np.random.default_rng(0)
    bins = rng.gamma(0.3, 1.0, (n_genes, n_marks, 100)).astype(np.float32)
    level = np.log1p(bins[:, 0, 45:60].mean(1)) + 0.2 * rng.standard_normal(n_genes)
    mdata = gx.io.from_bins(
        bins,
        genes=[f"g{i}" for i in range(n_genes)],
        marks=[f"mark{i}" for i in range(n_marks)],
        expression=level,
        unit="log",
    )
    gx.pp.split_at_random(mdata, fractions=(0.8, 0.1, 0.1))
    return mdata


class EpochClock(lightning.Callback):
    """Seconds from the start of an epoch to the end of its validation."""

    def __init__(self, device: str):
        self.device, self.seconds, self._start = device, [], 0.0

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        """Start the clock."""
        self._start = now(self.device)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        """Stop it."""
        self.seconds.append(now(self.device) - self._start)


def accelerator(device: str) -> str:
    """Lightning's word for a device."""
    return "cpu" if device == "cpu" else "gpu"


def now(device: str) -> float:
    """Seconds: of processor time on the CPU, so that other work does not count; of the clock on a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class BareLoop:
    """What one writes by hand: tensors on the device, shuffle, step; then the validation genes."""

    def __init__(self, mdata, device: str, batch_size: int, *, fused: bool):
        torch.manual_seed(0)
        x = mdata["chromatin"].obsm["bins"]
        split = mdata.obs["split"].to_numpy().astype(str)
        level = mdata["rna"].layers["log"][:, 0]
        train = split == "train"
        self.x = torch.tensor(np.log1p(x) / np.log1p(x[train]).std((0, 2))[None, :, None], device=device)
        self.level = torch.tensor((level - level[train].mean()) / level[train].std(), device=device)
        self.label = torch.tensor((level > np.median(level[train])).astype(np.float32), device=device)
        self.train_rows = torch.tensor(np.flatnonzero(train), device=device)
        self.valid_rows = torch.tensor(np.flatnonzero(split == "valid"), device=device)
        fresh = gx.model.DeepChrome(mdata)
        self.net = fresh.module.to(device)
        self.batch_size = batch_size
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=TRAINING["lr"], weight_decay=TRAINING["weight_decay"], fused=fused
        )

    def epoch(self) -> tuple[float, float]:
        """Train once over the genes, then measure on the validation genes."""
        self.net.train()
        order = self.train_rows[torch.randperm(len(self.train_rows), device=self.train_rows.device)]
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            out = self.net({"bins": self.x[rows]})
            loss = torch.nn.functional.binary_cross_entropy_with_logits(out["logit"], self.label[rows])
            loss = loss + torch.nn.functional.mse_loss(out["level"], self.level[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.net.eval()
        with torch.no_grad():
            out = self.net({"bins": self.x[self.valid_rows]})
        label, level = self.label[self.valid_rows].cpu().numpy(), self.level[self.valid_rows].cpu().numpy()
        return (
            roc_auc_score(label, out["logit"].cpu().numpy()),
            float(np.corrcoef(level, out["level"].cpu().numpy())[0, 1]),
        )


def outside_kernels(model, args) -> float:
    """Share of an epoch's wall time in which no kernel ran, from torch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    clock = EpochClock(args.device)
    with torch.profiler.profile(activities=activities) as profile:
        model.train(
            1,
            early_stopping=False,
            batch_size=args.batch_size,
            enable_progress_bar=False,
            accelerator="gpu",
            callbacks=[clock],
        )
        torch.cuda.synchronize()
    kernels = sum(e.device_time_total for e in profile.events() if e.device_type.name == "CUDA") / 1e6
    return 1 - kernels / clock.seconds[-1]


if __name__ == "__main__":
    main()
