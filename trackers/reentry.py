"""Is what comes in an object that was lost, recognised by its appearance, or a new one?

A detection that has no identity is a lost object if they look alike, if it can have come there
meanwhile, and if no other lost object fits nearly as well. What comes in over the picture's edge
shows little of itself at first: where it may be a lost object, it gets no identity for a while.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers import association
from trackers import boxes as boxlib
from trackers.config import SortConfig
from trackers.matches import Matches
from trackers.scene import Scene
from trackers.sightings import Sightings
from trackers.tracklets import BORN_S, BOX, WHOLE

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

TOUCHED = 0.1
"""Others may cover this share of a box that tells what its object looks like: a mask often takes
in some of what it touches."""


def shows(
    scene: Scene, seen: Sightings, index: Indices
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """`(N,)` which detections at `index` the picture's edge does not cut off; and which of these
    others do not touch.
    """
    whole = ~scene.cut_off(seen.boxes.take(index, 0))
    return whole, whole & (seen.covered.take(index) <= TOUCHED)


def recognised(
    scene: Scene, seen: Sightings, matches: Matches, config: SortConfig
) -> tuple[Indices, Indices]:
    """Lost objects `(K,)` and the detections `(K,)` without identity that they are.

    What the picture's edge cuts off is compared only with objects that were never seen otherwise.
    """
    table = scene.table
    nothing = np.zeros(0, np.intp), np.zeros(0, np.intp)
    if seen.features is None or table.features is None:
        return nothing
    lost = ((table.ids > 0.0) & (matches.partner < 0)).nonzero()[0]
    nobody = (matches.owner < 0) & (seen.scores >= config.birth_score)
    held = (matches.owner >= 0).nonzero()[0]
    free = nobody.nonzero()[0]
    nobody[free] = ~seen.doubled(free, held, config.birth_overlap)
    nobody[held] = table.ids.take(matches.owner.take(held)) == 0.0
    d = nobody.nonzero()[0]
    if len(lost) == 0 or len(d) == 0:
        return nothing
    alike = association.appearance_gain(table.features.take(lost, 0), seen.features.take(d, 0))
    away = _sizes_away(scene, lost, seen.centres.take(d, 0))
    gain = association.reentry_gain(alike, away, config.reentry_distance)
    possible = (away <= _reach(scene, lost, config)) & (gain > 0.0)
    whole = ~scene.cut_off(seen.boxes.take(d, 0))
    possible &= whole | (table.rows[lost, WHOLE] == 0.0)[:, None]
    rival = association.best_rival(np.where(possible, gain, -np.inf))
    possible &= (alike >= config.reentry_similarity) & (gain - rival >= config.reentry_margin)
    i, j = possible.nonzero()
    i, j = association.assign(i, j, gain[i, j], gain.shape)
    return lost.take(i), d.take(j)


def entering(scene: Scene, index: Indices, config: SortConfig) -> NDArray[np.bool_]:
    """`(N,)` which rows come in over the picture's edge and may be lost objects."""
    table = scene.table
    assert table.features is not None
    boxes, features = table.boxes.take(index, 0), table.features.take(index, 0)
    young = scene.now_s - table.rows[index, BORN_S] < config.entry_s
    lost = ((table.ids > 0.0) & (table.seen_s < scene.now_s)).nonzero()[0]
    away = _sizes_away(scene, lost, boxlib.to_centres(boxes))
    alike = association.appearance_gain(table.features.take(lost, 0), features)
    possible = (away <= _reach(scene, lost, config)) & (alike >= config.entry_similarity)
    return np.asarray(young & scene.cut_off(boxes) & possible.any(0))


def _sizes_away(scene: Scene, index: Indices, centres: Floats) -> Floats:
    """`(N, M)` how far `centres` (cx, cy, w, h) are from where the objects were seen last.

    In units of the objects' own sizes, the roots of their areas.
    """
    there = boxlib.to_centres(scene.table.rows.take(index, 0)[:, BOX])
    away = there[:, None, :2] - centres[None, :, :2]
    size = np.sqrt(there[:, 2] * there[:, 3])
    return np.asarray(np.hypot(away[..., 0], away[..., 1]) / size[:, None])


def _reach(scene: Scene, index: Indices, config: SortConfig) -> Floats:
    """`(N, 1)` how many of its sizes each object can have gone since it was seen."""
    unseen_s = scene.now_s - scene.table.seen_s.take(index)
    return (1.0 + config.reentry_speed * unseen_s)[:, None]
