"""Objects cut out of the frames: a PNG with alpha for each object and frame."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import effects
from pipeline.errors import SinkError
from pipeline.sinks.base import Result, SinkContext, State

_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)

_WORDS = b"tEXtSoftware\0DeepMask Tracking cut-out"
_MARK = struct.pack(">I", len(_WORDS) - 4) + _WORDS + struct.pack(">I", zlib.crc32(_WORDS))
"""A chunk of each file, behind the picture's header: who wrote it, and may delete it."""
_MARK_AT = 33


class CutoutSink:
    """Writes `TARGET/ID/FRAME_X_Y.png`: what was seen of an object, and where its corner was.

    Args:
        target: a folder; cut-outs of an earlier run in it are deleted, and no other pictures.
        context: of the run; `render.ids` chooses objects, `render.margin_px` widens them.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, target: Path | None, context: SinkContext) -> None:
        if target is None:
            raise SinkError("cutouts cannot go to standard output")
        self._folder, self._render = target, context.render
        try:
            target.mkdir(parents=True, exist_ok=True)
            if context.state is None:
                for path in target.glob("[0-9]*/[0-9]*_[0-9]*_[0-9]*.png"):
                    if _is_cutout(path):
                        path.unlink()
        except OSError as error:
            raise self._failed(error) from error

    def write(self, result: Result) -> None:
        tracks, image = result.tracks, result.frame.image
        masks = effects.shapes(tracks, image.shape[:2])
        for i in effects.chosen(tracks, self._render.ids).tolist():
            if not tracks.coasting[i]:
                alpha = effects.union(masks, np.array([i]), self._render.margin_px)
                self._cut(image, alpha, self._folder / str(tracks.ids[i]), result.frame.index)

    def flush(self) -> None:
        """Nothing to do: each cut-out is written at once."""

    def mark(self) -> State:
        """Nothing to remember: what was written after this is written again, the same."""
        return {}

    def close(self) -> None:
        """Nothing to do."""

    def _cut(
        self, image: NDArray[np.uint8], alpha: NDArray[np.uint8], folder: Path, frame: int
    ) -> None:
        x, y, width, height = cv2.boundingRect(alpha)
        if width == 0:
            return
        part = np.s_[y : y + height, x : x + width]
        picture = cv2.cvtColor(image[part], cv2.COLOR_RGB2BGRA)
        picture[..., 3] = 255 * alpha[part]
        path = folder / f"{frame:06}_{x}_{y}.png"
        try:
            folder.mkdir(exist_ok=True)
            whole = path.with_name(f".{path.name}")
            png = cv2.imencode(".png", picture, _FAST)[1].tobytes()
            whole.write_bytes(png[:_MARK_AT] + _MARK + png[_MARK_AT:])
            whole.replace(path)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write to {str(self._folder)!r}: {error.strerror}")


def _is_cutout(path: Path) -> bool:
    """Whether a run wrote this file, whatever its name."""
    with path.open("rb") as file:
        return file.read(_MARK_AT + len(_MARK)).endswith(_MARK)
