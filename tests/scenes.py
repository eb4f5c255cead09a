"""Synthetic scenes: moving shapes whose boxes, masks and identities are known exactly.

One generator for every test that needs something to track:

    scene = scenes.crossing()
    for frame, detections in scene.play():          # pipeline tests: pictures as well
    for time_s, detections in scene.detections():   # tracker tests: no picture, no torch
    truth = scene.truth(12)                         # what is really there
    scene.write_video(tmp_path / "crossing.mp4")    # a real file, through PyAV

Shapes move on straight lines between way points; later shapes hide earlier ones. Everything random
comes from a seed and the frame's index, so any frame can be asked for, in any order.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trackers.detections import Detections
from trackers.masks import Masks

if TYPE_CHECKING:  # pipeline brings torch; tracker tests run without it
    from pipeline.frames import Frame


@dataclasses.dataclass(frozen=True)
class Shape:
    """One object and its path."""

    path: tuple[tuple[float, float, float], ...]
    """Way points (seconds, x, y) of its centre. It exists from the first to the last one."""

    size: tuple[float, float] = (60.0, 60.0)
    """Width and height in pixels."""

    kind: str = "box"
    """`box` or `disc`."""

    colour: tuple[int, int, int] = (220, 60, 40)

    missed: tuple[tuple[float, float], ...] = ()
    """Intervals of time in which the detector does not see it although it is there."""

    def is_missed(self, time_s: float) -> bool:
        return any(first <= time_s < last for first, last in self.missed)

    def centre(self, time_s: float) -> tuple[float, float] | None:
        """Where it is; None when it does not exist yet or any more."""
        times, xs, ys = (np.array(column) for column in zip(*self.path, strict=True))
        if not times[0] <= time_s <= times[-1]:
            return None
        return float(np.interp(time_s, times, xs)), float(np.interp(time_s, times, ys))

    def mask(self, time_s: float, size: tuple[int, int]) -> NDArray[np.bool_] | None:
        """All of it that lies in a picture of `size` (H, W), hidden or not."""
        centre = self.centre(time_s)
        if centre is None:
            return None
        xs = np.abs(np.arange(size[1]) + 0.5 - centre[0]) / (self.size[0] / 2)
        ys = np.abs(np.arange(size[0])[:, None] + 0.5 - centre[1]) / (self.size[1] / 2)
        inside = xs**2 + ys**2 <= 1 if self.kind == "disc" else np.maximum(xs, ys) <= 1
        return np.asarray(inside, bool)


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """What is visible in one frame."""

    ids: NDArray[np.int64]
    """`(N,)` place of the shape in the scene, from 1."""

    boxes: NDArray[np.float32]
    """`(N, 4)` tight boxes x1, y1, x2, y2 of the visible part, x2 and y2 exclusive."""

    masks: Masks
    """Disjoint."""

    visible: NDArray[np.float64]
    """`(N,)` visible share of the part inside the picture."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """Shapes, back to front, on a plain ground."""

    shapes: tuple[Shape, ...]
    size: tuple[int, int] = (240, 320)
    rate: float = 25.0
    length: int = 75
    """Frames."""

    skipped: frozenset[int] = frozenset()
    """Frames that `detections` and `play` leave out, as a live source that drops does."""

    min_visible: float = 0.2
    """A shape that shows less of itself is not detected (it stays in the truth)."""

    box_noise_px: float = 0.0
    """Standard deviation of each side of a detected box; masks stay exact."""

    score: float = 0.9
    clutter: float = 0.0
    """Mean number of false detections a frame, anywhere."""

    with_masks: bool = True
    with_features: bool = False
    """Give each shape a unit vector of 8 numbers that is its own, with a little noise."""

    seed: int = 0

    def __len__(self) -> int:
        return self.length

    def time_s(self, index: int) -> float:
        return index / self.rate

    @functools.lru_cache(maxsize=256)  # noqa: B019 - scenes are few, small and live in tests
    def truth(self, index: int) -> Truth:
        """What is visible in frame `index`; shapes that are hidden wholly are left out."""
        time_s = self.time_s(index)
        whole = [shape.mask(time_s, self.size) for shape in self.shapes]
        taken = np.zeros(self.size, bool)
        found: list[tuple[int, NDArray[np.bool_], float]] = []
        for place in reversed(range(len(whole))):
            mask = whole[place]
            if mask is None or not mask.any():
                continue
            seen = mask & ~taken
            taken |= mask
            if seen.any():
                found.append((place + 1, seen, seen.sum() / mask.sum()))
        found.sort(key=lambda one: one[0])
        dense = np.array([seen for _, seen, _ in found], bool).reshape(-1, *self.size)
        masks = Masks.from_dense(dense)
        sides = np.array([crop.shape[::-1] for crop in masks.crops], np.int32).reshape(-1, 2)
        boxes = np.concatenate([masks.offsets, masks.offsets + sides], axis=1).astype(np.float32)
        return Truth(
            ids=np.array([number for number, _, _ in found], np.int64),
            boxes=boxes,
            masks=masks,
            visible=np.array([visible for _, _, visible in found]),
        )

    def detected(self, index: int) -> NDArray[np.int64]:
        """Ids of the shapes that the detector sees in frame `index`, in its order."""
        truth, time_s = self.truth(index), self.time_s(index)
        kept = [
            number
            for number, visible in zip(truth.ids.tolist(), truth.visible, strict=True)
            if visible >= self.min_visible and not self.shapes[number - 1].is_missed(time_s)
        ]
        # A detector knows no order of identities.
        return np.random.default_rng((self.seed, index)).permutation(np.array(kept, np.int64))

    def detect(self, index: int) -> Detections:
        """What a good detector gives for frame `index`."""
        truth = self.truth(index)
        ids = self.detected(index)
        rows = np.searchsorted(truth.ids, ids)
        rng = np.random.default_rng((self.seed, index, 1))
        boxes = truth.boxes[rows] + rng.normal(0, 1, (len(rows), 4)) * self.box_noise_px
        scores = np.full(len(rows), self.score)
        masks = truth.masks.take(rows)

        false = int(rng.poisson(self.clutter)) if self.clutter else 0
        if false:
            height, width = self.size
            corners = rng.integers(0, (width - 24, height - 24), (false, 2))
            sides = rng.integers(8, 24, (false, 2))
            boxes = np.concatenate([boxes, np.hstack([corners, corners + sides])])
            scores = np.concatenate([scores, rng.uniform(0.1, self.score, false)])
            masks = Masks(
                self.size,
                np.concatenate([masks.offsets, corners.astype(np.int32)]),
                masks.crops + tuple(np.ones((h, w), bool) for w, h in sides),
            )
        features = None
        if self.with_features:
            own = np.stack([self.feature(int(number)) for number in ids] or [np.zeros(8)])
            own = own[: len(ids)] + rng.normal(0, 0.05, (len(ids), 8))
            features = np.concatenate([own, rng.normal(0, 1, (false, 8))])
            features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(
                np.float32
            )
        return Detections(
            boxes=boxes.astype(np.float32),
            scores=scores.astype(np.float32),
            masks=masks if self.with_masks else None,
            features=features,
        )

    def feature(self, number: int) -> NDArray[np.float64]:
        """The unit vector of shape `number`."""
        vector = np.random.default_rng((self.seed, 7, number)).normal(0, 1, 8)
        return np.asarray(vector / np.linalg.norm(vector))

    def indices(self) -> list[int]:
        """Frames that arrive."""
        return [index for index in range(self.length) if index not in self.skipped]

    def detections(self) -> Iterator[tuple[float, Detections]]:
        """(time, detections) of every frame that arrives."""
        for index in self.indices():
            yield self.time_s(index), self.detect(index)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Frame `index` as `(H, W, 3)` RGB."""
        picture = np.full((*self.size, 3), 96, np.uint8)
        picture[::16, :] = 104  # a grid, so that a shifted or turned picture shows
        picture[:, ::16] = 104
        truth = self.truth(index)
        for number, mask in zip(truth.ids.tolist(), truth.masks, strict=True):
            picture[mask] = self.shapes[number - 1].colour
        return picture

    def frames(self) -> Iterator[Frame]:
        """Every frame that arrives, as a source would hand it on."""
        from pipeline.frames import Frame

        previous = -1
        for index in self.indices():
            dropped = index - previous - 1
            yield Frame(index, self.time_s(index), self.image(index), dropped_before=dropped)
            previous = index

    def play(self) -> Iterator[tuple[Frame, Detections]]:
        """(frame, detections) of every frame that arrives."""
        for frame in self.frames():
            yield frame, self.detect(frame.index)

    def write_video(
        self, path: Path, codec: str = "libx264", options: dict[str, str] | None = None
    ) -> Path:
        """Encode every frame (`skipped` too: a file has them all) and give `path` back."""
        import av

        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(
                codec, rate=round(self.rate), options=options or {"crf": "18"}
            )
            stream.height, stream.width = self.size
            stream.pix_fmt = "yuv420p"
            for index in range(self.length):
                picture = av.VideoFrame.from_ndarray(self.image(index), format="rgb24")
                picture.pts = index
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return path


RED, GREEN, BLUE, YELLOW = (220, 60, 40), (40, 170, 70), (50, 80, 220), (230, 200, 40)


def still(**settings: Any) -> Scene:
    """One box that does not move."""
    return Scene((Shape(((0, 100, 120), (3, 100, 120))),), **settings)


def parallel(**settings: Any) -> Scene:
    """Two objects that never meet."""
    return Scene(
        (
            Shape(((0, 50, 60), (3, 260, 60)), colour=RED),
            Shape(((0, 50, 180), (3, 260, 180)), kind="disc", colour=BLUE),
        ),
        **settings,
    )


def crossing(**settings: Any) -> Scene:
    """Two objects change sides; half way one is behind the other, hidden for about .3 s."""
    return Scene(
        (
            Shape(((0, 40, 120), (3, 280, 124)), size=(50, 50), kind="disc", colour=YELLOW),
            Shape(((0, 280, 120), (3, 40, 116)), size=(64, 80), colour=BLUE),
        ),
        **settings,
    )


def occlusion(**settings: Any) -> Scene:
    """A disc passes behind a wall that stands still and is hidden for about .6 s."""
    return Scene(
        (
            Shape(((0, 40, 120), (3, 290, 120)), size=(40, 40), kind="disc", colour=GREEN),
            Shape(((0, 160, 120), (3, 160, 120)), size=(90, 160), colour=RED),
        ),
        **settings,
    )


def gap(first_s: float = 1.0, last_s: float = 1.4, **settings: Any) -> Scene:
    """A moving object that the detector misses for a while although it is in plain view."""
    shape = Shape(((0, 40, 120), (3, 280, 120)), missed=((first_s, last_s),))
    return Scene((shape,), **settings)


def empty(**settings: Any) -> Scene:
    """Nothing at all."""
    return Scene((), **settings)


def crowd(count: int = 20, seed: int = 0, **settings: Any) -> Scene:
    """`count` small objects on straight lines through a large picture."""
    rng = np.random.default_rng(seed)
    settings = {"size": (480, 640), **settings}
    height, width = settings["size"]
    shapes = []
    for _ in range(count):
        start, end = rng.uniform((30, 30), (width - 30, height - 30), (2, 2))
        shapes.append(
            Shape(
                ((0, float(start[0]), float(start[1])), (3, float(end[0]), float(end[1]))),
                size=(float(rng.uniform(18, 40)), float(rng.uniform(18, 40))),
                kind="disc" if rng.random() < 0.5 else "box",
                colour=(int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256))),
            )
        )
    return Scene(tuple(shapes), seed=seed, **settings)
