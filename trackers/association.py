"""What pairing a tracklet with a detection gains, and the assignment that gains most.

Only pairs that overlap are ever looked at. Element k of every argument belongs to pair k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

DENSE_CELLS = 4096
"""Up to this many cells the whole matrix goes to the Hungarian method at once."""


LEAST_GAIN = 1e-6
"""Share of its gain that a pair keeps that may be matched only where nothing else can be."""


def overlap_gain(shared: Floats, a: Floats, b: Floats) -> Floats:
    """Intersection over union, |A & B| / |A | B|, in [0, 1].

    Of areas it is the IoU of boxes or masks (Bewley et al., "Simple Online and Realtime
    Tracking", ICIP 2016). Of heights it is the IoU of the y-ranges, which tells a near person
    from a far one behind her (Yang et al., "Hybrid-SORT", AAAI 2024, equation 3).

    Args:
        shared: `(K,)` area or length of the intersection.
        a: `(K,)` area or length of the first.
        b: `(K,)` area or length of the second.

    >>> overlap_gain(np.array([2.0]), np.array([4.0]), np.array([4.0])).round(3).tolist()
    [0.333]
    """
    return shared / (a + b - shared)


def shared_at(gain: float, a: Floats, b: Floats) -> Floats:
    """The intersection `(K,)` at which `overlap_gain` is `gain`: a bound that spares a comparison.

    >>> shared_at(0.5, np.array([3.0]), np.array([3.0])).tolist()
    [2.0]
    """
    return gain / (1.0 + gain) * (a + b)


def blended_gain(boxes: Floats, masks: Floats, mask_weight: float) -> Floats:
    """(1 - w) IoU of boxes + w IoU of masks.

    Masks tell apart what shares a box; boxes still hold where a mask is ragged.
    """
    return boxes + mask_weight * (masks - boxes)


def growth(a: Floats, b: Floats) -> Floats:
    """How many times the larger of two areas is the smaller one, or 1 pixel if that is less.

    Args:
        a: `(K,)` areas in pixels.
        b: `(K,)` others.

    >>> growth(np.array([2.0, 6.0]), np.array([8.0, 3.0])).tolist()
    [4.0, 2.0]
    """
    return np.maximum(a, b) / np.maximum(np.minimum(a, b), 1.0)


def appearance_gain(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
    """`(N, M)` cosine of the angle between unit vectors `(N, C)` and `(M, C)` (DeepSORT)."""
    return (a @ b.T).astype(np.float64)


def familiar_gain(gain: Floats, alike: Floats, same: float, weight: float) -> Floats:
    """g + w (a - s), above 0: likeness beside overlap (Wojke et al., "DeepSORT", ICIP 2017).

    With s as one thing has it from frame to frame, strangers lose by likeness. If they gained by
    it, what is hidden would take its neighbour's detection, and that one the next one's. Of
    those that look like nobody around, the nearest is still the first.

    Args:
        gain: `(K,)` what the pairs are worth by where things are, g, above 0.
        alike: `(K,)` cosines of appearance, a.
        same: s, the cosine that neither adds nor takes off.
        weight: w, what the cosine counts.

    >>> familiar_gain(np.array([1.2, 1.2]), np.array([0.9, 0.6]), 0.8, 5.0).round(3).tolist()
    [1.7, 0.2]
    """
    return np.maximum(gain + weight * (alike - same), LEAST_GAIN * gain)


def reentry_gain(alike: Floats, away: Floats, weight: float) -> Floats:
    """alike - w d / (1 + d): likeness, less where the object would have come back far away.

    Args:
        alike: `(N, M)` cosines of appearance.
        away: `(N, M)` distances d from where each was seen last, in its own sizes.
        weight: w, what the farthest counts less.

    >>> reentry_gain(np.array([[0.9]]), np.array([[1.0]]), 0.2).round(3).tolist()
    [[0.8]]
    """
    return alike - weight * away / (1.0 + away)


def best_rival(gain: Floats) -> Floats:
    """`(N, M)` the largest gain in the column of each cell but for the cell's own; -inf if alone.

    >>> best_rival(np.array([[0.9], [0.8], [0.1]])).ravel().tolist()
    [0.8, 0.9, 0.9]
    """
    out = np.full(gain.shape, -np.inf)
    if len(gain) > 1:
        first, columns = gain.argmax(0), np.arange(gain.shape[1])
        out[:] = gain[first, columns]
        out[first, columns] = np.partition(gain, -2, axis=0)[-2]
    return out


def assign(i: Indices, j: Indices, gain: Floats, shape: tuple[int, int]) -> tuple[Indices, Indices]:
    """The one-to-one choice of pairs with the largest total gain (Kuhn 1955).

    Args:
        i: `(K,)` row of each pair that may be matched.
        j: `(K,)` column of each pair.
        gain: `(K,)` what matching the pair is worth, above 0.
        shape: Numbers of rows and columns.

    Returns:
        Rows and columns of the chosen pairs.
    """
    if len(i) <= min(shape) and _distinct(i) and _distinct(j):
        return i, j  # there is no choice
    if shape[0] * shape[1] <= DENSE_CELLS:
        return _hungarian(i, j, gain, shape)
    sure = _dominant(i, j, gain, shape).nonzero()[0]
    taken_i, taken_j = np.zeros(shape[0], bool), np.zeros(shape[1], bool)
    sure_i, sure_j = i.take(sure), j.take(sure)
    taken_i[sure_i] = taken_j[sure_j] = True
    left = (~(taken_i.take(i) | taken_j.take(j))).nonzero()[0]
    rows, row_of = _renumbered(i.take(left), shape[0])
    columns, column_of = _renumbered(j.take(left), shape[1])
    r, c = _hungarian(row_of, column_of, gain.take(left), (len(rows), len(columns)))
    return np.concatenate((sure_i, rows.take(r))), np.concatenate((sure_j, columns.take(c)))


def _distinct(numbers: Indices) -> bool:
    """Whether no number comes twice."""
    return len(set(numbers.tolist())) == len(numbers)


def _hungarian(
    i: Indices, j: Indices, gain: Floats, shape: tuple[int, int]
) -> tuple[Indices, Indices]:
    """`assign` on the dense matrix; a cell of 0 means unmatched."""
    matrix = np.zeros(shape)
    matrix[i, j] = gain
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    keep = matrix[rows, columns].nonzero()[0]
    return rows.take(keep), columns.take(keep)


def _dominant(i: Indices, j: Indices, gain: Floats, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pairs that belong to the best assignment whatever becomes of the others.

    If (i, j) gains more than all other pairs of i and all other pairs of j together, an
    assignment without it gains by exchanging whatever i and j have there for it:

        g > (sum of row - g) + (sum of column - g)

    In crowds of a thousand this leaves a few dozen pairs to the Hungarian method, and the result
    is the same.
    """
    rows = np.bincount(i, gain, shape[0])
    columns = np.bincount(j, gain, shape[1])
    return 3.0 * gain > rows.take(i) + columns.take(j)


def _renumbered(numbers: Indices, limit: int) -> tuple[Indices, Indices]:
    """The distinct `numbers` below `limit`, sorted, and where each one stands among them."""
    there = np.zeros(limit, bool)
    there[numbers] = True
    distinct = there.nonzero()[0]
    return distinct, (there.cumsum() - 1).take(numbers)
