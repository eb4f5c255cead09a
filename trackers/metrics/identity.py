"""IDF1: how much of each object one track covers.

Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking",
2016. Names as in TrackEval (`trackeval/metrics/identity.py`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment

from trackers.metrics.comparison import Comparison


@dataclasses.dataclass(frozen=True, slots=True)
class IdentityResult:
    """Counts of a sequence; those of several sequences are added."""

    IDTP: int
    """Frames in which an object is found by the one track given to it."""
    IDFN: int
    """Frames of objects in which that track does not find them."""
    IDFP: int
    """Frames of tracks in which they find no object of theirs."""

    def __add__(self, other: IdentityResult) -> IdentityResult:
        return IdentityResult(
            self.IDTP + other.IDTP, self.IDFN + other.IDFN, self.IDFP + other.IDFP
        )

    @property
    def IDF1(self) -> float:
        """IDTP / (IDTP + IDFN / 2 + IDFP / 2), in [0, 1]."""
        return self.IDTP / max(1.0, self.IDTP + 0.5 * (self.IDFN + self.IDFP))


def identity(comparison: Comparison, threshold: float = 0.5) -> IdentityResult:
    """Give every object one track so that as many frames as possible agree.

    Args:
        comparison: Truth and result.
        threshold: Smallest similarity at which a track finds an object.
    """
    truth, tracks = comparison.truth_counts, comparison.track_counts
    together = np.zeros((len(truth), len(tracks)))
    for frame in comparison.frames:
        row, column = (frame.similarity >= threshold).nonzero()
        together[frame.truth[row], frame.tracks[column]] += 1.0
    chosen = linear_sum_assignment(together, maximize=True)
    idtp = int(together[chosen].sum())
    return IdentityResult(idtp, int(truth.sum()) - idtp, int(tracks.sum()) - idtp)
