"""Small real implementations of the seams: nothing here needs a network, a camera or a screen."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from pipeline.frames import Frame
from trackers.detections import Detections
from trackers.masks import Masks
from trackers.tracks import Tracks


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> Masks:
    """One round mask in a picture of `size` (H, W), cropped."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    inside = (cols - centre[0]) ** 2 + (rows - centre[1]) ** 2 <= radius**2
    return Masks.from_dense(inside[None])


def moving_discs(size: tuple[int, int], time_s: float, count: int = 3) -> Masks:
    """`count` discs that drift to the right, one below the other."""
    height, width = size
    discs = []
    for i in range(count):
        x = (0.2 + 0.1 * i) * width + 20.0 * time_s
        y = (i + 0.5) / count * height
        discs.append(disc(size, (x, y), 0.35 * height / count))
    return join(discs, size)


def join(parts: Sequence[Masks], size: tuple[int, int]) -> Masks:
    """All masks of several `Masks` of the same picture."""
    if not parts:
        return Masks.empty(size)
    offsets = np.concatenate([part.offsets for part in parts])
    return Masks(size, offsets, tuple(crop for part in parts for crop in part.crops))


def boxes_of(masks: Masks) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """`(N, 4)` x1, y1, x2, y2 of each crop."""
    sides = np.array([crop.shape[::-1] for crop in masks.crops], np.int32).reshape(-1, 2)
    return np.concatenate([masks.offsets, masks.offsets + sides], axis=1).astype(np.float32)


def detections_of(masks: Masks, score: float = 0.9) -> Detections:
    """Detections with these masks, all of one score."""
    return Detections(boxes_of(masks), np.full(len(masks), score, np.float32), masks)


def tracks_of(
    masks: Masks, ids: Sequence[int] | None = None, coasting: Sequence[bool] | None = None
) -> Tracks:
    """Tracks with these masks; ids from 1 where none are given."""
    n = len(masks)
    return Tracks(
        ids=np.array(range(1, n + 1) if ids is None else ids, np.int64),
        boxes=boxes_of(masks),
        scores=np.full(n, 0.9, np.float32),
        coasting=np.array([False] * n if coasting is None else coasting, bool),
        velocities=np.zeros((n, 2), np.float32),
        ages_s=np.ones(n, np.float32),
        masks=masks,
    )


class ScriptedDetector:
    """Sees in a frame what a function of the frame says.

    Args:
        script: what is in a frame; by default three drifting discs.
        before: called first, on the detecting thread: to be slow, to wait, to fail.
        concurrency: how many threads may call `detect` at a time.
    """

    description = "a script"

    def __init__(
        self,
        script: Callable[[Frame], Detections] | None = None,
        before: Callable[[Frame], None] | None = None,
        concurrency: int = 1,
    ) -> None:
        self._script = script or (
            lambda frame: detections_of(moving_discs((frame.height, frame.width), frame.time_s))
        )
        self._before = before
        self._lock = threading.Lock()
        self.concurrency = concurrency
        self.calls = 0
        self.closed = False

    def detect(self, frame: Frame) -> Detections:
        """What the script says of `frame`."""
        with self._lock:
            self.calls += 1
        if self._before is not None:
            self._before(frame)
        return self._script(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closed = True


@dataclasses.dataclass
class ListSink:
    """Keeps what it is given."""

    written: list[tuple[Frame, Tracks]] = dataclasses.field(default_factory=list)
    closed: bool = False

    def write(self, frame: Frame, tracks: Tracks) -> None:
        self.written.append((frame, tracks))

    def close(self) -> None:
        self.closed = True


def picture(
    size: tuple[int, int], index: int
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """A picture `(H, W, 3)` RGB whose smooth colours move with `index`."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    red = 64 + 64 * np.sin((cols + 3 * index) / 17)
    green = 90 + 50 * np.sin((rows - 2 * index) / 13)
    blue = 40 + (index * 5) % 120 + 0 * rows
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def frames(size: tuple[int, int], count: int, rate: float = 25.0) -> Iterator[Frame]:
    """`count` frames of `size` (H, W)."""
    for i in range(count):
        yield Frame(i, i / rate, picture(size, i))


def write_video(
    path: Path,
    count: int = 20,
    size: tuple[int, int] = (96, 128),
    times_s: Sequence[float] | None = None,
    rate: int = 25,
    codec: str = "libx264",
) -> Path:
    """Make a small video file; `times_s` are its presentation times, by default even ones."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        base = Fraction(1, 12800)
        stream.codec_context.time_base = base
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(size, i), format="rgb24")
            seconds = i / rate if times_s is None else times_s[i]
            frame.pts, frame.time_base = round(seconds / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
