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

from trackers import association, gains, life, occlusion, parts, pursuit, reentry
from trackers import boxes as boxlib
from trackers.config import SortConfig
from trackers.detections import Detections
from trackers.kalman import KalmanModel
from trackers.masks import Masks
from trackers.matches import Matches
from trackers.patches import Picture
from trackers.report import is_steady, report
from trackers.scene import Scene
from trackers.sightings import Sightings
from trackers.tracklets import (
    AREA,
    CENTRE,
    EVIDENCE,
    FILTER,
    FOUND_S,
    HITS,
    MEASURED,
    REDUNDANT,
    SCORE,
    WHOLE,
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


class SortTracker:
    """Follows objects from frame to frame. One tracker serves one stream."""

    def __init__(self, config: SortConfig | None = None) -> None:
        self.config = config or SortConfig()
        self._model = KalmanModel(self.config.motion)
        self._min_overlap = np.array(
            [math.inf, self.config.min_overlap, self.config.weak_overlap, self.config.min_overlap]
        )
        self._last_id = 0
        self._scene = Scene()

    def reset(self) -> None:
        """Forget every object, as for a new scene or source. Identities go on counting."""
        self._scene = Scene()

    def state(self) -> dict[str, NDArray[Any]]:
        """All that the next update depends on but the settings, as arrays for `restore`."""
        return self._scene.state() | {"last_id": np.array(self._last_id)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on where the tracker of the same settings was that gave `state`."""
        self._scene.restore(state)
        self._last_id = int(state["last_id"])

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
        scene, config = self._scene, self.config
        scene.advance(self._model, time_s)
        life.bury(scene, config)
        matches = self._associate(seen)
        self._correct(seen, matches)
        if picture is not None:
            missed = pursuit.left_out(scene, matches, config)
            pursuit.carry(scene, picture, missed, self._model, config)
        if matches.left:
            life.give_birth(scene, seen, matches, self._model, config)
        if seen.masks is not None:
            self._judge(seen.masks)
        if picture is not None:
            scene.table.look(scene.found_rows(), picture)
        if scene.table.tentative:
            chosen = life.ready(scene, config)
            scene.table.confirm(chosen, self._last_id + 1)
            self._last_id += len(chosen)
        return report(scene, config)

    def coast(self, time_s: float, picture: Picture | None = None) -> Tracks:
        """What should be there at `time_s`, where nobody looked: what the last update reported.

        Every object moves on as expected, or to where the picture shows it, and is `coasting`; what
        leaves the picture that way is not reported. Nothing was missed: for the next update the
        frame before is still the one of the last update.

        Args:
            time_s: Time of the frame in seconds, later than that of the call before.
            picture: `(H, W, 3)` uint8 RGB. Where it is given, as it was to the last update, and
                the detector gives masks, objects are where it shows them.

        Raises:
            ValueError: Time does not go forward, or the picture is not of the masks' size.
        """
        _check_picture(picture, self._scene.size)
        self._scene.move(self._model, time_s)
        return report(self._scene, self.config, self._usable(picture))

    def _associate(self, seen: Sightings) -> Matches:
        """Match tracklets and detections, the surest first."""
        table, config = self._scene.table, self.config
        matches = Matches(len(table), len(seen))
        expected = boxlib.to_corners(table.rows[:, CENTRE])
        i, j, _ = pairs = boxlib.overlaps(expected, seen.boxes)
        if len(i):
            now_s = self._scene.now_s
            overlap, gain = gains.overlap_and_gain(table, seen, pairs, config, now_s)
            if self._is_plain(seen):
                k = (overlap > config.min_overlap).nonzero()[0]
                matches.assign(i.take(k), j.take(k), gain.take(k))
            else:
                turn = PASSES[self._kinds().take(i), seen.kinds(config).take(j)]
                turn *= overlap > self._min_overlap.take(turn)
                # 1. Strong detections, with every confirmed object, seen a moment ago or lost.
                # 2. Weak detections prolong what was seen in the last frame.
                # 3. Tentative tracklets get the strong detections that are left.
                for number in (STRONG, WEAK, TENTATIVE):
                    k = ((turn == number) & matches.free(i, j)).nonzero()[0]
                    matches.assign(i.take(k), j.take(k), gain.take(k))
        # 4. What did not move as expected may still be near the place where it was seen last.
        if matches.left:
            self._recover(seen, matches)
        # 5. What has no identity yet may be an object that was lost long ago, by its appearance.
        if matches.left or self._scene.table.tentative:
            self._resume(*reentry.recognised(self._scene, seen, matches, config), seen, matches)
        return matches

    def _is_plain(self, seen: Sightings) -> bool:
        """Whether all pairs belong to pass 1: most frames of a detector without appearance."""
        strong = seen.lowest_score >= self.config.strong_score
        return strong and self._scene.table.tentative == 0 and seen.features is None

    def _kinds(self) -> Indices:
        """`(N,)` row of `PASSES` for each tracklet."""
        scene, table = self._scene, self._scene.table
        missed = table.seen_s < scene.before_s
        kinds: Indices = 2 * (table.ids == 0.0) + missed
        if table.features is not None:
            kinds[missed & (scene.now_s - table.seen_s > self.config.lost_s)] = FORGOTTEN
        return kinds

    def _recover(self, seen: Sightings, matches: Matches) -> None:
        """Match strong detections and confirmed objects that are left, by the last observation.

        For what stopped or turned while it was hidden (Cao et al., "Observation-Centric
        SORT", CVPR 2023, section 4.3), with boxes grown on every side (Yang et al., "C-BIoU",
        WACV 2023), so that it may have moved by about its own size.
        """
        table, config = self._scene.table, self.config
        d = (matches.owner < 0).nonzero()[0]
        d = d[seen.scores.take(d) >= config.strong_score]
        if len(d) == 0:
            return
        missed = (matches.partner < 0) & (table.ids > 0.0)
        t = (missed & self._scene.lately(config.recovery_s)).nonzero()[0]
        there = boxlib.grown(table.boxes.take(t, 0), config.recovery_growth)
        here = boxlib.grown(seen.boxes.take(d, 0), config.recovery_growth)
        overlap = boxlib.iou(there, here)
        i, j = (overlap > config.recovery_overlap).nonzero()
        i, j = association.assign(i, j, overlap[i, j], overlap.shape)
        matches.add(t.take(i), d.take(j))

    def _resume(self, t: Indices, d: Indices, seen: Sightings, matches: Matches) -> None:
        """Match objects that were lost with the detections that they are."""
        if len(t) == 0:
            return
        matches.release(d)
        matches.add(t, d)
        # The motion of long ago says nothing about the object that came back.
        self._scene.table.rows[t, FILTER] = self._model.start(seen.centres.take(d, 0))

    def _correct(self, seen: Sightings, matches: Matches) -> None:
        """Feed each matched detection to its tracklet."""
        t, d = matches.pairs()
        if len(t) == 0:
            return
        scene, table, sightings = self._scene, self._scene.table, seen.rows.take(d, 0)
        rows, centres, measured = table.rows.take(t, 0), sightings[:, :4], sightings[:, 4:]
        if seen.masks is not None:
            expected = boxlib.to_corners(rows[:, CENTRE])
            shown = occlusion.uncovered(expected, measured[:, 2:], d, seen.boxes, seen.masks)
            centres = boxlib.to_centres(shown)
        if is_steady(scene, self.config) and scene.jitter.is_due(scene.frame):
            scene.jitter.observe(rows, centres, self._model.noise, scene.now_s, scene.before_s)
        self._model.correct(rows[:, FILTER], centres)
        rows[:, MEASURED] = measured
        rows[:, FOUND_S] = scene.now_s
        rows[:, HITS] += 1.0
        rows[:, EVIDENCE] += rows[:, SCORE]
        if seen.masks is not None:
            rows[:, AREA] = seen.mask_areas.take(d)
            table.see(t, seen.masks, d)
        table.rows[t] = rows
        if seen.features is not None:
            whole, clear = reentry.shows(scene, seen, d)
            table.rows[t[whole], WHOLE] = 1.0
            table.recognise(t, seen.features.take(d, 0), clear)

    def _judge(self, masks: Masks) -> None:
        """Keep account of which are parts or copies of others: see `trackers.parts`."""
        scene, table, config = self._scene, self._scene.table, self.config.parts
        index = scene.seen_rows()
        rows = table.rows.take(index, 0)
        seen = table.masks(masks.size, index)
        now = parts.redundancy(rows, seen, config, scene.now_s, scene.started_s)
        parts.remember(rows, now, scene.now_s - scene.before_s, config)
        table.rows[index, REDUNDANT] = rows[:, REDUNDANT]

    def _usable(self, picture: Picture | None) -> Picture | None:
        """The picture, where there are masks and the settings want it to be looked at."""
        return picture if self._scene.size is not None and self.config.carry_s else None

    def _check(self, detections: Detections, picture: Picture | None) -> None:
        """Masks and features must be there in every frame with detections, or in none.

        And a picture must be of the masks' size.
        """
        table = self._scene.table
        if len(detections) and len(table):
            if (detections.masks is not None) != bool(table.crops):
                raise ValueError("Detections.masks should be given in every frame or in none")
            if (detections.features is not None) != (table.features is not None):
                raise ValueError("Detections.features should be given in every frame or in none")
            if detections.features is not None and table.features is not None:
                wanted, got = table.features.shape[1], detections.features.shape[1]
                if got != wanted:
                    raise ValueError(f"Detections.features should be (N, {wanted}), got (N, {got})")
        size = None if detections.masks is None else detections.masks.size
        _check_picture(picture, size)
        # An empty frame says nothing of the detector, but for its size where that is not known.
        if len(detections) or (size is not None and (table.crops or not len(table))):
            self._scene.size = size


def _check_picture(picture: Picture | None, size: tuple[int, int] | None) -> None:
    """Raise ValueError if there are both and the picture is not RGB of that height and width."""
    if picture is not None and size is not None and picture.shape != (*size, 3):
        raise ValueError(f"picture should be {(*size, 3)}, got {picture.shape}")
