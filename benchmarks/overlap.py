"""How much of the time the stages really run beside each other: all together, and each alone.

    python -m benchmarks.overlap [--source demo] [--seconds 5] [--repeat 5] [--json FILE]

Each round runs every stage alone on frames that are ready in memory, then the whole program on the
same frames, all in this process. Nothing can be faster than its slowest stage, nor need less
CPU time than its stages: on few cores, where stages share them, the bound is their CPU time
together over the number of cores. The ratio of the end-to-end rate and that bound says what the
plumbing costs; 1 is the limit. It holds only where a core is as fast when the others work too: how
busy the cores were in the whole program is printed as well.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import configs
from benchmarks import measuring
from deepmask.runtime import usable_cores
from pipeline.config import PipelineConfig
from pipeline.detector import open_detector
from pipeline.inference import detect_async
from pipeline.render import Renderer
from pipeline.run import run, work_steadily
from pipeline.sinks import FORMATS, SINKS, OutputConfig, Result, SinkContext
from pipeline.sources import open_source
from pipeline.stats import RunStats
from pipeline.streams import SharedDetectors
from trackers.detections import Detections
from trackers.sort import SortTracker
from trackers.tracks import Tracks

LINES = ("jsonl", "mot", "mots")
TOGETHER = "all together"


class Cost(NamedTuple):
    """What a frame costs, in milliseconds."""

    wall_ms: float

    cpu_ms: float
    """All threads of the process together."""


class Stages:
    """Each stage of a run alone, on the frames of a source. Keeps them all in memory, twice."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        with open_source(config.source) as source:
            self.info = source.info
            self.frames = list(source)
        # Lent, so that the whole program runs on the same one, compiled and warm; for this source,
        # not as for several.
        self.detectors = SharedDetectors(lambda _: open_detector(config.detector))
        self.detector = self.detectors.open(config.detector)
        self.detections = self._detect()
        self.tracks = self._track()
        self.drawn = list(self._draw())

    def measures(self) -> dict[str, Callable[[], Cost]]:
        """Costs of each stage alone, and of all together."""
        parts: dict[str, Callable[[], object]] = {
            "decode": self._decode,
            "detect": self._detect,
            "track": self._track,
            "draw": lambda: deque(self._draw(), maxlen=0),
            "encode": lambda: self._write("video"),
            "lines": lambda: self._write(*LINES),
        }
        alone = {name: self._measured(part) for name, part in parts.items()}
        return {**alone, TOGETHER: self._run}

    def _measured(self, part: Callable[[], object]) -> Callable[[], Cost]:
        def measure() -> Cost:
            began, cpu_began = time.perf_counter(), time.process_time()
            part()
            wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
            return Cost(1e3 * wall_s / len(self.frames), 1e3 * cpu_s / len(self.frames))

        return measure

    def _run(self) -> Cost:
        with tempfile.TemporaryDirectory() as folder:
            output = OutputConfig(("video", *LINES), Path(folder), "none")
            config = dataclasses.replace(self.config, output=output)
            summary = run(config, detectors=self.detectors)
        return Cost(1e3 * summary.wall_s / summary.frames_read, summary.cpu_ms_per_frame)

    def _decode(self) -> None:
        with open_source(self.config.source) as source:
            for _ in source:
                pass

    def _detect(self) -> list[Detections]:
        every = detect_async(self.detector, self.frames)
        return [found for _, found in every if found is not None]

    def _track(self) -> list[Tracks]:
        tracker = SortTracker(self.config.tracker)
        pairs = zip(self.frames, self.detections, strict=True)
        return [tracker.update(found, frame.time_s, frame.image) for frame, found in pairs]

    def _draw(self) -> Iterator[Result]:
        """As a run does it: no picture is kept, for fresh memory costs more than drawing."""
        renderer = Renderer(self.config.render)
        for frame, tracks in zip(self.frames, self.tracks, strict=True):
            yield Result(frame, tracks, 0.0, renderer.render(frame, tracks))

    def _write(self, *names: str) -> None:
        config = self.config
        context = SinkContext(self.info, config.output, config.render, RunStats(), lambda: None)
        with tempfile.TemporaryDirectory() as folder:
            sinks = [SINKS[name](Path(folder) / FORMATS[name], context) for name in names]
            for result in self.drawn:
                for sink in sinks:
                    sink.write(result)
            for sink in sinks:
                sink.close()


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("overlap", __doc__)
    parser.add_argument("--source", default="demo", help="a file: live sources only wait")
    parser.add_argument("--seconds", type=float, default=5.0, help="of the source; all in memory")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    about = measuring.announce()
    work_steadily()
    settings = [f"source.source={options.source}", f"source.duration_s={options.seconds}"]
    stages = Stages(configs.load(PipelineConfig, None, [*settings, *options.set]))
    print(f"{stages.info.name}, {len(stages.frames)} frames; {stages.detector.description}")
    found = measuring.in_turns(stages.measures(), options.repeat)
    costs = {
        name: Cost(*(measuring.median(column) for column in zip(*rounds, strict=True)))
        for name, rounds in found.items()
    }
    together = costs.pop(TOGETHER)
    slowest = max(costs, key=lambda name: costs[name].wall_ms)
    shared_ms = sum(cost.cpu_ms for cost in costs.values()) / usable_cores()
    bound_ms = max(costs[slowest].wall_ms, shared_ms)
    busy = together.cpu_ms / (together.wall_ms * usable_cores())

    print(f"{'ms a frame':>14} {'wall':>8} {'CPU':>8}")
    for name, cost in [*costs.items(), (TOGETHER, together)]:
        print(f"{name:>14} {cost.wall_ms:8.2f} {cost.cpu_ms:8.2f}")
    print(f"slowest stage: {slowest}; CPU time of all over {usable_cores()} cores: ", end="")
    print(f"{shared_ms:.2f} ms; the bound: {bound_ms:.2f} ms")
    print(f"end-to-end rate / bound: {bound_ms / together.wall_ms:.3f}; cores busy: {busy:.3f}")
    measuring.save(
        options.json,
        about
        | {
            "frames": len(stages.frames),
            "ms_per_frame": {name: cost._asdict() for name, cost in costs.items()},
            "together_ms_per_frame": together._asdict(),
            "bound_ms": bound_ms,
            "ratio": bound_ms / together.wall_ms,
            "busy": busy,
        },
    )


if __name__ == "__main__":
    measuring.start(main)
