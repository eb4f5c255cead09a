"""Several sources in one process: one detector, identities and outputs of their own."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from pipeline.arguments import parser, settings
from pipeline.detector import DetectorConfig
from pipeline.errors import InferenceError, Stopped
from pipeline.frames import Frame
from pipeline.run import main
from pipeline.streams import SharedDetectors, run_beside, settings_of_each
from tests import scenes
from tests.fakes import ScriptedDetector

ENDLESS = "lavfi:testsrc2=size=320x240:rate=25"


@pytest.fixture
def opened(monkeypatch) -> list[ScriptedDetector]:
    """The scripted detectors that runs have opened."""
    detectors: list[ScriptedDetector] = []

    def install(config: DetectorConfig) -> ScriptedDetector:
        detectors.append(ScriptedDetector())
        return detectors[-1]

    monkeypatch.setattr("pipeline.run.open_detector", install)
    return detectors


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> tuple[Path, Path]:
    """Two files of 320x240 at 25 frames a second: of 75 frames, and of 30."""
    folder = tmp_path_factory.mktemp("videos")
    long, short = scenes.parallel(), scenes.parallel(length=30)
    return long.write_video(folder / "long.mp4"), short.write_video(folder / "short.mp4")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in (folder / "tracks.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def sources(*paths: object) -> list[str]:
    return [word for path in paths for word in ("--source", str(path))]


def test_each_stream_has_its_own_identities_and_outputs(videos, tmp_path, opened, capsys):
    assert main([*sources(*videos), "--output", str(tmp_path), "--save", "jsonl,video"]) == 0
    for number, count in ((1, 75), (2, 30)):
        folder = tmp_path / f"stream-{number}"
        lines = lines_of(folder)
        assert [line["frame"] for line in lines] == list(range(count))
        assert {track["id"] for line in lines for track in line["tracks"]} == {1, 2}
        assert summary_of(folder)["frames_written"] == count
        assert (folder / "video.mp4").stat().st_size > 1000
    assert len(opened) == 1
    assert opened[0].closed
    assert opened[0].calls == 105
    said = capsys.readouterr().err
    assert "pipeline.run: stream 1: long 320x240, 25 frames/s; " in said
    assert "long: 75 frames read" in said
    assert "short: 30 frames read" in said


def test_without_a_folder_each_gets_one(videos, tmp_path, opened, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*sources(videos[1], videos[1]), "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["short-1", "short-2"]


def test_settings_of_each_stream_repeat_it_alone(videos, tmp_path, opened):
    together = tmp_path / "together"
    assert main([*sources(*videos), "--output", str(together), "--save", "mot", "--quiet"]) == 0
    config, alone = together / "stream-2" / "config.yaml", tmp_path / "alone"
    assert main(["--config", str(config), "--output", str(alone), "--quiet"]) == 0
    assert (alone / "mot.txt").read_text(encoding="utf-8") == (
        together / "stream-2" / "mot.txt"
    ).read_text(encoding="utf-8")


def test_a_stream_that_is_stopped_before_its_first_picture_is_no_error(caplog):
    def stopped() -> None:
        raise Stopped("stopped before the first picture")

    caplog.set_level("INFO")
    run_beside([stopped], lambda: None)
    assert [line.levelname for line in caplog.records] == ["INFO"]


def test_a_stream_that_fails_leaves_the_others_running(
    videos, tmp_path, opened, monkeypatch, capsys
):
    def detect(self: ScriptedDetector, frame: Frame) -> Any:
        if frame.width == 320:
            return real(self, frame)
        raise InferenceError("this size is too much")

    real = ScriptedDetector.detect
    monkeypatch.setattr(ScriptedDetector, "detect", detect)
    bad = "lavfi:testsrc2=size=640x480:rate=25:duration=1"
    arguments = [*sources(videos[0], bad, "nowhere.mp4"), "--output", str(tmp_path)]
    assert main(arguments) == 3
    assert len(lines_of(tmp_path / "stream-1")) == 75
    assert summary_of(tmp_path / "stream-1")["ended"] == "done"
    assert summary_of(tmp_path / "stream-2")["error"] == "this size is too much"
    assert not (tmp_path / "stream-3").exists()
    said = capsys.readouterr().err
    assert "pipeline.run: stream 2: this size is too much\n" in said
    assert "pipeline.run: stream 3: cannot open 'nowhere.mp4': no such file" in said
    assert "pipeline.run: stream 1: long 320x240, 25 frames/s; " in said
    assert "long: 75 frames read" in said


def test_when_all_fail_at_once_it_is_a_mistake(tmp_path, opened):
    assert main([*sources("a.mp4", "b.mp4"), "--output", str(tmp_path), "--quiet"]) == 2


def test_a_bug_keeps_its_traceback_after_the_others_end(videos, tmp_path, opened, monkeypatch):
    def update(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("pipeline.run.SortTracker.update", update)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main([*sources(*videos), "--output", str(tmp_path), "--quiet"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save", "jsonl:-"], "several sources cannot share a file"),
        (["--save", "video:out.mp4"], "several sources cannot share a file"),
        (["--view", "window"], "several sources cannot share a window"),
        (["--set", "output.web_port=65535"], "each of 2 sources has a port of its own, from 65535"),
    ],
)
def test_what_streams_cannot_share_is_a_mistake(arguments, message, videos, capsys):
    assert main([*sources(*videos), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_web_pages_have_ports_of_their_own(videos):
    config = settings(parser().parse_args(["--view", "web"]))
    each = settings_of_each(config, ["a", "b"])
    assert [one.output.web_port for one in each] == [8000, 8001]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_streams(number, tmp_path):
    command = [sys.executable, "-m", "tests.scripted_run", "0.01"]
    command += [*sources(ENDLESS, ENDLESS), "--output", str(tmp_path), "--save", "jsonl"]
    root = Path(__file__).resolve().parents[2]
    with Popen(command, cwd=root, stderr=PIPE, encoding="utf-8") as process:
        try:
            assert process.stderr is not None
            fives = 0
            while fives < 2:
                line = process.stderr.readline()
                assert line, "the run has ended"
                fives += "five" in line
            process.send_signal(number)
            _, error = process.communicate(timeout=100)
        finally:
            process.kill()
    assert process.returncode == 0, error
    for folder in (tmp_path / "stream-1", tmp_path / "stream-2"):
        lines = lines_of(folder)
        assert len(lines) >= 5
        assert summary_of(folder)["ended"] == "stopped"
        assert summary_of(folder)["frames_written"] == len(lines)


# The shared detector.


def test_streams_take_turns_on_the_threads_of_one_detector():
    lock, together, most = threading.Lock(), 0, 0

    def before(frame: Frame) -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.002)
        with lock:
            together -= 1

    inner = ScriptedDetector(before=before, concurrency=2)
    frames = list(scenes.parallel(length=10).frames())
    with SharedDetectors(lambda _: inner) as detectors:
        lent = [detectors.open(DetectorConfig()) for _ in range(4)]
        assert lent[0].concurrency == 2
        threads = [
            threading.Thread(target=lambda one=one: [one.detect(frame) for frame in frames])
            for one in lent
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with lent[0]:
            pass
        assert not inner.closed
    assert inner.closed
    assert inner.calls == 40
    assert most == 2


@pytest.mark.parametrize(("threads", "each"), [(1, 1), (2, 2), (8, 2), (12, 3)])
def test_streams_share_the_threads_and_make_a_batch(threads, each):
    opened = []

    def install(config: DetectorConfig) -> ScriptedDetector:
        opened.append(config.batch)
        return ScriptedDetector(concurrency=threads)

    with SharedDetectors(install, streams=4) as detectors:
        for batch in (1, 8):  # of a live source, and of a file
            assert detectors.open(DetectorConfig(batch=batch)).concurrency == each
    assert opened == [4]


def test_other_settings_open_another_detector():
    opened = []

    def install(config: DetectorConfig) -> ScriptedDetector:
        opened.append(config.sizes_px)
        return ScriptedDetector()

    with SharedDetectors(install) as detectors:
        for size_px in (512, 384, 512):
            detectors.open(DetectorConfig(sizes_px=(size_px,)))
    assert opened == [(512,), (384,)]
