"""``genexp train``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from genexp_scverse import io
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger


def run(args: argparse.Namespace) -> None:
    """Train one model and save it."""
    hyperparameters = dict(_setting(s) for s in args.set)
    mdata = io.read_mudata(args.mudata)
    # torch and scvi-tools are loaded only when the file is a good one
    from genexp_scverse.model.base import TorchGeneModel, model_class

    cls = model_class(args.model)
    training: dict[str, Any] = {"seed": args.seed}
    if issubclass(cls, TorchGeneModel):
        training |= {
            "max_epochs": args.max_epochs,
            "batch_size": args.batch_size,
            "lr": args.lr,
            "accelerator": args.accelerator,
            "enable_progress_bar": sys.stderr.isatty(),
        }
    elif any(v is not None for v in (args.max_epochs, args.batch_size, args.lr)):
        msg = f"{args.model} has no epochs: leave out --max-epochs, --batch-size and --lr"
        raise InputError(msg)
    cls.setup_mudata(mdata, samples=args.sample, marks=args.mark)
    if args.target is not None:
        hyperparameters["target"] = args.target
    model = cls(mdata, setting=args.setting, seed=args.seed, **hyperparameters)
    model.train(**training)
    model.save(args.output, overwrite=True)
    logger.info("%s\nWrote %s", model.summary, args.output)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        msg = f"--set {text} has no value: write --set NAME=VALUE, such as --set n_filters=100"
        raise InputError(msg)
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
