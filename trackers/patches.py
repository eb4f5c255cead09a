"""Where a thing is now, by what it looked like: a patch of the picture and its cross-correlation.

A patch is what the picture showed within an object's box, in at most 32 x 32 samples: finding it
again costs the same whatever the object's size. Few are ever sought, so cutting one out is a copy.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

SIDE = 32
"""Most samples along either side of a patch."""

LEAST_SIDE = 4
"""A patch of fewer samples would be found anywhere."""

LEAST_CONTRAST = 4.0
"""The same of one whose samples' standard deviation is less, in steps of 256."""

GREY = 128
"""Amid what a channel holds."""

GREEN = 1
"""The channel that is looked at: most of the brightness."""


class Patch(NamedTuple):
    """What is found again."""

    samples: NDArray[np.uint8]
    """`(h, w)`."""
    step: int
    """Pixels from one sample to the next."""


class Place(NamedTuple):
    """Where a patch was found."""

    x: float
    """Pixels to the right of where it was sought around."""
    y: float
    """Pixels below."""
    similarity: float
    """Normalised cross-correlation, at most 1."""


def cut(picture: Picture, extent: NDArray[np.int32]) -> Patch | None:
    """What the picture `(H, W, 3)` RGB shows at `extent`, x1, y1, x2, y2; None of a speck."""
    x1, y1, x2, y2 = extent.tolist()
    step = max(1, math.ceil(max(x2 - x1, y2 - y1) / SIDE))
    samples = picture[y1:y2:step, x1:x2:step, GREEN].copy()
    return Patch(samples, step) if min(samples.shape) >= LEAST_SIDE else None


def find(
    patch: Patch,
    picture: Picture,
    extent: NDArray[np.int32],
    move: tuple[float, float],
    reach_px: float,
) -> Place | None:
    """Where the picture looks most like the patch.

    None where no place is whole within it, or the patch shows plain ground.

    Fast normalised cross-correlation (Lewis, Vision Interface 1995), to a part of a sample by the
    parabola through the highest value and its neighbours.

    Args:
        patch: what to find.
        picture: `(H, W, 3)` RGB.
        extent: x1, y1, x2, y2 where it was.
        move: x, y in pixels that it should have moved since.
        reach_px: how far from either place, and from all between, it is sought.
    """
    (height, width), step = patch.samples.shape, patch.step
    firsts, counts = [], []
    for start, end, side, way in zip(
        extent[:2].tolist(), extent[2:].tolist(), picture.shape[1::-1], move, strict=True
    ):
        first = max(-(start // step), math.floor((min(way, 0.0) - reach_px) / step))
        last = min((side - end) // step, math.ceil((max(way, 0.0) + reach_px) / step))
        firsts.append(first)
        counts.append(last - first + 1)
    pattern = normalised(patch.samples)
    if min(counts) < 1 or pattern is None:
        return None
    left, top = (c + step * first for c, first in zip(extent[:2].tolist(), firsts, strict=True))
    wide, high = counts[0] + width - 1, counts[1] + height - 1
    region = picture[top : top + step * high : step, left : left + step * wide : step, GREEN]
    similarity = correlation(pattern, region)
    row, column = np.unravel_index(int(similarity.argmax()), similarity.shape)
    x = column + _between(similarity[row], int(column)) + firsts[0]
    y = row + _between(similarity[:, column], int(row)) + firsts[1]
    return Place(float(x * step), float(y * step), float(similarity[row, column]))


def normalised(samples: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """`(h, w)` samples shifted and scaled to mean 0 and norm 1; None of plain ground."""
    pattern = samples.astype(np.float32)
    pattern -= pattern.sum() / pattern.size
    norm = math.sqrt(np.vdot(pattern, pattern))
    plain = norm < LEAST_CONTRAST * math.sqrt(samples.size)
    return None if plain else pattern / norm


def correlation(patch: NDArray[np.float32], region: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Normalised cross-correlation with each part of `region` of the patch's size.

    Args:
        patch: `(h, w)` with mean 0 and norm 1.
        region: `(H, W)`, at least as large.

    Returns:
        `(H - h + 1, W - w + 1)` in [-1, 1], 0 where the region is plain.
    """
    (h, w), (rows, columns) = patch.shape, region.shape
    centred = region - np.float32(GREY)  # else float32 is not exact enough for the sums
    shape = [scipy.fft.next_fast_len(side, real=True) for side in region.shape]
    spectrum = scipy.fft.rfft2(centred, shape) * scipy.fft.rfft2(patch, shape).conj()
    shared = scipy.fft.irfft2(spectrum, shape)[: rows - h + 1, : columns - w + 1]
    down, across = _windows(rows, h), _windows(columns, w).T
    sums = down @ centred @ across
    spread = down @ (centred * centred) @ across - sums * sums / (h * w)
    plain = spread < h * w
    return np.where(plain, np.float32(0.0), shared / np.sqrt(np.where(plain, 1.0, spread)))


@functools.lru_cache(maxsize=256)
def _windows(count: int, width: int) -> NDArray[np.float32]:
    """`(count - width + 1, count)` ones in the `width` columns from each row's own on, else 0."""
    ahead = np.arange(count) - np.arange(count - width + 1)[:, None]
    return ((ahead >= 0) & (ahead < width)).astype(np.float32)


def _between(values: NDArray[np.float32], best: int) -> float:
    """How far the top of the parabola through `values` around `best` is from it, in [-.5, .5]."""
    if not 0 < best < len(values) - 1:
        return 0.0
    before, top, after = values[best - 1 : best + 2].tolist()
    bend = before - 2.0 * top + after
    return 0.0 if bend > -1e-9 else 0.5 * (before - after) / bend
