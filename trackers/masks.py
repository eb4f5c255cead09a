"""Instance masks kept as crops: what memory and time allow for hundreds of objects a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
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

        rle = coco_mask.encode(np.asfortranarray(self.full(i), np.uint8))
        return {"size": list(self.size), "counts": rle["counts"].decode("ascii")}
