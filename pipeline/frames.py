"""What a source hands on: one upright picture with its time. No decoding here, no drawing."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture, upright.

    Everywhere in this project pictures are RGB; only `cv2.imshow` gets BGR.
    """

    index: int
    """Decoded frames of the source, counted from 0. A dropped frame leaves a gap."""

    time_s: float
    """Presentation time in seconds on the source's clock, strictly increasing."""

    image: NDArray[np.uint8]
    """`(H, W, 3)` uint8 RGB, rotation metadata applied. A stage that draws makes its own copy."""

    captured_s: float = 0.0
    """`time.perf_counter()` when the frame left the decoder: the start of its latency."""

    dropped_before: int = 0
    """Frames that the source decoded or lost since the frame handed on before this one."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"Frame.image should be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}"
            )

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, time_s={self.time_s:.3f}, {self.width}x{self.height})"


@dataclasses.dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is known of a source before its first frame. Sizes are those of the upright frame."""

    name: str
    """For people and for folder names: never holds credentials."""

    width: int
    height: int

    is_live: bool
    """A live source cannot wait: newest frame wins. A file can: no frame is lost."""

    rate: Fraction | None = None
    """Mean frames a second as the container claims it; None when it does not say."""

    frame_count: int | None = None
    """As the container claims it: for progress and ETA only, None when unknown."""

    duration_s: float | None = None

    origin_s: float = 0.0
    """The time of the first picture on the container's own clock, which its sound has, too."""

    time_base: Fraction | None = None
    """Unit of the source's timestamps in seconds; None where it has none (folders of images)."""

    colour: dict[str, Any] = dataclasses.field(default_factory=dict)
    """FFmpeg's `colorspace`, `color_range`, `color_primaries`, `color_trc` of the source."""
