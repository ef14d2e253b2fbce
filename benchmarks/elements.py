"""Expression from DNase and H3K27ac over 200 kb: Seq2Exp beside trees and fixed masks, and its mask on CRISPRi pairs.

    python benchmarks/elements.py --data k562_elements --peaks macs2_peaks.narrowPeak.gz --out results/elements

`--data` holds ``sheet.tsv`` with the tracks it names, ``genes.tsv`` (with a column ``fold``), ``expression.tsv`` (a
logarithm), ``mrna_features.tsv.gz`` and ``crispri_pairs.tsv.gz``. For every fold a model trains on the others but the
one after it, whose genes choose the epoch, and predicts the genes of the fold. All read the signals of the window, the
promoter signal (log1p of DNase, of H3K27ac and of their geometric mean over the TSS +/- 500 bases) and the half-life
features; Seq2Exp reads contact with the TSS, a power law of distance, which is a factor of the odds of its mask.

Three tables, of all folds pooled: every model against gradient-boosted trees; the genes of the chromosome of `--peaks`,
where peaks stand in for a mask; and element-gene pairs tested by CRISPRi, scored by the mask that a model gives to the
genes it was not trained on. Intervals are 95 % bootstrap intervals over genes and over pairs. A training is a file in
`--out`, and what is there is not trained again. ``--genes valid`` measures on the validation genes, to choose settings.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import genexp_scverse as gx

LONG = {"upstream": 100_000, "downstream": 100_000, "bin_size": 500}
SHORTER = {
    "2 kb": {"upstream": 1_000, "downstream": 1_000, "bin_size": 50},
    "20 kb": {"upstream": 10_000, "downstream": 10_000, "bin_size": 500},
}
RESOLUTION = 2_000
NETWORK: dict[str, Any] = {
    "backbone": "conv",
    "width": 16,
    "n_layers": 4,
    "contact": "contact",
    "kl_weight": 0.01,
    "warmup": 0.2,
    "n_hidden": [128, 128],
    "dropout": 0.1,
}
TRAIN: dict[str, Any] = {"max_epochs": 6, "batch_size": 64, "lr": 3e-3, "weight_decay": 0.3}
FRACTION = 0.05
"""Bins that a fixed mask keeps."""
FALSE_PEAKS = 0.05
"""False discovery rate up to which peaks are taken."""
SKLEARN = {
    "ridge": lambda seed: make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13))),
    "trees": lambda seed: HistGradientBoostingRegressor(
        max_iter=300, learning_rate=0.05, max_leaf_nodes=15, l2_regularization=1.0, random_state=seed
    ),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "soft": {},
    "hard": {"mask": "hard"},
    "no mask": {"mask": "none"},
    "top signal": {"mask": "none", "fixed": "signal"},
    "nearest": {"mask": "none", "fixed": "distance"},
    "random": {"mask": "none", "fixed": "random"},
    "2 kb": {"window": "2 kb"},
    "20 kb": {"window": "20 kb"},
}
MEANS = {"soft and trees": ("soft", "trees")}
"""Rows that are the mean of others."""
EDGES = [0, 50, 100, 150, 170, 180, 190, 194, 196, 198, 199, 200, 201, 202, 204, 206, 210, 220, 230, 250, 300, 350, 400]
"""Bins of the long window that are pooled for ridge and trees."""


def main() -> None:
    """Train what is not there yet, print and save the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files named above")
    parser.add_argument("--peaks", type=Path, help="narrowPeak of one chromosome, for that table")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(1, 13)), help="test folds")
    parser.add_argument("--model", nargs="+", choices=[*SKLEARN, *NETWORKS], default=[*SKLEARN, *NETWORKS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="several: the mean of the networks")
    parser.add_argument("--genes", choices=("test", "valid"), default="test")
    parser.add_argument("--bootstrap", type=int, default=1000)
    args = parser.parse_args()
    args.model = list(dict.fromkeys(["trees", *args.model]))
    args.out.mkdir(parents=True, exist_ok=True)
    data = Data(args.data, args.peaks)
    # what every training says of its split would hide the figures
    logging.getLogger("genexp_scverse").setLevel(logging.WARNING)
    for fold in args.folds:
        for name in args.model:
            for seed in args.seeds if name in NETWORKS else args.seeds[:1]:
                path = file_of(args.out, name, fold, seed)
                if not path.exists():
                    found = fit(data, name, fold, seed)
                    np.savez_compressed(path.with_suffix(".part.npz"), **found)
                    path.with_suffix(".part.npz").replace(path)
                    score = gx.metrics.level_metrics(data.level[found["valid"]], found["predicted_valid"])
                    text = f"fold {fold}, {name}, seed {seed}: validation Pearson {score['pearson']:.4f}"
                    sys.stderr.write(f"{text}, {float(found['seconds']):.0f} s\n")
    tables = {"models": compare(data, args)}
    if args.genes == "test":
        if "top signal" in args.model and set(data.fold[data.at_peaks]) & set(args.folds):
            tables["peaks"] = compare(data, args, peaks=True)
        if {"soft", "hard"} & set(args.model):
            tables["crispri"] = crispri(data, args)
    for name, table in tables.items():
        sys.stdout.write(f"\n{name}\n")
        table.to_csv(sys.stdout, sep="\t", float_format="%.4f")
        table.to_csv(args.out / f"{name}_{args.genes}.tsv", sep="\t", float_format="%.4f")


class Data:
    """Genes with the long and the shorter windows, their features, levels and folds."""

    def __init__(self, folder: Path, peaks: Path | None):
        self.folder = folder
        self.long = self._built(LONG)
        self.shorter = {name: self._built(window) for name, window in SHORTER.items()}
        gx.pp.contact_track(self.long, **{**LONG, "bin_size": RESOLUTION})
        for name, window in SHORTER.items():
            gx.pp.contact_track(self.shorter[name], **window)
        self.level = np.asarray(self.long["rna"].layers["log"])[:, 0]
        self.fold = self.long.obs["fold"].astype(int).to_numpy()
        self.at_peaks = np.zeros(len(self.fold), bool)
        if peaks is not None:
            table = gx.io.read_intervals(peaks)
            wide = table["end"] - table["start"] > LONG["upstream"]
            table = table[(table["q_value"] >= -np.log10(FALSE_PEAKS)) & ~wide]
            gx.pp.add_intervals(self.long, table, "peaks")
            self.at_peaks = self.long.obs["chrom"].isin(table["chrom"].unique()).to_numpy()

    def _built(self, window: dict[str, int]):
        files = {"genes": self.folder / "genes.tsv", "expression": self.folder / "expression.tsv"}
        mdata = gx.io.build_mudata(self.folder / "sheet.tsv", unit="log", biotypes=None, **files, **window)
        for name, marks in {"both": ("H3K27ac", "DNase"), "H3K27ac": ("H3K27ac",), "DNase": ("DNase",)}.items():
            gx.pp.promoter_activity(mdata, marks, key_added=f"promoter_{name}")
        dna = mdata["dna"]
        # heavy tails: the networks take features in units of their standard deviation
        promoter = pd.DataFrame(np.log1p(dna.X), index=mdata.obs_names, columns=dna.var_names + "_log")
        del mdata.mod["dna"]
        gx.pp.add_gene_features(mdata, promoter, key="promoter")
        half_life = gx.io.read_gene_features(self.folder / "mrna_features.tsv.gz")
        gx.pp.add_gene_features(mdata, half_life, key="half_life")
        return mdata

    def table(self) -> np.ndarray:
        """What ridge and trees read: the features and log1p of the signals, pooled."""
        bins = np.log1p(self.long["chromatin"].obsm["bins"])
        pooled = [bins[:, :, a:b].mean(axis=2) for a, b in itertools.pairwise(EDGES)]
        return np.concatenate([np.asarray(self.long["dna"].X), *pooled], axis=1)

    def masked(self, kind: str):
        """The long windows with the signal of those bins alone that a fixed mask keeps, and of the promoter."""
        gx.tl.fixed_mask(self.long, kind, fraction=None if kind == "peaks" else FRACTION, key_added="kept")
        chromatin = self.long["chromatin"]
        kept = np.asarray(chromatin.obsm["kept"]) > 0
        around = RESOLUTION // 2 // LONG["bin_size"]
        middle = LONG["upstream"] // LONG["bin_size"]
        kept[:, middle - around : middle + around] = True
        mdata = self.long.copy()
        mdata["chromatin"].obsm["bins"] = chromatin.obsm["bins"] * kept[:, None]
        return mdata


def fit(data: Data, name: str, fold: int, seed: int) -> dict[str, Any]:
    """Train a model for a test fold; its predictions of validation and test genes, and the mask of the latter."""
    start = time.perf_counter()
    following = fold % data.fold.max() + 1
    test, measured = np.flatnonzero(data.fold == fold), ~np.isnan(data.level)
    valid = np.flatnonzero((data.fold == following) & measured)
    found: dict[str, Any] = {"test": test, "valid": valid}
    if name in SKLEARN:
        x = data.table()
        train = measured & ~np.isin(data.fold, (fold, following))
        estimator = SKLEARN[name](seed).fit(x[train], data.level[train])
        found |= {"predicted": estimator.predict(x[test]), "predicted_valid": estimator.predict(x[valid])}
        return found | {"seconds": time.perf_counter() - start, "parameters": 0}
    spec = dict(NETWORKS[name])
    fixed, window = spec.pop("fixed", None), spec.pop("window", None)
    mdata = data.long if window is None else data.shorter[window]
    gx.pp.split_by_fold(data.long, test=fold, valid=following)
    if fixed is not None:
        mdata = data.masked(fixed)
    gx.pp.split_by_fold(mdata, test=fold, valid=following)
    gx.model.Seq2ExpModel.setup_mudata(mdata, target="expression")
    places = {"resolution": RESOLUTION} if window is None else {}
    model = gx.model.Seq2ExpModel(mdata, seed=seed, **NETWORK, **places, **spec)
    model.train(enable_progress_bar=False, **TRAIN)
    seconds = time.perf_counter() - start
    said = {k: model.predict(indices=found[k].tolist()).iloc[:, 0].to_numpy() for k in ("test", "valid")}
    found |= {"predicted": said["test"], "predicted_valid": said["valid"], "seconds": seconds}
    found["parameters"] = model.n_parameters
    if spec.get("mask") != "none" and window is None:
        found["mask"] = model.get_mask(mdata[test].copy(), key_added=None).mean
    of = test[data.at_peaks[test]]
    if fixed == "signal" and len(of):
        found |= {"of_peaks": of, "predicted_peaks": model.predict(data.masked("peaks")[of].copy()).iloc[:, 0]}
    return found


def file_of(out: Path, name: str, fold: int, seed: int) -> Path:
    """Where a training is kept."""
    return out / f"{name.replace(' ', '_')}_fold{fold}_seed{seed}.npz"


def gathered(data: Data, args, name: str, *, key: str) -> np.ndarray:
    """Prediction (or mask) of every gene by the models of its fold, the mean over seeds; NaN elsewhere."""
    if name in MEANS:
        return np.mean([gathered(data, args, part, key=key) for part in MEANS[name]], axis=0)
    parts = []
    for seed in args.seeds if name in NETWORKS else args.seeds[:1]:
        every: np.ndarray | None = None
        for fold in args.folds:
            with np.load(file_of(args.out, name, fold, seed)) as found:
                rows = {"predicted": "test", "mask": "test", "predicted_valid": "valid", "predicted_peaks": "of_peaks"}
                if key not in found:
                    continue
                values = found[key]
                if every is None:
                    every = np.full((len(data.level), *values.shape[1:]), np.nan)
                every[found[rows[key]]] = values
        if every is not None:
            parts.append(every)
    return np.mean(parts, axis=0)


def compare(data: Data, args, *, peaks: bool = False) -> pd.DataFrame:
    """A row per model: measures with intervals, and differences to the trees on the same genes."""
    key = "predicted" if args.genes == "test" else "predicted_valid"
    names = [*args.model, *[k for k, parts in MEANS.items() if set(parts) <= set(args.model)]]
    said = {name: gathered(data, args, name, key=key) for name in names}
    if peaks:
        said["peaks"] = gathered(data, args, "top signal", key="predicted_peaks")
    known = ~np.isnan(data.level) & np.all([~np.isnan(p) for p in said.values()], axis=0)
    rows = {name: row(data.level[known], p[known], said["trees"][known], args.bootstrap) for name, p in said.items()}
    for name in (n for n in args.model if not peaks):
        files = [np.load(file_of(args.out, name, fold, args.seeds[0])) for fold in args.folds]
        rows[name]["seconds_per_fold"] = float(np.mean([f["seconds"] for f in files]))
        rows[name]["parameters"] = int(files[0]["parameters"])
    return pd.DataFrame(rows).T.rename_axis("model")


def row(level: np.ndarray, predicted: np.ndarray, trees: np.ndarray, n: int) -> dict[str, float]:
    """Pearson, MSE and MAE with intervals, and their differences to the trees."""
    measures = ("pearson", "mse", "mae")
    values = gx.metrics.level_metrics(level, predicted)
    intervals = gx.metrics.bootstrap_metrics(observed=level, predicted=predicted, n=n)
    differences = gx.metrics.bootstrap_differences(observed=level, predicted=predicted, reference_predicted=trees, n=n)
    found: dict[str, float] = {"genes": values["n"]}
    for m in measures:
        found |= {m: values[m], f"{m}_low": intervals[m][0], f"{m}_high": intervals[m][1]}
    for m in measures:
        value, low, high = differences[m]
        found |= {f"{m}_to_trees": value, f"{m}_to_trees_low": low, f"{m}_to_trees_high": high}
    return found


def crispri(data: Data, args) -> pd.DataFrame:
    """Area under the precision-recall curve of the masks of held-out genes, of fixed scores, distance and ABC."""
    logging.getLogger("genexp_scverse").setLevel(logging.INFO)
    chromatin = data.long["chromatin"]
    keys = [name for name in ("soft", "hard") if name in args.model]
    about = {**LONG, "bin_size": RESOLUTION, "stranded": True, "samples": ["K562"]}
    for name in keys:
        chromatin.obsm[name], chromatin.uns[name] = gathered(data, args, name, key="mask").astype(np.float32), about
    gx.tl.fixed_mask(data.long, "signal", key_added="signal")
    held = data.long[np.isin(data.fold, args.folds)].copy()
    pairs = pd.read_csv(data.folder / "crispri_pairs.tsv.gz", sep="\t")
    scored = gx.tl.score_pairs(held, pairs, key=[*keys, "signal"], n_bootstrap=args.bootstrap)
    scored.pairs.to_csv(args.out / "crispri_pairs.tsv", sep="\t", index=False)
    return scored.auprc.set_index("score")


if __name__ == "__main__":
    main()
