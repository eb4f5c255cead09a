"""What a tracker knows from frame to frame: the objects that it follows, and what time it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackers.jitter import Jitter
from trackers.kalman import KalmanModel
from trackers.masks import Masks
from trackers.tracklets import FOUND_S, SEEN_S, Tracklets

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

EDGE = 0.02
"""A box so near to the picture's edge, in shares of the picture's sides, touches it."""

LONGEST_S = 1e10
"""Three centuries; what is longer is no time between frames."""

_NUMBERS = ("started_s", "before_s", "now_s", "moved_s", "frame")


class Scene:
    """The objects of one stream and its clock."""

    def __init__(self) -> None:
        self.table = Tracklets()
        self.jitter = Jitter()
        self.size: tuple[int, int] | None = None
        """`(H, W)` of the picture, where masks tell."""
        self.started_s = -math.inf
        """Time of the first frame, in seconds, as are all times."""
        self.before_s = -math.inf
        """Time of the last frame but one that was looked at."""
        self.now_s = -math.inf
        """Time of the last frame that was looked at."""
        self.moved_s = -math.inf
        """Time to which the filters have moved: that of the last frame, looked at or not."""
        self.frame = 0
        """Frames looked at."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for `restore`."""
        numbers = {name: np.array(getattr(self, name)) for name in _NUMBERS}
        size = np.array(self.size or (), np.int64)
        table = {f"table{name}": value for name, value in self.table.state().items()}
        jitter = {f"jitter{name}": value for name, value in self.jitter.state().items()}
        return numbers | {"size": size} | table | jitter

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become what gave `state`."""
        for name in _NUMBERS:
            setattr(self, name, state[name].item())
        self.size = (int(state["size"][0]), int(state["size"][1])) if len(state["size"]) else None
        self.table.restore(_under("table", state))
        self.jitter.restore(_under("jitter", state))

    def advance(self, model: KalmanModel, time_s: float) -> None:
        """Begin a frame that is looked at.

        Raises:
            ValueError: Time does not go forward, or by more than `LONGEST_S`.
        """
        self.move(model, time_s)
        if math.isinf(self.started_s):
            self.started_s = self.now_s = time_s
        self.before_s, self.now_s = self.now_s, time_s
        self.frame += 1

    def move(self, model: KalmanModel, time_s: float) -> None:
        """Move every tracklet to where it is expected at `time_s`.

        Raises:
            ValueError: Time does not go forward, or by more than `LONGEST_S`.
        """
        if not self.moved_s < time_s < math.inf:
            raise ValueError(f"time_s should go forward from {self.moved_s}, got {time_s}")
        if time_s - self.moved_s > LONGEST_S and not math.isinf(self.moved_s):
            raise ValueError(
                f"time_s should go forward by at most {LONGEST_S:g} s, got {time_s} after "
                f"{self.moved_s}"
            )
        if len(self.table):
            self.table.predict(model, time_s - self.moved_s)
        self.moved_s = time_s

    def lately(self, patience_s: Floats | float) -> NDArray[np.bool_]:
        """`(N,)` whether each tracklet was seen not longer ago than that, or in the frame before.

        The latter whatever the step between the frames: a stream may be slow, or pause.
        """
        seen_s = self.table.seen_s
        return np.asarray((self.now_s - seen_s <= patience_s) | (seen_s == self.before_s))

    def found_rows(self) -> Indices:
        """Rows of what the detector saw in the last frame that was looked at."""
        index: Indices = (self.table.rows[:, FOUND_S] == self.now_s).nonzero()[0]
        return index

    def seen_rows(self) -> Indices:
        """The same, and of what patches found."""
        index: Indices = (self.table.rows[:, SEEN_S] == self.now_s).nonzero()[0]
        return index

    def masks(self, index: Indices) -> Masks:
        """The last masks of the rows at `index`; only of a stream that has masks."""
        assert self.size is not None
        return self.table.masks(self.size, index)

    def cut_off(self, boxes: Floats) -> NDArray[np.bool_]:
        """`(N,)` which boxes touch the picture's edge; none where nobody knows where that is."""
        if self.size is None:
            return np.zeros(len(boxes), bool)
        sides = np.array(self.size[::-1], np.float64)
        near = EDGE * sides
        return np.asarray(((boxes[:, :2] < near) | (boxes[:, 2:] > sides - near)).any(1))


def _under(prefix: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The entries whose names start with `prefix`, by what follows it."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
