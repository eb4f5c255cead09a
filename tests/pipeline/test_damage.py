"""Files damaged at random, through the whole run: no hang, no traceback, a known exit code.

The damage is the same each time. To look further: DAMAGED_FILES=1000.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.frames import Frame
from pipeline.run import main
from tests.fakes import ScriptedDetector, boxes_of, discs
from tests.pipeline import media
from trackers.detections import Detections

COUNT = int(os.environ.get("DAMAGED_FILES", "8"))
"""Of each kind of file."""

Maker = Callable[[Path], object]


def written(file: str, **how: object) -> Maker:
    return lambda folder: media.write(folder / file, media.noisy(12), **how)  # type: ignore[arg-type]


def animated_webp(folder: Path) -> None:
    animation: Any = cv2.Animation()
    animation.frames = [cv2.cvtColor(image, cv2.COLOR_RGB2BGRA) for image in media.noisy(12)]
    animation.durations = np.full(12, 40)
    cv2.imwriteanimation(str(folder / "a.webp"), animation)


FILES: dict[str, Maker] = {
    "a.mp4": written("a.mp4"),
    "faststart.mp4": written("faststart.mp4", container_options={"movflags": "faststart"}),
    "pieces.mp4": written("pieces.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "a.mkv": written("a.mkv"),
    "a.avi": written("a.avi", codec="mpeg4"),
    "mjpeg.avi": written("mjpeg.avi", codec="mjpeg", pixel_format="yuvj420p"),
    "a.ts": written("a.ts"),
    "a.mpg": written("a.mpg", codec="mpeg2video"),
    "a.gif": written("a.gif", codec="gif", pixel_format="gray"),
    "a.webp": animated_webp,
}


def cut(content: bytearray, rng: random.Random) -> bytearray:
    return content[: rng.randrange(1, len(content))]


def flipped(content: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 3, 10, 100))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def beheaded(content: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 5, 20))):
        content[rng.randrange(min(400, len(content)))] = rng.randrange(256)
    return content


def holed(content: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice((4, 64, 1000)))
    content[start:end] = bytes(end - start)
    return content


def one_object(frame: Frame) -> Detections:
    """Of whatever size the frame is."""
    masks = discs((frame.height, frame.width), [(frame.width / 2, frame.height / 2)], 9)
    return Detections(boxes_of(masks), np.array([0.9], np.float32), masks)


@pytest.mark.parametrize("name", FILES)
def test_damaged_file(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pipeline.run.open_detector", lambda _: ScriptedDetector(one_object))
    FILES[name](tmp_path)
    whole = (tmp_path / name).read_bytes()
    rng = random.Random(name)
    for n in range(COUNT):
        damage = (cut, flipped, beheaded, holed)[n % 4]
        path = tmp_path / f"{n}-{name}"
        path.write_bytes(damage(bytearray(whole), rng))
        part = rng.choice(([], ["--start", "0.2"], ["--duration", "0.3"]))
        output = tmp_path / f"out{n}"
        arguments = ["--source", str(path), "--output", str(output), "--save", "video,jsonl"]
        start_s = time.perf_counter()
        code = main([*arguments, "--quiet", *part])
        said = capfd.readouterr().err
        assert code in (0, 2, 3), path
        assert time.perf_counter() - start_s < 30, path
        assert "Traceback" not in said, path
        if code == 2:
            assert said.startswith("pipeline.run: "), said
            assert said.count("\n") == 1, said
        else:
            assert_outputs_match(output)


def assert_outputs_match(folder: Path) -> None:
    """As many pictures as lines, and all of them readable."""
    lines = (folder / "tracks.jsonl").read_text(encoding="utf-8").splitlines()
    with av.open(str(folder / "video.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(lines) > 0


def test_the_damage_is_the_same_each_time() -> None:
    whole = bytes(range(256)) * 4
    for damage in (cut, flipped, beheaded, holed):
        once = functools.partial(damage, bytearray(whole))
        assert once(random.Random(1)) == damage(bytearray(whole), random.Random(1)) != whole
