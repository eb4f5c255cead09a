"""A source read on a thread: nothing lost of a file, the newest of a live source, no hang."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from pipeline import reader as reader_module
from pipeline.errors import SourceBroken
from pipeline.frames import Frame, VideoInfo
from pipeline.reader import FILE_CAPACITY, read_frames
from pipeline.sources import SourceConfig, open_source
from tests.pipeline import media

IMAGE = np.zeros((4, 4, 3), np.uint8)


class FakeSource:
    """Frames made on the spot.

    Args:
        count: How many; then it ends, or raises `error`.
        live: As a camera.
        interval_s: Time between two frames.
        losses: `dropped_before` of frames, by index.
        error: Raised at the end.
        gate: Awaited before each frame, as a camera that does not answer.
    """

    def __init__(
        self,
        count: int,
        *,
        live: bool = False,
        interval_s: float = 0.0,
        losses: dict[int, int] | None = None,
        error: Exception | None = None,
        gate: threading.Event | None = None,
    ) -> None:
        self.info = VideoInfo("fake", 4, 4, is_live=live)
        self.made = 0
        self.closed = False
        self._count = count
        self._interval_s = interval_s
        self._losses = losses or {}
        self._error = error
        self._gate = gate

    def __iter__(self) -> Iterator[Frame]:
        for i in range(self._count):
            if self._gate is not None:
                self._gate.wait()
            if self.closed:
                return
            time.sleep(self._interval_s)
            self.made += 1
            yield Frame(i, i / 25, IMAGE, time.perf_counter(), self._losses.get(i, 0))
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_file_loses_no_frame_however_slow_the_consumer() -> None:
    source = FakeSource(20, losses={3: 2})
    with read_frames(source) as frames:
        got = []
        for frame in frames:
            time.sleep(0.005)
            got.append(frame)
    assert [frame.index for frame in got] == list(range(20))
    assert {frame.index: frame.dropped_before for frame in got if frame.dropped_before} == {3: 2}
    assert source.closed


def test_the_thread_runs_ahead_only_so_far() -> None:
    source = FakeSource(50)
    with read_frames(source) as frames:
        next(iter(frames))
        time.sleep(0.1)
        assert source.made <= FILE_CAPACITY + 2


def test_a_live_source_shows_the_newest_and_counts_the_rest() -> None:
    source = FakeSource(40, live=True, interval_s=0.005, losses={20: 7})
    got = []
    with read_frames(source) as frames:
        for frame in frames:
            time.sleep(0.03)
            got.append(frame)
    assert len(got) < 40
    assert got[-1].index == 39
    # Every frame is accounted for: handed on, dropped, or lost by the source.
    assert sum(frame.dropped_before for frame in got) == 40 - len(got) + 7


def test_errors_reach_the_consumer_after_the_last_good_frame() -> None:
    error = SourceBroken("gone")
    got = []
    with read_frames(FakeSource(5, error=error)) as frames:
        items = iter(frames)
        got += [next(items) for _ in range(5)]
        with pytest.raises(SourceBroken, match="gone") as caught:
            next(items)
    assert caught.value is error
    assert [frame.index for frame in got] == list(range(5))


def test_leaving_early_frees_the_thread() -> None:
    source = FakeSource(10_000)
    with read_frames(source) as frames:
        for frame in frames:
            if frame.index == 3:
                break
    assert "reader" not in threads()
    assert source.closed
    assert source.made < 20


def test_leaving_by_an_error_frees_the_thread() -> None:
    def consume() -> None:
        with read_frames(FakeSource(10_000)) as frames:
            for _ in frames:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    assert "reader" not in threads()


def test_closing_from_another_thread_ends_the_loop() -> None:
    gate = threading.Event()

    class Waiting(FakeSource):
        def close(self) -> None:
            super().close()
            gate.set()

    with read_frames(Waiting(5, gate=gate)) as frames:
        threading.Timer(0.1, frames.close).start()
        assert list(frames) == []
    assert "reader" not in threads()


def test_a_source_that_does_not_answer_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reader_module, "JOIN_TIMEOUT_S", 0.1)
    gate = threading.Event()
    start_s = time.perf_counter()
    with read_frames(FakeSource(5, gate=gate)):
        pass
    assert time.perf_counter() - start_s < 2
    assert "does not answer" in caplog.text
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "reader":  # the tests that follow look for such threads
            thread.join(10)


def test_closing_twice_and_without_reading() -> None:
    with read_frames(FakeSource(5)) as frames:
        pass
    frames.close()
    never_entered = read_frames(FakeSource(5))
    never_entered.close()
    assert "reader" not in threads()


def test_real_file(tmp_path: Path) -> None:
    path = media.write(tmp_path / "a.mp4", media.plain(20))
    with read_frames(open_source(SourceConfig(source=str(path)))) as frames:
        assert frames.info.frame_count == 20
        got = []
        for frame in frames:
            assert 0 <= time.perf_counter() - frame.captured_s < 30
            got.append(media.number(frame))
    assert got == list(range(20))


def test_real_file_played_live(tmp_path: Path) -> None:
    path = media.write(tmp_path / "a.mp4", media.plain(26))
    config = SourceConfig(source=str(path), live=True)
    got = []
    with read_frames(open_source(config)) as frames:
        for frame in frames:
            time.sleep(0.1)  # 10 a second of 25
            got.append(frame)
    assert 2 <= len(got) < 26
    assert got[-1].index == 25
    assert sum(frame.dropped_before for frame in got) == 26 - len(got)
    assert all(frame.index == media.number(frame) for frame in got)


def test_leaving_a_file_played_live_does_not_wait_for_its_end(tmp_path: Path) -> None:
    slow = media.write(tmp_path / "a.mp4", media.plain(9), rate=1)
    start_s = time.perf_counter()
    with read_frames(open_source(SourceConfig(source=str(slow), live=True))) as frames:
        next(iter(frames))
    assert time.perf_counter() - start_s < 5
    assert "reader" not in threads()


def test_damaged_file_through_the_thread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    path = media.write(
        tmp_path / "a.avi",
        media.noisy(20),
        codec="mjpeg",
        pixel_format="yuvj420p",
        damage=media.spoil(7, 8),
    )
    with read_frames(open_source(SourceConfig(source=str(path)))) as frames:
        got = list(frames)
    assert [frame.dropped_before for frame in got] == [0] * 7 + [2] + [0] * 10
