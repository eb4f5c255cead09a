"""SORT for masks: predict, associate in passes, correct, be born, die.

    detections ──▶ predict ──▶ pass 1..5 ──▶ correct the matched ──▶ births, deaths ──▶ Tracks

After Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016, with the two-pass idea of
ByteTrack (Zhang et al., ECCV 2022), the recovery at the last observation of OC-SORT (Cao et
al., CVPR 2023), and masks where the detector gives them. Nothing knows a class: objectness
alone decides on birth, on the pass a detection takes part in, and on death.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from trackers import association
from trackers import boxes as boxlib
from trackers.detections import Detections
from trackers.kalman import KalmanModel, MotionConfig
from trackers.masks import Masks
from trackers.tracklets import BORN_S, BOX, COLUMNS, HITS, ID, SCORE, SEEN_S, STATE, Tracklets
from trackers.tracks import Tracks

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclasses.dataclass(frozen=True, slots=True)
class SortConfig:
    """Settings of `SortTracker`. Times in seconds, lengths as fractions of the object's size."""

    strong_score: float = 0.5
    """Detections from this objectness up take part in the first pass and may be born."""

    weak_score: float = 0.1
    """Detections below this are ignored; between the two they only prolong what exists."""

    birth_score: float = 0.6
    """Objectness from which an unmatched detection starts a tracklet."""

    min_overlap: float = 0.2
    """Smallest IoU of prediction and strong detection that may match."""

    weak_overlap: float = 0.4
    """The same for weak detections: these need a better fit."""

    buffer: float = 0.0
    """Both boxes grow by this fraction of their sides before they are compared."""

    recovery_buffer: float = 0.3
    """The same in the recovery pass, for objects that jumped or stopped."""

    recovery_overlap: float = 0.2
    """Smallest IoU of the grown boxes in the recovery pass."""

    height_weight: float = 0.0
    """Weight of the overlap of heights beside the IoU of boxes."""

    direction_weight: float = 0.1
    """Weight of moving on in the same direction."""

    score_weight: float = 0.0
    """Weight of the detection's objectness."""

    mask_weight: float = 0.7
    """Share of the masks' IoU in the overlap, the rest is that of boxes; 0 ignores masks."""

    confirm_hits: int = 2
    """Sightings after which an object is reported; those of the first frame are at once."""

    tentative_gap_s: float = 0.0
    """How long a tentative object may stay unseen."""

    lost_s: float = 1.5
    """How long a confirmed object is remembered while it is not seen."""

    coast_s: float = 0.25
    """How long an object that is not seen is still reported, as predicted."""

    motion: MotionConfig = dataclasses.field(default_factory=MotionConfig)
    """Noise of the Kalman filter."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weak_score <= self.strong_score <= 1.0:
            raise ValueError(
                "SortConfig needs 0 <= weak_score <= strong_score <= 1, got "
                f"{self.weak_score} and {self.strong_score}"
            )


class SortTracker:
    """Follows objects from frame to frame. One tracker serves one stream."""

    def __init__(self, config: SortConfig | None = None) -> None:
        self.config = config or SortConfig()
        self._model = KalmanModel(self.config.motion)
        self._last_id = 0
        self.reset()

    def reset(self) -> None:
        """Forget every object, as for a new scene. Identities go on counting."""
        self._table = Tracklets()
        self._time_s = -math.inf

    def update(self, detections: Detections, time_s: float) -> Tracks:
        """What is there at `time_s`, given what the detector saw.

        Args:
            detections: Boxes, scores, and masks and features if the detector gives them.
            time_s: Time of the frame in seconds, later than that of the call before.

        Raises:
            ValueError: A box is not finite or has no area, a score lies outside [0, 1], time
                does not go forward, or masks or features come and go within a stream.
        """
        boxes, scores = _checked(detections)
        first_frame = math.isinf(self._time_s)
        self._advance(time_s)
        self._check_kind(detections)
        pairs = self._associate(detections, boxes, scores, time_s)
        self._correct(pairs, detections, boxes, scores, time_s)
        self._bury(time_s)
        self._give_birth(pairs, detections, boxes, scores, time_s, confirm=first_frame)
        return self._report(detections.masks, time_s)

    def _associate(
        self, detections: Detections, boxes: Floats, scores: Floats, time_s: float
    ) -> Pairs:
        """Match tracklets and detections, the surest first."""
        config, table = self.config, self._table
        pairs = Pairs(len(table), len(boxes))
        if len(table) == 0 or len(boxes) == 0:
            return pairs
        strong = scores >= config.strong_score
        weak = (scores >= config.weak_score) & ~strong
        known = table.ids > 0
        predicted = table.predicted()

        # 1. Strong detections and every confirmed object, seen a moment ago or lost.
        t, d = pairs.free(known, strong)
        self._match(
            pairs, t, d, predicted, boxes, detections.masks, config.min_overlap, config.buffer
        )

        # 2. Weak detections prolong what was seen in the last frame.
        t, d = pairs.free(known & (table.seen_s == self._before_s), weak)
        self._match(
            pairs, t, d, predicted, boxes, detections.masks, config.weak_overlap, config.buffer
        )

        # 3. Recovery: strong detections near the place where an object was seen last.
        t, d = pairs.free(known, strong)
        self._match(
            pairs,
            t,
            d,
            table.boxes,
            boxes,
            detections.masks,
            config.recovery_overlap,
            config.recovery_buffer,
        )

        # 4. Tentative objects get what is left.
        t, d = pairs.free(~known, strong)
        self._match(
            pairs,
            t,
            d,
            predicted,
            boxes,
            detections.masks,
            config.min_overlap,
            config.recovery_buffer,
        )
        return pairs

    def _match(
        self,
        pairs: Pairs,
        t: Indices,
        d: Indices,
        expected: Floats,
        boxes: Floats,
        masks: Masks | None,
        min_overlap: float,
        buffer: float,
    ) -> None:
        """Match tracklets `t`, expected at `expected`, with detections `d` as well as can be."""
        if len(t) == 0 or len(d) == 0:
            return
        config = self.config
        here, there = expected.take(t, 0), boxes.take(d, 0)
        if buffer:
            here, there = boxlib.expanded(here, buffer), boxlib.expanded(there, buffer)
        i, j, shared = boxlib.overlaps(here, there)
        if len(i) == 0:
            return
        gain = association.overlap_gain(
            shared, boxlib.areas(here).take(i), boxlib.areas(there).take(j)
        )
        if masks is not None and config.mask_weight:
            gain += config.mask_weight * (self._mask_gain(t, i, d, j, masks) - gain)
        keep = (gain > min_overlap).nonzero()[0]
        i, j, gain = i.take(keep), j.take(keep), gain.take(keep)
        if config.height_weight:
            gain += config.height_weight * association.height_gain(
                here.take(i, 0), there.take(j, 0)
            )
        if config.direction_weight:
            ti, dj = t.take(i), d.take(j)
            step = boxes.take(dj, 0) - self._table.boxes.take(ti, 0)
            gain += config.direction_weight * association.direction_gain(
                self._table.velocities.take(ti, 0), step[:, :2] + step[:, 2:]
            )
            np.maximum(gain, 1e-6, out=gain)
        i, j = association.assign(i, j, gain, (len(t), len(d)))
        pairs.add(t.take(i), d.take(j))

    def _mask_gain(self, t: Indices, i: Indices, d: Indices, j: Indices, masks: Masks) -> Floats:
        """`(K,)` IoU of the last masks, moved with the prediction, and the detections' masks."""
        last = self._table.moved_masks(masks.size, t)
        shared = last.intersections(i, masks, d.take(j))
        area_a, area_b = last.areas().astype(float), masks.areas().astype(float)
        return association.overlap_gain(shared, area_a.take(i), area_b.take(d.take(j)))

    def _correct(
        self, pairs: Pairs, detections: Detections, boxes: Floats, scores: Floats, time_s: float
    ) -> None:
        """Feed each matched detection to its tracklet."""
        t, d = pairs.matched()
        if len(t) == 0:
            return
        table = self._table
        rows, seen = table.rows.take(t, 0), boxes.take(d, 0)
        rows[:, STATE], rows[:, 8:14] = self._model.correct(
            rows[:, STATE], rows[:, 8:14], boxlib.to_centres(seen)
        )
        rows[:, BOX] = seen
        rows[:, SCORE] = scores.take(d)
        rows[:, SEEN_S] = time_s
        rows[:, HITS] += 1.0
        promoted = ((rows[:, ID] == 0.0) & (rows[:, HITS] >= self.config.confirm_hits)).nonzero()[0]
        if len(promoted):
            rows[promoted, ID] = self._new_ids(len(promoted))
        table.rows[t] = rows
        if detections.masks is not None:
            table.offsets[t] = detections.masks.offsets.take(d, 0)
            for i, j in zip(t.tolist(), d.tolist(), strict=True):
                table.crops[i] = detections.masks.crops[j]

    def _bury(self, time_s: float) -> None:
        """Forget the tentative at once and the confirmed after `lost_s` without a sighting."""
        table, config = self._table, self.config
        patience = np.where(table.ids > 0, config.lost_s, config.tentative_gap_s)
        alive = time_s - table.seen_s <= patience
        if not alive.all():
            table.keep(alive.nonzero()[0])

    def _give_birth(
        self,
        pairs: Pairs,
        detections: Detections,
        boxes: Floats,
        scores: Floats,
        time_s: float,
        *,
        confirm: bool,
    ) -> None:
        """Start a tracklet for each detection that is good enough and nobody's."""
        new = ((pairs.owner < 0) & (scores >= self.config.birth_score)).nonzero()[0]
        if len(new) == 0:
            return
        rows = np.zeros((len(new), COLUMNS))
        rows[:, BOX] = boxes.take(new, 0)
        rows[:, STATE], rows[:, 8:14] = self._model.start(boxlib.to_centres(rows[:, BOX]))
        rows[:, SCORE] = scores.take(new)
        rows[:, BORN_S] = rows[:, SEEN_S] = time_s
        rows[:, HITS] = 1.0
        if confirm or self.config.confirm_hits <= 1:
            rows[:, ID] = self._new_ids(len(new))
        self._table.add(rows, detections.masks, detections.features, new)

    def _report(self, masks: Masks | None, time_s: float) -> Tracks:
        """Confirmed objects that are seen or were seen a moment ago, ordered by identity."""
        table = self._table
        unseen_s = time_s - table.seen_s
        chosen = ((table.ids > 0) & (unseen_s <= self.config.coast_s)).nonzero()[0]
        chosen = chosen.take(table.ids.take(chosen).argsort(kind="stable"))
        rows = table.rows.take(chosen, 0)
        coasting = rows[:, SEEN_S] < time_s
        reported = rows[:, BOX]
        if coasting.any():
            reported[coasting] = boxlib.to_corners(rows[coasting, :4])
        moved = None
        if masks is not None:
            moved = self._masks_now(masks.size, chosen, coasting)
        return Tracks(
            ids=rows[:, ID].astype(np.int64),
            boxes=reported.astype(np.float32),
            scores=rows[:, SCORE].astype(np.float32),
            coasting=coasting,
            velocities=rows[:, 4:6].astype(np.float32),
            ages_s=(time_s - rows[:, BORN_S]).astype(np.float32),
            masks=moved,
        )

    def _masks_now(
        self, size: tuple[int, int], chosen: Indices, coasting: NDArray[np.bool_]
    ) -> Masks:
        """Masks of the rows `chosen`: as measured, or moved to the prediction where coasting."""
        table = self._table
        offsets = table.offsets.take(chosen, 0)
        crops = [table.crops[i] for i in chosen.tolist()]
        ghosts = coasting.nonzero()[0]
        if len(ghosts):
            moved = table.moved_masks(size, chosen.take(ghosts))
            offsets[ghosts] = moved.offsets
            for k, g in enumerate(ghosts.tolist()):
                crops[g] = moved.crops[k]
        return Masks(size, offsets, tuple(crops))

    def _advance(self, time_s: float) -> None:
        """Move every tracklet to `time_s`."""
        if not time_s > self._time_s or math.isinf(time_s):
            raise ValueError(f"time_s should go forward from {self._time_s}, got {time_s}")
        if len(self._table):
            self._table.predict(self._model, time_s - self._time_s)
        self._before_s, self._time_s = self._time_s, time_s

    def _check_kind(self, detections: Detections) -> None:
        """Masks must be there in every frame with detections, or in none."""
        if len(detections) == 0 or len(self._table) == 0:
            return
        if (detections.masks is not None) != bool(self._table.crops):
            raise ValueError("Detections.masks should be given in every frame or in none")

    def _new_ids(self, count: int) -> Floats:
        """The next `count` identities."""
        first = self._last_id + 1
        self._last_id += count
        return np.arange(first, first + count, dtype=np.float64)


class Pairs:
    """Who was matched with whom during one update, and who is still free."""

    def __init__(self, tracklets: int, detections: int) -> None:
        self.partner: Indices = np.full(tracklets, -1, np.intp)
        """`(N,)` detection of each tracklet, -1 for none."""
        self.owner: Indices = np.full(detections, -1, np.intp)
        """`(M,)` tracklet of each detection, -1 for none."""

    def free(
        self, tracklets: NDArray[np.bool_], detections: NDArray[np.bool_]
    ) -> tuple[Indices, Indices]:
        """The unmatched among the tracklets and detections marked true."""
        t = (tracklets & (self.partner < 0)).nonzero()[0]
        return t, (detections & (self.owner < 0)).nonzero()[0]

    def add(self, t: Indices, d: Indices) -> None:
        """Record that tracklets `t` are detections `d`."""
        self.partner[t] = d
        self.owner[d] = t

    def matched(self) -> tuple[Indices, Indices]:
        """All pairs so far."""
        t = (self.partner >= 0).nonzero()[0]
        return t, self.partner.take(t)


def _checked(detections: Detections) -> tuple[Floats, Floats]:
    """Boxes and scores as float64.

    Raises:
        ValueError: Names the first row that is not finite, has no area or a score outside [0, 1].
    """
    boxes = detections.boxes.astype(np.float64)
    scores = detections.scores.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    good = ((sides > 0) & (sides < math.inf)).all() and ((scores >= 0) & (scores <= 1)).all()
    if good:
        return boxes, scores
    for row, (box, score) in enumerate(zip(boxes.tolist(), scores.tolist(), strict=True)):
        if not all(map(math.isfinite, box)):
            raise ValueError(f"Detections.boxes row {row} is not finite: {box}")
        if not (box[2] > box[0] and box[3] > box[1]):
            raise ValueError(f"Detections.boxes row {row} has no area (x1, y1, x2, y2): {box}")
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"Detections.scores row {row} is outside [0, 1]: {score}")
    raise AssertionError("unreachable: some row is bad")
