"""Wholes, parts and copies: which of several tracks on one thing are worth reporting.

A detector that knows no classes fires on a head and on its person, and sometimes twice on one
thing. The policy is to prefer the whole that persists:

*   A track is a *part* in a frame if almost all of its mask lies inside the mask of a clearly
    larger one, which has been followed for a while and moves along with it.
*   But not if it scores clearly better than the larger one: what the detector is surer of, a cup
    on a table, is an object in its place.
*   Nor where parts beside each other cover most of the larger one: that is a *heap* of several
    objects, as blocks in a row.
*   It is a *copy* if its mask and that of an older object are nearly the same.
*   What was part or copy most of the time is not confirmed, and not reported while that lasts.
    It is followed all the same, so that it cannot be born anew in every frame, and appears under
    its own identity when it leaves the whole.

A person who walks past a car is safe three times: masks of two objects share few pixels, the
person moves on its own, and was seen outside the car most of the time. Boxes tell none of this,
so without masks the policy does nothing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trackers import association
from trackers import boxes as boxlib
from trackers.masks import Masks
from trackers.tracklets import (
    AREA,
    BORN_S,
    BOX,
    HITS,
    REDUNDANT,
    SCORE,
    SETTLED_HITS,
    SIDES,
    VELOCITY,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

APART = 0.2
"""Masks are beside each other where less than this share of the smaller lies in the other."""


@dataclasses.dataclass(frozen=True, slots=True)
class PartsConfig:
    """What counts as part or copy of another object. Needs masks."""

    part_inside: float = 0.9
    """Share of a mask that lies inside the larger one, from which it is a part; above 1 never."""

    part_area: float = 0.7
    """A part has at most this share of the whole's pixels. Of what several parts beside each other
    cover more, they are none: it is a heap of them."""

    whole_bonus: float = 0.1
    """What a whole may score less than its part and still hide it."""

    part_speed: float = 1.0
    """A part moves along: speed relative to the whole at most this many sizes of the part, per
    second. Small fish before a large stain do not."""

    whole_age_s: float = 0.4
    """A whole has been followed at least this long, or since the stream began."""

    copy_iou: float = 0.75
    """IoU of masks from which the younger is a copy of the older; above 1 never."""

    hidden_share: float = 0.6
    """Share of the time as part or copy from which a track is not reported."""

    memory_s: float = 1.5
    """Time constant of that share, seconds; a younger track is judged by its whole life."""

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self)):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} should be 0 or more, got {getattr(self, name)}")
        if self.memory_s == 0.0:
            raise ValueError("memory_s should be above 0, got 0")


def redundancy(
    rows: Floats, masks: Masks, config: PartsConfig, time_s: float, started_s: float
) -> NDArray[np.bool_]:
    """Which of the tracks seen in a frame are part or copy of another one.

    Args:
        rows: `(N, COLUMNS)` their rows in the table of tracklets.
        masks: Their N masks.
        config: The policy.
        time_s: Time of the frame.
        started_s: Time of the stream's first frame.
    """
    out = np.zeros(len(rows), bool)
    i, j, _ = boxlib.overlaps(rows[:, BOX], rows[:, BOX])
    area, born = rows[:, AREA], rows[:, BORN_S]
    # Each pair once, the smaller first.
    once = ((area[i] < area[j]) | ((area[i] == area[j]) & (i < j))).nonzero()[0]
    i, j = i.take(once), j.take(once)
    mine, whole = area[i], np.maximum(area[j], 1.0)
    part, copy = config.part_inside * np.maximum(mine, 1.0), config.copy_iou
    least = np.minimum(part, association.shared_at(copy, mine, whole))
    shared = masks.intersections(i, masks, j, np.maximum(np.floor(least), 1.0))

    followed = born[j] <= max(time_s - config.whole_age_s, started_s)
    score = rows[:, SCORE]
    fits = (shared >= part) & (mine <= config.part_area * area[j]) & followed
    fits &= score[i] - score[j] <= config.whole_bonus
    k = fits.nonzero()[0]
    k = k[_move_together(rows[i[k]], rows[j[k]], config)]
    k = k[~_heaped(i[k], j[k], masks, area, config)]
    out[i[k]] = True

    alike = association.overlap_gain(shared, mine, whole) >= copy
    i, j = i[alike], j[alike]
    i_is_copy = (born[i] > born[j]) | ((born[i] == born[j]) & (score[i] < score[j]))
    out[np.where(i_is_copy, i, j)] = True
    return out


def remember(rows: Floats, now: NDArray[np.bool_], dt_s: float, config: PartsConfig) -> None:
    """Update the share of the time that each track was redundant, in place.

    A mean over the whole life while that is short, then one that forgets with `memory_s`.
    """
    weight = np.maximum(1.0 / rows[:, HITS], min(1.0, dt_s / config.memory_s))
    rows[:, REDUNDANT] += weight * (now - rows[:, REDUNDANT])


def _move_together(part: Floats, whole: Floats, config: PartsConfig) -> NDArray[np.bool_]:
    """Whether `(K, COLUMNS)` pairs have almost the same velocity, or none that is known yet."""
    apart = part[:, VELOCITY] - whole[:, VELOCITY]
    speed = np.sqrt(apart[:, 0] ** 2 + apart[:, 1] ** 2)
    size = np.sqrt(part[:, SIDES].prod(1))
    return np.asarray((speed <= config.part_speed * size) | (part[:, HITS] < SETTLED_HITS))


def _heaped(
    i: Indices, j: Indices, masks: Masks, area: Floats, config: PartsConfig
) -> NDArray[np.bool_]:
    """`(K,)` whether mask j[k] is several masks in one, of which i[k] may be one."""
    found = np.zeros(len(i), bool)
    for whole in np.unique(j):
        mine = j == whole
        beside = np.empty(0, np.intp)
        for part in i[mine][np.argsort(-area[i[mine]], kind="stable")]:
            shared = masks.intersections(np.full(len(beside), part), masks, beside)
            if (shared < APART * area[part]).all():
                beside = np.append(beside, part)
        found[mine] = len(beside) > 1 and area[beside].sum() > config.part_area * area[whole]
    return found
