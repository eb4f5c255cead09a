"""Whole pictures from interlaced ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
import av.filter

from pipeline.sources.container import Picture


def deinterlace(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Give the same pictures with the same timestamps, those marked as interlaced made whole.

    Pictures pass untouched until the first that is marked; from there on each waits for the next
    one, since FFmpeg's `bwdif` looks at both neighbours.
    """
    woven: _Weave | None = None
    for picture, lost in pictures:
        if woven is not None and not woven.takes(picture):
            yield from woven.end()
            woven = None
        if woven is None and picture.interlaced_frame and _is_large_enough(picture):
            woven = _Weave(picture)
        if woven is None:
            yield picture, lost
        else:
            yield from woven.push(picture, lost)
    if woven is not None:
        yield from woven.end()


class _Weave:
    """FFmpeg's filter for pictures of one size and format: one comes out for each put in."""

    def __init__(self, picture: av.VideoFrame) -> None:
        self._shape = _shape(picture)
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=picture.width,
            height=picture.height,
            format=picture.format,
            time_base=Fraction(1, 1000),  # of no effect: timestamps are put back
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        source.link_to(bwdif)
        bwdif.link_to(self._graph.add("buffersink"))
        self._graph.configure()
        self._waiting: deque[tuple[int | None, int]] = deque()  # pts, lost

    def takes(self, picture: av.VideoFrame) -> bool:
        return _shape(picture) == self._shape

    def push(self, picture: av.VideoFrame, lost: int) -> Iterator[Picture]:
        self._waiting.append((picture.pts if picture.pts is not None else picture.dts, lost))
        self._graph.vpush(picture)
        return self._pull()

    def end(self) -> Iterator[Picture]:
        self._graph.vpush(None)
        return self._pull()

    def _pull(self) -> Iterator[Picture]:
        while True:
            try:
                picture = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return
            picture.pts, lost = self._waiting.popleft()
            yield picture, lost


def _is_large_enough(picture: av.VideoFrame) -> bool:
    """Whether `bwdif` takes it."""
    return bool(picture.width >= 3 and picture.height >= 4)


def _shape(picture: av.VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name
