"""Whatever FFmpeg opens, as a source of frames: files, cameras, streams, standard input."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Iterator
from typing import Self

from av.error import FFmpegError

from pipeline.errors import SourceBroken, SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.sources.clock import Clock
from pipeline.sources.config import SourceConfig
from pipeline.sources.container import Connection, Picture
from pipeline.sources.deinterlace import deinterlace
from pipeline.sources.inputs import Input, Kind, lost_words
from pipeline.sources.pace import Pace
from pipeline.sources.picture import Converter, fit

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 8.0
STEADY_S = 10.0
"""A stream lost again sooner than this still counts as lost: its time to come back is not
renewed."""

EARLY_S = 2.0
"""A file whose pictures end so long before the time it claims gets a warning."""

_UNKNOWN_RATE = 25.0
_TINY_S = 1e-6  # timestamps are compared a little below their value: they are rounded


class VideoSource:
    """Frames of one input. Opened by its constructor; read once, by one thread.

    `close` may be called from any thread: it ends the waits for a lost stream and for the pace
    of a file played live, and leaves the container to the thread that reads it.

    Raises:
        SourceError: If the input cannot be opened, or has no frame at or after `start_s`.
    """

    def __init__(self, source: Input, config: SourceConfig) -> None:
        self._source = source
        self._config = config
        self._closing = threading.Event()
        self._owner = threading.Lock()  # held by the one who may use the connection
        self._connection = Connection(source, config, self._closing)
        self._away_s, self._retry_s, self._back_at = 0.0, FIRST_RETRY_S, -math.inf
        try:
            self._converter = Converter(is_camera=source.kind is Kind.CAMERA)
            image = self._converter(self._connection.first)
            self.info = _describe(self._connection, source, config, image.shape[:2])
            self._clock = Clock(
                1 / float(self.info.rate or _UNKNOWN_RATE),
                self._connection.stamp_s(self._connection.first),
            )
            self._go_to_start()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading. Twice is once."""
        self._closing.set()
        if self._owner.acquire(blocking=False):
            self._connection.close()
            self._owner.release()

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames, in order.

        Raises:
            SourceBroken: If the source is lost.
        """
        with self._owner:
            try:
                if not self._closing.is_set():
                    yield from self._frames()
            finally:
                self._closing.set()
                self._connection.close()

    def _frames(self) -> Iterator[Frame]:
        start_s = self._config.start_s - _TINY_S
        end_s = start_s + (self._config.duration_s or float("inf"))
        pace = Pace(self._closing) if self._is_played() else None
        index = lost = 0
        for picture, lost_now in self._pictures():
            captured_s = time.perf_counter()
            time_s = self._clock.time_s(self._connection.stamp_s(picture))
            if self._closing.is_set() or time_s >= end_s:
                break
            if time_s < start_s:
                continue
            lost += lost_now if index or self._config.start_s == 0 else 0  # not what was skipped
            try:
                image = fit(self._converter(picture), self.info.width, self.info.height)
            except (FFmpegError, ValueError) as error:  # damaged, but not so that decoding noticed
                log.debug("%s: no picture at %.2f s: %s", self._source.label, time_s, error)
                lost += 1
                continue
            if pace is not None:
                captured_s = pace.wait(time_s)
            yield Frame(index, time_s, image, captured_s, lost)
            index, lost = index + 1, 0
        else:
            self._warn_of_what_is_missing(lost)
        if index == 0 and not self._closing.is_set():
            raise SourceError(
                f"{self._source.kind.value} {self._source.label!r} has no frame in the part asked "
                f"for; it ends at {self._clock.last_s:.2f} s, start_s is {self._config.start_s:g}"
            )

    def _warn_of_what_is_missing(self, lost: int) -> None:
        lost += self._connection.lost_at_end
        if lost and not self._closing.is_set():
            log.warning("%s: the last %d frames cannot be decoded", self._source.label, lost)
        claimed_s, end_s = self._connection.duration_s, self._clock.last_s
        if (
            self._source.kind is Kind.FILE
            and not self._closing.is_set()
            and claimed_s
            and claimed_s - end_s > EARLY_S
        ):
            log.warning(
                "%s shows its last picture at %.1f s though it says it lasts %.1f s: it is cut off "
                "or damaged",
                self._source.label,
                end_s,
                claimed_s,
            )

    def _pictures(self) -> Iterator[Picture]:
        """Give the pictures of this connection, and of those that follow when it is lost."""
        weave = self._config.deinterlace
        missed = 0
        seen_at = time.perf_counter()
        while True:
            error: FFmpegError | None = None
            try:
                pictures = self._connection.pictures()
                for picture, lost in deinterlace(pictures) if weave else pictures:
                    seen_at = time.perf_counter()
                    yield picture, lost + missed
                    missed = 0
            except FFmpegError as caught:
                error = caught
            if self._closing.is_set() or (error is None and self._has_an_end()):
                return
            if not self._reconnects():
                raise self._broken(lost_words(self._source, error))
            if not self._reconnect(lost_words(self._source, error), seen_at):
                return
            gap_s = time.perf_counter() - seen_at
            self._clock.resume(gap_s)
            missed = max(1, round(gap_s / self._clock.interval_s))

    def _reconnect(self, why: str, seen_at: float) -> bool:
        """Open the lost stream again, waiting longer after each failure.

        Args:
            why: it was lost.
            seen_at: when its last picture came.

        Returns:
            False if the source was closed meanwhile.

        Raises:
            SourceBroken: If it does not come back within `reconnect_s`.
        """
        label = self._source.label
        self._connection.close()
        lost_at = time.perf_counter()
        if seen_at - self._back_at > STEADY_S:
            self._away_s, self._retry_s = 0.0, FIRST_RETRY_S
        limit_s = max(0.0, self._config.reconnect_s - self._away_s)
        if limit_s > 0:
            log.warning("%s: lost (%s); trying again for %.3g s", label, why, limit_s)
        while (left_s := lost_at + limit_s - time.perf_counter()) > 0:
            if self._closing.wait(min(self._retry_s * random.uniform(0.5, 1.0), left_s)):
                return False
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
            try:
                self._connection = Connection(self._source, self._config, self._closing)
            except SourceError as error:
                if self._closing.is_set():
                    return False
                log.info("%s", error)
                continue
            self._back_at = time.perf_counter()
            away_s = self._back_at - lost_at
            self._away_s += away_s
            first = self._connection.first
            log.warning("%s: back after %.1f s, %dx%d", label, away_s, first.width, first.height)
            return True
        to_stay = " to stay" if self._away_s else ""
        raise self._broken(
            f"{why}, and it did not come back{to_stay} within {self._config.reconnect_s:g} s"
        )

    def _broken(self, why: str) -> SourceBroken:
        return SourceBroken(f"{self._source.kind.value} {self._source.label!r} broke off: {why}")

    def _reconnects(self) -> bool:
        connection = self._connection
        is_endless = connection.duration_s is None and not connection.is_sized
        return is_endless and self._source.kind is Kind.STREAM and self._config.reconnect_s > 0

    def _has_an_end(self) -> bool:
        """Tell whether the end of what comes is the end of the source."""
        if self._source.kind is Kind.CAMERA:
            return False
        return self._connection.is_pieced or not self._reconnects()

    def _is_played(self) -> bool:
        """Tell whether this comes faster than life but should not."""
        in_bursts = self._source.kind in (Kind.FILE, Kind.GRAPH) or self._connection.is_pieced
        return self.info.is_live and in_bursts

    def _go_to_start(self) -> None:
        if self._config.start_s == 0:
            return
        if self.info.is_live and self._source.kind in (Kind.CAMERA, Kind.STREAM):
            raise SourceError(
                f"{self._source.kind.value} {self._source.label!r} is live: it has no past to "
                "skip; start_s should be 0"
            )
        self._connection.seek(self._config.start_s)


def _describe(
    connection: Connection, source: Input, config: SourceConfig, size: tuple[int, int]
) -> VideoInfo:
    first = connection.first
    rate = connection.rate
    count: int | None = connection.stream.frames or None
    duration_s = _part_s(connection.duration_s, config)
    if rate and duration_s is not None and (count is None or duration_s != connection.duration_s):
        count = round(duration_s * rate)
    return VideoInfo(
        name=source.name,
        width=size[1],
        height=size[0],
        is_live=connection.is_live,
        rate=rate,
        frame_count=count,
        duration_s=duration_s,
        origin_s=connection.stamp_s(first) or 0.0,
        time_base=connection.stream.time_base,
        colour={
            "colorspace": int(first.colorspace),
            "color_range": int(first.color_range),
            "color_primaries": int(first.color_primaries),
            "color_trc": int(first.color_trc),
        },
    )


def _part_s(total_s: float | None, config: SourceConfig) -> float | None:
    """Return the length of the part asked for, as far as it is known."""
    if total_s is None:
        return config.duration_s
    rest_s = max(total_s - config.start_s, 0.0)
    return rest_s if config.duration_s is None else min(rest_s, config.duration_s)
