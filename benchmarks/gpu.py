"""What a GPU does: how fast one frame is answered, how many a second, how many live streams.

    python -m benchmarks.gpu [--seconds 20] [--streams 16] [--device cuda] [--json FILE]

Three measurements. One frame of 640x480 at a time, from the picture in memory to its detections.
Many such frames from as many threads as keep the GPU busy, with batches of up to 1, 8 and 32; of
these also the network alone, without what the CPU does with its answers. And `pipeline.run` on
several 1920x1080 sources at once that play at their own pace, 30 frames a second, as cameras do:
what they drop, and how old their results are.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import configs
from benchmarks import measuring, streams
from deepmask.deploy import find_windows
from pipeline.config import PipelineConfig
from pipeline.detector import DeepMaskDetector, Detector, open_detector
from pipeline.frames import Frame
from pipeline.sources import open_source
from pipeline.sources.config import SourceConfig

BATCHES = (1, 8, 32)
WARM_S = 10.0
"""The beginning of a measurement, which is not counted: the GPU's graphs are made then."""


def latencies(detector: Detector, frames: Sequence[Frame], seconds: float) -> dict[str, float]:
    """p50, p95 and p99 in ms of detecting in one frame after the other."""
    times: list[float] = []
    detector.detect(frames[0])
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + WARM_S + seconds:
        detector.detect(frames[len(times) % len(frames)])
        times.append(time.perf_counter() - now)
        if now < begin + WARM_S:
            times.clear()
    p50, p95, p99 = (1e3 * np.percentile(times, (50, 95, 99))).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def rate(
    work: Callable[[Frame], object], threads: int, frames: Sequence[Frame], seconds: float
) -> float:
    """Frames a second that threads get done with `work`, each one frame after the other."""
    begin = time.perf_counter() + WARM_S
    end = begin + seconds

    def count(first: int) -> int:
        done, at = 0, first
        while (now := time.perf_counter()) < end:
            work(frames[at % len(frames)])
            done += now >= begin
            at += 1
        return done

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(count, range(threads))) / (time.perf_counter() - begin)


def network_alone(detector: DeepMaskDetector) -> Callable[[Frame], object]:
    """What `detect` does up to the network's answer."""
    config = detector.config
    return lambda frame: find_windows(detector.runtime, frame.image, config)


def write_video(path: Path, images: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> None:
    """Write pictures at `size` (W, H) as H.264, 30 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for image in images:
            scaled = np.asarray(cv2.resize(image, size), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scaled, "rgb24")))
        container.mux(stream.encode(None))


def main() -> int:
    """Measure and print; gives the exit code."""
    parser = measuring.arguments("gpu", __doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print(f"{parser.prog}: torch {torch.__version__} finds no CUDA device", file=sys.stderr)
        return 2

    numbers: dict[str, Any] = measuring.announce()
    settings = [*options.set, f"detector.device={options.device}"]
    config = configs.load(PipelineConfig, None, settings).detector
    with open_source(SourceConfig(source="demo")) as source:
        frames = list(source)
    for batch in BATCHES:
        detector = open_detector(dataclasses.replace(config, batch=batch))
        assert isinstance(detector, DeepMaskDetector)
        if batch == 1:
            print(detector.description, f"{frames[0].width}x{frames[0].height}", sep=", ")
            numbers["latency_ms"] = latencies(detector, frames, options.seconds)
            print(f"{'':>16}{'p50':>9}{'p95':>9}{'p99':>9}")
            print(
                f"{'ms, one by one':>16}"
                + "".join(f"{v:9.2f}" for v in numbers["latency_ms"].values())
            )
            print(f"{'batches up to':>16}{'frames/s':>9}{'network alone':>15}")
        whole = rate(detector.detect, detector.concurrency, frames, options.seconds)
        alone = rate(network_alone(detector), detector.concurrency, frames, options.seconds)
        numbers[f"batch_{batch}"] = {"frames_per_s": whole, "network_alone": alone}
        print(f"{batch:16}{whole:9.0f}{alone:15.0f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        count = round(30 * options.seconds)
        images = [frames[i % len(frames)].image for i in range(count)]
        video = Path(folder) / "paced.mp4"
        write_video(video, images, (1920, 1080))
        flags = measuring.settings_flags(["source.live=true", *settings])
        summaries = measuring.run_streams([str(video)] * options.streams, *flags)
    numbers["streams"] = found = streams.row(summaries)
    print(
        f"{options.streams} streams 1920x1080, 30 frames/s each: {found['results_per_s']:.0f} "
        f"results/s, {found['dropped']:.2%} dropped; age p95 of the slowest "
        f"{found['age_p95_ms']:.0f} ms"
    )
    measuring.save(options.json, numbers)
    return 0


if __name__ == "__main__":
    measuring.start(main)
