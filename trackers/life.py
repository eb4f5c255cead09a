"""Birth, confirmation and death of tracklets. No class is known: objectness and time decide."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trackers import camera, reentry
from trackers.config import SortConfig
from trackers.kalman import KalmanModel
from trackers.matches import Matches
from trackers.scene import Scene
from trackers.sightings import Sightings
from trackers.tracklets import (
    AREA,
    BORN_S,
    CLEAR,
    COLUMNS,
    EVIDENCE,
    FILTER,
    FOUND_S,
    HITS,
    ID,
    MEASURED,
    REDUNDANT,
    SCORE,
    SEEN_S,
    SETTLED_HITS,
    VELOCITY,
    WHOLE,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def bury(scene: Scene, config: SortConfig) -> None:
    """Forget tracklets that have gone unseen for too long."""
    table = scene.table
    longest_s = scene.now_s - np.minimum.reduce(table.seen_s, initial=math.inf)
    if scene.table.tentative == 0 and longest_s <= config.lost_s:
        return
    memory_s = config.lost_s
    if table.features is not None:
        memory_s = max(memory_s, config.reentry_s)
    patience_s = np.where(table.ids > 0.0, memory_s, config.tentative_gap_s)
    alive = scene.lately(patience_s)
    if not alive.all():
        table.keep(alive.nonzero()[0])


def give_birth(
    scene: Scene, seen: Sightings, matches: Matches, model: KalmanModel, config: SortConfig
) -> None:
    """Start a tracklet for each unmatched detection that scores high enough."""
    new = (matches.owner < 0).nonzero()[0]
    new = new[seen.scores.take(new) >= config.birth_score]
    if len(new) == 0:
        return
    held = (matches.owner >= 0).nonzero()[0]
    if len(held):
        new = new[~seen.doubled(new, held, config.birth_overlap)]
    if len(new) == 0:
        return
    rows = np.zeros((len(new), COLUMNS))
    rows[:, FILTER] = model.start(seen.centres.take(new, 0), _common_velocity(scene, config))
    rows[:, MEASURED] = seen.rows.take(new, 0)[:, 4:]
    rows[:, EVIDENCE] = rows[:, SCORE]
    rows[:, BORN_S] = rows[:, FOUND_S] = scene.now_s
    rows[:, HITS] = 1.0
    if seen.masks is not None:
        rows[:, AREA] = seen.mask_areas.take(new)
    if seen.features is not None:
        rows[:, WHOLE], rows[:, CLEAR] = reentry.shows(scene, seen, new)
    scene.table.add(rows, seen.masks, seen.features, new)


def ready(scene: Scene, config: SortConfig) -> Indices:
    """Tentative tracklets that have been seen enough to get an identity."""
    rows = scene.table.rows
    waiting = (rows[:, ID] == 0.0).nonzero()[0]
    part = rows.take(waiting, 0)
    enough = (part[:, HITS] >= config.confirm_hits) & (part[:, EVIDENCE] >= config.confirm_evidence)
    if scene.table.features is not None:
        enough &= ~reentry.entering(scene, waiting, config)
    enough |= scene.now_s == scene.started_s
    enough &= part[:, REDUNDANT] <= config.parts.hidden_share
    enough &= part[:, SEEN_S] == scene.now_s
    chosen: Indices = waiting[enough]
    return chosen


def _common_velocity(scene: Scene, config: SortConfig) -> Floats:
    """`(2,)` vx, vy that the objects in view share, 0 where too few are known."""
    rows = scene.table.rows
    known = (rows[:, SEEN_S] == scene.now_s) & (rows[:, HITS] >= SETTLED_HITS)
    velocities = rows[known, VELOCITY]
    if len(velocities) < config.camera_objects:
        return np.zeros(2)
    return camera.common_velocity(velocities)
