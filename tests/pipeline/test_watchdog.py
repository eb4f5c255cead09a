"""Cameras that freeze or are unplugged: never a hang, clear words, complete files.

The camera is a named pipe with uncompressed video, opened as a camera: FFmpeg waits in the same
way for a pipe that nobody writes to as for a device that sends nothing, and cannot be woken.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.error
import pytest

from pipeline.errors import SourceBroken, SourceError
from pipeline.frames import Frame
from pipeline.reader import read_frames
from pipeline.run import main
from pipeline.sources import SourceConfig, open_source
from pipeline.sources.inputs import Input, Kind
from pipeline.sources.watchdog import Watchdog
from tests.fakes import ScriptedDetector
from tests.pipeline import media
from trackers.detections import Detections

WIDTH, HEIGHT = 64, 48


class PipeCamera:
    """A camera of 25 pictures a second; it can freeze and be unplugged."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._pipe = os.open(path, os.O_RDWR)  # nobody waits for the other end
        os.write(self._pipe, f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg\n".encode())

    def show(self, count: int) -> None:
        """Send the first `count` pictures of `media.plain`; ten fit into the pipe."""
        for n in range(count):
            luma = bytes([round(16 + media.grey(n) * 219 / 255)]) * (WIDTH * HEIGHT)
            os.write(self._pipe, b"FRAME\n" + luma + bytes([128]) * (WIDTH * HEIGHT // 2))

    def unplug(self) -> None:
        """Twice is once."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeCamera]:
    """What `webcam` opens."""
    camera = PipeCamera(tmp_path / "camera")
    url = f"file:{camera.path}"
    found = Input(Kind.CAMERA, "video0", "/dev/video0", url, "yuv4mpegpipe")
    monkeypatch.setattr("pipeline.sources.resolve", lambda config: found)
    yield camera
    camera.unplug()


def config(**settings: float) -> SourceConfig:
    return SourceConfig(source="webcam", read_timeout_s=0.5, **settings)  # type: ignore[arg-type]


def test_a_camera_that_freezes_breaks_off(camera: PipeCamera) -> None:
    camera.show(10)
    seen: list[Frame] = []
    with open_source(config(live=False)) as source:
        start_s = time.perf_counter()
        with pytest.raises(SourceBroken, match=r"'/dev/video0' broke off: it sent nothing more"):
            seen.extend(source)
    assert [media.number(frame) for frame in seen] == list(range(10))
    assert time.perf_counter() - start_s < 5


def test_a_camera_that_sends_nothing_cannot_be_opened(camera: PipeCamera) -> None:
    start_s = time.perf_counter()
    with pytest.raises(SourceError, match="it sends no picture; unplug it") as caught:
        open_source(config(open_timeout_s=0.5))
    assert not isinstance(caught.value, SourceBroken)
    assert time.perf_counter() - start_s < 5


def test_a_camera_that_is_unplugged_breaks_off(camera: PipeCamera) -> None:
    camera.show(10)
    with open_source(config(live=False)) as source:
        pictures = iter(source)
        next(pictures)
        camera.unplug()
        with pytest.raises(SourceBroken, match="it was unplugged"):
            list(pictures)


def test_a_frozen_camera_can_be_left_at_any_moment(camera: PipeCamera) -> None:
    camera.show(3)
    start_s = time.perf_counter()
    with read_frames(open_source(SourceConfig(source="webcam", read_timeout_s=60))) as frames:
        next(iter(frames))
        threading.Timer(0.3, frames.close).start()
        list(frames)
    assert time.perf_counter() - start_s < 5
    assert "reader" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("how", ["frozen", "unplugged"])
def test_run_whose_camera_is_lost_leaves_complete_files(
    how: str,
    camera: PipeCamera,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def before(frame: object) -> None:
        if how == "unplugged":
            camera.unplug()

    nothing = Detections.empty((HEIGHT, WIDTH))
    detector = ScriptedDetector(lambda frame: nothing, before=before)
    monkeypatch.setattr("pipeline.run.open_detector", lambda _: detector)
    camera.show(10)
    arguments = ["--source", "webcam", "--output", str(tmp_path / "out"), "--view", "none"]
    settings = ["--set", "source.live=false", "--set", "source.read_timeout_s=0.5"]
    assert main([*arguments, *settings, "--save", "video,jsonl"]) == 3
    assert (
        f"broke off: it {'sent nothing' if how == 'frozen' else 'was'}" in capsys.readouterr().err
    )
    lines = (tmp_path / "out" / "tracks.jsonl").read_text(encoding="utf-8").splitlines()
    with av.open(str(tmp_path / "out" / "video.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(lines) == 10
    assert (
        json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["ended"]
        == "failed"
    )


# --- the watchdog alone ------------------------------------------------------------------------


@pytest.fixture
def closing() -> threading.Event:
    return threading.Event()


def test_calls_are_made_one_after_another_on_one_thread(closing: threading.Event) -> None:
    watchdog = Watchdog(closing)
    names = {watchdog.call(lambda: threading.current_thread().name, 5) for _ in range(3)}
    assert names == {"ffmpeg"}
    done: list[int] = []
    watchdog.finish(lambda: done.append(1))
    assert done == [1]


@pytest.mark.parametrize(
    "error", [StopIteration, ZeroDivisionError, TimeoutError, av.error.EOFError]
)
def test_errors_come_through(error: type[BaseException], closing: threading.Event) -> None:
    def fail() -> None:
        raise error(errno.EIO, "text") if error is av.error.EOFError else error("text")

    watchdog = Watchdog(closing)
    with pytest.raises(error):
        watchdog.call(fail, 5)
    watchdog.finish(lambda: None)


@pytest.mark.parametrize(
    ("limit_s", "close_after_s", "error"),
    [(0.5, 9.0, av.error.TimeoutError), (60.0, 0.2, av.error.ExitError)],
)
def test_a_call_that_hangs_is_left_behind(
    limit_s: float, close_after_s: float, error: type[Exception], closing: threading.Event
) -> None:
    hanging = threading.Event()
    order: list[str] = []
    timer = threading.Timer(close_after_s, closing.set)
    timer.start()
    watchdog = Watchdog(closing)
    start_s = time.perf_counter()
    with pytest.raises(error):
        watchdog.call(hanging.wait, limit_s)
    cleaned: Callable[[], None] = lambda: order.append("cleaned")  # noqa: E731
    watchdog.finish(cleaned)
    assert time.perf_counter() - start_s < 8
    assert order == []  # not while the call may still use what is cleaned up
    hanging.set()
    watchdog._thread.join(5)
    assert order == ["cleaned"]
    timer.cancel()
