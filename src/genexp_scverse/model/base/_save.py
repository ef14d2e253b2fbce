"""A model on disk: ``model.json`` and arrays or skops files beside it; reading executes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._output import recover, written

FORMAT = 1
KEYS = ("model", "setting", "seed", "hyperparameters", "setup", "fitted", "history")
DESCRIPTION, WEIGHTS = "model.json", "weights.npz"
MEMBERS, SCORES = "members", "scores.npz"
OWN = (DESCRIPTION, WEIGHTS, SCORES, "classifier.skops", "regressor.skops")


def write_model(directory: str | Path, description: dict, files: dict[str, Any], *, overwrite: bool) -> None:
    """Write a model directory at once: either all of it is there afterwards or what was there before.

    `files` maps a file name to bytes, to a dictionary of arrays (written as npz), or to the ``save`` of a model that
    is written to a directory of that name. Files of others that lie in a directory that is overwritten stay in it.
    """
    directory = Path(directory)
    if directory.exists():
        if not overwrite:
            msg = f"{directory} exists: choose another directory or pass overwrite=True"
            raise InputError(msg)
        if not directory.is_dir() or (any(directory.iterdir()) and not (directory / DESCRIPTION).is_file()):
            msg = f"{directory} is not a saved model, so it is not overwritten: choose another directory"
            raise InputError(msg)
    with written(directory, own=_is_own) as made:
        made.mkdir()
        for name, content in files.items():
            (made / name).parent.mkdir(exist_ok=True)
            if isinstance(content, bytes):
                (made / name).write_bytes(content)
            elif callable(content):
                content(made / name)
            else:
                np.savez(made / name, **content)
        text = json.dumps({"format": FORMAT, **description}, indent=1, allow_nan=True)
        (made / DESCRIPTION).write_text(text, encoding="utf-8")


def read_description(directory: str | Path) -> dict:
    """Read ``model.json``; raises when the directory is no model or one of a later version."""
    recover(directory)
    path = Path(directory) / DESCRIPTION
    if not path.is_file():
        msg = f"{directory} is not a saved model (it has no {DESCRIPTION}): give the directory that model.save wrote"
        raise InputError(msg)
    try:
        description = json.loads(path.read_text())
        version = description["format"]
        missing = [k for k in KEYS if k not in description]
        if missing:
            raise KeyError(some(missing))
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} cannot be read ({error}): the file is damaged, save the model again"
        raise InputError(msg) from None
    if version != FORMAT:
        msg = f"{path} has format {version}, this version of the package reads {FORMAT}: update the package"
        raise InputError(msg)
    return description


def read_arrays(directory: str | Path, name: str = WEIGHTS) -> dict[str, np.ndarray]:
    """Read plain arrays; a file that carries pickled objects is refused."""
    path = Path(directory) / name
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except FileNotFoundError:
        msg = f"{path} is missing: the model is incomplete, save it again"
        raise InputError(msg) from None
    except (ValueError, OSError, EOFError, KeyError) as error:
        msg = f"{path} does not hold plain arrays ({error}): it is damaged or not from this package, and is not read"
        raise InputError(msg) from None
    except Exception as error:  # zipfile raises its own classes for a damaged archive
        if type(error).__module__ != "zipfile":
            raise
        msg = f"{path} is damaged ({error}): save the model again"
        raise InputError(msg) from None


def check_shapes(found: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]], where: str | Path) -> None:
    """Raise unless the arrays have the names and shapes that the network needs."""
    wrong = [k for k, shape in expected.items() if k not in found or tuple(found[k].shape) != tuple(shape)]
    if wrong or set(found) - set(expected):
        wrong += sorted(set(found) - set(expected))
        msg = (
            f"the weights in {where} do not fit the model that its {DESCRIPTION} describes ({some(wrong)}): "
            "load it with the version that saved it, or train it again"
        )
        raise InputError(msg)


def _is_own(path: Path) -> bool:
    """Tell whether a model wrote this; a folder called as that of members may be of others."""
    return path.name in OWN or (path.name == MEMBERS and (path / "0" / DESCRIPTION).is_file())
