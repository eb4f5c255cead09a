"""Outputs that are lines of text: JSON Lines, MOTChallenge, MOTS, CSV."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import SinkError
from pipeline.sinks.base import FLUSH_S, Result, State
from pipeline.sinks.wholefile import WholeFile
from trackers.motchallenge import mot_lines, mots_lines

_MOST_BYTES = 1 << 16

CSV_HEADER = "frame,time_s,id,state,score,x1,y1,x2,y2,vx,vy,age_s,area_px"


class LinesSink:
    """Writes lines to a file or to standard output.

    Lines go out whole: whenever the program ends, however it ends, the file ends with a complete
    line.

    Args:
        target: the file, made anew; None for standard output.
        lines: the lines of a result, without line ends.
        header: a first line.
        state: go on after what the file held when this was given.

    Raises:
        SinkError: the file cannot be opened.
    """

    def __init__(
        self,
        target: Path | None,
        lines: Callable[[Result], Iterable[str]],
        header: str | None = None,
        state: State | None = None,
    ) -> None:
        self._name = "standard output" if target is None else repr(str(target))
        self._lines = lines
        self._waiting = [] if header is None or state else [header]
        self._bytes = 0
        # The first line goes out at once: whoever reads along sees that it runs.
        self._written_s = -math.inf
        try:
            self._file = WholeFile(target, state["bytes"] if state else 0)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, result: Result) -> None:
        for line in self._lines(result):
            self._waiting.append(line)
            self._bytes += len(line)
        if self._bytes > _MOST_BYTES or time.monotonic() - self._written_s > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        self._written_s = time.monotonic()
        data = ("\n".join(self._waiting) + "\n").encode()
        self._waiting, self._bytes = [], 0
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def mark(self) -> State:
        self.flush()
        return {"bytes": self._file.length}

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._file.close()

    def _failed(self, error: OSError) -> SinkError:
        if isinstance(error, BrokenPipeError):
            return SinkError(f"cannot write to {self._name}: its reader closed it")
        return SinkError(f"cannot write to {self._name}: {error.strerror}")


def jsonl_lines(result: Result) -> Iterable[str]:
    """The line of `tracks.jsonl` for one frame."""
    frame = result.frame
    record = {
        "frame": frame.index,
        "time_s": round(frame.time_s, 6),
        "captured": _wall_clock(frame.captured_s),
        "latency_ms": round(result.latency_ms, 2),
        "dropped_before": frame.dropped_before,
        "width": frame.width,
        "height": frame.height,
        "tracks": _records(result),
    }
    yield json.dumps(record)


def _wall_clock(captured_s: float) -> str | None:
    """`Frame.captured_s` in UTC, as ISO 8601 has it; None where it is not known."""
    if not captured_s:
        return None
    when_s = time.time() - (time.perf_counter() - captured_s)
    return datetime.fromtimestamp(when_s, UTC).isoformat(timespec="milliseconds")


def mot_rows(result: Result) -> Iterable[str]:
    """The lines of `mot.txt` for one frame."""
    return mot_lines(result.frame.index, result.tracks)


def mots_rows(result: Result) -> Iterable[str]:
    """The lines of `mots.txt` for one frame.

    Raises:
        SinkError: the detector gives no masks.
    """
    if result.tracks.masks is None:
        raise SinkError("mots needs masks, and this detector gives boxes only; leave it out")
    return mots_lines(result.frame.index, result.tracks)


def csv_rows(result: Result) -> Iterable[str]:
    """The lines of `tracks.csv` for one frame, as `CSV_HEADER` names them."""
    tracks = result.tracks
    areas = tracks.masks.areas() if tracks.masks is not None else [""] * len(tracks)
    for record, area in zip(_records(result, masks=False), areas, strict=True):
        numbers = [record["score"], *record["box"], *record["velocity"], record["age_s"], area]
        head = f"{result.frame.index},{result.frame.time_s:.6f},{record['id']},{record['state']}"
        yield ",".join([head, *map(str, numbers)])


def _records(result: Result, masks: bool = True) -> list[dict[str, Any]]:
    """What is said of each track, in numbers that JSON can hold."""
    tracks = result.tracks
    rows = zip(
        tracks.ids.tolist(),
        tracks.states,
        np.round(tracks.scores.astype(np.float64), 4).tolist(),
        np.round(tracks.boxes.astype(np.float64), 2).tolist(),
        np.round(tracks.velocities.astype(np.float64), 2).tolist(),
        np.round(tracks.ages_s.astype(np.float64), 3).tolist(),
        strict=True,
    )
    records = []
    for i, (track_id, state, score, box, velocity, age_s) in enumerate(rows):
        record = {
            "id": track_id,
            "state": state,
            "score": score,
            "box": box,
        }
        if masks:
            record["mask"] = None if tracks.masks is None else tracks.masks.rle(i)
        records.append(record | {"velocity": velocity, "age_s": age_s})
    return records
