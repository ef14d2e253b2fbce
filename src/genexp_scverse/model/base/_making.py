"""Make and train models by name, for what works over several: ensembles, comparisons, curves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from genexp_scverse._errors import InputError, no_such
from genexp_scverse._signals import interruption
from genexp_scverse.model.base._model import GeneModel
from genexp_scverse.model.base._registry import model_class

if TYPE_CHECKING:
    from mudata import MuData


class Recipe(NamedTuple):
    """How to make a model: its class, setting and hyperparameters."""

    cls: type[GeneModel]
    setting: str
    hyperparameters: dict[str, Any]

    @property
    def plain(self) -> dict[str, Any]:
        """The same as a dictionary of plain values."""
        return {"model": self.cls.__name__, "setting": self.setting, **self.hyperparameters}


def read_recipe(given: str | Mapping[str, Any] | GeneModel) -> Recipe:
    """Read a name, ``{"model": name, "setting": ..., hyperparameters}``, or what a model was made with.

    Raises for a name that is not registered, a dictionary without one, and hyperparameters that the class lacks.
    """
    if isinstance(given, GeneModel):
        return Recipe(type(given), given.setting, dict(given.hyperparameters_))
    if isinstance(given, str):
        return Recipe(model_class(given), "default", {})
    if not isinstance(given, Mapping) or not isinstance(given.get("model"), str):
        msg = f'{given!r} is no model: give a name such as "DeepChrome", or {{"model": "DeepChrome", "dropout": 0.3}}'
        raise InputError(msg)
    cls = model_class(given["model"])
    hyperparameters = {k: v for k, v in given.items() if k not in ("model", "setting")}
    unknown = [k for k in hyperparameters if k not in cls.defaults()]
    if unknown:
        raise InputError(no_such("argument", unknown[0], cls.defaults(), where=f"of {cls.__name__}"))
    return Recipe(cls, str(given.get("setting", "default")), hyperparameters)


def new_model(recipe: Recipe, mdata: MuData, setup: Mapping[str, Any], *, seed: int) -> GeneModel:
    """Make a model of `mdata` with the arguments `setup` of ``setup_mudata``, and leave the user's own setup alone."""
    cls = recipe.cls
    registered = cls._setup_adata_manager_store
    before = registered.get(mdata.uns.get("_scvi_uuid", ""))
    cls.setup_mudata(mdata, **setup)
    try:
        return cls(mdata, setting=recipe.setting, seed=seed, **recipe.hyperparameters)
    finally:
        identity = mdata.uns["_scvi_uuid"]
        if before is not None and before.adata is mdata:
            registered[identity] = before
        else:
            registered.pop(identity, None)


def taken_options(model: GeneModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that training `model` takes: without epochs there is no ``max_epochs``.

    An ensemble takes what one of its members takes.
    """
    members = getattr(model, "members", None)
    if members:
        return {k: v for k, v in options.items() if k == "seed" or any(taken_options(m, {k: v}) for m in members)}
    known = inspect.signature(model.train).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        return dict(options)
    return {k: v for k, v in options.items() if k in known}


def train_whole(model: GeneModel, **options: Any) -> None:
    """Train with those of the options that the model takes; raise KeyboardInterrupt when a signal cut it short.

    A network by itself keeps its best epoch so far and returns, which is no end for what trains several.
    """
    model.train(**taken_options(model, options))
    if model.stopped_by is not None:
        raise interruption(model.stopped_by)
