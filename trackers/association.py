"""Who is who: what pairing a tracklet with a detection gains, and the assignment that gains most.

Only pairs that overlap are ever looked at. Element k of every argument belongs to pair k. A gain
is positive; a pair that may not be matched is not listed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

DENSE_CELLS = 4096
"""Up to this many cells the whole matrix goes to the Hungarian method at once."""


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


def blended_gain(boxes: Floats, masks: Floats, mask_weight: float) -> Floats:
    """(1 - w) IoU of boxes + w IoU of masks.

    Masks tell apart what shares a box; boxes still hold where a mask is ragged.
    """
    return boxes + mask_weight * (masks - boxes)


def unseen_loss(unseen_s: Floats, weight: float) -> Floats:
    """w (seconds since the object was seen): of two candidates the fresher one is likelier.

    The cascade of DeepSORT (Wojke et al., ICIP 2017) in one assignment.
    """
    return weight * unseen_s


def appearance_gain(a: NDArray[np.float32], b: NDArray[np.float32]) -> Floats:
    """`(N, M)` cosine of the angle between unit vectors `(N, C)` and `(M, C)` (DeepSORT)."""
    return (a @ b.T).astype(np.float64)


def assign(i: Indices, j: Indices, gain: Floats, shape: tuple[int, int]) -> tuple[Indices, Indices]:
    """The one-to-one choice of pairs with the largest total gain (Kuhn 1955).

    Args:
        i: `(K,)` row of each allowed pair.
        j: `(K,)` column of each allowed pair.
        gain: `(K,)` what matching the pair is worth, positive.
        shape: Numbers of rows and columns.

    Returns:
        Rows and columns of the chosen pairs.
    """
    if len(i) == 0:
        return i, j
    if shape[0] * shape[1] <= DENSE_CELLS:
        return _hungarian(i, j, gain, shape)
    sure = _dominant(i, j, gain, shape)
    taken_i, taken_j = np.zeros(shape[0], bool), np.zeros(shape[1], bool)
    taken_i[i[sure]] = taken_j[j[sure]] = True
    open_ = (~(taken_i.take(i) | taken_j.take(j))).nonzero()[0]
    rows, row_of = np.unique(i.take(open_), return_inverse=True)
    columns, column_of = np.unique(j.take(open_), return_inverse=True)
    r, c = _hungarian(row_of, column_of, gain.take(open_), (len(rows), len(columns)))
    return np.concatenate((i[sure], rows[r])), np.concatenate((j[sure], columns[c]))


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

    If (i, j) gains more than the best other pair of i and the best other pair of j together,
    any assignment without it gains by exchanging those two for it. In crowds of a thousand this
    leaves a few dozen pairs to the Hungarian method, and the result is the same.
    """
    rest_i = _best_other(i, gain, shape[0])
    rest_j = _best_other(j, gain, shape[1])
    return gain > rest_i + rest_j


def _best_other(group: Indices, gain: Floats, size: int) -> Floats:
    """`(K,)` the largest gain among the other pairs of each pair's group, 0 for none."""
    best, second = np.zeros(size), np.zeros(size)
    np.maximum.at(best, group, gain)
    top = gain == best.take(group)
    np.maximum.at(second, group[~top], gain[~top])
    tied = np.bincount(group[top], minlength=size) > 1
    np.copyto(second, best, where=tied)
    return np.where(top, second.take(group), best.take(group))
