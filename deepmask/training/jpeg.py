"""What JPEG loses (ITU-T T.81), for many pictures at once: no bits are written."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# T.81, annex K: steps of brightness and of colour at quality 50.
LUMA = """
16 11 10 16  24  40  51  61
12 12 14 19  26  58  60  55
14 13 16 24  40  57  69  56
14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77
24 35 55 64  81 104 113  92
49 64 78 87 103 121 120 101
72 92 95 98 112 100 103  99
"""
CHROMA = """
17 18 24 47 99 99 99 99
18 21 26 66 99 99 99 99
24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99
"""
# T.871: R, G, B to brightness and two colours around 0, and back.
TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
BLOCK = 8


class _Tables(NamedTuple):
    to_ycc: Tensor
    from_ycc: Tensor
    luma: Tensor
    """`(8, 8)`"""
    chroma: Tensor
    cosines: Tensor
    """`(8, 8)` of frequency and place."""


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """Pictures as they come back from a JPEG file with colour at half the resolution.

    Args:
        images: `(n, 3, H, W)` float32, 0 to 255; sides are multiples of 16.
        quality: `(n,)` 1 to 100, as libjpeg counts.
    """
    tables = _tables(images.device)
    ycc = torch.einsum("ij,njhw->nihw", tables.to_ycc, images)
    luma = _quantise(ycc[:, :1] - 128, _steps(tables.luma, quality), tables.cosines) + 128
    halves = F.avg_pool2d(ycc[:, 1:], 2)
    halves = _quantise(halves, _steps(tables.chroma, quality), tables.cosines)
    chroma = F.interpolate(halves, scale_factor=2.0, mode="bilinear", align_corners=False)
    ycc = torch.cat([luma, chroma], 1)
    return torch.einsum("ij,njhw->nihw", tables.from_ycc, ycc).clamp(0, 255)


def _steps(table: Tensor, quality: Tensor) -> Tensor:
    """Quantisation steps `(n, 8, 8)`, scaled as libjpeg does."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()
    return ((table * percent[:, None, None] + 50) / 100).floor().clamp(1, 255)


def _quantise(planes: Tensor, steps: Tensor, cosines: Tensor) -> Tensor:
    """Planes `(n, c, h, w)` after their cosine transform was rounded to `steps` `(n, 8, 8)`."""
    n, channels, height, width = planes.shape
    blocks = planes.view(n, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    steps = steps[:, None, None, :, None, :]
    waves = torch.einsum("ui,nchiwj,vj->nchuwv", cosines, blocks, cosines)
    waves = (waves / steps).round() * steps
    back = torch.einsum("ui,nchuwv,vj->nchiwj", cosines, waves, cosines)
    return back.reshape(planes.shape)


@lru_cache
def _tables(device: torch.device) -> _Tables:
    """Made once for each device: it would be waited for at every copy."""
    k = torch.arange(BLOCK)
    cosines = torch.cos((2 * k + 1) * k[:, None] * (math.pi / 16)) / 2
    cosines[0] /= math.sqrt(2)
    luma, chroma = (
        torch.tensor([float(v) for v in text.split()]).view(BLOCK, BLOCK) for text in (LUMA, CHROMA)
    )
    each = (torch.tensor(TO_YCC), torch.tensor(FROM_YCC), luma, chroma, cosines)
    return _Tables(*(table.to(device) for table in each))
