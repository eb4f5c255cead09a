"""Your own detector in front of our tracker: here, whatever moves before a still background.

    python -m demos.custom_detector VIDEO [--boxes] [--output FILE.png]

`detect` is all that you replace: a picture in, `Detections` out. Boxes and scores are enough
(`--boxes`); masks make the association better. The picture at the end shows the last frame.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import PipelineError
from pipeline.frames import Frame
from pipeline.reader import FrameReader
from pipeline.render import draw
from pipeline.sources import SourceConfig, open_source
from trackers import Detections, Masks, SortTracker

MIN_PIXELS = 150


class MotionDetector:
    """Objects are the connected regions that differ from a background learnt on the way."""

    def __init__(self, *, boxes_only: bool = False) -> None:
        """Start without a background: the first frames show nothing."""
        self._boxes_only = boxes_only
        self._background: Any = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
        self._kernel = np.ones((5, 5), np.uint8)

    def detect(self, frame: Frame) -> Detections:
        """What moves in `frame`."""
        moving = self._background.apply(cv2.GaussianBlur(frame.image, (0, 0), 1.5))
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, self._kernel)
        moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, self._kernel)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(moving)
        if (moving > 0).mean() > 0.5:  # the light changed, or this is the first frame
            count = 1
        chosen = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= MIN_PIXELS]
        masks = Masks.from_dense(
            np.array([labels == i for i in chosen], bool).reshape(-1, frame.height, frame.width)
        )
        boxes = masks.extents.astype(np.float32)
        scores = np.full(len(chosen), 0.8, np.float32)
        return Detections(boxes, scores, None if self._boxes_only else masks)


def main() -> None:
    """Follow what moves in a video."""
    parser = argparse.ArgumentParser(prog="demos.custom_detector", description=__doc__)
    parser.add_argument("video", help="anything that pipeline.run takes as a source")
    parser.add_argument("--boxes", action="store_true", help="let the tracker see boxes alone")
    parser.add_argument("--output", type=Path, default=Path("runs/custom_detector.png"))
    arguments = parser.parse_args()

    detector, tracker = MotionDetector(boxes_only=arguments.boxes), SortTracker()
    identities: set[int] = set()
    picture = None
    try:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        source = open_source(SourceConfig(source=arguments.video))
        with source, FrameReader(source) as frames:
            for frame in frames:
                tracks = tracker.update(detector.detect(frame), frame.time_s, frame.image)
                identities.update(tracks.ids.tolist())
                picture = draw(frame.image, tracks)
        if picture is not None:
            arguments.output.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
            print(f"{len(identities)} identities; the last frame is in {arguments.output}")
    except (PipelineError, OSError) as error:
        raise SystemExit(f"demos.custom_detector: {error}") from None


if __name__ == "__main__":
    main()
