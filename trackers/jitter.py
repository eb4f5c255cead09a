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
from trackers.tracklets import HITS, INNOVATION, SAMPLED_S

Floats = NDArray[np.float64]

MEMORY_PAIRS = 500.0
"""Pairs of innovations after which what was learnt from older ones counts half."""

TRUST_PAIRS = 15.0
"""Pairs of innovations like those of a perfect detector that are taken to have come before."""

LEARN_PAIRS, SAMPLE_EVERY = 300, 64
"""After so many pairs only two successive frames of so many are looked at."""

LARGEST = 0.3
"""Innovations are cut to this share of the object's size: a wrong match is no jitter."""


class Jitter:
    """Correlation of successive innovations, of centres and of sizes, pooled over all objects."""

    def __init__(self) -> None:
        self._squares = np.full(2, TRUST_PAIRS * 0.03**2)
        self._products = self._squares.copy()
        self._pairs = 0
        self._from_measured, self._from_filtered = np.eye(4), np.zeros((4, 4))

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

    def steadied(self, boxes: Floats, centres: Floats) -> Floats:
        """`(N, 4)` best estimates as x1, y1, x2, y2.

        Args:
            boxes: `(N, 4)` x1, y1, x2, y2 as measured.
            centres: `(N, 4)` cx, cy, w, h as filtered.
        """
        return boxes @ self._from_measured + centres @ self._from_filtered

    def observe(
        self, rows: Floats, centres: Floats, noise: Floats, now_s: float, before_s: float
    ) -> None:
        """Take in what was measured in one frame, before the filters are corrected.

        Args:
            rows: `(K, COLUMNS)` predicted rows; what is needed in the next frame is noted there.
            centres: `(K, 4)` what was measured: cx, cy, w, h.
            noise: `(2,)` variance of measured centres and sizes in units of size^2.
            now_s: Time of this frame.
            before_s: Time of the frame before.
        """
        size = np.sqrt(rows[:, 2] * rows[:, 3])
        innovation = (centres - rows[:, :4]) / size[:, None]
        np.clip(innovation, -LARGEST, LARGEST, out=innovation)
        both = ((rows[:, SAMPLED_S] == before_s) & (rows[:, HITS] >= 3.0)).nonzero()[0]
        if len(both):
            last = rows[both, INNOVATION]
            fade = 0.5 ** (len(both) / MEMORY_PAIRS)
            self._squares = fade * self._squares + _by_kind(last * last)
            self._products = fade * self._products + _by_kind(last * innovation[both])
            slack = (noise / (rows[both, 8:10] + noise)).mean(0)  # 1 - K
            self._pairs += len(both)
            self._set_share(1.0 - self._products / self._squares / slack)
        rows[:, INNOVATION] = innovation
        rows[:, SAMPLED_S] = now_s

    def _set_share(self, share: Floats) -> None:
        """Build the matrices of `steadied` for g of centres and of sizes, `(2,)`."""
        g = share.clip(0.0, 1.0).repeat(2)
        self._from_filtered = g[:, None] * TO_CORNERS
        self._from_measured = TO_CENTRES @ ((1.0 - g)[:, None] * TO_CORNERS)


def _by_kind(values: Floats) -> Floats:
    """`(2,)` sums over centres and over sizes of `(K, 4)`, for each pair of coordinates."""
    total: Floats = 0.5 * values.sum(0).reshape(2, 2).sum(1)
    return total
