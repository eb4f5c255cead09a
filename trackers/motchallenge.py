"""The text formats of MOTChallenge (boxes) and MOTS / KITTI-MOTS (masks): reading and writing.

    MOT   frame,id,x,y,w,h,score,-1,-1,-1        frame and id from 1, x and y of the top left
    MOTS  frame id class h w rle                 frame from 0, COCO compressed RLE

MOTS demands masks that do not overlap. See Milan et al., "MOT16", 2016, section 3.3, and
Voigtlaender et al., "MOTS", CVPR 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trackers.masks import Masks
from trackers.tracks import Tracks


def mot_lines(frame_index: int, tracks: Tracks) -> list[str]:
    """One line for each object seen in the frame, coasting ones left out.

    Args:
        frame_index: Counted from 0, as in `Frame.index`; the text counts from 1.
        tracks: What the tracker reported.
    """
    seen = ~tracks.coasting
    boxes = tracks.boxes[seen].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return [
        f"{frame_index + 1},{i},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},-1,-1,-1"
        for i, (x, y, w, h), score in zip(
            tracks.ids[seen].tolist(), boxes.tolist(), tracks.scores[seen].tolist(), strict=True
        )
    ]


def mots_lines(frame_index: int, tracks: Tracks) -> list[str]:
    """One line for each object seen in the frame, masks made disjoint, class always 1.

    Args:
        frame_index: Counted from 0, and so is the text.
        tracks: What the tracker reported.

    Raises:
        ValueError: The tracks hold no masks.
    """
    if tracks.masks is None:
        raise ValueError("MOTS text needs masks, and these tracks hold none")
    seen = np.flatnonzero(~tracks.coasting)
    masks = disjoint(tracks.masks.take(seen), tracks.scores[seen])
    height, width = masks.size
    lines = []
    for k, i in enumerate(tracks.ids[seen].tolist()):
        if masks.crops[k].any():
            counts = masks.rle(k)["counts"]
            lines.append(f"{frame_index} {i} 1 {height} {width} {counts}")
    return lines


def disjoint(masks: Masks, scores: NDArray[np.float32]) -> Masks:
    """Masks of which no two share a pixel.

    A pixel goes to the smaller mask, as what lies in front of a thing is mostly smaller than
    the thing; between equal sizes to the higher score.
    """
    order = np.lexsort((-scores, masks.areas()))
    taken = np.zeros(masks.size, bool)
    crops = list(masks.crops)
    for i in order.tolist():
        (x, y), crop = masks.offsets[i].tolist(), crops[i]
        window = taken[y : y + crop.shape[0], x : x + crop.shape[1]]
        crops[i] = crop & ~window
        window |= crop
    return Masks(masks.size, masks.offsets, tuple(crops))
