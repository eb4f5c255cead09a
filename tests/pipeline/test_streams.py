"""Streams as others send them: GStreamer's RTSP server, HLS and UDP, lost and found.

Everything is on 127.0.0.1. GStreamer comes from Debian's packages (see `gstreamer_server.py`);
without them its tests skip, or fail where REQUIRE_GSTREAMER=1.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import SourceBroken, SourceError
from pipeline.frames import Frame
from pipeline.run import main
from pipeline.sources import Source, SourceConfig, open_source
from tests.fakes import ScriptedDetector
from tests.pipeline import media, servers
from trackers.detections import Detections

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("gstreamer_server.py")
USER, PASSWORD = "admin", "s3cret"


def opened(source: str, **settings: object) -> Source:
    settings = {"open_timeout_s": 10.0, "read_timeout_s": 1.0, "reconnect_s": 20.0} | settings
    return open_source(SourceConfig(source=source, **settings))  # type: ignore[arg-type]


def after_a_gap(pictures: Iterator[Frame]) -> Frame:
    """The first frame after the stream was away."""
    return media.frames_until(pictures, lambda frame: frame.dropped_before > 0)[-1]


# --- RTSP: GStreamer's server ------------------------------------------------------------------


@pytest.fixture(scope="module")
def gstreamer() -> None:
    """Skip where GStreamer's RTSP server is not installed."""
    program = (
        "import gi; gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
        "assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'jpegenc')))"
    )
    try:
        subprocess.run([SYSTEM_PYTHON, "-c", program], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"no RTSP server of GStreamer here ({error}); .ci/run installs it"
        if os.environ.get("REQUIRE_GSTREAMER") == "1":
            pytest.fail(f"REQUIRE_GSTREAMER=1, and {reason}", pytrace=False)
        pytest.skip(reason)


class RtspCamera:
    """GStreamer's server as a process; `port` is that on which it listens."""

    def __init__(self, port: int = 0, width: int = 320, height: int = 240, user: str = "") -> None:
        command = [SYSTEM_PYTHON, str(SERVER), str(port), str(width), str(height)]
        command += ["--user", user] if user else []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> RtspCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As when the power goes. Twice is once."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def url(self, path: str = "cam", user: str = "") -> str:
        return f"rtsp://{user}{'@' if user else ''}127.0.0.1:{self.port}/{path}"


@pytest.mark.parametrize(("path", "transport"), [("cam", "tcp"), ("mjpeg", "tcp"), ("cam", "udp")])
def test_rtsp_server(path: str, transport: str, gstreamer: None) -> None:
    with RtspCamera() as camera, opened(camera.url(path), rtsp_transport=transport) as source:
        info = source.info
        assert (info.name, info.is_live, info.width, info.height) == (
            f"127.0.0.1-{path}",
            True,
            320,
            240,
        )
        pictures = iter(source)
        frames = [next(pictures) for _ in range(10)]
    assert all(frame.image.any() for frame in frames)  # a white ball on black
    span_s = frames[-1].time_s - frames[0].time_s
    assert span_s == pytest.approx(9 / 25, abs=0.1)


def test_rtsp_server_restarted_at_another_size(
    gstreamer: None, caplog: pytest.LogCaptureFixture
) -> None:
    with RtspCamera() as camera, opened(camera.url()) as source:
        pictures = iter(source)
        before = [next(pictures) for _ in range(10)]
        camera.stop()
        with RtspCamera(camera.port) as again:
            back = after_a_gap(pictures)
            again.stop()
            with RtspCamera(camera.port, 640, 360):
                larger = after_a_gap(pictures)
                rest = [next(pictures) for _ in range(5)]
    frames = [*before, back, larger, *rest]
    assert {frame.image.shape for frame in frames} == {(240, 320, 3)}
    assert all(a.time_s < b.time_s for a, b in itertools.pairwise(frames))
    # 640x360 is fitted into 320x240: black above and below.
    assert not larger.image[:28].any()
    assert larger.image[30:210].any()
    assert caplog.text.count("lost (") == 2
    assert "back after" in caplog.text
    assert "640x360" in caplog.text


def test_rtsp_server_that_freezes(gstreamer: None, caplog: pytest.LogCaptureFixture) -> None:
    with RtspCamera() as camera, opened(camera.url(), open_timeout_s=6.0) as source:
        pictures = iter(source)
        before = next(pictures)
        camera.send(signal.SIGSTOP)
        threading.Timer(3.0, camera.send, [signal.SIGCONT]).start()
        after = after_a_gap(pictures)
    gap_s = after.time_s - before.time_s
    assert gap_s > 1.0
    assert "lost (nothing came in time)" in caplog.text


def test_rtsp_server_that_does_not_answer(gstreamer: None) -> None:
    with RtspCamera() as camera:
        camera.send(signal.SIGSTOP)
        start_s = time.perf_counter()
        with pytest.raises(SourceError, match="nothing came in time"):
            opened(camera.url(), open_timeout_s=0.5)
        assert time.perf_counter() - start_s < 5


def test_rtsp_server_refuses(gstreamer: None) -> None:
    with RtspCamera(user=f"{USER}:{PASSWORD}") as camera:
        for user in ("", f"{USER}:{PASSWORD}2"):
            with pytest.raises(SourceError, match="user name or password") as caught:
                opened(camera.url(user=user))
            assert PASSWORD not in str(caught.value)
        with pytest.raises(SourceError, match="404"):
            opened(camera.url("nosuch", user=f"{USER}:{PASSWORD}"))


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_run_on_a_stream_that_goes_and_comes_and_goes(
    gstreamer: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    user = f"{USER}:{PASSWORD}"
    camera = RtspCamera(user=user)
    cameras = [camera]

    calls = itertools.count()

    def before(frame: Frame) -> None:
        call = next(calls)
        if call == 10:
            camera.stop()
            cameras.append(RtspCamera(camera.port, 640, 480, user))
        elif call == 30:
            cameras[-1].stop()

    nothing = Detections.empty((240, 320))
    detector = ScriptedDetector(lambda frame: nothing, before=before)
    monkeypatch.setattr("pipeline.run.open_detector", lambda _: detector)
    arguments = ["--source", camera.url(user=user), "--output", str(tmp_path), "--view", "none"]
    settings = [f"--set=source.{key}" for key in ("reconnect_s=12", "read_timeout_s=1")]
    try:
        code = main([*arguments, *settings, "--save", "video,jsonl,mot,mots,csv"])
    finally:
        for one in cameras:
            one.stop()
    said = "".join(capfd.readouterr())
    assert code == 3, said
    assert "did not come back to stay within 12 s" in said
    lines = [
        json.loads(line)
        for line in (tmp_path / "tracks.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    gaps = [line for line in lines if line["dropped_before"] > 5]
    assert gaps, "the gap is in dropped_before"
    with av.open(str(tmp_path / "video.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(lines)
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames_dropped"] == sum(line["dropped_before"] for line in lines)
    assert PASSWORD not in said
    assert USER not in said
    assert PASSWORD.encode() not in contents(tmp_path)
    assert f"{USER}:".encode() not in contents(tmp_path)


# --- HLS over HTTP -----------------------------------------------------------------------------


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # who asked has left
            super().handle()


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """The address of a web server that shows `folder`."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Sender(_Quiet):
    """Sends 25 pictures of MPEG-TS whatever is asked for; of `/cut` less than it promises.

    `/camera` is a camera's MJPEG, of a size that it invents.
    """

    def do_GET(self) -> None:
        if self.path == "/camera":
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.send_header("Content-Length", "9999999")
            self.end_headers()
            jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            for _ in range(10):
                self.wfile.write(head.encode() + jpeg + b"\r\n")
            return
        content = b"".join(servers.transport_stream(25, 64, 48))
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/cut" else content)


@pytest.fixture
def sender() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sender) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_transport_stream_on_a_web_server_is_a_file(sender: str) -> None:
    """FFmpeg cannot tell its length; its size it can."""
    with opened(f"{sender}/whole") as source:
        assert not source.info.is_live
        assert len(list(source)) == 25


@pytest.mark.parametrize(("path", "live"), [("camera", None), ("whole", True)])
def test_a_size_that_a_camera_invents_does_not_make_it_a_file(
    path: str, live: bool | None, sender: str
) -> None:
    with opened(f"{sender}/{path}", live=live, reconnect_s=30.0) as source:
        assert source.info.is_live
        media.frames_until(iter(source), lambda frame: frame.dropped_before > 0)


def test_a_file_that_a_web_server_cuts_off_is_not_begun_again(sender: str) -> None:
    frames: list[Frame] = []
    with opened(f"{sender}/cut") as source, pytest.raises(SourceBroken, match="broke off"):
        frames.extend(source)  # keeps what came before the error
    assert 5 < len(frames) < 25


def test_a_stream_that_begins_again_and_again_is_given_up(sender: str) -> None:
    began_s = time.perf_counter()
    frames: list[Frame] = []
    with (
        opened(f"{sender}/unsized", reconnect_s=1.5) as source,
        pytest.raises(SourceBroken, match=r"did not come back to stay within 1\.5 s"),
    ):
        frames.extend(source)
    assert source.info.is_live
    assert 25 <= len(frames) <= 4 * 25
    assert time.perf_counter() - began_s < 20


def broadcast(
    url: str,
    *,
    form: str,
    options: dict[str, str] | None = None,
    size: tuple[int, int] = (64, 48),
    count: int = 500,
    delay_s: float = 0.0,
    stopped: threading.Event | None = None,
) -> None:
    """Send `media.plain` over and over: in real time until `stopped`, at once without it."""
    time.sleep(delay_s)
    with av.open(url, "w", format=form, options=options or {}) as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options={"g": "5", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        start_s = time.perf_counter()
        for n in range(count):
            if stopped and stopped.wait(max(0.0, start_s + n / 25 - time.perf_counter())):
                break
            frame = media.picture(media.plain(26, *size)[n % 26], "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@contextlib.contextmanager
def broadcasting(url: str, **how: Any) -> Iterator[threading.Event]:
    """`broadcast` on a thread, in real time; the event ends it."""
    stopped = threading.Event()
    arguments = how | {"stopped": stopped}
    thread = threading.Thread(target=broadcast, args=(url,), kwargs=arguments, daemon=True)
    thread.start()
    try:
        yield stopped
    finally:
        stopped.set()
        thread.join(10)


def test_hls_recording_loses_no_frame(tmp_path: Path) -> None:
    options = {"hls_time": "0.4", "hls_playlist_type": "vod"}
    broadcast(str(tmp_path / "a.m3u8"), form="hls", options=options, count=26)
    with web_server(tmp_path) as url, opened(f"{url}/a.m3u8") as source:
        assert not source.info.is_live
        assert [media.number(frame) for frame in source] == list(range(26))


@contextlib.contextmanager
def hls_live(folder: Path, **options: str) -> Iterator[tuple[str, threading.Event]]:
    """A live broadcast in pieces of a second: its address, and an event that ends it."""
    options = {"hls_time": "1", "hls_list_size": "3", "hls_flags": "omit_endlist"} | options
    playlist = folder / "a.m3u8"
    with (
        web_server(folder) as url,
        broadcasting(str(playlist), form="hls", options=options) as stopped,
    ):
        deadline_s = time.perf_counter() + 20
        while not playlist.exists() or playlist.read_text(encoding="utf-8").count("#EXTINF") < 2:
            assert time.perf_counter() < deadline_s
            time.sleep(0.05)
        yield f"{url}/a.m3u8", stopped


def test_hls_live_comes_at_its_own_pace(tmp_path: Path) -> None:
    # Pieces of a second, and less patience than that: a piece is waited for longer.
    with (
        hls_live(tmp_path) as (url, stopped),
        opened(url, read_timeout_s=0.9, reconnect_s=0.0) as source,
    ):
        assert source.info.is_live
        pictures = iter(source)
        start_s = time.perf_counter()
        frames = [next(pictures) for _ in range(40)]
        first = media.number(frames[0])
        assert [media.number(frame) for frame in frames] == [(first + i) % 26 for i in range(40)]
        for frame in frames:
            assert frame.captured_s - start_s > frame.time_s - 0.01
            assert frame.captured_s - frames[0].captured_s < frame.time_s + 1.5
        stopped.set()  # the playlist grows no more
        with pytest.raises(SourceBroken, match="nothing came in time"):
            list(pictures)


def test_hls_live_ends_where_its_playlist_says_so(tmp_path: Path) -> None:
    with hls_live(tmp_path, hls_flags="round_durations") as (url, stopped), opened(url) as source:
        pictures = iter(source)
        first = next(pictures)
        stopped.set()
        rest = list(pictures)
    assert len(rest) > 10
    assert all(frame.dropped_before == 0 for frame in [first, *rest])


# --- UDP ---------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_udp_lost_and_found_at_another_size(caplog: pytest.LogCaptureFixture) -> None:
    url = f"udp://127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as first:
        first.enter_context(broadcasting(f"{url}?pkt_size=1316", form="mpegts"))
        with opened(url) as source:
            assert (source.info.is_live, source.info.width) == (True, 64)
            pictures = iter(source)
            before = [next(pictures) for _ in range(10)]
            first.close()
            with broadcasting(f"{url}?pkt_size=1316", form="mpegts", size=(128, 96), delay_s=1.5):
                after = after_a_gap(pictures)
    assert after.image.shape == before[0].image.shape
    assert after.time_s - before[-1].time_s > 0.9
    assert "nothing came in time" in caplog.text
    assert "128x96" in caplog.text


def test_udp_that_nobody_sends_to() -> None:
    start_s = time.perf_counter()
    with pytest.raises(SourceError, match="nothing came in time"):
        opened(f"udp://127.0.0.1:{free_port()}", open_timeout_s=0.5)
    assert time.perf_counter() - start_s < 5
