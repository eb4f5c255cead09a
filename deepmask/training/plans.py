"""What a training sample is to be: every random decision, and no pixel.

Scale jitter over two octaves, crops, flips, colour, video-like damage, and copy-paste of clean
cut-outs (Ghiasi et al. 2021), which brings exact labels with occlusion. `samples.py` draws a plan
with OpenCV, on the CPU; `device.py` draws many at once with torch, where a GPU holds the pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepmask.training.coco import Photograph, load_set
from deepmask.training.config import DataConfig, StageConfig, TrainConfig

GREY = 127
"""Beyond a photograph's edge."""

HUDDLED = 0.5
"""Share of the samples with several cut-outs in which these touch."""

Box = tuple[int, int, int, int]
"""x, y, width, height."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A part of a photograph, and where it goes."""

    photograph: int
    """Index among the planner's photographs."""
    annotations: tuple[int, ...]
    """Those that may show; of a cut-out one, and only what it covers is drawn."""
    areas: tuple[float, ...]
    """Pixels that each would have in the sample, uncropped and uncovered."""
    ignored: tuple[bool, ...]
    """True where it is unknown whether this is one whole object: crowds, doubtful labels."""
    of: Box
    """Pixels of the photograph; may reach beyond it."""
    to: Box
    """Pixels of the sample; a cut-out's may reach beyond it."""
    flip: bool
    """Left is right."""
    colours: NDArray[np.float64]
    """`(3, 4)` from R, G, B, 1 to R, G, B."""


@dataclasses.dataclass(frozen=True, slots=True)
class Damage:
    """What cameras and codecs do; the defaults do nothing."""

    sigma_px: float = 0.0
    """Of a Gaussian blur."""
    motion_px: tuple[int, int] = (1, 1)
    """Length of a motion blur along x and y."""
    side_px: int = 0
    """The sample is shrunk to this side and grown again."""
    noise: float = 0.0
    """Standard deviation, in steps of 256."""
    noise_at: tuple[int, int] = (0, 0)
    """x, y of the sample's part of `noise_field`."""
    quality: int = 100
    """Of JPEG, which comes last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One sample."""

    layers: tuple[Layer, ...]
    """The photograph that fills the sample, then the cut-outs pasted on top, each hiding others."""
    colours: NDArray[np.float64]
    """`(3, 4)`, of all layers together."""
    damage: Damage | None
    background_weight: float
    """Of negatives outside of all labelled objects."""
    turn: float
    """In [0, 1): which windows learn masks where there are more than fit; see `TargetMaker`."""


class Planner:
    """Plans the endless samples of one stage. Plan i depends on the seed and i alone."""

    def __init__(
        self, sets: Mapping[str, Sequence[Photograph]], config: TrainConfig, stage: StageConfig
    ) -> None:
        self.data, self.stage, self.seed = config.data, stage, config.seed
        names = [name for name in config.data.shares if sets.get(name)]
        shares = np.array([config.data.shares[name] for name in names])
        self.shares = shares / shares.sum()
        self.photographs = photographs_of(sets, config.data)
        self.ends = np.cumsum([len(sets[name]) for name in names])
        self.cutouts = find_cutouts(self.photographs)

    def __call__(self, index: int) -> Plan:
        """Plan `index`."""
        rng = np.random.default_rng((self.seed, index))
        if self.cutouts and rng.random() < self.data.scattered:
            layers, exhaustive = self._scattered(rng), True
        else:
            layers, exhaustive = self._scene(rng)
        return Plan(
            tuple(layers),
            colours(rng),
            damage(self.stage.size_px, rng) if rng.random() < self.data.degrade else None,
            1.0 if exhaustive else self.data.background_weight,
            rng.random(),
        )

    def _scene(self, rng: np.random.Generator) -> tuple[list[Layer], bool]:
        """A photograph and what is pasted onto it; and whether every object in it is labelled."""
        which = rng.choice(len(self.shares), p=self.shares)
        first = 0 if which == 0 else self.ends[which - 1]
        background = self._crop(int(rng.integers(first, self.ends[which])), rng)
        layers = [background]
        if self.cutouts and rng.random() < self.data.paste:
            huddle = rng.random() < HUDDLED
            for _ in range(rng.integers(1, 4)):
                side = _uniform_log(rng, 20, 0.8 * self.stage.size_px)
                cutout, looks = self._any_cutout(rng), colours(rng)
                others = layers[1:] if huddle else []
                layers.append(self._cutout(cutout, (side, side), looks, rng, others))
        return layers, self.photographs[background.photograph].exhaustive

    def _scattered(self, rng: np.random.Generator) -> list[Layer]:
        """Objects, many of them alike, on an empty ground: fish in a tank, goods on a belt.

        Half of the time they touch, as blocks in a row do. The ground is a spot of a photograph,
        enlarged until nothing is to be seen in it.
        """
        size, index = self.stage.size_px, int(rng.integers(len(self.photographs)))
        photograph, spot = self.photographs[index], int(rng.integers(4, 25))
        x = int(rng.integers(max(1, photograph.width - spot)))
        y = int(rng.integers(max(1, photograph.height - spot)))
        whole = (0, 0, size, size)
        layers = [Layer(index, (), (), (), (x, y, spot, spot), whole, False, np.eye(3, 4))]
        count, huddle = int(rng.integers(3, 13)), rng.random() < HUDDLED
        largest = size / (4 if rng.random() < 0.5 else 2)
        kinds = []
        for _ in range(1 if rng.random() < 0.5 else count):
            typical = _uniform_log(rng, min(20, size / 8), largest)
            kinds.append((self._any_cutout(rng), typical, _flattened(colours(rng), rng)))
        for i in range(count):
            which, typical, looks = kinds[i % len(kinds)]
            sides = _squeezed(typical * np.exp(rng.uniform(-0.2, 0.2)), rng)
            others = layers[1:] if huddle else []
            layers.append(self._cutout(which, sides, looks, rng, others))
        return layers

    def _crop(self, index: int, rng: np.random.Generator) -> Layer:
        """A random square crop of a photograph at a random scale."""
        photograph, size = self.photographs[index], self.stage.size_px
        long_side = np.exp(rng.uniform(*np.log(self.stage.long_side_px)))
        scale = long_side / max(photograph.height, photograph.width)
        stretch = np.exp(rng.uniform(-0.15, 0.15))
        width, height = size / (scale * stretch), size / (scale / stretch)
        x, y = _place(photograph, width, height, rng)
        x, y, width, height = round(x), round(y), max(8, round(width)), max(8, round(height))
        zoom = (size / width) * (size / height)
        inside = []
        for i, annotation in enumerate(photograph.annotations):
            bx, by, bw, bh = annotation["bbox"]
            if bx + bw > x and bx < x + width and by + bh > y and by < y + height:
                inside.append(i)
        shown = [photograph.annotations[i] for i in inside]
        unsure = self.data.min_label_score
        return Layer(
            index,
            tuple(inside),
            tuple(one["area"] * zoom for one in shown),
            tuple(bool(one.get("iscrowd", 0)) or one.get("score", 1.0) < unsure for one in shown),
            (x, y, width, height),
            (0, 0, size, size),
            bool(rng.random() < 0.5),
            np.eye(3, 4),
        )

    def _any_cutout(self, rng: np.random.Generator) -> tuple[int, int]:
        return self.cutouts[rng.integers(len(self.cutouts))]

    def _cutout(
        self,
        which: tuple[int, int],
        sides: tuple[float, float],
        looks: NDArray[np.float64],
        rng: np.random.Generator,
        others: Sequence[Layer],
    ) -> Layer:
        """An object in the sample, up to a third of it beyond the edge.

        Args:
            which: one of `cutouts`.
            sides: the longest that its box may be along x and y, px; scaled to fit one of them.
            looks: its colours.
            rng: decides where it is.
            others: it touches one of these, if there are any and there is room.
        """
        size, (index, annotation) = self.stage.size_px, which
        given = self.photographs[index].annotations[annotation]
        x, y, w, h = (round(v) for v in given["bbox"])
        width, height = (
            max(4, round(v / max(w, h) * s)) for v, s in zip((w, h), sides, strict=True)
        )
        left = int(rng.uniform(-0.3 * width, size - 0.7 * width))
        top = int(rng.uniform(-0.3 * height, size - 0.7 * height))
        if others:
            other = others[int(rng.integers(len(others)))]
            x_beside, y_beside = _beside(other.to, width, height, rng)
            inside = -0.3 * width <= x_beside <= size - 0.7 * width
            if inside and -0.3 * height <= y_beside <= size - 0.7 * height:
                left, top = x_beside, y_beside
        return Layer(
            index,
            (annotation,),
            (given["area"] * (width / w) * (height / h),),
            (False,),
            (x, y, w, h),
            (left, top, width, height),
            bool(rng.random() < 0.5),
            looks,
        )


def photographs_of(sets: Mapping[str, Sequence[Photograph]], data: DataConfig) -> list[Photograph]:
    """All photographs that samples are made of, set after set."""
    return [photograph for name in data.shares for photograph in sets.get(name, ())]


def load_sets(folder: Path, data: DataConfig) -> dict[str, list[Photograph]]:
    """Every set that the samples are made of, in memory."""
    return {name: load_set(folder, name) for name in data.shares}


def find_cutouts(photographs: Sequence[Photograph]) -> list[tuple[int, int]]:
    """Objects outlined by people that are neither tiny nor cut off by the picture's edge.

    Returns:
        Index of the photograph and of its annotation, for each.
    """
    found = []
    for index, photograph in enumerate(photographs):
        for i, annotation in enumerate(photograph.annotations):
            x, y, w, h = annotation["bbox"]
            inside = x > 1 and y > 1 and x + w < photograph.width - 1
            inside = inside and y + h < photograph.height - 1
            human = annotation.get("source") == "human" and not annotation.get("iscrowd", 0)
            if human and inside and max(w, h) >= 64 and annotation["area"] >= 0.2 * w * h:
                found.append((index, i))
    return found


def colours(rng: np.random.Generator) -> NDArray[np.float64]:
    """Brightness, contrast, saturation and tint, sometimes grey: `(3, 4)`."""
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.5, 1.5)
    contrast = rng.uniform(0.7, 1.3)
    matrix = np.empty((3, 4))
    matrix[:, :3] = (1 - saturation) * np.array([0.299, 0.587, 0.114]) + saturation * np.eye(3)
    matrix[:, :3] *= contrast
    matrix[:, 3] = GREY * (1 - contrast) + rng.uniform(-30, 30) + rng.uniform(-12, 12, 3)
    return matrix


def _flattened(matrix: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Colours drawn towards one grey, as of what is seen against the light: `(3, 4)`."""
    left, grey = rng.uniform(0.3, 1.0), rng.uniform(0, 255)
    flat = matrix * left
    flat[:, 3] += (1 - left) * grey
    return flat


def _uniform_log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _squeezed(side: float, rng: np.random.Generator) -> tuple[float, float]:
    """Sides of a square that is squeezed along x or y, to as little as .3 of it."""
    less = side * _uniform_log(rng, 0.3, 1.0)
    return (side, less) if rng.random() < 0.5 else (less, side)


def _beside(box: Box, width: int, height: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top left of a box of that size that touches `box`, or overlaps it by up to a quarter."""
    x, y, w, h = box
    apart, along = rng.choice((-1, 1)) * rng.uniform(0.75, 1.03), rng.uniform(-0.5, 0.5)
    if rng.random() < 0.5:
        across, down = apart * (w + width) / 2, along * min(h, height)
    else:
        across, down = along * min(w, width), apart * (h + height) / 2
    return round(x + (w - width) / 2 + across), round(y + (h - height) / 2 + down)


def damage(size: int, rng: np.random.Generator) -> Damage:
    """Blur, motion blur, low resolution or noise; compression."""
    kind, quality = rng.integers(4), int(rng.integers(15, 70))
    if kind == 0:
        return Damage(sigma_px=rng.uniform(0.5, 1.5), quality=quality)
    if kind == 1:
        length = int(rng.integers(3, 9))
        return Damage(motion_px=(length, 1) if rng.random() < 0.5 else (1, length), quality=quality)
    if kind == 2:
        return Damage(side_px=max(32, round(size * rng.uniform(0.4, 0.8))), quality=quality)
    x, y = (int(v) for v in rng.integers(0, size, 2))
    return Damage(noise=rng.uniform(2, 10), noise_at=(x, y), quality=quality)


def noise_field(size: int) -> NDArray[np.float32]:
    """`(2 size, 2 size)` normal noise, of which each noisy sample takes a part."""
    return np.random.default_rng(0).standard_normal((2 * size, 2 * size), np.float32)


def _place(
    photograph: Photograph, width: float, height: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Top left of a crop of the photograph: mostly one that holds the middle of some object."""
    spare_x, spare_y = photograph.width - width, photograph.height - height
    x = rng.uniform(min(0, spare_x), max(0, spare_x))
    y = rng.uniform(min(0, spare_y), max(0, spare_y))
    if photograph.annotations and rng.random() < 0.7:
        annotation = photograph.annotations[rng.integers(len(photograph.annotations))]
        bx, by, bw, bh = annotation["bbox"]
        if spare_x > 0:
            x = np.clip(bx + bw / 2 - rng.uniform(0.2, 0.8) * width, 0, spare_x)
        if spare_y > 0:
            y = np.clip(by + bh / 2 - rng.uniform(0.2, 0.8) * height, 0, spare_y)
    return float(x), float(y)
