"""The table of tracklets: one row for every object followed, one column block for each fact.

All objects live in one float64 array, so a step costs a few numpy calls whatever their number:
one gather, arithmetic, one scatter. Masks and appearance vectors, which are not always there,
stand beside it in the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers import boxes as boxlib
from trackers.kalman import KalmanModel
from trackers.masks import Masks

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

STATE = slice(0, 8)
"""cx, cy, w, h, vx, vy, vw, vh: see `trackers.kalman`."""
COVARIANCE = slice(8, 14)
"""Of centre and size, in units of size^2: see `trackers.kalman`."""
BOX = slice(14, 18)
"""x1, y1, x2, y2 as last measured, pixels."""
SCORE, BORN_S, SEEN_S, HITS, ID, PART_S, AREA = range(18, 25)
"""Last score; first and last time seen; times seen; identity, 0 while tentative; seconds of
evidence that this is a part of something else; pixels of the last mask."""
COLUMNS = 25


class Tracklets:
    """N tracklets, tentative and confirmed, in the order of their birth."""

    def __init__(self) -> None:
        self.rows: Floats = np.zeros((0, COLUMNS))
        self.crops: list[NDArray[np.bool_]] = []
        self.offsets: NDArray[np.int32] = np.zeros((0, 2), np.int32)
        self.features: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Tracklets({len(self)}, confirmed={int((self.ids > 0).sum())})"

    @property
    def boxes(self) -> Floats:
        """`(N, 4)` boxes as measured last."""
        return self.rows[:, BOX]

    @property
    def ids(self) -> Floats:
        """`(N,)` identities, 0 for tentative ones."""
        return self.rows[:, ID]

    @property
    def seen_s(self) -> Floats:
        """`(N,)` time of the last measurement in seconds."""
        return self.rows[:, SEEN_S]

    @property
    def velocities(self) -> Floats:
        """`(N, 2)` vx, vy in pixels a second."""
        return self.rows[:, 4:6]

    def predict(self, model: KalmanModel, dt_s: float) -> None:
        """Move every state to where it is expected `dt_s` seconds later."""
        rows = self.rows
        rows[:, STATE], rows[:, COVARIANCE] = model.predict(
            rows[:, STATE], rows[:, COVARIANCE], dt_s
        )

    def predicted(self) -> Floats:
        """`(N, 4)` boxes where the states stand."""
        return boxlib.to_corners(self.rows[:, :4])

    def keep(self, index: Indices) -> None:
        """Forget every row but those at `index`."""
        self.rows = self.rows.take(index, 0)
        if self.crops:
            self.crops = [self.crops[i] for i in index]
            self.offsets = self.offsets.take(index, 0)
        if self.features is not None:
            self.features = self.features.take(index, 0)

    def add(
        self,
        rows: Floats,
        masks: Masks | None,
        features: NDArray[np.float32] | None,
        index: Indices,
    ) -> None:
        """Append tracklets born of the detections at `index`."""
        if masks is not None:
            self.crops.extend(masks.crops[j] for j in index)
            self.offsets = np.concatenate((self.offsets, masks.offsets.take(index, 0)))
        if features is not None:
            mine = features.take(index, 0)
            old = self.features
            self.features = mine if old is None else np.concatenate((old, mine))
        self.rows = np.concatenate((self.rows, rows))

    def moved_masks(self, size: tuple[int, int], index: Indices) -> Masks:
        """The last masks of the rows at `index`, moved to where their boxes are predicted."""
        rows = self.rows.take(index, 0)
        measured = 0.5 * (rows[:, 14:16] + rows[:, 16:18])
        shifts = np.rint(rows[:, :2] - measured).astype(np.int32)
        last = Masks(size, self.offsets.take(index, 0), tuple(self.crops[i] for i in index))
        return last.moved(shifts)
