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

    def restore(self, module: torch.nn.Module) -> None:
        """Load the best weights into `module`; where no epoch counted the last ones stay."""
        if self._weights is not None:
            module.load_state_dict(self._weights)


class StopEarly(EarlyStopping):
    """Stop when ``valid_score`` has not risen for `patience` epochs in which the module was settled."""

    # Lightning's own: that of scvi-tools prints to standard output
    def __init__(self, patience: int):
        super().__init__("valid_score", mode="max", patience=patience, strict=False)

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


@contextlib.contextmanager
def interruptible(trainer: lightning.Trainer) -> Iterator[list[int]]:
    """Let Ctrl-C end the training after the current step; a second one ends it at once.

    Yields a list that holds the signal when there was one.
    """
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(signum, frame) -> None:
        if trainer.should_stop:
            signal.signal(signal.SIGINT, before)
            raise KeyboardInterrupt
        trainer.should_stop = True
        pressed.append(signum)
        logger.warning("Interrupted: training ends after this epoch's step and keeps the best epoch so far")

    signal.signal(signal.SIGINT, stop)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
