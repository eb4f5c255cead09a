"""Where the cells of the feature pyramid lie: in the picture, and in the network's flat arrays.

Plain numpy, so that the runtimes that do without torch share it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deepmask.config import DeepMaskConfig

SIZE_STEP = 32
"""Network input sides are multiples of this many pixels."""

DETAIL_STRIDE = 4
"""Pixels of the input for one of the map that sharpens masks."""


class Level(NamedTuple):
    """One level of the pyramid."""

    rows: int
    cols: int
    stride: float
    """Pixels a cell; cell (i, j) is centred at ((j + 1/2) stride, (i + 1/2) stride)."""
    first: int
    """Index of its first cell among all levels' cells."""


def pyramid(size: tuple[int, int], config: DeepMaskConfig) -> list[Level]:
    """The levels of an input of `size` (H, W) pixels, finest first.

    Raises:
        ValueError: a side is not a positive multiple of 32.
    """
    height, width = size
    if min(size) < SIZE_STEP or height % SIZE_STEP or width % SIZE_STEP:
        raise ValueError(
            f"the network takes sides that are multiples of {SIZE_STEP} px, got {height} x {width}"
        )
    levels: list[Level] = []
    first = 0
    for k in range(config.levels):
        rows, cols = _cells(height, k), _cells(width, k)
        levels.append(Level(rows, cols, 8 * 2 ** (k / 2), first))
        first += rows * cols
    return levels


@lru_cache(maxsize=8)
def cell_windows(size: tuple[int, int], config: DeepMaskConfig) -> NDArray[np.float32]:
    """Each cell's window, `(N, 4)` x1, y1, x2, y2 in pixels of an input of `size` (H, W)."""
    half = config.window / 2
    windows = []
    for level in pyramid(size, config):
        y, x = np.mgrid[: level.rows, : level.cols] + 0.5
        window = np.stack([x - half, y - half, x + half, y + half], -1) * level.stride
        windows.append(window.reshape(-1, 4))
    return np.concatenate(windows).astype(np.float32)


@lru_cache(maxsize=8)
def cell_indices(size: tuple[int, int], config: DeepMaskConfig) -> NDArray[np.int64]:
    """Each cell's window as rows of `Dense.features`: `(N, window ** 2)`.

    What lies outside the picture is row N, which holds zeros.
    """
    reach = config.window // 2
    levels = pyramid(size, config)
    outside = levels[-1].first + levels[-1].rows * levels[-1].cols
    indices = []
    for level in levels:
        cells = level.first + np.arange(level.rows * level.cols).reshape(level.rows, level.cols)
        bordered = np.pad(cells, reach, constant_values=outside)
        windows = sliding_window_view(bordered, (config.window, config.window))
        indices.append(windows.reshape(-1, config.window**2))
    return np.concatenate(indices)


def input_size(size: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Network input (H, W) for a picture of `size` (H, W), with 3/4 `size_px` ** 2 pixels.

    A picture of another shape than 4:3 gets the same number of pixels, so the same time. Sides are
    rounded to multiples of 32 px; the picture is stretched by the few percent that this takes.

    >>> input_size((480, 640), 512), input_size((375, 1242), 512)
    ((384, 512), (256, 800))
    """
    height, width = size
    scale = math.sqrt(0.75 * size_px * size_px / (height * width))
    return _to_step(height * scale), _to_step(width * scale)


def _to_step(side: float) -> int:
    return max(SIZE_STEP, round(side / SIZE_STEP) * SIZE_STEP)


def _cells(side: int, level: int) -> int:
    """Cells along a side: whole octaves halve (rounding up); see `network.half_octave`."""
    octave = math.ceil(side / (8 << (level // 2)))
    return octave if level % 2 == 0 else math.floor((octave + 1) / math.sqrt(2))
