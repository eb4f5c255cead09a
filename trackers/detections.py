"""What a detector saw in one frame: the input of a tracker."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trackers.masks import Masks


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N objects of one frame, without identity. Empty is normal: `boxes` is then `(0, 4)`."""

    boxes: NDArray[np.float32]
    """`(N, 4)` x1, y1, x2, y2 in pixels of the source frame, x2 and y2 exclusive."""

    scores: NDArray[np.float32]
    """`(N,)` objectness in [0, 1]."""

    masks: Masks | None = None
    """N masks, or None from a detector that gives boxes only."""

    features: NDArray[np.float32] | None = None
    """`(N, C)` vectors of appearance, or None. Their directions count, not their lengths."""

    def __post_init__(self) -> None:
        for name, array in (("boxes", self.boxes), ("scores", self.scores)):
            if not isinstance(array, np.ndarray):
                raise ValueError(f"Detections.{name} should be an array, got {type(array)}")
        if not isinstance(self.masks, Masks | None):
            raise ValueError(
                "Detections.masks should be Masks, which Masks.from_dense makes of an array "
                f"(N, H, W), got {type(self.masks)}"
            )
        n = len(self.boxes)
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"Detections.boxes should be (N, 4), got {self.boxes.shape}")
        if self.scores.shape != (n,):
            raise ValueError(f"Detections.scores should be ({n},), got {self.scores.shape}")
        if self.masks is not None and len(self.masks) != n:
            raise ValueError(f"Detections.masks should hold {n} masks, got {len(self.masks)}")
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != n):
            raise ValueError(f"Detections.features should be ({n}, C), got {self.features.shape}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __repr__(self) -> str:
        features = None if self.features is None else self.features.shape
        return f"Detections({len(self)}, masks={self.masks!r}, features={features})"

    @classmethod
    def empty(cls, size: tuple[int, int] | None = None) -> Detections:
        """Nothing seen; with the picture's `size` (H, W) it holds an empty `Masks` too."""
        masks = None if size is None else Masks.empty(size)
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), masks)
