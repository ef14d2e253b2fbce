"""Find a model by its public name, and read a saved one of whatever class."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from genexp_scverse._errors import InputError, no_such
from genexp_scverse.model.base import _save
from genexp_scverse.model.base._model import GeneModel

if TYPE_CHECKING:
    from mudata import MuData


def model_class(name: str) -> type[GeneModel]:
    """Return the registered model class called `name`.

    Parameters
    ----------
    name
        Public name, such as ``DeepChrome``.

    Returns
    -------
    The class.

    Raises
    ------
    InputError
        Naming the models there are.

    Examples
    --------
    >>> import genexp_scverse as gx
    >>> gx.model.model_class("RandomForest").__name__
    'RandomForest'
    """
    package = importlib.import_module("genexp_scverse.model")
    if name not in package.MODELS:
        raise InputError(no_such("model", name, package.MODELS))
    return getattr(package, name)


def load(directory: str | Path, mdata: MuData | None = None) -> GeneModel:
    """Read a saved model of any registered class.

    Parameters
    ----------
    directory
        What ``model.save`` wrote.
    mdata
        A MuData to use it with.

    Returns
    -------
    The model.

    Raises
    ------
    InputError
        When the directory is no model or names an unknown class.

    Examples
    --------
    >>> import genexp_scverse as gx
    >>> try:
    ...     gx.model.load("nowhere")
    ... except gx.InputError as error:
    ...     print(str(error)[:27])
    nowhere is not a saved mode
    """
    return model_class(_save.read_description(directory).model).load(directory, mdata)
