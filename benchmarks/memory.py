"""Whether memory stays flat over a long run.

    python -m benchmarks.memory [--frames 20000] [--source SRC] [--plot FILE.png] [--json FILE]

By default the demo scene, played over and over without a pause: objects appear and vanish all the
time, and identities go on counting. One run in this process, as `pipeline.run` would do it, with
all outputs; a thread reads the resident memory meanwhile. The growth is that of a straight line
through the second half of the run.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import configs
import pipeline
from benchmarks import measuring
from pipeline.config import PipelineConfig
from pipeline.run import run
from pipeline.stats import RunStats

DEMO = Path(pipeline.__file__).parent / "data" / "demo.mp4"

RATE = 30
"""Frames a second of the source."""

EVERY_S = 0.25
"""Between two readings."""

Reading = tuple[int, float]
"""Frames processed, and resident memory in MB."""


def resident_mb() -> float:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def watching(stats: RunStats) -> Iterator[list[Reading]]:
    """Readings, taken on a thread while this is open."""
    readings: list[Reading] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            readings.append((stats.processed, resident_mb()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        over.set()
        thread.join()


def growth_mb(readings: Sequence[Reading]) -> float:
    """MB that a thousand frames add, in the second half of the run."""
    half = np.array([one for one in readings if 2 * one[0] >= readings[-1][0]], np.float64)
    if len(set(half[:, 0])) < 2:
        return float("nan")
    return float(1e3 * np.polyfit(half[:, 0], half[:, 1], 1)[0])


def plot(readings: Sequence[Reading], path: Path) -> None:
    """Draw memory over frames, where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    axes.plot(*zip(*readings, strict=True))
    axes.set(xlabel="frames", ylabel="resident memory, MB", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("memory", __doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--source", default=f"lavfi:movie={DEMO}:loop=0,setpts=N/({RATE}*TB)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()

    about = measuring.announce()
    stats = RunStats()
    with tempfile.TemporaryDirectory() as folder, watching(stats) as readings:
        settings = [
            f"source.source={options.source}",
            f"source.duration_s={options.frames / RATE}",
            f"output.directory={folder}",
            "output.save=video,jsonl,mot,mots",
            "output.view=none",
            "source.live=false",
        ]
        config = configs.load(PipelineConfig, None, [*settings, *options.set])
        summary = run(config, stats)
    print(f"{summary.frames_read} frames, {summary.tracks} tracks, {summary.wall_s:.0f} s")
    shown = np.linspace(0, len(readings) - 1, min(11, len(readings))).astype(int)
    print(f"{'frames':>8} {'MB':>8}")
    for frames, mb in (readings[i] for i in shown):
        print(f"{frames:8} {mb:8.1f}")
    growth = growth_mb(readings)
    print(f"growth in the second half: {growth:+.2f} MB a thousand frames")
    if options.plot:
        plot(readings, options.plot)
    numbers = {"frames": summary.frames_read, "growth_mb": growth, "readings": readings}
    measuring.save(options.json, about | numbers)


if __name__ == "__main__":
    measuring.start(main)
