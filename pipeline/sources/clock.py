"""Timestamps of a source made into seconds that always increase."""

from __future__ import annotations

DISCONTINUITY_S = 1.0
"""A step back by more than this is a clock set anew, not one bad timestamp."""


class Clock:
    """Presentation time in seconds: 0 at `origin_s`, strictly increasing from frame to frame.

    Good timestamps pass unchanged, so that variable frame rates and gaps stay as they are. A
    timestamp that is missing, or not later than that of the frame before, becomes the time of
    the frame before plus one frame interval. After a step back by more than
    `DISCONTINUITY_S` the timestamps count on from there.

    Args:
        interval_s: Frame interval to use where the timestamps do not tell.
        origin_s: Timestamp that becomes 0; None: the first that there is.
    """

    def __init__(self, interval_s: float, origin_s: float | None = None) -> None:
        self.interval_s = interval_s
        self._last_s: float | None = None
        self._offset_s = None if origin_s is None else -origin_s

    @property
    def last_s(self) -> float:
        """Time of the last frame; 0 before the first."""
        return self._last_s or 0.0

    def time_s(self, stamp_s: float | None) -> float:
        """Return the time of the next frame.

        Args:
            stamp_s: Its timestamp in seconds on the container's clock, None where it has none.
        """
        time_s = self._on_this_clock(stamp_s)
        if self._last_s is not None and (time_s is None or time_s <= self._last_s):
            time_s = self._last_s + self.interval_s
        self._last_s = time_s or 0.0
        return self._last_s

    def resume(self, gap_s: float) -> None:
        """Take the next timestamp, whatever it is, as `gap_s` after the last frame."""
        if self._last_s is not None:
            self._last_s += max(gap_s - self.interval_s, 0.0)
        self._offset_s = None

    def _on_this_clock(self, stamp_s: float | None) -> float | None:
        if stamp_s is None:
            return None
        if self._offset_s is None or self._stepped_back(stamp_s + self._offset_s):
            start_s = 0.0 if self._last_s is None else self._last_s + self.interval_s
            self._offset_s = start_s - stamp_s
        return stamp_s + self._offset_s

    def _stepped_back(self, time_s: float) -> bool:
        return self._last_s is not None and time_s < self._last_s - DISCONTINUITY_S
