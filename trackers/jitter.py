"""How much the boxes of a detector tremble, learnt from the stream itself.

An innovation is what a measurement adds to the prediction. Where an object moves as the filter
did not expect, the next innovation goes the same way; where the measurement trembled, the next
one goes back. A filter whose noise is right leaves innovations without correlation (Mehra, "On
the Identification of Variances and Adaptive Kalman Filtering", 1970). With its gain K and the
correlation rho of successive innovations the best estimate of a box is

    measured + g (filtered - measured),        g = 1 - rho / (1 - K)

Detectors of today have rho well above 0, and the best estimate is the measured box but for
fractions of a pixel. Older ones tremble so much that the filtered box is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackers.boxes import TO_CENTRES, TO_CORNERS
from trackers.tracklets import BOX, CENTRE, HITS, INNOVATION, SAMPLED_S, SIDES, VARIANCE

Floats = NDArray[np.float64]

MEMORY_PAIRS = 500.0
"""Pairs of innovations after which what was learnt from older ones counts half."""

TRUST_PAIRS = 15.0
"""Pairs of innovations like those of a perfect detector that are taken to have come before."""

LEARN_PAIRS, SAMPLE_EVERY = 200, 64
"""After so many pairs only two successive frames of so many are looked at."""

LEAST = 1e-12
"""What the sums are at least: of boxes that never move nothing would be left of them."""

LARGEST = 0.3
"""Innovations are cut to this share of the object's size: a wrong match is no jitter."""

KINDS: Floats = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])
"""Which of cx, cy, w, h belong to the centre, and which to the size."""

# What a row of the table is multiplied by: its measured box, and how that changes with g.
AS_MEASURED: Floats = np.zeros((BOX.stop, 4))
AS_MEASURED[BOX] = np.eye(4)
CHANGE: Floats = np.zeros((2, *AS_MEASURED.shape))
CHANGE[:, CENTRE] = KINDS[:, :, None] * TO_CORNERS
CHANGE[:, BOX] = -TO_CENTRES @ CHANGE[:, CENTRE]
CHANGE = CHANGE.reshape(2, -1)


class Jitter:
    """Correlation of successive innovations, of centres and of sizes, pooled over all objects."""

    def __init__(self) -> None:
        self._squares = np.full(2, TRUST_PAIRS * 0.03**2)
        self._products = self._squares.copy()
        self._pairs = 0
        self._to_steady = AS_MEASURED

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for `restore`."""
        return {name: np.array(value) for name, value in vars(self).items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become what gave `state`."""
        for name in vars(self):
            setattr(self, name, state[name].copy())
        self._pairs = int(self._pairs)

    def is_due(self, frame: int) -> bool:
        """Whether to look at a frame: at each until enough is known, then at some, in twos."""
        return self._pairs < LEARN_PAIRS or frame % SAMPLE_EVERY < 2

    def steadied(self, rows: Floats) -> Floats:
        """`(N, 4)` best estimates as x1, y1, x2, y2, from `(N, COLUMNS)` corrected rows."""
        return rows[:, : BOX.stop] @ self._to_steady

    def observe(
        self, rows: Floats, centres: Floats, noise: Floats, now_s: float, before_s: float
    ) -> None:
        """Take in what was measured in one frame, before the filters are corrected.

        Args:
            rows: `(K, COLUMNS)` predicted rows; what is needed in the next frame is noted there.
            centres: `(K, 4)` what was measured: cx, cy, w, h.
            noise: `(2, 1)` variance of measured centres and sizes in units of size^2.
            now_s: Time of this frame.
            before_s: Time of the frame before.
        """
        size = np.sqrt(rows[:, SIDES].prod(1))
        innovation = (centres - rows[:, CENTRE]) / size[:, None]
        innovation.clip(-LARGEST, LARGEST, out=innovation)
        both = ((rows[:, SAMPLED_S] == before_s) & (rows[:, HITS] >= 3.0)).nonzero()[0]
        if len(both):
            known, count = rows.take(both, 0), len(both)
            last, now = known[:, INNOVATION], innovation.take(both, 0)
            fade = 0.5 ** (count / MEMORY_PAIRS)
            self._squares = np.maximum(fade * self._squares + _by_kind(last * last), LEAST)
            self._products = fade * self._products + _by_kind(last * now)
            slack = (noise / (known.T[VARIANCE] + noise)).sum(1) / count  # 1 - K
            self._pairs += count
            g = (1.0 - self._products / self._squares / slack).clip(0.0, 1.0)
            self._to_steady = AS_MEASURED + (g @ CHANGE).reshape(AS_MEASURED.shape)
        rows[:, INNOVATION] = innovation
        rows[:, SAMPLED_S] = now_s


def _by_kind(values: Floats) -> Floats:
    """`(2,)` sums over centres and over sizes of `(K, 4)`, for each pair of coordinates."""
    total: Floats = (values @ (0.5 * KINDS.T)).sum(0)
    return total
