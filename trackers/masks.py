"""Instance masks kept as crops: what memory and time allow for hundreds of objects a frame."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class Masks:
    """N binary masks of one picture, each a crop and the place of the crop.

    A mask is false outside its crop. Crops lie inside the picture.
    """

    size: tuple[int, int]
    """`(H, W)` of the picture in pixels."""

    offsets: NDArray[np.int32]
    """`(N, 2)` x, y of each crop's top left pixel."""

    crops: tuple[NDArray[np.bool_], ...]
    """N arrays `(h, w)` bool; `(0, 0)` is an empty mask."""

    def __post_init__(self) -> None:
        if self.offsets.shape != (len(self.crops), 2):
            raise ValueError(
                f"Masks.offsets should be ({len(self.crops)}, 2) for {len(self.crops)} crops, "
                f"got {self.offsets.shape}"
            )

    def __len__(self) -> int:
        return len(self.crops)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (self.full(i) for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Masks({len(self)} of {self.size[1]}x{self.size[0]})"

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Masks:
        """No masks of a picture of `size` (H, W)."""
        return cls(size, np.zeros((0, 2), np.int32), ())

    @classmethod
    def from_dense(cls, masks: NDArray[np.bool_]) -> Masks:
        """Crop a dense stack `(N, H, W)` bool to the tight box of each mask."""
        if masks.ndim != 3:
            raise ValueError(f"a dense stack of masks should be (N, H, W), got {masks.shape}")
        offsets = np.zeros((len(masks), 2), np.int32)
        crops = []
        for i, mask in enumerate(masks):
            rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if rows.size == 0:
                crops.append(np.zeros((0, 0), bool))
                continue
            offsets[i] = cols[0], rows[0]
            crops.append(mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].astype(bool))
        return cls((masks.shape[1], masks.shape[2]), offsets, tuple(crops))

    @classmethod
    def placed(
        cls, size: tuple[int, int], extents: NDArray[np.int32], crops: Sequence[NDArray[np.bool_]]
    ) -> Masks:
        """Masks whose `extents` are known already."""
        masks = cls(size, extents[:, :2], tuple(crops))
        vars(masks)["extents"] = extents
        return masks

    @functools.cached_property
    def extents(self) -> NDArray[np.int32]:
        """`(N, 4)` x1, y1, x2, y2 of the crops in the picture."""
        shapes = np.array([crop.shape for crop in self.crops], np.int32).reshape(-1, 2)
        return np.concatenate((self.offsets, self.offsets + shapes[:, ::-1]), axis=1)

    def take(self, indices: Sequence[int] | NDArray[np.intp]) -> Masks:
        """The masks at `indices`, in that order; crops are shared, not copied."""
        index = np.asarray(indices, np.intp)
        return Masks(self.size, self.offsets[index], tuple(self.crops[i] for i in index))

    def full(self, i: int) -> NDArray[np.bool_]:
        """Mask `i` as `(H, W)` bool."""
        out = np.zeros(self.size, bool)
        (x, y), crop = self.offsets[i], self.crops[i]
        out[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        return out

    def areas(self) -> NDArray[np.int64]:
        """`(N,)` pixels of each mask."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], np.int64)

    def rle(self, i: int) -> dict[str, Any]:
        """Mask `i` as COCO compressed RLE of the whole picture, `counts` as str."""
        from pycocotools import mask as coco_mask

        (height, width), (x, y), crop = self.size, self.offsets[i].tolist(), self.crops[i]
        columns = crop.shape[1]
        # RLE goes down the columns: encode only those that the crop touches, and one more, so
        # that the last run is background, then lengthen the first and the last run.
        band = np.zeros((min(columns + 1, width - x), height), np.uint8)
        band[:columns, y : y + crop.shape[0]] = crop.T
        counts: bytes = coco_mask.encode(band.T)["counts"]
        counts = _lengthen(counts, 0, _first_end(counts), x * height)
        rest = (width - x - len(band)) * height
        counts = _lengthen(counts, _last_start(counts), len(counts), rest)
        return {"size": [height, width], "counts": counts.decode("ascii")}

    def moved(self, shifts: NDArray[np.int32]) -> Masks:
        """Each mask moved by `(N, 2)` x, y whole pixels; what leaves the picture is cut off."""
        height, width = self.size
        extents = self.extents + shifts[:, [0, 1, 0, 1]]
        crops = list(self.crops)
        beyond = (extents[:, :2] < 0) | (extents[:, 2:] > (width, height))
        for i in np.flatnonzero(beyond.any(1)).tolist():
            x, y, _, _ = extents[i].tolist()
            x1, y1 = min(max(x, 0), width), min(max(y, 0), height)
            crops[i] = crops[i][y1 - y : max(height - y, 0), x1 - x : max(width - x, 0)]
            extents[i] = x1, y1, x1 + crops[i].shape[1], y1 + crops[i].shape[0]
        return Masks.placed(self.size, extents, crops)

    def intersections(
        self,
        mine: NDArray[np.intp],
        other: Masks,
        theirs: NDArray[np.intp],
        least: NDArray[np.float64] | float = 1.0,
    ) -> NDArray[np.float64]:
        """`(K,)` pixels that mask `mine[k]` of this and mask `theirs[k]` of `other` share.

        Exact, and only the pixels where the two crops overlap are looked at. Where these are
        fewer than `least`, `(K,)` or a number from 1, the result is 0.
        """
        shared = np.zeros(len(mine))
        a, b = self.extents.take(mine, 0), other.extents.take(theirs, 0)
        common, chosen = _common(a, b, least)
        # The common window in each of the two crops.
        here, there = (common - box.take(chosen, 0)[:, [0, 1, 0, 1]] for box in (a, b))
        which = chosen.tolist(), mine.take(chosen).tolist(), theirs.take(chosen).tolist()
        for k, i, j, (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) in zip(
            *which, here.tolist(), there.tolist(), strict=True
        ):
            part = self.crops[i][ay1:ay2, ax1:ax2] & other.crops[j][by1:by2, bx1:bx2]
            shared[k] = np.count_nonzero(part)
        return shared

    def inside(self, mine: NDArray[np.intp], windows: NDArray[np.int32]) -> NDArray[np.float64]:
        """`(K,)` pixels of mask `mine[k]` in the window `windows[k]`: x1, y1, x2, y2, `(K, 4)`."""
        shared = np.zeros(len(mine))
        extents = self.extents.take(mine, 0)
        common, chosen = _common(extents, windows, 1.0)
        here = common - extents.take(chosen, 0)[:, [0, 1, 0, 1]]
        which = chosen.tolist(), mine.take(chosen).tolist()
        for k, i, (x1, y1, x2, y2) in zip(*which, here.tolist(), strict=True):
            shared[k] = np.count_nonzero(self.crops[i][y1:y2, x1:x2])
        return shared


def _common(
    a: NDArray[np.int32], b: NDArray[np.int32], least: NDArray[np.float64] | float
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Common windows `(C, 4)` of boxes `(K, 4)` where they hold `least` pixels, and where that is.

    Returns:
        Windows x1, y1, x2, y2, and `(C,)` which of the K they belong to.
    """
    start, end = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    sides = np.maximum(end - start, 0)
    chosen = (sides[:, 0] * sides[:, 1] >= least).nonzero()[0]
    return np.concatenate((start, end), axis=1).take(chosen, 0), chosen


# COCO writes a run as characters from "0" on, five bits each, lowest first; bit 5 says that more
# follow. Runs from the fourth on are differences to the run two before, hence signed.


def read_rle(size: Sequence[int], counts: str) -> dict[str, Any]:
    """COCO compressed RLE from outside: `size` [h, w] and `counts`, bytes.

    pycocotools takes any string, and never returns from comparing masks whose runs do not add up.

    Raises:
        ValueError: it is none, or its runs do not cover h x w pixels.
    """
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"the size of a mask should be [h, w], got {list(size)}")
    height, width = size
    chars = np.frombuffer(counts.encode("latin-1", "replace"), np.uint8).astype(np.int64) - 48
    last = (chars & 32) == 0
    runs = np.zeros(0, np.int64)
    if len(chars) and chars.min() >= 0 and chars.max() < 64 and last[-1]:
        starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
        places = np.arange(len(chars)) - np.repeat(starts, np.diff([*starts, len(chars)]))
        if places.max() < 12:
            runs = np.add.reduceat((chars & 31) << 5 * places, starts)
            runs -= ((chars[last] & 16) > 0) * (1 << 5 * (places[last] + 1))
            for first in (1, 2):
                runs[first::2] = runs[first::2].cumsum()
    if not len(runs) or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"runs of a mask do not cover {height} x {width} pixels: {counts[:30]!r}")
    return {"size": [height, width], "counts": counts.encode("ascii")}


def _first_end(counts: bytes) -> int:
    """Where the first number of compressed RLE ends."""
    return next(i for i, char in enumerate(counts) if not (char - 48) & 32) + 1


def _last_start(counts: bytes) -> int:
    """Where the last number of compressed RLE starts."""
    start = len(counts) - 1
    while start > 0 and (counts[start - 1] - 48) & 32:
        start -= 1
    return start


def _lengthen(counts: bytes, start: int, end: int, pixels: int) -> bytes:
    """Add `pixels` to the number that `counts[start:end]` holds."""
    if pixels == 0:
        return counts
    digits = [(char - 48) & 31 for char in counts[start:end]]
    number = sum(digit << 5 * k for k, digit in enumerate(digits)) + pixels
    if digits[-1] & 16:
        number -= 1 << 5 * len(digits)
    chars = bytearray()
    while not -16 <= number < 16:
        chars.append((number & 31 | 32) + 48)
        number >>= 5
    chars.append((number & 31) + 48)
    return counts[:start] + chars + counts[end:]
