"""Targets: which cells stand for an object, which for none, and the mask each one should give.

DeepMask's definitions (Pinheiro et al. 2015, section 3.1), in cells of a pyramid level: a cell is
positive when the object's centre lies within one cell and its long side within a quarter octave of
the canonical size; up to two cells and one octave it is ignored; otherwise it is negative. Objects
smaller or larger than the pyramid's ends belong to its end levels.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepmask.config import DeepMaskConfig
from deepmask.geometry import cell_windows

POSITIVE_OCTAVES = 0.27
IGNORED_CELLS, IGNORED_OCTAVES = 2.0, 1.0
SMALLEST_PX = 5.0
"""Objects with a shorter long side are ignored."""


class Objects(NamedTuple):
    """The labelled objects of B training pictures of side S, G in all, picture after picture."""

    masks: Tensor
    """`(G, S, S)` 0 or 1, visible parts; an object that is hidden altogether counts for nothing."""
    ignored: Tensor
    """`(G,)` bool, true where it is unknown whether this is one whole object."""
    picture: Tensor
    """`(G,)` int64, in [0, B)."""
    place: Tensor
    """`(G,)` int64, which of its picture's objects this is, in [0, `most`)."""
    most: int
    """Objects in the picture that has most, at least 1."""


class Targets(NamedTuple):
    """What the network should say of B pictures. N cells, K windows a picture."""

    objectness: Tensor
    """`(B, N)` 1 or 0"""
    weights: Tensor
    """`(B, N)` weight of each cell in the objectness loss; 0 is ignored."""
    cells: Tensor
    """`(B, K)` positive cells that learn masks, filled up with others."""
    valid: Tensor
    """`(B, K)` false where `cells` is only filled up."""
    masks: Tensor
    """`(B, K, 56, 56)` uint8: coverage of each window pixel by the object, of 255."""


class TargetMaker:
    """Makes `Targets` for square pictures of one size, on the device of their masks."""

    def __init__(
        self, size_px: int, config: DeepMaskConfig, positives: int, device: torch.device
    ) -> None:
        self.size, self.side, self.positives = size_px, config.mask, positives
        windows = torch.from_numpy(cell_windows((size_px, size_px), config)).to(device)
        self.windows = windows
        self.x, self.y = (windows[:, :2] + windows[:, 2:]).T / 2
        self.stride = (windows[:, 2] - windows[:, 0]) / config.window
        self.octave = (self.stride * config.canonical).log2()
        # The last cells of coarse levels may be centred beyond the edge.
        col, row = (v.long().clamp(max=size_px - 1) for v in (self.x, self.y))
        self.pixel = row * size_px + col
        generator = torch.Generator().manual_seed(0)
        self.order = torch.rand(len(windows), generator=generator).to(device)

    def __call__(self, objects: Objects, background_weight: Tensor, turn: Tensor) -> Targets:
        """Targets of B pictures.

        Args:
            objects: what is labelled in them.
            background_weight: `(B,)` weight of negatives outside of every labelled object.
            turn: `(B,)` in [0, 1): turns the order in which windows are chosen that learn masks.
        """
        if not len(objects.masks):
            objects = self._nothing(objects)
        box, there = _boxes(objects.masks)
        side = (box[:, 2:] - box[:, :2]).amax(1, keepdim=True)
        known = (there & ~objects.ignored)[:, None] & (side >= SMALLEST_PX)
        unknown = there[:, None] & ~known
        inside = objects.masks.flatten(1)[:, self.pixel] > 0
        distance, positive, near = self._around(box, side)
        part = inside & known & (self.octave < side.log2() - IGNORED_OCTAVES)
        ignored = (unknown & inside) | (there[:, None] & near)

        def each(values: Tensor, none: float) -> Tensor:
            """`(G, N)` -> `(B, most, N)`."""
            shape = (len(turn), objects.most, values.shape[1])
            return values.new_full(shape, none).index_put_((objects.picture, objects.place), values)

        distance = torch.where(positive & known, distance, torch.inf)
        nearest, owner = each(distance, torch.inf).min(1)
        is_object = nearest < torch.inf
        # Parts of a labelled whole are not objects, wherever they are.
        weight = torch.where(each(part, 0).any(1), 1.0, background_weight[:, None])
        weight = weight.masked_fill(each(ignored, 0).any(1), 0.0).masked_fill(is_object, 1.0)
        cells, valid = self._choose(owner, is_object, turn)
        rows = torch.zeros(len(turn), objects.most, dtype=torch.long, device=turn.device)
        rows[objects.picture, objects.place] = torch.arange(len(there), device=turn.device)
        learnt = rows.gather(1, owner.gather(1, cells)) * valid
        masks = self._coverage(objects.masks, learnt.flatten(), cells.flatten())
        masks = masks.view(*cells.shape, self.side, self.side) * valid[:, :, None, None]
        return Targets(is_object.float(), weight, cells, valid, masks)

    def _nothing(self, objects: Objects) -> Objects:
        """Hidden altogether: one object for the indexing where nothing is labelled."""
        masks = objects.masks.new_zeros(1, self.size, self.size)
        zero = objects.picture.new_zeros(1)
        return Objects(masks, zero.bool(), zero, zero, 1)

    def _around(self, box: Tensor, side: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance `(G, N)` of cells to objects in cells and octaves; positive; near."""
        dx = ((box[:, :1] + box[:, 2:3]) / 2 - self.x).abs() / self.stride
        dy = ((box[:, 1:2] + box[:, 3:]) / 2 - self.y).abs() / self.stride
        cells = torch.maximum(dx, dy)
        octaves = side.log2().clamp(self.octave[0], self.octave[-1])
        octaves = (octaves - self.octave).abs()
        radius = (0.3 * side / self.stride).clamp(0.51, 1.0)
        positive = (cells <= radius) & (octaves <= POSITIVE_OCTAVES)
        near = (cells <= IGNORED_CELLS) & (octaves <= IGNORED_OCTAVES)
        return cells + octaves, positive, near

    def _choose(self, owner: Tensor, is_object: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Up to K positive cells, every object served before any is served again.

        Args:
            owner: `(B, N)` whose cell it is, where `is_object`.
            is_object: `(B, N)` bool.
            turn: `(B,)`.

        Returns:
            `(B, K)` cells, and whether each is one.
        """
        chance = (self.order + turn[:, None]) % 1
        key = torch.where(is_object, owner + chance, torch.inf)
        order = key.argsort(1)
        owners = torch.where(is_object, owner, -1).gather(1, order)
        position = torch.arange(owner.shape[1], device=owner.device).expand_as(owner)
        first = torch.ones_like(is_object)
        first[:, 1:] = owners[:, 1:] != owners[:, :-1]
        begin = torch.where(first, position, 0).cummax(1).values
        served = torch.zeros_like(position).scatter(1, order, position - begin)
        rank = torch.where(is_object, served + chance, torch.inf)
        count = min(self.positives, rank.shape[1])
        best, cells = rank.topk(count, largest=False)
        return cells, best < torch.inf

    def _coverage(self, masks: Tensor, rows: Tensor, cells: Tensor) -> Tensor:
        """The coverage of the windows of `cells` `(n,)` by `masks[rows]`: `(n, 56, 56)` uint8."""
        steps = torch.arange(self.side + 1, device=cells.device) / self.side
        x1, y1, x2, y2 = self.windows[cells].T[:, :, None]
        x, y = x1 + (x2 - x1) * steps, y1 + (y2 - y1) * steps
        sums = sums_before(masks, rows, x, y)
        inside = sums[:, 1:, 1:] - sums[:, :-1, 1:] - sums[:, 1:, :-1] + sums[:, :-1, :-1]
        pixel = (self.windows[cells, 2] - self.windows[cells, 0]) / self.side
        return (
            (inside * (255 / pixel.square())[:, None, None]).round().clamp(0, 255).to(torch.uint8)
        )


def sums_before(masks: Tensor, rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sums of masks over all that lies above and to the left of places (Crow 1984).

    Args:
        masks: `(G, S, S)` uint8.
        rows: `(n,)` which masks.
        x: `(n, k)` px, anywhere.
        y: `(n, k)`.

    Returns:
        `(n, k, k)`, for each y and x.
    """
    size = masks.shape[1]
    table = _integrals(masks).flatten()
    x, y = x.clamp(0, size), y.clamp(0, size)
    left, top = (v.long().clamp(max=size - 1) for v in (x, y))
    first = (rows[:, None, None] * (size + 1) + top[:, :, None]) * (size + 1) + left[:, None, :]
    across, down = (x - left)[:, None, :], (y - top)[:, :, None]
    above, below = (
        torch.lerp(table[corner].float(), table[corner + 1].float(), across)
        for corner in (first, first + size + 1)
    )
    return torch.lerp(above, below, down)


def _integrals(masks: Tensor) -> Tensor:
    """`(G, S + 1, S + 1)` int32: sums above and to the left of each pixel's corner."""
    if masks.device.type != "cpu":
        return F.pad(masks.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32), (1, 0, 1, 0))
    tables = np.empty((len(masks), masks.shape[1] + 1, masks.shape[2] + 1), np.int32)
    for mask, table in zip(masks.numpy(), tables, strict=True):
        cv2.integral(mask, table)  # in a twentieth of torch's time
    return torch.from_numpy(tables)


def _boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Tight boxes `(G, 4)` x1, y1, x2, y2 of masks `(G, S, S)`, and which hold anything."""
    ends = []
    for axis in (1, 2):
        filled = masks.amax(axis)
        ends.append(filled.argmax(1))
        ends.append(masks.shape[1] - filled.flip(1).argmax(1))
    x1, x2, y1, y2 = ends
    return torch.stack([x1, y1, x2, y2], 1).float(), masks.flatten(1).amax(1) > 0
