"""J: how well one track's masks cover an object over all the frames that show it.

Region similarity of Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video
Object Segmentation", CVPR 2016, for a tracker that nobody told which object to follow: the best
single track counts. The oracle may take another track in every frame, so the difference between
the two is what identity costs.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trackers.metrics.comparison import Comparison


@dataclasses.dataclass(frozen=True, slots=True)
class JaccardResult:
    """Values of each object; those of several sequences are put together."""

    best_track: tuple[float, ...]
    """Mean IoU with the best single track, for each object."""
    best_mask: tuple[float, ...]
    """Mean over the frames of the best IoU with any track, for each object."""

    def __add__(self, other: JaccardResult) -> JaccardResult:
        return JaccardResult(self.best_track + other.best_track, self.best_mask + other.best_mask)

    @property
    def J(self) -> float:
        """Mean over the objects of `best_track`; 0 without objects."""
        return sum(self.best_track) / max(1, len(self.best_track))

    @property
    def J_oracle(self) -> float:
        """Mean over the objects of `best_mask`; 0 without objects."""
        return sum(self.best_mask) / max(1, len(self.best_mask))


def jaccard(comparison: Comparison) -> JaccardResult:
    """Sum the IoU of every object with every track over the sequence."""
    frames_of = comparison.truth_counts
    total = np.zeros((len(frames_of), len(comparison.track_counts)))
    best = np.zeros(len(frames_of))
    for frame in comparison.frames:
        total[np.ix_(frame.truth, frame.tracks)] += frame.similarity
        best[frame.truth] += frame.similarity.max(1, initial=0.0)
    return JaccardResult(
        tuple((total.max(1, initial=0.0) / frames_of).tolist()),
        tuple((best / frames_of).tolist()),
    )
