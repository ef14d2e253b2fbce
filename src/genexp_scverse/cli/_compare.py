"""``genexp compare``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from genexp_scverse import io, schema
from genexp_scverse._errors import InputError, no_such
from genexp_scverse._logging import logger
from genexp_scverse._output import check_apart
from genexp_scverse._signals import signal_of
from genexp_scverse.cli._arguments import check_model, check_names
from genexp_scverse.cli._outputs import (
    check_figure_path,
    check_table_path,
    on_terminal,
    write_figure,
    write_table,
)

if TYPE_CHECKING:
    import pandas as pd
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel
    from genexp_scverse.model.base._making import Recipe

GRAPH = "neighbors"
BASELINES = {"linear": "Linear", "random forest": "RandomForest"}
PANEL: list[tuple[str, str, dict[str, Any]]] = [
    ("linear SVM", "LinearSVM", {}),
    ("DeepChrome", "DeepChrome", {}),
    ("AttentiveChrome", "AttentiveChrome", {}),
    ("SimpleChromeVAE", "SimpleChromeVAE", {"neighbors": None}),
    ("SimpleChromeVAE, neighbours", "SimpleChromeVAE", {"neighbors": GRAPH}),
    ("ensemble", "Ensemble", {"n_members": 1}),
]
"""Label, model and hyperparameters of what is compared besides the baselines; for the ensemble see `_members`."""


def run(args: argparse.Namespace) -> int:
    """Train, compare, write a TSV with a row for each model and sample, and draw it."""
    given = [_parsed(text) for text in args.model]
    if twice := [label for i, (label, *_) in enumerate(given) if label in [g[0] for g in given[:i]]]:
        msg = f"--model names {twice[0]} twice: give every model a label of its own, --model LABEL=NAME"
        raise InputError(msg)
    for _, name, _ in given:
        check_model(name)
    check_table_path(args.output)
    check_figure_path(args.figure)
    check_apart(args.output, [args.mudata])
    check_apart(args.figure, [args.mudata, args.output])
    mdata = io.read_mudata(args.mudata, on_disk=True)
    check_names(mdata, args.sample)
    # torch and scvi-tools are loaded only when the file is a good one
    from genexp_scverse import tl
    from genexp_scverse.model.base._making import new_model, taken_options, train_whole
    from genexp_scverse.model.base._torch_model import check_devices

    setup = {"samples": args.sample}
    if schema.CHROMATIN in mdata.mod:
        # networks read tracks alone: what all of them read is the same
        setup["modalities"] = {schema.DNA: None}
    recipes = _recipes(given, mdata)
    members = [] if given else _members(recipes)
    reference = _reference(recipes, args.reference)
    models = {label: new_model(recipe, mdata, setup, seed=args.seed) for label, recipe in recipes.items()}
    options = {"max_epochs": args.max_epochs, "accelerator": args.accelerator, "enable_progress_bar": on_terminal()}
    options = {k: v for k, v in options.items() if v is not None}
    if any("accelerator" in taken_options(model, options) for model in models.values()):
        check_devices(args.accelerator)
    done: dict[str, GeneModel] = {}
    code = 0
    try:
        for i, (label, model) in enumerate(models.items()):
            logger.info("%d/%d Training %s", i + 1, len(models), label)
            if members and label == PANEL[-1][0]:
                model.train(members=[done[member] for member in members])
            else:
                train_whole(model, **options)
            done[label] = model
            logger.info("%d/%d %s: %s", i + 1, len(models), label, _in_words(model, args.split))
    except KeyboardInterrupt as error:
        code = 128 + signal_of(error)
        if not {reference, *(k for k in recipes if recipes[k].cls.__name__ in BASELINES.values())} <= set(done):
            raise
        logger.warning("Interrupted: the table holds the %d of %d models that are complete", len(done), len(models))
    table = tl.compare(done, mdata, split=args.split, reference=reference, n_bootstrap=args.bootstrap, seed=args.seed)
    if args.figure is not None:
        write_figure(_drawn(table), args.figure)
    write_table(table, args.output)
    return code


def _parsed(text: str) -> tuple[str, str, dict[str, Any]]:
    """``"wide=DeepChrome,n_filters=100"`` to label, model and hyperparameters as they were given."""
    from genexp_scverse.cli._train import plain_value

    label, equals, rest = text.partition("=")
    name, *settings = _parts(rest)
    if not equals or not label.strip() or not name:
        msg = f"--model {text} has no label or no model: write --model LABEL=NAME, such as --model wide=DeepChrome"
        raise InputError(msg)
    given: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not key or not value or key in given:
            fault = "is there twice" if key in given else "has no name or no value"
            msg = f"--model {text}: {setting or key!r} {fault}, write KEY=VALUE once for each, such as n_filters=100"
            raise InputError(msg)
        given[key] = plain_value(value)
    return label.strip(), name, given


def _parts(text: str) -> list[str]:
    """Split at commas, apart from those of lists and dictionaries."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _recipes(given: list[tuple[str, str, dict[str, Any]]], mdata: MuData) -> dict[str, Recipe]:
    """Label -> how to make the model: the baselines first, so that an interruption leaves something to compare."""
    from genexp_scverse.cli._train import checked
    from genexp_scverse.model.base import model_class
    from genexp_scverse.model.base._making import Recipe

    recipes: dict[str, Recipe] = {}
    for label, name, settings in given:
        cls = model_class(name)
        setting = str(settings.pop("setting", "default"))
        recipes[label] = Recipe(cls, setting, {k: checked(cls, k, v, "--model") for k, v in settings.items()})
    missing = {k: v for k, v in BASELINES.items() if v not in [r.cls.__name__ for r in recipes.values()]}
    if taken := [label for label in missing if label in recipes]:
        msg = f"--model {taken[0]}=... has the label of the {taken[0]} that is always there: give it another label"
        raise InputError(msg)
    recipes = {label: Recipe(model_class(name), "default", {}) for label, name in missing.items()} | recipes
    if not given:
        for label, name, hyperparameters in PANEL:
            if reason := _unfit(name, hyperparameters, mdata):
                logger.info("%s is left out: %s", label, reason)
                continue
            recipe = Recipe(model_class(name), "default", dict(hyperparameters))
            if name == "Ensemble":
                recipe.hyperparameters["model"] = [recipes[member].plain for member in _members(recipes)]
            recipes[label] = recipe
    if any(r.hyperparameters.get(GRAPH) == GRAPH for r in recipes.values()) and GRAPH not in mdata.obsp:
        from genexp_scverse import pp

        pp.gene_neighbors(mdata, key_added=GRAPH)
    return recipes


def _members(recipes: dict[str, Recipe]) -> list[str]:
    """Labels of the ensemble's members: the forest, and the last network of each kind, with neighbours where it is."""
    of_kind = {name: label for label, name, _ in PANEL[1:-1] if label in recipes}
    return ["random forest", *of_kind.values()]


def _reference(recipes: dict[str, Recipe], wanted: str | None) -> str:
    """Label of the model that differences are taken to: by default the random forest, whatever its label."""
    if wanted is None:
        return next(label for label, recipe in recipes.items() if recipe.cls.__name__ == "RandomForest")
    if wanted not in recipes:
        raise InputError(no_such("label", wanted, recipes, where="among the models"))
    return wanted


def _unfit(name: str, hyperparameters: dict[str, Any], mdata: MuData) -> str:
    """Say why a model of the panel cannot be trained here, or nothing."""
    if name not in ("LinearSVM", *BASELINES.values()) and schema.CHROMATIN not in mdata.mod:
        return "the MuData has no tracks"
    places = {"chrom", "tss"} <= set(mdata.obs)
    if hyperparameters.get(GRAPH) == GRAPH and GRAPH not in mdata.obsp and not places:
        return "the genes have no chrom and tss, so that neighbours are not known"
    return ""


def _in_words(model: GeneModel, split: str) -> str:
    table = model.evaluate(split=split).mean()
    words = [f"{name} {table[key]:.3f}" for key, name in (("auroc", "AUROC"), ("pearson", "Pearson"))]
    seconds = model.fitted_.get("train_seconds", float("nan"))
    return ", ".join([*(w for w in words if not w.endswith("nan")), f"{seconds:.0f} s"])


def _drawn(table: pd.DataFrame) -> Any:
    """Values on the left, paired differences on the right, a row for each measure there is."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    from genexp_scverse import pl

    measures = [m for m in ("pearson", "auroc") if table[m].notna().any()]
    rows = table.index.nunique() * max(1.0, 0.6 * table["sample"].nunique())
    figure, axes = plt.subplots(
        len(measures), 2, figsize=(12, len(measures) * (1.1 + 0.34 * rows)), layout="constrained", squeeze=False
    )
    for (left, right), measure in zip(axes, measures, strict=True):
        pl.comparison(table, measure, ax=left)
        pl.comparison(table, f"{measure}_diff", ax=right)
    return figure
