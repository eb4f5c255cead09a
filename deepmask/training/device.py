"""Training samples on a GPU: photographs and masks in its memory, many plans drawn at once.

Crops, cut-outs, masks and blurs are all products with matrices of `resample.py`. The same plan
looks as `samples.py` draws it, but for rounding and a pixel at edges.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepmask.resample import resample, weights
from deepmask.training.coco import Photograph
from deepmask.training.config import StageConfig, TrainConfig
from deepmask.training.jpeg import compress
from deepmask.training.patches import Objects, TargetMaker
from deepmask.training.plans import GREY, Plan, noise_field
from deepmask.training.samples import MIN_VISIBLE

COVERED = 127 / 255
"""From this coverage on, a pixel is the object's."""


class Store:
    """Photographs and their masks in a device's memory, each in the corner of a square.

    Args:
        photographs: in the order of the planner's.
        side_px: longest side; larger photographs are shrunk to it.
        device: where they lie: 3 bytes for each pixel of the square, and a bit for each mask.
    """

    def __init__(
        self, photographs: Sequence[Photograph], side_px: int, device: torch.device
    ) -> None:
        sides = [max(one.height, one.width) for one in photographs]
        side = math.ceil(min(side_px, max(sides)) / 8) * 8
        counts = np.array([len(one.annotations) for one in photographs])
        rows = np.cumsum(counts) - counts
        scales = np.minimum(1.0, side / np.array(sides))
        self.scale = torch.from_numpy(scales).float().to(device)
        self.first = torch.from_numpy(rows).to(device)
        self.pictures = torch.empty(
            (len(photographs), 3, side, side), dtype=torch.uint8, device=device
        ).fill_(GREY)
        self._bits = torch.zeros(
            (int(counts.sum()), side, side // 8), dtype=torch.uint8, device=device
        )
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._put, range(len(photographs)), photographs, scales, rows))

    def masks(self, photographs: Tensor, annotations: Tensor) -> Tensor:
        """Masks `(n, side, side)` uint8, 0 or 1, of annotations `(n,)` of photographs `(n,)`."""
        places = torch.arange(7, -1, -1, device=annotations.device, dtype=torch.uint8)
        packed = self._bits[self.first[photographs] + annotations]
        return (packed.unsqueeze(3) >> places & 1).flatten(2)

    def _put(self, index: int, photograph: Photograph, scale: float, row: int) -> None:
        image = photograph.image()
        masks = [photograph.mask(i) for i in range(len(photograph.annotations))]
        if scale < 1:
            sides = photograph.width, photograph.height
            size = [max(1, int(side * scale)) for side in sides]
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            masks = [np.asarray(cv2.resize(mask, size), np.uint8) for mask in masks]
        height, width = image.shape[:2]
        self.pictures[index, :, :height, :width] = torch.from_numpy(image).permute(2, 0, 1)
        if masks:
            packed = torch.from_numpy(np.packbits(np.stack(masks), axis=2))
            self._bits[row : row + len(masks), :height, : packed.shape[2]] = packed


class PlanBatch(NamedTuple):
    """B plans as arrays: L layers, G objects, D samples with damage."""

    counts: Sequence[int]
    """Layers of each rank: B backgrounds, then how many samples have a first cut-out, a second."""
    picture: Tensor
    """`(L,)` the sample that a layer is in."""
    rank: Tensor
    """`(L,)` 0 for backgrounds, 1 for first cut-outs ...; layers are in this order."""
    photograph: Tensor
    """`(L,)`"""
    of: Tensor
    """`(L, 4)`"""
    to: Tensor
    """`(L, 4)`"""
    flip: Tensor
    """`(L,)` bool"""
    layer_colours: Tensor
    """`(L, 3, 4)`"""
    most: int
    """Objects in the sample that has most, at least 1."""
    layer: Tensor
    """`(G,)` the layer that an object comes from; a cut-out's objects are in the layers' order."""
    annotation: Tensor
    """`(G,)`"""
    area: Tensor
    """`(G,)`"""
    ignored: Tensor
    """`(G,)` bool"""
    place: Tensor
    """`(G,)` which of its sample's objects this is."""
    colours: Tensor
    """`(B, 3, 4)`"""
    background_weight: Tensor
    """`(B,)`"""
    turn: Tensor
    """`(B,)`"""
    damaged: Tensor
    """`(D,)` samples"""
    damage: Tensor
    """`(D, 8)` the numbers of `Damage`, in the order of its fields."""

    def to_device(self, device: torch.device) -> PlanBatch:
        """The same there, without waiting."""
        fields: dict[str, Any] = self._asdict()
        tensors = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
        return PlanBatch(
            **fields | {name: t.to(device, non_blocking=True) for name, t in tensors.items()}
        )


def collate(plans: Sequence[Plan]) -> PlanBatch:
    """Plans as arrays."""
    ranks = range(max(len(plan.layers) for plan in plans))
    levels = [[(b, p.layers[r]) for b, p in enumerate(plans) if r < len(p.layers)] for r in ranks]
    pictures = [picture for level in levels for picture, _ in level]
    layers = [layer for level in levels for _, layer in level]
    owners = [number for number, layer in enumerate(layers) for _ in layer.annotations]
    places, seen = [], [0] * len(plans)
    for number in owners:
        places.append(seen[pictures[number]])
        seen[pictures[number]] += 1
    damaged = [b for b, plan in enumerate(plans) if plan.damage is not None]
    damages = [np.hstack(dataclasses.astuple(p.damage)) for p in plans if p.damage is not None]
    return PlanBatch(
        [len(level) for level in levels],
        _column(pictures, np.int64),
        _column([rank for rank, level in enumerate(levels) for _ in level], np.int64),
        _column([layer.photograph for layer in layers], np.int64),
        _column([layer.of for layer in layers], np.float32),
        _column([layer.to for layer in layers], np.float32),
        _column([layer.flip for layer in layers], np.bool_),
        _column([layer.colours for layer in layers], np.float32),
        max(1, *seen),
        _column(owners, np.int64),
        _column([number for layer in layers for number in layer.annotations], np.int64),
        _column([area for layer in layers for area in layer.areas], np.float32),
        _column([unsure for layer in layers for unsure in layer.ignored], np.bool_),
        _column(places, np.int64),
        _column([plan.colours for plan in plans], np.float32),
        _column([plan.background_weight for plan in plans], np.float32),
        _column([plan.turn for plan in plans], np.float32),
        _column(damaged, np.int64),
        _column(damages, np.float32).reshape(-1, 8),
    )


def _column(values: Sequence[object], dtype: type[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(values, dtype))


class DeviceSamples:
    """Draws plans of one stage from what a store holds, where the store is."""

    def __init__(self, store: Store, config: TrainConfig, stage: StageConfig) -> None:
        self.store, self.size = store, stage.size_px
        self.device = store.pictures.device
        # Pixels less grey fit float16 exactly; its 11 bits are enough for the weights.
        self.dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        self.targets = TargetMaker(
            stage.size_px, config.network, config.data.positives, self.device
        )
        self.noise = torch.from_numpy(noise_field(stage.size_px)).to(self.device)

    @torch.no_grad()
    def draw(self, plans: PlanBatch) -> dict[str, Tensor]:
        """B samples: image `(B, 3, S, S)` uint8 and the tensors of `Targets`."""
        plans = plans.to_device(self.device)
        images, masks = self._compose(plans)
        images = change_colours(images.float(), plans.colours).clamp(0, 255)
        if len(plans.damaged):
            images[plans.damaged] = degrade(images[plans.damaged], plans.damage, self.noise)
        hidden = masks.sum((1, 2)) < MIN_VISIBLE * plans.area
        picture = plans.picture[plans.layer]
        objects = Objects(masks, plans.ignored | hidden, picture, plans.place, plans.most)
        targets = self.targets(objects, plans.background_weight, plans.turn)
        return {"image": images.round().to(torch.uint8), **targets._asdict()}

    def _compose(self, plans: PlanBatch) -> tuple[Tensor, Tensor]:
        """Pictures `(B, 3, S, S)` of all layers, and what shows of each object `(G, S, S)`."""
        side, scale = self.store.pictures.shape[-1], self.store.scale[plans.photograph, None]
        upright = torch.zeros_like(plans.flip)
        of, to = plans.of * scale, plans.to
        rows = weights(of[:, 1::2], to[:, 1::2], upright, self.size, side).to(self.dtype)
        cols = weights(of[:, ::2], to[:, ::2], plans.flip, self.size, side).to(self.dtype)
        masks = self.store.masks(plans.photograph[plans.layer], plans.annotation).to(self.dtype)
        masks = resample(masks, rows[plans.layer], cols[plans.layer])
        count = plans.counts[0]
        alphas = masks[len(masks) - (len(rows) - count) :]  # those of the cut-outs, one a layer
        covered = masks > COVERED
        top = torch.zeros(count, self.size, self.size, dtype=torch.uint8, device=self.device)
        images = self._pictures(plans, slice(0, count), rows, cols)
        begin = count
        for rank, number in enumerate(plans.counts[1:], 1):
            part, mine = slice(begin, begin + number), slice(begin - count, begin - count + number)
            cut = change_colours(
                self._pictures(plans, part, rows, cols), plans.layer_colours[part].to(self.dtype)
            ).clamp(0, 255)
            where, soft = plans.picture[part], _soften(alphas[mine]).unsqueeze(1)
            images[where] = torch.lerp(images[where], cut, soft)
            top[where] = top[where].masked_fill(alphas[mine] > COVERED, rank)
            begin += number
        visible = top[plans.picture[plans.layer]] <= plans.rank[plans.layer, None, None]
        return images, (covered & visible).to(torch.uint8)

    def _pictures(self, plans: PlanBatch, part: slice, rows: Tensor, cols: Tensor) -> Tensor:
        """The photographs of some layers `(n, 3, S, S)`, grey beyond their edges."""
        pictures = self.store.pictures[plans.photograph[part]].to(self.dtype) - GREY
        return resample(pictures, rows[part], cols[part]) + GREY


def change_colours(images: Tensor, matrices: Tensor) -> Tensor:
    """Images `(n, 3, h, w)` by matrices `(n, 3, 4)` from R, G, B, 1 to R, G, B."""
    changed = matrices[:, :, :3] @ images.flatten(2) + matrices[:, :, 3:]
    return changed.view_as(images)


def degrade(images: Tensor, damage: Tensor, noise: Tensor) -> Tensor:
    """What cameras and codecs do: blur, motion blur, low resolution, noise, compression.

    Args:
        images: `(n, 3, S, S)`, 0 to 255.
        damage: `(n, 8)`, see `PlanBatch`.
        noise: a `noise_field`.
    """
    size = images.shape[-1]
    sigma, motion_x, motion_y, side, strength, x, y, quality = damage.T
    rows, cols = (_blur(sigma, length, side, size) for length in (motion_y, motion_x))
    images = resample(images, rows, cols)
    steps = torch.arange(size, device=images.device)
    down, across = (start.long()[:, None] + steps for start in (y, x))
    grain = noise[down[:, :, None], across[:, None, :]] * strength[:, None, None]
    return compress((images + grain[:, None]).clamp(0, 255), quality)


def _blur(sigma: Tensor, motion: Tensor, side: Tensor, size: int) -> Tensor:
    """Matrices `(n, size, size)` that blur one axis; each of the three numbers may be none."""
    steps = torch.arange(size, device=sigma.device)
    offset = steps - steps[:, None]
    bell = torch.exp(-0.5 * (offset / sigma.clamp(min=0.01)[:, None, None]).square())
    length = motion.long()[:, None, None]
    first = -(length // 2)
    box = ((offset >= first) & (offset < first + length)).float()
    kernel = torch.where(length > 1, box, bell)
    start, end = torch.zeros_like(side), torch.full_like(side, size)
    full = torch.stack([start, end], 1)
    small = torch.stack([start, torch.where(side > 0, side, end)], 1)
    straight = torch.zeros_like(side, dtype=torch.bool)
    shrink = weights(full, small, straight, size, size)
    grow = weights(small, full, straight, size, size)
    # Beyond the edge lies what lies at it: the weights of each pixel make 1.
    return _to_one(grow @ shrink) @ _to_one(kernel)


def _to_one(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(2, keepdim=True)


def _soften(alphas: Tensor) -> Tensor:
    """Coverages `(n, S, S)`, blurred over 3x3 pixels with weights 1, 2, 1."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(alphas, (1, 1, 1, 1)), 2, 1), 2, 1)
