"""A recording shown at its own pace, like a camera."""

from __future__ import annotations

import threading
import time


class Pace:
    """Lets frames pass no sooner than their times say, counted from the first."""

    def __init__(self, closing: threading.Event) -> None:
        self._closing = closing
        self._zero_s: float | None = None

    def wait(self, time_s: float) -> float:
        """Wait for the moment of `time_s` and return it; returns at once when closing."""
        if self._zero_s is None:
            self._zero_s = time.perf_counter() - time_s
        self._closing.wait(max(self._zero_s + time_s - time.perf_counter(), 0.0))
        return time.perf_counter()
