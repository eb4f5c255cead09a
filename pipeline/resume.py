"""Where a run can be continued after an interruption, and the frames that follow there.

Every hundredth frame the tracker, the counts and each output give the state that they need to go
on, and the encoder of the video starts anew. The next time that this happens, all that was written
before is on the disk, and the states go into a small file beside the outputs. Continued, outputs
are cut back to that place, and everything after it comes out as it would have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import PipelineConfig
from pipeline.errors import PipelineError, SinkError, SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.reader import FrameReader, read_frames
from pipeline.sinks import Outputs, SinkContext, Sinks, State
from pipeline.sources import Source, SourceConfig, open_source
from pipeline.stats import RunStats, TimedSource
from trackers.sort import SortTracker

log = logging.getLogger(__name__)

FILE = ".resume.npz"
STEP = 100
"""So many frames from one place to the next."""

_NEAR_S = 1e-6


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A frame after which a run can be continued, and what it takes."""

    frame: int
    """Its index; -1 before the first."""

    time_s: float
    picture: int
    """CRC-32 of its pixels: the source must show the same there."""

    tracker: dict[str, NDArray[Any]]
    stats: dict[str, Any]
    sinks: list[State]


FORMAT = 2
"""Counts up whenever a state holds something else: no version continues the run of another."""

_WORDS = ("frame", "time_s", "picture", "stats", "sinks")
_START = Place(-1, 0.0, 0, {}, {}, [])


class Places:
    """Keeps the latest place of a run whose outputs are on the disk.

    Args:
        path: the file; None keeps nothing.
        interval: the detector looks at every n-th frame; places lie before such a frame.
        stats: of the run.
        begin: where the run begins, None for its start.
    """

    def __init__(
        self, path: Path | None, interval: int, stats: RunStats, begin: Place | None
    ) -> None:
        self._path, self._stats, self._begin = path, stats, begin
        self._interval, self._step = interval, interval * math.ceil(STEP / interval)
        self._latest: Place | None = None
        if path is not None and begin is None:
            _save(path, _START)

    @property
    def states(self) -> list[State] | None:
        """Of the outputs, where they go on; None where they begin."""
        return None if self._begin is None else self._begin.sinks

    def go_on(self, tracker: SortTracker) -> None:
        """Bring the tracker and the counts to where the run begins."""
        if self._begin is not None:
            log.info("going on after %.2f s", self._begin.time_s)
            tracker.restore(self._begin.tracker)
            self._stats.restore(self._begin.stats)

    def passed(self, frame: Frame, tracker: SortTracker, sinks: Sinks) -> None:
        """`frame` is written: where it is time to, make a place after it."""
        if self._path is None or self._stats.processed % self._step:
            return
        counts = self._stats.state(self._interval)
        facts = frame.index, frame.time_s, _checksum(frame), tracker.state(), counts
        sinks.mark(lambda states: self._reached(Place(*facts, states)))

    def keep_latest(self) -> None:
        """All that was written before the latest place is on the disk."""
        if self._path is not None and self._latest is not None:
            _save(self._path, self._latest)

    def tell(self) -> None:
        """Say how to go on, where that is possible."""
        if self._path is not None and self._path.exists():
            log.info("to go on where this run ended: --resume %s", self._path.parent)

    def forget(self, leftovers: Sequence[Path]) -> None:
        """The run is finished: nobody needs the place, nor then the leftovers, any more."""
        for path in [self._path, *leftovers]:
            if path is not None:
                path.unlink(missing_ok=True)

    def _reached(self, place: Place) -> None:
        self.keep_latest()
        self._latest = place


@contextmanager
def open_places(
    config: PipelineConfig, outputs: Outputs, context: SinkContext, begin: Place | None
) -> Iterator[Places]:
    """The places of a run; to be open while its outputs are.

    Args:
        config: of the run.
        outputs: whatever goes into a folder can be continued, if the source is a file.
        context: of its outputs; it tells at the end whether the run is finished, and what is left.
        begin: where the run begins, None for its start.
    """
    info, stats = context.info, context.stats
    interval = config.detector.interval_for(info)
    path = None if outputs.folder is None else outputs.folder / FILE
    if path is not None and (info.is_live or config.source.source == "-" or interval == "auto"):
        path.unlink(missing_ok=True)
        path = None
    places = Places(path, 1 if interval == "auto" else interval, stats, begin)
    try:
        yield places
    except PipelineError as error:
        if not isinstance(error, SinkError):
            places.keep_latest()
        places.tell()
        raise
    if stats.stopped:
        places.keep_latest()
        places.tell()
    else:
        places.forget(context.leftovers)


def _save(path: Path, place: Place) -> None:
    whole = path.with_name(f"{path.name}.part")
    words = {name: getattr(place, name) for name in _WORDS} | {"format": FORMAT}
    try:
        with whole.open("wb") as file:
            np.savez(file, words=np.array(json.dumps(words)), **_named(place.tracker))
        whole.replace(path)
    except OSError as error:
        log.warning("cannot note where this run could be continued: %s", error.strerror)
        with contextlib.suppress(OSError):
            whole.unlink()


def _named(tracker: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {f"tracker.{name}": value for name, value in tracker.items()}


def load_place(folder: Path) -> Place | None:
    """Where the run in `folder` can be continued; None at its start.

    Raises:
        PipelineError: it cannot be continued.
    """
    path = folder / FILE
    if not path.is_file():
        raise PipelineError(
            f"nothing to resume in {str(folder)!r}: no run of a file broke off there"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        words = json.loads(str(arrays.pop("words")))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PipelineError(f"cannot resume: {str(path)!r} is damaged ({error})") from error
    if words.pop("format", None) != FORMAT:
        raise PipelineError(
            f"cannot resume: another version of this program began the run in {str(folder)!r}; "
            "run it anew"
        )
    tracker = {name.removeprefix("tracker."): value for name, value in arrays.items()}
    return Place(**words, tracker=tracker) if words["frame"] >= 0 else None


def open_after(config: SourceConfig, place: Place | None, stats: RunStats) -> TimedSource:
    """The source, opened at `place` where seeking leads there, with the `info` of the whole.

    Args:
        config: which source.
        place: None for its start.
        stats: times the source.

    Raises:
        SourceError: the source cannot be opened.
    """
    part = config if place is None else _from(config, place)
    source = TimedSource(open_source(part), stats)
    if place is not None and part is not config:
        source.info = _whole(source.info, place.frame, place.time_s - config.start_s)
    return source


@contextmanager
def frames_after(
    source: Source, place: Place | None
) -> Iterator[tuple[FrameReader, Iterator[Frame]]]:
    """A reader of the source, and its frames after `place`, numbered as from the start.

    Args:
        source: of `open_after`.
        place: None for all frames.

    Raises:
        SourceError: the source is another one than it was.
    """
    with read_frames(source) as reader:
        yield reader, iter(reader) if place is None else _after(reader, place)


def _from(config: SourceConfig, place: Place) -> SourceConfig:
    """The part of the source from `place` on, where seeking leads to the very same picture."""
    duration_s = config.duration_s
    if duration_s is not None:
        duration_s += config.start_s - place.time_s
    part = dataclasses.replace(config, start_s=place.time_s, duration_s=duration_s)
    try:
        with open_source(part) as source, contextlib.closing(_generator(source)) as frames:
            first = next(frames)
    except (SourceError, StopIteration):
        return config
    return part if _is(first, place) else config


def _whole(info: VideoInfo, frames: int, seconds: float) -> VideoInfo:
    """What was said of a part, said of the whole with `frames` and `seconds` before the part."""
    count = None if info.frame_count is None else info.frame_count + frames
    duration_s = None if info.duration_s is None else info.duration_s + seconds
    return dataclasses.replace(info, frame_count=count, duration_s=duration_s)


def _generator(source: Source) -> Any:
    """Its frames, as what can be closed."""
    return iter(source)


def _is(frame: Frame, place: Place) -> bool:
    return abs(frame.time_s - place.time_s) < _NEAR_S and _checksum(frame) == place.picture


def _checksum(frame: Frame) -> int:
    return zlib.crc32(frame.image.tobytes())


def _after(reader: FrameReader, place: Place) -> Iterator[Frame]:
    """The frames that follow `place`, which is either the first one or the one of its number."""
    frames = iter(reader)
    shift = None
    for frame in frames:
        if shift is None:
            shift = place.frame if _is(frame, place) else 0
        if frame.index + shift == place.frame:
            if not _is(frame, place):
                break
            return (dataclasses.replace(rest, index=rest.index + shift) for rest in frames)
    raise SourceError(f"cannot resume: {reader.info.name} is not what it was when the run began")
