"""Outputs: what is in them, and that it stays valid when something fails."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import SinkError
from pipeline.frames import Frame
from pipeline.render import Renderer
from pipeline.sinks import (
    FORMATS,
    SINKS,
    OutputConfig,
    Result,
    open_sinks,
    open_view,
    prepare,
    window,
)
from pipeline.sinks.base import Drawing, Receipts, Writer
from pipeline.sinks.coco import CocoSink
from pipeline.sinks.lines import LinesSink
from pipeline.sinks.web import WebSink
from pipeline.stats import RunStats
from tests.fakes import discs, tracks_of
from tests.pipeline.saved import INFO, LIVE, SIZE, context, decoded, lines_of, ramp, results, save
from trackers.motchallenge import read_mot, read_mots

# Text.


def test_every_format_has_a_sink():
    assert set(SINKS) == set(FORMATS)


def test_jsonl_holds_what_the_contract_says(tmp_path):
    what = results([0.0, 0.04])
    what[1] = (dataclasses.replace(what[1][0], index=3, dropped_before=2), what[1][1])
    save(tmp_path, "jsonl", what)
    first, second = lines_of(tmp_path / "tracks.jsonl")
    assert list(first) == [
        "frame", "time_s", "captured", "latency_ms", "dropped_before", "width", "height", "tracks",
    ]  # fmt: skip
    assert (second["frame"], second["time_s"], second["dropped_before"]) == (3, 0.04, 2)
    assert (first["width"], first["height"]) == (128, 96)
    tracked, coasting = first["tracks"]
    assert list(tracked) == ["id", "state", "score", "box", "mask", "velocity", "age_s"]
    assert (tracked["id"], tracked["state"], tracked["score"]) == (3, "tracked", 0.9)
    assert (coasting["id"], coasting["state"]) == (8, "coasting")
    assert tracked["box"] == what[0][1].boxes[0].tolist()
    assert what[0][1].masks is not None
    assert coasting["mask"] == what[0][1].masks.rle(1)


def test_jsonl_says_when_a_frame_was_captured(tmp_path):
    (first, tracks), (second, _) = results([0.0, 0.04])
    began = datetime.now(UTC)
    first = dataclasses.replace(first, captured_s=time.perf_counter())
    save(tmp_path, "jsonl", [(first, tracks), (second, tracks)])
    known, unknown = lines_of(tmp_path / "tracks.jsonl")
    captured = datetime.fromisoformat(known["captured"])
    assert abs(captured - began) < timedelta(seconds=5)
    assert captured.utcoffset() == timedelta(0)
    assert unknown["captured"] is None


def test_the_first_line_goes_out_at_once_however_many_frames_have_none(tmp_path):
    sink = LinesSink(
        tmp_path / "lines.txt",
        lambda result: [str(result.frame.index)] if result.frame.index >= 2 else [],
    )
    for frame, tracks in results([0.0, 0.04, 0.08, 0.12]):
        sink.write(Result(frame, tracks, 0.0))
    assert (tmp_path / "lines.txt").read_text(encoding="utf-8") == "2\n"
    sink.close()
    assert (tmp_path / "lines.txt").read_text(encoding="utf-8") == "2\n3\n"


def test_jsonl_of_boxes_only_and_of_nothing(tmp_path):
    (frame, tracks), (other, _) = results([0.0, 0.04])
    nothing = tracks_of(discs(SIZE, [], 3))
    save(tmp_path, "jsonl", [(frame, dataclasses.replace(tracks, masks=None)), (other, nothing)])
    first, second = lines_of(tmp_path / "tracks.jsonl")
    assert first["tracks"][0]["mask"] is None
    assert second["tracks"] == []


def test_mot_and_mots_read_back(tmp_path):
    save(tmp_path, "mot,mots", results([0.0, 0.04]))
    rows = read_mot(tmp_path / "mot.txt")
    assert rows[:, 0].tolist() == [1, 2]
    assert rows[:, 1].tolist() == [3, 3]  # the coasting one was not seen
    masks = read_mots(tmp_path / "mots.txt")
    assert sorted(masks) == [0, 1]
    assert masks[0][0].rle["size"] == [96, 128]


def test_csv_is_a_table(tmp_path):
    save(tmp_path, "csv", results([0.0, 0.04]))
    header, *rows = [
        line.split(",")
        for line in (tmp_path / "tracks.csv").read_text(encoding="utf-8").splitlines()
    ]
    assert header[:5] == ["frame", "time_s", "id", "state", "score"]
    assert [row[0] for row in rows] == ["0", "0", "1", "1"]
    assert {len(row) for row in rows} == {len(header)}


def test_coco_lists_each_object_over_all_frames(tmp_path):
    what = results([0.0, 0.04, 0.08])
    small = discs(SIZE, [(30, 30)], 5)
    what[1] = (what[1][0], tracks_of(small, ids=[11]))
    run = save(tmp_path, "coco", what)
    record = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))
    assert record["videos"][0]["length"] == 3
    first, second = record["annotations"]
    assert (first["id"], second["id"]) == (3, 11)  # 8 was never seen, only predicted
    assert [mask is None for mask in first["segmentations"]] == [False, True, False]
    assert what[0][1].masks is not None
    assert first["segmentations"][0] == what[0][1].masks.rle(0)
    assert first["bboxes"][2] == [28.0, 28.0, 25.0, 25.0]
    assert second["areas"][1] == small.areas()[0]
    assert {*tmp_path.iterdir()} - {*run.leftovers} == {tmp_path / "coco.json"}


class Full:
    """A file on a disk that is full: what is left to be written at its end is not."""

    def close(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_coco_that_cannot_be_written_says_so_whatever_else_fails(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    sink = CocoSink(tmp_path / "gone" / "coco.json", context())
    sink._file.close()
    monkeypatch.setattr(sink, "_file", Full())
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(SinkError, match=r"cannot write to .*coco\.json"):
        sink.close()


def test_mots_without_masks_says_so(tmp_path):
    frame, tracks = results([0.0])[0]
    with pytest.raises(SinkError, match="mots needs masks"):
        save(tmp_path, "mots", [(frame, dataclasses.replace(tracks, masks=None))])


def test_lines_go_out_within_a_second_though_nothing_follows(tmp_path):
    run = context(directory=tmp_path, save=("jsonl",))
    path = tmp_path / "tracks.jsonl"
    with open_sinks(prepare(run.output, INFO), run) as sinks:
        sinks.write(*results([0.0])[0])
        waited = threading.Event()
        for _ in range(100):
            if path.stat().st_size:
                break
            waited.wait(0.1)
        assert lines_of(path)[0]["frame"] == 0


# Video.


@pytest.mark.parametrize("size", [(96, 128), (97, 127), (33, 64), (2, 2)])
def test_video_has_every_frame_at_its_time(tmp_path, size):
    times_s = [0.0, 0.04, 0.08, 0.25, 0.27, 1.0, 1.04, 2.5]
    info = dataclasses.replace(INFO, width=size[1], height=size[0])
    save(tmp_path, "video", results(times_s, size), info)
    frames = decoded(tmp_path / "video.mp4")
    assert [time_s for time_s, _ in frames] == pytest.approx(times_s, abs=1e-4)
    assert frames[0][1].shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_video_keeps_the_time_base_of_the_source(tmp_path):
    info = dataclasses.replace(INFO, rate=Fraction(30000, 1001), time_base=Fraction(1, 30000))
    save(tmp_path, "video", results([i * 1001 / 30000 for i in range(40)]), info)
    with av.open(str(tmp_path / "video.mp4")) as container:
        stream = container.streams.video[0]
        ticks = [round(frame.time * 30000) for frame in container.decode(stream)]
        assert ticks == [1001 * i for i in range(40)]
        assert (container.duration or 0) / av.time_base == pytest.approx(
            40 * 1001 / 30000, abs=0.01
        )


def test_video_starts_at_zero_and_times_never_repeat(tmp_path):
    info = dataclasses.replace(INFO, time_base=Fraction(1, 25))
    save(tmp_path, "video", results([10.0, 10.01, 10.02, 10.12]), info)
    assert [round(time_s * 25) for time_s, _ in decoded(tmp_path / "video.mp4")] == [0, 1, 2, 3]


def test_video_shows_the_colours_of_the_source(tmp_path):
    nothing = tracks_of(discs(SIZE, [], 3))
    save(tmp_path, "video", [(Frame(i, i / 25, ramp(shift=i)), nothing) for i in range(10)])
    for i, (_, image) in enumerate(decoded(tmp_path / "video.mp4")):
        assert np.abs(image.astype(int) - ramp(shift=i)).mean() <= 2


def test_video_is_what_browsers_play(tmp_path):
    colour = {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 1}
    save(tmp_path, "video", results([0.0, 0.04]), dataclasses.replace(INFO, colour=colour))
    path = tmp_path / "video.mp4"
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.colorspace, codec.color_range) == (6, 1)  # BT.601, limited: as encoded
        assert (codec.color_primaries, codec.color_trc) == (1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data
    assert list(tmp_path.iterdir()) == [path]


def test_video_without_frames_leaves_no_broken_file(tmp_path):
    save(tmp_path, "video,jsonl", [])
    assert [path.name for path in tmp_path.iterdir()] == ["tracks.jsonl"]


def test_video_of_another_kind(tmp_path):
    save(tmp_path, f"video:{tmp_path / 'out.mkv'}", results([0.0, 0.5]))
    assert [time_s for time_s, _ in decoded(tmp_path / "out.mkv")] == [0.0, 0.5]


def test_video_without_h264_encoder_is_mpeg4_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    save(tmp_path, "video", results([0.0, 0.04]))
    assert "no H.264 encoder" in caplog.text
    assert len(decoded(tmp_path / "video.mp4")) == 2


# Where to.


def test_file_goes_to_a_new_numbered_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        outputs = prepare(OutputConfig(), INFO)
        assert outputs.folder == Path(f"runs/clip-{number}")
        assert [name for name, _ in outputs.files] == ["video", "jsonl"]


def test_live_source_is_only_viewed_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare(OutputConfig(), LIVE).files == ()
    assert not (tmp_path / "runs").exists()
    assert prepare(OutputConfig(save=("mot",)), LIVE).folder == Path("runs/camera-1")
    assert prepare(OutputConfig(directory=tmp_path / "out"), LIVE).folder == tmp_path / "out"


def test_targets_of_their_own_need_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = prepare(OutputConfig(save=("jsonl:-", "mot:a.txt")), INFO)
    assert outputs.folder is None
    assert outputs.files == (("jsonl", None), ("mot", Path("a.txt")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"save": ("jsnl",)}, "save: unknown format 'jsnl'; did you mean 'jsonl'?"),
        ({"save": ("video:-",)}, "video cannot go to standard output"),
        ({"save": ("mot:-", "jsonl:-")}, "only one output can go to standard output"),
        ({"view": "windw"}, "got 'windw'; did you mean 'window'?"),
        ({"video_crf": 90}, "video_crf should be in [0, 51]"),
        ({"video_preset": "quick"}, "video_preset should be one of ultrafast, superfast, "),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=".") as caught:
        OutputConfig(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (("jsonl", "jsonl"), r"cannot write jsonl to .*tracks\.jsonl': that is where jsonl goes"),
        (("mot:a.txt", "mots:a.txt"), "cannot write mots to 'a.txt': that is where mot goes"),
        (("mot:a.txt", "mots:./a.txt"), "that is where mot goes"),
    ],
)
def test_two_outputs_cannot_be_one_file(save, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError, match=message):
        prepare(OutputConfig(save=save), INFO)
    both = OutputConfig(save=("mot:/dev/null", "mots:/dev/null"))
    assert [path for _, path in prepare(both, INFO).files] == [Path("/dev/null")] * 2


def test_summary_lists_two_outputs_of_one_format(tmp_path):
    other = str(tmp_path / "all.jsonl")
    run = save(tmp_path, f"jsonl,mot,jsonl:{other}", results([0.0]))
    assert run.stats.summary().outputs == {
        "jsonl": str(tmp_path / "tracks.jsonl"),
        "mot": str(tmp_path / "mot.txt"),
        "jsonl-2": other,
    }


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"cannot write to the folder .* choose another"):
        prepare(OutputConfig(directory=tmp_path / "file" / "out"), INFO)


# Failures.


class Failing:
    """A sink that fails at the third result."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.closed = False

    def write(self, result: Result) -> None:
        if len(self.written) == 2:
            raise OSError("the third")
        self.written.append(result.frame.index)

    def flush(self) -> None:
        pass

    def mark(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.closed = True


def writer_of(sink: Any) -> Writer:
    return Writer("test", sink, Receipts(1, RunStats()))


def feed(write: Callable[[Result], None], count: int) -> None:
    for frame, tracks in results([i / 25 for i in range(count)]):
        write(Result(frame, tracks, 1.0))


def test_failure_reaches_the_one_who_writes():
    sink = Failing()
    writer = writer_of(sink)
    with pytest.raises(OSError, match="the third"):
        feed(writer.write, 1000)
    assert sink.closed
    assert sink.written == [0, 1]
    writer.close()  # tells once


def test_failure_in_the_last_results_reaches_the_one_who_closes():
    sink = Failing()
    writer = writer_of(sink)
    feed(writer.write, 3)
    with pytest.raises(OSError, match="the third"):
        writer.close()
    assert sink.closed


def test_one_failing_output_leaves_the_others_complete(tmp_path):
    with pytest.raises(SinkError, match="No space left on device"):
        save(tmp_path, "video,jsonl,mot:/dev/full", results([i / 25 for i in range(30)]))
    lines = lines_of(tmp_path / "tracks.jsonl")
    assert len(decoded(tmp_path / "video.mp4")) == len(lines) > 0


def test_unwritable_targets_are_known_before_the_first_frame(tmp_path):
    for target in (tmp_path, tmp_path / "nowhere" / "file.mp4"):
        for name in ("jsonl", "video"):
            with pytest.raises(SinkError, match="cannot write"):
                SINKS[name](target, context())


def test_counts_a_frame_as_written_when_all_outputs_were_handed_it(tmp_path):
    run = save(tmp_path, "video,jsonl,mot", results([i / 25 for i in range(12)]))
    assert run.stats.written == 12
    stages = run.stats.summary().stages_ms
    assert set(stages) == {"draw", "write"}


# The window.


def test_without_a_display_auto_goes_on_and_window_is_one_clear_line(monkeypatch, caplog):
    monkeypatch.delenv("DISPLAY", raising=False)
    caplog.set_level("INFO")
    assert window.open_window(context(view="auto")) is None
    assert "DISPLAY is not set" in caplog.text
    with pytest.raises(
        SinkError, match=r"cannot open a window: there is no display .* --view none"
    ):
        window.open_window(context(view="window"))
    assert window.open_window(context(view="none")) is None


@pytest.mark.parametrize("display", [":93", "localhost:93.0", "nonsense"])
def test_display_that_does_not_answer(monkeypatch, display):
    monkeypatch.setenv("DISPLAY", display)
    assert window.no_display() == f"the display {display!r} does not answer"


def test_window_shows_blue_green_red_and_stops_on_q(monkeypatch):
    shown: list[np.ndarray] = []
    stopped = threading.Event()
    monkeypatch.setattr(window, "no_display", lambda: None)
    for name, action in {
        "namedWindow": lambda *_: None,
        "resizeWindow": lambda *_: None,
        "imshow": lambda _, image: shown.append(image),
        "getWindowProperty": lambda *_: 1.0,
        "pollKey": lambda: ord("q"),
        "destroyAllWindows": lambda: None,
    }.items():
        monkeypatch.setattr(cv2, name, action)
    run = dataclasses.replace(context(view="window"), stop=stopped.set)
    nothing = tracks_of(discs(SIZE, [], 3))
    with (
        open_view(run) as view,
        open_sinks(prepare(OutputConfig(save=()), INFO), run, view) as sinks,
    ):
        sinks.write(Frame(0, 0.0, ramp()), nothing)
    assert stopped.is_set()
    assert (shown[0][..., ::-1] == ramp()).all()


def test_the_window_draws_what_it_shows_and_no_more(monkeypatch):
    monkeypatch.setattr(window, "no_display", lambda: None)
    for name in ("namedWindow", "resizeWindow", "imshow", "pollKey", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *_: 0)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    times_s = iter([10.0, 10.001, 11.0])
    clock = SimpleNamespace(monotonic=lambda: next(times_s))
    monkeypatch.setattr("pipeline.sinks.window.time", clock)
    shown = window.Window(context(view="window"))
    drawn: list[float] = []
    render = Renderer.render

    def counted(self, frame, tracks):
        drawn.append(frame.time_s)
        return render(self, frame, tracks)

    monkeypatch.setattr(Renderer, "render", counted)
    for result in results([0.0, 0.1, 0.2]):
        shown.write(Result(*result, 1.0))
    assert drawn == [0.0, 0.2]


def test_trails_go_back_to_pictures_that_were_not_drawn():
    frames = [
        (Frame(i, i / 5, ramp()), tracks_of(discs(SIZE, [(20 + 30 * i, 40)], 4))) for i in (0, 1, 2)
    ]
    run = context()
    one, other = (Drawing(run.render, run.stats) for _ in range(2))
    for frame, tracks in frames[:2]:
        one(Result(frame, tracks, 1.0))
        other.skip(Result(frame, tracks, 1.0))
    last = Result(*frames[2], 1.0)
    fresh, *both = (draw(last).image for draw in (Drawing(run.render, run.stats), one, other))
    np.testing.assert_array_equal(both[0], both[1])
    assert (np.asarray(fresh) != np.asarray(both[0])).any()


def test_web_view_shows_pictures_and_numbers():
    run = context(view="web", web_port=0)
    sink = WebSink(run)
    writer = Writer("web", sink)
    try:
        page = urlopen(sink.address, timeout=30).read().decode()
        assert "/stream" in page
        assert json.load(urlopen(f"{sink.address}stats", timeout=30))["frames"] == 0
        with urlopen(f"{sink.address}stream", timeout=30) as stream:
            deadline = time.monotonic() + 60
            while not sink.pictures.watched:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            writer.write(Result(*results([0.0])[0], 1.0))
            head = [stream.readline() for _ in range(4)]
            length = int(head[2].split()[1])
            picture = cv2.imdecode(np.frombuffer(stream.read(length), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (96, 128, 3)
    finally:
        writer.close()


def test_nobody_draws_what_nobody_watches(monkeypatch):
    run = context(view="web", web_port=0)
    sink = WebSink(run)
    monkeypatch.setattr("pipeline.render.draw", None)
    for result in results([0.0, 0.1, 0.2]):
        sink.write(Result(*result, 1.0))
    sink.close()


def test_web_view_says_nothing_of_a_watcher_who_leaves(capfd):
    sink = WebSink(context(view="web", web_port=0))
    host, port = sink.address.removeprefix("http://").strip("/").split(":")
    for path in ("stats", "stream"):
        with socket.create_connection((host, int(port))) as watcher:
            # Closed, it answers with a reset.
            watcher.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            watcher.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\n".encode())
    urlopen(f"{sink.address}stats", timeout=30).close()
    sink.close()
    assert capfd.readouterr().err == ""


def test_web_view_says_that_its_port_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SinkError, match=r"port \d+: Address already in use; --set"):
            WebSink(context(view="web", web_port=other.getsockname()[1]))


def test_what_standard_output_held_before_is_not_cut(tmp_path):
    """Its file is full: what is written of a piece stays, as does what others wrote before."""
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"before\n")
    code = (
        "import resource, signal\n"
        "from pipeline.sinks.wholefile import WholeFile\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "file = WholeFile(None)\n"
        "file.write(b'one\\n')\n"
        "try:\n    file.write(b'x' * 200)\nexcept OSError:\n    pass\n"
    )
    root = Path(__file__).parents[2]
    with path.open("ab") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, cwd=root, check=True)
    assert path.read_bytes().startswith(b"before\none\n")


def test_standard_output_is_the_real_one(capfd):
    run = context(save=("jsonl:-",))
    with open_sinks(prepare(run.output, INFO), run) as sinks:
        sinks.write(*results([0.0])[0])
    assert json.loads(capfd.readouterr().out)["frame"] == 0
    assert os.fstat(1)
