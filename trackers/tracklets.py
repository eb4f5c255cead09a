"""The table of tracklets: one row for every object followed, one column for each fact.

All objects live in one float64 array, so a step costs a few numpy calls whatever their number:
one gather, arithmetic, one scatter. Masks, patches of the picture and appearance vectors, which
are not always there, stand beside it in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackers.kalman import KalmanModel
from trackers.masks import Masks
from trackers.patches import Patch, Picture, cut

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

FILTER = slice(0, 14)
"""State cx, cy, w, h, vx, vy, vw, vh, and its covariance: see `trackers.kalman`."""
CENTRE = slice(0, 4)
"""cx, cy, w, h of the state, pixels."""
SIDES = slice(2, 4)
"""w, h of the state, pixels."""
VELOCITY = slice(4, 6)
"""vx, vy of the state, pixels a second."""
VARIANCE = slice(8, 10)
"""Of the state's centre and sides, in units of size^2: see `trackers.kalman`."""
SCORE, SEEN_S = 14, 15
"""Last score; last time seen, by the detector or by its patch."""
BOX = slice(16, 20)
"""x1, y1, x2, y2 as last measured, pixels."""
MEASURED = slice(14, 20)
"""What a sighting replaces: score, time and box."""
HITS, EVIDENCE, BORN_S, ID, REDUNDANT, AREA = range(20, 26)
"""Times seen; sum of the scores; first time seen; identity, 0 while tentative; share of the time
that it was part or copy of another; pixels of the last mask."""
INNOVATION = slice(26, 30)
"""Last innovation of cx, cy, w, h in units of size, taken at the time SAMPLED_S."""
SAMPLED_S = 30
WHOLE = 31
"""1 once it was seen away from the picture's edge: all of it, as far as is known."""
CLEAR = 32
"""1 once it was seen so, and clear of others: its appearance is that of such sightings alone."""
FOUND_S = 33
"""Last time that the detector saw it."""
COLUMNS = 34

SETTLED_HITS = 4.0
"""Sightings before which a velocity is not known."""

FAR = 2.0**30
"""Pixels farther than which nothing is moved: whole numbers end there."""

FEATURE_MEMORY = 0.9
"""Share of the old appearance vector that a new sighting leaves."""


class Tracklets:
    """N tracklets, tentative and confirmed, in the order of their birth."""

    def __init__(self) -> None:
        self.rows: Floats = np.zeros((0, COLUMNS))
        self.crops: list[NDArray[np.bool_]] = []
        self.extents: NDArray[np.int32] = np.zeros((0, 4), np.int32)
        self.patches: list[Patch | None] = []
        self.features: NDArray[np.float32] | None = None
        self.tentative = 0
        """How many have no identity."""
        self.in_order = True
        """Whether the identities ascend."""

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Tracklets({len(self)}, confirmed={int((self.ids > 0).sum())})"

    @property
    def boxes(self) -> Floats:
        """`(N, 4)` boxes as measured last, or as moved with the patch since."""
        return self.rows[:, BOX]

    @property
    def ids(self) -> Floats:
        """`(N,)` identities, 0 for tentative ones."""
        return self.rows[:, ID]

    @property
    def seen_s(self) -> Floats:
        """`(N,)` time last seen, by the detector or by the patch, in seconds."""
        return self.rows[:, SEEN_S]

    def predict(self, model: KalmanModel, dt_s: float) -> None:
        """Move every filter to where its object is expected `dt_s` seconds later."""
        model.predict(self.rows[:, FILTER], dt_s)

    def see(self, index: Indices, masks: Masks, theirs: Indices) -> None:
        """The rows at `index` now have the masks `theirs` of `masks`, and no patch yet."""
        self.extents[index] = masks.extents.take(theirs, 0)
        for i, j in zip(index.tolist(), theirs.tolist(), strict=True):
            self.crops[i], self.patches[i] = masks.crops[j], None

    def look(self, index: Indices, picture: Picture) -> None:
        """Remember what the picture shows of the rows at `index`, which have masks."""
        for i in index.tolist():
            self.patches[i] = cut(picture, self.extents[i])

    def move(self, i: int, pixels: NDArray[np.int32]) -> None:
        """Move box and mask of row `i` by `(2,)` x, y."""
        both = pixels[[0, 1, 0, 1]]
        self.rows[i, BOX] += both
        self.extents[i] += both

    def recognise(
        self, index: Indices, features: NDArray[np.float32], clear: NDArray[np.bool_]
    ) -> None:
        """Blend new appearance vectors `(K, C)` into those of the rows at `index`.

        What shows of an object that the picture's edge cuts off, or others touch, is not what it
        looks like: once it was seen clear, which `(K,)` says of now, only such sightings count.
        """
        assert self.features is not None
        before = self.rows[index, CLEAR] > 0.0
        memory = np.where(clear == before, FEATURE_MEMORY, before)[:, None].astype(np.float32)
        self.rows[index[clear], CLEAR] = 1.0
        blend = memory * self.features[index] + (1.0 - memory) * features
        norm = np.linalg.norm(blend, axis=1, keepdims=True)
        self.features[index] = blend / np.maximum(norm, 1e-9)

    def add(
        self,
        rows: Floats,
        masks: Masks | None,
        features: NDArray[np.float32] | None,
        index: Indices,
    ) -> None:
        """Append tracklets born of the detections at `index`."""
        if masks is not None:
            self.crops.extend(masks.crops[j] for j in index.tolist())
            self.extents = np.concatenate((self.extents, masks.extents.take(index, 0)))
        self.patches += [None] * len(index)
        if features is not None:
            mine = features.take(index, 0)
            old = self.features
            self.features = mine if old is None or not len(old) else np.concatenate((old, mine))
        elif not len(self.rows):
            self.features = None
        self.rows = np.concatenate((self.rows, rows))
        self.tentative += len(rows)

    def confirm(self, index: Indices, first_id: int) -> None:
        """Give the rows at `index` identities from `first_id` on."""
        self.rows[index, ID] = np.arange(first_id, first_id + len(index))
        self._count()

    def _count(self) -> None:
        known = self.ids[self.ids > 0.0]
        self.tentative = len(self) - len(known)
        self.in_order = bool((known[1:] > known[:-1]).all())

    def keep(self, index: Indices) -> None:
        """Forget every row but those at `index`."""
        self.rows = self.rows.take(index, 0)
        if self.crops:
            self.crops = [self.crops[i] for i in index.tolist()]
            self.extents = self.extents.take(index, 0)
        self.patches = [self.patches[i] for i in index.tolist()]
        if self.features is not None:
            self.features = self.features.take(index, 0)
        self._count()

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for `restore`; crops as bits, one after another."""
        shapes = np.array([crop.shape for crop in self.crops], np.int64).reshape(-1, 2)
        pixels = [crop.ravel() for crop in self.crops]
        bits = np.packbits(np.concatenate(pixels)) if pixels else np.zeros(0, np.uint8)
        state: dict[str, NDArray[Any]] = {
            "rows": self.rows.copy(),
            "extents": self.extents.copy(),
        }
        state |= {"shapes": shapes, "bits": bits}
        looks = [np.zeros((0, 0), np.uint8) if p is None else p.samples for p in self.patches]
        state["patches"] = np.concatenate([np.zeros(0, np.uint8), *(x.ravel() for x in looks)])
        steps = [0 if p is None else p.step for p in self.patches]
        sides = zip(looks, steps, strict=True)
        state["steps"] = np.array([(*x.shape, step) for x, step in sides], np.int64).reshape(-1, 3)
        return state if self.features is None else state | {"features": self.features.copy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Become what gave `state`."""
        shapes = state["shapes"]
        ends = shapes.prod(1).cumsum()
        pixels = np.unpackbits(state["bits"], count=int(ends[-1]) if len(ends) else 0).view(bool)
        parts = np.split(pixels, ends)[: len(shapes)]
        self.crops = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        self.rows, self.extents = state["rows"].copy(), state["extents"].copy()
        steps = state["steps"]
        looks = np.split(state["patches"], steps[:, :2].prod(1).cumsum())[: len(steps)]
        self.patches = [
            Patch(samples.reshape(height, width), step) if step else None
            for samples, (height, width, step) in zip(looks, steps.tolist(), strict=True)
        ]
        self.features = state["features"].copy() if "features" in state else None
        self._count()

    def masks(self, size: tuple[int, int], index: Indices) -> Masks:
        """The last masks of the rows at `index`."""
        crops = [self.crops[i] for i in index.tolist()]
        return Masks.placed(size, self.extents.take(index, 0), crops)

    def expected_masks(self, size: tuple[int, int], index: Indices, now_s: float) -> Masks:
        """The same moved by the objects' velocity since they were seen, by whole pixels.

        They are not cut at the picture's border: for comparing only.
        """
        last = self.masks(size, index)
        shifts = self.expected_moves(index, now_s)[:, [0, 1, 0, 1]]
        return Masks.placed(size, last.extents + shifts, last.crops)

    def expected_moves(self, index: Indices, now_s: float) -> NDArray[np.int32]:
        """`(N, 2)` x, y in whole pixels that each has moved since it was seen, by its velocity."""
        rows = self.rows.take(index, 0)
        moves = rows[:, VELOCITY] * (now_s - rows[:, SEEN_S])[:, None]
        return np.rint(np.clip(moves, -FAR, FAR)).astype(np.int32)
