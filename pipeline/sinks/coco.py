"""The tracks as a COCO video-instance file: one annotation an object, one segmentation a frame."""

from __future__ import annotations

import contextlib
import errno
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import SinkError
from pipeline.sinks.base import Result, SinkContext, State


class CocoSink:
    """Writes what YouTube-VIS tools read.

    The format lists all frames of an object together, which is known only at the end. Until then
    each object's frames lie in a file beside it, one line each; in memory is where those lines
    start. The COCO file itself appears whole, at the end; the file beside it is a leftover, for
    `SinkContext.leftovers`.

    Args:
        target: the file.
        context: of the run.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, target: Path | None, context: SinkContext) -> None:
        if target is None:
            raise SinkError("coco cannot go to standard output")
        self._path, self._info = target, context.info
        self._parts = target.with_name(f".{target.name}.part")
        self._whole = target.with_name(f".{target.name}.whole")
        self._frames: array[int] = array("q")
        self._starts: dict[int, array[int]] = {}
        self._end = 0
        try:
            self._file: BinaryIO = self._parts.open("r+b" if context.state else "w+b")
            if context.state:
                self._go_on(context.state["bytes"])
        except OSError as error:
            raise self._failed(error) from error
        context.leftovers.append(self._parts)

    def write(self, result: Result) -> None:
        place = len(self._frames)
        lines = [[result.frame.index]]
        lines += ([place, *record] for record in _records(result))
        try:
            for line in lines:
                text = json.dumps(line).encode() + b"\n"
                self._file.write(text)
                self._note(line, len(text))
        except OSError as error:
            raise self._failed(error) from error

    def _note(self, line: list[Any], length: int) -> None:
        """Remember what the next line of the parts says, and where its `length` bytes are."""
        first, *record = line
        if record:
            self._starts.setdefault(record[0], array("q")).append(self._end)
        else:
            self._frames.append(first)
        self._end += length

    def _go_on(self, length: int) -> None:
        """Keep so many bytes of the parts."""
        self._file.truncate(length)
        for line in self._file:
            self._note(json.loads(line), len(line))
        if self._end < length:
            raise OSError(errno.ENODATA, "its parts have become shorter since the run broke off")

    def mark(self) -> State:
        try:
            self._file.flush()
        except OSError as error:
            raise self._failed(error) from error
        return {"bytes": self._end}

    def flush(self) -> None:
        """Nothing to do: the file appears at the end."""

    def close(self) -> None:
        try:
            with self._whole.open("w", encoding="ascii") as file:
                file.writelines(self._text())
            self._whole.replace(self._path)
        except OSError as error:
            raise self._failed(error) from error
        finally:
            self._whole.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # said above, or of no use any more
                self._file.close()

    def _text(self) -> Iterator[str]:
        """The file, an annotation at a time."""
        info = self._info
        video = {
            "id": 1,
            "name": info.name,
            "width": info.width,
            "height": info.height,
            "length": len(self._frames),
            "frames": list(self._frames),
        }
        head = {
            "info": {"description": "tracks of every object, whatever its kind"},
            "videos": [video],
            "categories": [{"id": 1, "name": "object"}],
        }
        yield json.dumps(head)[:-1] + ', "annotations": ['
        for number, (track_id, starts) in enumerate(sorted(self._starts.items())):
            yield (",\n" if number else "\n") + json.dumps(self._annotation(track_id, starts))
        yield "\n]}\n"

    def _annotation(self, track_id: int, starts: array[int]) -> dict[str, Any]:
        """All of one object; null in the frames where it was not seen."""
        count = len(self._frames)
        segmentations: list[Any] = [None] * count
        boxes: list[Any] = [None] * count
        areas: list[Any] = [None] * count
        scores = []
        for start in starts:
            self._file.seek(start)
            place, _, score, *rest = json.loads(self._file.readline())
            segmentations[place], boxes[place], areas[place] = rest
            scores.append(score)
        return {
            "id": track_id,
            "video_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "width": self._info.width,
            "height": self._info.height,
            "score": round(float(np.mean(scores)), 4),
            "segmentations": segmentations,
            "bboxes": boxes,
            "areas": areas,
        }

    def _failed(self, error: OSError) -> SinkError:
        return SinkError(f"cannot write to {str(self._path)!r}: {error.strerror}")


def _records(result: Result) -> Iterator[list[Any]]:
    """For each object seen: its id, its score, segmentation, box x y w h and area."""
    tracks = result.tracks
    boxes = tracks.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    areas = tracks.masks.areas() if tracks.masks is not None else boxes[:, 2] * boxes[:, 3]
    for i in np.flatnonzero(~tracks.coasting).tolist():
        mask = None if tracks.masks is None else tracks.masks.rle(i)
        box = np.round(boxes[i], 2).tolist()
        score = round(float(tracks.scores[i]), 4)
        yield [int(tracks.ids[i]), score, mask, box, round(float(areas[i]), 2)]
