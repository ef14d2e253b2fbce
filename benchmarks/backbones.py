"""Speed and peak memory of every backbone against the length of the window, forward and backward.

    python benchmarks/backbones.py > backbones.tsv
    python benchmarks/backbones.py --lengths 2000 16000 --stride 1 --layers 1 --threads 1
    python benchmarks/backbones.py --lengths 200000 --stride 32 --batch-size 8 --bf16 --checkpoint

A stem makes one token of every `stride` bases, the backbone follows, and the sum of its output is differentiated; the
table has the fastest of the repeats after one that warms up. Memory is what the run adds: on the CPU the growth of the
process, each measurement in a process of its own; on CUDA the largest amount allocated. The seconds are those of
the clock: leave the machine alone. A run that does not fit in memory has no numbers.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import pandas as pd
import torch

from genexp_scverse.nn.backbones import BACKBONES, make_backbone
from genexp_scverse.nn.sequence_stem import SequenceStem


def main() -> None:
    """Measure all combinations and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 16384], help="bases")
    parser.add_argument("--stride", type=int, nargs="+", default=[1], help="bases for every token")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checkpoint", action="store_true", help="compute the inside of layers again")
    parser.add_argument("--bf16", action="store_true", help="under autocast")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    rows = []
    for length, stride, name in itertools.product(args.lengths, args.stride, args.backbones):
        measured = in_own_process if args.device == "cpu" else on_gpu
        tokens = length // stride
        row = {"backbone": name, "bases": tokens * stride, "tokens": tokens, "stride": stride}
        row |= {k: getattr(args, k) for k in ("batch_size", "width", "layers", "checkpoint", "bf16", "device")}
        row |= measured(name, tokens * stride, stride, args)
        rows.append(row)
        sys.stderr.write(f"{row}\n")
    pd.DataFrame(rows).to_csv(sys.stdout, sep="\t", index=False, float_format="%.4g")


def in_own_process(name: str, length: int, stride: int, args) -> dict[str, float]:
    """Measure in a new process, so that memory of earlier runs is not counted."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool, suppress(BrokenProcessPool):
        return pool.submit(on_cpu, name, length, stride, args).result()
    return {}


def on_cpu(name: str, length: int, stride: int, args) -> dict[str, float]:
    """Measure on the CPU; the peak is that of the process above what the libraries take."""
    torch.set_num_threads(args.threads)
    # a first small run loads what is loaded when it is used
    timed(name, 32 * stride, stride, args, repeats=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        row = timed(name, length, stride, args, repeats=args.repeats)
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return row | {"peak_mb": (peak - before) / 1024}


def on_gpu(name: str, length: int, stride: int, args) -> dict[str, float]:
    """Measure on CUDA."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        row = timed(name, length, stride, args, repeats=args.repeats)
    except torch.cuda.OutOfMemoryError:
        return {}
    return row | {"peak_mb": torch.cuda.max_memory_allocated() / 2**20}


def timed(name: str, length: int, stride: int, args, *, repeats: int) -> dict[str, float]:
    """Seconds of the fastest repeat, and what that is per token, base and gene."""
    torch.manual_seed(0)
    stem = SequenceStem(args.width, stride).to(args.device)
    backbone = make_backbone(name, args.width, args.layers, checkpoint=args.checkpoint).to(args.device)
    codes = torch.randint(0, 4, (args.batch_size, length), dtype=torch.uint8, device=args.device)
    seconds = []
    for _ in range(repeats + 1):
        start = now(args.device)
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.bf16):
            total = backbone(stem(codes)).sum()
        total.backward()
        seconds.append(now(args.device) - start)
        for module in (stem, backbone):
            module.zero_grad()
    fastest = min(seconds[1:])
    genes = args.batch_size / fastest
    return {
        "seconds": fastest,
        "tokens_per_s": genes * length / stride,
        "bases_per_s": genes * length,
        "genes_per_s": genes,
    }


def now(device: str) -> float:
    """Seconds, once the device has done its work."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
