"""Calls that may never return: FFmpeg cannot be woken from a camera that went silent."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import av.error

T = TypeVar("T")

_LOOK_EVERY_S = 0.1

_CLEAN_UP_S = 2.0
"""How long `finish` waits for what it was given."""


class Watchdog:
    """Makes calls on a thread of its own, one after another, and does not wait for ever.

    A call that takes too long is left behind: its thread is a daemon, and what `finish` is given
    happens when the call returns, if it ever does.

    Args:
        closing: Set by whoever wants no more: the call that waits ends at once.
    """

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._left_behind = False
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ffmpeg", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T], limit_s: float) -> T:
        """Return what `function` returns, or raise what it raises.

        Raises:
            av.error.TimeoutError: If that takes longer than `limit_s`.
            av.error.ExitError: If `closing` is set meanwhile.
        """
        result: Future[T] = Future()
        self._calls.put(lambda: _settle(result, function))
        end_s = time.perf_counter() + limit_s
        self._left_behind = True  # should anything be raised here
        while not _is_done(result, min(_LOOK_EVERY_S, end_s - time.perf_counter())):
            if self._closing.is_set():
                raise av.error.ExitError(errno.ECANCELED, "closed")
            if time.perf_counter() >= end_s:
                raise av.error.TimeoutError(errno.ETIMEDOUT, "nothing came in time")
        self._left_behind = False
        return result.result()

    def finish(self, clean_up: Callable[[], None]) -> None:
        """Make a last call, and end the thread. Waits for both unless a call was left behind."""
        self._calls.put(clean_up)
        self._calls.put(None)
        if not self._left_behind:
            self._thread.join(_CLEAN_UP_S)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # and with it what it holds, before the next one is waited for


def _settle(result: Future[T], function: Callable[[], T]) -> None:
    try:
        result.set_result(function())
    except BaseException as error:
        result.set_exception(error)


def _is_done(result: Future[T], limit_s: float) -> bool:
    try:
        result.exception(max(limit_s, 0.0))
    except TimeoutError:
        return result.done()
    return True
