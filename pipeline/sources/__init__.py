"""Anything that shows pictures over time, as frames: cameras, files, streams, images.

    open_source(SourceConfig(source="clip.mp4")) -> Source -> Frame, Frame, ...

What every source promises: frames are upright RGB and all of the size in `info`; `time_s` starts
at 0 with the first frame of the source and strictly increases; what could not be decoded is
counted in the next frame's `dropped_before`. No thread but the watchdog's, no neural network, no
drawing: `pipeline.reader` reads a source on a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self

from configs import user_path
from pipeline.errors import SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.sources.addresses import redact
from pipeline.sources.cameras import described_cameras, list_cameras
from pipeline.sources.config import SourceConfig
from pipeline.sources.images import ImageFiles, ImageSource, find_images
from pipeline.sources.inputs import file_of, folder_name, is_path, resolve, safe_name
from pipeline.sources.tiff import TiffImages, tiff_pages
from pipeline.sources.video import VideoSource
from pipeline.sources.webp import WebpImages, is_animated_webp

__all__ = [
    "Source",
    "SourceConfig",
    "described_cameras",
    "file_of",
    "is_path",
    "list_cameras",
    "open_source",
    "redact",
]


class Source(Protocol):
    """An open source. It is read once, by one thread; `close` may come from any thread."""

    @property
    def info(self) -> VideoInfo: ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_source(config: SourceConfig) -> Source:
    """Open a source and decode its first frame, so that its size is known.

    Raises:
        SourceError: If it cannot be opened or shows nothing; the text says what to do.
    """
    try:
        if is_path(config.source):
            path = user_path(config.source)
            if is_animated_webp(path):
                return ImageSource(WebpImages(path), safe_name(path.stem), config)
            if tiff_pages(path) > 1:
                images = TiffImages(path, config.image_rate)
                return ImageSource(images, safe_name(path.stem), config)
            paths = find_images(config.source)
            if paths is not None:
                return ImageSource(ImageFiles(paths, config.image_rate), folder_name(path), config)
        return VideoSource(resolve(config), config)
    except OSError as error:  # a name that is too long, standard input that is closed
        words = error.strerror or type(error).__name__
        raise SourceError(f"cannot open {redact(config.source)!r}: {words}") from error
