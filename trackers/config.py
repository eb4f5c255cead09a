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
    """Detections below this are ignored; between the two they only prolong what exists."""

    birth_score: float = 0.5
    """Objectness from which a detection that is nobody's starts a tracklet."""

    birth_overlap: float = 0.5
    """But not where it overlaps a detection that is somebody's more than this (IoU): a second
    detection of the same thing."""

    confirm_hits: int = 2
    """Sightings that a tracklet needs before it is reported; those of the first frame are so at
    once."""

    confirm_evidence: float = 1.5
    """Sum of the scores that it needs as well: two sightings at .8, or three at .5."""

    min_overlap: float = 0.1
    """Smallest overlap of the prediction and a strong detection that may match."""

    weak_overlap: float = 0.4
    """The same for weak detections: these need a better fit."""

    recovery_growth: float = 0.3
    """Share of its sides by which a box grows on each side in the recovery pass, which seeks
    an object where it was seen last."""

    recovery_overlap: float = 0.2
    """Smallest IoU of the grown boxes there; 1 leaves the pass out."""

    recovery_s: float = 1.0
    """Who was seen there longer ago than this will have left the place, and is not sought."""

    height_weight: float = 0.5
    """Weight of the IoU of the heights beside the IoU of the boxes."""

    mask_weight: float = 0.7
    """Share of the masks' IoU in the overlap, the rest is that of the boxes; 0 ignores masks."""

    appearance_weight: float = 5.0
    """What the cosine of appearance above `reentry_similarity` adds to the gain of a match, and
    what is missing to it takes off. Needs `Detections.features`."""

    camera_objects: int = 3
    """From so many known objects on new ones are taken to move as these do all together, with the
    camera (see `trackers.camera`)."""

    tentative_gap_s: float = 0.0
    """How long a tentative tracklet may stay unseen."""

    lost_s: float = 1.5
    """How long a confirmed object that is not seen is sought where it should have moved."""

    coast_s: float = 0.25
    """How long an object that is not seen is still reported, as predicted."""

    carry_s: float = 1.0
    """How long an object that the detector misses is followed by what the picture shows: it stays
    reported where it looks as when it was found last. Needs masks, and the pictures; at 0 they are
    not looked at, nor where nobody detects (`coast`)."""

    carry_similarity: float = 0.8
    """Least normalised cross-correlation at which it does."""

    coast_hidden: float = 0.95
    """But not where masks of others cover this share of its own: it is behind them."""

    reentry_s: float = 10.0
    """How long an object is remembered for its appearance. Needs `Detections.features`."""

    reentry_similarity: float = 0.75
    """Smallest cosine of the appearance vectors at which a lost object is recognised; likeness
    counts for a match above it, below against (`appearance_weight`)."""

    reentry_margin: float = 0.02
    """And it must look less like every other lost object that can have come there, by this much:
    who is in view is not sought."""

    reentry_speed: float = 5.0
    """Nor may it have gone farther, in its own sizes a second, and one more."""

    reentry_distance: float = 0.2
    """How much less alike it counts far from where it was seen last; half of this at a distance of
    its own size: of things that look the same, the one lost here came back."""

    entry_s: float = 1.0
    """How long an object that comes in over the picture's edge may stay without identity while
    somebody is lost whom it may be: that can be told once all of it is in view."""

    entry_similarity: float = 0.5
    """Who looks less alike than this cosine, cut off as it is, does not wait: it is a stranger."""

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
