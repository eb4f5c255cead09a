"""HOTA: detection and association weighed alike, over all thresholds; and OWTA for open worlds.

Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021;
Liu et al., "Opening up Open-World Tracking", CVPR 2022. Names and corner cases as in TrackEval
(`trackeval/metrics/hota.py`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trackers.metrics.comparison import EPS, Comparison

Floats = NDArray[np.float64]

ALPHAS: Floats = np.linspace(0.05, 0.95, 19)
"""Thresholds of similarity over which HOTA is the mean: .05, .10, ... .95."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HotaResult:
    """Sums of a sequence for each threshold `(19,)`; those of several sequences are added."""

    TP: Floats
    """Objects found."""
    FN: Floats
    """Objects missed."""
    FP: Floats
    """Reports of nothing."""
    association: Floats
    """Over all TP c: A(c) = TPA / (TPA + FNA + FPA), equation 8 of the paper."""
    localisation: Floats
    """Over all TP: the similarity."""

    def __add__(self, other: HotaResult) -> HotaResult:
        names = [field.name for field in dataclasses.fields(self)]
        return HotaResult(*(getattr(self, n) + getattr(other, n) for n in names))

    @property
    def det_a(self) -> Floats:
        """`(19,)` TP / (TP + FN + FP)."""
        out: Floats = self.TP / np.maximum(1.0, self.TP + self.FN + self.FP)
        return out

    @property
    def det_re(self) -> Floats:
        """`(19,)` TP / (TP + FN)."""
        out: Floats = self.TP / np.maximum(1.0, self.TP + self.FN)
        return out

    @property
    def ass_a(self) -> Floats:
        """`(19,)` mean of A(c) over the TP."""
        out: Floats = self.association / np.maximum(1.0, self.TP)
        return out

    @property
    def HOTA(self) -> float:
        """Mean over the thresholds of sqrt(DetA AssA)."""
        return float(np.sqrt(self.det_a * self.ass_a).mean())

    @property
    def OWTA(self) -> float:
        """Mean of sqrt(DetRe AssA): reports of things that nobody annotated cost nothing."""
        return float(np.sqrt(self.det_re * self.ass_a).mean())

    @property
    def DetA(self) -> float:
        """Mean of `det_a`."""
        return float(self.det_a.mean())

    @property
    def DetRe(self) -> float:
        """Mean of `det_re`."""
        return float(self.det_re.mean())

    @property
    def AssA(self) -> float:
        """Mean of `ass_a`."""
        return float(self.ass_a.mean())

    @property
    def LocA(self) -> float:
        """Mean over the thresholds of the mean similarity of the TP, 1 where there are none."""
        return float((np.maximum(1e-10, self.localisation) / np.maximum(1e-10, self.TP)).mean())


def hota(comparison: Comparison) -> HotaResult:
    """Match each frame so that the tracks which agree over the whole sequence come first."""
    truth, tracks = comparison.truth_counts, comparison.track_counts
    alignment = _alignment(comparison)
    pairs, similarities = [], []
    for frame in comparison.frames:
        gain = alignment[np.ix_(frame.truth, frame.tracks)] * frame.similarity
        row, column = linear_sum_assignment(gain, maximize=True)
        pairs.append(frame.truth[row] * len(tracks) + frame.tracks[column])
        similarities.append(frame.similarity[row, column])
    pair = np.concatenate([np.zeros(0, np.intp), *pairs])
    similarity = np.concatenate([np.zeros(0), *similarities])
    rows = [_at(alpha, pair, similarity, truth, tracks) for alpha in ALPHAS]
    tp, association, localisation = (np.array(column) for column in zip(*rows, strict=True))
    return HotaResult(tp, truth.sum() - tp, tracks.sum() - tp, association, localisation)


def _alignment(comparison: Comparison) -> Floats:
    """`(objects, tracks)` soft IoU over time of each object and track: S of TrackEval.

    In a frame a pair counts by its share of all similarity in its row and column.
    """
    truth, tracks = comparison.truth_counts, comparison.track_counts
    together = np.zeros((len(truth), len(tracks)))
    for frame in comparison.frames:
        s = frame.similarity
        around = s.sum(0)[None] + s.sum(1)[:, None] - s
        share = np.divide(s, around, out=np.zeros_like(s), where=around > EPS)
        together[np.ix_(frame.truth, frame.tracks)] += share
    return together / np.maximum(truth[:, None] + tracks[None] - together, EPS)


def _at(
    alpha: float,
    pair: NDArray[np.intp],
    similarity: Floats,
    truth: NDArray[np.int64],
    tracks: NDArray[np.int64],
) -> tuple[float, float, float]:
    """TP, sum of A(c) and sum of similarity at one threshold."""
    good = similarity >= alpha - EPS
    which, tpa = np.unique(pair[good], return_counts=True)
    if len(which) == 0:
        return 0.0, 0.0, 0.0
    union = truth[which // len(tracks)] + tracks[which % len(tracks)] - tpa
    association = float((tpa * (tpa / np.maximum(1, union))).sum())
    return float(good.sum()), association, float(similarity[good].sum())
