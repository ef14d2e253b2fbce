"""Models that are written to a directory and read back."""

from __future__ import annotations

from abc import abstractmethod
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch
from torch.overrides import TorchFunctionMode

from genexp_scverse._errors import InputError, some
from genexp_scverse.model.base import _save
from genexp_scverse.model.base._description import Description, check_kinds
from genexp_scverse.model.base._registered import RegisteredModel

if TYPE_CHECKING:
    from mudata import MuData


class SavedModel(RegisteredModel):
    """A model that is described by plain values, and by the arrays of `_files` that `_restore` reads."""

    setting: str
    seed: int
    hyperparameters_: dict[str, Any]
    fitted_: dict[str, Any]
    history_: Any
    needs_fitted: ClassVar[tuple[str, ...]] = ()
    """What a trained model of this class has in `fitted_`, besides what all have."""

    @abstractmethod
    def _files(self) -> dict[str, Any]: ...

    @abstractmethod
    def _restore(self, directory: Path) -> None: ...

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the model to a directory of JSON and plain arrays.

        Parameters
        ----------
        directory
            Where; it is written whole or not at all.
        overwrite
            Replace a model that is there.

        Raises
        ------
        InputError
            When the model is untrained, or the directory exists and is not to be overwritten.
        """
        self._need_trained()
        history = None if self.history_ is None else self.history_.to_dict(orient="list")
        description = {
            "model": type(self).__name__,
            "package": version("genexp-scverse"),
            "setting": self.setting,
            "seed": self.seed,
            "hyperparameters": self.hyperparameters_,
            "setup": self.setup_,
            "fitted": self.fitted_,
            "history": history,
        }
        _save.write_model(directory, description, self._files(), overwrite=overwrite)

    @classmethod
    def load(cls, directory: str | Path, mdata: MuData | None = None) -> Any:
        """Read a model that :meth:`save` wrote; nothing that the files carry is executed.

        Parameters
        ----------
        directory
            The model's directory.
        mdata
            A MuData to use it with; may also be given to :meth:`predict` and :meth:`evaluate` later.

        Returns
        -------
        The model, predicting the same numbers.

        Raises
        ------
        InputError
            When the directory is no model, is damaged, holds another class, or values that no training leaves.
        """
        directory = Path(directory)
        d = _save.read_description(directory)
        if d.model != cls.__name__:
            msg = f"{directory} holds a {d.model}, not a {cls.__name__}: use gx.model.load"
            raise InputError(msg)
        try:
            with _NothingDrawn():
                # what the files have to be is known from a network without memory, so that no giant one is made
                with torch.device("meta"):
                    cls._described(d)._check_files(directory)
                model = cls._described(d)
            if lacking := [k for k in cls.needs_fitted if k not in model.fitted_]:
                msg = f'{directory / _save.DESCRIPTION} lacks {some(lacking)} under "fitted": save the model again'
                raise InputError(msg)
            model._restore(directory)
        except InputError:
            raise
        except Exception as error:
            why = " ".join(f"{type(error).__name__} {error}".split())[:200]
            msg = f"{directory} holds no {d.model} that can be made ({why}): it is damaged, save the model again"
            raise InputError(msg) from error
        model.is_trained_ = True
        if mdata is not None:
            model.adata = mdata
        return model

    @classmethod
    def _described(cls, description: Description) -> Any:
        """Make the model that a file describes, as it was before its arrays."""
        setup = description.setup.to_json()
        hyper = {**description.hyperparameters, "target": setup["target"]}
        check_kinds(cls.defaults(), hyper)
        registry = {"genexp_setup": setup}
        model = cls(setting=description.setting, seed=description.seed, registry=registry, **hyper)  # type: ignore[call-arg]
        model.fitted_ = description.fitted.to_json()
        model.history_ = None if description.history is None else as_history(description.history)
        return model

    def _check_files(self, directory: Path) -> None:
        """Raise where files are not those of this model, before it takes memory; it may be on the device meta."""

    def _need_trained(self) -> None:
        if not self.is_trained_:
            msg = f"this {type(self).__name__} is not trained: call model.train() first"
            raise InputError(msg)


class _NothingDrawn(TorchFunctionMode):
    """Leave parameters of a new network as they are: they are read from a file."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if getattr(function, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


def as_history(columns: dict[str, list]) -> pd.DataFrame:
    n_epochs = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=pd.RangeIndex(1, n_epochs + 1, name="epoch"))
