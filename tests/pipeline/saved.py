"""Small results, saved by real sinks, and read back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.frames import Frame, VideoInfo
from pipeline.render import RenderConfig
from pipeline.sinks import OutputConfig, SinkContext, open_sinks, prepare
from pipeline.stats import RunStats
from tests.fakes import discs, tracks_of
from trackers.tracks import Tracks

SIZE = (96, 128)
INFO = VideoInfo("clip", SIZE[1], SIZE[0], is_live=False, rate=Fraction(25))
LIVE = dataclasses.replace(INFO, name="camera", is_live=True)


def context(info: VideoInfo = INFO, **output: Any) -> SinkContext:
    settings = OutputConfig(**({"view": "none"} | output))
    return SinkContext(info, settings, RenderConfig(), RunStats(), lambda: None)


def ramp(size: tuple[int, int] = SIZE, shift: int = 0) -> np.ndarray:
    """A picture of smooth colours, `(H, W, 3)`."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    channels = [(cols + shift) % 256, 40 + rows, 200 - (cols + rows) // 2]
    return np.stack(channels, axis=2).astype(np.uint8)


def results(times_s: Sequence[float], size: tuple[int, int] = SIZE) -> list[tuple[Frame, Tracks]]:
    """Frames at `times_s` with two objects, the second one coasting."""
    tracks = tracks_of(discs(size, [(40, 40), (80, 60)], 12), ids=[3, 8], coasting=[False, True])
    return [(Frame(i, t, ramp(size)), tracks) for i, t in enumerate(times_s)]


def save(
    folder: Path, wanted: str, what: list[tuple[Frame, Tracks]], info: VideoInfo = INFO
) -> SinkContext:
    run = context(info, directory=folder, save=tuple(wanted.split(",")))
    with open_sinks(prepare(run.output, info), run) as sinks:
        for frame, tracks in what:
            sinks.write(frame, tracks)
    return run


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
