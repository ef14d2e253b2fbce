"""What ``genexp compare`` can be told."""

from __future__ import annotations

from genexp_scverse.cli._arguments import MUDATA, SEED, TABLE, count, later, positive, seed_number


def add_compare(commands) -> None:
    """Add the command."""
    p = commands.add_parser(
        "compare",
        help="train several models and compare them on the same genes",
        description="Train several models on the same genes and tracks and compare them on others: a TSV with a row "
        "for each model and sample, its columns auroc, auprc, pearson and spearman with 95 % intervals, paired "
        "differences to a reference (<metric>_diff, with intervals of their own), train_seconds and n_parameters. "
        "Without --model these are compared, as far as the genes allow: linear, linear SVM, random forest, DeepChrome, "
        "AttentiveChrome, SimpleChromeVAE without and with neighbours, and an ensemble of forest and networks. A "
        "linear model and a random forest are always there. Ctrl-C writes the table of the models that are complete.",
    )
    p.set_defaults(run=later("_compare"))
    p.add_argument("mudata", metavar="MUDATA", help=MUDATA)
    p.add_argument("-o", "--output", metavar="FILE", help=TABLE)
    p.add_argument(
        "--figure", metavar="FILE", help="figure to draw, its name ending in .png, .pdf or .svg; by default none"
    )
    models = p.add_argument_group("models")
    models.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="LABEL=NAME[,KEY=VALUE...]",
        help="a model and its hyperparameters, such as wide=DeepChrome,n_filters=100 or paper=DeepChrome,setting=paper "
        "(may be given again)",
    )
    models.add_argument(
        "--reference",
        metavar="LABEL",
        help="model that differences are taken to; by default the random forest",
    )
    models.add_argument(
        "--max-epochs", type=positive, metavar="N", help="epochs of networks at most; by default as their settings say"
    )
    models.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu", "mps"),
        default="auto",
        help="where networks are trained (default auto: a GPU where there is one)",
    )
    genes = p.add_argument_group("genes")
    genes.add_argument(
        "--sample",
        action="append",
        metavar="NAME",
        help="train and compare on this sample (may be given again); by default on all with expression, in one model",
    )
    genes.add_argument(
        "--split",
        choices=("valid", "test"),
        default="test",
        help="genes to compare on (default %(default)s); valid is for choosing settings",
    )
    genes.add_argument(
        "--bootstrap",
        type=count,
        default=1000,
        metavar="N",
        help="resamples of the genes for the intervals, 0 for none (default %(default)s)",
    )
    genes.add_argument("--seed", type=seed_number, default=0, metavar="N", help=SEED % "the models and the resampling")
