"""``genexp demo``: the whole path on a simulated genome."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from genexp_scverse import datasets, io, model, pl, pp, tl
from genexp_scverse._logging import logger
from genexp_scverse._output import check_folder
from genexp_scverse.cli._outputs import mark_demo, on_terminal, write_figure, write_table

MODELS = ("DeepChrome", "Linear", "RandomForest")


def run(args: argparse.Namespace) -> None:
    """Simulate, build, train, evaluate, predict, draw; everything lands in one directory."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    out = Path(args.output)
    check_folder(out)
    mark_demo(out)
    n_genes, max_epochs = (400, 8) if args.small else (2000, 30)
    logger.info("1/5 Simulating a genome with %d genes", n_genes)
    paths = datasets.simulate(out / "data", n_genes=n_genes, seed=args.seed)
    logger.info("2/5 Reading genes, tracks, DNA and expression")
    mdata = io.build_mudata(paths.sheet, genes=paths.genes, expression=paths.expression, unit="tpm", fasta=paths.genome)
    pp.split_by_chromosome(mdata, seed=args.seed)
    pp.label(mdata)
    pp.mean_profile(mdata)
    sample = str(mdata["chromatin"].var["sample"].iloc[0])
    tables = []
    for i, name in enumerate(MODELS):
        logger.info("3/5 Training %s (%d of %d)", name, i + 1, len(MODELS))
        cls = model.model_class(name)
        cls.setup_mudata(mdata, modalities={"dna": None})
        trained: Any = cls(mdata, seed=args.seed)
        if isinstance(trained, model.base.TorchGeneModel):
            trained.train(max_epochs, enable_progress_bar=on_terminal())
            tl.class_patterns(trained, n_steps=200 if args.small else 1000)
            pl.history(trained)
            _save(out, "history")
        else:
            trained.train()
        trained.save(out / "models" / trained.name, overwrite=True)
        predicted = trained.predict(layer_key=trained.name)
        write_table(predicted, str(out / "tables" / f"predictions_{trained.name}.tsv"))
        table = trained.evaluate(n_bootstrap=200 if args.small else 1000, seed=args.seed)
        tables.append(table.reset_index().assign(model=trained.name))
    logger.info("4/5 Writing tables and the MuData")
    metrics = pd.concat(tables).set_index("model")
    write_table(metrics, str(out / "tables" / "metrics.tsv"))
    io.write_mudata(mdata, out / "demo.h5mu")
    logger.info("5/5 Drawing")
    names = [t["model"].iloc[0] for t in tables]
    pl.roc(mdata, names, sample=sample)
    _save(out, "roc")
    pl.precision_recall(mdata, names, sample=sample)
    _save(out, "precision_recall")
    pl.observed_predicted(mdata, names[0], sample=sample)
    _save(out, "observed_predicted")
    pl.calibration(mdata, names, sample=sample)
    _save(out, "calibration")
    pl.profile(mdata, sample=sample)
    _save(out, "profile")
    pl.heatmap(mdata, str(mdata["chromatin"].var_names[0]))
    _save(out, "heatmap")
    pl.patterns(mdata, names[0])
    _save(out, "patterns")
    pl.comparison(metrics, "pearson")
    _save(out, "comparison")
    plt.close("all")
    shown = metrics[["sample", "n", "auroc", "pearson"]]
    logger.info("Test genes (chromosomes held out):\n%s", shown.to_string(float_format="%.3f"))
    logger.info("Files, MuData, models, tables and figures are in %s", out)


def _save(out: Path, name: str) -> None:
    from matplotlib import pyplot as plt

    write_figure(plt.gcf(), out / "figures" / f"{name}.png")
    plt.close("all")
