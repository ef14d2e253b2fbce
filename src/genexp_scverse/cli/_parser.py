"""What can be said on the command line; imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from importlib.metadata import version

from genexp_scverse._errors import InputError

_SPLIT_HELP = "chromosomes, separated by commas"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``genexp`` and its commands."""
    parser = argparse.ArgumentParser(
        prog="genexp", description="From histone marks, DNA and neighbouring genes to expression."
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
        description="Read annotation, bigWig tracks, DNA and expression into one file of genes.",
    )
    p.add_argument("sheet", nargs="?", help="sample sheet: TSV with sample, mark, path[, scale]")
    p.add_argument("--genes", required=True, help="GTF, GFF3, BED6 or TSV (plain or gzip)")
    p.add_argument("--expression", help="genes x samples table, RSEM, Roadmap or GCT")
    p.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="[SAMPLE=]UNIT",
        help="tpm, rpkm, fpkm, counts, cage or log; for all samples, or for one with SAMPLE=",
    )
    p.add_argument("--fasta", help="genome (plain, gzip or bgzip)")
    p.add_argument("--upstream", type=int, default=5000, help="bases before the TSS (default %(default)s)")
    p.add_argument("--downstream", type=int, default=5000, help="bases from the TSS on (default %(default)s)")
    p.add_argument("--bin-size", type=int, default=100, help="bases in a bin (default %(default)s)")
    p.add_argument("--summary", choices=("mean", "max", "sum"), default="mean", help="of a bin (default mean)")
    p.add_argument("--unstranded", action="store_true", help="do not turn windows of minus-strand genes round")
    p.add_argument("--uncovered", choices=("0", "nan"), default="0", help="value of what no track covers")
    p.add_argument("--assembly", help="name of the genome, for the record")
    p.add_argument("--biotypes", default="protein_coding", help="separated by commas, or all")
    p.add_argument("--tss-source", choices=("gene", "canonical", "longest"), default="gene")
    p.add_argument("--tss-column", help="column(s) of a gene table with measured TSSs, separated by commas")
    p.add_argument("--test-chroms", help=_SPLIT_HELP)
    p.add_argument("--valid-chroms", help=_SPLIT_HELP)
    p.add_argument("--fold", metavar="COLUMN", help="split by a fold column of the gene table instead")
    p.add_argument("--test-folds", help="folds held out, separated by commas")
    p.add_argument("--valid-folds", help="folds for validation; by default the next one")
    p.add_argument("--kmer", type=int, default=4, help="length of the k-mers counted in the DNA, 0 for none")
    p.add_argument("--jobs", type=int, help="processes to read tracks with")
    p.add_argument("-o", "--output", required=True, help=".h5mu or .zarr")
    p.set_defaults(run=_later("_build"))


def _train(commands) -> None:
    p = commands.add_parser(
        "train",
        help="train a model",
        description="Train a model on the split train; keep the best epoch on valid.",
    )
    p.add_argument("model", help="DeepChrome, Linear, LinearSVM or RandomForest")
    p.add_argument("mudata", help="from genexp build")
    p.add_argument("--sample", action="append", help="train on this sample (may be given again); default all")
    p.add_argument("--mark", action="append", help="read this mark (may be given again); default all shared ones")
    p.add_argument("--target", choices=("label", "expression", "both"), help="what is learned")
    p.add_argument("--setting", default="default", help="default or paper")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter of the model, such as n_filters=100 (may be given again)",
    )
    p.add_argument("--max-epochs", type=int)
    p.add_argument("--batch-size", type=int)
    p.add_argument("--lr", type=float, help="learning rate")
    p.add_argument("--accelerator", default="auto", help="auto, cpu, gpu, ...")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("-o", "--output", required=True, help="directory of the model; an older model is replaced")
    p.set_defaults(run=_later("_train"))


def _predict(commands) -> None:
    p = commands.add_parser("predict", help="predict expression of genes, measured or not")
    p.add_argument("model", help="directory from genexp train")
    p.add_argument("mudata")
    p.add_argument("--split", choices=("train", "valid", "test"), help="only genes of this split")
    p.add_argument("--sample", action="append", help="only this sample (may be given again)")
    p.add_argument("-o", "--output", help="TSV; by default the terminal")
    p.set_defaults(run=_later("_predict"))


def _evaluate(commands) -> None:
    p = commands.add_parser("evaluate", help="compare predictions with measurements")
    p.add_argument("model", help="directory from genexp train")
    p.add_argument("mudata")
    p.add_argument("--split", choices=("train", "valid", "test", "all"), default="test")
    p.add_argument("--sample", action="append", help="only this sample (may be given again)")
    p.add_argument("--bootstrap", type=int, default=1000, help="resamples for the 95 %% intervals, 0 for none")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("-o", "--output", help="TSV; by default the terminal")
    p.set_defaults(run=_later("_evaluate"))


def _demo(commands) -> None:
    p = commands.add_parser(
        "demo",
        help="simulate a small genome and run the whole path on it",
        description="Simulate FASTA, GTF, bigWig and expression files, and run the whole path on them.",
    )
    p.add_argument("-o", "--output", required=True, help="directory for files, MuData, models, tables and figures")
    p.add_argument("--small", action="store_true", help="a smaller genome and fewer epochs")
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(run=_later("_demo"))


def _later(module: str) -> Callable[[argparse.Namespace], int | None]:
    def run(args: argparse.Namespace) -> int | None:
        return importlib.import_module(f"genexp_scverse.cli.{module}").run(args)

    return run


def comma_list(text: str | None) -> list[str] | None:
    """``"chr2,chr10"`` to a list; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def units(given: list[str]) -> str | dict[str, str] | None:
    """``["fpkm"]`` to ``"fpkm"``, ``["K562=log", "H1=counts"]`` to a dict."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    wrong = [u for u in given if "=" not in u]
    if wrong:
        msg = f"--unit {wrong[0]} does not name its sample beside others that do: write --unit SAMPLE={wrong[0]}"
        raise InputError(msg)
    return {k: v for k, _, v in (u.rpartition("=") for u in given)}
