"""Signals that end a run: SIGTERM, of queues and containers, does what Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def interruption(signum: int) -> KeyboardInterrupt:
    """Return what is raised for a signal."""
    return Terminated() if signum == signal.SIGTERM else KeyboardInterrupt()


def signal_of(error: BaseException) -> int:
    """Return the signal for which `error` was raised, also where a library has made another error of it.

    Examples
    --------
    >>> signal_of(Terminated()) == signal.SIGTERM
    True
    """
    of = (error, error.__context__)
    return int(signal.SIGTERM if any(isinstance(e, Terminated) for e in of) else signal.SIGINT)


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], Any], *signals: int) -> Iterator[None]:
    """Let `handler` take signals for a while; does nothing outside of the main thread, which alone gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in signals}
    for signum in signals:
        signal.signal(signum, handler)
    try:
        yield
    finally:
        for signum, old in before.items():
            signal.signal(signum, signal.SIG_DFL if old is None else old)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end what runs as Ctrl-C does, and a second one at once."""

    def stop(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        raise Terminated

    with handled(stop, signal.SIGTERM):
        yield
