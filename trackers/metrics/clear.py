"""CLEAR MOT: misses, false positives and identity switches.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT
Metrics", 2008. Names and corner cases as in TrackEval (`trackeval/metrics/clear.py`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment

from trackers.metrics.comparison import EPS, Comparison


@dataclasses.dataclass(frozen=True, slots=True)
class ClearResult:
    """Counts of a sequence; those of several sequences are added."""

    TP: int
    """Objects found."""
    FN: int
    """Objects missed."""
    FP: int
    """Reports of nothing."""
    IDSW: int
    """Objects found by another track than the time before."""
    Frag: int
    """Times an object was found again after a miss."""
    MT: int
    """Objects found in more than 80 % of their frames."""
    ML: int
    """Objects found in less than 20 % of their frames."""

    def __add__(self, other: ClearResult) -> ClearResult:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return ClearResult(*(a + b for a, b in zip(mine, theirs, strict=True)))

    @property
    def MOTA(self) -> float:
        """(TP - FP - IDSW) / (TP + FN), in (-inf, 1]."""
        return (self.TP - self.FP - self.IDSW) / max(1, self.TP + self.FN)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return self.TP / max(1, self.TP + self.FN)

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return self.TP / max(1, self.TP + self.FP)


def clear(comparison: Comparison, threshold: float = 0.5) -> ClearResult:
    """Count matches frame by frame, keeping the match of the frame before where it still holds.

    Args:
        comparison: Truth and result.
        threshold: Smallest similarity of a match.
    """
    objects = len(comparison.truth_counts)
    found = np.zeros(objects, np.int64)
    starts = np.zeros(objects, np.int64)
    last = np.full(objects, -1)  # the last track that found each object
    current = np.full(objects, -1)  # the same, -1 where it was missed in the frame before
    fp = switches = 0
    for frame in comparison.frames:
        if len(frame.truth) == 0 or len(frame.tracks) == 0:
            fp += len(frame.tracks)
            continue  # as in TrackEval, such a frame leaves the matches of the one before standing
        gain = np.where(frame.similarity < threshold - EPS, 0.0, frame.similarity)
        kept = frame.tracks == current[frame.truth][:, None]
        gain[kept & (gain > EPS)] += 1000.0
        row, column = linear_sum_assignment(gain, maximize=True)
        good = gain[row, column] > EPS
        who, by = frame.truth[row[good]], frame.tracks[column[good]]
        fp += len(frame.tracks) - len(who)
        switches += int(((last[who] >= 0) & (last[who] != by)).sum())
        starts[who] += current[who] < 0
        found[who] += 1
        last[who] = by
        current = np.full(objects, -1)
        current[who] = by
    tp, share = int(found.sum()), found / np.maximum(1, comparison.truth_counts)
    return ClearResult(
        TP=tp,
        FN=int(comparison.truth_counts.sum()) - tp,
        FP=fp,
        IDSW=switches,
        Frag=int(np.maximum(starts - 1, 0).sum()),
        MT=int((share > 0.8).sum()),
        ML=int((share < 0.2).sum()),
    )
