"""What hides an object shrinks its box: measure by the edges that still show.

The box of a half hidden object ends where the thing in front of it begins. Taken as measured, its
centre slows down and its size shrinks, and the object is sought in the wrong place when it comes
out again. But the edge on the other side still shows where it is. For each axis, with the
expected interval [e1, e2] and the measured one [m1, m2]:

    [m1, m2]  becomes  [m1, m1 + (e2 - e1)]   if the right edge is hidden and the left one is not
                       [m2 - (e2 - e1), m2]   if the left edge is hidden and the right one is not

An edge is hidden if it should lie further out, and what lies between, the strip from where the
edge is to where it should be, belongs to the mask of another detection or is outside the picture.
The front one of two never loses an edge, so nothing needs to know which it is. Where both edges
of an axis are hidden there is nothing to hold on to, and the box counts as measured. Only masks
tell all this: boxes of detectors without masks mostly cover hidden parts as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers import boxes as boxlib
from trackers.masks import Masks

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

HIDDEN_SHARE = 0.5
"""Share of the strip beyond an edge that others must cover."""

OUTWARDS: Floats = np.array([-1.0, -1.0, 1.0, 1.0])
"""Which way x1, y1, x2 and y2 lie further out."""


def uncovered(
    expected: Floats, measured: Floats, own: Indices, boxes: Floats, masks: Masks
) -> Floats:
    """`(K, 4)` measured boxes with their hidden edges put where they should be.

    Args:
        expected: `(K, 4)` predicted boxes x1, y1, x2, y2 of the objects.
        measured: `(K, 4)` boxes of the detections they were matched with.
        own: `(K,)` which detections these are.
        boxes: `(M, 4)` boxes of all detections.
        masks: Their M masks.
    """
    out = measured.copy()
    sides = expected[:, 2:] - expected[:, :2]
    shrunk = measured[:, 2:] - measured[:, :2] < sides
    hidden = ((expected - measured) * OUTWARDS > 0.0) & shrunk[:, [0, 1, 0, 1]]
    if not hidden.any():
        return out
    hidden &= _covered(expected, measured, hidden, own, boxes, masks)
    for axis in (0, 1):
        low, high = hidden[:, axis], hidden[:, axis + 2]
        k = (high & ~low).nonzero()[0]
        out[k, axis + 2] = measured[k, axis] + sides[k, axis]
        k = (low & ~high).nonzero()[0]
        out[k, axis] = measured[k, axis + 2] - sides[k, axis]
    return out


def _covered(
    expected: Floats,
    measured: Floats,
    asked: NDArray[np.bool_],
    own: Indices,
    boxes: Floats,
    masks: Masks,
) -> NDArray[np.bool_]:
    """`(K, 4)` which of the edges `asked` for end at others' masks or at the picture's border."""
    height, width = masks.size
    k, edge = asked.nonzero()
    # The strip beyond an edge reaches from where that is to where it should be.
    inside = np.clip(measured, 0.0, (width, height, width, height))
    strips, rows = inside.take(k, 0), np.arange(len(k))
    strips[rows, (edge + 2) % 4] = strips[rows, edge]
    strips[rows, edge] = expected[k, edge]
    strips[:, :2], strips[:, 2:] = np.floor(strips[:, :2]), np.ceil(strips[:, 2:])
    within = np.clip(strips, 0.0, (width, height, width, height))
    covered = boxlib.areas(strips) - boxlib.areas(within)
    i, other, _ = boxlib.overlaps(within, boxes)
    strangers = (other != own.take(k).take(i)).nonzero()[0]
    i, other = i.take(strangers), other.take(strangers)
    np.add.at(covered, i, masks.inside(other, within.take(i, 0).astype(np.int32)))
    out = np.zeros(asked.shape, bool)
    out[k, edge] = covered >= HIDDEN_SHARE * boxlib.areas(strips)
    return out
