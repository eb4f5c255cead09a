"""What a user may say about following objects. `docs/tracking.md` tells how to choose."""

from __future__ import annotations

import dataclasses

from trackers.kalman import MotionConfig
from trackers.parts import PartsConfig


@dataclasses.dataclass(frozen=True, slots=True)
class SortConfig:
    """Settings of `SortTracker`. Times in seconds, scores, shares and overlaps in [0, 1]."""

    strong_score: float = 0.45
    """Detections from this objectness up take part in the first pass."""

    weak_score: float = 0.1
    """Detections below this are ignored. Those from here up to `strong_score` only prolong
    confirmed objects that were seen in the last frame."""

    birth_score: float = 0.5
    """Detections from this objectness up that match nothing start a tracklet. Below `strong_score`
    it starts none after the first frame, for only strong detections confirm a tracklet. Lost
    objects are recognised from this objectness up, too."""

    birth_overlap: float = 0.5
    """Unless they overlap a matched detection more than this (IoU): then they are a second
    detection of the same thing."""

    confirm_hits: int = 2
    """Sightings that a tracklet needs before it is reported. In the first frame one is enough."""

    confirm_evidence: float = 1.5
    """Sum of the scores that it needs as well: two sightings at .8, or three at .5."""

    min_overlap: float = 0.1
    """Smallest overlap of the prediction and a strong detection that may match."""

    weak_overlap: float = 0.4
    """The same for weak detections: these need a better fit."""

    recovery_growth: float = 0.3
    """In the recovery pass, which looks for an object where it was last seen, boxes grow on each
    side by this share of theirs."""

    recovery_overlap: float = 0.2
    """Smallest IoU of the grown boxes that may match; 1 turns the pass off."""

    recovery_s: float = 1.0
    """Objects last seen longer ago than this are left out of the recovery pass: they have moved
    on."""

    height_weight: float = 0.5
    """Weight of the IoU of the heights beside the IoU of the boxes."""

    mask_weight: float = 0.7
    """Share of the masks' IoU in the overlap; the rest is that of the boxes. 0 ignores masks."""

    appearance_weight: float = 5.0
    """Weight of appearance in the gain of a match, as a factor of the difference between its cosine
    and `reentry_similarity`. Needs `Detections.features`."""

    camera_objects: int = 3
    """From this many known objects on, a new one starts with the velocity that they share, that of
    the camera (see `trackers.camera`)."""

    tentative_gap_s: float = 0.0
    """How long a tentative tracklet may stay unseen."""

    lost_s: float = 1.5
    """How long a confirmed object that is not seen is sought where its motion has taken it."""

    coast_s: float = 0.25
    """How long an object that is not seen is still reported, as predicted."""

    coast_hidden: float = 0.95
    """A coasting object is not reported where other masks cover this share of its own: it is behind
    them."""

    carry_s: float = 1.0
    """How long an object that the detector misses is followed by its last appearance in the
    picture, and reported there. Needs masks and pictures; 0 turns it off, in `SortTracker.coast`
    too."""

    carry_similarity: float = 0.8
    """Smallest normalised cross-correlation that counts as finding it."""

    reentry_s: float = 10.0
    """How long an object is remembered for its appearance. Needs `Detections.features`."""

    reentry_similarity: float = 0.75
    """Smallest cosine of the appearance vectors at which a lost object is recognised. Also the zero
    point of `appearance_weight`."""

    reentry_margin: float = 0.02
    """It must beat every other lost object that may have come there by at least this much. Objects
    in view are no candidates."""

    reentry_speed: float = 5.0
    """How far a lost object may have gone: 1 + `reentry_speed` x seconds unseen, in units of its
    own size."""

    reentry_distance: float = 0.2
    """What distance takes off the cosine: `reentry_distance` x d / (1 + d) at d of its own sizes.
    Of things that look the same, the one that was lost nearby came back."""

    entry_s: float = 1.0
    """How long a newcomer at the picture's edge may wait for its identity while it could be a lost
    object: that shows once all of it is in view."""

    entry_similarity: float = 0.5
    """A newcomer that looks less like every lost object than this cosine does not wait."""

    steady_boxes: bool = True
    """Report filtered boxes where the detector's tremble from frame to frame, as learnt from the
    stream (see `trackers.jitter`). Boxes that come with masks stay as measured."""

    motion: MotionConfig = dataclasses.field(default_factory=MotionConfig)
    """Noise of the Kalman filter."""

    parts: PartsConfig = dataclasses.field(default_factory=PartsConfig)
    """Which tracks are not reported because they are part or copy of another. Needs masks."""

    def __post_init__(self) -> None:
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} should not be negative, got {getattr(self, name)}")
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} should lie in [0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.weak_score <= self.strong_score <= 1.0:
            raise ValueError(
                "weak_score should not exceed strong_score, both in [0, 1], "
                f"got {self.weak_score} and {self.strong_score}"
            )
        for name in ("confirm_hits", "camera_objects"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} should be at least 1, got {getattr(self, name)}")


_NOT_NEGATIVE = (
    "recovery_growth",
    "height_weight",
    "lost_s",
    "recovery_s",
    "coast_s",
    "carry_s",
    "tentative_gap_s",
    "reentry_s",
    "reentry_margin",
    "reentry_speed",
    "reentry_distance",
    "appearance_weight",
    "entry_s",
    "confirm_evidence",
)
_SHARES = (
    "birth_score",
    "min_overlap",
    "weak_overlap",
    "birth_overlap",
    "recovery_overlap",
    "mask_weight",
    "coast_hidden",
    "reentry_similarity",
    "entry_similarity",
    "carry_similarity",
)
