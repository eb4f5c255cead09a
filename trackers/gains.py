"""What matching a tracklet with a detection is worth: overlap, shape and appearance together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers import association
from trackers.config import SortConfig
from trackers.sightings import Sightings, to_extents
from trackers.tracklets import AREA, SIDES, Tracklets

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

GROWTH = 5.0
"""A mask does not become this many times larger or smaller between two sightings; only recovery,
which looks at boxes, matches such a pair."""


def overlap_and_gain(
    table: Tracklets,
    seen: Sightings,
    pairs: tuple[Indices, Indices, Floats],
    config: SortConfig,
    now_s: float,
) -> tuple[Floats, Floats]:
    """`(K,)` overlap of each pair in [0, 1], and `(K,)` what matching it is worth.

    Args:
        table: N tracklets, predicted to `now_s`.
        seen: M detections.
        pairs: Of `boxes.overlaps`: `(K,)` tracklets, `(K,)` detections and `(2, K)` sides of
            their intersections, which are used up.
        config: Weights.
        now_s: Time of the frame.
    """
    i, j, sides = pairs
    shared, mine = to_extents(sides), to_extents(table.rows.T[SIDES].copy())
    overlap, tall = association.overlap_gain(shared, mine.take(i, 1), seen.extents.take(j, 1))
    gain = overlap + config.height_weight * tall
    if seen.masks is not None and config.mask_weight:
        blend = _blended(table, seen, (i, j, shared[0]), overlap, config, now_s)
        gain += blend - overlap
        overlap = np.maximum(overlap, blend)
        areas = table.rows[:, AREA].take(i), seen.mask_areas.take(j)
        overlap[association.growth(*areas) > GROWTH] = 0.0
    if seen.features is not None and table.features is not None:
        alike = association.appearance_gain(table.features, seen.features)[i, j]
        same, weight = config.reentry_similarity, config.appearance_weight
        gain = association.familiar_gain(gain, alike, same, weight)
    return overlap, gain


def _blended(
    table: Tracklets,
    seen: Sightings,
    pairs: tuple[Indices, Indices, Floats],
    overlap: Floats,
    config: SortConfig,
    now_s: float,
) -> Floats:
    """`(K,)` overlap of boxes blended with that of masks; 0 where no mask could make it enough.

    Two masks share no more pixels than their boxes do, and no more than the smaller one has. That
    bounds their IoU and spares most comparisons in a crowd.
    """
    assert seen.masks is not None
    i, j, shared = pairs
    weight, least = config.mask_weight, min(config.min_overlap, config.weak_overlap)
    a, b = table.rows[:, AREA].take(i), seen.mask_areas.take(j)
    most = np.minimum(np.minimum(a, b), shared)
    bound = association.overlap_gain(most, a, np.maximum(b, 1.0))
    near = (association.blended_gain(overlap, bound, weight) > least).nonzero()[0]
    last = table.expected_masks(seen.masks.size, np.arange(len(table)), now_s)
    pixels = last.intersections(i.take(near), seen.masks, j.take(near))
    masks = association.overlap_gain(pixels, a.take(near), np.maximum(b.take(near), 1.0))
    out = np.zeros(len(i))
    out[near] = association.blended_gain(overlap.take(near), masks, weight)
    return out
