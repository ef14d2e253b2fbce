"""``genexp reproduce``: published data through our models, the result beside the published one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genexp_scverse import datasets, io, pl, schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._output import check_folder
from genexp_scverse.cli._arguments import check_model, comma_list
from genexp_scverse.cli._outputs import on_terminal, write_figure, write_table
from genexp_scverse.cli._reproduce_results import Results, digest, digest_of_all, named, summary
from genexp_scverse.io.deepchrome_csv import find_cells

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel

    Job = tuple[type[GeneModel], str]
    Files = dict[str, dict[str, Path]]

BASELINE = "Linear"
N_BOOTSTRAP = 1000


def run(args: argparse.Namespace) -> None:
    """Fetch, train what is not done yet, write the tables after every training."""
    out = Path(args.output)
    check_folder(out)
    wanted, left_out = _cells(args)
    jobs = _jobs(args)
    from genexp_scverse.model.base._torch_model import check_devices

    check_devices(args.accelerator)
    results = Results(out / "cells.tsv", seed=args.seed, max_epochs=args.max_epochs)
    results.read()
    folder = Path(args.data) if args.data is not None else datasets.deepchrome(cells=wanted, base_url=args.base_url)
    files = find_cells(folder, wanted)
    short = [cell for cell, of in files.items() if set(of) != set(schema.SPLITS)]
    if short:
        msg = f"cell {some(short)} lacks one of train.csv, valid.csv and test.csv: name other cells"
        raise InputError(msg)
    if args.pooled:
        _pooled(args, folder, files, left_out, jobs, results)
    else:
        _one_by_one(args, folder, files, jobs, results)
    table = results.read()
    write_table(summary(table, args.benchmark), out / "summary.tsv")
    if args.figure:
        _draw(args, table, out / "auroc.png")
    shown = summary(table, args.benchmark).drop(columns="source").to_string(float_format="%.4f", na_rep="")
    logger.info("Test AUROC over cells:\n%s", shown)
    logger.info("Wrote %s and %s", results.path, out / "summary.tsv")


def _cells(args: argparse.Namespace) -> tuple[list[str] | None, list[str]]:
    """Cells asked for, None for all, and those left out of the pooled training."""
    cells, left_out = (list(dict.fromkeys(comma_list(text) or [])) for text in (args.cells, args.leave_out))
    if not cells:
        msg = "--cells names no cell: give a list such as E003,E123, or all"
        raise InputError(msg)
    if args.leave_out is not None and not args.pooled:
        msg = "--leave-out is for a model of several cells: add --pooled, or take it out"
        raise InputError(msg)
    if args.data is not None and args.base_url is not None:
        msg = "--data reads a folder and --base-url fetches: give one of them"
        raise InputError(msg)
    if cells == ["all"]:
        return None, left_out
    strange = [cell for cell in left_out if cell not in cells]
    if strange:
        msg = f"--leave-out names {some(strange)}, which --cells does not: name it in both"
        raise InputError(msg)
    return cells, left_out


def _jobs(args: argparse.Namespace) -> list[Job]:
    """Models and settings to train, in order; the baseline is always among them."""
    names = dict.fromkeys([*(comma_list(args.models) or []), BASELINE])
    for name in names:
        check_model(name)
    from genexp_scverse.model import model_class

    classes = [model_class(name) for name in names]
    settings = comma_list(args.settings)
    if settings is None:
        settings = ["default"] if args.pooled else ["paper", "default"]
    elif not settings or not all(any(s in cls.settings for cls in classes) for s in settings):
        there = dict.fromkeys(s for cls in classes for s in cls.settings)
        msg = f"--settings {args.settings}: {', '.join(names)} have the settings {', '.join(there)}, choose from them"
        raise InputError(msg)
    # a model with one setting is trained in it, whatever the others are trained in
    return [(cls, s) for cls in classes for s in ([s for s in settings if s in cls.settings] or ["default"])]


def _one_by_one(args: argparse.Namespace, folder: Path, files: Files, jobs: list[Job], results: Results) -> None:
    """Train a model for every cell, as was published."""
    for i, (cell, of) in enumerate(files.items()):
        data = digest(of.values())
        todo = [(cls, s) for cls, s in jobs if not results.done(cell, cls.__name__, s, [cell], data)]
        if not todo:
            logger.info("%s (%d of %d) was done before", cell, i + 1, len(files))
            continue
        logger.info("%s (%d of %d): training %s", cell, i + 1, len(files), _names(todo))
        mdata = io.read_deepchrome(folder, sample=cell)
        for cls, setting in todo:
            _train(args, mdata, cls, setting, [cell], [cell], results, {cell: data})


def _pooled(
    args: argparse.Namespace, folder: Path, files: Files, left_out: list[str], jobs: list[Job], results: Results
) -> None:
    """Train one model of several cells, with the signal in a file beside the tables while it is needed."""
    # in one order, so that a further call in another finds the rows
    files = dict(sorted(files.items()))
    trained_on = [cell for cell in files if cell not in left_out]
    absent = [cell for cell in left_out if cell not in files]
    if absent:
        msg = f"--leave-out names {some(absent)}, which is not among the cells: choose from {', '.join(files)}"
        raise InputError(msg)
    if not trained_on:
        msg = "--leave-out leaves no cell to train on: name fewer"
        raise InputError(msg)
    digests = {cell: digest(of.values()) for cell, of in files.items()}
    data = {cell: digest_of_all([*(digests[c] for c in trained_on), digests[cell]]) for cell in files}
    todo = {
        (cls, s): cells
        for cls, s in jobs
        if (cells := [c for c in files if not results.done(c, cls.__name__, s, trained_on, data[c])])
    }
    if not todo:
        logger.info("All of it was done before")
        return
    bins = results.path.parent / ".bins.npy"
    logger.info("%s on %d cells, evaluated on %d", _names(list(todo)), len(trained_on), len(files))
    try:
        mdata = io.read_deepchrome(folder, sample=list(files), bins_path=bins)
        for (cls, setting), cells in todo.items():
            _train(args, mdata, cls, setting, trained_on, cells, results, data)
    finally:
        bins.unlink(missing_ok=True)


def _train(
    args: argparse.Namespace,
    mdata: MuData,
    cls: type[GeneModel],
    setting: str,
    trained_on: Sequence[str],
    cells: Sequence[str],
    results: Results,
    data: dict[str, str],
) -> None:
    """Train, evaluate on the test genes of `cells`, write the rows."""
    from genexp_scverse.model.base._making import train_whole

    cls.setup_mudata(mdata, samples=list(trained_on), target="label")
    model: Any = cls(mdata, setting=setting, seed=args.seed)
    options = {} if args.max_epochs is None else {"max_epochs": args.max_epochs}
    # what Ctrl-C leaves of a training is no result
    train_whole(model, **options, accelerator=args.accelerator, enable_progress_bar=on_terminal())
    evaluated = model.evaluate(split="test", samples=list(cells), n_bootstrap=N_BOOTSTRAP, seed=args.seed)
    for row in results.add(evaluated, model, trained_on, data=data):
        beside = "" if row["published"] is None else f", published {row['published']:.4f}"
        logger.info(
            "%s %s %s: test AUROC %.4f [%.4f, %.4f], %d genes%s",
            *(row[key] for key in ("cell", "model", "setting", "auroc", "auroc_low", "auroc_high", "n")),
            beside,
        )
    write_table(summary(results.read(), args.benchmark), results.path.with_name("summary.tsv"))


def _draw(args: argparse.Namespace, table: Any, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    published = datasets.published_results(args.benchmark).loc["DeepChrome"]
    references = {f"DeepChrome, published {of}": float(published[of]) for of in ("mean", "median")}
    shown = table.assign(model=named(table), sample=table["cell"])
    ax = pl.per_sample(shown, "auroc", references=references)
    write_figure(ax.figure, path)
    plt.close(ax.figure)
    logger.info("Wrote %s", path)


def _names(jobs: list[Job]) -> str:
    return ", ".join(f"{cls.__name__} {setting}" for cls, setting in jobs)
