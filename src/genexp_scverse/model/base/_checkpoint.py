"""A training on disk, epoch by epoch, so that one that was killed goes on as if nothing had been."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._output import check_folder, recover, written
from genexp_scverse.model.base._plain_arrays import plain_archive, read_array, regular_file

FORMAT, STATE, ARRAYS = 1, "checkpoint.json", "arrays.npz"
_SAMPLE = 64
"""Pairs whose inputs and targets are compared with those of the training that was cut short."""


class Checkpoint(CheckpointIO):
    """What a training needs to go on, in a directory of JSON and plain arrays.

    A training is one fit after the other, of the stages of a model. Of those that are over the outcome is kept, of
    the one that runs the state after its last epoch. The directory is replaced at once after every epoch.

    Parameters
    ----------
    directory
        Where.
    identity
        What the training is: a checkpoint of another one is refused.
    """

    def __init__(self, directory: str | Path, identity: Mapping[str, Any]):
        self.directory = Path(directory)
        self.identity = {key: _plain(value) for key, value in identity.items()}
        self.done: list[dict[str, Any]] = []
        self.state: dict[str, Any] | None = None
        self._at = -1
        check_folder(self.directory)
        recover(self.directory)
        there = {p.name for p in self.directory.iterdir()} if self.directory.is_dir() else set()
        if not there <= {STATE, ARRAYS}:
            msg = f"{self.directory} is no checkpoint of a training (it holds {some(sorted(there))}): name another"
            raise InputError(msg)

    def next_fit(self, module: torch.nn.Module, tables: Any, pairs: np.ndarray) -> dict[str, Any] | None:
        """Begin a fit: return its outcome where it is over; `state` is set where it was cut short."""
        self._at += 1
        if self._at == 0:
            self.identity["inputs"] = _digest_of_inputs(module, tables, pairs)
            self._read()
            if self.done or self.state:
                self._check_weights(module)
        if self._at < len(self.done):
            return self.done[self._at]
        return None

    def finish_fit(self, outcome: dict[str, Any]) -> None:
        """Keep the outcome of a fit that is over."""
        self.done, self.state = [*self.done[: self._at], outcome], None
        self._write()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the state after an epoch; called by the trainer."""
        self.state = checkpoint
        self._write()

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Give the state of the fit that was cut short; called by the trainer."""
        assert self.state is not None
        return self.state

    def remove_checkpoint(self, path: Any) -> None:
        """Do nothing: there is one state at a time."""

    def _write(self) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
        arrays: dict[str, np.ndarray] = {}
        content = _encoded({"done": self.done, "state": self.state}, arrays)
        text = json.dumps({"format": FORMAT, "identity": self.identity, "content": content})
        try:
            with written(self.directory) as made:
                made.mkdir()
                np.savez(made / ARRAYS, **arrays)  # type: ignore[arg-type]
                (made / STATE).write_text(text, encoding="utf-8")
        except InputError as error:
            # a disk that is full now is no reason to lose the training
            logger.warning("%s; the training goes on, with the checkpoint of an earlier epoch", error)

    def _read(self) -> None:
        path = self.directory / STATE
        if not path.is_file():
            return
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            version, theirs = held["format"], dict(held["identity"])
            if version != FORMAT:
                msg = f"{path} is of another version of the package (format {version}): delete it to begin anew"
                raise InputError(msg)
            self._check_identity(theirs)
            with plain_archive(regular_file(self.directory / ARRAYS, self.directory)) as archive:
                arrays = {name.removesuffix(".npy"): read_array(archive, name) for name in archive.namelist()}
            content = _decoded(held["content"], arrays)
            done, state = list(content["done"]), content["state"]
            if not all(set(each) == {"weights", "records", "score", "epoch", "rng"} for each in done):
                raise KeyError("done")
            if not (state is None or {"state_dict", "optimizer_states", "training"} <= set(state)):
                raise KeyError("state")
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            msg = f"{path} cannot be read ({type(error).__name__}: {error}): it is damaged, delete it to begin anew"
            raise InputError(msg) from None
        self.done, self.state = done, state

    def _check_identity(self, theirs: dict[str, Any]) -> None:
        for key, mine in self.identity.items():
            other = theirs.get(key)
            if other == mine:
                continue
            what = f"its {key} differ"
            if isinstance(mine, dict) and isinstance(other, dict):
                name = next(k for k in [*mine, *other] if mine.get(k) != other.get(k))
                what = f"its {name} is {other.get(name)!r} and here it is {mine.get(name)!r}"
            elif isinstance(mine, str | int) and key not in ("data", "inputs", "weights"):
                what = f"its {key} is {other!r} and here it is {mine!r}"
            msg = (
                f"{self.directory} holds a checkpoint of another training ({what}): go on with the data and arguments "
                "that it began with, or delete it to begin anew"
            )
            raise InputError(msg)

    def _check_weights(self, module: torch.nn.Module) -> None:
        shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
        held = [each["weights"] for each in self.done]
        moments: list[Any] = []
        if self.state is not None:
            held.append({k.removeprefix("module."): v for k, v in self.state["state_dict"].items()})
            for optimizer in self.state["optimizer_states"]:
                moments += [v for of in optimizer["state"].values() for v in of.values() if torch.is_tensor(v)]
        _of = {(), *(tuple(p.shape) for p in module.parameters())}
        fits = all({k: tuple(v.shape) for k, v in weights.items()} == shapes for weights in held)
        if not fits or not all(tuple(v.shape) in _of for v in moments):
            msg = f"{self.directory} holds weights of another network: it is damaged, delete it to begin anew"
            raise InputError(msg)


def remove_checkpoint(directory: Path) -> None:
    """Delete the checkpoint of a training, and of the members of an ensemble, and nothing else."""
    for part in [*directory.iterdir(), directory]:
        if not part.is_dir():
            continue
        for name in (STATE, ARRAYS):
            (part / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            part.rmdir()


def digest(*parts: Any) -> str:
    """Return what tells apart arrays, tensors and plain values: 32 hexadecimal digits."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            made.update(f"{part.dtype}{part.shape}".encode())
            made.update(np.ascontiguousarray(part).tobytes())
        else:
            made.update(json.dumps(part, sort_keys=True, default=str).encode())
    return made.hexdigest()


def digest_of_weights(module: torch.nn.Module) -> str:
    """Return what tells apart the states of a network."""
    return digest(*(part for item in sorted(module.state_dict().items()) for part in item))


def _digest_of_inputs(module: torch.nn.Module, tables: Any, pairs: np.ndarray) -> str:
    at = np.unique(np.linspace(0, len(pairs) - 1, _SAMPLE).astype(int))
    device = next(module.parameters()).device
    genes, samples = torch.as_tensor(pairs[at]).to(device).T
    gathered = tables.to(device).gather(genes, samples)
    return digest(*(part for item in sorted(gathered.items()) for part in item))


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, default=str))


def _encoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Plain values as they are, with tensors put into `arrays`; a dictionary of JSON always says what it stands for."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        name = str(len(arrays))
        arrays[name] = value.detach().cpu().numpy()
        return {"array": name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {"items": [[_encoded(k, arrays), _encoded(v, arrays)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(v, arrays) for v in value]}
    if isinstance(value, Iterable):
        return [_encoded(v, arrays) for v in value]
    msg = f"a checkpoint cannot keep {type(value).__name__}, as one of the callbacks asks: leave the callback out"
    raise InputError(msg)


def _decoded(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decoded(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "array":
        return torch.from_numpy(np.array(arrays[held]))
    if kind == "tuple":
        return tuple(_decoded(v, arrays) for v in held)
    if kind == "items":
        return {_decoded(k, arrays): _decoded(v, arrays) for k, v in held}
    raise KeyError(kind)
