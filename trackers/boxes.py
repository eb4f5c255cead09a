"""Box formats and overlap. Unless said otherwise a box is `x1, y1, x2, y2` in pixels, float64.

Pairs of boxes that do not overlap are never looked at: `overlaps` finds the others by a sweep
over x, so its cost grows with the number of neighbours, not with N x M.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

DENSE_PAIRS = 4096
"""Up to this many pairs comparing all of them is cheaper than sorting for the sweep."""


TO_CENTRES: Floats = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]])
"""A row x1, y1, x2, y2 times this is the row cx, cy, w, h."""
TO_CORNERS: Floats = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])
"""A row cx, cy, w, h times this is the row x1, y1, x2, y2."""


def to_centres(boxes: Floats) -> Floats:
    """`(N, 4)` x1, y1, x2, y2 as `(N, 4)` cx, cy, w, h.

    >>> to_centres(np.array([[10.0, 20.0, 30.0, 60.0]])).tolist()
    [[20.0, 40.0, 20.0, 40.0]]
    """
    return boxes @ TO_CENTRES


def to_corners(centres: Floats) -> Floats:
    """`(N, 4)` cx, cy, w, h as `(N, 4)` x1, y1, x2, y2.

    >>> to_corners(np.array([[20.0, 40.0, 20.0, 40.0]])).tolist()
    [[10.0, 20.0, 30.0, 60.0]]
    """
    return centres @ TO_CORNERS


def areas(boxes: Floats) -> Floats:
    """`(N,)` square pixels of `(N, 4)` boxes."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def grown(boxes: Floats, share: float) -> Floats:
    """Boxes grown on every side by a share of their width or height.

    >>> grown(np.array([[10.0, 20.0, 20.0, 60.0]]), 0.5).tolist()
    [[5.0, 0.0, 25.0, 80.0]]
    """
    margin = (boxes[:, 2:] - boxes[:, :2]) * share
    return np.concatenate((boxes[:, :2] - margin, boxes[:, 2:] + margin), axis=1)


def overlaps(a: Floats, b: Floats) -> tuple[Indices, Indices, Floats]:
    """Which boxes of `a` and `b` overlap, and by how much.

    Args:
        a: `(N, 4)` boxes.
        b: `(M, 4)` boxes.

    Returns:
        `(K,)` rows of `a`, `(K,)` rows of `b`, and `(2, K)` widths and heights of the
        intersections, for the K pairs that have one, ordered by the row of `a`.
    """
    few = len(a) * len(b) <= DENSE_PAIRS
    i, j = _all_pairs(len(a), len(b)) if few else _near_pairs(a, b)
    first, second = a.T.take(i, 1), b.T.take(j, 1)
    sides = np.minimum(first[2:], second[2:])
    sides -= np.maximum(first[:2], second[:2])
    meet = (np.minimum(sides[0], sides[1]) > 0.0).nonzero()[0]
    return i.take(meet), j.take(meet), sides.take(meet, 1)


def covered(boxes: Floats) -> Floats:
    """`(N,)` the largest share of each box that another one covers.

    >>> covered(np.array([[0.0, 0, 4, 4], [2, 0, 10, 4], [20, 0, 24, 4]])).tolist()
    [0.5, 0.25, 0.0]
    """
    i, j, sides = overlaps(boxes, boxes)
    other = (i != j).nonzero()[0]
    out = np.zeros(len(boxes))
    shared = (sides[0] * sides[1]).take(other)
    np.maximum.at(out, i.take(other), shared / areas(boxes).take(i.take(other)))
    return out


@functools.lru_cache(maxsize=64)
def _all_pairs(n: int, m: int) -> tuple[Indices, Indices]:
    """Rows of `n` and of `m` boxes, each with each. Remembered, for counts come again."""
    i, j = np.indices((n, m)).reshape(2, -1)
    return i, j


def _near_pairs(a: Floats, b: Floats) -> tuple[Indices, Indices]:
    """Candidates, among them all pairs that overlap, by a sweep from left to right.

    With `b` sorted by x1, the boxes that start before `a` ends are a prefix, and those before
    the first whose running maximum of x2 passes the start of `a` end too early. What is left is
    few pairs, of which those apart in y are dropped.
    """
    ax1, ay1, ax2, ay2 = a.T.copy()
    order = b[:, 0].argsort(kind="stable")
    bx1, by1, bx2, by2 = b.take(order, 0).T.copy()
    first = np.maximum.accumulate(bx2).searchsorted(ax1, "right")
    counts = bx1.searchsorted(ax2, "left") - first
    np.maximum(counts, 0, out=counts)
    i = np.arange(len(a)).repeat(counts)
    j = np.arange(len(i)) + (first + counts - counts.cumsum()).repeat(counts)
    meet = ay1.take(i) < by2.take(j)
    meet &= by1.take(j) < ay2.take(i)
    keep = meet.nonzero()[0]
    return i.take(keep), order.take(j.take(keep))


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of all pairs: `(N, M)` from `(N, 4)` and `(M, 4)`.

    >>> iou(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]])).round(3).tolist()
    [[0.333]]
    """
    i, j, sides = overlaps(a, b)
    shared = sides[0] * sides[1]
    out = np.zeros((len(a), len(b)))
    out[i, j] = shared / (areas(a)[i] + areas(b)[j] - shared)
    return out
