"""From the network's raw numbers to objects: scores, suppression, masks in the picture's pixels.

Plain numpy and OpenCV, shared by all runtimes. A proposal's score is sqrt(objectness x predicted
IoU), the geometric mean of OLN (Kim et al., RA-L 2022).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from deepmask import outlines
from deepmask.appearance import appearance

GRID_CELLS = 120 * 160
"""Cells of the coarse grid on which masks are compared: 4 px each in a 640x480 picture."""
SCENE = 0.8
"""A mask that covers more of the picture than this is where things are: they are no parts of it."""
COVERED = 0.7
"""A mask of which others, that lie in it beside each other, cover this share is a heap of them."""
APART = 0.2
"""Masks of which neither has more than this share in the other are beside each other."""
TINY = np.float32(1e-6)

LEAST = 1e-4
"""Objectness below this is nothing: cells off the peaks have 0."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProposalConfig:
    """Which of the network's answers count as objects."""

    min_score: float = 0.39
    """Objects scored lower are dropped, in [0, 1]."""

    max_count: int = 50
    """Most objects a picture."""

    max_iou: float = 0.7
    """Of two masks that overlap more, the lower-scored goes; 1 turns all suppression off, that of
    parts too, and voting."""

    max_inside: float = 0.9
    """A mask of which more lies inside a better one (or one better by `whole_bonus`) is a part."""

    whole_bonus: float = 0.05
    """What a whole may score less than its part and still replace it."""

    vote_iou: float = 0.6
    """Masks that overlap a kept one more are averaged with it, weighted by score and overlap
    (mask voting; Dai et al., CVPR 2016); 1 leaves masks as they are."""

    mask_threshold: float = 0.45
    """Probability from which a pixel belongs to the mask."""

    follow_edges: bool = True
    """Whether masks follow the colours and edges of the picture; see `deepmask.outlines`."""

    def __post_init__(self) -> None:
        if self.max_count < 1:
            raise ValueError(f"max_count should be 1 or more, got {self.max_count}")
        for field in dataclasses.fields(self):
            if field.name != "max_count" and not 0.0 <= getattr(self, field.name) <= 1.0:
                raise ValueError(
                    f"{field.name} should lie in [0, 1], got {getattr(self, field.name)}"
                )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """K decoded cells of one picture, best first: what a runtime returns."""

    objectness: NDArray[np.float32]
    """`(K,)` in [0, 1]."""
    quality: NDArray[np.float32]
    """`(K,)` predicted IoU of the mask with its object."""
    masks: NDArray[np.float32]
    """`(K, 56, 56)` probabilities over the window."""
    windows: NDArray[np.float32]
    """`(K, 4)` x1, y1, x2, y2 in pixels: of the network's input, or of the picture."""
    appearance: NDArray[np.float32]
    """`(K, C)` unit vectors: the pyramid's features averaged under the mask."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """`(K,)` in [0, 1]: sqrt(objectness x predicted IoU)."""
        return np.asarray(np.sqrt(self.objectness * self.quality))

    def chosen(self, index: NDArray[np.int64]) -> Windows:
        """Those at `index`."""
        return Windows(*(getattr(self, one.name)[index] for one in dataclasses.fields(Windows)))

    def scaled(self, x: float, y: float) -> Windows:
        """The same in pixels of a picture that is so many times as wide and high."""
        return dataclasses.replace(self, windows=self.windows * np.array([x, y, x, y], np.float32))

    def mirrored(self, width: int) -> Windows:
        """Where they lie in the picture, `width` pixels wide, if this is its mirror image."""
        x1, y1, x2, y2 = self.windows.T
        windows = np.stack([width - x2, y1, width - x1, y2], axis=1)
        return dataclasses.replace(self, windows=windows, masks=self.masks[:, :, ::-1])


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """N objects of one picture, best first, in its own pixels."""

    boxes: NDArray[np.float32]
    """`(N, 4)` x1, y1, x2, y2: tight boxes of the masks, exclusive ends."""
    scores: NDArray[np.float32]
    """`(N,)` in [0, 1]."""
    quality: NDArray[np.float32]
    """`(N,)` predicted IoU of the mask with its object."""
    offsets: NDArray[np.int32]
    """`(N, 2)` x, y of the masks' crops."""
    crops: tuple[NDArray[np.bool_], ...]
    """N masks `(h, w)`, cropped to their boxes."""
    appearance: NDArray[np.float32]
    """`(N, C + COLOURS)` unit vectors: `deepmask.appearance`."""


def choose_cells(
    objectness: NDArray[np.float32], min_objectness: float, count: int
) -> NDArray[np.int64]:
    """The best cells, best first: at most `count`, none below `min_objectness`.

    Args:
        objectness: `(N,)` probabilities, 0 off the peaks.
        min_objectness: in [0, 1].
        count: most cells.
    """
    found = np.flatnonzero(objectness >= max(min_objectness, LEAST))
    if len(found) > count:
        found = found[np.argpartition(-objectness[found], count)[:count]]
    return found[np.argsort(-objectness[found], kind="stable")]


def merge(parts: Sequence[Windows]) -> Windows:
    """The windows of one picture seen at several sizes, in the same pixels."""
    if len(parts) == 1:
        return parts[0]
    fields = [field.name for field in dataclasses.fields(Windows)]
    return Windows(*(np.concatenate([getattr(p, name) for p in parts]) for name in fields))


def propose(windows: Windows, image: NDArray[np.uint8], config: ProposalConfig) -> Proposals:
    """Suppress duplicates and parts, then draw the survivors' masks.

    Args:
        windows: of one picture, in its pixels.
        image: the picture, `(H, W, 3)` uint8 RGB.
        config: thresholds.
    """
    size = (image.shape[0], image.shape[1])
    _, chosen = elect(windows, size, config, config.max_count)
    masks = chosen.masks
    if config.follow_edges:
        masks = outlines.follow(masks, chosen.windows, image)
    boxes, offsets, crops, drawn = [], [], [], []
    for i, mask in enumerate(masks):
        found = paste(mask, chosen.windows[i], size, config.mask_threshold)
        if found is None:
            continue
        (x, y), crop = found
        boxes.append((x, y, x + crop.shape[1], y + crop.shape[0]))
        offsets.append((x, y))
        crops.append(crop)
        drawn.append(i)
    places = np.array(offsets, np.int32).reshape(-1, 2)
    return Proposals(
        np.array(boxes, np.float32).reshape(-1, 4),
        chosen.scores[drawn],
        chosen.quality[drawn],
        places,
        tuple(crops),
        appearance(chosen.appearance[drawn], image, places, crops),
    )


def elect(
    windows: Windows, size: tuple[int, int], config: ProposalConfig, count: int
) -> tuple[NDArray[np.int64], Windows]:
    """The best windows: copies suppressed, masks voted, and what votes made alike suppressed again.

    Returns:
        Indices `(N,)` of the windows, best first, at most `count`; and they with their new masks.
    """
    kept, votes = suppress(windows, size, config)
    kept = kept[:count]
    masks = windows.masks[kept]
    for k, weights in enumerate(votes[:count]):
        masks[k] = vote(windows, int(kept[k]), weights)
    chosen = dataclasses.replace(windows.chosen(kept), masks=masks)
    again, _ = suppress(chosen, size, config)
    return kept[again], chosen.chosen(again)


def rank(
    windows: Windows, image: NDArray[np.uint8], config: ProposalConfig, distinct: int
) -> Proposals:
    """The best proposals, then all other windows by score, below them: for average recall.

    Args:
        windows: of one picture, in its pixels.
        image: the picture, `(H, W, 3)` uint8 RGB.
        config: thresholds of `propose`, and how many there are at most.
        distinct: how many come first, without copies among them.
    """
    best = windows.chosen(np.argsort(-windows.scores, kind="stable")[: config.max_count])
    first, voted = elect(best, (image.shape[0], image.shape[1]), config, distinct)
    masks = best.masks.copy()
    masks[first] = voted.masks
    factor = np.full(len(best.scores), best.scores[first].min(initial=1.0) ** 2, np.float32)
    factor[first] = 1.0
    best = dataclasses.replace(best, objectness=best.objectness * factor, masks=masks)
    return propose(best, image, dataclasses.replace(config, min_score=0.0, max_iou=1.0))


def suppress(
    windows: Windows, size: tuple[int, int], config: ProposalConfig
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which windows to keep: no two the same, no parts beside their whole.

    Returns:
        Indices `(N,)` of the windows to keep, best first; and the weights `(N, K)` of all windows
        in the mask of each: its own, and those of its near copies.
    """
    scores = windows.scores
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= config.min_score]
    if config.max_iou >= 1 or len(order) < 2:
        return order, np.eye(len(scores), dtype=np.float32)[order]
    iou, inside, areas = _overlaps(windows.masks[order], windows.windows[order], size)
    scores = scores[order]
    holds = (inside > config.max_inside) & (areas < SCENE)
    holds &= ~heaps(inside, areas, config.max_inside)
    part = holds & (areas[None, :] > areas[:, None])
    wholes = (holds & ~holds.T).any(0)
    kept: list[int] = []
    alive = np.ones(len(order), bool)
    for i in np.argsort(-(scores + config.whole_bonus * wholes), kind="stable"):
        if not alive[i]:
            continue
        kept.append(int(i))
        alive &= ~((iou[:, i] > config.max_iou) | part[:, i])
    kept.sort()
    votes = np.zeros((len(kept), len(windows.scores)), np.float32)
    votes[:, order] = np.where(iou[kept] > config.vote_iou, iou[kept] * scores, 0)
    votes[np.arange(len(kept)), order[kept]] = scores[kept]
    return order[kept], votes


def heaps(
    inside: NDArray[np.float32], areas: NDArray[np.float32], least: float
) -> NDArray[np.bool_]:
    """`(n,)` which masks are several others in one: blocks in a row, no whole of its parts.

    Args:
        inside: `(n, n)` share of mask i that lies in mask j, best masks first.
        areas: `(n,)`.
        least: share from which one lies in another.
    """
    found = np.zeros(len(areas), bool)
    within = (inside > least) & (areas[:, None] < COVERED * areas)
    for j in np.flatnonzero(within.sum(0) >= 2):
        beside: list[int] = []
        for i in np.flatnonzero(within[:, j]):
            if max([0, *inside[i, beside], *inside[beside, i]]) < APART:
                beside.append(int(i))
        found[j] = areas[beside].sum() > COVERED * areas[j]
    return found


def vote(windows: Windows, i: int, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of masks, over the window of mask `i`: probabilities `(56, 56)`.

    Args:
        windows: all windows of a picture.
        i: whose window.
        weights: `(K,)` weight of each mask; 0 leaves it out.
    """
    side = windows.masks.shape[1]
    total = windows.masks[i] * weights[i]
    window = windows.windows[i]
    pitch = (window[2:] - window[:2]) / side
    for j in np.flatnonzero(weights):
        if j == i:
            continue
        other = windows.windows[j]
        ratio = pitch / ((other[2:] - other[:2]) / side)
        shift = (window[:2] - other[:2]) * side / (other[2:] - other[:2]) + (ratio - 1) / 2
        matrix = np.array([[ratio[0], 0, shift[0]], [0, ratio[1], shift[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        total += weights[j] * cv2.warpAffine(windows.masks[j], matrix, (side, side), flags=flags)
    return np.asarray(total / weights.sum(), np.float32)


def _overlaps(
    masks: NDArray[np.float32], windows: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Overlaps of n masks, drawn softly (with shares a, b of each cell) on a coarse grid.

    Returns:
        `(n, n)` IoU, sum ab / (sum a² + sum b² - sum ab); `(n, n)` share of row i that lies in
        column j, sum ab / sum a; and `(n,)` share of the picture, sum a / cells.
    """
    pitch = math.sqrt(size[0] * size[1] / GRID_CELLS)
    height, width = math.ceil(size[0] / pitch), math.ceil(size[1] / pitch)
    side = masks.shape[1] // 2
    binary = masks > 0.5
    pairs = binary[:, ::2].astype(np.float32) + binary[:, 1::2]
    halves = (pairs[:, :, ::2] + pairs[:, :, 1::2]) / 4
    windows = windows / np.float32(pitch)
    rows = _sampling(windows[:, 1], windows[:, 3], height, side)
    cols = _sampling(windows[:, 0], windows[:, 2], width, side)
    drawn = (rows @ halves @ cols.transpose(0, 2, 1)).reshape(len(masks), -1)
    inter = drawn @ drawn.T
    squares = np.diagonal(inter)
    union = squares[:, None] + squares[None, :] - inter
    areas = np.maximum(drawn.sum(1), TINY)
    inside = np.minimum(inter / areas[:, None], 1)
    return np.asarray(inter / np.maximum(union, TINY), np.float32), inside, areas / drawn.shape[1]


def _sampling(
    low: NDArray[np.float32], high: NDArray[np.float32], cells: int, side: int
) -> NDArray[np.float32]:
    """For each window the weights `(n, cells, side)` that average its pixels into grid cells."""
    pitch = ((high - low) / side)[:, None, None]
    places = low[:, None, None] + (np.arange(side, dtype=np.float32) + 0.5) * pitch
    centres = np.arange(cells, dtype=np.float32)[:, None] + np.float32(0.5)
    reach = np.maximum(pitch, 1.0)
    weights = np.maximum(0, 1 - np.abs(centres - places) / reach)
    return np.asarray(weights * (pitch / reach), np.float32)


def paste(
    mask: NDArray[np.float32], window: NDArray[np.float32], size: tuple[int, int], threshold: float
) -> tuple[tuple[int, int], NDArray[np.bool_]] | None:
    """Draw a window's mask in a picture, without specks.

    Args:
        mask: `(s, s)` probabilities.
        window: x1, y1, x2, y2 in the picture's pixels.
        size: (H, W) of the picture.
        threshold: probability from which a pixel belongs to the mask.

    Returns:
        x, y of the crop and the crop `(h, w)`, tight; None where nothing is drawn.
    """
    mask = outlines.without_specks(mask, threshold)
    rows, cols = outlines.extent(mask > threshold)
    if rows.stop == 0:
        return None
    side = mask.shape[0]
    pitch_x, pitch_y = (window[2] - window[0]) / side, (window[3] - window[1]) / side
    x1 = max(0, int(window[0] + (cols.start - 0.5) * pitch_x))
    y1 = max(0, int(window[1] + (rows.start - 0.5) * pitch_y))
    x2 = min(size[1], int(np.ceil(window[0] + (cols.stop + 0.5) * pitch_x)))
    y2 = min(size[0], int(np.ceil(window[1] + (rows.stop + 0.5) * pitch_y)))
    if x2 <= x1 or y2 <= y1:
        return None
    matrix = np.array(
        [
            [1 / pitch_x, 0, (x1 + 0.5 - window[0]) / pitch_x - 0.5],
            [0, 1 / pitch_y, (y1 + 0.5 - window[1]) / pitch_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(mask, matrix, (x2 - x1, y2 - y1), flags=flags) > threshold
    rows, cols = outlines.extent(crop)
    return ((x1 + cols.start, y1 + rows.start), crop[rows, cols]) if rows.stop else None
