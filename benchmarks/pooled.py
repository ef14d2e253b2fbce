"""One model of several samples beside one for each: shared or all marks, comparable signal or not, samples not seen.

    genexp build sheet.tsv --genes genes.tsv --expression expression.tsv --unit K562=log --unit H1=counts \\
        --test-chroms chr1 --valid-chroms chr2,chr10 -o k562.h5mu
    python benchmarks/pooled.py k562.h5mu --out results/pooled

Every model is trained with every seed and evaluated on the genes of --split in every sample that it can predict, also
in those that it has not seen. Written into --out: pooled_runs.tsv, a row per run, sample and seed; pooled.tsv, means
over seeds, with the paired difference to the reference of the same kind (own: a model of that sample alone with its own
marks; unseen: the model without the sample and transform="auto") and its 95 % interval over genes, taken of the
predictions that are averaged over seeds.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd

import genexp_scverse as gx

METRICS = ["auroc", "auprc", "pearson", "spearman"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mudata")
    parser.add_argument("--model", default="DeepChrome")
    parser.add_argument("--split", default="valid")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--max-epochs", type=int, help="for a trial")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    mdata = gx.io.read_mudata(args.mudata)
    samples = list(dict.fromkeys(mdata["chromatin"].var["sample"].astype(str)))
    rows, predictions = [], {}
    for seed, (kind, trained, marks, transform) in itertools.product(range(args.seeds), runs(mdata, samples)):
        cls = gx.model.model_class(args.model)
        cls.setup_mudata(mdata, samples=trained, marks=marks)
        model = cls(mdata, seed=seed, transform=transform)
        network = {"enable_progress_bar": False, "max_epochs": args.max_epochs}
        model.train(**(network if hasattr(model, "module") else {}))
        for sample in samples:
            if kind == "one sample, own marks" and sample not in trained:
                continue
            label = kind if sample in trained else "sample not seen, shared marks"
            key = (label, "+".join(trained), transform, sample)
            frame = model.predict(split=args.split, samples=sample)
            predictions.setdefault(key, []).append(frame)
            figures = model.evaluate(split=args.split, samples=sample).loc[sample]
            rows.append(
                dict(zip(["model", "trained", "transform", "sample"], key, strict=True))
                | {"n_marks": len(model.setup_["marks"]), "seed": seed, "n": int(figures["n"])}
                | figures[METRICS].to_dict()
                | {"train_seconds": model.fitted_["train_seconds"]}
            )
        pd.DataFrame(rows).to_csv(args.out / "pooled_runs.tsv", sep="\t", index=False, float_format="%.5f")
    table = summary(mdata, pd.DataFrame(rows), predictions, args)
    table.to_csv(args.out / "pooled.tsv", sep="\t", index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format="%.4f"))


def runs(mdata, samples: list[str]) -> list[tuple]:
    """Kind, samples, marks and transform of every model."""
    var = mdata["chromatin"].var.astype(str)
    of = {s: list(var["mark"][var["sample"] == s]) for s in samples}
    shared = [m for m in of[samples[0]] if all(m in of[s] for s in samples)]
    found = [("one sample, own marks", [s], of[s], "auto") for s in samples]
    for transform in ("auto", "quantile"):
        found += [("one sample, shared marks", [s], shared, transform) for s in samples]
        found += [("pooled, shared marks", samples, shared, transform)]
        found += [("pooled, all marks", samples, "all", transform)]
    return found


def summary(mdata, rows: pd.DataFrame, predictions: dict, args) -> pd.DataFrame:
    keys = ["model", "trained", "transform", "sample"]
    means = {key: sum(frames) / len(frames) for key, frames in predictions.items()}
    log, split = mdata["rna"].layers["log"], mdata.obs["split"].astype(str).to_numpy()
    names = list(mdata["rna"].var["sample"].astype(str))
    table = []
    for key, group in rows.groupby(keys, sort=False):
        level = log[:, names.index(key[3])]
        threshold = np.nanmedian(level[split == "train"])
        there = (split == args.split) & ~np.isnan(level)
        own = means[("one sample, own marks", key[3], "auto", key[3])]
        unseen = means.get(("sample not seen, shared marks", key[1], "auto", key[3]))
        reference = unseen if "not seen" in key[0] else own
        of = np.flatnonzero(there[split == args.split])
        found = gx.metrics.bootstrap_differences(
            observed=level[there],
            predicted=means[key].iloc[of, 0],
            reference_predicted=reference.iloc[of, 0],
            label=(level[there] > threshold).astype(float),
            prob=means[key].iloc[of, 1],
            reference_prob=reference.iloc[of, 1],
            n=args.bootstrap,
        )
        row = dict(zip(keys, key, strict=True)) | group[["n_marks", "n", *METRICS]].mean().to_dict()
        for metric in ("auroc", "pearson"):
            row |= dict(zip([f"{metric}_diff", f"{metric}_low", f"{metric}_high"], found[metric], strict=True))
        table.append(row)
    return pd.DataFrame(table).astype({"n_marks": int, "n": int})


if __name__ == "__main__":
    main()
