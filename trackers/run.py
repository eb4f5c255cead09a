"""Run the tracker on detections from files, without any video.

    python -m trackers.run DIR --output DIR [--set key=value]...

DIR holds one folder a sequence with `det*.txt` (MOT text: frame,-1,x,y,w,h,confidence) and, for
the frame rate, `seqinfo.ini`. Writes SEQ.txt in MOT text for each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from configs import loader
from trackers.config import SortConfig
from trackers.detections import Detections
from trackers.evaluate import find_sequences
from trackers.motchallenge import by_frame, mot_lines, read_mot, read_seqinfo
from trackers.sort import SortTracker


def detection_file(folder: Path) -> Path | None:
    """The sequence's `det*.txt`, also in a folder `det` as MOTChallenge has it."""
    return next(iter(sorted([*folder.glob("det*.txt"), *folder.glob("det/det*.txt")])), None)


def read_detections(path: Path, length: int | None) -> Iterator[Detections]:
    """What the file says of each frame from the first to `length` (or the last that it names).

    Confidences are cut to [0, 1].

    Raises:
        ValueError: The file is not MOT text, or a frame is numbered below 1.
    """
    rows = read_mot(path)
    last = int(rows[:, 0].max(initial=0)) if length is None else length
    for part in by_frame(rows, last, path):
        boxes = np.concatenate((part[:, 2:4], part[:, 2:4] + part[:, 4:6]), axis=1)
        scores = part[:, 6].clip(0.0, 1.0)
        yield Detections(boxes.astype(np.float32), scores.astype(np.float32))


def track_sequence(folder: Path, config: SortConfig) -> list[str]:
    """MOT lines of one sequence.

    Raises:
        ValueError: Names the file and frame whose detections cannot be tracked.
    """
    path, info = detection_file(folder), read_seqinfo(folder)
    assert path is not None, "find_sequences only gives folders with one"
    tracker = SortTracker(config)
    lines: list[str] = []
    for index, detections in enumerate(read_detections(path, info.length)):
        try:
            tracks = tracker.update(detections, index / info.frame_rate)
        except ValueError as error:
            raise ValueError(f"{path}: frame {index + 1}: {error}") from error
        lines += mot_lines(index, tracks)
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="trackers.run", description="Track detections from MOT text files."
    )
    parser.add_argument("folder", type=Path, help="one folder a sequence with det*.txt")
    parser.add_argument("--output", type=Path, required=True, help="folder for SEQ.txt")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="a setting of SortConfig, for example lost_s=2",
    )
    options = parser.parse_args(arguments)
    try:
        config = loader.load(into=SortConfig, source=None, overrides=options.overrides)
        found = find_sequences(options.folder, lambda folder: detection_file(folder) is not None)
        options.output.mkdir(parents=True, exist_ok=True)
        for name, folder in found.items():
            lines = track_sequence(folder, config)
            target = options.output / f"{name}.txt"
            target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            print(f"{name}: {len(lines)} boxes in {target}")
    except (ValueError, OSError) as error:
        print(f"trackers.run: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
