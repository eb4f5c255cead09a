"""What a user may say about a source."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from pipeline.sources.addresses import redact

RegionSetting = list[list[float]] | list[list[list[float]]] | str | None
"""One polygon, several, a mask image, or the whole picture."""


_LEAST, _MOST = 1e-6, 1e9
"""Seconds, longer than any video; and what FFmpeg's clocks still hold."""

_MOST_THREADS = 64
"""Beyond them FFmpeg's decoders gain nothing, and starting thousands never ends."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class SourceConfig:
    """Which source, which part of it, and how to open it. Seconds, pixels, frames a second."""

    source: str = "demo"
    """`webcam`, `webcam:1`, `/dev/video0`, `demo`, a video file, a folder or glob of images,
    `rtsp:// http(s):// udp:// tcp://`, `-` for stdin, or `lavfi:` and an FFmpeg filtergraph."""

    start_s: float = 0.0
    """Skip what the source shows before this time; 0 is its first frame. The first frame handed
    on is the first at or after it: it has index 0 and keeps its own `time_s`. Files only."""

    duration_s: float | None = None
    """Stop before the first frame at or after `start_s + duration_s`; None: no end."""

    live: bool | None = None
    """Live sources cannot wait: the newest frame wins. None decides by the kind of source:
    cameras are live, and streams without a length or a size; all else is not. True for a file plays
    it at its own pace, like a camera; False for a stream loses no frame and may fall behind."""

    region: RegionSetting = None
    """Look for objects only there: a polygon `[[x, y], [x, y], [x, y], ...]`, a list of such, or
    a mask image that is bright there. Shares of the frame's width and height from 0 to 1; where a
    number of a polygon is above 1, that polygon is in pixels of the upright frame."""

    decoder_threads: int = 0
    """Most threads of the decoder; 0: one a core, at most 4."""

    deinterlace: bool = True
    """Make whole pictures of those marked as interlaced, one for each stored picture."""

    image_rate: float = 25.0
    """Images a second of a folder or glob, which hold no times."""

    camera_width: int | None = None
    """Ask the camera for this width; None: the camera chooses. Goes with `camera_height`."""

    camera_height: int | None = None

    camera_rate: float | None = None
    """Ask the camera for this many frames a second."""

    camera_format: str | None = None
    """Ask the camera for this pixel format: `mjpeg` (HD over USB 2 needs it), `yuyv422`, ..."""

    rtsp_transport: str = "tcp"
    """`tcp` or `udp`: what carries the pictures of an RTSP stream."""

    open_timeout_s: float = 10.0
    """Give up on opening a camera or stream after this time."""

    read_timeout_s: float = 5.0
    """Take a camera or stream that sends nothing for this long as lost."""

    reconnect_s: float = 60.0
    """Try to reach a lost stream again for this long before giving up; one that is lost again
    within 10 s has only what is left of it. 0: not at all, and the end of a stream is then its
    regular end."""

    format: str | None = None
    """FFmpeg's name of the container or device format; None: found out."""

    options: dict[str, str | int | float] = dataclasses.field(default_factory=dict)
    """More options for FFmpeg, by its names; they win over what is set here."""

    def __post_init__(self) -> None:
        if not self.source:
            raise ValueError("source should name a webcam, file, folder or address, got ''")
        limits = {"start_s": _MOST, "reconnect_s": _MOST, "decoder_threads": _MOST_THREADS}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} should be 0 to {most:g}, got {getattr(self, name)}")
        for name in ("image_rate", "open_timeout_s", "read_timeout_s", "duration_s", "camera_rate"):
            value = getattr(self, name)
            if value is not None and not _LEAST <= value < _MOST:
                raise ValueError(f"{name} should be above 0, below {_MOST:g}, got {value}")
        if (self.camera_width is None) != (self.camera_height is None):
            raise ValueError("camera_width and camera_height go together")
        if self.rtsp_transport not in ("tcp", "udp"):
            raise ValueError(f"rtsp_transport is tcp or udp, got {self.rtsp_transport!r}")

        if self.region is not None and not isinstance(self.region, str):
            for polygon in polygons_of(self.region):
                _check_polygon(polygon)

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["source"] = redact(self.source)
        values["options"] = dict.fromkeys(self.options, "...")
        return f"SourceConfig({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def polygons_of(region: Sequence[object]) -> list[object]:
    """Return the polygons of `region`, which is one or a list of them."""
    first = region[0] if region else None
    is_list = isinstance(first, list | tuple) and first and isinstance(first[0], list | tuple)
    return list(region) if is_list else [region]


def _check_polygon(polygon: object) -> None:
    points = polygon if isinstance(polygon, list | tuple) else []
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError(
            f"region should be polygons of three or more [x, y], or a mask image; got {polygon!r}"
        )
    if not all(math.isfinite(value) and value >= 0 for point in points for value in point):
        raise ValueError(f"region should have numbers of 0 or more, got {polygon!r}")
    corners = list(itertools.pairwise([*points, points[0]]))
    if sum(a[0] * b[1] - b[0] * a[1] for a, b in corners) == 0:
        raise ValueError(f"region should enclose an area, got {polygon!r}")
