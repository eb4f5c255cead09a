"""Pages of a TIFF, as microscopes save recordings; FFmpeg sees the first only. Read by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.sources.picture import Image

_SUFFIXES = (".tif", ".tiff")


def tiff_pages(path: Path) -> int:
    """How many pictures a TIFF holds; 0 where the file is none, or cannot be read."""
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return 0
    return int(cv2.imcount(str(path)))


class TiffImages:
    """The pages of a TIFF, `rate` a second; 16 bits are cut to 8."""

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        pages = tiff_pages(path)
        self.times_s = [i / rate for i in range(pages)]
        self.duration_s = pages / rate

    def read(self, position: int) -> Image | None:
        """Return a page; None if it cannot be decoded."""
        _, pages = cv2.imreadmulti(str(self._path), position, 1, flags=cv2.IMREAD_COLOR)
        return np.ascontiguousarray(pages[0][..., ::-1]) if pages else None
