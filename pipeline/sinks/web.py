"""The web view: a page on this machine that shows what is seen now. Needs no display."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2

from pipeline.errors import SinkError
from pipeline.sinks.base import Drawing, Result, SinkContext, State

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_QUALITY = 80
_WAIT_S = 1.0
_BOUNDARY = "frame"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body{{margin:0;background:#111;color:#ccc;font:14px sans-serif;text-align:center}}
img{{max-width:100vw;max-height:calc(100vh - 3em)}}</style>
<img src="/stream" alt="{name}"><p id="line"></p>
<script>setInterval(async()=>{{const s=await(await fetch("/stats")).json();
document.getElementById("line").textContent=`${{s.frames}} frames, ${{s.rate}} frames/s, `+
`${{s.latency_ms}} ms behind, ${{s.dropped}} dropped, ${{s.objects}} objects`}},1000)</script>
"""


class WebSink:
    """Serves a page with the latest picture, as a stream of JPEGs, and a line of numbers.

    Only this machine can open it. Pictures are drawn and encoded only while somebody looks.

    Args:
        context: of the run.

    Raises:
        SinkError: the port is taken.
    """

    def __init__(self, context: SinkContext) -> None:
        self._stats = context.stats
        self._draw = Drawing(context.render, context.stats)
        self.pictures = _Pictures()
        port = context.output.web_port
        handler = type("Handler", (_Handler,), {"view": self, "page": _page(context.info.name)})
        try:
            self._server = ThreadingHTTPServer((_HOST, port), handler)
        except OSError as error:
            raise SinkError(
                f"cannot serve the web view on port {port}: {error.strerror}; "
                "--set output.web_port=0 takes any free one"
            ) from error
        self.address = f"http://{_HOST}:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()
        log.info("watch at %s", self.address)

    def numbers(self) -> dict[str, Any]:
        """What the page says below the picture."""
        stats = self._stats
        return {
            "frames": stats.processed,
            "rate": round(stats.processed / max(stats.elapsed_s, 1e-9), 1),
            "latency_ms": round(self.pictures.latency_ms),
            "dropped": stats.dropped,
            "objects": stats.objects,
        }

    def write(self, result: Result) -> None:
        if not self.pictures.watched:
            self._draw.skip(result)
            return
        image = self._draw(result).image
        assert image is not None
        picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        self.pictures.put(jpeg.tobytes(), result.latency_ms)

    def flush(self) -> None:
        """Nothing to do: a picture is there for all at once."""

    def mark(self) -> State:
        """Nothing is kept that could go on."""
        return {}

    def close(self) -> None:
        self.pictures.close()
        self._server.shutdown()
        self._server.server_close()


class _Pictures:
    """The newest JPEG, for any number of watchers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jpeg = b""
        self._number = 0
        self._closed = False
        self.watched = 0
        self.latency_ms = 0.0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """One more watcher, while this is open."""
        with self._changed:
            self.watched += 1
        try:
            yield
        finally:
            with self._changed:
                self.watched -= 1

    def put(self, jpeg: bytes, latency_ms: float) -> None:
        with self._changed:
            self._jpeg, self.latency_ms = jpeg, latency_ms
            self._number += 1
            self._changed.notify_all()

    def newer(self, number: int) -> tuple[int, bytes] | None:
        """The newest picture and its number, once that is above `number`; None at the end."""
        with self._changed:
            while self._number <= number and not self._closed:
                self._changed.wait(_WAIT_S)
            return None if self._closed else (self._number, self._jpeg)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    view: WebSink
    page: bytes

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the watcher left
            super().handle()

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer("text/html", self.page)
        elif self.path == "/stats":
            self._answer("application/json", json.dumps(self.view.numbers()).encode())
        elif self.path == "/stream":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Requests are nobody's business."""

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        pictures, number = self.view.pictures, 0
        with pictures.watching():
            while (picture := pictures.newer(number)) is not None:
                number, jpeg = picture
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                self.wfile.write(f"{head}\r\n\r\n".encode() + jpeg + b"\r\n")


def _page(name: str) -> bytes:
    return _PAGE.format(name=html.escape(name)).encode()
