"""How much an object that stands still trembles: score, mask and box from frame to frame.

    python -m benchmarks.stability [--clip FILE ...] [--still FILE ...] [--frames 40] [--json FILE]

Detections as the tracker gets them, without tracking. Of each two consecutive frames those are
paired whose masks overlap by half. In a clip an object stands still where the optical flow under
its mask is below a quarter of a pixel; what it then does is the network's doing, or the codec's.
The first picture of a `--still` is shown again and again with what cameras do to it, each
disturbance alone and all together: there everything stands still. The default is the demo scene.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

import configs
from benchmarks import measuring
from pipeline.config import PipelineConfig
from pipeline.detector import Detector, open_detector
from pipeline.frames import Frame
from pipeline.sources import SourceConfig, open_source
from trackers.detections import Detections

Image = NDArray[np.uint8]

STILL_PX = 0.25
"""Mean optical flow a frame under the mask of what stands still."""
SAME_IOU = 0.5
NOISE = 4.0
"""Standard deviation of a camera's noise indoors, in grey levels."""
JPEG_QUALITY = 50
SHIFT_PX = 0.5
"""The picture is displaced by up to this much."""
FRAME_S = 1 / 30


class Change(NamedTuple):
    """Of one object from one frame to the next."""

    score: float
    mask_iou: float
    box_px: float
    """Mean displacement of the box's four sides."""


class Row(NamedTuple):
    """What still objects do, on average."""

    name: str
    objects: int
    """Found in a frame that has a next one."""
    kept: float
    """Share of them that is found in the next frame, too; the rest is of those."""
    score: float
    """|change|"""
    mask_iou: float
    box_px: float


def summary(name: str, changes: list[Change | None]) -> Row:
    """The mean of changes; None stands for an object that is gone in the next frame."""
    kept = [change for change in changes if change is not None]
    means = np.mean(kept, axis=0).tolist() if kept else [np.nan] * 3
    return Row(name, len(changes), len(kept) / max(len(changes), 1), *means)


def changes_between(
    before: Detections, after: Detections, still: NDArray[np.bool_]
) -> list[Change | None]:
    """What became of the detections of a frame in the next one.

    Args:
        before: N detections of the frame.
        after: those of the next one.
        still: `(N,)` which of them to look at.
    """
    assert before.masks is not None
    assert after.masks is not None
    changes: list[Change | None] = [None] * len(before.scores)
    if len(before.scores) and len(after.scores):
        ours = [before.masks.rle(i) for i in range(len(before.scores))]
        theirs = [after.masks.rle(i) for i in range(len(after.scores))]
        overlap = np.asarray(coco_mask.iou(ours, theirs, [0] * len(theirs)))
        for i, j in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[i, j] >= SAME_IOU:
                changes[i] = Change(
                    abs(float(after.scores[j] - before.scores[i])),
                    float(overlap[i, j]),
                    float(np.abs(after.boxes[j] - before.boxes[i]).mean()),
                )
    return [change for change, stands in zip(changes, still, strict=True) if stands]


def stands_still(before: Image, after: Image, detections: Detections) -> NDArray[np.bool_]:
    """`(N,)` whether the pixels under each mask of the frame `before` stay where they are."""
    assert detections.masks is not None
    small = [
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=0.5, fy=0.5)
        for image in (before, after)
    ]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = 2 * dis.calc(small[0], small[1], np.zeros((*small[0].shape, 2), np.float32))
    speed = cv2.resize(np.hypot(flow[..., 0], flow[..., 1]), before.shape[1::-1])
    means = []
    for (x, y), crop in zip(detections.masks.offsets, detections.masks.crops, strict=True):
        means.append(speed[y : y + crop.shape[0], x : x + crop.shape[1]][crop].mean())
    return np.array(means) < STILL_PX


def in_clip(detector: Detector, frames: Iterator[Frame]) -> list[Change | None]:
    """Changes of what stands still in a clip."""
    changes: list[Change | None] = []
    seen = ((frame.image, detector.detect(frame)) for frame in frames)
    for (image, before), (next_image, after) in itertools.pairwise(seen):
        still = stands_still(image, next_image, before)
        changes += changes_between(before, after, still)
    return changes


def of_still(
    detector: Detector, image: Image, disturb: Callable[[Image], Image], count: int
) -> list[Change | None]:
    """Changes of everything in one picture that is disturbed anew in each frame."""
    frames = (Frame(i, i * FRAME_S, disturb(image)) for i in range(count))
    changes: list[Change | None] = []
    for before, after in itertools.pairwise(map(detector.detect, frames)):
        changes += changes_between(before, after, np.ones(len(before.scores), bool))
    return changes


def disturbances(seed: int = 0) -> dict[str, Callable[[Image], Image]]:
    """What cameras and codecs do to a picture, each different at every call."""
    rng = np.random.default_rng(seed)

    def noise(image: Image) -> Image:
        noisy = image + rng.normal(0, NOISE, image.shape)
        return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)

    def compression(image: Image) -> Image:
        noisy = cv2.cvtColor(noise(image), cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)

    def shift(image: Image) -> Image:
        x, y = rng.uniform(-SHIFT_PX, SHIFT_PX, 2)
        size = (image.shape[1], image.shape[0])
        matrix = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(
            image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(moved, np.uint8)

    return {
        "noise": noise,
        "noise and compression": compression,
        "shift": shift,
        "all": lambda image: compression(shift(image)),
    }


def read(source: SourceConfig, path: str, count: int) -> Iterator[Frame]:
    """The first frames of a file."""
    with open_source(dataclasses.replace(source, source=path)) as opened:
        yield from itertools.islice(opened, count)


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("stability", __doc__)
    parser.add_argument("--clip", nargs="+", default=[], help="videos")
    parser.add_argument("--still", nargs="+", default=[], help="pictures, or videos")
    parser.add_argument("--frames", type=int, default=40, help="of each")
    options = parser.parse_args()
    clips = options.clip or ([] if options.still else ["demo"])
    stills = options.still or ([] if options.clip else ["demo"])

    about = measuring.announce()
    config = configs.load(PipelineConfig, None, options.set)
    found: dict[str, list[Change | None]] = {}
    with open_detector(config.detector) as detector:
        print(f"{detector.description}; {config.detector}")
        for clip in clips:
            found[Path(clip).stem] = in_clip(detector, read(config.source, clip, options.frames))
        if clips:
            found["all clips"] = list(itertools.chain.from_iterable(found.values()))
        for name, disturb in disturbances().items():
            found[f"still, {name}"] = [
                change
                for still in stills
                for frame in read(config.source, still, 1)
                for change in of_still(detector, frame.image, disturb, options.frames)
            ]
    rows = [summary(name, changes) for name, changes in found.items() if changes]
    print("| what stands still | seen | kept | score, change | mask IoU | box, px |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row.name} | {row.objects} | {100 * row.kept:.1f} % | {row.score:.3f} "
            f"| {row.mask_iou:.3f} | {row.box_px:.2f} |"
        )
    measuring.save(options.json, about | {"rows": [row._asdict() for row in rows]})


if __name__ == "__main__":
    measuring.start(main)
