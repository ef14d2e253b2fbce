"""DNA to promoter activity and to expression in yeast, chromosomes held out in five folds.

    python benchmarks/yeast_dna.py mpra --data yeast --out results
    python benchmarks/yeast_dna.py expression --data yeast --out results
    python benchmarks/yeast_dna.py cycle --data yeast --out results

``mpra`` reads 120 bases, an 80-base piece of a promoter between constant flanks, and predicts its measured activity
(``promoter_mpra.tsv.gz``); overlapping pieces lie on one chromosome, and chromosomes are held out. ``expression``
predicts log2(mean FPKM + 1) from the DNA of the gene, from 26 marks on the 12 nucleosomes around its start, or from
both. DNA is a window of 660 bases before the start and 1,320 after it, so that 165 of them are one nucleosome, and the
codons of the gene with its length as scalar features; those that measure ridge regression as others did are 4-mers of
500 bases before the start codon and of 1,000 after it (beside marks: with 3-mers of 500 in place of 4-mers before it).
``cycle`` predicts log2(FPKM + 1) at every time of the metabolic cycle, as samples of one model: from the same DNA at 16
times (``times``), or from DNA, H3K9ac and H3K4me3 at 14 (``times_marks``); ridge and forest are one for each time.

Folds are those of ``yeast_marks.py``: a model trains on three of them, chooses its epoch on the next and is tested on
the fifth. The figures are means over folds and samples; intervals resample genes within folds (of the pieces, whole
runs of overlapping ones), paired with those of the ridge on the same input. Of the cycle there is also whether a model
knows when a gene is expressed. With y the level less its mean over the times, ``when`` is the correlation over genes of
predicted and measured y, mean over times and folds; ``when_by_gene`` the correlation over times once the mean of a time
over the genes of the fold is taken off as well, mean over genes and folds. With `--out`, what a fold predicted is kept
there and a further call goes on from it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yeast_marks
from anndata import AnnData
from mudata import MuData
from yeast_marks import FOLDS, mean_pearson, nucleosomes, positions, row

import genexp_scverse as gx

PIECE = 120
WINDOW = {"upstream": 660, "downstream": 1320, "stranded": True}
NUCLEOSOME = 165
LONGEST_GENE = 9000
BEFORE, AFTER = 500, 1000
QUIET = {"enable_progress_bar": False}
PIECES = {"backbone": "conv", "width": 64, "n_layers": 4, "resolution": 2, "center": 40}
PIECES_TRAINING = {"max_epochs": 8, "batch_size": 128, "lr": 4e-3, **QUIET}
FOREST = {"n_trees": 200}
GENES = {"backbone": "conv", "width": 32, "n_layers": 2, "join": "sum"}
GENES_TRAINING = {"max_epochs": 12, "batch_size": 64, **QUIET}
# 64 genes at 16 times and their mean
TIMES_TRAINING = {"max_epochs": 12, "batch_size": 1088, **QUIET}
# with tracks a gene is read anew at every time
MARKED_TRAINING = {"max_epochs": 1, "batch_size": 64, **QUIET}
RIDGE, MEAN = "ridge", "mean"


class Fit(NamedTuple):
    """A row of the table: a model, how it is made and trained, and whether it reads what the ridge reads.

    With `each` there is a model for every sample; with `parts` the samples are the mean over all and the deviations.
    """

    model: str
    hyper: dict[str, Any]
    training: dict[str, Any]
    plain: bool = False
    each: bool = False
    parts: bool = False


def on_genes(resolution: int, others: str, training: dict[str, Any] = GENES_TRAINING) -> dict[str, Fit]:
    """Rows for genes: the ridge, networks, and ridge and forest on what the networks read beside bases."""
    network = {**GENES, "resolution": resolution}
    return {
        RIDGE: Fit("Linear", {}, {}, plain=True, each=True),
        f"ridge, {others}": Fit("Linear", {}, {}, each=True),
        f"forest, {others}": Fit("RandomForest", FOREST, {}, each=True),
        "Seq2Exp, no mask": Fit("Seq2ExpModel", {**network, "mask": "none"}, training),
        "Seq2Exp, soft": Fit("Seq2ExpModel", network, training),
    }


FITS = {
    "pieces": {
        RIDGE: Fit("Linear", {}, {}, plain=True),
        "Seq2Exp, no mask": Fit("Seq2ExpModel", {**PIECES, "mask": "none"}, PIECES_TRAINING),
        "Seq2Exp, soft": Fit("Seq2ExpModel", PIECES, PIECES_TRAINING),
    },
    "sequence": on_genes(33, "codons"),
    "marks": on_genes(165, "marks"),
    "both": on_genes(33, "marks and codons"),
    "times": on_genes(33, "codons", TIMES_TRAINING),
    "times_marks": on_genes(33, "marks and codons", MARKED_TRAINING),
}
for mask in ("no mask", "soft"):
    of_levels = FITS["times"][f"Seq2Exp, {mask}"]
    FITS["times"][f"Seq2Exp, {mask}, mean and deviations"] = of_levels._replace(parts=True)
INPUTS = {"mpra": ["pieces"], "expression": ["sequence", "marks", "both"], "cycle": ["times", "times_marks"]}


def main() -> None:
    """Train every model on every fold, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(INPUTS))
    parser.add_argument("--data", type=Path, required=True, help="folder with the files named above")
    parser.add_argument("--fold", type=int, action="append", choices=range(len(FOLDS)), help="only these")
    parser.add_argument("--input", action="append", choices=list(FITS), help="only these")
    parser.add_argument("--model", action="append", help="only these rows, beside the ridge")
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="genes that are predicted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    read = {"mpra": mpra, "expression": expression, "cycle": cycle}[args.task]
    for name in [k for k in INPUTS[args.task] if args.input is None or k in args.input]:
        mdata, plain = read(args.data, name)
        fits = {k: fit for k, fit in FITS[name].items() if args.model is None or k == RIDGE or k in args.model}
        folds = range(len(FOLDS)) if args.fold is None else args.fold
        rows += scored(mdata, [fold_of(mdata, plain, name, fits, i, args) for i in folds], name, args)
    table = pd.DataFrame(rows)
    table.to_csv(sys.stdout, sep="\t", index=False, float_format="%.4f")
    if args.out:
        table.to_csv(args.out / f"yeast_{args.task}_{args.split}.tsv", sep="\t", index=False, float_format="%.4f")


def fold_of(
    mdata: MuData, plain: MuData, name: str, fits: dict[str, Fit], fold: int, args: argparse.Namespace
) -> pd.DataFrame:
    """Predict the genes of a fold by every model, or read what was predicted before: genes x (models, samples)."""
    path = args.out / f"yeast_{args.task}_{name}_{args.split}_seed{args.seed}_fold{fold}.csv" if args.out else None
    table = pd.read_csv(path, index_col=0) if path is not None and path.exists() else pd.DataFrame()
    for each in (mdata, plain):
        gx.pp.split_by_chromosome(each, test=list(FOLDS[fold]), valid=list(FOLDS[(fold + 1) % len(FOLDS)]))
    level = mdata["rna"].to_df(layer="log")
    samples = list(level)
    columns = {k: [k if len(samples) == 1 else f"{k}, {s}" for s in samples] for k in fits}
    for label, fit in fits.items():
        if columns[label][0] in table:
            continue
        start = time.process_time()
        cls = gx.model.model_class(fit.model)
        read = plain if fit.plain else in_parts(mdata) if fit.parts else mdata
        parts = []
        for of in [[s] for s in samples] if fit.each else [list(read["rna"].var["sample"])]:
            cls.setup_mudata(read, target="expression", samples=of)
            model = cls(read, seed=args.seed, **fit.hyper)
            model.train(**fit.training)
            parts.append(model.predict(split=args.split))
        predicted = pd.concat(parts, axis=1)
        if fit.parts:
            predicted = predicted.add(predicted[MEAN], axis=0)
        predicted = predicted[samples].set_axis(columns[label], axis=1)
        table = pd.concat([table, predicted], axis=1)
        seconds = time.process_time() - start
        r = mean_pearson(level.to_numpy(), predicted.reindex(level.index).to_numpy(), [measured(level, predicted)])
        sys.stderr.write(f"{name}, fold {fold}, {label}: {r:.4f} ({seconds:.0f} s of CPU)\n")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
    made = {label: table[columns[label]].set_axis(samples, axis=1) for label in fits}
    if len(others := [made[k] for k in fits if k != RIDGE]) > 1:
        # as Ensemble does
        made["mean of these but the first"] = sum(others) / len(others)
    return pd.concat(made, axis=1)


def in_parts(mdata: MuData) -> MuData:
    """Give the same genes with other samples: the mean level over all of them, and what each differs from it."""
    level = mdata["rna"].to_df(layer="log")
    parts = pd.concat([level.mean(axis=1).rename(MEAN), level.sub(level.mean(axis=1), axis=0)], axis=1)
    rna = AnnData(parts.astype(np.float32), var=pd.DataFrame({"sample": parts.columns, "unit": "log"}, parts.columns))
    rna.layers["log"] = rna.X.copy()
    other = mdata.copy()
    other.mod["rna"] = rna
    other.update()
    return other


def measured(level: pd.DataFrame, predicted: pd.DataFrame) -> np.ndarray:
    """Positions of the genes that are predicted and have a level."""
    return level.index.get_indexer(
        level.index.intersection(predicted.index)[level.loc[predicted.index].notna().all(axis=1)]
    )


def scored(mdata: MuData, predicted: list[pd.DataFrame], name: str, args: argparse.Namespace) -> list[dict]:
    """Rows of the table: mean Pearson over folds and samples, the difference to the ridge, and of several ``when``."""
    level = mdata["rna"].to_df(layer="log").astype(np.float64)
    tests = [measured(level, table) for table in predicted]
    whole = pd.concat(predicted).reindex(mdata.obs_names)
    runs = mdata.obs["run"].to_numpy() if "run" in mdata.obs else None
    y, ridge, made = level.to_numpy(), whole[RIDGE].to_numpy(np.float64), []
    for label in whole.columns.unique(0):
        p = whole[label].to_numpy(np.float64)
        of = row(y, p, ridge, tests, args.bootstrap, runs)
        if y.shape[1] > 1:
            less = [each - each.mean(1, keepdims=True) for each in (y, p, ridge)]
            when = row(*less, tests, args.bootstrap)
            of |= {k.replace("pearson", "when").replace("to_", "when_to_"): v for k, v in when.items() if k != "genes"}
            of |= by_gene(y, p, tests, args.bootstrap)
        made.append({"input": name, "model": label, **{k.replace("linear", RIDGE): v for k, v in of.items()}})
    return made


def by_gene(y: np.ndarray, predicted: np.ndarray, tests: list[np.ndarray], n: int) -> dict[str, float]:
    """Mean over genes of the correlation over samples, after the means of genes and of samples are taken off."""
    rng, found = np.random.default_rng(0), []
    for rows in tests:
        a, b = (
            each[rows] - each[rows].mean(1, keepdims=True) - each[rows].mean(0) + each[rows].mean()
            for each in (y, predicted)
        )
        r = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
        found.append(r[np.isfinite(r)])
    drawn = [np.mean([rng.choice(r, len(r)).mean() for r in found]) for _ in range(n)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    mean = float(np.mean([r.mean() for r in found]))
    return {"when_by_gene": mean, "when_by_gene_low": low, "when_by_gene_high": high}


def mpra(data: Path, name: str) -> tuple[MuData, MuData]:
    """Pieces as genes of chromosomes that are the pieces one after another; and their 4-mers alone."""
    table = pd.read_csv(data / "promoter_mpra.tsv.gz", sep="\t").dropna(subset="EL.combined")
    of = (table[k] for k in ("chrom", "start", "end", "strand"))
    table.index = [f"{chrom}:{start}-{end}({strand})" for chrom, start, end, strand in zip(*of, strict=True)]
    pieces = pd.DataFrame({"chrom": table["chrom"], "tss": 0, "strand": "+"})
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "pieces.fa"
        with fasta.open("w") as out:
            for chrom, seq in table.groupby("chrom", sort=False)["seq"]:
                out.write(f">{chrom}\n{''.join(seq)}\n")
                pieces.loc[seq.index, "tss"] = np.arange(len(seq)) * PIECE + PIECE // 2
        level = table[["EL.combined"]].set_axis(["activity"], axis=1)
        window = {"upstream": PIECE // 2, "downstream": PIECE // 2}
        mdata = gx.io.build_mudata(genes=pieces, expression=level, unit="log", fasta=fasta, assembly="pieces", **window)
    mdata.obs["run"] = runs(table).loc[mdata.obs_names].to_numpy()
    plain = mdata.copy()
    gx.pp.sequence_features(plain, k=4)
    return mdata, plain


def runs(pieces: pd.DataFrame) -> pd.Series:
    """Number the runs of pieces that overlap, on whichever strand."""
    ordered = pieces.sort_values(["chrom", "start"])
    furthest = ordered.groupby("chrom")["end"].cummax().shift()
    return (ordered["chrom"].ne(ordered["chrom"].shift()) | (ordered["start"] >= furthest)).cumsum()


def expression(data: Path, name: str) -> tuple[MuData, MuData]:
    """Genes with what the models read, and with what the ridge of the reference reads."""
    fpkm = pd.read_csv(data / "rna_16_times_fpkm.tsv.gz", sep="\t", index_col=0)
    if name == "sequence":
        return with_dna(of_dna(data, fpkm.mean(axis=1).to_frame("mean")), data, k_before=4)
    mdata = nucleosomes(data)
    mdata["chromatin"].uns["window"] = {**WINDOW, "bin_size": NUCLEOSOME}
    return (mdata, mdata.copy()) if name == "marks" else with_dna(mdata, data, k_before=3)


def cycle(data: Path, name: str) -> tuple[MuData, MuData]:
    """Genes at the times of the cycle: DNA alone, or with two marks as one bin over the window of the DNA."""
    if name == "times":
        fpkm = pd.read_csv(data / "rna_16_times_fpkm.tsv.gz", sep="\t", index_col=0)
        return with_dna(of_dna(data, fpkm), data, k_before=4)
    mdata = yeast_marks.cycle(data)
    mdata = mdata[(mdata.obs["chrom"] != "Mito").to_numpy()].copy()
    mdata["chromatin"].uns["window"] = {**WINDOW, "bin_size": WINDOW["upstream"] + WINDOW["downstream"]}
    return with_dna(mdata, data, k_before=3)


def of_dna(data: Path, fpkm: pd.DataFrame) -> MuData:
    """Coding genes with the DNA around their start and log2(FPKM + 1)."""
    genes = pd.read_csv(data / "genes.tsv", sep="\t", index_col=0)
    coding = genes["biotype"].eq("protein_coding") & genes["chrom"].ne("Mito")
    names = genes.index[coding].intersection(fpkm.index)
    level, fasta = np.log2(fpkm.loc[names] + 1), data / "genome.fa.gz"
    return gx.io.build_mudata(genes=positions(genes, names), expression=level, unit="log", fasta=fasta, **WINDOW)


def with_dna(mdata: MuData, data: Path, *, k_before: int) -> tuple[MuData, MuData]:
    """Add DNA and codons for the models, and words for the ridge of the reference, which reads no other DNA."""
    genes = pd.read_csv(data / "genes.tsv", sep="\t", index_col=0).loc[mdata.obs_names]
    plain = mdata.copy()
    plain.mod.pop("dna", None)
    codes = coding_sequence(genes, data)
    gx.pp.add_gene_features(plain, words(codes, k_before, mdata.obs_names), key="words")
    if "dna" not in mdata.mod:
        windows = gx.io.read_codes(mdata.obs, data / "genome.fa.gz", **WINDOW)
        dna = AnnData(obs=pd.DataFrame(index=mdata.obs_names), obsm={"codes": windows}, uns={"window": WINDOW})
        mdata.mod["dna"] = dna
        mdata.update()
    gx.pp.add_gene_features(mdata, codons(codes, genes), key="codons")
    return mdata, plain


def coding_sequence(genes: pd.DataFrame, data: Path) -> np.ndarray:
    """Codes of 500 bases before the start codon and of 9,000 from there on, genes x bases."""
    start = genes["start"].where(genes["strand"] == "+", genes["end"] - 1)
    table = pd.DataFrame({"chrom": genes["chrom"], "tss": start, "strand": genes["strand"]})
    return gx.io.read_codes(table, data / "genome.fa.gz", upstream=BEFORE, downstream=LONGEST_GENE)


def words(codes: np.ndarray, k_before: int, names: pd.Index) -> pd.DataFrame:
    """Count what the ridge of the reference reads: words before the start codon and 4-mers after it."""
    parts = {"before": (codes[:, :BEFORE], k_before), "after": (codes[:, BEFORE : BEFORE + AFTER], 4)}
    tables = []
    for part, (of, k) in parts.items():
        dna = AnnData(obs=pd.DataFrame(index=names), obsm={"codes": of})
        holder = MuData({"dna": dna}, axis=0)
        gx.pp.sequence_features(holder, k=k)
        tables.append(holder["dna"].to_df().add_prefix(f"{part}_"))
    return pd.concat(tables, axis=1)


def codons(codes: np.ndarray, genes: pd.DataFrame) -> pd.DataFrame:
    """Share of every codon from the start codon to the end of the gene, and the log of its length."""
    length = (genes["end"] - genes["start"]).to_numpy()
    first, second, third = (codes[:, BEFORE + i :: 3].astype(np.int32) for i in range(3))
    there = (np.arange(third.shape[1]) * 3 + 3 <= length[:, None]) & (np.maximum(np.maximum(first, second), third) < 4)
    of_gene = np.arange(len(codes))[:, None] * 64 + first * 16 + second * 4 + third
    counts = np.bincount(of_gene[there], minlength=len(codes) * 64).reshape(-1, 64)
    shares = pd.DataFrame(counts / counts.sum(1, keepdims=True).clip(1), genes.index)
    shares.columns = [f"codon_{''.join(letters)}" for letters in product("ACGT", repeat=3)]
    return shares.assign(log_length=np.log(length))


if __name__ == "__main__":
    main()
