"""What ``genexp reproduce`` can be told."""

from __future__ import annotations

from genexp_scverse.cli._arguments import SEED, later, positive, seed_number


def add_reproduce(commands) -> None:
    """Add the command to those of ``genexp``."""
    p = commands.add_parser(
        "reproduce",
        help="train on published data and set the result beside the published one",
        description="Train models on the published data of a benchmark, evaluate them on its test genes and set the "
        "result beside the published one. Writes DIR/cells.tsv (a row per cell type, model and setting, with 95 % "
        "intervals) after each training and DIR/summary.tsv. The same command goes on where it was stopped.",
    )
    p.set_defaults(run=later("_reproduce"))
    p.add_argument(
        "benchmark",
        choices=("deepchrome",),
        help="deepchrome: five histone marks to high or low expression in 56 cell types (Singh et al. 2016)",
    )
    p.add_argument(
        "--cells", required=True, metavar="LIST", help="cell types such as E003,E123, separated by commas, or all"
    )
    p.add_argument("-o", "--output", required=True, metavar="DIR", help="directory of the tables")
    data = p.add_argument_group("data", "By default the archive is fetched once, checked, and kept in the cache.")
    data.add_argument(
        "--data", metavar="DIR", help="folder with <cell>/classification/{train,valid,test}.csv, instead of fetching"
    )
    data.add_argument("--base-url", metavar="URL", help="mirror to fetch from; by default https://zenodo.org")
    models = p.add_argument_group("models")
    models.add_argument(
        "--models",
        default="DeepChrome",
        metavar="LIST",
        help="models to train, separated by commas (default %(default)s); Linear is always trained beside them",
    )
    models.add_argument(
        "--settings",
        metavar="LIST",
        help="named settings to train them in, as far as a model has them; by default paper,default, or default with "
        "--pooled",
    )
    models.add_argument(
        "--pooled", action="store_true", help="train one model on all the cells, and evaluate it on each of them"
    )
    models.add_argument(
        "--leave-out",
        metavar="LIST",
        help="with --pooled: cells that the model is not trained on; it is evaluated on them all the same",
    )
    models.add_argument("--max-epochs", type=positive, metavar="N", help="epochs at most; by default as the setting")
    models.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu", "mps"),
        default="auto",
        help="where a network is trained (default auto: a GPU where there is one)",
    )
    models.add_argument(
        "--seed", type=seed_number, default=0, metavar="N", help=SEED % "initial weights, batches and resampling"
    )
    p.add_argument("--figure", action="store_true", help="draw DIR/auroc.png: the AUROC of every cell")
