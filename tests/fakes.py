"""Small real implementations of the seams: nothing here needs weights, a camera or a screen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.frames import Frame
from tests import scenes
from trackers.detections import Detections
from trackers.masks import Masks
from trackers.tracks import Tracks


class ScriptedDetector:
    """Sees in a frame what a script says of it.

    Args:
        script: what is in a frame; by default two objects of `scenes.parallel()`.
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
        parallel = scenes.parallel()
        self._script = script or (lambda frame: parallel.detect(frame.index % len(parallel)))
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

    def __exit__(self, *_: object) -> None:
        self.closed = True


def discs(size: tuple[int, int], centres: Sequence[tuple[float, float]], radius: float) -> Masks:
    """Round masks in a picture of `size` (H, W); `centres` are x, y."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    dense = [(cols - x) ** 2 + (rows - y) ** 2 <= radius**2 for x, y in centres]
    return Masks.from_dense(np.array(dense, bool).reshape(-1, *size))


def boxes_of(masks: Masks) -> NDArray[np.float32]:
    """`(N, 4)` x1, y1, x2, y2 of each crop."""
    sides = np.array([crop.shape[::-1] for crop in masks.crops], np.int32).reshape(-1, 2)
    return np.concatenate([masks.offsets, masks.offsets + sides], axis=1).astype(np.float32)


def tracks_of(
    masks: Masks, ids: Sequence[int] | None = None, coasting: Sequence[bool] | None = None
) -> Tracks:
    """Tracks with these masks, all of score .9; ids from 1 where none are given."""
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
