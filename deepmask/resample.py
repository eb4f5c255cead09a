"""Axis-aligned resampling of many pictures at once, as two matrix products a picture.

Every row of a matrix holds the weights with which one output pixel takes the pixels of its input:
those of the two nearest where a picture grows, the share of each that it covers where it shrinks.
That is what OpenCV's INTER_LINEAR and INTER_AREA compute.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weights(of: Tensor, to: Tensor, flip: Tensor, count: int, length: int) -> Tensor:
    """Matrices that resample one axis.

    Args:
        of: `(n, 2)` start and length of the part of the input, in its pixels.
        to: `(n, 2)` where it goes, in pixels of the output.
        flip: `(n,)` bool, mirrored.
        count: pixels of the output.
        length: pixels of the input.

    Returns:
        `(n, count, length)`; 0 outside of `to`, and for what lies beyond the input's ends.
    """
    place = torch.arange(count, device=of.device) + 0.5
    share = (place - to[:, :1]) / to[:, 1:]
    inside = (share > 0) & (share < 1)
    share = torch.where(flip[:, None], 1 - share, share)
    centre = (of[:, :1] + share * of[:, 1:])[:, :, None]
    pitch = (of[:, 1:] / to[:, 1:]).clamp(min=1)[:, :, None]
    distance = (torch.arange(length, device=of.device) + 0.5 - centre).abs()
    # Two intervals, of lengths 1 and `pitch`, whose middles are `distance` apart. Where the
    # picture grows, `pitch` is 1: the overlap is then the weight of linear interpolation.
    overlap = ((pitch + 1) / 2 - distance).clamp(0, 1) / pitch
    return overlap * inside[:, :, None]


def resample(images: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Images `(n, ..., H, W)` by matrices `(n, h, H)` and `(n, w, W)` -> `(n, ..., h, w)`."""
    for _ in range(images.ndim - 3):
        rows, cols = rows.unsqueeze(1), cols.unsqueeze(1)
    return rows @ images @ cols.transpose(-1, -2)
