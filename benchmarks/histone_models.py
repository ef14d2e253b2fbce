"""Figures of every model on real histone marks, with intervals, on chromosomes held out.

    genexp build sheet.tsv --genes genes.tsv --expression expression.tsv --unit K562=log --unit H1=counts \\
        --test-chroms chr1 --valid-chroms chr2,chr10 -o k562.h5mu
    python benchmarks/histone_models.py k562.h5mu --sample K562 --out results

Settings are chosen on the validation chromosomes; the test chromosomes are only reported. The last row trains the
default DeepChrome on permuted expression: what is left there is chance.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import genexp_scverse as gx

ROWS = [
    ("linear", "Linear", "default"),
    ("linear SVM", "LinearSVM", "default"),
    ("random forest", "RandomForest", "default"),
    ("DeepChrome (paper)", "DeepChrome", "paper"),
    ("DeepChrome", "DeepChrome", "default"),
]


def main() -> None:
    """Train, evaluate, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mudata")
    parser.add_argument("--sample", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", type=int, default=3, help="of DeepChrome's default; the others run once")
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--without", action="append", default=[], help="leave out a row")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    mdata = gx.io.read_mudata(args.mudata)
    tables = []
    for label, name, setting in ROWS:
        if label in args.without:
            continue
        seeds = range(args.seeds if label == "DeepChrome" else 1)
        tables += [row(mdata, f"{label}, seed {s}" if len(seeds) > 1 else label, name, setting, s, args) for s in seeds]
    tables.append(row(permuted(mdata), "DeepChrome, permuted expression", "DeepChrome", "default", 0, args))
    table = pd.concat(tables)
    table.to_csv(sys.stdout, sep="\t", float_format="%.4f")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / f"histone_models_{args.sample}.tsv", sep="\t", float_format="%.4f")
        ax = gx.pl.comparison(table, "pearson")
        ax.figure.savefig(args.out / f"histone_models_{args.sample}.png", dpi=150, bbox_inches="tight")


def row(mdata, label: str, name: str, setting: str, seed: int, args) -> pd.DataFrame:
    """Train one model and evaluate it."""
    cls = gx.model.model_class(name)
    cls.setup_mudata(mdata, samples=[args.sample])
    model = cls(mdata, setting=setting, seed=seed)
    start = time.perf_counter()
    model.train(**({"enable_progress_bar": sys.stderr.isatty()} if hasattr(model, "module") else {}))
    seconds = time.perf_counter() - start
    table = model.evaluate(split=args.split, n_bootstrap=args.bootstrap)
    columns = [c for m in ("auroc", "auprc", "pearson", "spearman") for c in (m, f"{m}_low", f"{m}_high")]
    table = table[["n", *columns]].assign(train_s=seconds)
    table.index = pd.Index([label], name="model")
    sys.stderr.write(f"{label}: AUROC {table['auroc'].iloc[0]:.4f}, Pearson {table['pearson'].iloc[0]:.4f}\n")
    return table


def permuted(mdata):
    """Give every gene, in place, the expression of another gene of its split."""
    rng = np.random.default_rng(0)
    log = mdata["rna"].layers["log"]
    for split in ("train", "valid", "test"):
        rows = np.flatnonzero((mdata.obs["split"] == split).to_numpy())
        log[rows] = log[rng.permutation(rows)]
    return mdata


if __name__ == "__main__":
    main()
