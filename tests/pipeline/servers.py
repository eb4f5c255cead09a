"""Small real servers on loopback for tests: MPEG-TS over TCP, and over RTSP.

RTSP as in RFC 2326 with interleaved RTP, MPEG-TS in RTP as in RFC 2250.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from tests.pipeline import media

USER, PASSWORD = "admin", "s3cret"

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 33\r\na=control:track\r\n"
)


def transport_stream(count: int, width: int, height: int) -> list[bytes]:
    """`count` pictures as MPEG-TS at 25 a second: the bytes of each picture."""
    file = io.BytesIO()
    ends = []
    with av.open(file, "w", format="mpegts", options={"flush_packets": "1"}) as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n, image in enumerate(media.plain(count, width, height)):
            frame = media.picture(image, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(frame))
            ends.append(file.tell())
        container.mux(stream.encode())
    content = file.getvalue()
    cuts = [0, *ends[:-1], len(content)]
    return [content[start:end] for start, end in itertools.pairwise(cuts)]


class Server(socketserver.ThreadingTCPServer):
    """Shows `stream` in real time to whoever asks."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, stream: list[bytes], session: type[_Session]) -> None:
        self.stream = stream
        self.stopped = threading.Event()
        self.transports: list[str] = []
        super().__init__(("127.0.0.1", port), session)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    """Sends the stream to one client, in real time."""

    server: Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._serve()

    def _serve(self) -> None:
        for chunk, _ in self._chunks():
            self.wfile.write(chunk)

    def _chunks(self) -> Iterator[tuple[bytes, int]]:
        """Give the bytes of each picture and its number, each at its time."""
        start_s = time.perf_counter()
        for n, chunk in enumerate(self.server.stream):
            if self.server.stopped.wait(max(0.0, start_s + n / 25 - time.perf_counter())):
                return
            yield chunk, n


class _Silent(_Session):
    """Says nothing after the stream, and does not hang up."""

    def _serve(self) -> None:
        super()._serve()
        self.server.stopped.wait()


class _Rtsp(_Session):
    """Answers requests; after PLAY it sends the stream, interleaved."""

    def _serve(self) -> None:
        while True:
            method, headers = self._request()
            if not method:
                return
            self._answer(method, headers)
            if method == "PLAY":
                self._play()
                return

    def _request(self) -> tuple[str, dict[str, str]]:
        lines: list[str] = []
        while (line := self.rfile.readline().decode().strip()) or not lines:
            if not line:
                return "", {}
            lines.append(line)
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return lines[0].split()[0], headers

    def _answer(self, method: str, headers: dict[str, str]) -> None:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        reply = {"CSeq": headers["CSeq"], "Session": "1"}
        status, body = "200 OK", ""
        if method == "OPTIONS":
            reply["Public"] = "OPTIONS, DESCRIBE, SETUP, PLAY"
        elif headers.get("Authorization") != wanted:
            status, reply["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="test"'
        elif method == "DESCRIBE":
            body, reply["Content-Type"] = _SDP, "application/sdp"
            reply["Content-Length"] = str(len(body))
        elif method == "SETUP":
            self.server.transports.append(headers["Transport"])
            reply["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
        head = "".join(f"{name}: {value}\r\n" for name, value in reply.items())
        self.wfile.write(f"RTSP/1.0 {status}\r\n{head}\r\n{body}".encode())

    def _play(self) -> None:
        numbers = itertools.count()
        for chunk, n in self._chunks():
            for offset in range(0, len(chunk), 7 * 188):
                payload = chunk[offset : offset + 7 * 188]
                rtp = struct.pack(">BBHII", 0x80, 33, next(numbers) & 0xFFFF, n * 3600, 1)
                self.wfile.write(struct.pack(">cBH", b"$", 0, 12 + len(payload)) + rtp + payload)


@contextlib.contextmanager
def _running(
    session: type[_Session], port: int, count: int, width: int, height: int
) -> Iterator[Server]:
    server = Server(port, transport_stream(count, width, height), session)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:  # hangs up on everybody
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def tcp_server(
    port: int = 0, count: int = 250, width: int = 64, height: int = 48, silent: bool = False
) -> Iterator[str]:
    """The address of MPEG-TS over TCP; `silent`: it keeps the line after the last picture."""
    with _running(_Silent if silent else _Session, port, count, width, height) as server:
        yield f"tcp://127.0.0.1:{server.port}"


@contextlib.contextmanager
def rtsp_server(port: int = 0, width: int = 64, height: int = 48) -> Iterator[Server]:
    """An RTSP server that wants `USER` and `PASSWORD`."""
    with _running(_Rtsp, port, 250, width, height) as server:
        yield server


def rtsp_address(server: Server, password: str = PASSWORD) -> str:
    """The address of its stream."""
    return f"rtsp://{USER}:{password}@127.0.0.1:{server.port}/cam"
