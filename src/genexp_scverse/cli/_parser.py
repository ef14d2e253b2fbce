"""What can be said on the command line; imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
from importlib.metadata import version

from genexp_scverse.cli._arguments import (
    MODEL,
    MUDATA,
    SAMPLE,
    SEED,
    TABLE,
    Parser,
    count,
    later,
    positive,
    rate,
    seed_number,
)
from genexp_scverse.cli._parser_build import add_build
from genexp_scverse.cli._parser_compare import add_compare
from genexp_scverse.cli._parser_elements import add_elements
from genexp_scverse.cli._parser_reproduce import add_reproduce
from genexp_scverse.model import MODELS


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``genexp`` and its commands."""
    parser = Parser(
        prog="genexp",
        description="From histone marks and DNA to gene expression.",
        epilog="genexp COMMAND --help explains a command. Messages go to stderr. Exit code: 0; 2 with one line that "
        "says what to fix.",
    )
    parser.add_argument("--version", action="version", version=f"genexp {version('genexp-scverse')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (add_build, _train, _predict, _evaluate, add_compare, add_elements, add_reproduce, _demo):
        add(commands)
    return parser


def _train(commands) -> None:
    p = commands.add_parser(
        "train",
        help="train a model",
        description="Train a model on the genes of the split train; the best epoch on those of valid is kept.",
    )
    p.set_defaults(run=later("_train"))
    p.add_argument("model", metavar="MODEL", help=", ".join(MODELS))
    p.add_argument("mudata", metavar="MUDATA", help=MUDATA)
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
        help="read this mark (may be given again); by default all that every sample has; 'all' takes those that any "
        "sample has and masks what is missing",
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
    p.add_argument("--max-epochs", type=positive, metavar="N", help="epochs at most; by default as the setting says")
    p.add_argument(
        "--batch-size", type=positive, metavar="N", help="(gene, sample) pairs in a step; by default as the setting"
    )
    p.add_argument("--lr", type=rate, metavar="X", help="learning rate; by default as the setting says")
    p.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu", "mps"),
        default="auto",
        help="where a network is trained (default auto: a GPU where there is one)",
    )
    p.add_argument("--seed", type=seed_number, default=0, metavar="N", help=SEED % "initial weights and batches")
    p.add_argument(
        "--resume",
        action="store_true",
        help="go on with a training that was cut short, which DIR.checkpoint holds; begin where there is none",
    )


def _predict(commands) -> None:
    p = commands.add_parser(
        "predict",
        help="predict expression of genes, measured or not",
        description="Predict expression of genes, measured or not: a TSV with gene_id and, for each sample, "
        "<sample> (level, natural log scale) and <sample>:prob (probability that the gene is high).",
    )
    p.set_defaults(run=later("_predict"))
    p.add_argument("model", metavar="MODEL", help=MODEL)
    p.add_argument("mudata", metavar="MUDATA", help=f"{MUDATA}, with the model's marks and window")
    p.add_argument("-o", "--output", metavar="FILE", help=TABLE)
    p.add_argument("--split", choices=("train", "valid", "test"), help="only genes of this split; by default all genes")
    p.add_argument("--sample", action="append", metavar="NAME", help=SAMPLE)


def _evaluate(commands) -> None:
    p = commands.add_parser(
        "evaluate",
        help="compare predictions with measurements",
        description="Compare predictions with measurements: a TSV with a row for each sample, its columns n, auroc, "
        "auprc, pearson, spearman, r2, mse, mae and their 95 % intervals (<metric>_low, <metric>_high).",
    )
    p.set_defaults(run=later("_evaluate"))
    p.add_argument("model", metavar="MODEL", help=MODEL)
    p.add_argument("mudata", metavar="MUDATA", help=f"{MUDATA}, with the model's marks and window")
    p.add_argument("-o", "--output", metavar="FILE", help=TABLE)
    p.add_argument(
        "--split",
        choices=("train", "valid", "test", "all"),
        default="test",
        help="genes to compare (default %(default)s)",
    )
    p.add_argument("--sample", action="append", metavar="NAME", help=SAMPLE)
    p.add_argument(
        "--bootstrap",
        type=count,
        default=1000,
        metavar="N",
        help="resamples of the genes for the intervals, 0 for none (default %(default)s)",
    )
    p.add_argument("--seed", type=seed_number, default=0, metavar="N", help=SEED % "the resampling")


def _demo(commands) -> None:
    p = commands.add_parser(
        "demo",
        help="simulate a small genome and run the whole path on it",
        description="Simulate a small genome as real FASTA, GTF, bigWig and expression files, and run the whole path "
        "on them, without network, in under 3 minutes on two cores: DIR/data holds the files, DIR/demo.h5mu the "
        "MuData, DIR/models, DIR/tables and DIR/figures what came of it.",
    )
    p.set_defaults(run=later("_demo"))
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="directory to write to")
    p.add_argument("--small", action="store_true", help="fewer genes, epochs and resamples: some 20 seconds")
    p.add_argument("--seed", type=seed_number, default=0, metavar="N", help=SEED % "the genome and of the models")
