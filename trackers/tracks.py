"""What the tracker believes about one frame: its output, and the input of every sink."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trackers.masks import Masks


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """N objects with identities in one frame, confirmed ones only, ordered by id."""

    ids: NDArray[np.int64]
    """`(N,)` from 1, never used again by the same tracker."""

    boxes: NDArray[np.float32]
    """`(N, 4)` x1, y1, x2, y2 in source pixels: as measured where `coasting` is false, less the
    jitter of a detector that trembles and gives no masks."""

    scores: NDArray[np.float32]
    """`(N,)` objectness of the last detection, in [0, 1]."""

    coasting: NDArray[np.bool_]
    """`(N,)` true where the detector did not see the object in this frame: its place is predicted,
    or found by what it looked like."""

    velocities: NDArray[np.float32]
    """`(N, 2)` vx, vy of the box centre in pixels a second."""

    ages_s: NDArray[np.float32]
    """`(N,)` seconds since the object was first seen."""

    masks: Masks | None = None
    """N masks, or None. Of a coasting object its last one, moved with the motion or to where the
    picture shows it, as far as that is in the picture."""

    missed: NDArray[np.bool_] | None = None
    """`(N,)` true where the last look did not find the object; None where every frame was looked
    at: `coasting` then says it."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        wanted = (n, 4), (n,), (n,), (n, 2), (n,)
        arrays = self.boxes, self.scores, self.coasting, self.velocities, self.ages_s
        if tuple([array.shape for array in arrays]) != wanted:
            names = "boxes", "scores", "coasting", "velocities", "ages_s"
            for name, array, shape in zip(names, arrays, wanted, strict=True):
                if array.shape != shape:
                    raise ValueError(f"Tracks.{name} should be {shape}, got {array.shape}")
        if self.missed is not None and self.missed.shape != (n,):
            raise ValueError(f"Tracks.missed should be {(n,)}, got {self.missed.shape}")
        if self.masks is not None and len(self.masks) != n:
            raise ValueError(f"Tracks.masks should hold {n} masks, got {len(self.masks)}")

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """`(N,)` true where the object was looked for and not found: not merely out of turn."""
        return self.coasting if self.missed is None else self.missed

    @property
    def states(self) -> list[str]:
        """N of `tracked`: found in this frame; `coasting`: looked for, not found; `carried`: nobody
        looked, and the last look had found it."""
        states = np.where(self.unseen, "coasting", np.where(self.coasting, "carried", "tracked"))
        return [str(state) for state in states]

    def take(self, index: NDArray[np.intp]) -> Tracks:
        """Those at `index`, in its order."""
        return Tracks(
            self.ids[index],
            self.boxes[index],
            self.scores[index],
            self.coasting[index],
            self.velocities[index],
            self.ages_s[index],
            None if self.masks is None else self.masks.take(index),
            None if self.missed is None else self.missed[index],
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Tracks(ids={self.ids.tolist()}, masks={self.masks!r})"
