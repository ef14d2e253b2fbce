"""Figures against the number of training genes with expression: does the latent need fewer of them?

    python benchmarks/few_genes.py k562.h5mu --sample K562 --out results

The expression of all training genes but 100, 300 or 1,000 is hidden; their chromatin stays, which SimpleChromeVAE
learns from and the others do not. Validation genes are hidden in proportion. ``--split valid`` is for choosing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import genexp_scverse as gx

MODELS = {
    "linear": "Linear",
    "random forest": "RandomForest",
    "DeepChrome": "DeepChrome",
    "SimpleChromeVAE": "SimpleChromeVAE",
    "SimpleChromeVAE, two stages": {"model": "SimpleChromeVAE", "mode": "two_stage"},
}


def main() -> None:
    """Train, print and save the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mudata")
    parser.add_argument("--sample", required=True)
    parser.add_argument("--split", choices=("valid", "test"), default="test")
    parser.add_argument("--sizes", default="100,300,1000,all", help="training genes, separated by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", action="append", choices=list(MODELS), help="only these")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    mdata = gx.io.read_mudata(args.mudata)
    table = gx.tl.learning_curve(
        {k: v for k, v in MODELS.items() if args.model is None or k in args.model},
        mdata,
        sizes=[None if n == "all" else int(n) for n in args.sizes.split(",")],
        seeds=range(args.seeds),
        split=args.split,
        samples=[args.sample],
        train={"enable_progress_bar": False},
    )
    shown = table.groupby(["n_train", "model"])[["auroc", "auprc", "pearson", "spearman"]].agg(["mean", "min", "max"])
    shown.columns = ["_".join(c) for c in shown.columns]
    shown.to_csv(sys.stdout, sep="\t", float_format="%.4f")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / f"few_genes_{args.sample}.tsv", sep="\t", index=False, float_format="%.4f")
        ax = gx.pl.learning_curve(mdata, metric="pearson")
        ax.figure.savefig(args.out / f"few_genes_{args.sample}.png", dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
