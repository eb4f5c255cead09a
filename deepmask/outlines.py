"""Masks that follow the picture: the network draws 56 x 56 pixels a window, the picture shows more.

Two steps, both within the window. What colours the object has, and its surroundings, is known
roughly from the mask itself; a pixel whose colour says otherwise changes sides where the network
was unsure (the colour model of GrabCut, Rother et al., SIGGRAPH 2004). Then the mask becomes,
around each pixel, the linear function of the colours that fits it best, which is applied to the
picture in more detail: the mask's edges move onto the picture's (the fast guided filter, He and
Sun, arXiv:1505.00996).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FINER = 3
"""So many times as many pixels a side has a mask afterwards."""

TRUST = 0.3
"""How much the colours count beside the network's answer: a factor of the log-odds."""

LEVELS = 8
"""Colours are counted in so many steps of red, green and blue."""

RARE = 1e-4
"""Added to the share of each colour: one that was hardly seen says nothing."""

FLATNESS = 6.5
"""Variance of a colour, of 255 steps, below which there is no edge to follow."""

NEIGHBOURS = (3, 3)
"""Pixels of the network's mask to which a linear function is fitted."""

SPECK = 0.03
"""What is less of a mask than this share and lies apart from the rest is none of it."""

TOGETHER = 64
"""At most so many masks are fitted at once: OpenCV takes pictures of some hundred channels."""

_SMOOTH = (0.5 * np.eye(LEVELS) + 0.25 * np.eye(LEVELS, k=1) + 0.25 * np.eye(LEVELS, k=-1)).astype(
    np.float32
)


def follow(masks: Floats, windows: Floats, image: NDArray[np.uint8]) -> Floats:
    """Masks `(K, 3 s, 3 s)` that follow the picture's colours and edges.

    Args:
        masks: `(K, s, s)` probabilities over the windows.
        windows: `(K, 4)` x1, y1, x2, y2 in the picture's pixels.
        image: `(H, W, 3)` uint8 RGB.

    Returns:
        Near an edge a little below 0 or above 1.
    """
    count, side = masks.shape[:2]
    finer = np.empty((count, FINER * side, FINER * side), np.float32)
    for first in range(0, count, TOGETHER):
        some = slice(first, first + TOGETHER)
        details = [_cut(image, window, FINER * side) for window in windows[some]]
        colours = np.stack([_shrunk(detail, side) for detail in details])
        fits = fitted(recoloured(masks[some], colours), colours)
        for mask, fit, detail in zip(finer[some], fits, details, strict=True):
            mask[:] = _enlarged(fit[3], detail)
            for factor, plane in zip(fit[:3], cv2.split(detail), strict=True):
                mask += _enlarged(factor, detail) * plane
    return finer


def recoloured(masks: Floats, colours: NDArray[np.uint8]) -> Floats:
    """The probabilities given the colours as well.

    A pixel's odds are multiplied by (share of its colour in the object / share around it) to the
    power `TRUST`.

    Args:
        masks: `(K, s, s)` probabilities.
        colours: `(K, s, s, 3)` RGB.

    Returns:
        `(K, s, s)` probabilities.
    """
    count, kinds = len(masks), LEVELS**3
    steps = (colours // (256 // LEVELS)).astype(np.intp)
    kind = (steps[..., 0] * LEVELS + steps[..., 1]) * LEVELS + steps[..., 2]
    kind += (np.arange(count) * kinds)[:, None, None]
    inside = np.bincount(kind.ravel(), masks.ravel(), count * kinds)
    around = np.bincount(kind.ravel(), minlength=count * kinds) - inside
    counts = np.stack([inside, around]).astype(np.float32)
    counts = _SMOOTH @ (counts.reshape(-1, LEVELS, LEVELS, LEVELS) @ _SMOOTH)
    counts = (_SMOOTH @ counts.reshape(-1, LEVELS, LEVELS**2)).reshape(2, count, kinds)
    shares = counts / np.maximum(counts.sum(2, keepdims=True), 1e-6) + RARE
    odds = masks * ((shares[0] / shares[1]) ** TRUST).take(kind)
    return np.asarray(odds / (odds + (1 - masks)), np.float32)


def fitted(masks: Floats, colours: NDArray[np.uint8]) -> Floats:
    """The linear function of the colours that fits the mask best around each pixel.

    Least squares over `NEIGHBOURS`, averaged over all fits that a pixel takes part in: equations 4
    to 6 of He and Sun, for colours.

    Args:
        masks: `(K, s, s)` probabilities.
        colours: `(K, s, s, 3)` RGB.

    Returns:
        `(K, 4, s, s)`: factors of red, green and blue, and what is added.
    """
    # All masks at once, as the channels of one picture.
    mask = np.ascontiguousarray(masks.transpose(1, 2, 0))
    r, g, b = np.ascontiguousarray(colours.transpose(3, 1, 2, 0), np.float32)
    mr, mg, mb, m = _mean(r), _mean(g), _mean(b), _mean(mask)
    # The covariance of the colours, and theirs with the mask ...
    rr, gg, bb = (_mean(c * c) - mc * mc + FLATNESS for c, mc in ((r, mr), (g, mg), (b, mb)))
    rg, rb, gb = _mean(r * g) - mr * mg, _mean(r * b) - mr * mb, _mean(g * b) - mg * mb
    rm, gm, bm = (_mean(c * mask) - mc * m for c, mc in ((r, mr), (g, mg), (b, mb)))
    # ... and the equations solved with the adjugate of that symmetric matrix.
    rr_, gg_, bb_ = gg * bb - gb * gb, rr * bb - rb * rb, rr * gg - rg * rg
    rg_, rb_, gb_ = gb * rb - rg * bb, rg * gb - gg * rb, rb * rg - rr * gb
    determinant = rr * rr_ + rg * rg_ + rb * rb_
    red = (rr_ * rm + rg_ * gm + rb_ * bm) / determinant
    green = (rg_ * rm + gg_ * gm + gb_ * bm) / determinant
    blue = (rb_ * rm + gb_ * gm + bb_ * bm) / determinant
    added = m - red * mr - green * mg - blue * mb
    fits = np.stack([_mean(each) for each in (red, green, blue, added)])
    return np.ascontiguousarray(fits.transpose(3, 0, 1, 2))


def without_specks(mask: Floats, threshold: float) -> Floats:
    """The mask, 0 where pieces above the threshold lie apart that are too small to be its object's.

    Args:
        mask: `(h, w)` probabilities.
        threshold: in [0, 1].
    """
    place = extent(mask > threshold)
    above = (mask[place] > threshold).view(np.uint8)
    count, labels = cv2.connectedComponents(above, connectivity=4, ltype=cv2.CV_16U)
    if count <= 2:  # what is not above, and one piece
        return mask
    areas = np.bincount(labels.ravel())
    speck = areas < SPECK * areas[1:].sum()
    speck[0] = False
    if speck.any():
        mask = mask.copy()
        mask[place][speck[labels]] = 0
    return mask


def extent(binary: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the tight box around what is true in `(h, w)`; empty if nothing is."""
    x, y, width, height = cv2.boundingRect(binary.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def _mean(planes: Floats) -> Floats:
    """Of `(s, s, K)`, over the neighbours of each pixel."""
    return np.asarray(cv2.blur(planes, NEIGHBOURS), np.float32).reshape(planes.shape)


def _shrunk(detail: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(detail, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _enlarged(plane: Floats, detail: NDArray[np.uint8]) -> Floats:
    """At the size of `detail`."""
    return np.asarray(cv2.resize(plane, detail.shape[1::-1]), np.float32)


def _cut(image: NDArray[np.uint8], window: Floats, side: int) -> NDArray[np.uint8]:
    """The picture in a window, `(side, side, 3)`; its border goes on outside of it."""
    pitch = (window[2:] - window[:2]) / side
    x, y = window[:2] + pitch / 2 - 0.5
    matrix = np.array([[pitch[0], 0, x], [0, pitch[1], y]])
    flags, border = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    cut = cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=border)
    return np.asarray(cut, np.uint8)
