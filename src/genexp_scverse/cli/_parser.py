"""What can be said on the command line; imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from importlib.metadata import version

from genexp_scverse._errors import InputError

_MUDATA = "file (.h5mu) or folder (.zarr) from genexp build"
_MODEL = "directory from genexp train"
_SAMPLE = "only this sample (may be given again); by default those the model was trained on, as far as MUDATA has them"
_TABLE = "TSV to write; by default the table goes to the terminal"
_SEED = "seed of %s (default %%(default)s)"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``genexp`` and its commands."""
    parser = argparse.ArgumentParser(
        prog="genexp",
        description="From histone marks and DNA to gene expression.",
        epilog="genexp COMMAND --help explains a command. Messages go to stderr. Exit code: 0; 2 with one line that "
        "says what to mend.",
    )
    parser.add_argument("--version", action="version", version=f"genexp {version('genexp-scverse')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_build, _train, _predict, _evaluate, _demo):
        add(commands)
    return parser


def _build(commands) -> None:
    p = commands.add_parser(
        "build",
        help="read annotation, tracks, DNA and expression into a MuData",
        description="Read annotation, bigWig tracks, DNA and expression into one MuData of genes, split into "
        "training, validation and test. All files are checked against each other before the long reading starts.",
    )
    p.set_defaults(run=_later("_build"))
    p.add_argument(
        "sheet",
        nargs="?",
        metavar="SHEET",
        help="sample sheet: TSV with the columns sample, mark, path (relative to the sheet) and, optionally, scale "
        "(counts, coverage, fold_change, pvalue, log or log_ratio; default coverage); leave it out for DNA alone",
    )
    p.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="name ending in .h5mu or .zarr; an older one is replaced"
    )
    genes = p.add_argument_group("genes")
    genes.add_argument("--genes", required=True, metavar="FILE", help="GTF, GFF3, BED6 or TSV, plain or gzip")
    genes.add_argument(
        "--biotypes",
        default="protein_coding",
        metavar="LIST",
        help="biotypes to keep, separated by commas, or all (default %(default)s)",
    )
    genes.add_argument(
        "--tss-source",
        choices=("gene", "canonical", "longest"),
        default="gene",
        help="in a GTF or GFF3: TSS of the gene record, or of its canonical or longest transcript (default gene)",
    )
    genes.add_argument(
        "--tss-column",
        metavar="LIST",
        help="in a TSV: columns with the 0-based TSS, separated by commas; each gene takes the first that is given, "
        "else tss, else start and end by strand",
    )
    genes.add_argument("--keep-scaffolds", action="store_true", help="keep genes on scaffolds and alternative loci")
    genes.add_argument("--assembly", metavar="NAME", help="name of the genome; by default told from its length")
    levels = p.add_argument_group("expression")
    levels.add_argument("--expression", metavar="FILE", help="table of genes x samples, RSEM, Roadmap, GCT or .h5ad")
    levels.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="[SAMPLE=]UNIT",
        help="tpm, rpkm, fpkm, counts, cage or log; for all samples, or with SAMPLE= for one (may be given again)",
    )
    window = p.add_argument_group("window around the TSS")
    window.add_argument("--upstream", type=_count, default=5000, metavar="N", help="bases before it (default 5000)")
    window.add_argument(
        "--downstream", type=_count, default=5000, metavar="N", help="bases from it on (default %(default)s)"
    )
    window.add_argument(
        "--bin-size",
        type=_positive,
        default=100,
        metavar="N",
        help="bases in a bin of a track; divides the window (default %(default)s)",
    )
    window.add_argument(
        "--unstranded", action="store_true", help="read all windows from left to right, also of minus-strand genes"
    )
    signal = p.add_argument_group("tracks and DNA")
    signal.add_argument(
        "--summary", choices=("mean", "max", "sum"), default="mean", help="what a bin holds of its bases (default mean)"
    )
    signal.add_argument(
        "--uncovered", choices=("0", "nan"), default="0", help="value of bases that a track does not cover (default 0)"
    )
    signal.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="type of the bins (default float32)"
    )
    signal.add_argument(
        "--jobs", type=_positive, metavar="N", help="processes that read tracks; by default all cores where it pays"
    )
    signal.add_argument("--fasta", metavar="FILE", help="genome, plain, gzip or bgzip; adds the DNA of the windows")
    signal.add_argument(
        "--kmer",
        type=_kmer,
        default=4,
        metavar="K",
        help="length of the k-mers counted in the DNA, 0 to 8, 0 for none (default %(default)s)",
    )
    split = p.add_argument_group(
        "split", "By default whole chromosomes are drawn: about 70 % of the genes train, 10 % valid, 20 % test."
    )
    split.add_argument(
        "--split",
        choices=("chromosome", "random", "none"),
        help="whole chromosomes, single genes at random (for genes on few chromosomes), or none, which leaves out "
        "labels too; by default a column split of the gene table, else chromosome",
    )
    split.add_argument("--test-chroms", metavar="LIST", help="chromosomes of the test genes, separated by commas")
    split.add_argument("--valid-chroms", metavar="LIST", help="chromosomes of the validation genes, likewise")
    split.add_argument("--seed", type=_seed, default=0, metavar="N", help=_SEED % "the draw")
    split.add_argument("--fold", metavar="COLUMN", help="split by this column of the gene table instead")
    split.add_argument("--test-folds", metavar="LIST", help="folds of the test genes, separated by commas")
    split.add_argument(
        "--valid-folds", metavar="LIST", help="folds (or chromosomes) for validation; by default the next fold"
    )


def _train(commands) -> None:
    p = commands.add_parser(
        "train",
        help="train a model",
        description="Train a model on the genes of the split train; the best epoch on those of valid is kept.",
    )
    p.set_defaults(run=_later("_train"))
    p.add_argument("model", metavar="MODEL", help="DeepChrome, Linear, LinearSVM or RandomForest")
    p.add_argument("mudata", metavar="MUDATA", help=_MUDATA)
    p.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="directory of the model; an older model is replaced"
    )
    p.add_argument(
        "--sample",
        action="append",
        metavar="NAME",
        help="train on this sample (may be given again); by default on all with expression, in one model",
    )
    p.add_argument(
        "--mark",
        action="append",
        metavar="NAME",
        help="read this mark (may be given again); by default all that every sample has",
    )
    p.add_argument(
        "--target",
        choices=("label", "expression", "both"),
        help="learn whether a gene is high, its level, or both (default both, as far as measured)",
    )
    p.add_argument(
        "--setting",
        default="default",
        metavar="NAME",
        help="named set of hyperparameters; DeepChrome also has paper, as published (default default)",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter of the model, such as n_filters=100 or n_hidden=[200,50] (may be given again)",
    )
    p.add_argument("--max-epochs", type=_positive, metavar="N", help="epochs at most; by default as the setting says")
    p.add_argument(
        "--batch-size", type=_positive, metavar="N", help="(gene, sample) pairs in a step; by default as the setting"
    )
    p.add_argument("--lr", type=_rate, metavar="X", help="learning rate; by default as the setting says")
    p.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu", "mps"),
        default="auto",
        help="where a network is trained (default auto: a GPU where there is one)",
    )
    p.add_argument("--seed", type=_seed, default=0, metavar="N", help=_SEED % "initial weights and batches")


def _predict(commands) -> None:
    p = commands.add_parser(
        "predict",
        help="predict expression of genes, measured or not",
        description="Predict expression of genes, measured or not: a TSV with gene_id and, for each sample, "
        "<sample> (level, natural log scale) and <sample>:prob (probability that the gene is high).",
    )
    p.set_defaults(run=_later("_predict"))
    p.add_argument("model", metavar="MODEL", help=_MODEL)
    p.add_argument("mudata", metavar="MUDATA", help=f"{_MUDATA}, with the model's marks and window")
    p.add_argument("-o", "--output", metavar="FILE", help=_TABLE)
    p.add_argument("--split", choices=("train", "valid", "test"), help="only genes of this split; by default all genes")
    p.add_argument("--sample", action="append", metavar="NAME", help=_SAMPLE)


def _evaluate(commands) -> None:
    p = commands.add_parser(
        "evaluate",
        help="compare predictions with measurements",
        description="Compare predictions with measurements: a TSV with a row for each sample, its columns n, auroc, "
        "auprc, pearson, spearman, r2, mse, mae and their 95 % intervals (<metric>_low, <metric>_high).",
    )
    p.set_defaults(run=_later("_evaluate"))
    p.add_argument("model", metavar="MODEL", help=_MODEL)
    p.add_argument("mudata", metavar="MUDATA", help=f"{_MUDATA}, with the model's marks and window")
    p.add_argument("-o", "--output", metavar="FILE", help=_TABLE)
    p.add_argument(
        "--split",
        choices=("train", "valid", "test", "all"),
        default="test",
        help="genes to compare (default %(default)s)",
    )
    p.add_argument("--sample", action="append", metavar="NAME", help=_SAMPLE)
    p.add_argument(
        "--bootstrap",
        type=_count,
        default=1000,
        metavar="N",
        help="resamples of the genes for the intervals, 0 for none (default %(default)s)",
    )
    p.add_argument("--seed", type=_seed, default=0, metavar="N", help=_SEED % "the resampling")


def _demo(commands) -> None:
    p = commands.add_parser(
        "demo",
        help="simulate a small genome and run the whole path on it",
        description="Simulate a small genome as real FASTA, GTF, bigWig and expression files, and run the whole path "
        "on them, without network, in under 3 minutes on two cores: DIR/data holds the files, DIR/demo.h5mu the "
        "MuData, DIR/models, DIR/tables and DIR/figures what came of it.",
    )
    p.set_defaults(run=_later("_demo"))
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="directory to write to")
    p.add_argument("--small", action="store_true", help="fewer genes, epochs and resamples: some 20 seconds")
    p.add_argument("--seed", type=_seed, default=0, metavar="N", help=_SEED % "the genome and of the models")


def _later(module: str) -> Callable[[argparse.Namespace], int | None]:
    def run(args: argparse.Namespace) -> int | None:
        return importlib.import_module(f"genexp_scverse.cli.{module}").run(args)

    return run


def _whole(text: str, least: int, most: int | None = None) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        msg = f"{text!r} is no whole number from {least} {'on' if most is None else f'to {most}'}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _count(text: str) -> int:
    return _whole(text, 0)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0, 2**32 - 1)


def _kmer(text: str) -> int:
    return _whole(text, 0, 8)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        msg = f"{text!r} is no number above 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def comma_list(text: str | None) -> list[str] | None:
    """``"chr2,chr10"`` to a list; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def units(given: list[str]) -> str | dict[str, str] | None:
    """``["fpkm"]`` to ``"fpkm"``, ``["K562=log", "H1=counts"]`` to a dict."""
    if not given:
        return None
    for_all = [u for u in given if "=" not in u]
    if for_all and len(set(given)) > 1:
        msg = (
            f"--unit {for_all[0]} is for all samples and stands beside {_others(given, for_all[0])}: give one unit "
            "for all, or SAMPLE=UNIT for each"
        )
        raise InputError(msg)
    if for_all:
        return for_all[0]
    by_sample: dict[str, str] = {}
    for text in given:
        sample, _, unit = text.rpartition("=")
        if not sample or not unit:
            msg = f"--unit {text} names no sample or no unit: write --unit SAMPLE=UNIT"
            raise InputError(msg)
        if by_sample.get(sample, unit) != unit:
            msg = f"--unit gives {sample} two units, {by_sample[sample]} and {unit}: give it one"
            raise InputError(msg)
        by_sample[sample] = unit
    return by_sample


def _others(given: list[str], but: str) -> str:
    """Name the other units that were given."""
    return ", ".join(f"--unit {u}" for u in given if u != but)
