"""What every metric is computed from: who was there, who was reported, how similar they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

EPS = float(np.finfo(float).eps)
"""Slack of a comparison with a threshold, as in TrackEval."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FrameComparison:
    """Truth and result of one frame, ids renumbered from 0 over the sequence."""

    truth: NDArray[np.intp]
    """`(G,)` objects in the frame."""

    tracks: NDArray[np.intp]
    """`(T,)` tracks reported in the frame."""

    similarity: NDArray[np.float64]
    """`(G, T)` IoU of boxes or masks in [0, 1]."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Truth and result of one sequence."""

    frames: tuple[FrameComparison, ...]

    truth_counts: NDArray[np.int64]
    """`(objects,)` frames in which each object is there."""

    track_counts: NDArray[np.int64]
    """`(tracks,)` frames in which each track is reported."""


def compare(frames: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike]]) -> Comparison:
    """Put the frames of a sequence together.

    Args:
        frames: For each frame the ids of the truth `(G,)`, those of the result `(T,)` and their
            similarity `(G, T)`.

    Raises:
        ValueError: An id appears twice in a frame, or a similarity has the wrong shape.
    """
    listed = [(np.asarray(g, np.int64), np.asarray(t, np.int64), s) for g, t, s in frames]
    nobody = np.zeros(0, np.int64)
    truth = np.unique(np.concatenate([nobody, *(g for g, _, _ in listed)]))
    tracks = np.unique(np.concatenate([nobody, *(t for _, t, _ in listed)]))
    out = []
    for k, (g, t, s) in enumerate(listed):
        flat = np.asarray(s, float).ravel()
        if flat.size != len(g) * len(t):
            raise ValueError(f"frame {k}: similarity should be ({len(g)}, {len(t)})")
        for what, ids in (("truth", g), ("result", t)):
            if len(np.unique(ids)) < len(ids):
                raise ValueError(f"frame {k}: an id appears twice in the {what}")
        similarity = flat.reshape(len(g), len(t))
        out.append(
            FrameComparison(np.searchsorted(truth, g), np.searchsorted(tracks, t), similarity)
        )
    return Comparison(
        tuple(out),
        _count([f.truth for f in out], len(truth)),
        _count([f.tracks for f in out], len(tracks)),
    )


def _count(ids: list[NDArray[np.intp]], size: int) -> NDArray[np.int64]:
    flat = np.concatenate([np.zeros(0, np.intp), *ids])
    return np.bincount(flat, minlength=size).astype(np.int64)
