"""Whether Seq2Exp finds elements that no track tells from decoys: a simulated genome with and without its motif.

    python benchmarks/decoys.py --out results
    python benchmarks/decoys.py --seeds 0 1 2 3 4 5 --out results

Around every gene lie six elements with signal in two tracks, a third of them true: these carry a motif, the others its
letters shuffled, and stretches with the motif lack signal. The average precision is that of the mean mask against
the true elements, over the positions of all genes of two held-out chromosomes but those around the TSS that are always
open; for a track it is that of its signal. Every seed is another genome. The first is run again with the letters of all
motifs shuffled (``motif`` is False): nothing tells true from decoy there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

import genexp_scverse as gx

REACH = 8000
MASKS = ("soft", "hard", "none")


def main() -> None:
    """Simulate, train every mask, print means over genomes and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genes", type=int, default=4000)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--backbone", default="conv")
    parser.add_argument("--max-epochs", type=int, default=10)
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--mask", action="append", choices=MASKS, help="only these")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows: list[dict] = []
    for seed, shuffled in [*[(seed, False) for seed in args.seeds], (args.seeds[0], True)]:
        with tempfile.TemporaryDirectory() as folder:
            mdata, truth = simulated(Path(folder), shuffled, seed, args)
        chosen = (mdata.obs["split"] == args.split).to_numpy()
        genome = {"motif": not shuffled, "seed": seed}
        for mask in args.mask or MASKS:
            start = time.perf_counter()
            model = gx.model.Seq2ExpModel(
                mdata,
                mask=mask,
                backbone=args.backbone,
                resolution=args.resolution,
                seed=seed,
            )
            model.train(args.max_epochs, enable_progress_bar=sys.stderr.isatty())
            row = {**genome, "scored": f"mask, {mask}", "seconds": time.perf_counter() - start}
            outside = outside_center(model)
            if mask == (args.mask or MASKS)[0]:
                rows += [{**genome, **each} for each in tracks(mdata, truth, chosen, outside)]
            row["pearson"] = float(model.evaluate(split=args.split)["pearson"].iloc[0])
            if mask != "none":
                mean = model.get_mask().mean[chosen][:, outside]
                row |= {"average_precision": precision(truth[chosen][:, outside], mean), "open": mean.mean()}
            rows.append(row)
            sys.stderr.write(f"{row}\n")
    measured = ["average_precision", "pearson", "open", "seconds"]
    table = pd.DataFrame(rows, columns=["motif", "seed", "scored", *measured])
    means = table.groupby(["motif", "scored"], sort=False)[measured].mean()
    means.to_csv(sys.stdout, sep="\t", float_format="%.3f")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / "decoys.tsv", sep="\t", index=False, float_format="%.4f")


def simulated(folder: Path, shuffled: bool, seed: int, args: argparse.Namespace):
    """Build the MuData of a simulated genome, and which of its positions lie in true elements."""
    files = gx.datasets.simulate_elements(folder, n_genes=args.genes, reach=REACH, shuffle_motifs=shuffled, seed=seed)
    mdata = gx.io.build_mudata(
        files.sheet,
        genes=files.genes,
        expression=files.expression,
        unit="tpm",
        fasta=files.genome,
        upstream=REACH,
        downstream=REACH,
        bin_size=16,
    )
    gx.pp.split_by_chromosome(mdata, test=["chr1", "chr2"], valid=["chr3"])
    window = {"upstream": REACH, "downstream": REACH, "bin_size": args.resolution}
    return mdata, gx.pp.interval_mask(mdata, gx.io.read_intervals(files.truth), **window)


def outside_center(model) -> np.ndarray:
    """Positions that the mask decides on."""
    places = model.module.geometry
    kept = np.ones(places.n_positions, bool)
    kept[places.first_open : places.last_open] = False
    return kept


def tracks(mdata, truth: np.ndarray, chosen: np.ndarray, outside: np.ndarray) -> list[dict]:
    """Score the positions by the signal of every track."""
    bins = np.asarray(mdata["chromatin"].obsm["bins"], np.float32)
    signal = bins.reshape(*bins.shape[:2], truth.shape[1], -1).mean(3)
    return [
        {
            "scored": f"signal, {mark}",
            "average_precision": precision(truth[chosen][:, outside], signal[chosen, i][:, outside]),
        }
        for i, mark in enumerate(mdata["chromatin"].var["mark"])
    ]


def precision(truth: np.ndarray, score: np.ndarray) -> float:
    """Average precision over all positions of all genes."""
    return float(average_precision_score(truth.ravel(), score.ravel()))


if __name__ == "__main__":
    main()
