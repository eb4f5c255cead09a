"""Reads a source on a thread of its own, ahead of whoever wants the frames."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator
from typing import Self

from pipeline.channel import Channel, Closed, Policy
from pipeline.frames import Frame, VideoInfo
from pipeline.sources import Source

log = logging.getLogger(__name__)

FILE_CAPACITY = 3
"""Frames that wait for the consumer of a file: enough to even out, few enough to hold."""

JOIN_TIMEOUT_S = 2.0
"""How long `close` waits for the thread. FFmpeg cannot be woken from a read that blocks (a camera
or stream that went silent); the thread is a daemon, and closes the source when the read returns."""


class FrameReader:
    """Frames of a source, decoded on a thread: `for frame in reader`.

    Of a file every frame arrives (the thread waits when it is ahead); of a live source the newest
    one, and each frame's `dropped_before` counts what was passed over or lost before it. An error
    of the thread is raised in the consumer after the last good frame.
    """

    def __init__(self, source: Source) -> None:
        self.info: VideoInfo = source.info
        self._source = source
        live = source.info.is_live
        # A frame goes with the number of frames that the source lost until then.
        self._channel: Channel[tuple[Frame, int]] = Channel(
            capacity=1 if live else FILE_CAPACITY, policy=Policy.LATEST if live else Policy.WAIT
        )
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames until the source ends.

        Raises:
            SourceBroken: If the source is lost.
        """
        passed = lost_before = 0
        for frame, lost in self._channel:
            dropped = frame.index - passed + lost - lost_before
            passed, lost_before = frame.index + 1, lost
            yield (
                frame
                if dropped == frame.dropped_before
                else dataclasses.replace(frame, dropped_before=dropped)
            )

    def close(self) -> None:
        """Stop the thread and close the source. Twice is once."""
        self._channel.cancel()
        self._source.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_TIMEOUT_S)
            if self._thread.is_alive():
                log.warning("%s does not answer; left behind", self.info.name)

    def _read(self) -> None:
        lost = 0
        try:
            for frame in self._source:
                lost += frame.dropped_before
                self._channel.put((frame, lost))
        except Closed:
            pass
        except BaseException as error:
            self._channel.close(error)
        finally:
            self._channel.close()
            self._source.close()


def read_frames(source: Source) -> FrameReader:
    """Return a reader of `source`, to be used in a `with`; it closes the source too."""
    return FrameReader(source)
