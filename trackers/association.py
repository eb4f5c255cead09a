"""Who is who: gains of pairing a tracklet with a detection, and the assignment that gains most.

Only pairs that overlap are ever looked at. Each term below is a function of pairs: row k of
every argument belongs to pair k. A gain is positive; a pair that may not be matched is not
listed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

DENSE_CELLS = 4096
"""Up to this many cells the whole matrix goes to the Hungarian method at once."""


def overlap_gain(shared: Floats, area_a: Floats, area_b: Floats) -> Floats:
    """Intersection over union, |a & b| / |a | b|, in (0, 1]: of boxes or of masks."""
    return shared / (area_a + area_b - shared)


def height_gain(a: Floats, b: Floats) -> Floats:
    """IoU of the y-ranges: what tells a near person from a far one behind her.

    min(y2) - max(y1) over max(y2) - min(y1), in (0, 1] (Yang et al., "Hybrid-SORT: Weak Cues
    Matter for Online Multi-Object Tracking", AAAI 2024, equation 3).

    Args:
        a: `(K, 4)` boxes.
        b: `(K, 4)` boxes.
    """
    inner = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    outer = np.maximum(a[:, 3], b[:, 3]) - np.minimum(a[:, 1], b[:, 1])
    gain: Floats = np.maximum(inner, 0.0) / outer
    return gain


def direction_gain(velocity: Floats, displacement: Floats) -> Floats:
    """Cosine between where an object was heading and where a detection lies, in [-1, 1].

    Observation-centric momentum (Cao et al., "Observation-Centric SORT", CVPR 2023, section
    4.2), with the cosine in place of the angle.

    Args:
        velocity: `(K, 2)` pixels a second.
        displacement: `(K, 2)` pixels from the last observation's centre to the detection's.
    """
    dot = (velocity * displacement).sum(1)
    norm = np.hypot(velocity[:, 0], velocity[:, 1]) * np.hypot(
        displacement[:, 0], displacement[:, 1]
    )
    cosine: Floats = dot / np.maximum(norm, 1e-9)
    return cosine


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
