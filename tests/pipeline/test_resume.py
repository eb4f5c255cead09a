"""`--resume`: what was interrupted ends as if it had not been."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

import configs
import pipeline.resume
from deepmask.checkpoint import find_weights
from pipeline.arguments import parser, settings_of
from pipeline.errors import InferenceError, SinkError
from pipeline.frames import Frame
from pipeline.run import main
from pipeline.sinks.video import VideoSink
from pipeline.sources import SourceConfig
from pipeline.stats import RunStats
from tests import scenes
from tests.fakes import ScriptedDetector
from tests.pipeline.media import write

ALL = "video,jsonl,mot,mots,csv,coco,parquet,cutouts"
GRAPH = "lavfi:testsrc2=size=320x240:rate=25"


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    monkeypatch.setattr(pipeline.resume, "STEP", 10)


@pytest.fixture
def scripted(monkeypatch) -> Callable[..., ScriptedDetector]:
    """Makes a scripted detector the one that a run opens."""

    def install(**arguments: Any) -> ScriptedDetector:
        detector = ScriptedDetector(**arguments)
        monkeypatch.setattr("pipeline.run.open_detector", lambda config: detector)
        return detector

    return install


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """75 frames of `scenes.parallel()` at about 25 a second, 320x240."""
    scene = scenes.parallel()
    images = [scene.image(i) for i in range(75)]
    stamps = [40 * i + (7 * i * i) % 25 for i in range(75)]
    path = tmp_path_factory.mktemp("video") / "parallel.mp4"
    return write(path, images, stamps=stamps, time_base=Fraction(1, 1000))


def decoded(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        pictures = container.decode(video=0)
        return [(one.time, one.to_ndarray(format="yuv420p").tobytes()) for one in pictures]


def lines(path: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) | {"latency_ms": 0, "captured": ""}
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def assert_same(folder: Path, whole: Path) -> None:
    """All that two runs have written is the same, but for measured times."""
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in whole.iterdir()}
    for name in ("mot.txt", "mots.txt", "tracks.csv", "coco.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert lines(folder / "tracks.jsonl") == lines(whole / "tracks.jsonl")
    assert decoded(folder / "video.mp4") == decoded(whole / "video.mp4")
    assert (folder / "video.mp4").read_bytes() == (whole / "video.mp4").read_bytes()
    tables = [pq.read_table(one / "tracks.parquet") for one in (folder, whole)]
    assert tables[0].equals(tables[1])
    pictures = [
        {str(path.relative_to(one)): path.read_bytes() for path in one.rglob("*.png")}
        for one in (folder, whole)
    ]
    assert pictures[0] == pictures[1]
    counts = [
        json.loads((one / "summary.json").read_text(encoding="utf-8")) for one in (folder, whole)
    ]
    for key in ("ended", "frames_read", "frames_inferred", "frames_written", "tracks", "source_s"):
        assert counts[0][key] == counts[1][key], key


def run(source: object, folder: Path, *more: str) -> int:
    save = () if "--save" in more else ("--save", ALL)
    return main(["--source", str(source), "--output", str(folder), *save, *more])


def half_written(_: str, names: list[str]) -> list[str]:
    """Files that get their name when they are whole, and may have got it before they are copied."""
    return [n for n in names if n[0] == "." and n.endswith((".png", ".parquet", ".npz.part"))]


def killed(source: object, folder: Path, at: int, scripted: Callable[..., Any], *more: str) -> None:
    """Leaves in `folder` what lies on the disk while frame `at` is looked at."""

    def before(frame: Frame) -> None:
        if frame.index == at:
            shutil.copytree(folder.with_name("running"), folder, ignore=half_written)

    scripted(before=before)
    assert run(source, folder.with_name("running"), *more) == 0


@pytest.mark.parametrize("at", [3, 25, 57, 74])
def test_a_killed_run_is_continued_and_ends_as_if_it_had_not_been(at, video, tmp_path, scripted):
    killed(video, tmp_path / "killed", at, scripted)
    detector = scripted()
    assert main(["--resume", str(tmp_path / "killed")]) == 0
    assert detector.calls <= 75 - at + 30
    assert_same(tmp_path / "killed", tmp_path / "running")


def test_a_run_that_failed_is_continued_too(video, tmp_path, scripted, capsys):
    def before(frame: Frame) -> None:
        if frame.index == 48:
            raise InferenceError("out of memory")

    scripted(before=before)
    assert run(video, tmp_path / "failed") == 3
    detector = scripted()
    assert main(["--resume", str(tmp_path / "failed")]) == 0
    assert detector.calls == 75 - 40
    scripted()
    assert run(video, tmp_path / "whole") == 0
    assert_same(tmp_path / "failed", tmp_path / "whole")
    assert main(["--resume", str(tmp_path / "failed")]) == 2  # it is finished
    assert "nothing to resume" in capsys.readouterr().err


def test_a_run_is_continued_twice(video, tmp_path, scripted):
    killed(video, tmp_path / "killed", 35, scripted)
    folder = tmp_path / "killed"

    def before(frame: Frame) -> None:
        if frame.index == 35:  # counted from the place where it goes on
            shutil.copytree(folder, tmp_path / "again", ignore=half_written)

    scripted(before=before)
    assert main(["--resume", str(folder)]) == 0
    scripted()
    assert main(["--resume", str(tmp_path / "again")]) == 0
    assert_same(tmp_path / "again", tmp_path / "running")


def test_a_source_that_cannot_seek_is_read_from_its_start(tmp_path, scripted):
    part = ["--duration", "2", "--start", "0.2"]
    killed(GRAPH, tmp_path / "killed", 35, scripted, *part)
    scripted()
    assert main(["--resume", str(tmp_path / "killed")]) == 0
    assert_same(tmp_path / "killed", tmp_path / "running")


def test_part_of_a_file_and_left_out_frames_are_continued(video, tmp_path, scripted):
    more = ["--start", "0.5", "--duration", "2", "--set", "detector.interval=3"]
    killed(video, tmp_path / "killed", 42, scripted, *more)
    scripted()
    assert main(["--resume", str(tmp_path / "killed")]) == 0
    assert_same(tmp_path / "killed", tmp_path / "running")


def test_progress_of_a_continued_run_counts_the_whole(video, tmp_path, scripted):
    killed(video, tmp_path / "killed", 57, scripted, "--start", "0.4")
    config = SourceConfig(source=str(video), start_s=0.4)
    place = pipeline.resume.load_place(tmp_path / "killed")
    infos = []
    for begin in (None, place):
        source = pipeline.resume.open_after(config, begin, RunStats())
        with pipeline.resume.frames_after(source, begin) as (_, frames):
            infos.append(source.info)
            first = next(frames).index
    assert place is not None
    assert first == place.frame + 1
    assert infos[0].frame_count == pytest.approx(infos[1].frame_count, abs=1)
    assert infos[0].duration_s == pytest.approx(infos[1].duration_s)


def test_resume_of_another_file_is_a_mistake_and_leaves_the_outputs(
    video, tmp_path, scripted, capsys
):
    source = tmp_path / "clip.mp4"
    shutil.copy(video, source)
    killed(source, tmp_path / "killed", 57, scripted)
    write(source, [np.full((240, 320, 3), 9, np.uint8)] * 75)
    before = (tmp_path / "killed" / "tracks.jsonl").read_bytes()
    scripted()
    assert main(["--resume", str(tmp_path / "killed"), "--quiet"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == "pipeline.run: cannot resume: clip is not what it was when the run began"
    assert (tmp_path / "killed" / "tracks.jsonl").read_bytes() == before


def test_resume_with_outputs_that_were_changed_is_one_line(video, tmp_path, scripted, capsys):
    killed(video, tmp_path / "killed", 57, scripted, "--save", "coco,mot")
    path = tmp_path / "killed" / "mot.txt"
    whole = path.read_bytes()
    path.write_text("", encoding="utf-8")
    scripted()
    assert main(["--resume", str(tmp_path / "killed"), "--quiet"]) == 2
    assert "has become shorter since the run broke off" in capsys.readouterr().err
    path.write_bytes(whole)
    assert main(["--resume", str(tmp_path / "killed"), "--quiet"]) == 0


@pytest.mark.parametrize("order", ["video,coco", "coco,video"])
@pytest.mark.parametrize("end", ["killed", "failed"])
def test_a_run_that_ends_while_its_outputs_are_closed_is_continued(
    order, end, video, tmp_path, scripted, monkeypatch
):
    folder = tmp_path / "running"

    def close(sink: VideoSink) -> None:
        if end == "failed":
            raise SinkError("disk full")
        shutil.copytree(folder, tmp_path / "killed")

    with monkeypatch.context() as patched:
        patched.setattr(VideoSink, "_index_first", close)
        scripted()
        assert run(video, folder, "--save", order) == (3 if end == "failed" else 0)
    folder = folder if end == "failed" else tmp_path / "killed"
    scripted()
    assert main(["--resume", str(folder), "--quiet"]) == 0
    scripted()
    assert run(video, tmp_path / "whole", "--save", order) == 0
    names = ["coco.json", "config.yaml", "summary.json", "video.mp4"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in ("coco.json", "video.mp4"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resume_of_nothing_and_with_other_settings_are_mistakes(video, tmp_path, scripted, capsys):
    scripted()
    assert main(["--resume", str(tmp_path), "--quiet"]) == 2
    assert "no config.yaml there" in capsys.readouterr().err
    assert run(video, tmp_path / "live", "--set", "source.live=true", "--view", "none") == 0
    arguments = ["--resume", str(tmp_path / "live"), "--source", "other.mp4", "--quiet"]
    assert main(arguments) == 2
    assert "leave out --source" in capsys.readouterr().err
    assert main(["--resume", str(tmp_path / "live"), "--quiet"]) == 2
    assert "nothing to resume" in capsys.readouterr().err


def test_the_password_of_an_address_is_given_again(video, tmp_path, scripted, capsys):
    killed(video, tmp_path / "killed", 57, scripted)
    settings = tmp_path / "killed" / "config.yaml"
    text = settings.read_text(encoding="utf-8")
    assert str(video) in text
    settings.write_text(text.replace(str(video), "http://h/a.mp4?token=***"), encoding="utf-8")
    again = ["--resume", str(tmp_path / "killed"), "--source"]
    asked = settings_of(parser().parse_args([*again, "http://u:p@h/a.mp4?token=s3cret"]))
    assert asked.source.source == "http://u:p@h/a.mp4?token=s3cret"
    for other in ("http://h/b.mp4?token=s3cret", "a.mp4"):
        with pytest.raises(configs.ConfigError, match="leave out --source"):
            settings_of(parser().parse_args([*again, other]))


def test_a_run_of_another_version_is_not_continued(video, tmp_path, scripted, monkeypatch, capsys):
    killed(video, tmp_path / "killed", 57, scripted)
    monkeypatch.setattr("pipeline.resume.FORMAT", 99)
    scripted()
    assert main(["--resume", str(tmp_path / "killed"), "--quiet"]) == 2
    assert "another version of this program began the run" in capsys.readouterr().err


def test_resume_works_from_another_folder(video, tmp_path, scripted, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "clip.mp4").symlink_to(video)
    shutil.copy(find_weights("deepmask-lite0"), "own.safetensors")
    cv2.imwrite("mask.png", np.full((240, 320), 255, np.uint8))
    paths = {
        "source.region": "mask.png",
        "render.picture": "mask.png",
        "detector.weights": "own.safetensors",
    }
    more = [word for path in paths.items() for word in ("--set", "=".join(path))]
    killed(Path("clip.mp4"), Path("out"), 57, scripted, *more)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pipeline.run.open_detector", lambda c: find_weights(c.weights) and ScriptedDetector()
    )
    assert main(["--resume", "here/out", "--quiet"]) == 0
    assert main(["--config", "here/out/config.yaml", "--quiet"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]  # where the run was, too
