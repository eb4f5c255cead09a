"""Objects cut out of the frames: a PNG with alpha for each object and frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import effects
from pipeline.errors import SinkError
from pipeline.sinks.base import Result, SinkContext, State

_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class CutoutSink:
    """Writes `TARGET/ID/FRAME_X_Y.png`: what was seen of an object, and where its corner was.

    Args:
        target: a folder; cut-outs of an earlier run in it are deleted.
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
                for old in target.glob("[0-9]*/[0-9]*_[0-9]*_[0-9]*.png"):
                    old.unlink()
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
            whole.write_bytes(cv2.imencode(".png", picture, _FAST)[1].tobytes())
            whole.replace(path)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write to {str(self._folder)!r}: {error.strerror}")
