"""Marks to expression in yeast, chromosomes held out in five folds: few bins, many marks, or many samples.

    python benchmarks/yeast_marks.py nucleosomes --data yeast --out results
    python benchmarks/yeast_marks.py cycle --data yeast --out results

``nucleosomes`` reads 26 marks on the 12 nucleosomes around the start of each gene (log ratios, ``marks26_nuc12.npz``:
x, gene_id, mark) and predicts log2(mean FPKM + 1) of ``rna_16_times_fpkm.tsv.gz``. ``cycle`` reads H3K9ac and H3K4me3
at 14 times of the metabolic cycle, one value per gene, as 14 samples of one pooled model. ``genes.tsv`` names
chromosomes and positions. A model trains on three folds, chooses its epoch on the next one and is tested on the
fifth. The figures are means over folds; intervals resample genes within folds, paired with those of the linear model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import genexp_scverse as gx

FOLDS = [("IV", "I", "VI"), ("XV", "VII", "III"), ("XII", "XVI", "IX"), ("XIII", "II", "V"), ("XI", "VIII")]
# ChIP at T1..T9 goes with RNA at T1..T9, at T11..T15 with T12..T16; T10 lies between two
TIMES = {**{f"T{i}": f"ymc_T{i}" for i in range(1, 10)}, **{f"T{i}": f"ymc_T{i + 1}" for i in range(11, 16)}}
MODELS = {
    "linear": ("Linear", {}),
    "random forest": ("RandomForest", {}),
    "DeepChrome": ("DeepChrome", {}),
    "AttentiveChrome": ("AttentiveChrome", {}),
    "SimpleChrome": ("SimpleChromeVAE", {}),
    "SimpleChrome, neighbours": ("SimpleChromeVAE", {"neighbors": "neighbors"}),
    "ensemble": ("Ensemble", {"model": ["DeepChrome", "RandomForest"]}),
}


def main() -> None:
    """Train every model on every fold, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("nucleosomes", "cycle"))
    parser.add_argument("--data", type=Path, required=True, help="folder with the files named above")
    parser.add_argument("--model", action="append", choices=list(MODELS), help="only these rows, beside linear")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    mdata = nucleosomes(args.data) if args.task == "nucleosomes" else cycle(args.data)
    gx.pp.gene_neighbors(mdata, n_neighbors=10)
    log = np.asarray(mdata["rna"].layers["log"])
    labels = [k for k in MODELS if args.model is None or k == "linear" or k in args.model]
    predicted = {k: np.full(log.shape, np.nan) for k in labels}
    seconds, parameters = dict.fromkeys(labels, 0.0), dict.fromkeys(labels, 0)
    tests = []
    for i, fold in enumerate(FOLDS):
        gx.pp.split_by_chromosome(mdata, test=list(fold), valid=list(FOLDS[(i + 1) % len(FOLDS)]))
        rows = np.flatnonzero((mdata.obs["split"] == "test").to_numpy() & ~np.isnan(log).all(axis=1))
        tests.append(rows)
        for label in labels:
            name, hyper = MODELS[label]
            start = time.perf_counter()
            model = gx.model.model_class(name)(mdata, seed=args.seed, **hyper)
            model.train(**({} if label in ("linear", "random forest") else {"enable_progress_bar": False}))
            seconds[label] += time.perf_counter() - start
            parameters[label] = model.n_parameters
            table = model.predict(indices=rows.tolist())
            predicted[label][rows] = table[[str(s) for s in mdata["rna"].var["sample"]]].to_numpy()
            sys.stderr.write(f"fold {i}, {label}: {mean_pearson(log, predicted[label], [rows]):.4f}\n")
    table = pd.DataFrame({k: row(log, predicted[k], predicted["linear"], tests, args.bootstrap) for k in labels}).T
    table = table.assign(train_s=pd.Series(seconds), parameters=pd.Series(parameters)).rename_axis("model")
    table.to_csv(sys.stdout, sep="\t", float_format="%.4f")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.out / f"yeast_{args.task}.tsv", sep="\t", float_format="%.4f")


def row(log, ours, linear, tests: list[np.ndarray], n: int, blocks: np.ndarray | None = None) -> dict[str, float]:
    """Mean Pearson over folds (and samples), its difference to the linear model, and intervals of both.

    Intervals resample genes within folds, or whole `blocks` of them (a number for every gene).
    """
    rng = np.random.default_rng(0)
    whole = [[rows[of] for of in _members(blocks[rows])] if blocks is not None else rows[:, None] for rows in tests]
    drawn = [[_resampled(units, rng) for units in whole] for _ in range(n)]
    values = np.array([mean_pearson(log, ours, d) for d in drawn])
    differences = values - np.array([mean_pearson(log, linear, d) for d in drawn])
    low, high = np.percentile(values, [2.5, 97.5])
    less, more = np.percentile(differences, [2.5, 97.5])
    pearson = mean_pearson(log, ours, tests)
    return {
        "genes": sum(map(len, tests)),
        "pearson": pearson,
        "pearson_low": low,
        "pearson_high": high,
        "to_linear": pearson - mean_pearson(log, linear, tests),
        "to_linear_low": less,
        "to_linear_high": more,
    }


def _members(blocks: np.ndarray) -> list[np.ndarray]:
    """Positions of the genes of every block."""
    order = np.argsort(blocks, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(blocks[order])) + 1)


def _resampled(units: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([units[i] for i in rng.integers(0, len(units), len(units))])


def mean_pearson(log: np.ndarray, predicted: np.ndarray, folds: list[np.ndarray]) -> float:
    """Mean over folds and samples of the correlation within a fold."""
    values = []
    for rows in folds:
        y, p = log[rows] - log[rows].mean(0), predicted[rows] - predicted[rows].mean(0)
        values.append((y * p).sum(0) / np.sqrt((y**2).sum(0) * (p**2).sum(0)))
    return float(np.mean(values))


def nucleosomes(data: Path):
    """26 marks on 12 nucleosomes as bins; one sample whose level is the mean over the times."""
    with np.load(data / "marks26_nuc12.npz") as arrays:
        x, ids, marks = arrays["x"], arrays["gene_id"].astype(str), arrays["mark"].astype(str)
    rna = pd.read_csv(data / "rna_16_times_fpkm.tsv.gz", sep="\t", index_col=0).mean(axis=1)
    genes = pd.read_csv(data / "genes.tsv", sep="\t", index_col=0)
    first = ~pd.Index(ids).duplicated()
    kept = np.flatnonzero(first & np.isin(ids, rna.index) & np.isin(ids, genes.index))
    names = ids[kept]
    level = np.log2(rna[names] + 1)
    return gx.io.from_bins(
        x[kept],
        genes=names,
        marks=marks,
        sample="mean",
        expression=pd.DataFrame({"mean": level}),
        unit="log",
        scale="log_ratio",
        obs=positions(genes, names),
    )


def cycle(data: Path):
    """H3K9ac and H3K4me3 of every gene at 14 times, one bin each, with the expression of the same times."""
    chip = {
        mark: pd.read_csv(data / f"{mark.lower()}_ymc_15t.tsv.gz", sep="\t", index_col=0)
        for mark in ("H3K9ac", "H3K4me3")
    }
    rna = pd.read_csv(data / "rna_16_times_fpkm.tsv.gz", sep="\t", index_col=0)
    genes = pd.read_csv(data / "genes.tsv", sep="\t", index_col=0)
    names = genes.index[genes["biotype"] == "protein_coding"]
    for table in (rna, *chip.values()):
        names = names.intersection(table.index[~table.index.duplicated()])
    return gx.io.from_bins(
        {t: np.stack([c.loc[names, t].to_numpy(np.float32) for c in chip.values()], axis=1)[:, :, None] for t in TIMES},
        genes=names,
        marks=list(chip),
        expression=rna.loc[names, list(TIMES.values())].set_axis(list(TIMES), axis=1),
        unit="fpkm",
        scale="coverage",
        obs=positions(genes, names),
    )


def positions(genes: pd.DataFrame, names) -> pd.DataFrame:
    """Chromosome, strand and TSS (measured where it was, else the end of the gene that its strand says)."""
    of = genes.loc[names]
    end = of["start"].where(of["strand"] == "+", of["end"] - 1)
    tss = of["tss_park2014"].fillna(of["tss_winston"]).fillna(end)
    return pd.DataFrame({"chrom": of["chrom"], "tss": tss.astype(int), "strand": of["strand"]})


if __name__ == "__main__":
    main()
