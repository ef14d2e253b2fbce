"""Callbacks of training: keep the best epoch, stop without loss."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping

from genexp_scverse._logging import logger
from genexp_scverse._signals import handled, interruption

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class KeepBest(lightning.Callback):
    """Remember the weights of the epoch with the highest ``valid_score`` and put them back at the end.

    Epochs in which the module is not settled do not count.

    Parameters
    ----------
    offset
        Number of epochs of earlier training.
    """

    def __init__(self, offset: int = 0):
        self.best_score, self.best_epoch, self._offset = float("-inf"), 0, offset
        self._weights: dict[str, torch.Tensor] | None = None

    def start_from(self, module: torch.nn.Module, score: float, epoch: int) -> None:
        """Count the present weights with their score on the present validation genes."""
        self.best_score, self.best_epoch, self._weights = score, epoch, _copy(module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Copy the weights when the score has risen."""
        if not pl_module.module.settled:
            return
        score = pl_module.validation["valid_score"]
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self._offset + trainer.current_epoch + 1
            self._weights = _copy(pl_module.module)

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps."""
        return {"score": self.best_score, "epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint has kept."""
        self.best_score, self.best_epoch = state_dict["score"], state_dict["epoch"]
        self._weights = state_dict["weights"]

    def restore(self, module: torch.nn.Module) -> None:
        """Load the best weights into `module`; where no epoch counted the last ones stay."""
        if self._weights is not None:
            module.load_state_dict(self._weights)


class StopEarly(EarlyStopping):
    """Stop when ``valid_score`` has not risen for `patience` epochs in which the module was settled."""

    # Lightning's own: that of scvi-tools prints to standard output
    def __init__(self, patience: int):
        # after validation, so that a checkpoint at the end of the epoch knows of it
        super().__init__("valid_score", mode="max", patience=patience, strict=False, check_on_train_epoch_end=False)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Compare scores, as Lightning does."""
        if pl_module.module.settled:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Compare scores where Lightning does so after validation."""
        if pl_module.module.settled:
            super().on_validation_end(trainer, pl_module)


def _copy(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}


class Interruptible(lightning.Callback):
    """Let Ctrl-C and SIGTERM end the training after the current step, and a second signal at once.

    Attributes
    ----------
    pressed
        The signals that came.
    """

    def __init__(self):
        self.pressed: list[int] = []
        self._trainer: lightning.Trainer | None = None

    @contextlib.contextmanager
    def watching(self, trainer: lightning.Trainer) -> Iterator[list[int]]:
        """Take the signals while the block runs."""
        self._trainer = trainer
        with handled(self._stop, *_SIGNALS):
            yield self.pressed

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take SIGTERM back from Lightning, which makes an exit without an error of it."""
        if self._trainer is not None and threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                signal.signal(signum, self._stop)

    def _stop(self, signum: int, frame: Any) -> None:
        self.pressed.append(signum)
        if len(self.pressed) > 1 or self._trainer is None:
            raise interruption(signum)
        self._trainer.should_stop = True
        logger.warning(
            "%s: training ends after this epoch's step and keeps the best epoch so far",
            "Terminated" if signum == signal.SIGTERM else "Interrupted",
        )
