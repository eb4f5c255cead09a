"""`Masks.rle` encodes only the columns of the crop; the bytes are those of the whole picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from trackers.masks import Masks, read_rle


def whole(masks: Masks, i: int) -> dict[str, object]:
    rle = coco_mask.encode(np.asfortranarray(masks.full(i), np.uint8))
    return {"size": list(masks.size), "counts": rle["counts"].decode("ascii")}


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (48, 64), (301, 403), (2160, 3840)])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_is_that_of_the_whole_picture(size: tuple[int, int], density: float) -> None:
    rng = np.random.default_rng(0)
    height, width = size
    for _ in range(10):
        h, w = rng.integers(1, min(height, 80) + 1), rng.integers(1, min(width, 80) + 1)
        # Corners matter most: there the first or the last run is empty.
        x, y = (
            rng.choice([0, int(width - w) // 2, int(width - w)]),
            rng.choice([0, int(height - h)]),
        )
        crop = rng.random((h, w)) < density
        masks = Masks(size, np.array([[x, y]], np.int32), (crop,))
        assert masks.rle(0) == whole(masks, 0)


@pytest.mark.parametrize("offset", [(0, 0), (3, 2), (7, 5)])
def test_empty_crop(offset: tuple[int, int]) -> None:
    masks = Masks((5, 7), np.array([offset], np.int32), (np.zeros((0, 0), bool),))
    assert masks.rle(0) == whole(masks, 0)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_rle_from_outside_is_taken_as_it_is(density: float) -> None:
    rng = np.random.default_rng(1)
    for height, width in ((1, 1), (7, 5), (48, 64), (301, 403)):
        mask = np.asfortranarray(rng.random((height, width)) < density, np.uint8)
        counts = coco_mask.encode(mask)["counts"]
        assert read_rle([height, width], counts.decode()) == {
            "size": [height, width],
            "counts": counts,
        }


@pytest.mark.parametrize(
    "damage",
    [
        lambda counts: counts[:-1],
        lambda counts: counts + counts[-1],
        lambda counts: counts[: len(counts) // 2],
        lambda counts: "",
        lambda counts: "h\u00e9!" + counts,
        lambda counts: "o" * 40 + "0",
    ],
)
def test_rle_that_does_not_cover_its_picture_is_refused(damage: Callable[[str], str]) -> None:
    mask = np.zeros((48, 64), np.uint8, order="F")
    mask[5:30, 10:40] = 1
    counts = coco_mask.encode(mask)["counts"].decode()
    with pytest.raises(ValueError, match="do not cover 48 x 64 pixels"):
        read_rle([48, 64], damage(counts))
