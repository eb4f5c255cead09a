"""Training samples: a crop of a photograph, changed at random, with its targets.

Scale jitter over two octaves, crops, flips, colour, video-like damage, and copy-paste of clean
cut-outs (Ghiasi et al. 2021), which brings exact labels with occlusion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepmask.training.coco import Photograph, load_set
from deepmask.training.config import DataConfig, StageConfig, TrainConfig
from deepmask.training.patches import Objects, TargetMaker

GREY = 127
MIN_VISIBLE = 0.35
"""An object of which less remains in the crop or uncovered is ignored."""

Image = NDArray[np.uint8]


@dataclasses.dataclass(slots=True)
class Scene:
    """A picture in the making: `image` `(S, S, 3)` and its objects' masks `(S, S)`."""

    image: Image
    masks: list[Image]
    areas: list[float]
    """Pixels that each object would have uncropped and uncovered."""
    ignored: list[bool]
    background_weight: float


class Samples(torch.utils.data.IterableDataset[dict[str, Tensor]]):
    """Endless samples of one stage. Sample i depends on the seed and i alone."""

    def __init__(
        self, sets: dict[str, list[Photograph]], config: TrainConfig, stage: StageConfig, first: int
    ) -> None:
        self.sets, self.data, self.stage = sets, config.data, stage
        self.seed, self.first = config.seed, first
        self.targets = TargetMaker(stage.size_px, config.network, config.data.positives)
        self.names = [name for name in config.data.shares if sets.get(name)]
        shares = np.array([config.data.shares[name] for name in self.names])
        self.shares = shares / shares.sum()
        self.cutouts = find_cutouts(sets)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        cv2.setNumThreads(0)
        info = torch.utils.data.get_worker_info()
        step, offset = (info.num_workers, info.id) if info else (1, 0)
        index = self.first + offset
        while True:
            yield self.sample(index)
            index += step

    def sample(self, index: int) -> dict[str, Tensor]:
        """Sample `index`: image `(3, S, S)` uint8 and the arrays of `Targets`."""
        rng = np.random.default_rng((self.seed, index))
        name = self.names[rng.choice(len(self.names), p=self.shares)]
        photograph = self.sets[name][rng.integers(len(self.sets[name]))]
        scene = crop(photograph, self.stage, self.data, rng)
        if self.cutouts and rng.random() < self.data.paste:
            for _ in range(rng.integers(1, 4)):
                owner, i = self.cutouts[rng.integers(len(self.cutouts))]
                paste(scene, owner, i, rng)
        image = change_colours(scene.image, rng)
        if rng.random() < self.data.degrade:
            image = degrade(image, rng)
        objects = _objects(scene, self.stage.size_px)
        targets = self.targets(objects, scene.background_weight, rng)
        sample: dict[str, Any] = dataclasses.asdict(targets)
        sample["image"] = image.transpose(2, 0, 1)
        return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in sample.items()}


def load_sets(folder: Path, data: DataConfig) -> dict[str, list[Photograph]]:
    """Every set that the samples are made of, in memory."""
    return {name: load_set(folder, name) for name in data.shares}


def find_cutouts(sets: dict[str, list[Photograph]]) -> list[tuple[Photograph, int]]:
    """Objects outlined by people that are neither tiny nor cut off by the picture's edge."""
    found = []
    for photograph in (p for photographs in sets.values() for p in photographs):
        for i, annotation in enumerate(photograph.annotations):
            x, y, w, h = annotation["bbox"]
            inside = x > 1 and y > 1 and x + w < photograph.width - 1
            inside = inside and y + h < photograph.height - 1
            human = annotation.get("source") == "human" and not annotation.get("iscrowd", 0)
            if human and inside and max(w, h) >= 64 and annotation["area"] >= 0.2 * w * h:
                found.append((photograph, i))
    return found


def crop(
    photograph: Photograph, stage: StageConfig, data: DataConfig, rng: np.random.Generator
) -> Scene:
    """A random square crop of a photograph at a random scale."""
    size = stage.size_px
    long_side = np.exp(rng.uniform(*np.log(stage.long_side_px)))
    scale = long_side / max(photograph.height, photograph.width)
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    width, height = size / (scale * stretch), size / (scale / stretch)
    x, y = _place(photograph, width, height, rng)
    region = (round(x), round(y), max(8, round(width)), max(8, round(height)))
    flip = rng.random() < 0.5
    image = _cut(photograph.image(), region, size, flip, GREY)
    weight = 1.0 if photograph.exhaustive else data.background_weight
    scene = Scene(image, [], [], [], weight)
    zoom = (size / region[2]) * (size / region[3])
    for i, annotation in enumerate(photograph.annotations):
        bx, by, bw, bh = annotation["bbox"]
        outside = bx + bw <= region[0] or bx >= region[0] + region[2]
        if outside or by + bh <= region[1] or by >= region[1] + region[3]:
            continue
        mask = _cut(photograph.mask(i) * 255, region, size, flip, 0)
        scene.masks.append((mask > 127).astype(np.uint8))
        scene.areas.append(annotation["area"] * zoom)
        unsure = annotation.get("score", 1.0) < data.min_label_score
        scene.ignored.append(bool(annotation.get("iscrowd", 0)) or unsure)
    return scene


def paste(scene: Scene, owner: Photograph, index: int, rng: np.random.Generator) -> None:
    """Put a cut-out object on top of `scene`, hiding what lies under it."""
    size = scene.image.shape[0]
    x, y, w, h = (round(v) for v in owner.annotations[index]["bbox"])
    scale = np.exp(rng.uniform(np.log(20), np.log(0.8 * size))) / max(w, h)
    shape = (max(4, round(w * scale)), max(4, round(h * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cut = cv2.resize(owner.image()[y : y + h, x : x + w], shape, interpolation=way)
    alpha = cv2.resize(owner.mask(index)[y : y + h, x : x + w] * 255, shape, interpolation=way)
    if rng.random() < 0.5:
        cut, alpha = cut[:, ::-1], alpha[:, ::-1]
    left = int(rng.uniform(-0.3 * shape[0], size - 0.7 * shape[0]))
    top = int(rng.uniform(-0.3 * shape[1], size - 0.7 * shape[1]))
    to = np.s_[max(0, top) : top + shape[1], max(0, left) : left + shape[0]]
    of = np.s_[max(0, -top) : size - top, max(0, -left) : size - left]
    cut, alpha = cut[of], alpha[of]
    if alpha.size == 0 or not (alpha > 127).any():
        return
    soft = cv2.GaussianBlur(alpha, (3, 3), 0)[..., None].astype(np.float32) / 255
    cut = change_colours(np.ascontiguousarray(cut), rng)
    scene.image[to] = (scene.image[to] * (1 - soft) + cut * soft).astype(np.uint8)
    covered = alpha > 127
    for mask in scene.masks:
        mask[to][covered] = 0
    mine = np.zeros((size, size), np.uint8)
    mine[to] = covered
    scene.masks.append(mine)
    scene.areas.append(owner.annotations[index]["area"] * scale * scale)
    scene.ignored.append(False)


def change_colours(image: Image, rng: np.random.Generator) -> Image:
    """Brightness, contrast, saturation and tint, sometimes grey."""
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.5, 1.5)
    contrast = rng.uniform(0.7, 1.3)
    matrix = np.empty((3, 4))
    matrix[:, :3] = (1 - saturation) * np.array([0.299, 0.587, 0.114]) + saturation * np.eye(3)
    matrix[:, :3] *= contrast
    matrix[:, 3] = GREY * (1 - contrast) + rng.uniform(-30, 30) + rng.uniform(-12, 12, 3)
    return np.asarray(cv2.transform(image, matrix), np.uint8)


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """What cameras and codecs do: blur, motion blur, noise, low resolution, compression."""
    size = image.shape[0]
    kind = rng.integers(4)
    if kind == 0:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.5)), np.uint8)
    elif kind == 1:
        length = int(rng.integers(3, 9))
        kernel = np.zeros((length, length), np.float32)
        ends = [(0, length // 2), (length - 1, length // 2)]
        if rng.random() < 0.5:
            ends = [(y, x) for x, y in ends]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
    elif kind == 2:
        small = max(32, round(size * rng.uniform(0.4, 0.8)))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    else:
        noise = rng.normal(0, rng.uniform(2, 10), image.shape[:2]).astype(np.float32)
        image = np.clip(image + noise[..., None], 0, 255).astype(np.uint8)
    quality = int(rng.integers(15, 70))
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def _objects(scene: Scene, size: int) -> Objects:
    if not scene.masks:
        return Objects(np.zeros((0, size, size), np.uint8), np.zeros(0, bool))
    visible = np.array([mask.sum() for mask in scene.masks]) / np.maximum(scene.areas, 1)
    return Objects(np.stack(scene.masks), np.array(scene.ignored) | (visible < MIN_VISIBLE))


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


def _cut(
    image: Image, region: tuple[int, int, int, int], size: int, flip: bool, fill: int
) -> Image:
    """The region x, y, w, h of an image as a square of `size`; `fill` outside the image."""
    x, y, w, h = region
    inner = image[max(0, y) : y + h, max(0, x) : x + w]
    top, left = max(0, -y), max(0, -x)
    bottom, right = h - top - inner.shape[0], w - left - inner.shape[1]
    if top or left or bottom or right:
        value = (fill, fill, fill)
        inner = cv2.copyMakeBorder(  # type: ignore[assignment]
            inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value
        )
    way = cv2.INTER_AREA if w > size else cv2.INTER_LINEAR
    out = cv2.resize(inner, (size, size), interpolation=way)
    return np.ascontiguousarray(out[:, ::-1] if flip else out)
