"""The text formats of MOTChallenge (boxes) and MOTS / KITTI-MOTS (masks): reading and writing.

    MOT   frame,id,x,y,w,h,score,-1,-1,-1        frame and id from 1, x and y of the top left
    MOTS  frame id class h w rle                 frame from 0, COCO compressed RLE

MOTS demands masks that do not overlap. See Milan et al., "MOT16", 2016, section 3.3, and
Voigtlaender et al., "MOTS", CVPR 2019.
"""

from __future__ import annotations

import configparser
import dataclasses
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackers.masks import Masks, read_rle
from trackers.tracks import Tracks

Floats = NDArray[np.float64]

LAST_FRAME = 10_000_000
"""More frames than this are a mistake in a file: nearly four days of video."""
LEAST_RATE = 1e-6
"""Frames a second; fewer are a mistake, too."""


def mot_lines(frame_index: int, tracks: Tracks) -> list[str]:
    """One line for each object seen in the frame, coasting ones left out.

    Args:
        frame_index: Counted from 0, as in `Frame.index`; the text counts from 1.
        tracks: What the tracker reported.
    """
    seen = ~tracks.coasting
    boxes = tracks.boxes[seen].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return [
        f"{frame_index + 1},{i},{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.4f},-1,-1,-1"
        for i, (x, y, w, h), score in zip(
            tracks.ids[seen].tolist(), boxes.tolist(), tracks.scores[seen].tolist(), strict=True
        )
    ]


def mots_lines(frame_index: int, tracks: Tracks) -> list[str]:
    """One line for each object seen in the frame, masks made disjoint, class always 1.

    Args:
        frame_index: Counted from 0, and so is the text.
        tracks: What the tracker reported.

    Raises:
        ValueError: The tracks hold no masks.
    """
    if tracks.masks is None:
        raise ValueError("MOTS text needs masks, and these tracks hold none")
    seen = np.flatnonzero(~tracks.coasting)
    masks = disjoint(tracks.masks.take(seen), tracks.scores[seen])
    height, width = masks.size
    lines = []
    for k, i in enumerate(tracks.ids[seen].tolist()):
        if masks.crops[k].any():
            counts = masks.rle(k)["counts"]
            lines.append(f"{frame_index} {i} 1 {height} {width} {counts}")
    return lines


def disjoint(masks: Masks, scores: NDArray[np.float32]) -> Masks:
    """Masks of which no two share a pixel.

    A pixel goes to the smaller mask, as what lies in front of a thing is mostly smaller than
    the thing; between equal sizes to the higher score.
    """
    order = np.lexsort((-scores, masks.areas()))
    taken = np.zeros(masks.size, bool)
    crops = list(masks.crops)
    for i in order.tolist():
        (x, y), crop = masks.offsets[i].tolist(), crops[i]
        window = taken[y : y + crop.shape[0], x : x + crop.shape[1]]
        crops[i] = crop & ~window
        window |= crop
    return Masks(masks.size, masks.offsets, tuple(crops))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that hold something, with their numbers from 1.

    Raises:
        ValueError: It is no text.
    """
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip(" \t,\n"):
                    yield number, line
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: this is no text file (UTF-8)") from error


def read_mot(path: Path) -> Floats:
    """Rows of a MOT text file, commas or blanks between the numbers.

    Returns:
        `(R, 9)` frame, id, x, y, w, h, and three columns more: confidence, -1, -1 in results and
        detections; flag, class, visibility in ground truth. Missing ones are filled with 1.

    Raises:
        ValueError: Names the file and line that is not of this form.
    """
    rows = []
    for number, line in _lines(path):
        words = line.replace(",", " ").split()
        try:
            row = [float(word) for word in words[:9]]
        except ValueError:
            raise ValueError(f"{path}:{number}: not a number in {line.strip()!r}") from None
        if len(row) < 6:
            raise ValueError(f"{path}:{number}: {len(row)} columns, expected at least 6")
        if not (row[0].is_integer() and 0 <= row[0] <= LAST_FRAME and row[1].is_integer()):
            raise ValueError(
                f"{path}:{number}: frame and id should be whole numbers, the frame at most "
                f"{LAST_FRAME}, got {line.strip()!r}"
            )
        rows.append(row + [1.0] * (9 - len(row)))
    return np.array(rows, np.float64).reshape(-1, 9)


def by_frame(rows: Floats, length: int, path: Path) -> list[Floats]:
    """The rows of each of the frames 1 ... `length`, in the order of the file.

    Args:
        rows: `(R, 9)` of `read_mot`.
        length: Number of frames.
        path: Where the rows are from.

    Raises:
        ValueError: A frame is numbered below 1.
    """
    if len(rows) and rows[:, 0].min() < 1:
        raise ValueError(f"{path}: frames should be numbered from 1")
    rows = rows[rows[:, 0].argsort(kind="stable")]
    edges = rows[:, 0].searchsorted(np.arange(1, length + 2))
    return [rows[first:end] for first, end in itertools.pairwise(edges)]


@dataclasses.dataclass(frozen=True, slots=True)
class MotsRow:
    """One line of MOTS text."""

    id: int
    label: int
    """1 car, 2 pedestrian, 10 a region to ignore."""
    rle: dict[str, Any]
    """COCO compressed RLE: `size` [h, w] and `counts`, bytes."""


def read_mots(path: Path) -> dict[int, list[MotsRow]]:
    """The lines of a MOTS text file by frame, as numbered in the file.

    Raises:
        ValueError: Names the file and line that is not of this form.
    """
    frames: dict[int, list[MotsRow]] = {}
    for number, line in _lines(path):
        words = line.split()
        if len(words) != 6:
            raise ValueError(
                f"{path}:{number}: {len(words)} fields, expected frame id class h w rle"
            )
        try:
            frame, id_, label, height, width = (int(word) for word in words[:5])
        except ValueError:
            raise ValueError(f"{path}:{number}: not a whole number in {words[:5]}") from None
        try:
            rle = read_rle([height, width], words[5])
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
        frames.setdefault(frame, []).append(MotsRow(id_, label, rle))
    return frames


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceInfo:
    """What `seqinfo.ini` says of a sequence."""

    frame_rate: float = 30.0
    """Frames a second."""
    length: int | None = None
    """Number of frames, None where it is not said."""


def read_seqinfo(folder: Path) -> SequenceInfo:
    """`seqinfo.ini` of a sequence's folder; defaults where there is none.

    Raises:
        ValueError: The file cannot be read as one, or holds no sensible numbers.
    """
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return SequenceInfo()
    parser = configparser.ConfigParser()
    try:
        parser.read(path)
        rate = parser.getfloat("Sequence", "frameRate", fallback=30.0)
        length = parser.getint("Sequence", "seqLength", fallback=None)
    except (configparser.Error, ValueError) as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from error
    is_sensible = length is None or 0 <= length <= LAST_FRAME
    if not (LEAST_RATE <= rate < math.inf and is_sensible):
        raise ValueError(f"{path}: frameRate {rate} and seqLength {length} make no sequence")
    return SequenceInfo(rate, length)
