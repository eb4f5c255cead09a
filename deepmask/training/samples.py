"""Training samples on the CPU: plans drawn with OpenCV, one at a time, by processes of a loader."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepmask.training.coco import Photograph
from deepmask.training.config import StageConfig, TrainConfig
from deepmask.training.patches import Objects, TargetMaker
from deepmask.training.plans import GREY, Damage, Layer, Plan, Planner, noise_field

MIN_VISIBLE = 0.35
"""An object of which less remains in the crop or uncovered is ignored."""

T = TypeVar("T")

Image = NDArray[np.uint8]


class Endless(torch.utils.data.IterableDataset[T]):
    """`make(first)`, `make(first + 1)` ..., for a loader whose processes take turns.

    Each makes whole batches: the n-th holds the same samples, however many processes there are.
    """

    def __init__(self, make: Callable[[int], T], first: int, batch: int) -> None:
        self.make, self.first, self.batch = make, first, batch

    def __iter__(self) -> Iterator[T]:
        cv2.setNumThreads(0)  # the processes are threads enough
        info = torch.utils.data.get_worker_info()
        step, offset = (info.num_workers, info.id) if info else (1, 0)
        starts = itertools.count(self.first + offset * self.batch, step * self.batch)
        return (self.make(start + i) for start in starts for i in range(self.batch))


class Samples:
    """The samples of one stage. Sample i depends on the seed and i alone."""

    def __init__(
        self, sets: Mapping[str, Sequence[Photograph]], config: TrainConfig, stage: StageConfig
    ) -> None:
        self.planner, self.size = Planner(sets, config, stage), stage.size_px
        self.targets = TargetMaker(
            stage.size_px, config.network, config.data.positives, torch.device("cpu")
        )
        self.noise = noise_field(stage.size_px)

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Sample `index`: image `(3, S, S)` uint8 and the tensors of `Targets`."""
        return self.draw(self.planner(index))

    def draw(self, plan: Plan) -> dict[str, Tensor]:
        """The sample that is planned."""
        image, masks = self._compose(plan)
        image = np.asarray(cv2.transform(image, plan.colours), np.uint8)
        if plan.damage is not None:
            image = degrade(image, plan.damage, self.noise)
        areas = np.array([area for layer in plan.layers for area in layer.areas])
        ignored = np.array([unsure for layer in plan.layers for unsure in layer.ignored], bool)
        ignored |= masks.sum((1, 2)) < MIN_VISIBLE * areas
        count = len(masks)
        objects = Objects(
            torch.from_numpy(masks),
            torch.from_numpy(ignored),
            torch.zeros(count, dtype=torch.long),
            torch.arange(count),
            max(count, 1),
        )
        weight, turn = torch.tensor([plan.background_weight]), torch.tensor([plan.turn])
        targets = self.targets(objects, weight, turn)
        sample = {name: value[0] for name, value in targets._asdict().items()}
        return {"image": torch.from_numpy(image.transpose(2, 0, 1).copy()), **sample}

    def _compose(self, plan: Plan) -> tuple[Image, Image]:
        """The picture `(S, S, 3)` of all layers, and what shows of each object `(G, S, S)`."""
        background, *cutouts = plan.layers
        photograph = self.planner.photographs[background.photograph]
        image = _cut(photograph.image(), background, GREY)
        masks = [
            (_cut(photograph.mask(i) * 255, background, 0) > 127).astype(np.uint8)
            for i in background.annotations
        ]
        for layer in cutouts:
            self._paste(layer, image, masks)
        return image, np.array(masks, np.uint8).reshape(-1, self.size, self.size)

    def _paste(self, layer: Layer, image: Image, masks: list[Image]) -> None:
        """Put a cut-out on top of `image`, and hide what lies under it from `masks`."""
        size, owner = self.size, self.planner.photographs[layer.photograph]
        left, top, width, height = layer.to
        to = np.s_[max(0, top) : top + height, max(0, left) : left + width]
        of = np.s_[max(0, -top) : size - top, max(0, -left) : size - left]
        alpha = _cut(owner.mask(layer.annotations[0]) * 255, layer, 0)[of]
        cut = cv2.transform(_cut(owner.image(), layer, GREY)[of], layer.colours)
        soft = cv2.GaussianBlur(alpha, (3, 3), 0)[..., None].astype(np.float32) / 255
        image[to] = (image[to] * (1 - soft) + cut * soft).astype(np.uint8)
        covered = alpha > 127
        for mask in masks:
            mask[to][covered] = 0
        mine = np.zeros((size, size), np.uint8)
        mine[to] = covered
        masks.append(mine)


def degrade(image: Image, damage: Damage, noise: NDArray[np.float32]) -> Image:
    """What cameras and codecs do: blur, motion blur, low resolution, noise, compression.

    Args:
        image: `(S, S, 3)`.
        damage: how much of what.
        noise: a `noise_field`.
    """
    size = image.shape[0]
    if damage.sigma_px:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), damage.sigma_px), np.uint8)
    if damage.motion_px != (1, 1):
        image = np.asarray(cv2.blur(image, damage.motion_px), np.uint8)
    if damage.side_px:
        small = cv2.resize(image, (damage.side_px,) * 2, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (size, size)), np.uint8)
    if damage.noise:
        x, y = damage.noise_at
        grain = damage.noise * noise[y : y + size, x : x + size, None]
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, damage.quality]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)


def shrunk(photograph: Photograph) -> Tensor:
    """All of a photograph, in the shape of most: `(1, 3, 288, 384)` float32 RGB in 0..255."""
    pixels = torch.from_numpy(photograph.image()).permute(2, 0, 1)[None].float()
    return F.interpolate(pixels, (288, 384), mode="bilinear", antialias=True)


def _cut(image: Image, layer: Layer, fill: int) -> Image:
    """A layer's part of an image, at the size of the sample; `fill` outside the image."""
    x, y, w, h = layer.of
    inner = image[max(0, y) : y + h, max(0, x) : x + w]
    top, left = max(0, -y), max(0, -x)
    bottom, right = h - top - inner.shape[0], w - left - inner.shape[1]
    if top or left or bottom or right:
        value = (fill, fill, fill)
        inner = cv2.copyMakeBorder(  # type: ignore[assignment]
            inner, top, bottom, left, right, cv2.BORDER_CONSTANT, value=value
        )
    width, height = layer.to[2:]
    way = cv2.INTER_AREA if w > width and h > height else cv2.INTER_LINEAR
    out = cv2.resize(inner, (width, height), interpolation=way)
    return np.ascontiguousarray(out[:, ::-1] if layer.flip else out)
