"""Animated WebP, which FFmpeg reads from version 9 on only: decoded by OpenCV."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from pipeline.sources.picture import Image, on_black

_BATCH = 32
_LEAST_S = 0.01  # browsers do not show a picture for less


def is_animated_webp(path: Path) -> bool:
    """Tell by its header whether a file is a WebP with more than one picture."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(21)
    return header[:4] == b"RIFF" and header[8:16] == b"WEBPVP8X" and bool(header[20] & 2)


class WebpImages:
    """Pictures of an animated WebP with the times it gives them; `_BATCH` are held at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        durations_s = [max(ms / 1000, _LEAST_S) for ms in _durations_ms(path)]
        *self.times_s, self.duration_s = itertools.accumulate(durations_s, initial=0.0)
        self._first = 0
        self._batch: list[Image | None] = []

    def read(self, position: int) -> Image | None:
        """Return a picture, transparent parts black; None if it cannot be decoded."""
        if not self._first <= position < self._first + len(self._batch):
            self._first = position
            # Where one cannot be decoded, none after it can.
            self._batch = _decoded(self._path, position) or [None] * _BATCH
        picture = self._batch[position - self._first]
        if picture is None:
            return None
        if picture.shape[2] == 4:
            picture = on_black(picture)
        return np.ascontiguousarray(picture[..., ::-1])


def _decoded(path: Path, position: int) -> list[Image | None]:
    """Return `_BATCH` pictures from `position` on, as OpenCV has them; fewer at the end."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # what is damaged is for us to tell, once
    try:
        _, animation = cv2.imreadanimation(str(path), position, _BATCH)
    finally:
        logging.setLogLevel(level)
    return [cast(Image, picture) for picture in animation.frames]


def _durations_ms(path: Path) -> Iterator[int]:
    """Give how long each picture is shown: the 24 bits at 12 of each ANMF chunk.

    WebP Container Specification, "RIFF file format" and "Animation".
    """
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            padded = size + size % 2
            if head[:4] == b"ANMF":
                yield int.from_bytes(file.read(16)[12:15], "little")
                padded -= 16
            file.seek(padded, 1)
