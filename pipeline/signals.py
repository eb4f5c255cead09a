"""SIGINT and SIGTERM: the first ends a run as at the end of its source, the second the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pipeline.stats import RunStats


@contextmanager
def stopping(close: Callable[[], None], stats: RunStats) -> Iterator[Callable[[], None]]:
    """A function that ends the source; while this is open, the first signal calls it."""
    # On a thread: a signal may have come while this one holds the lock that `close` needs.
    stats.on_stop(lambda: threading.Thread(target=close, name="stop", daemon=True).start())
    with stopped_by_signals(stats):
        yield stats.stop


@contextmanager
def stopped_by_signals(*streams: RunStats) -> Iterator[None]:
    """While this is open, the first signal ends these runs, the second the program as usual."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if all(stats.stopped for stats in streams):
            raise KeyboardInterrupt
        for stats in streams:
            stats.stop()

    with handling(on_signal):
        yield


@contextmanager
def handling(on_signal: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call `on_signal`. Elsewhere than on the main thread: do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
