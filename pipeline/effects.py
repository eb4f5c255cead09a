"""Pictures changed by masks: hidden objects, hidden surroundings, other surroundings, overlays.

All of it gives a new picture and leaves the given one as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from configs import user_path
from pipeline.errors import PipelineError
from trackers.masks import Masks
from trackers.tracks import Tracks

Image = NDArray[np.uint8]

BLOCKS = 24
"""So many blocks along the shorter side of a picture at strength 1."""

LEAST_BLOCK_PX = 4
"""Smaller blocks would hide nothing, in small pictures or at little strength."""

_NAMED = {"black": (0, 0, 0), "white": (255, 255, 255)}


def chosen(tracks: Tracks, ids: Sequence[int]) -> NDArray[np.intp]:
    """Indices of the tracks with one of `ids`; of all where that is empty."""
    if not ids:
        return np.arange(len(tracks))
    return np.flatnonzero(np.isin(tracks.ids, ids))


def shapes(tracks: Tracks, size: tuple[int, int]) -> Masks:
    """The masks of all tracks in a picture of `size` (H, W); their boxes where there are none."""
    if tracks.masks is not None:
        return tracks.masks
    limit = np.array([size[1], size[0]] * 2)
    outer = [np.floor(tracks.boxes[:, :2]), np.ceil(tracks.boxes[:, 2:])]
    corners = np.clip(np.concatenate(outer, axis=1), 0, limit).astype(np.int32)
    crops = [np.ones((y2 - y1, x2 - x1), bool) for x1, y1, x2, y2 in corners.tolist()]
    return Masks(size, corners[:, :2], tuple(crops))


def union(masks: Masks, index: NDArray[np.intp], margin_px: int = 0) -> Image:
    """`(H, W)` of 0 and 1: the pixels of the masks at `index`, grown by a margin to all sides."""
    out = np.zeros(masks.size, np.uint8)
    for i in index.tolist():
        (x, y), crop = masks.offsets[i].tolist(), masks.crops[i]
        out[y : y + crop.shape[0], x : x + crop.shape[1]] |= crop.view(np.uint8)
    if margin_px == 0 or not out.any():
        return out
    distance = cv2.distanceTransform(1 - out, cv2.DIST_L2, cv2.DIST_MASK_3)
    return (distance <= margin_px).astype(np.uint8)


def coarse(image: Image, strength: float, smooth: bool) -> Image:
    """The picture in blocks, or blurred as much: nothing finer than a block is left in it."""
    height, width = image.shape[:2]
    block = max(LEAST_BLOCK_PX, min(height, width) / BLOCKS * strength)
    small = (max(1, round(width / block)), max(1, round(height / block)))
    blocks = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    return cast(Image, cv2.resize(blocks, (width, height), interpolation=how))


def combined(image: Image, changed: Image, where: Image) -> Image:
    """`changed` where `where` is not 0, else `image`."""
    return cast(Image, cv2.copyTo(changed, where, image.copy()))


def overlaid(image: Image, tracks: Tracks, index: NDArray[np.intp], picture: Image) -> Image:
    """A picture on each track at `index`, as large as its box allows, behind what is in front.

    In front of an object is whoever stands lower in the picture: on a floor that is nearer.

    Args:
        image: `(H, W, 3)` RGB.
        tracks: all of the frame.
        index: those that get the picture.
        picture: `(h, w, 4)` RGBA.
    """
    canvas = image.copy()
    masks, bottoms = shapes(tracks, image.shape[:2]), tracks.boxes[:, 3]
    for i in index[np.argsort(bottoms[index], kind="stable")].tolist():
        before = union(masks, np.flatnonzero(bottoms > bottoms[i]))
        _paste(canvas, picture, tracks.boxes[i], before)
    return canvas


def _paste(canvas: Image, picture: Image, box: NDArray[np.float32], before: Image) -> None:
    """Lay a picture into the middle of a box, but not over what is before it."""
    wide, high = box[2:] - box[:2]
    scale = min(wide / picture.shape[1], high / picture.shape[0])
    width, height = (max(1, round(float(scale) * side)) for side in picture.shape[1::-1])
    left, top = (round(float(c)) for c in (box[:2] + box[2:]) / 2 - np.array([width, height]) / 2)
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + width, canvas.shape[1]), min(top + height, canvas.shape[0])
    if x1 >= x2 or y1 >= y2:
        return
    fitted = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    part = fitted[y1 - top : y2 - top, x1 - left : x2 - left].astype(np.float32)
    opacity = part[..., 3:] / 255 * (1 - before[y1:y2, x1:x2, None])
    region = canvas[y1:y2, x1:x2]
    region[:] = np.rint(region + (part[..., :3] - region) * opacity)


def colour(name: str) -> tuple[int, int, int] | None:
    """RGB of `black`, `white` or `#rrggbb`; None where it is none of these."""
    if re.fullmatch(r"#[0-9a-fA-F]{6}", name):
        red, green, blue = bytes.fromhex(name[1:])
        return red, green, blue
    return _NAMED.get(name.lower())


def load(name: str) -> Image:
    """A picture `(h, w, 4)` RGBA from a file, or one pixel of a colour.

    Raises:
        PipelineError: the file is no picture.
    """
    plain = colour(name)
    if plain is not None:
        return np.array([[[*plain, 255]]], np.uint8)
    file = str(user_path(name))
    found = cv2.imread(file, cv2.IMREAD_UNCHANGED)
    if found is not None and (found.ndim == 2 or found.shape[2] < 4):
        # Without alpha OpenCV turns it as EXIF says.
        found = cv2.imread(file, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if found is None:
        raise PipelineError(f"cannot read the picture {name!r}: no format that OpenCV knows")
    if found.dtype != np.uint8:
        is_float = np.issubdtype(found.dtype, np.floating)
        found = cv2.convertScaleAbs(found, alpha=255 if is_float else 1 / 257)
    codes = {2: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}
    code = codes[found.ndim if found.ndim == 2 else found.shape[2]]
    return cast(Image, cv2.cvtColor(found, code))


def fitted(picture: Image, size: tuple[int, int]) -> Image:
    """The middle of an RGBA picture, as large as fills `size` (H, W), as RGB."""
    height, width = size
    scale = max(width / picture.shape[1], height / picture.shape[0])
    whole = [max(side, round(scale * old)) for side, old in zip(size, picture.shape, strict=False)]
    grown = cv2.resize(picture, (whole[1], whole[0]), interpolation=cv2.INTER_AREA)
    top, left = (whole[0] - height) // 2, (whole[1] - width) // 2
    return np.ascontiguousarray(grown[top : top + height, left : left + width, :3])
