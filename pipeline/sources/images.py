"""A folder or glob of images as a source of frames."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
from av.error import FFmpegError

from pipeline.errors import SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.sources.config import SourceConfig
from pipeline.sources.inputs import safe_name
from pipeline.sources.pace import Pace
from pipeline.sources.picture import Converter, Image, fit

log = logging.getLogger(__name__)

SUFFIXES = (
    *(".avif", ".bmp", ".exr", ".gif", ".heic", ".jp2", ".jpeg", ".jpg", ".jxl"),
    *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)


class ImageSource:
    """Frames of image files, one each, `image_rate` a second.

    All frames have the size of the first image; others are scaled to fit into it, centred on
    black. A file that cannot be read is left out and counted in the next frame's
    `dropped_before`; its time passes.

    Args:
        paths: The files, in order.
        name: For `VideoInfo.name`.
        config: The part to show and the rate.

    Raises:
        SourceError: If none can be read, or none is left after `start_s`.
    """

    def __init__(self, paths: Sequence[Path], name: str, config: SourceConfig) -> None:
        self._rate = config.image_rate
        start = math.ceil(config.start_s * self._rate - 1e-6)
        stop = len(paths)
        if config.duration_s is not None:
            stop = math.ceil((config.start_s + config.duration_s) * self._rate - 1e-6)
        self._numbered = list(enumerate(paths))[start:stop]
        self._closing = threading.Event()
        self._converter = Converter()
        size = next((image.shape for image, _, _ in self._images() if image is not None), None)
        if size is None:
            raise SourceError(
                f"cannot read a single one of {len(self._numbered)} images of {name!r} "
                f"({len(paths)} in all, start_s is {config.start_s:g})"
            )
        self.info = VideoInfo(
            name=safe_name(name),
            width=size[1],
            height=size[0],
            is_live=bool(config.live),
            rate=Fraction(self._rate).limit_denominator(1001),
            frame_count=len(self._numbered),
            duration_s=len(self._numbered) / self._rate,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; from any thread."""
        self._closing.set()

    def __iter__(self) -> Iterator[Frame]:
        """Give the images as frames, in order."""
        pace = Pace(self._closing) if self.info.is_live else None
        index = lost = 0
        for image, position, captured_s in self._images():
            if self._closing.is_set():
                return
            if image is None:
                lost += 1
                continue
            time_s = position / self._rate
            if pace is not None:
                captured_s = pace.wait(time_s)
            image = fit(image, self.info.width, self.info.height)
            yield Frame(index, time_s, image, captured_s, lost)
            index, lost = index + 1, 0

    def _images(self) -> Iterator[tuple[Image | None, int, float]]:
        """Give each image, None if it cannot be read; its position; when it was decoded."""
        for position, path in self._numbered:
            try:
                with path.open("rb") as file, av.open(file, "r") as container:
                    picture = next(container.decode(video=0))
                    yield self._converter(picture), position, time.perf_counter()
            except (FFmpegError, OSError, StopIteration, IndexError, ValueError) as error:
                log.warning("%s cannot be read as an image: %s", path, error)
                yield None, position, time.perf_counter()


def find_images(source: str) -> list[Path] | None:
    """Return the images of a folder or glob, in natural order: `img2` before `img10`.

    Returns:
        None if `source` is neither a folder nor a glob.

    Raises:
        SourceError: If it is one, and holds no image.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = list(path.iterdir())
    elif re.search(r"[*?\[]", source) and not path.exists():
        root = Path(path.anchor)
        found = list(root.glob(str(path.relative_to(root))))
    else:
        return None
    images = [file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not images:
        raise SourceError(
            f"cannot open {source!r}: {len(found)} files, and no image among them "
            f"({' '.join(SUFFIXES)}); name a video file by itself"
        )
    return sorted(images, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
