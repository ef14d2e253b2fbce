"""Callbacks of training: keep the best epoch, stop without loss."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import lightning
import pandas as pd
import torch

from genexp_scverse._logging import logger


class KeepBest(lightning.Callback):
    """Remember the weights of the epoch with the highest ``valid_score`` and put them back at the end.

    Parameters
    ----------
    module
        The network, whose present weights count with the best score so far.
    before
        History of earlier training, None when there was none.
    """

    def __init__(self, module: torch.nn.Module, before: pd.DataFrame | None = None):
        self.best_score, self.best_epoch, self._offset = float("-inf"), 0, 0
        self._weights: dict[str, torch.Tensor] | None = None
        if before is not None:
            self._offset = len(before)
            if "valid_score" in before and before["valid_score"].notna().any():
                self.best_score, self.best_epoch = before["valid_score"].max(), int(before["valid_score"].idxmax())
                self._weights = _copy(module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Copy the weights when the score has risen."""
        score = pl_module.validation["valid_score"]
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self._offset + trainer.current_epoch + 1
            self._weights = _copy(pl_module.module)

    def restore(self, module: torch.nn.Module) -> None:
        """Load the best weights into `module`; without validation the last ones stay."""
        if self._weights is not None:
            module.load_state_dict(self._weights)


def _copy(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}


@contextlib.contextmanager
def interruptible(trainer: lightning.Trainer) -> Iterator[None]:
    """Let Ctrl-C end the training after the current step; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(signum, frame) -> None:
        if trainer.should_stop:
            signal.signal(signal.SIGINT, before)
            raise KeyboardInterrupt
        trainer.should_stop = True
        logger.warning("Interrupted: training ends after this epoch's step and keeps the best epoch so far")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
