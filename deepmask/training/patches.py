"""Targets: which cells stand for an object, which for none, and the mask each one should give.

DeepMask's definitions (Pinheiro et al. 2015, section 3.1), in cells of a pyramid level: a cell is
positive when the object's centre lies within one cell and its long side within a quarter octave of
the canonical size; up to two cells and one octave it is ignored; otherwise it is negative. Objects
smaller or larger than the pyramid's ends belong to its end levels.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from deepmask.config import DeepMaskConfig
from deepmask.geometry import cell_windows

POSITIVE_OCTAVES = 0.27
IGNORED_CELLS, IGNORED_OCTAVES = 2.0, 1.0
SMALLEST_PX = 5.0
"""Objects with a shorter long side are ignored."""


@dataclasses.dataclass(frozen=True, slots=True)
class Objects:
    """The labelled objects of one training picture of side S."""

    masks: NDArray[np.uint8]
    """`(G, S, S)` 0 or 1, visible parts."""

    ignored: NDArray[np.bool_]
    """`(G,)` true where it is unknown whether this is one whole object: crowds, fragments."""


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """What the network should say of one picture. N cells, K windows."""

    objectness: NDArray[np.float32]
    """`(N,)` 1 or 0"""
    weights: NDArray[np.float32]
    """`(N,)` weight of each cell in the objectness loss; 0 is ignored."""
    cells: NDArray[np.int64]
    """`(K,)` positive cells that learn masks, filled up with 0."""
    valid: NDArray[np.bool_]
    """`(K,)` false where `cells` is only filled up."""
    masks: NDArray[np.uint8]
    """`(K, 56, 56)` 0 to 255: coverage of each window pixel by the object."""


class TargetMaker:
    """Makes `Targets` for square pictures of one size."""

    def __init__(self, size_px: int, config: DeepMaskConfig, positives: int) -> None:
        self.config, self.size, self.positives = config, size_px, positives
        size = (size_px, size_px)
        windows = cell_windows(size, config)
        self.x, self.y = (windows[:, :2] + windows[:, 2:]).T / 2
        self.stride = (windows[:, 2] - windows[:, 0]) / config.window
        self.octave = np.log2(self.stride * np.float32(config.canonical))
        last = size_px - 1  # the last cells of coarse levels may be centred beyond the edge
        self.pixel = tuple(np.minimum(v.astype(int), last) for v in (self.y, self.x))

    def __call__(
        self, objects: Objects, background_weight: float, rng: np.random.Generator
    ) -> Targets:
        """Targets of a picture.

        Args:
            objects: what is labelled in it.
            background_weight: weight of negatives outside of every labelled object.
            rng: chooses the windows that learn masks where there are more than fit.
        """
        count = len(self.x)
        weights = np.full(count, background_weight, np.float32)
        owner = np.full(count, -1)
        nearest = np.full(count, np.inf, np.float32)
        ignored = np.zeros(count, bool)
        for g, (mask, uncertain) in enumerate(zip(objects.masks, objects.ignored, strict=True)):
            box = _box(mask)
            if box is None:
                continue
            inside = mask[self.pixel] > 0
            side = max(box[2] - box[0], box[3] - box[1])
            if uncertain or side < SMALLEST_PX:
                ignored |= inside | self._around(box, side)[2]
                continue
            distance, positive, near = self._around(box, side)
            finer = self.octave < np.log2(side) - IGNORED_OCTAVES
            weights[inside & finer] = 1.0  # parts of a labelled whole are not objects
            ignored |= near
            better = positive & (distance < nearest)
            owner[better], nearest[better] = g, distance[better]
        positive = owner >= 0
        weights[ignored] = 0.0
        weights[positive] = 1.0
        chosen = self._choose(owner, rng)
        size = self.config.mask
        masks = np.zeros((self.positives, size, size), np.uint8)
        for i, cell in enumerate(chosen):
            masks[i] = self._window(objects.masks[owner[cell]], cell)
        cells = np.zeros(self.positives, np.int64)
        cells[: len(chosen)] = chosen
        valid = np.arange(self.positives) < len(chosen)
        return Targets(positive.astype(np.float32), weights, cells, valid, masks)

    def _around(
        self, box: tuple[int, int, int, int], side: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Distance of each cell to an object in cells and octaves; positive; near."""
        dx = np.abs((box[0] + box[2]) / 2 - self.x) / self.stride
        dy = np.abs((box[1] + box[3]) / 2 - self.y) / self.stride
        cells = np.maximum(dx, dy)
        low, high = self.octave[0], self.octave[-1]
        octaves = np.abs(np.clip(np.log2(side), low, high) - self.octave)
        radius = np.clip(0.3 * side / self.stride, 0.51, 1.0)
        positive = (cells <= radius) & (octaves <= POSITIVE_OCTAVES)
        near = (cells <= IGNORED_CELLS) & (octaves <= IGNORED_OCTAVES)
        return cells + octaves, positive, near

    def _choose(self, owner: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Up to `positives` positive cells, every object served before any is served again."""
        cells = np.flatnonzero(owner >= 0)
        cells = cells[rng.permutation(len(cells))]
        if len(cells) <= self.positives:
            return cells
        turn = np.zeros(len(cells))
        served: dict[int, int] = {}
        for i, g in enumerate(owner[cells]):
            turn[i] = served.get(int(g), 0)
            served[int(g)] = int(turn[i]) + 1
        return cells[np.argsort(turn, kind="stable")[: self.positives]]

    def _window(self, mask: NDArray[np.uint8], cell: int) -> NDArray[np.uint8]:
        """The object's coverage of a cell's window, 0 to 255."""
        side = self.config.window * self.stride[cell]
        scale = self.config.mask / side
        size = self.config.mask
        x1, y1 = self.x[cell] - side / 2, self.y[cell] - side / 2
        if scale < 0.7:  # shrink with area averaging first: linear sampling would skip pixels
            scaled = cv2.resize(mask * 255, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            ratio = scaled.shape[0] / mask.shape[0]
            shift = np.array([[1, 0, -x1 * ratio], [0, 1, -y1 * ratio]], np.float64)
            out = cv2.warpAffine(scaled, shift, (size, size), flags=cv2.INTER_LINEAR)
        else:
            offset_x, offset_y = (0.5 - x1) * scale - 0.5, (0.5 - y1) * scale - 0.5
            matrix = np.array([[scale, 0, offset_x], [0, scale, offset_y]], np.float64)
            out = cv2.warpAffine(mask * 255, matrix, (size, size), flags=cv2.INTER_LINEAR)
        return np.asarray(out, np.uint8)


def _box(mask: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    cols, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if cols.size == 0:
        return None
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1
