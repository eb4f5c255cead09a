"""Which of the objects followed a frame's `Tracks` hold, and where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers import boxes as boxlib
from trackers import pursuit
from trackers.config import SortConfig
from trackers.masks import Masks
from trackers.patches import Picture
from trackers.scene import Scene
from trackers.tracklets import BORN_S, BOX, CENTRE, FOUND_S, ID, REDUNDANT, SCORE, SEEN_S, VELOCITY
from trackers.tracks import Tracks

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def report(scene: Scene, config: SortConfig, picture: Picture | None = None) -> Tracks:
    """Confirmed objects seen now or a moment ago, ordered by identity.

    Where they are expected, or where `picture` shows those that nobody looked for.
    """
    table = scene.table
    index = _recent(scene, config)
    rows = table.rows.take(index, 0)
    if is_steady(scene, config):
        rows[:, BOX] = scene.jitter.steadied(rows)
    masks = None if scene.size is None else scene.masks(index)
    ghosts = (rows[:, SEEN_S] < scene.moved_s).nonzero()[0]
    if len(ghosts):
        if masks is None:
            rows[ghosts, BOX] = boxlib.to_corners(rows.take(ghosts, 0)[:, CENTRE])
        else:
            moves = pursuit.moves(scene, index, picture, config)
            rows[:, BOX] += moves[:, [0, 1, 0, 1]]
            masks = masks.moved(moves)
            shown = _in_view(scene, rows, masks, config)
            rows, masks = rows.take(shown, 0), masks.take(shown)
    short = rows.astype(np.float32)
    return Tracks(
        ids=rows[:, ID].astype(np.int64),
        boxes=short[:, BOX],
        scores=short[:, SCORE],
        coasting=rows[:, FOUND_S] < scene.moved_s,
        velocities=short[:, VELOCITY],
        ages_s=(scene.moved_s - rows[:, BORN_S]).astype(np.float32),
        masks=masks,
        missed=rows[:, FOUND_S] < scene.now_s,
    )


def is_steady(scene: Scene, config: SortConfig) -> bool:
    """Whether boxes are reported less their jitter: not where masks go with them."""
    return config.steady_boxes and scene.size is None


def _recent(scene: Scene, config: SortConfig) -> Indices:
    """Rows of objects with an identity that were seen a moment ago and are no parts of others."""
    table = scene.table
    seen_s = table.seen_s
    unseen_s = scene.now_s - seen_s
    recent = unseen_s <= config.coast_s
    # What was followed for two frames only is not believed in for longer than that.
    recent &= unseen_s <= seen_s - table.rows[:, BORN_S]
    if table.tentative:
        recent &= table.ids > 0.0
    if table.crops:
        recent &= table.rows[:, REDUNDANT] <= config.parts.hidden_share
    index: Indices = recent.nonzero()[0]
    return index if table.in_order else index.take(table.ids.take(index).argsort())


def _in_view(scene: Scene, rows: Floats, masks: Masks, config: SortConfig) -> Indices:
    """Which rows to report: not what left the picture, nor the unseen that others hide."""
    seen = rows[:, SEEN_S] == scene.now_s
    areas = masks.areas()
    shown = (areas > 0) | (rows[:, FOUND_S] == scene.moved_s)
    there, ghosts = seen.nonzero()[0], (shown & ~seen).nonzero()[0]
    if len(ghosts) and len(there):
        i, j = np.indices((len(ghosts), len(there))).reshape(2, -1)
        shared = masks.intersections(ghosts.take(i), masks, there.take(j))
        shown[ghosts] = np.bincount(i, shared) <= config.coast_hidden * areas[ghosts]
    index: Indices = shown.nonzero()[0]
    return index
