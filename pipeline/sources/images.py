"""Still images, one after another, as a source of frames: folders, globs, animated WebP."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol, Self

import av
from av.error import FFmpegError

from configs import user_path
from pipeline.errors import SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.sources.config import SourceConfig
from pipeline.sources.pace import Pace
from pipeline.sources.picture import Converter, Image, fit

log = logging.getLogger(__name__)

SUFFIXES = (
    *(".avif", ".bmp", ".exr", ".gif", ".heic", ".jp2", ".jpeg", ".jpg", ".jxl"),
    *(".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)

_TINY_S = 1e-6


class Images(Protocol):
    """Images that are known beforehand, each with its time."""

    @property
    def times_s(self) -> Sequence[float]: ...

    @property
    def duration_s(self) -> float: ...

    def read(self, position: int) -> Image | None:
        """Return an image, upright `(H, W, 3)` RGB; None if it cannot be read."""
        ...


class ImageSource:
    """Frames of still images.

    All frames have the size of the first image; others are scaled to fit into it, centred on
    black. An image that cannot be read is left out and counted in the next frame's
    `dropped_before`; its time passes.

    Raises:
        SourceError: If none can be read, or none is in the part asked for.
    """

    def __init__(self, images: Images, name: str, config: SourceConfig) -> None:
        self._images = images
        self._closing = threading.Event()
        start_s = config.start_s - _TINY_S
        end_s = start_s + (config.duration_s or float("inf"))
        times_s = images.times_s
        self._part = [i for i, time_s in enumerate(times_s) if start_s <= time_s < end_s]
        first = next((image for image in map(images.read, self._part) if image is not None), None)
        if first is None:
            raise SourceError(
                f"cannot read a single one of the {len(self._part)} images asked for from "
                f"{name!r}; it has {len(times_s)}, and start_s is {config.start_s:g}"
            )
        self.info = VideoInfo(
            name=name,
            width=first.shape[1],
            height=first.shape[0],
            is_live=bool(config.live),
            rate=Fraction(len(times_s) / images.duration_s).limit_denominator(1_000_000),
            frame_count=len(self._part),
            duration_s=min(images.duration_s - config.start_s, config.duration_s or float("inf")),
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
        for position in self._part:
            image = self._images.read(position)
            captured_s = time.perf_counter()
            if self._closing.is_set():
                return
            if image is None:
                lost += 1
                continue
            time_s = self._images.times_s[position]
            if pace is not None:
                captured_s = pace.wait(time_s)
            yield Frame(
                index, time_s, fit(image, self.info.width, self.info.height), captured_s, lost
            )
            index, lost = index + 1, 0


class ImageFiles:
    """Image files, `rate` a second."""

    def __init__(self, paths: Sequence[Path], rate: float) -> None:
        self._paths = paths
        self._converter = Converter()
        self.times_s = [i / rate for i in range(len(paths))]
        self.duration_s = len(paths) / rate

    def read(self, position: int) -> Image | None:
        """Return the first picture of a file; None, and a warning, if it cannot be read."""
        path = self._paths[position]
        try:
            with path.open("rb") as file, av.open(file, "r") as container:
                return self._converter(next(container.decode(video=0)))
        except (FFmpegError, OSError, StopIteration, IndexError, ValueError):
            log.warning("left out, not readable as an image: %s", path)
            return None


def find_images(source: str) -> list[Path] | None:
    """Return the images of a folder or glob, in natural order: `img2` before `img10`.

    Returns:
        None if `source` is neither a folder nor a glob.

    Raises:
        SourceError: If it is one, and holds no image.
    """
    path = user_path(source)
    if path.is_dir():
        found = list(path.iterdir())
    elif re.search(r"[*?\[]", source) and not path.exists():
        root = Path(path.anchor)
        try:
            found = list(root.glob(str(path.relative_to(root))))
        except ValueError as error:  # as of `frames/**.png`
            raise SourceError(f"cannot open {source!r}: {error}") from error
    else:
        return None
    images = [
        file
        for file in found
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if not images:
        raise SourceError(
            f"cannot open {source!r}: there is no image among its {len(found)} files "
            f"({' '.join(SUFFIXES)}); name a video file by itself"
        )
    return sorted(images, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
