"""DNA to promoter activity and to expression in yeast, chromosomes held out in five folds.

    python benchmarks/yeast_dna.py mpra --data yeast --out results
    python benchmarks/yeast_dna.py expression --data yeast --out results

``mpra`` reads 120 bases, an 80-base piece of a promoter between constant flanks, and predicts its measured activity
(``promoter_mpra.tsv.gz``); overlapping pieces lie on one chromosome, and chromosomes are held out. ``expression``
predicts log2(mean FPKM + 1) from the DNA of the gene, from 26 marks on the 12 nucleosomes around its start, or from
both. DNA is a window of 660 bases before the start and 1,320 after it, so that 165 of them are one nucleosome, and the
codons of the gene with its length as scalar features; those that measure ridge regression as others did are 4-mers of
500 bases before the start codon and of 1,000 after it (beside marks: with 3-mers of 500 in place of 4-mers before it).

Folds are those of ``yeast_marks.py``: a model trains on three of them, chooses its epoch on the next and is tested on
the fifth. The figures are means over folds; intervals resample genes within folds, paired with those of the ridge on
the same input. With `--out`, what a fold predicted is kept there and a further call goes on from it.
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
from anndata import AnnData
from mudata import MuData
from yeast_marks import FOLDS, nucleosomes, positions, row

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
RIDGE = "ridge"


class Fit(NamedTuple):
    """A row of the table: a model, how it is made and trained, and whether it reads what the ridge reads."""

    model: str
    hyper: dict[str, Any]
    training: dict[str, Any]
    plain: bool = False


def on_genes(resolution: int, others: str) -> dict[str, Fit]:
    """Rows for genes: the ridge, networks, and ridge and forest on what the networks read beside bases."""
    network = {**GENES, "resolution": resolution}
    return {
        RIDGE: Fit("Linear", {}, {}, plain=True),
        f"ridge, {others}": Fit("Linear", {}, {}),
        f"forest, {others}": Fit("RandomForest", FOREST, {}),
        "Seq2Exp, no mask": Fit("Seq2ExpModel", {**network, "mask": "none"}, GENES_TRAINING),
        "Seq2Exp, soft": Fit("Seq2ExpModel", network, GENES_TRAINING),
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
}


def main() -> None:
    """Train every model on every fold, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("mpra", "expression"))
    parser.add_argument("--data", type=Path, required=True, help="folder with the files named above")
    parser.add_argument("--fold", type=int, action="append", choices=range(len(FOLDS)), help="only these")
    parser.add_argument("--input", action="append", choices=list(FITS)[1:], help="of expression, only these")
    parser.add_argument("--model", action="append", help="only these rows, beside the ridge")
    parser.add_argument("--split", choices=("valid", "test"), default="test", help="genes that are predicted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    for name in ["pieces"] if args.task == "mpra" else args.input or list(FITS)[1:]:
        mdata, plain = mpra(args.data) if args.task == "mpra" else expression(args.data, name)
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
    """Predict the genes of a fold by every model, or read what was predicted before: genes x models."""
    path = args.out / f"yeast_{args.task}_{name}_{args.split}_seed{args.seed}_fold{fold}.csv" if args.out else None
    table = pd.read_csv(path, index_col=0) if path is not None and path.exists() else pd.DataFrame()
    for each in (mdata, plain):
        gx.pp.split_by_chromosome(each, test=list(FOLDS[fold]), valid=list(FOLDS[(fold + 1) % len(FOLDS)]))
    level = pd.Series(np.asarray(mdata["rna"].X)[:, 0], mdata.obs_names)
    for label, fit in fits.items():
        if label in table:
            continue
        start = time.process_time()
        cls = gx.model.model_class(fit.model)
        read = plain if fit.plain else mdata
        cls.setup_mudata(read, target="expression")
        model = cls(read, seed=args.seed, **fit.hyper)
        model.train(**fit.training)
        predicted = model.predict(split=args.split).iloc[:, 0]
        table = predicted.to_frame(label) if table.empty else table.assign(**{label: predicted})
        seconds = time.process_time() - start
        sys.stderr.write(f"{name}, fold {fold}, {label}: {level.corr(predicted):.4f} ({seconds:.0f} s of CPU)\n")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
    table = table[list(fits)]
    if len(others := [k for k in fits if k != RIDGE]) > 1:
        # as Ensemble does
        table = table.assign(**{"mean of these but the first": table[others].mean(axis=1)})
    return table


def scored(mdata: MuData, predicted: list[pd.DataFrame], name: str, args: argparse.Namespace) -> list[dict]:
    """Rows of the table: mean Pearson over folds, and the difference to the ridge."""
    y = np.asarray(mdata["rna"].X, np.float64)
    tests = [mdata.obs_names.get_indexer(table.index) for table in predicted]
    tests = [rows[~np.isnan(y[rows, 0])] for rows in tests]
    whole = pd.concat(predicted).reindex(mdata.obs_names)
    made = []
    for label in whole:
        of = row(y, whole[[label]].to_numpy(), whole[[RIDGE]].to_numpy(), tests, args.bootstrap)
        made.append({"input": name, "model": label, **{k.replace("linear", RIDGE): v for k, v in of.items()}})
    return made


def mpra(data: Path) -> tuple[MuData, MuData]:
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
    plain = mdata.copy()
    gx.pp.sequence_features(plain, k=4)
    return mdata, plain


def expression(data: Path, name: str) -> tuple[MuData, MuData]:
    """Genes with what the models read, and with what the ridge of the reference reads."""
    genes = pd.read_csv(data / "genes.tsv", sep="\t", index_col=0)
    fpkm = pd.read_csv(data / "rna_16_times_fpkm.tsv.gz", sep="\t", index_col=0).mean(axis=1)
    if name == "sequence":
        coding = genes["biotype"].eq("protein_coding") & genes["chrom"].ne("Mito")
        names = genes.index[coding].intersection(fpkm.index)
        mdata = gx.io.build_mudata(
            genes=positions(genes, names),
            expression=np.log2(fpkm[names] + 1).to_frame("mean"),
            unit="log",
            fasta=data / "genome.fa.gz",
            **WINDOW,
        )
    else:
        mdata = nucleosomes(data)
        mdata["chromatin"].uns["window"] = {**WINDOW, "bin_size": NUCLEOSOME}
    plain = mdata.copy()
    if name == "sequence":
        del plain.mod["dna"]
    if name != "marks":
        codes = coding_sequence(genes.loc[mdata.obs_names], data)
        gx.pp.add_gene_features(plain, words(codes, 4 if name == "sequence" else 3, mdata.obs_names), key="words")
        if name == "both":
            windows = gx.io.read_codes(mdata.obs, data / "genome.fa.gz", **WINDOW)
            dna = AnnData(obs=pd.DataFrame(index=mdata.obs_names), obsm={"codes": windows}, uns={"window": WINDOW})
            mdata.mod["dna"] = dna
            mdata.update()
        gx.pp.add_gene_features(mdata, codons(codes, genes.loc[mdata.obs_names]), key="codons")
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
