"""The only file that knows both a `Frame` and a network: swap it, and nothing else moves."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, Self, runtime_checkable

import cv2
import numpy as np

from deepmask.checkpoint import CheckpointError, shipped_weights
from deepmask.deploy import DeployConfig, DeviceError, find_proposals, open_runtime
from deepmask.runtime import Runtime
from pipeline.errors import InferenceError, PipelineError
from pipeline.frames import Frame, VideoInfo
from trackers.detections import Detections
from trackers.masks import Masks

Interval = int | Literal["auto"]

LONGEST_INTERVAL = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class DetectorConfig(DeployConfig):
    """The network as it is deployed, and how often it looks."""

    interval: Interval = 1
    """Look at every n-th frame; in those between, objects are `carried` to where the tracker
    expects them. `auto`: as often as it takes to hold the rate of a live source, and at every frame
    of a file, which can wait."""

    def __post_init__(self) -> None:
        DeployConfig.__post_init__(self)
        if self.interval != "auto" and not 1 <= self.interval <= LONGEST_INTERVAL:
            raise ValueError(
                f"interval should be in [1, {LONGEST_INTERVAL}], or auto, got {self.interval}"
            )

    def interval_for(self, info: VideoInfo) -> Interval:
        """How often to look at a source."""
        return 1 if self.interval == "auto" and not info.is_live else self.interval

    def for_source(self, info: VideoInfo) -> Self:
        """The same for a source: of a live one, frames that wait to make a batch would get old."""
        return dataclasses.replace(self, batch=1) if info.is_live else self


class Detector(Protocol):
    """Finds the objects of a frame. Your own only needs these four."""

    description: str
    """For people: what runs where."""

    concurrency: int
    """How many frames at a time keep it busy: so many threads call `detect`."""

    def detect(self, frame: Frame) -> Detections:
        """The objects of one frame, in its pixels."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class Preparable(Protocol):
    """What a detector may offer besides: to get ready before the first frame."""

    def prepare(self, size: tuple[int, int]) -> None:
        """Pictures of `size` (H, W) are about to come."""


class DeepMaskDetector:
    """DeepMask's proposals as detections."""

    def __init__(self, runtime: Runtime, config: DeployConfig) -> None:
        self.runtime, self.config = runtime, config
        self.concurrency = runtime.concurrency
        looks = " and ".join(map(str, config.sizes_px)) + " px"
        if config.mirrored:
            looks += ", mirrored too"
        self.description = f"DeepMask {looks}, {runtime.description}"

    def detect(self, frame: Frame) -> Detections:
        """The objects of one frame; may be called from `concurrency` threads at a time."""
        found = find_proposals(self.runtime, frame.image, self.config)
        masks = Masks((frame.height, frame.width), found.offsets, found.crops)
        return Detections(found.boxes, found.scores, masks, found.appearance)

    def prepare(self, size: tuple[int, int]) -> None:
        """Compile the network for pictures of `size` (H, W), and run it on a black one."""
        find_proposals(self.runtime, np.zeros((*size, 3), np.uint8), self.config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def are_shipped(weights: str) -> bool:
    """Whether these weights come with the package, and are no file of the user's."""
    return shipped_weights(weights) is not None


def open_detector(config: DeployConfig) -> Detector:
    """The detector that the settings describe.

    Raises:
        PipelineError: weights missing or damaged, a device asked for that is not there.
        InferenceError: the network cannot be run on this machine.
    """
    # OpenCV's own threads would compete with the network's for the same cores.
    cv2.setNumThreads(1)
    try:
        return DeepMaskDetector(open_runtime(config), config)
    except (CheckpointError, DeviceError) as error:
        raise PipelineError(str(error)) from error
    except (OSError, RuntimeError) as error:
        raise InferenceError(f"the network cannot be started: {error}") from error


def prepared(detector: Detector, size: tuple[int, int]) -> Detector:
    """The detector, ready for pictures of `size` (H, W) where it can get ready.

    Raises:
        InferenceError: it fails on a first picture.
    """
    if isinstance(detector, Preparable):
        try:
            detector.prepare(size)
        except PipelineError:
            raise
        except Exception as error:
            raise InferenceError(
                f"the detector failed on a first picture ({size[1]}x{size[0]}): {error}"
            ) from error
    return detector


__all__ = [
    "DeepMaskDetector",
    "Detector",
    "DetectorConfig",
    "Interval",
    "Preparable",
    "are_shipped",
    "open_detector",
    "prepared",
]
