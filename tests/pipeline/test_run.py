"""The whole run, with a scripted detector: outputs, stopping, breaking off, mistakes."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen
from types import SimpleNamespace
from typing import Any

import av
import av.device
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import configs
import pipeline
from pipeline.arguments import parser, settings
from pipeline.detector import DetectorConfig
from pipeline.errors import InferenceError, SourceBroken, SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.record import without_secrets
from pipeline.run import main, work_steadily
from pipeline.sources import SourceConfig, open_source
from pipeline.stats import RunStats
from tests import scenes
from tests.fakes import ScriptedDetector
from tests.pipeline import media
from trackers.detections import Detections
from trackers.motchallenge import read_mot, read_mots

ALL = "video,jsonl,mot,mots,csv"


@pytest.fixture
def scripted(monkeypatch) -> Callable[..., ScriptedDetector]:
    """Makes a scripted detector the one that a run opens."""

    def install(**arguments: Any) -> ScriptedDetector:
        detector = ScriptedDetector(**arguments)
        monkeypatch.setattr("pipeline.run.open_detector", lambda config: detector)
        monkeypatch.setattr("pipeline.detector.open_detector", lambda config: detector)
        return detector

    return install


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """`scenes.parallel()` as a file: 320x240, 75 frames, 25 a second."""
    return scenes.parallel().write_video(tmp_path_factory.mktemp("video") / "parallel.mp4")


ENDLESS = "lavfi:testsrc2=size=320x240:rate=25"


def decoded(path: Path) -> list[float]:
    """Times of the frames of a video that can be decoded."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def whole_lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return text.splitlines()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(path)]


# A whole run.


def test_all_outputs_hold_every_frame(video, tmp_path, scripted, capsys):
    detector = scripted()
    code = main(["--source", str(video), "--output", str(tmp_path), "--save", ALL])
    assert code == 0
    assert detector.closed
    lines = lines_of(tmp_path / "tracks.jsonl")
    assert [line["frame"] for line in lines] == list(range(75))
    times_s = decoded(tmp_path / "video.mp4")
    assert times_s == pytest.approx([line["time_s"] for line in lines], abs=1e-3)
    assert times_s == pytest.approx(decoded(video), abs=1e-3)
    shown = {track["id"] for line in lines for track in line["tracks"]}
    assert shown == {1, 2}
    assert set(read_mot(tmp_path / "mot.txt")[:, 0]) == set(range(1, 76))
    assert set(read_mots(tmp_path / "mots.txt")) == set(range(75))
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["ended"] == "done"
    assert [summary[f"frames_{what}"] for what in ("read", "inferred", "dropped", "written")] == [
        75, 75, 0, 75,
    ]  # fmt: skip
    assert set(summary["stages_ms"]) == {"read", "infer", "track", "draw", "write"}
    assert summary["tracks"] == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "75 frames read, 75 inferred, 0 dropped, 75 written; 2 tracks" in captured.err
    assert str(tmp_path / "video.mp4") in captured.err


def test_resolved_settings_lie_beside_the_outputs_and_repeat_the_run(video, tmp_path, scripted):
    scripted()
    arguments = ["--source", str(video), "--set", "tracker.lost_s=3", "--save", "mot"]
    assert main([*arguments, "--output", str(tmp_path / "a"), "--duration", "1"]) == 0
    written = tmp_path / "a" / "config.yaml"
    assert yaml.safe_load(written.read_text(encoding="utf-8"))["tracker"]["lost_s"] == 3
    scripted()
    assert main(["--config", str(written), "--output", str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / "mot.txt").read_text(encoding="utf-8") == (
        tmp_path / "b" / "mot.txt"
    ).read_text(encoding="utf-8")


def test_options_of_ffmpeg_are_kept_secret_and_asked_for_again(video, tmp_path, scripted, capsys):
    scripted()
    options = ["--set", "source.options={probesize: 1000000}"]
    arguments = ["--source", str(video), *options, "--save", "mot", "--quiet"]
    assert main([*arguments, "--output", str(tmp_path / "a")]) == 0
    written = str(tmp_path / "a" / "config.yaml")
    assert "1000000" not in Path(written).read_text(encoding="utf-8")
    again = ["--config", written, "--output", str(tmp_path / "b"), "--quiet"]
    assert main(again) == 2
    assert "the value of probesize is not kept with a run" in capsys.readouterr().err
    assert main(["--resume", str(tmp_path / "a")]) == 2
    assert "the value of probesize is not kept with a run" in capsys.readouterr().err
    scripted()
    assert main([*again, *options]) == 0
    with_others = ["--resume", str(tmp_path / "a"), *options, "--set", "tracker.lost_s=3"]
    assert main(with_others) == 2
    assert "leave out --set" in capsys.readouterr().err
    assert main(["--resume", str(tmp_path / "a"), *options]) == 2
    assert "source.options" not in capsys.readouterr().err


def test_settings_that_cannot_be_written_are_one_line(video, tmp_path, scripted, capsys):
    scripted()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.yaml").symlink_to("/dev/full")
    assert main(["--source", str(video), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "config.yaml': No space left on device" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["config.yaml", "summary.json"])
def test_files_of_others_are_not_replaced(name, video, tmp_path, scripted, capsys):
    scripted()
    (tmp_path / name).write_text("# mine\n", encoding="utf-8")
    arguments = ["--source", str(video), "--output", str(tmp_path), "--save", "csv"]
    assert main(arguments) == 2
    assert "that no run has written: choose another --output" in capsys.readouterr().err
    assert (tmp_path / name).read_text(encoding="utf-8") == "# mine\n"
    assert not (tmp_path / "tracks.csv").exists()


def test_two_runs_do_not_write_into_one_folder(video, tmp_path, scripted, capsys):
    scripted()
    arguments = ["--source", str(video), "--output", str(tmp_path), "--save", "csv"]
    fcntl = pytest.importorskip("fcntl")
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    assert main(arguments) == 2
    assert "another run writes to" in capsys.readouterr().err
    os.close(handle)
    assert main(arguments) == 0


@pytest.mark.parametrize("nothing", ["none", ""])
def test_nothing_is_saved_where_nothing_is_wanted(nothing, video, tmp_path, scripted, monkeypatch):
    scripted()
    monkeypatch.chdir(tmp_path)
    assert main(["--source", str(video), "--save", nothing, "--view", "none"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("deepmask-tracking ")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--sorce", "a.mp4"], "did you mean '--source'?"),
        (["--conf", "0.5"], "unrecognized arguments: --conf"),
        (["a.mp4"], "name each source with --source"),
        (["--source", "0"], "a camera is 'webcam:0'"),
        (["--save", "video:a.avi"], "AVI keeps no times"),
    ],
)
def test_what_users_of_other_programs_type_gets_a_hint(words, hint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code: int | str | None
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "settings", "error", "words"),
    [
        (["a.mp4", "b.mp4"], {}, TypeError, "takes one source, .* got list"),
        ("a.mp4", {"output": {"save": ["video"]}}, configs.ConfigError, "leave out 'output'"),
        ("a.mp4", {"render.style": "blur"}, configs.ConfigError, "leave out 'render.style'"),
    ],
)
def test_what_track_does_not_do_is_an_error(source, settings, error, words):
    with pytest.raises(error, match=words):
        next(pipeline.track(source, **settings))


def test_part_of_a_file(video, tmp_path, scripted):
    scripted()
    arguments = ["--source", str(video), "--output", str(tmp_path), "--start", "0:01"]
    assert main([*arguments, "--duration", "0.5"]) == 0
    times_s = [line["time_s"] for line in lines_of(tmp_path / "tracks.jsonl")]
    assert times_s == pytest.approx([1 + i / 25 for i in range(len(times_s))])
    assert len(times_s) in (12, 13)
    assert decoded(tmp_path / "video.mp4")[0] == 0


def with_sound(path: Path, codec: str = "aac", seconds: float = 3.0) -> Path:
    """A video of `seconds` with a beep at each full second."""
    rate = 48000
    time_s = np.arange(int(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 880 * time_s) * (time_s % 1 < 0.1)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        audio: Any = container.add_stream(codec, rate=rate, layout="mono")
        for i in range(int(seconds * 25)):
            image = np.full((240, 320, 3), 90, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            piece = wave[i * rate // 25 : (i + 1) * rate // 25].astype(np.float32)
            sound = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
            sound.sample_rate = rate
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def beeps_s(path: Path) -> list[float]:
    """When beeps begin in a file, to a tenth of a second."""
    with av.open(str(path)) as container:
        pieces = [(f.time or 0.0, f.to_ndarray()[0]) for f in container.decode(audio=0)]
    loud = {
        round(10 * (start_s + int((np.abs(piece) > 0.2).argmax()) / 48000))
        for start_s, piece in pieces
        if np.abs(piece).max() > 0.2
    }
    return [tenth / 10 for tenth in sorted(loud) if tenth - 1 not in loud]


@pytest.mark.parametrize(("start_s", "expected"), [(0.0, [0.0, 1.0, 2.0]), (0.4, [0.6, 1.6])])
def test_sound_of_a_file_is_kept_in_time(start_s, expected, tmp_path, scripted):
    source = with_sound(tmp_path / "beeps.mp4")
    scripted()
    arguments = ["--source", str(source), "--output", str(tmp_path), "--save", "video"]
    assert main([*arguments, "--start", str(start_s)]) == 0
    assert beeps_s(tmp_path / "video.mp4") == expected
    assert len(decoded(tmp_path / "video.mp4")) == 75 - round(start_s * 25)


def test_sound_of_a_recording_that_begins_in_the_middle_is_in_time(tmp_path, scripted):
    whole = with_sound(tmp_path / "whole.ts", "mp2", seconds=14.0)
    part = tmp_path / "part.ts"
    content = whole.read_bytes()
    part.write_bytes(content[len(content) // 188 // 10 * 188 :])
    origins = []
    for path in (whole, part):
        with open_source(SourceConfig(source=str(path))) as source:
            origins.append(source.info.origin_s)
    scripted()
    assert main(["--source", str(part), "--output", str(tmp_path), "--save", "video"]) == 0
    skipped_s = origins[1] - origins[0]
    assert skipped_s > 5  # the next key frame is far away
    wanted = [second - skipped_s for second in range(14) if second >= skipped_s]
    assert beeps_s(tmp_path / "video.mp4") == pytest.approx(wanted, abs=0.11)


def test_sound_is_that_of_the_source_and_of_no_other_file(tmp_path, monkeypatch, scripted):
    def nothing(frame):
        return Detections.empty((frame.height, frame.width))

    source = with_sound(tmp_path / "beeps.mp4", seconds=1.0)
    scripted(script=nothing)
    arguments = ["--output", str(tmp_path / "out"), "--save", "video", "--quiet"]
    assert main(["--source", source.as_uri(), *arguments]) == 0
    assert beeps_s(tmp_path / "out" / "video.mp4") == [0.0]
    monkeypatch.chdir(tmp_path)
    source.rename(tmp_path / "demo")
    scripted(script=nothing)
    assert main(["--source", "demo", "--duration", "0.2", *arguments]) == 0
    with av.open(str(tmp_path / "out" / "video.mp4")) as container:
        assert not container.streams.audio


def test_video_of_a_turned_source_is_upright(tmp_path, scripted):
    source = media.write(tmp_path / "turned.mp4", [media.corner()] * 5, rotation=90)
    scripted(script=lambda frame: Detections.empty((frame.height, frame.width)))
    assert main(["--source", str(source), "--output", str(tmp_path), "--save", "video"]) == 0
    shown, upright = pictures_of(tmp_path / "video.mp4")[0], next(pipeline.track(source))[0].image
    assert shown.shape == upright.shape == (64, 48, 3)
    assert np.abs(shown.astype(int) - upright).mean() <= 3


@pytest.mark.parametrize(
    ("matrix", "limited"),
    [(1, True), (6, True), (6, False)],
    ids=["BT.709", "BT.601", "full range"],
)
def test_untouched_pixels_keep_the_colours_of_the_source(matrix, limited, tmp_path, scripted):
    rows, cols = np.mgrid[:96, :128]
    image = np.stack([60 + cols, 40 + rows, 200 - (cols + rows) // 2], axis=2).astype(np.uint8)
    how = av.VideoFrame.from_ndarray(image, "rgb24").reformat(
        format="yuv420p", dst_colorspace=matrix, dst_color_range=1 if limited else 2
    )
    colour = {"colorspace": matrix, "color_range": 1 if limited else 2}
    source = media.write(tmp_path / "colours.mp4", [how] * 5, colour=colour, options={"crf": "1"})
    scripted(script=lambda frame: Detections.empty((frame.height, frame.width)))
    assert main(["--source", str(source), "--output", str(tmp_path), "--save", "video"]) == 0
    both = zip(pictures_of(tmp_path / "video.mp4"), pictures_of(source), strict=True)
    for shown, original in both:
        assert np.abs(original.astype(int) - image).mean() <= 2
        assert np.abs(shown.astype(int) - original).mean() <= 2


def pictures_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_sound_that_mp4_cannot_hold_is_left_out(tmp_path, scripted, capsys):
    source = with_sound(tmp_path / "beeps.mkv", codec="pcm_f32le")
    scripted()
    assert main(["--source", str(source), "--output", str(tmp_path), "--save", "video"]) == 0
    with av.open(str(tmp_path / "video.mp4")) as container:
        kept = len(container.streams.audio)
    assert kept == 1 or "the sound is left out" in capsys.readouterr().err
    assert len(decoded(tmp_path / "video.mp4")) == 75


def test_sound_that_is_not_copied_into_another_container_is_named(tmp_path, scripted, capsys):
    source = with_sound(tmp_path / "beeps.mp4", seconds=1.0)
    scripted()
    target = tmp_path / "out.mkv"
    assert main(["--source", str(source), "--save", f"video:{target}"]) == 0
    said = capsys.readouterr().err
    assert f"{target} is without sound, which is copied into .m4v, .mov, .mp4 only" in said


def test_in_frames_that_are_left_out_objects_are_carried(video, tmp_path, scripted):
    detector = scripted()
    arguments = ["--source", str(video), "--output", str(tmp_path), "--save", ALL]
    assert main([*arguments, "--set", "detector.interval=3"]) == 0
    assert detector.calls == 25
    lines = lines_of(tmp_path / "tracks.jsonl")
    states = [{track["state"] for track in line["tracks"]} for line in lines]
    assert states == [{"carried" if frame % 3 else "tracked"} for frame in range(75)]
    assert all([track["id"] for track in line["tracks"]] == [1, 2] for line in lines)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames_inferred"] == 25
    assert summary["frames_written"] == len(decoded(tmp_path / "video.mp4")) == 75


def test_auto_looks_at_every_frame_of_a_file(video, tmp_path, scripted):
    detector = scripted(before=lambda frame: time.sleep(0.005))
    arguments = ["--source", str(video), "--output", str(tmp_path), "--save", "mot"]
    assert main([*arguments, "--set", "detector.interval=auto"]) == 0
    assert detector.calls == 75


def test_quiet_says_nothing(video, tmp_path, scripted, capfd):
    scripted()
    assert main(["--source", str(video), "--output", str(tmp_path), "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_live_source_begins_when_the_detector_is_ready(video, tmp_path, scripted):
    detector, sizes = scripted(), []

    def prepare(size):
        time.sleep(0.3)
        sizes.append((size, detector.calls))

    detector.prepare = prepare
    arguments = ["--source", str(video), "--output", str(tmp_path), "--save", "jsonl"]
    assert main([*arguments, "--set", "source.live=true", "--view", "none"]) == 0
    assert sizes == [((240, 320), 0)]
    # Getting ready takes 7 frames' time. One or two may pass while the first is waited for.
    assert lines_of(tmp_path / "tracks.jsonl")[0]["frame"] < 5


def test_live_source_drops_what_nobody_waits_for(video, tmp_path, scripted):
    scripted(before=lambda frame: time.sleep(0.1))
    arguments = ["--source", str(video), "--output", str(tmp_path), "--save", ALL]
    assert main([*arguments, "--set", "source.live=true", "--view", "none"]) == 0
    lines = lines_of(tmp_path / "tracks.jsonl")
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert sum(line["dropped_before"] for line in lines) == summary["frames_dropped"] > 0
    assert summary["frames_inferred"] == summary["frames_written"] == len(lines) < 75
    assert decoded(tmp_path / "video.mp4") == pytest.approx(
        [line["time_s"] - lines[0]["time_s"] for line in lines], abs=1e-3
    )


def test_jsonl_on_standard_output_is_all_that_is_there(
    video, scripted, capfd, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    scripted()
    assert main(["--source", str(video), "--save", "jsonl:-", "--view", "none"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(lines) == 75
    assert list(tmp_path.iterdir()) == []


def test_passwords_are_in_no_output(tmp_path, scripted, capsys):
    scripted()
    address = "rtsp://user:secret@127.0.0.1:9/stream"
    assert main(["--source", address, "--output", str(tmp_path)]) == 2
    assert "secret" not in "".join(capsys.readouterr())
    config = settings(parser().parse_args(["--source", address]))
    options = dataclasses.replace(config.source, options={"headers": "secret"})
    hidden = without_secrets(dataclasses.replace(config, source=options))
    assert "secret" not in configs.dump(hidden)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "source=rtsp://user:s3cret@127.0.0.1:9/a"],
        ["--set", "source.start_s=rtsp://user:s3cret@127.0.0.1:9/a"],
        ["--source", "rtsp://user:s3/cr#et@127.0.0.1:9/a"],
        ["--source", "rtsp://user:s3cret@127.0.0.1:9/a?token=s3cret", "--start", "1"],
        ["--source", "http://127.0.0.1:9/a.m3u8?X-Amz-Signature=s3cret"],
        ["--source", "gopher2://user:s3cret@127.0.0.1:9/a"],
        ["--source", "file://user:s3cret@127.0.0.1/a"],
    ],
)
def test_passwords_are_in_no_message(arguments, tmp_path, scripted, capfd):
    scripted()
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    said = "".join(capfd.readouterr())
    assert said.startswith("pipeline.run: ")
    assert "s3" not in said
    assert list(tmp_path.iterdir()) == []


# The Python interface.


def test_track_gives_frames_and_tracks(video, scripted):
    detector = scripted()
    seen = list(pipeline.track(video, tracker={"lost_s": 3}))
    assert [frame.index for frame, _ in seen] == list(range(75))
    assert seen[-1][1].ids.tolist() == [1, 2]
    assert detector.closed


def test_track_leaves_out_frames(video, scripted):
    scripted()
    following = pipeline.track(video, detector={"interval": 2})
    coasting = [next(following)[1].coasting.tolist() for _ in range(4)]
    assert coasting == [[False, False], [True, True]] * 2


def test_track_of_a_live_source_waits_for_no_batch(video, monkeypatch):
    batches = []

    def install(config: DetectorConfig) -> ScriptedDetector:
        batches.append(config.batch)
        return ScriptedDetector()

    monkeypatch.setattr("pipeline.detector.open_detector", install)
    for live in (True, False):
        following = pipeline.track(video, source={"live": live}, detector={"batch": 8})
        next(following)
        following.close()
    assert batches == [1, 8]


def test_track_closes_with_its_generator(video, scripted):
    detector = scripted()
    following = pipeline.track(video)
    next(following)
    following.close()
    assert detector.closed
    assert detector.calls < 75


def test_track_takes_the_settings_of_the_source_as_a_dataclass(video, scripted):
    scripted()
    source = SourceConfig(start_s=0.4, duration_s=0.2)
    frames = [frame for frame, _ in pipeline.track(video, source=source)]
    assert frames[0].time_s == pytest.approx(0.4)
    assert frames[-1].time_s < 0.6


def test_track_names_wrong_settings(video):
    with pytest.raises(ValueError, match=r"unknown setting 'tracker.lst_s'; did you mean"):
        next(pipeline.track(video, tracker={"lst_s": 3}))


def test_source_that_cannot_be_opened_raises_for_python(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        next(pipeline.track(tmp_path / "nowhere.mp4"))


# Breaking off.


class Broken:
    """A source that breaks after some frames."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.info = VideoInfo("broken", 320, 240, is_live=False)

    def __iter__(self) -> Iterator[Frame]:
        yield from scenes.parallel(length=self._after).frames()
        raise SourceBroken("the stream was lost")

    def close(self) -> None: ...

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_source_that_breaks_off_leaves_complete_files(tmp_path, scripted, monkeypatch, capsys):
    scripted()
    monkeypatch.setattr("pipeline.resume.open_source", lambda config: Broken(after=20))
    assert main(["--source", "x", "--output", str(tmp_path), "--save", ALL]) == 3
    assert "pipeline.run: the stream was lost\n" in capsys.readouterr().err
    assert len(decoded(tmp_path / "video.mp4")) == len(lines_of(tmp_path / "tracks.jsonl")) == 20
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["error"]) == ("failed", "the stream was lost")
    assert summary["frames_written"] == 20


def test_source_that_breaks_at_once_is_a_mistake(tmp_path, scripted, monkeypatch):
    scripted()
    monkeypatch.setattr("pipeline.resume.open_source", lambda config: Broken(after=0))
    assert main(["--source", "x", "--output", str(tmp_path)]) == 2


def test_detector_that_fails_leaves_complete_files(video, tmp_path, scripted, capsys):
    def before(frame: Frame) -> None:
        if frame.index == 30:
            raise InferenceError("out of memory")

    scripted(before=before)
    assert main(["--source", str(video), "--output", str(tmp_path)]) == 3
    assert "pipeline.run: out of memory\n" in capsys.readouterr().err
    assert len(decoded(tmp_path / "video.mp4")) == len(lines_of(tmp_path / "tracks.jsonl")) == 30


def test_a_bug_keeps_its_traceback(video, tmp_path, scripted, monkeypatch):
    def update(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    scripted()
    monkeypatch.setattr("pipeline.run.SortTracker.update", update)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["--source", str(video), "--output", str(tmp_path)])


def test_full_disk_is_one_line_and_leaves_the_rest_valid(video, tmp_path, scripted, capsys):
    scripted()
    arguments = ["--source", str(video), "--output", str(tmp_path), "--view", "none"]
    assert main([*arguments, "--save", "video,jsonl,mot:/dev/full"]) == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if "pipeline.run" in line]
    assert errors[-1] == "pipeline.run: cannot write to '/dev/full': No space left on device"
    assert len(decoded(tmp_path / "video.mp4")) == len(lines_of(tmp_path / "tracks.jsonl"))


def test_a_summary_for_which_there_is_no_room_leaves_the_one_before(
    video, tmp_path, scripted, capsys
):
    scripted()
    arguments = ["--source", str(video), "--output", str(tmp_path), "--duration", "0.2"]
    assert main(arguments) == 0
    before = (tmp_path / "summary.json").read_bytes()
    (tmp_path / ".summary.json.part").symlink_to("/dev/full")
    assert main([*arguments, "--duration", "0.4"]) == 0
    assert "cannot write the summary: No space left on device" in capsys.readouterr().err
    assert (tmp_path / "summary.json").read_bytes() == before
    assert not (tmp_path / ".summary.json.part").is_symlink()


def test_save_may_be_given_more_than_once(video, tmp_path, scripted):
    scripted()
    arguments = ["--source", str(video), "--output", str(tmp_path), "--duration", "0.2"]
    assert main([*arguments, "--save", "jsonl", "--save", "mot,csv"]) == 0
    assert {"tracks.jsonl", "mot.txt", "tracks.csv"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_while_it_is_imported_says_nothing():
    command = [sys.executable, "-m", "pipeline.run", "--source", "demo", "--save", "jsonl:-"]
    with Popen(command, stdout=PIPE, stderr=PIPE) as started:
        maps = Path(f"/proc/{started.pid}/maps")
        while started.poll() is None and "numpy" not in maps.read_text(encoding="utf-8"):
            time.sleep(0.001)
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=60)
    assert b"Traceback" not in said
    assert started.returncode in (0, -signal.SIGINT)


def test_another_program_that_imports_this_keeps_its_ctrl_c(tmp_path):
    (tmp_path / "other").mkdir()
    # Who runs the tests may have had it ignored.
    before = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (tmp_path / "other" / "__init__.py").write_text(before + "import pipeline\n", encoding="utf-8")
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    (tmp_path / "other" / "main.py").write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(pipeline.__file__).parents[1]}"}
    command = [sys.executable, "-m", "other.main"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "nowhere.mp4"], "cannot open 'nowhere.mp4': no such file"),
        (["--source", "text.mp4"], "'text.mp4': FFmpeg finds no video or image in it"),
        (["--source", "empty.mp4"], "empty.mp4"),
        (["--source", "webcam:77"], "video77"),
        (["--config", "webcm"], "unknown preset 'webcm'; did you mean 'webcam'?"),
        (["--config", "mine.yaml"], "no such settings file: 'mine.yaml'"),
        (
            ["--set", "tracker.lst_s=3"],
            "unknown setting 'tracker.lst_s'; did you mean 'tracker.lost_s'?",
        ),
        (
            ["--set", "tracker.lost_s=long"],
            "'tracker.lost_s' should be a number, got the text 'long'",
        ),
        (
            ["--set", "detector.interval=0"],
            "detector.interval should be in [1, 1000], or auto, got 0",
        ),
        (
            ["--set", "detector.interval=often"],
            "'detector.interval' should be a whole number or 'auto'",
        ),
        (["--save", "vido"], "output.save: unknown format 'vido'; did you mean 'video'?"),
        (["--view", "windo"], "did you mean 'window'?"),
        (["--set", "render.strength=.nan"], "render.strength should be above 0, got nan"),
        (["--set", "render.scale=1e6"], "render.scale should be above 0, at most 100"),
        (["--set", "source.options={[a]: 1}"], "a key should be a plain word"),
        (["--source", "good.mp4", "--source", ""], "source.source should not be empty"),
        (["--source", "http://[::1"], "cannot open stream 'http://[::1'"),
        (["--set", "detector.threads=-3"], "detector.threads should be in [0, 1024], got -3"),
        (["--set", "detector.threads=99999999999999999999"], "should be in [0, 1024], got 9999"),
        (["--set", "detector.sizes_px=100000"], "sizes in [64, 4096] px, got (100000,)"),
        (["--set", "source.decoder_threads=100000"], "should be 0 to 64, got 100000"),
        (
            ["--set", "detector.proposals.max_count=0"],
            "detector.proposals.max_count should be 1 or more, got 0",
        ),
        (
            ["--set", "detector.proposals.min_score=40"],
            "detector.proposals.min_score should lie in [0, 1], got 40",
        ),
        (["--duration", "-1"], "source.duration_s should be above 0"),
        (["--nonsense"], "unrecognized arguments: --nonsense (see --help)"),
        (["--source", "good.mp4", "--save", "video:good.mp4"], "that is the source itself"),
        (["--source", "video.mp4", "--output", "."], "that is the source itself"),
        (["--source", "good.mp4", "--save", "jsonl:hard.mp4"], "that is the source itself"),
        (
            ["--source", "good.mp4", "--save", "jsonl:./a.txt,mot:a.txt"],
            "cannot write mot to 'a.txt': that is where jsonl goes",
        ),
        (["--source", "*/**.png"], "cannot open '*/**.png': Invalid pattern"),
        (["--source", "~nobody-here/a.mp4"], "cannot open '~nobody-here/a.mp4': no such file"),
        (["--source", "a" * 5000], "File name too long"),
        (["--set", "render.picture=" + "a" * 300], "render.picture should be black, white, "),
        (["--source", "good.mp4", "--set", "source.region=" + "a" * 300], "no such file"),
        (["--config", "a" * 300 + ".yaml"], "no such settings file"),
        (["--source", "good.mp4", "--output", "text.mp4/out"], "cannot write to the folder"),
        (["--source", "good.mp4", "--save", "jsonl:a/b/c.jsonl"], "there is no folder 'a/b'"),
        (["--source", "good.mp4", "--save", "jsonl:"], "'jsonl:' names no file"),
        (["--source", "good.mp4", "--save", "jsonl:."], "that is a folder"),
        (["--source", "good.mp4", "--save", "coco:/dev/full"], "that is no plain file"),
        (
            ["--source", "good.mp4", "--output", ".", "--save", "jsonl:config.yaml"],
            "that is where the settings go",
        ),
        (["--resume", "rtsp://user:s3cret@host/a"], "nothing to resume in 'rtsp://host/a'"),
        (["--resume", "a" * 300], "nothing to resume in"),
        (["rtsp://user:s3cret@host/a"], "unrecognized arguments: rtsp://host/a"),
        (["--source", "good.mp4", "--view", "window"], "cannot open a window: there is no display"),
    ],
)
def test_mistake_is_one_line_and_exit_code_2(
    arguments, message, video, tmp_path, monkeypatch, scripted, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    (tmp_path / "text.mp4").write_text("not a video\n" * 50, encoding="utf-8")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "good.mp4").symlink_to(video)
    (tmp_path / "video.mp4").symlink_to(video)
    (tmp_path / "hard.mp4").hardlink_to(video)
    before = video.read_bytes()
    scripted()
    code: object
    try:
        code = main([*arguments, "--quiet"])
    except SystemExit as exit_of_argparse:
        code = exit_of_argparse.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("pipeline.run: ")
    assert error.count("\n") == 1
    assert message in error
    assert video.read_bytes() == before


@pytest.mark.parametrize(
    "mistake",
    [
        ["--start", "99"],
        ["--view", "window"],
        ["--save", "video,cutouts,jsonl:none/x.jsonl"],
        ["--save", "video,parquet:mot.txt"],
        ["--save", "video,cutouts:mot.txt/all"],
        ["--save", "video,parquet"],
        ["--save", f"video,jsonl:{'a' * 300}"],
        ["--set", "render.picture=mot.txt", "--view", "none"],
    ],
    ids=[
        "past the end",
        "no screen",
        "no folder",
        "a file",
        "in a file",
        "no extra",
        "too long",
        "no picture",
    ],
)
def test_a_mistake_leaves_the_results_of_before(mistake, video, tmp_path, monkeypatch, scripted):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    scripted()
    here = ["--source", str(video), "--output", str(tmp_path), "--quiet"]
    wanted = ["--save", "video,jsonl,cutouts,mot", "--duration", "1"]
    assert main([*here, "--view", "none", *wanted]) == 0
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pipeline.sinks.parquet", raising=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([*here, *mistake]) == 2
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_help_names_the_presets_and_formats(capsys):
    with pytest.raises(SystemExit) as exited:
        main(["--help"])
    assert exited.value.code == 0
    text = capsys.readouterr().out
    for word in ("webcam", "--save", "mots", "--duration", "runs/"):
        assert word in text


def test_list_cameras(monkeypatch, capsys):
    known = [av.device.DeviceInfo("/dev/video2", "HD Webcam", False, ["video"])]
    monkeypatch.setattr(av.device, "enumerate_input_devices", lambda _: known)
    assert main(["--list-cameras"]) == 0
    assert capsys.readouterr() == ("/dev/video2\tHD Webcam\n", "")


def test_list_cameras_where_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(av.device, "enumerate_input_devices", lambda _: [])
    monkeypatch.setattr("pipeline.sources.cameras.Path.glob", lambda *_: [])
    assert main(["--list-cameras"]) == 0
    assert capsys.readouterr() == ("", "pipeline.run: there is no camera on this machine\n")


# Processes of their own: signals, kill -9, pipes.


@contextmanager
def started(*arguments: object, seconds: float = 0.01, **how: Any) -> Iterator[Popen[str]]:
    """A run as a process, ended with the block if it has not ended by itself."""
    command = [sys.executable, "-m", "tests.scripted_run", str(seconds), *map(str, arguments)]
    root = Path(__file__).resolve().parents[2]
    with Popen(command, cwd=root, stderr=PIPE, encoding="utf-8", **how) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_five(process: Popen[str]) -> None:
    """Until the fifth frame is in the detector."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if "five" in line:
            return
        said.append(line)
    raise AssertionError("".join(said))


def has_five_lines(path: Path) -> bool:
    return path.read_text(encoding="utf-8").count("\n") >= 5


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_files(number, tmp_path):
    with started("--source", ENDLESS, "--output", tmp_path, "--save", ALL) as process:
        wait_for_five(process)
        process.send_signal(number)
        _, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    lines = lines_of(tmp_path / "tracks.jsonl")
    assert len(decoded(tmp_path / "video.mp4")) == len(lines) >= 5
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["frames_written"]) == ("stopped", len(lines))
    assert "Traceback" not in error


def test_killed_run_leaves_a_playable_video_and_complete_lines(tmp_path):
    video = tmp_path / "video.mp4"
    with started("--source", ENDLESS, "--output", tmp_path, "--save", ALL) as process:
        wait_for_five(process)
        wait_until(lambda: video.stat().st_size > 50_000)
        for name in ("tracks.jsonl", "mot.txt", "mots.txt", "tracks.csv"):
            wait_until(partial(has_five_lines, tmp_path / name))
        time.sleep(random.random())
        process.kill()
        process.communicate()
    assert len(decoded(video)) >= 12
    assert len(lines_of(tmp_path / "tracks.jsonl")) >= 5
    for name in ("mot.txt", "mots.txt", "tracks.csv"):
        assert len(whole_lines(tmp_path / name)) >= 5


@pytest.mark.slow
def test_twenty_runs_killed_at_random_moments_leave_valid_files(tmp_path):
    arguments = ["--source", ENDLESS, "--view", "none", "--save", f"{ALL},parquet"]
    command = [sys.executable, "-m", "tests.killed_runs", "20", str(tmp_path), *arguments]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    pictures, lines = 0, dict.fromkeys(("mot.txt", "mots.txt", "tracks.csv"), 0)
    for folder in tmp_path.iterdir():
        count = len(lines_of(folder / "tracks.jsonl"))
        # A run killed as it begins may have none yet: each output writes on a thread of its own.
        for name in lines:
            lines[name] += len(whole_lines(folder / name))
        rows = pq.read_table(folder / "tracks.parquet", columns=["frame"])["frame"]
        # Lines are on the disk a second later at most: a hundred frames, and what waits for them.
        assert len(set(rows.to_pylist())) <= count + 130
        if (folder / "video.mp4").stat().st_size > 2000:  # a first fragment was there
            times_s = decoded(folder / "video.mp4")
            assert times_s == pytest.approx([i / 25 for i in range(len(times_s))], abs=1e-3)
            pictures += len(times_s)
    assert min(pictures, *lines.values()) > 100


def test_reader_of_standard_output_that_leaves_is_one_line():
    with started("--source", ENDLESS, "--save", "jsonl:-", "--quiet", stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()
        error = [line for line in process.stderr if line != "five\n"]
        assert process.wait(100) == 3
    assert error == ["pipeline.run: cannot write to standard output: its reader closed it\n"]


def test_reader_of_the_words_that_leaves_ends_no_run(video, tmp_path):
    with started("--source", video, "--output", tmp_path, "--view", "none") as process:
        wait_for_five(process)
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(timeout=60) == 0
    assert len(lines_of(tmp_path / "tracks.jsonl")) == 75
    assert len(decoded(tmp_path / "video.mp4")) == 75


def test_disk_that_fills_up_leaves_a_playable_video(tmp_path):
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    arguments = ["--source", ENDLESS, "--output", tmp_path, "--quiet"]
    with started(*arguments, seconds=0, preexec_fn=fill) as process:
        _, error = process.communicate(timeout=100)
    assert process.returncode == 3, error
    assert "cannot write" in error
    assert "Traceback" not in error
    assert len(decoded(tmp_path / "video.mp4")) > 0
    assert all(line["tracks"] for line in lines_of(tmp_path / "tracks.jsonl"))


def test_stopped_before_the_first_picture_leaves_what_was_there(
    video, tmp_path, scripted, monkeypatch, capsys
):
    (tmp_path / "tracks.jsonl").write_text("an earlier run's\n", encoding="utf-8")

    stats = RunStats()

    @contextmanager
    def shows_nothing(source, place):
        stats.stop()
        yield SimpleNamespace(close=lambda: None), iter(())

    monkeypatch.setattr("pipeline.run.frames_after", shows_nothing)
    monkeypatch.setattr("pipeline.run.RunStats", lambda: stats)
    assert main(["--source", str(video), "--output", str(tmp_path), "--save", "jsonl"]) == 0
    assert (tmp_path / "tracks.jsonl").read_text(encoding="utf-8") == "an earlier run's\n"
    assert "stopped before the first picture" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has this policy")
@pytest.mark.parametrize(("before", "after"), [("SCHED_OTHER", "SCHED_BATCH"), ("SCHED_IDLE",) * 2])
def test_steady_work_is_batch_unless_the_user_chose_another_policy(before, after):
    found = []

    def work() -> None:  # the policy is the thread's
        os.sched_setscheduler(0, getattr(os, before), os.sched_param(0))
        work_steadily()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [getattr(os, after)]
