"""What a run took and gave: latencies of each stage, frames, tracks. The summary, and a live line.

Memory does not grow with the run: latencies are counted in buckets, not kept.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.frames import Frame, VideoInfo
from trackers.detections import Detections
from trackers.tracks import Tracks

if TYPE_CHECKING:
    from pipeline.detector import Detector
    from pipeline.sources import Source

STAGES = ("read", "infer", "track", "draw", "write")
"""In the order of the flow. `infer`, `track`, `draw` and `write` run beside each other."""


class Latencies:
    """Durations of one stage, from which percentiles to within one per cent can be read.

    Durations are counted in buckets whose borders grow by two per cent, from a microsecond on.
    """

    _FIRST_S = 1e-6
    _GROWTH = 1.02

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; any thread may."""
        bucket = math.floor(math.log(max(seconds, self._FIRST_S) / self._FIRST_S, self._GROWTH))
        with self._lock:
            self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
            self.count += 1
            self.total_s += seconds

    def percentile_ms(self, percent: float) -> float:
        """The duration in ms that `percent` of all stay at or below; nan where there are none."""
        with self._lock:
            buckets, rank = sorted(self._buckets.items()), self.count * percent / 100
        seen = 0
        for bucket, count in buckets:
            seen += count
            if seen >= rank:
                return float(1e3 * self._FIRST_S * self._GROWTH ** (bucket + 0.5))
        return math.nan

    def summary(self) -> dict[str, float]:
        """p50, p95, p99 and mean in ms."""
        result = {f"p{p}": round(self.percentile_ms(p), 3) for p in (50, 95, 99)}
        return result | {"mean": round(1e3 * self.total_s / max(1, self.count), 3)}


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What a run did, as `summary.json` holds it."""

    source: str
    """Its name, without credentials."""

    width: int
    height: int

    detector: str
    """What found the objects: network, device, runtime, size."""

    ended: str
    """`done` at the source's end, `stopped` on request, `failed` where it broke off."""

    error: str | None
    """Why it failed."""

    frames_read: int

    frames_inferred: int
    """Of them, that the detector looked at: all that are left, or fewer by `detector.interval`."""

    frames_dropped: int
    """Left out because a newer one was there, which happens only to live sources, or lost because
    they could not be decoded."""

    frames_written: int
    """Handed to every output."""

    tracks: int
    """Different identities."""

    source_s: float
    """Seconds of the source that were seen."""

    wall_s: float
    """From the first frame to the end of the last output."""

    frames_per_s: float
    cpu_ms_per_frame: float
    """CPU time of the whole process, start-up left out."""

    stages_ms: dict[str, dict[str, float]]
    """For each stage p50, p95, p99 and mean of what it takes for a frame."""

    latency_ms: dict[str, float]
    """From the decoder to the finished tracks: how old a result is."""

    outputs: dict[str, str]
    """Where each output is, by its format; `jsonl-2` is the second of format `jsonl`."""

    def lines(self) -> Iterator[str]:
        """The summary for people."""
        yield (
            f"{self.source}: {self.frames_read} frames read, {self.frames_inferred} inferred, "
            f"{self.frames_dropped} dropped, {self.frames_written} written; {self.tracks} tracks"
        )
        yield (
            f"{self.frames_per_s:.1f} frames/s over {self.wall_s:.1f} s, "
            f"{self.cpu_ms_per_frame:.1f} CPU-ms a frame; {self.detector}"
        )
        yield f"{'ms':>10} {'p50':>8} {'p95':>8} {'p99':>8}"
        for name, stage in [*self.stages_ms.items(), ("end to end", self.latency_ms)]:
            yield f"{name:>10} {stage['p50']:8.2f} {stage['p95']:8.2f} {stage['p99']:8.2f}"
        for name, where in self.outputs.items():
            yield f"{name:>10} {where}"


_COUNTS = ("processed", "dropped", "_read", "_first_s", "_last_s")
"""Of `RunStats`, what a continued run goes on from."""


class RunStats:
    """Counts while a run runs; every stage may report from its own thread."""

    def __init__(self) -> None:
        self._stages = {name: Latencies() for name in STAGES}
        self._latency = Latencies()
        # One byte an id: ids count from 1 and are never used twice.
        self._seen = bytearray()
        self._began = self._cpu_began = 0.0
        self._clocks = time.perf_counter, time.process_time
        self._first_s = self._last_s = 0.0
        self._read = 0
        self.processed = 0
        """Frames whose tracks are known."""
        self.written = 0
        """Frames that were handed to every output, which may keep them in memory for a moment."""
        self.tracks = 0
        """Different identities."""
        self.dropped = 0
        self.objects = 0
        """In the latest frame."""
        self.stopped = False
        """Somebody asked for the end before the source's."""
        self._end: Callable[[], None] = lambda: None
        self._earlier_s = self._earlier_cpu_s = 0.0
        self._earlier_inferred = 0
        self.detector = ""
        self.outputs: dict[str, str] = {}
        self.info: VideoInfo | None = None

    def state(self, interval: int) -> dict[str, Any]:
        """The counts, for `restore`, as JSON can hold them; one frame of `interval` was inferred.

        The detector is ahead of the frames that are done, so its own count is not the one.
        """
        own = {name: getattr(self, name) for name in _COUNTS}
        seen = [track_id for track_id, byte in enumerate(self._seen) if byte]
        times = {"elapsed_s": self.elapsed_s, "cpu_s": self._cpu_s}
        return own | times | {"seen": seen, "inferred": self.processed // interval}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on counting from `state`, where every output held every frame."""
        for name in _COUNTS:
            setattr(self, name, state[name])
        self.written = self.processed
        self._see(np.array(state["seen"], np.int64))
        self._earlier_s, self._earlier_cpu_s = state["elapsed_s"], state["cpu_s"]
        self._earlier_inferred = state["inferred"]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the body takes as a latency of stage `name`."""
        began = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Count one latency of stage `name`."""
        self._stages[name].add(seconds)

    def begin(self, info: VideoInfo, detector: str) -> None:
        """The source and the detector are ready: from here on time counts."""
        self.info, self.detector = info, detector
        self._began, self._cpu_began = (clock() for clock in self._clocks)

    def finish(self) -> None:
        """The run is over, whatever goes on beside it: time counts no more."""
        wall_s, cpu_s = (clock() for clock in self._clocks)
        self._clocks = (lambda: wall_s), (lambda: cpu_s)

    def count(self, frame: Frame, tracks: Tracks) -> float:
        """Count a finished frame; gives its latency in ms, from the decoder until now."""
        latency_s = time.perf_counter() - frame.captured_s if frame.captured_s else 0.0
        self._latency.add(latency_s)
        if self.processed == 0:
            self._first_s = frame.time_s
        self.processed += 1
        self.dropped += frame.dropped_before
        self.objects = len(tracks)
        self._last_s = frame.time_s
        self._read = frame.index + 1
        self._see(tracks.ids)
        return 1e3 * latency_s

    def stop(self) -> None:
        """Ask the run for its end; at any time, from any thread."""
        self.stopped = True
        self._end()

    def on_stop(self, end: Callable[[], None]) -> None:
        """Let `stop` call `end`: at once, if somebody has asked already."""
        self._end = end
        if self.stopped:
            end()

    def count_written(self, seconds: float) -> None:
        """Every output was handed one more frame; `seconds` is what all together took for it."""
        self.written += 1
        self.add("write", seconds)

    def _see(self, ids: NDArray[np.int64]) -> None:
        for track_id in ids.tolist():
            if track_id >= len(self._seen):
                self._seen.extend(bytes(track_id + 1024 - len(self._seen)))
            if not self._seen[track_id]:
                self._seen[track_id] = 1
                self.tracks += 1

    @property
    def elapsed_s(self) -> float:
        """Since `begin`, with the time of what the run continues; 0 before it."""
        now_s = self._clocks[0]() - self._began if self._began else 0.0
        return self._earlier_s + now_s

    @property
    def _cpu_s(self) -> float:
        now_s = self._clocks[1]() - self._cpu_began if self._began else 0.0
        return self._earlier_cpu_s + now_s

    @property
    def source_s(self) -> float:
        """Of the source, from the first frame to the latest."""
        return self._last_s - self._first_s

    def summary(self, error: BaseException | None = None) -> RunSummary:
        """What was counted until now; `error` is what ended the run, if something did."""
        info = self.info or VideoInfo("", 0, 0, is_live=False)
        wall_s = self.elapsed_s
        return RunSummary(
            source=info.name,
            width=info.width,
            height=info.height,
            detector=self.detector,
            ended="failed" if error else "stopped" if self.stopped else "done",
            error=str(error) if error else None,
            frames_read=self._read,
            # The detector is ahead: where a run broke off, what it saw there went nowhere.
            frames_inferred=min(
                self._earlier_inferred + self._stages["infer"].count, self.processed
            ),
            frames_dropped=self.dropped,
            frames_written=self.written,
            tracks=self.tracks,
            source_s=round(self.source_s, 3),
            wall_s=round(wall_s, 3),
            frames_per_s=round(self.processed / wall_s, 2) if wall_s else 0.0,
            cpu_ms_per_frame=round(1e3 * self._cpu_s / max(1, self.processed), 2),
            stages_ms={
                name: stage.summary() for name, stage in self._stages.items() if stage.count
            },
            latency_ms=self._latency.summary(),
            outputs=dict(self.outputs),
        )


class Totals:
    """The counts of several runs together, for `Progress`."""

    info: VideoInfo | None = None
    """None: there is no end that all run towards."""
    elapsed_s = source_s = 0.0

    def __init__(self, streams: Sequence[RunStats]) -> None:
        self._streams = streams

    @property
    def processed(self) -> int:
        return sum(one.processed for one in self._streams)

    @property
    def dropped(self) -> int:
        return sum(one.dropped for one in self._streams)

    @property
    def objects(self) -> int:
        return sum(one.objects for one in self._streams)


class Progress:
    """One line on a terminal, rewritten while a run runs; elsewhere a line every few seconds.

    Args:
        stats: what to show.
        stream: where; None shows nothing.
    """

    def __init__(self, stats: RunStats | Totals, stream: TextIO | None = sys.stderr) -> None:
        self._stats = stats
        self._stream = stream
        self._terminal = stream is not None and stream.isatty()
        self._every_s = 0.2 if self._terminal else 5.0
        self._shown_s = time.perf_counter()
        self._shown_frames = 0

    def update(self) -> None:
        """Show where the run is, where it is time to."""
        now = time.perf_counter()
        if self._stream is None or now - self._shown_s < self._every_s:
            return
        rate = (self._stats.processed - self._shown_frames) / (now - self._shown_s)
        self._shown_s, self._shown_frames = now, self._stats.processed
        line = _progress_line(self._stats, rate)
        self._say(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")

    def close(self) -> None:
        """Leave the terminal's line."""
        if self._terminal:
            self._say("\r\x1b[K")

    def _say(self, text: str) -> None:
        """Show a text; nothing more once nobody reads."""
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
        except OSError:
            self._stream = None


def _progress_line(stats: RunStats | Totals, rate: float) -> str:
    """Frames, share, frames/s, drops, objects, and for a file the time that is left."""
    info, share, left = stats.info, 0.0, ""
    if info and not info.is_live:
        if info.frame_count:
            share = stats.processed / info.frame_count
        elif info.duration_s:
            share = stats.source_s / info.duration_s
    if share > 0:
        seconds = round(stats.elapsed_s * max(0.0, 1 - share) / share)
        left = f" ({min(1.0, share):.0%}, {seconds // 60}:{seconds % 60:02} left)"
    return (
        f"{stats.processed} frames{left}, {rate:.1f} frames/s, {stats.dropped} dropped, "
        f"{stats.objects} objects"
    )


def as_dict(summary: RunSummary) -> dict[str, Any]:
    """The summary as JSON can hold it: nan, where nothing was measured, becomes null."""
    return {key: _finite(value) for key, value in dataclasses.asdict(summary).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TimedSource:
    """A source whose decoding time is counted as stage `read`.

    Of a live source this is mostly waiting: the time from frame to frame.
    """

    def __init__(self, source: Source, stats: RunStats) -> None:
        self._source = source
        self._stats = stats
        self.info = source.info
        self.close = source.close

    def __iter__(self) -> Iterator[Frame]:
        frames = iter(self._source)
        while True:
            began = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            self._stats.add("read", time.perf_counter() - began)
            yield frame

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._source.__exit__(*failure)


class TimedDetector:
    """A detector whose `detect` is counted as stage `infer`; in all else the detector itself."""

    def __init__(self, detector: Detector, stats: RunStats) -> None:
        self._detector = detector
        self._stats = stats

    def detect(self, frame: Frame) -> Detections:
        """What the detector sees in `frame`."""
        with self._stats.stage("infer"):
            return self._detector.detect(frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)
