"""A model on disk: ``model.json`` and arrays or skops files beside it; reading executes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse._output import recover, written
from genexp_scverse.model.base._description import FORMAT, Description, check_goes_together
from genexp_scverse.model.base._plain_arrays import regular_file

_LARGEST_DESCRIPTION = 2**28
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


def read_description(directory: str | Path) -> Description:
    """Read ``model.json``; raises when the directory is no model, one of a later version, or not what it has to be."""
    recover(directory)
    directory = Path(directory)
    path = directory / DESCRIPTION
    if not path.is_file():
        msg = f"{directory} is not a saved model (it has no {DESCRIPTION}): give the directory that model.save wrote"
        raise InputError(msg)
    regular_file(path, directory)
    try:
        if path.stat().st_size > _LARGEST_DESCRIPTION:
            msg = f"it has {path.stat().st_size:,} bytes"
            raise ValueError(msg)
        description = Description.from_json(json.loads(path.read_text(encoding="utf-8")))
        check_goes_together(description)
    except (ValueError, RecursionError, OSError) as error:
        why = " ".join(str(error).split())
        msg = f"{path} cannot be read ({why}): it is damaged or of another version, save the model again"
        raise InputError(msg) from None
    return description


def _is_own(path: Path) -> bool:
    """Tell whether a model wrote this; a folder called as that of members may be of others."""
    return path.name in OWN or (path.name == MEMBERS and (path / "0" / DESCRIPTION).is_file())
