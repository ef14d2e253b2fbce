"""``genexp train``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genexp_scverse import io
from genexp_scverse._errors import InputError, no_such
from genexp_scverse._logging import logger
from genexp_scverse._output import check_apart
from genexp_scverse.cli._arguments import check_model, check_names
from genexp_scverse.cli._outputs import check_model_directory, on_terminal

if TYPE_CHECKING:
    from genexp_scverse.model.base import GeneModel


def run(args: argparse.Namespace) -> int:
    """Train one model and save it; until then, what is done is kept beside it."""
    check_model(args.model)
    given = _given(args.set)
    check_model_directory(args.output)
    output = Path(os.path.realpath(args.output))
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    check_apart(args.output, [args.mudata])
    check_apart(checkpoint, [args.mudata])
    mdata = io.read_mudata(args.mudata, on_disk=True)
    check_names(mdata, args.sample, args.mark)
    # torch and scvi-tools are loaded only when the file is a good one
    from genexp_scverse.model.base import model_class
    from genexp_scverse.model.base._checkpoint import remove_checkpoint
    from genexp_scverse.model.base._making import taken_options
    from genexp_scverse.model.base._torch_model import check_devices

    cls = model_class(args.model)
    hyperparameters = {name: checked(cls, name, value) for name, value in given.items()}
    cls.setup_mudata(mdata, samples=args.sample, marks=args.mark)
    if args.target is not None:
        hyperparameters["target"] = args.target
    model = cls(mdata, setting=args.setting, seed=args.seed, **hyperparameters)
    wanted = {"max_epochs": args.max_epochs, "batch_size": args.batch_size, "lr": args.lr}
    wanted = {k: v for k, v in wanted.items() if v is not None}
    if len(taken_options(model, wanted)) < len(wanted):
        msg = f"{args.model} has no epochs: leave out --max-epochs, --batch-size and --lr"
        raise InputError(msg)
    training = taken_options(model, {**wanted, "accelerator": args.accelerator, "enable_progress_bar": on_terminal()})
    if "accelerator" in training:
        check_devices(args.accelerator)
    training |= _kept(model, args, checkpoint)
    try:
        model.train(seed=args.seed, **training)
    except KeyboardInterrupt:
        if checkpoint.is_dir():
            logger.warning("%s holds the training as far as it went: --resume goes on with it", checkpoint)
        raise
    model.save(args.output, overwrite=True)
    logger.info("%s\nWrote %s", model.summary, args.output)
    if model.stopped_by is not None:
        sys.stderr.write(
            f"genexp train: interrupted; {args.output} holds the best so far, and --resume goes on with the training\n"
        )
        return 128 + model.stopped_by
    if checkpoint.is_dir():
        remove_checkpoint(checkpoint)
    return 0


def _kept(model: GeneModel, args: argparse.Namespace, checkpoint: Path) -> dict[str, Any]:
    """Where the training is written as it goes, for models with epochs."""
    from genexp_scverse.model.base._checkpoint import remove_checkpoint
    from genexp_scverse.model.base._making import taken_options

    kept = taken_options(model, {"checkpoint": checkpoint})
    if not kept and args.resume:
        msg = f"{args.model} has no epochs to go on after: leave out --resume"
        raise InputError(msg)
    if kept and checkpoint.is_dir() and not args.resume:
        logger.warning("%s holds a training that was cut short: it begins anew, --resume goes on with it", checkpoint)
        remove_checkpoint(checkpoint)
    return kept


def _given(settings: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            msg = f"--set {text} has no name or no value: write --set NAME=VALUE, such as --set n_filters=100"
            raise InputError(msg)
        if name in given:
            msg = f"--set {name} is given twice ({json.dumps(given[name])} and {value}): give it once"
            raise InputError(msg)
        given[name] = plain_value(value)
    return given


def plain_value(text: str) -> Any:
    """Read a value as JSON has it, else as a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def checked(cls: type[GeneModel], name: str, value: Any, option: str = "--set") -> Any:
    """Make sure that a value is of the kind of the default; what it may be, the model says."""
    defaults = cls.defaults()
    if name not in defaults:
        raise InputError(no_such("argument", name, defaults, where=f"of {cls.__name__} for {option}"))
    default = defaults[name]
    if default is None or _is_like(value, default):
        return value
    msg = f"{option} {name}={value} does not fit {cls.__name__}: give {_kind(default)}, such as {json.dumps(default)}"
    raise InputError(msg)


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        return isinstance(value, list) and all(_is_like(v, default[0]) for v in value if default)
    # the models of an ensemble are a name, or a list of names and dictionaries
    return isinstance(value, str | list | dict if isinstance(default, str) else type(default))


def _kind(default: Any) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "a whole number"
    if isinstance(default, float):
        return "a number"
    return "a list" if isinstance(default, list | tuple) else "a word"
