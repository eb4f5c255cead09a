"""SORT for masks: predict, die, associate in passes, correct, carry, be born, be judged.

    detections ──▶ predict ──▶ deaths ──▶ associate ──▶ correct
        ──▶ carry what was missed ──▶ births ──▶ judge ──▶ Tracks

After Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016, with the passes by score
of ByteTrack (Zhang et al., ECCV 2022), and masks where the detector gives them. Nothing knows a
class: objectness alone decides on birth, on the pass a detection takes part in, and on death.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackers import association, camera, occlusion, parts, patches
from trackers import boxes as boxlib
from trackers.config import SortConfig
from trackers.detections import Detections
from trackers.jitter import Jitter
from trackers.kalman import KalmanModel
from trackers.masks import Masks
from trackers.matches import Matches
from trackers.patches import Picture
from trackers.sightings import Sightings, to_extents
from trackers.tracklets import (
    AREA,
    BORN_S,
    BOX,
    CENTRE,
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
    SIDES,
    VELOCITY,
    WHOLE,
    Tracklets,
)
from trackers.tracks import Tracks

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


# Which pass a pair takes part in: rows are kinds of tracklets, columns kinds of detections.
STRONG, WEAK, TENTATIVE = 1, 2, 3
PASSES = np.array(
    [  # strong  weak  ignored
        [STRONG, WEAK, 0],  # confirmed, seen in the last frame
        [STRONG, 0, 0],  # confirmed, lost
        [TENTATIVE, 0, 0],  # tentative, seen in the last frame
        [TENTATIVE, 0, 0],  # tentative, missed
        [0, 0, 0],  # lost for so long that only its appearance counts
    ]
)
FORGOTTEN = 4

EDGE = 0.02
"""A box so near to the picture's edge, in shares of the picture's sides, touches it."""

TOUCHED = 0.1
"""Others may cover this share of a box that tells what its object looks like: a mask often takes
in some of what it touches."""

TAKEN = 0.3
"""An object that the detector missed is not where others cover this share of its mask."""

GROWTH = 5.0
"""No mask gets that many times larger or smaller from one sighting to the next, unless recovery
finds the box in its place."""

REACH = 0.5
"""How far from where it should be, in its own sizes, what the picture shows of it is sought."""

_NUMBERS = (
    "_last_id", "_started_s", "_before_s", "_now_s", "_moved_s", "_tentative", "_frame", "_in_order"
)  # fmt: skip
"""Attributes of `SortTracker` that are numbers or truths and change with a frame."""


class SortTracker:
    """Follows objects from frame to frame. One tracker serves one stream."""

    def __init__(self, config: SortConfig | None = None) -> None:
        self.config = config or SortConfig()
        self._model = KalmanModel(self.config.motion)
        self._min_overlap = np.array(
            [math.inf, self.config.min_overlap, self.config.weak_overlap, self.config.min_overlap]
        )
        self._last_id = 0
        self.reset()

    def reset(self) -> None:
        """Forget every object, as for a new scene or source. Identities go on counting."""
        self._table = Tracklets()
        self._started_s = self._before_s = self._now_s = self._moved_s = -math.inf
        self._size: tuple[int, int] | None = None
        self._tentative = 0
        self._in_order = True
        self._jitter = Jitter()
        self._frame = 0

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next update depends on but the settings, as arrays for `restore`."""
        own = {name: np.array(getattr(self, name)) for name in _NUMBERS}
        size = np.array(self._size or (), np.int64)
        table = {f"table{name}": value for name, value in self._table.state().items()}
        jitter = {f"jitter{name}": value for name, value in self._jitter.state().items()}
        return own | {"size": size} | table | jitter

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where the tracker of the same settings was that gave `state`."""
        for name in _NUMBERS:
            setattr(self, name, state[name].item())
        self._size = (int(state["size"][0]), int(state["size"][1])) if len(state["size"]) else None
        self._table.restore(_under("table", state))
        self._jitter.restore(_under("jitter", state))

    def update(
        self, detections: Detections, time_s: float, picture: Picture | None = None
    ) -> Tracks:
        """What is there at `time_s`, given what the detector saw.

        Args:
            detections: Boxes, scores, and masks and features if the detector gives them.
            time_s: Time of the frame in seconds, later than that of the call before.
            picture: `(H, W, 3)` uint8 RGB. Where it is given, and the detector gives masks,
                objects that it misses are followed by what they look like.

        Raises:
            ValueError: A box is not finite or has no area, a score lies outside [0, 1], time
                does not go forward, masks or features come and go within a stream, or the
                picture is not of the masks' size.
        """
        seen = Sightings(detections, time_s)
        self._check(detections, picture)
        picture = self._usable(picture)
        self._advance(time_s)
        self._bury()
        matches = self._associate(seen)
        self._correct(seen, matches)
        if picture is not None:
            self._carry(picture, self._left_out(matches))
        if matches.left:
            self._give_birth(seen, matches)
        if seen.masks is not None:
            self._judge(seen.masks)
        if picture is not None:
            self._table.look((self._table.rows[:, FOUND_S] == time_s).nonzero()[0], picture)
        self._confirm()
        return self._report()

    def coast(self, time_s: float, picture: Picture | None = None) -> Tracks:
        """What should be there at `time_s`, where nobody looked: what the last update reported.

        Every object moves on as expected, or to where the picture shows it, and is `coasting`; who
        so leaves the picture is not reported. None was missed: for the next update the frame
        before is still the one of the last update.

        Args:
            time_s: Time of the frame in seconds, later than that of the call before.
            picture: `(H, W, 3)` uint8 RGB. Where it is given, as it was to the last update, and
                the detector gives masks, objects are where it shows them.

        Raises:
            ValueError: Time does not go forward, or the picture is not of the masks' size.
        """
        _check_picture(picture, self._size)
        self._move(time_s)
        return self._report(self._usable(picture))

    def _associate(self, seen: Sightings) -> Matches:
        """Match tracklets and detections, the surest first."""
        table, config = self._table, self.config
        matches = Matches(len(table), len(seen))
        expected = boxlib.to_corners(table.rows[:, CENTRE])
        i, j, sides = boxlib.overlaps(expected, seen.boxes)
        if len(i):
            overlap, gain = self._gain(i, j, sides, seen)
            if self._is_plain(seen):
                k = (overlap > config.min_overlap).nonzero()[0]
                pairs = i.take(k), j.take(k), gain.take(k)
                matches.add(*association.assign(*pairs, matches.shape))
            else:
                turn = PASSES[self._kinds().take(i), seen.kinds(config).take(j)]
                turn *= overlap > self._min_overlap.take(turn)
                # 1. Strong detections, with every confirmed object, seen a moment ago or lost.
                # 2. Weak detections prolong what was seen in the last frame.
                # 3. Tentative tracklets get the strong detections that are left.
                for number in (STRONG, WEAK, TENTATIVE):
                    k = ((turn == number) & matches.free(i, j)).nonzero()[0]
                    pairs = i.take(k), j.take(k), gain.take(k)
                    matches.add(*association.assign(*pairs, matches.shape))
        # 4. Who did not move as expected may still be near the place where it was seen last.
        if matches.left:
            self._recover(seen, matches)
        # 5. Who has no identity yet may be somebody who was lost long ago, by appearance.
        if matches.left or self._tentative:
            self._recognise(seen, matches)
        return matches

    def _is_plain(self, seen: Sightings) -> bool:
        """Whether all pairs belong to pass 1: most frames of a detector without appearance."""
        strong = seen.lowest_score >= self.config.strong_score
        return strong and self._tentative == 0 and seen.features is None

    def _gain(
        self, i: Indices, j: Indices, sides: Floats, seen: Sightings
    ) -> tuple[Floats, Floats]:
        """`(K,)` overlap of each pair and `(K,)` what matching it is worth.

        Args:
            i: `(K,)` tracklet of each pair.
            j: `(K,)` detection of each pair.
            sides: `(2, K)` width and height of the intersection; used up.
            seen: The detections.
        """
        shared, mine = to_extents(sides), to_extents(self._table.rows.T[SIDES].copy())
        overlap, tall = association.overlap_gain(shared, mine.take(i, 1), seen.extents.take(j, 1))
        gain = overlap + self.config.height_weight * tall
        if seen.masks is not None and self.config.mask_weight:
            blend = self._blend_masks(i, j, shared[0], overlap, seen)
            gain += blend - overlap
            overlap = np.maximum(overlap, blend)
            areas = self._table.rows[:, AREA].take(i), seen.mask_areas.take(j)
            overlap[association.growth(*areas) > GROWTH] = 0.0
        if seen.features is not None and self._table.features is not None:
            alike = association.appearance_gain(self._table.features, seen.features)[i, j]
            same, weight = self.config.reentry_similarity, self.config.appearance_weight
            gain = association.familiar_gain(gain, alike, same, weight)
        return overlap, gain

    def _blend_masks(
        self, i: Indices, j: Indices, shared: Floats, overlap: Floats, seen: Sightings
    ) -> Floats:
        """`(K,)` blended overlap of boxes and of masks, 0 where no masks could make it enough.

        Two masks share no more than their boxes do, nor more than the smaller one, which bounds
        their IoU and spares most comparisons in a crowd.
        """
        assert seen.masks is not None
        weight, least = self.config.mask_weight, self._min_overlap.min()
        a, b = self._table.rows[:, AREA].take(i), seen.mask_areas.take(j)
        most = np.minimum(np.minimum(a, b), shared)
        bound = association.overlap_gain(most, a, np.maximum(b, 1.0))
        near = (association.blended_gain(overlap, bound, weight) > least).nonzero()[0]
        last = self._table.expected_masks(seen.masks.size, np.arange(len(self._table)), self._now_s)
        pixels = last.intersections(i.take(near), seen.masks, j.take(near))
        masks = association.overlap_gain(pixels, a.take(near), np.maximum(b.take(near), 1.0))
        out = np.zeros(len(i))
        out[near] = association.blended_gain(overlap.take(near), masks, weight)
        return out

    def _kinds(self) -> Indices:
        """`(N,)` row of `PASSES` for each tracklet."""
        table = self._table
        kinds: Indices = 2 * (table.ids == 0.0) + (table.seen_s < self._before_s)
        if table.features is not None:
            long_ago = self._now_s - table.seen_s > self.config.lost_s
            kinds[long_ago & (table.seen_s < self._before_s)] = FORGOTTEN
        return kinds

    def _recover(self, seen: Sightings, matches: Matches) -> None:
        """Match strong detections and confirmed objects that are left, by the last observation.

        For whoever stopped or turned while it was hidden (Cao et al., "Observation-Centric
        SORT", CVPR 2023, section 4.3), with boxes grown on every side (Yang et al., "C-BIoU",
        WACV 2023), so that it may have moved by about its own size.
        """
        table, config = self._table, self.config
        d = (matches.owner < 0).nonzero()[0]
        d = d[seen.scores.take(d) >= config.strong_score]
        if len(d) == 0:
            return
        missed = (matches.partner < 0) & (table.ids > 0.0)
        t = (missed & self._lately(config.recovery_s)).nonzero()[0]
        there = boxlib.grown(table.boxes.take(t, 0), config.recovery_growth)
        here = boxlib.grown(seen.boxes.take(d, 0), config.recovery_growth)
        overlap = boxlib.iou(there, here)
        i, j = (overlap > config.recovery_overlap).nonzero()
        i, j = association.assign(i, j, overlap[i, j], overlap.shape)
        matches.add(t.take(i), d.take(j))

    def _recognise(self, seen: Sightings, matches: Matches) -> None:
        """Match what has no identity with lost objects that look alike and can have come there.

        Who is cut off by the picture's edge is compared only with who was never seen otherwise.
        """
        table, config = self._table, self.config
        if seen.features is None or table.features is None:
            return
        lost = ((table.ids > 0.0) & (matches.partner < 0)).nonzero()[0]
        nobody = (matches.owner < 0) & (seen.scores >= config.birth_score)
        held = (matches.owner >= 0).nonzero()[0]
        nobody[held] = table.ids.take(matches.owner.take(held)) == 0.0
        d = nobody.nonzero()[0]
        if len(lost) == 0 or len(d) == 0:
            return
        alike = association.appearance_gain(table.features.take(lost, 0), seen.features.take(d, 0))
        away = self._sizes_away(lost, seen.centres.take(d, 0))
        gain = association.reentry_gain(alike, away, config.reentry_distance)
        possible = (away <= self._reach(lost)) & (gain > 0.0)
        whole = ~self._cut_off(seen.boxes.take(d, 0))
        possible &= whole | (table.rows[lost, WHOLE] == 0.0)[:, None]
        rival = association.best_rival(np.where(possible, gain, -np.inf))
        possible &= (alike >= config.reentry_similarity) & (gain - rival >= config.reentry_margin)
        i, j = possible.nonzero()
        i, j = association.assign(i, j, gain[i, j], gain.shape)
        t, d = lost.take(i), d.take(j)
        matches.release(d)
        matches.add(t, d)
        # The motion of long ago says nothing about the object that came back.
        table.rows[t, FILTER] = self._model.start(seen.centres.take(d, 0))

    def _sizes_away(self, index: Indices, centres: Floats) -> Floats:
        """`(N, M)` how far `centres` (cx, cy, w, h) are from where the objects were seen last.

        In units of the objects' own sizes, the roots of their areas.
        """
        there = boxlib.to_centres(self._table.rows.take(index, 0)[:, BOX])
        away = there[:, None, :2] - centres[None, :, :2]
        size = np.sqrt(there[:, 2] * there[:, 3])
        return np.asarray(np.hypot(away[..., 0], away[..., 1]) / size[:, None])

    def _reach(self, index: Indices) -> Floats:
        """`(N, 1)` how many of its sizes each object can have gone since it was seen."""
        unseen_s = self._now_s - self._table.seen_s.take(index)
        return (1.0 + self.config.reentry_speed * unseen_s)[:, None]

    def _cut_off(self, boxes: Floats) -> NDArray[np.bool_]:
        """`(N,)` which boxes touch the picture's edge; masks tell where that is."""
        if self._size is None:
            return np.zeros(len(boxes), bool)
        sides = np.array(self._size[::-1], np.float64)
        near = EDGE * sides
        return np.asarray(((boxes[:, :2] < near) | (boxes[:, 2:] > sides - near)).any(1))

    def _shows(
        self, seen: Sightings, index: Indices
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """`(N,)` which detections at `index` the picture's edge does not cut off; and which of
        these others do not touch.
        """
        whole = ~self._cut_off(seen.boxes.take(index, 0))
        return whole, whole & (seen.covered.take(index) <= TOUCHED)

    def _correct(self, seen: Sightings, matches: Matches) -> None:
        """Feed each matched detection to its tracklet."""
        t, d = matches.pairs()
        if len(t) == 0:
            return
        table, sightings = self._table, seen.rows.take(d, 0)
        rows, centres, measured = table.rows.take(t, 0), sightings[:, :4], sightings[:, 4:]
        if seen.masks is not None:
            expected = boxlib.to_corners(rows[:, CENTRE])
            shown = occlusion.uncovered(expected, measured[:, 2:], d, seen.boxes, seen.masks)
            centres = boxlib.to_centres(shown)
        if self._steady() and self._jitter.is_due(self._frame):
            noise, times = self._model.noise, (self._now_s, self._before_s)
            self._jitter.observe(rows, centres, noise, *times)
        self._model.correct(rows[:, FILTER], centres)
        rows[:, MEASURED] = measured
        rows[:, FOUND_S] = self._now_s
        rows[:, HITS] += 1.0
        rows[:, EVIDENCE] += rows[:, SCORE]
        if seen.masks is not None:
            rows[:, AREA] = seen.mask_areas.take(d)
            table.see(t, seen.masks, d)
        table.rows[t] = rows
        if seen.features is not None:
            whole, clear = self._shows(seen, d)
            table.rows[t[whole], WHOLE] = 1.0
            table.recognise(t, seen.features.take(d, 0), clear)

    def _left_out(self, matches: Matches) -> Indices:
        """Confirmed objects, nobody's part, that the detector missed just now, but not for long."""
        table, config = self._table, self.config
        missed = (matches.partner < 0) & (table.ids > 0.0)
        missed &= table.rows[:, REDUNDANT] <= config.parts.hidden_share
        missed &= self._lately(config.coast_s)
        found_s = table.rows[:, FOUND_S]
        # As with coasting: not for longer than it had been followed.
        missed &= self._now_s - found_s <= np.minimum(
            config.carry_s, found_s - table.rows[:, BORN_S]
        )
        return missed.nonzero()[0]

    def _carry(self, picture: Picture, index: Indices) -> None:
        """Follow the objects at `index`, which the detector did not see, by what they look like.

        But not to where others are seen now.
        """
        if len(index) == 0:
            return
        table = self._table
        assert self._size is not None
        there = (table.rows[:, FOUND_S] == self._now_s).nonzero()[0]
        others = table.masks(self._size, there)
        for i in index.tolist():
            row, move = table.rows[i : i + 1], self._shown_move(i, picture)
            if move is None:
                continue
            mine = table.masks(self._size, np.array([i])).moved(move[None])
            covered = mine.intersections(np.zeros_like(there), others, np.arange(len(there))).sum()
            if covered > TAKEN * row[0, AREA]:
                continue
            table.move(i, move)
            self._model.correct(row[:, FILTER], boxlib.to_centres(row[:, BOX]))
            row[0, SEEN_S] = self._now_s

    def _shown_move(self, i: int, picture: Picture) -> NDArray[np.int32] | None:
        """`(2,)` x, y in whole pixels that what the picture shows of row `i` moved since seen.

        None where it shows nothing like it near there.
        """
        patch, extent, row = self._table.patches[i], self._table.extents[i], self._table.rows[i]
        if patch is None:
            return None
        way = row[VELOCITY] * (self._moved_s - row[SEEN_S])
        reach_px = REACH * math.sqrt(np.prod(extent[2:] - extent[:2]))
        place = patches.find(patch, picture, extent, (way[0], way[1]), reach_px)
        if place is None or place.similarity < self.config.carry_similarity:
            return None
        return np.array((round(place.x), round(place.y)), np.int32)

    def _steady(self) -> bool:
        """Whether boxes are reported less their jitter: not where masks go with them."""
        return self.config.steady_boxes and self._size is None

    def _bury(self) -> None:
        """Forget who was missed and has not been seen for too long."""
        table, config = self._table, self.config
        longest_s = self._now_s - np.minimum.reduce(table.seen_s, initial=math.inf)
        if self._tentative == 0 and longest_s <= config.lost_s:
            return
        memory_s = config.lost_s
        if table.features is not None:
            memory_s = max(memory_s, config.reentry_s)
        patience_s = np.where(table.ids > 0.0, memory_s, config.tentative_gap_s)
        alive = self._lately(patience_s)
        if not alive.all():
            table.keep(alive.nonzero()[0])

    def _lately(self, patience_s: Floats | float) -> NDArray[np.bool_]:
        """`(N,)` whether each tracklet was seen not longer ago than that, or in the frame before.

        The latter whatever the step between the frames: a stream may be slow, or pause.
        """
        seen_s = self._table.seen_s
        return np.asarray((self._now_s - seen_s <= patience_s) | (seen_s == self._before_s))

    def _give_birth(self, seen: Sightings, matches: Matches) -> None:
        """Start a tracklet for each detection that is good enough and nobody's."""
        new = (matches.owner < 0).nonzero()[0]
        new = new[seen.scores.take(new) >= self.config.birth_score]
        if len(new) == 0:
            return
        held = (matches.owner >= 0).nonzero()[0]
        if len(held):
            new = new[~self._doubled(seen, new, held)]
        if len(new) == 0:
            return
        rows = np.zeros((len(new), COLUMNS))
        rows[:, FILTER] = self._model.start(seen.centres.take(new, 0), self._common_velocity())
        rows[:, MEASURED] = seen.rows.take(new, 0)[:, 4:]
        rows[:, EVIDENCE] = rows[:, SCORE]
        rows[:, BORN_S] = rows[:, FOUND_S] = self._now_s
        rows[:, HITS] = 1.0
        if seen.masks is not None:
            rows[:, AREA] = seen.mask_areas.take(new)
        if seen.features is not None:
            rows[:, WHOLE], rows[:, CLEAR] = self._shows(seen, new)
        self._table.add(rows, seen.masks, seen.features, new)
        self._tentative += len(new)

    def _common_velocity(self) -> Floats:
        """`(2,)` vx, vy that the objects in view share, 0 where too few are known."""
        rows = self._table.rows
        known = (rows[:, SEEN_S] == self._now_s) & (rows[:, HITS] >= SETTLED_HITS)
        velocities = rows[known, VELOCITY]
        if len(velocities) < self.config.camera_objects:
            return np.zeros(2)
        return camera.common_velocity(velocities)

    def _doubled(self, seen: Sightings, new: Indices, held: Indices) -> NDArray[np.bool_]:
        """Which of the detections `new` lie on one of `held`, by masks if there are any."""
        i, j, sides = boxlib.overlaps(seen.boxes.take(new, 0), seen.boxes.take(held, 0))
        a, b = new.take(i), held.take(j)
        if seen.masks is None:
            shared, areas = sides[0] * sides[1], seen.extents[0]
        else:
            shared, areas = seen.masks.intersections(a, seen.masks, b), seen.mask_areas
        overlap = association.overlap_gain(shared, areas.take(a), np.maximum(areas.take(b), 1.0))
        out = np.zeros(len(new), bool)
        out[i[overlap > self.config.birth_overlap]] = True
        return out

    def _judge(self, masks: Masks) -> None:
        """Keep account of who is part or copy of another: see `trackers.parts`."""
        table, config = self._table, self.config.parts
        index = (table.seen_s == self._now_s).nonzero()[0]
        rows = table.rows.take(index, 0)
        seen = table.masks(masks.size, index)
        now = parts.redundancy(rows, seen, config, self._now_s, self._started_s)
        parts.remember(rows, now, self._now_s - self._before_s, config)
        table.rows[index, REDUNDANT] = rows[:, REDUNDANT]

    def _confirm(self) -> None:
        """Give an identity to tentative tracklets that have been seen enough."""
        if self._tentative == 0:
            return
        rows, config = self._table.rows, self.config
        waiting = (rows[:, ID] == 0.0).nonzero()[0]
        part = rows.take(waiting, 0)
        ready = (part[:, HITS] >= config.confirm_hits) & (
            part[:, EVIDENCE] >= config.confirm_evidence
        )
        if self._table.features is not None:
            ready &= ~self._entering(waiting)
        ready |= self._now_s == self._started_s
        ready &= part[:, REDUNDANT] <= config.parts.hidden_share
        ready &= part[:, SEEN_S] == self._now_s
        chosen = waiting[ready]
        first = self._last_id + 1
        self._last_id += len(chosen)
        self._tentative = len(waiting) - len(chosen)
        rows[chosen, ID] = np.arange(first, first + len(chosen))
        known = rows[:, ID][rows[:, ID] > 0.0]
        self._in_order = bool((known[1:] > known[:-1]).all())

    def _entering(self, index: Indices) -> NDArray[np.bool_]:
        """`(N,)` which rows come in over the picture's edge and may be somebody lost."""
        table, config = self._table, self.config
        assert table.features is not None
        boxes, features = table.boxes.take(index, 0), table.features.take(index, 0)
        young = self._now_s - table.rows[index, BORN_S] < config.entry_s
        lost = ((table.ids > 0.0) & (table.seen_s < self._now_s)).nonzero()[0]
        away = self._sizes_away(lost, boxlib.to_centres(boxes))
        alike = association.appearance_gain(table.features.take(lost, 0), features)
        possible = (away <= self._reach(lost)) & (alike >= config.entry_similarity)
        return np.asarray(young & self._cut_off(boxes) & possible.any(0))

    def _report(self, picture: Picture | None = None) -> Tracks:
        """Confirmed objects seen now or a moment ago, ordered by identity.

        Where they are expected, or where `picture` shows those that nobody looked for.
        """
        table = self._table
        seen_s = table.seen_s
        unseen_s = self._now_s - seen_s
        recent = unseen_s <= self.config.coast_s
        # Who was followed for two frames only is not believed for longer than that.
        recent &= unseen_s <= seen_s - table.rows[:, BORN_S]
        if self._tentative:
            recent &= table.ids > 0.0
        if table.crops:
            recent &= table.rows[:, REDUNDANT] <= self.config.parts.hidden_share
        index = recent.nonzero()[0]
        if not self._in_order:
            index = index.take(table.ids.take(index).argsort())
        rows = table.rows.take(index, 0)
        if self._steady():
            rows[:, BOX] = self._jitter.steadied(rows)
        masks = None if self._size is None else table.masks(self._size, index)
        ghosts = (rows[:, SEEN_S] < self._moved_s).nonzero()[0]
        if len(ghosts):
            if masks is None:
                rows[ghosts, BOX] = boxlib.to_corners(rows.take(ghosts, 0)[:, CENTRE])
            else:
                moves = self._moves(index, picture)
                rows[:, BOX] += moves[:, [0, 1, 0, 1]]
                masks = masks.moved(moves)
                shown = self._in_view(rows, masks)
                rows, masks = rows.take(shown, 0), masks.take(shown)
        short = rows.astype(np.float32)
        return Tracks(
            ids=rows[:, ID].astype(np.int64),
            boxes=short[:, BOX],
            scores=short[:, SCORE],
            coasting=rows[:, FOUND_S] < self._moved_s,
            velocities=short[:, VELOCITY],
            ages_s=(self._moved_s - rows[:, BORN_S]).astype(np.float32),
            masks=masks,
            missed=rows[:, FOUND_S] < self._now_s,
        )

    def _in_view(self, rows: Floats, masks: Masks) -> Indices:
        """Which rows to report: not who left the picture, nor the unseen whose place is taken.

        What hides them is there.
        """
        seen = rows[:, SEEN_S] == self._now_s
        areas = masks.areas()
        shown = (areas > 0) | (rows[:, FOUND_S] == self._moved_s)
        there, ghosts = seen.nonzero()[0], (shown & ~seen).nonzero()[0]
        if len(ghosts) and len(there):
            i, j = np.indices((len(ghosts), len(there))).reshape(2, -1)
            shared = masks.intersections(ghosts.take(i), masks, there.take(j))
            shown[ghosts] = np.bincount(i, shared) <= self.config.coast_hidden * areas[ghosts]
        index: Indices = shown.nonzero()[0]
        return index

    def _moves(self, index: Indices, picture: Picture | None) -> NDArray[np.int32]:
        """`(N, 2)` x, y in whole pixels that those at `index` have moved since they were seen.

        As expected, or as `picture` shows it of what the last update saw, unless that is known to
        stand still.
        """
        moves = self._table.expected_moves(index, self._moved_s)
        if picture is not None:
            rows = self._table.rows.take(index, 0)
            sought = moves.any(1) | (rows[:, HITS] < SETTLED_HITS)
            sought &= rows[:, SEEN_S] == self._now_s
            for k in sought.nonzero()[0].tolist():
                shown = self._shown_move(int(index[k]), picture)
                if shown is not None:
                    moves[k] = shown
        return moves

    def _advance(self, time_s: float) -> None:
        """Begin the frame at `time_s`."""
        self._move(time_s)
        if math.isinf(self._started_s):
            self._started_s = self._now_s = time_s
        self._before_s, self._now_s = self._now_s, time_s
        self._frame += 1

    def _move(self, time_s: float) -> None:
        """Move every tracklet to `time_s`."""
        if not self._moved_s < time_s < math.inf:
            raise ValueError(f"time_s should go forward from {self._moved_s}, got {time_s}")
        if len(self._table):
            self._table.predict(self._model, time_s - self._moved_s)
        self._moved_s = time_s

    def _usable(self, picture: Picture | None) -> Picture | None:
        """The picture, where there are masks and the settings want it to be looked at."""
        return picture if self._size is not None and self.config.carry_s else None

    def _check(self, detections: Detections, picture: Picture | None) -> None:
        """Masks and features must be there in every frame with detections, or in none.

        And a picture must be of the masks' size.
        """
        table = self._table
        if len(detections) and len(table):
            if (detections.masks is not None) != bool(table.crops):
                raise ValueError("Detections.masks should be given in every frame or in none")
            if (detections.features is not None) != (table.features is not None):
                raise ValueError("Detections.features should be given in every frame or in none")
        size = None if detections.masks is None else detections.masks.size
        _check_picture(picture, size)
        # An empty frame says nothing of a detector of boxes, even if it says its size.
        if len(detections) or table.crops or not len(table):
            self._size = size


def _check_picture(picture: Picture | None, size: tuple[int, int] | None) -> None:
    """Raise ValueError if there are both and the picture is not RGB of that height and width."""
    if picture is not None and size is not None and picture.shape != (*size, 3):
        raise ValueError(f"picture should be {(*size, 3)}, got {picture.shape}")


def _under(prefix: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The entries whose names start with `prefix`, by what follows it."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
