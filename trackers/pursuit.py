"""Following by the picture alone what the detector did not see, or was not asked for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trackers import boxes as boxlib
from trackers import patches
from trackers.config import SortConfig
from trackers.kalman import KalmanModel
from trackers.matches import Matches
from trackers.patches import Picture
from trackers.scene import Scene
from trackers.tracklets import (
    AREA,
    BORN_S,
    BOX,
    FILTER,
    FOUND_S,
    HITS,
    REDUNDANT,
    SEEN_S,
    SETTLED_HITS,
    VELOCITY,
)

Indices = NDArray[np.intp]

TAKEN = 0.3
"""An object that the detector missed is not where others cover this share of its mask."""

REACH = 0.5
"""How far from where it should be, in its own sizes, what the picture shows of it is sought."""


def left_out(scene: Scene, matches: Matches, config: SortConfig) -> Indices:
    """Confirmed objects, not parts of others, that the detector missed now, but not for long."""
    table = scene.table
    missed = (matches.partner < 0) & (table.ids > 0.0)
    missed &= table.rows[:, REDUNDANT] <= config.parts.hidden_share
    missed &= scene.lately(config.coast_s)
    found_s = table.rows[:, FOUND_S]
    # As with coasting: not for longer than it had been followed.
    missed &= scene.now_s - found_s <= np.minimum(config.carry_s, found_s - table.rows[:, BORN_S])
    index: Indices = missed.nonzero()[0]
    return index


def carry(
    scene: Scene, picture: Picture, index: Indices, model: KalmanModel, config: SortConfig
) -> None:
    """Follow the objects at `index`, which the detector did not see, by what they look like.

    But not to where others are seen now.
    """
    if len(index) == 0:
        return
    table, there = scene.table, scene.found_rows()
    others = scene.masks(there)
    for i in index.tolist():
        row, move = table.rows[i : i + 1], shown_move(scene, i, picture, config)
        if move is None:
            continue
        mine = scene.masks(np.array([i])).moved(move[None])
        covered = mine.intersections(np.zeros_like(there), others, np.arange(len(there))).sum()
        if covered > TAKEN * row[0, AREA]:
            continue
        table.move(i, move)
        model.correct(row[:, FILTER], boxlib.to_centres(row[:, BOX]))
        row[0, SEEN_S] = scene.now_s


def moves(
    scene: Scene, index: Indices, picture: Picture | None, config: SortConfig
) -> NDArray[np.int32]:
    """`(N, 2)` x, y in whole pixels that those at `index` have moved since they were seen.

    As expected, or as `picture` shows it of what the last update saw, unless that is known to
    stand still.
    """
    expected = scene.table.expected_moves(index, scene.moved_s)
    if picture is not None:
        rows = scene.table.rows.take(index, 0)
        sought = expected.any(1) | (rows[:, HITS] < SETTLED_HITS)
        sought &= rows[:, SEEN_S] == scene.now_s
        for k in sought.nonzero()[0].tolist():
            shown = shown_move(scene, int(index[k]), picture, config)
            if shown is not None:
                expected[k] = shown
    return expected


def shown_move(
    scene: Scene, i: int, picture: Picture, config: SortConfig
) -> NDArray[np.int32] | None:
    """`(2,)` x, y in whole pixels that what the picture shows of row `i` moved since seen.

    None where it shows nothing like it near there.
    """
    table = scene.table
    patch, extent, row = table.patches[i], table.extents[i], table.rows[i]
    if patch is None:
        return None
    way = row[VELOCITY] * (scene.moved_s - row[SEEN_S])
    reach_px = REACH * math.sqrt(np.prod(extent[2:] - extent[:2]))
    place = patches.find(patch, picture, extent, (way[0], way[1]), reach_px)
    if place is None or place.similarity < config.carry_similarity:
        return None
    return np.array((round(place.x), round(place.y)), np.int32)
