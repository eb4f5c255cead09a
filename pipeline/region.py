"""Where in the picture objects are looked for: the detector gets only the part around it.

Coordinates stay those of the source's frame. No network here: it goes around any `Detector`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from configs import user_file
from pipeline.detector import Detector, prepared
from pipeline.errors import SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.sources.config import RegionSetting, polygons_of
from trackers.detections import Detections
from trackers.masks import Masks

if TYPE_CHECKING:
    from pipeline.detector import DetectorConfig

MARGIN = 0.1
"""So much of its longer side is seen around a region, so that nothing is cut at its border."""

LEAST_INSIDE = 0.5
"""An object counts where this share of it lies in the region."""

SMALLEST_PX = 256
"""The network's `sizes_px` are not lessened below this: a tiny region is seen larger instead."""

_SHAPE_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A part of the picture."""

    inside: NDArray[np.bool_]
    """`(H, W)`: the pixels of the region; at least one."""

    window: tuple[int, int, int, int]
    """x1, y1, x2, y2 in pixels: the box of the region with a margin, inside the picture."""

    @classmethod
    def of(cls, inside: NDArray[np.bool_]) -> Region:
        """The region of these pixels; at least one is true."""
        height, width = inside.shape
        rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        x1, y1, x2, y2 = (int(edge) for edge in (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1))
        margin = math.ceil(MARGIN * max(x2 - x1, y2 - y1))
        window = (
            max(x1 - margin, 0),
            max(y1 - margin, 0),
            min(x2 + margin, width),
            min(y2 + margin, height),
        )
        return cls(inside, window)

    @property
    def share(self) -> float:
        """The share of the picture that the window takes."""
        x1, y1, x2, y2 = self.window
        return (x2 - x1) * (y2 - y1) / self.inside.size

    def shares(self, detections: Detections) -> NDArray[np.float64]:
        """`(N,)` the share of each object, its mask or else its box, that lies inside."""
        shares = np.zeros(len(detections))
        for i, box in enumerate(detections.boxes):
            x1, y1 = np.floor(box[:2]).astype(int).clip(0).tolist()
            x2, y2 = np.ceil(box[2:]).astype(int).clip(0).tolist()
            inside = self.inside[y1:y2, x1:x2]
            if detections.masks is not None:
                crop = detections.masks.crops[i]
                x, y = detections.masks.offsets[i].tolist()
                inside = self.inside[y : y + crop.shape[0], x : x + crop.shape[1]][crop]
            shares[i] = inside.mean() if inside.size else 0.0
        return shares


class RegionDetector:
    """A detector that looks only at a region, and sees what lies mostly in it."""

    def __init__(self, detector: Detector, region: Region) -> None:
        self._detector = detector
        self._region = region
        self.concurrency = detector.concurrency
        (x1, y1, x2, y2), (height, width) = region.window, region.inside.shape
        self.description = f"{detector.description}, on {x2 - x1}x{y2 - y1} of {width}x{height}"

    def detect(self, frame: Frame) -> Detections:
        """The objects of one frame, in its pixels."""
        x1, y1, x2, y2 = self._region.window
        part = np.ascontiguousarray(frame.image[y1:y2, x1:x2])
        found = self._detector.detect(dataclasses.replace(frame, image=part))
        placed = _moved(found, (x1, y1), (frame.height, frame.width))
        return _take(placed, np.flatnonzero(self._region.shares(placed) >= LEAST_INSIDE))

    def __enter__(self) -> Self:
        self._detector.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._detector.__exit__(*failure)


def open_in_region(
    open_detector: Callable[[DetectorConfig], Detector],
    config: DetectorConfig,
    setting: RegionSetting,
    info: VideoInfo,
) -> Detector:
    """The detector of `config`, for what `source.region` leaves of the pictures of a source.

    The network's input shrinks with the window, so that objects keep their size in it and what
    is left out costs nothing.

    Raises:
        PipelineError: it cannot be opened, or the region does not fit the source.
        InferenceError: it fails on a first picture.
    """
    if setting is None:
        return prepared(open_detector(config), (info.height, info.width))
    region = Region.of(_pixels(setting, info.width, info.height))
    scale = math.sqrt(region.share)
    sizes = (max(round(px * scale), min(SMALLEST_PX, px)) for px in config.sizes_px)
    detector = open_detector(dataclasses.replace(config, sizes_px=tuple(dict.fromkeys(sizes))))
    x1, y1, x2, y2 = region.window
    return RegionDetector(prepared(detector, (y2 - y1, x2 - x1)), region)


def _moved(detections: Detections, by: tuple[int, int], size: tuple[int, int]) -> Detections:
    """What was seen in a part of a picture of `size` (H, W) whose top left is at `by` (x, y)."""
    masks = detections.masks
    if masks is not None:
        masks = Masks(size, masks.offsets + np.array(by, np.int32), masks.crops)
    boxes = detections.boxes + np.array([*by, *by], np.float32)
    return dataclasses.replace(detections, boxes=boxes, masks=masks)


def _take(detections: Detections, index: NDArray[np.intp]) -> Detections:
    masks, features = detections.masks, detections.features
    return Detections(
        detections.boxes[index],
        detections.scores[index],
        None if masks is None else masks.take(index),
        None if features is None else features[index],
    )


def _pixels(setting: str | Sequence[object], width: int, height: int) -> NDArray[np.bool_]:
    """`(H, W)`: the pixels of a frame that the setting means."""
    if isinstance(setting, str):
        inside = _painted(setting, width, height)
        what = f"{setting!r} is nowhere brighter than half"
    else:
        inside = np.zeros((height, width), np.uint8)
        for polygon in polygons_of(setting):
            cv2.fillPoly(inside, [_corners(polygon, width, height)], (1,))
        what = "the polygons hold no pixel"
    if not inside.any():
        raise SourceError(f"source.region is empty: {what}")
    return inside.astype(bool)


def _corners(polygon: object, width: int, height: int) -> NDArray[np.int32]:
    """`(N, 2)` the pixels of its corners; shares of the frame where none is above 1."""
    points = np.array(polygon, float)
    if points.max() <= 1:
        points *= (width, height)
    x, y = points.max(0)
    if x > width or y > height:
        raise SourceError(
            f"source.region reaches ({x:g}, {y:g}), outside of the frames of {width}x{height}; "
            "it is given in pixels, or as shares of width and height from 0 to 1"
        )
    return np.rint(points - 0.5).clip(0, (width - 1, height - 1)).astype(np.int32)


def _painted(name: str, width: int, height: int) -> NDArray[np.uint8]:
    """`(H, W)`: where an image is brighter than half; what is transparent is dark."""
    path = user_file(name)
    image = None if path is None else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        why = "no such file" if path is None else "it is not readable as an image"
        raise SourceError(
            f"cannot use {name!r} as source.region: {why}; expected a mask image, or polygons as "
            "[[x, y], [x, y], [x, y], ...]"
        )
    rows, cols = image.shape[:2]
    if abs(cols * height / (rows * width) - 1) > _SHAPE_TOLERANCE:
        raise SourceError(
            f"cannot use {name!r} as source.region: it is {cols}x{rows}, of another shape than "
            f"the frames of {width}x{height}"
        )
    brightest = {1: 255, 2: 65535}.get(image.itemsize, 1)
    levels = image.reshape(rows, cols, -1) / brightest
    bright = levels[..., :3].max(-1) * (levels[..., 3] if levels.shape[2] == 4 else 1.0)
    lit = (bright > 0.5).astype(np.uint8)
    resized = cv2.resize(lit, (width, height), interpolation=cv2.INTER_NEAREST)
    return cast(NDArray[np.uint8], resized)
