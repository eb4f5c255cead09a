"""The detections of one frame as the tracker computes with them."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from trackers import association
from trackers import boxes as boxlib
from trackers.config import SortConfig
from trackers.detections import Detections
from trackers.masks import Masks

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


TINY = np.float32(1e-9)


class Sightings:
    """The detections of one frame, checked and in float64, with what is computed only once."""

    def __init__(self, detections: Detections, time_s: float) -> None:
        self.rows: Floats = np.empty((len(detections), 10))
        """`(M, 10)` cx, cy, w, h, then score, time and box as the columns `MEASURED` have them."""
        self.centres, self.scores, self.boxes = self.rows[:, :4], self.rows[:, 4], self.rows[:, 6:]
        self.boxes[:] = detections.boxes
        self.scores[:] = detections.scores
        self.rows[:, 5] = time_s
        if not np.isfinite(self.boxes).all():
            _complain(self.boxes, self.scores)
        np.matmul(self.boxes, boxlib.TO_CENTRES, out=self.centres)
        sides_and_scores = self.rows.T[2:5].copy()
        self.lowest_score = self._check(sides_and_scores)
        self.extents = to_extents(sides_and_scores[:2])
        """`(2, M)` areas and heights of the boxes."""
        self.masks = detections.masks
        self.features = None if detections.features is None else _unit(detections.features)
        if self.masks is not None:
            self.mask_areas: Floats = self.masks.areas().astype(np.float64)
            """`(M,)` pixels of the masks, where there are any."""
            self._check_masks(self.masks)

    def __len__(self) -> int:
        return len(self.boxes)

    @functools.cached_property
    def covered(self) -> Floats:
        """`(M,)` the largest share of each box that another one covers."""
        return boxlib.covered(self.boxes)

    def doubled(self, index: Indices, others: Indices, most: float) -> NDArray[np.bool_]:
        """`(N,)` which of those at `index` overlap one of `others` by more, by masks if any."""
        i, j, sides = boxlib.overlaps(self.boxes.take(index, 0), self.boxes.take(others, 0))
        a, b = index.take(i), others.take(j)
        if self.masks is None:
            shared, areas = sides[0] * sides[1], self.extents[0]
        else:
            shared, areas = self.masks.intersections(a, self.masks, b), self.mask_areas
        overlap = association.overlap_gain(shared, areas.take(a), np.maximum(areas.take(b), 1.0))
        out = np.zeros(len(index), bool)
        out[i[overlap > most]] = True
        return out

    def _check(self, sides_and_scores: Floats) -> float:
        """The lowest score, infinite without detections.

        Args:
            sides_and_scores: `(3, M)` widths, heights and scores.

        Raises:
            ValueError: A box has no area, or a score lies outside [0, 1].
        """
        if len(self) == 0:
            return math.inf
        width, height, lowest = np.minimum.reduce(sides_and_scores, 1).tolist()
        highest = np.maximum.reduce(sides_and_scores[2])
        # NaN is never within bounds.
        if not (width > 0.0 and height > 0.0 and 0.0 <= lowest <= highest <= 1.0):
            _complain(self.boxes, self.scores)
        return float(lowest)

    def _check_masks(self, masks: Masks) -> None:
        """Raise ValueError if one reaches beyond the picture."""
        height, width = masks.size
        beyond = (masks.extents < 0) | (masks.extents > (width, height, width, height))
        if beyond.any():
            row = int(beyond.any(1).argmax())
            raise ValueError(
                f"Detections.masks row {row} reaches beyond the picture of {width}x{height}: "
                f"{masks.extents[row].tolist()}; cut it, as Masks.moved does"
            )

    def kinds(self, config: SortConfig) -> Indices:
        """`(M,)` column of `PASSES` for each detection."""
        kinds = (self.scores < config.strong_score).astype(np.intp)
        kinds += self.scores < config.weak_score
        return kinds


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors `(M, C)` at length 1; those of zeros as they are.

    Raises:
        ValueError: One is not finite.
    """
    features = features.astype(np.float32, copy=False)
    lengths = np.sqrt(np.einsum("ij,ij->i", features, features))
    if not np.isfinite(lengths).all():
        row = int(np.isfinite(lengths).argmin())
        raise ValueError(f"Detections.features row {row} is not finite")
    unit: NDArray[np.float32] = features / np.maximum(lengths, TINY)[:, None]
    return unit


def to_extents(sides: Floats) -> Floats:
    """Widths and heights `(2, N)` made areas and heights in place: two kinds of IoU need these."""
    sides[0] *= sides[1]
    return sides


def _complain(boxes: Floats, scores: Floats) -> None:
    """Name the first row that is not finite, has no area or a score outside [0, 1].

    Raises:
        ValueError: There is one.
    """
    for row, (box, score) in enumerate(zip(boxes.tolist(), scores.tolist(), strict=True)):
        if not all(map(math.isfinite, box)):
            raise ValueError(f"Detections.boxes row {row} is not finite: {box}")
        if not (box[2] > box[0] and box[3] > box[1]):
            raise ValueError(f"Detections.boxes row {row} has no area (x1, y1, x2, y2): {box}")
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"Detections.scores row {row} is outside [0, 1]: {score}")
