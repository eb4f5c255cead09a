"""What an object looks like, as a vector: what the network sees under its mask, and its colours.

The network's features tell kinds of things apart; colours tell apart what is of one kind, such as
people by their clothes. The colours of the pixels under the mask are counted as video has them,
luma by itself and the two chromas together (YCrCb: CIELAB tells no more, and takes OpenCV a tenth
of a second to prepare). The cosine of the roots of two such histograms' shares is their
Bhattacharyya coefficient (Comaniciu, Ramesh and Meer, PAMI 2003). What most objects have in common,
greyish tints of medium lightness, is taken off: it would make any two alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Binned = list[tuple[NDArray[np.intp], Floats]]

LIGHTS = 6
"""Bins of luma."""
TINTS = 7
"""Bins of each of the two chromas; the outermost hold all beyond, too."""
TINT_STEP = 8
"""So many of 255 steps of a chroma are a bin; the middle one is around grey."""
COLOURS = LIGHTS + TINTS**2
"""Numbers that say what colours an object has."""

NETWORK = 0.3
"""Share of the network's cosine in that of two objects; the rest is the colours'."""

MOST_PIXELS = 400
"""At most so many pixels of a crop are looked at; of a larger one, every n-th row and column."""

DARK_TO_LIGHT = [0.41, 0.47, 0.43, 0.35, 0.24, 0.15]
YELLOW_TO_BLUE_BY_GREEN_TO_RED = [
    [0.01, 0.00, 0.01, 0.01, 0.01, 0.02, 0.03],
    [0.01, 0.01, 0.01, 0.02, 0.04, 0.04, 0.03],
    [0.02, 0.02, 0.06, 0.14, 0.13, 0.06, 0.03],
    [0.04, 0.06, 0.20, 0.38, 0.18, 0.04, 0.01],
    [0.07, 0.11, 0.22, 0.20, 0.07, 0.01, 0.01],
    [0.09, 0.12, 0.13, 0.07, 0.02, 0.01, 0.00],
    [0.18, 0.12, 0.09, 0.04, 0.01, 0.00, 0.00],
]
MEAN = np.append(DARK_TO_LIGHT, YELLOW_TO_BLUE_BY_GREEN_TO_RED).astype(np.float32)
"""`(COLOURS,)` mean of the roots below, of 4,038 objects that the shipped network found in 1,010
of its training photographs, each seen four times; what one looks like is what differs from it."""


def appearance(
    features: Floats,
    image: NDArray[np.uint8],
    offsets: NDArray[np.int32],
    crops: Sequence[NDArray[np.bool_]],
) -> Floats:
    """`(N, C + COLOURS)` unit vectors of N objects.

    Args:
        features: `(N, C)` unit vectors, what the network sees of each.
        image: `(H, W, 3)` uint8 RGB.
        offsets: `(N, 2)` x, y of the masks' crops.
        crops: N masks `(h, w)`, none of them empty.
    """
    pixels = [
        _some(image[y : y + crop.shape[0], x : x + crop.shape[1]], crop)
        for (x, y), crop in zip(offsets.tolist(), crops, strict=True)
    ]
    colours = _unit(_roots(pixels) - MEAN) if pixels else np.zeros((0, COLOURS), np.float32)
    parts = math.sqrt(NETWORK) * features, math.sqrt(1 - NETWORK) * colours
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _some(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`(n, 3)` pixels under the mask; all of them where those looked at miss it."""
    step = math.ceil(math.sqrt(mask.size / MOST_PIXELS))
    some = picture[::step, ::step][mask[::step, ::step]]
    return some if len(some) else picture[mask]


def _roots(pixels: Sequence[NDArray[np.uint8]]) -> Floats:
    """`(N, COLOURS)` roots of the shares that each bin has of the pixels `(n, 3)` RGB of an object.

    A pixel counts in the two nearest bins of luma, and in the four nearest of the chromas: a shade
    more or less moves a share of it.
    """
    counts = np.array([len(each) for each in pixels])
    owner = np.repeat(np.arange(len(pixels)), counts)
    colours = cv2.cvtColor(np.concatenate(pixels)[None], cv2.COLOR_RGB2YCrCb)[0].astype(np.float32)
    light = _bins(colours[:, 0] * (LIGHTS / 255) - 0.5, LIGHTS)
    red, blue = (_bins((colours[:, i] - 128) / TINT_STEP + TINTS // 2, TINTS) for i in (1, 2))
    tints = [(i * TINTS + j, p * q) for i, p in red for j, q in blue]
    sizes = ((light, LIGHTS), (tints, TINTS**2))
    shares = np.concatenate([_counted(owner, len(pixels), *each) for each in sizes], axis=1)
    return np.asarray(np.sqrt(shares / counts[:, None]), np.float32)


def _counted(
    owner: NDArray[np.intp], objects: int, binned: Binned, size: int
) -> NDArray[np.float64]:
    """`(objects, size)` what each object's pixels add to each bin."""
    total = np.zeros(objects * size)
    for bins, share in binned:
        total += np.bincount(owner * size + bins, share, len(total))
    return total.reshape(objects, size)


def _bins(values: Floats, count: int) -> Binned:
    """The two nearest of `count` bins, and how much of each value belongs to either."""
    low = np.clip(values, 0, count - 1)
    bins = np.minimum(low.astype(np.intp), count - 2)
    share = low - bins
    return [(bins, 1 - share), (bins + 1, share)]


def _unit(vectors: Floats) -> Floats:
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return np.asarray(vectors / norms, np.float32)
