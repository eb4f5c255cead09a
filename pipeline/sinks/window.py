"""The window: what is seen now, as soon as it is known."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path

import cv2

from pipeline.errors import SinkError
from pipeline.sinks.base import Drawing, Result, SinkContext

log = logging.getLogger(__name__)

_SHORTEST_S = 1 / 60
_QUIT = frozenset({ord("q"), 27})


class Window:
    """Shows the latest picture. Only the main thread may use it: graphics libraries want that.

    `q`, Escape or closing the window stops the run.

    Args:
        context: of the run.

    Raises:
        SinkError: there is no display, or this OpenCV has no windows.
    """

    def __init__(self, context: SinkContext) -> None:
        self._title = f"DeepMask Tracking: {context.info.name}"
        self._stop = context.stop
        self._draw = Drawing(context.render, context.stats)
        self._shown_s = 0.0
        missing = no_display()
        if missing:
            raise SinkError(f"cannot open a window: {missing}")
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, context.info.width, context.info.height)
        except cv2.error as error:
            raise SinkError(
                "cannot open a window: this OpenCV was built without (opencv-python-headless)"
            ) from error

    def write(self, result: Result) -> None:
        """Show the picture, unless one was shown a moment ago."""
        now = time.monotonic()
        if now - self._shown_s < _SHORTEST_S:
            self._draw.skip(result)
            return
        self._shown_s = now
        image = self._draw(result).image
        assert image is not None
        cv2.imshow(self._title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        if cv2.pollKey() & 0xFF in _QUIT or closed:
            self._stop()

    def close(self) -> None:
        """Take the window off the screen."""
        cv2.destroyAllWindows()


def open_window(context: SinkContext) -> Window | None:
    """The window that `output.view` asks for; `auto` does without where there can be none.

    Raises:
        SinkError: `window` was asked for and there can be none.
    """
    if context.output.view not in ("auto", "window"):
        return None
    try:
        return Window(context)
    except SinkError as error:
        if context.output.view == "window":
            raise SinkError(f"{error}; use --view web or --view none") from error
        log.info("no window (--view auto): %s", str(error).partition(": ")[2])
        return None


def no_display() -> str | None:
    """Why no window can be opened here; None where one can.

    Graphics libraries end the whole program when the display does not answer, so it is asked
    before they are.
    """
    if not sys.platform.startswith("linux"):
        return None
    display = os.environ.get("DISPLAY", "")
    if not display:
        return "there is no display (DISPLAY is not set)"
    host, _, number = display.rpartition(":")
    try:
        screen = int(number.partition(".")[0])
        if host in ("", "unix"):
            _knock_unix(screen)
        else:
            socket.create_connection((host, 6000 + screen), timeout=2).close()
    except (OSError, ValueError):
        return f"the display {display!r} does not answer"
    return None


def _knock_unix(screen: int) -> None:
    """Connect to a display of this machine: its socket has a path, or on Linux only a name.

    Raises:
        OSError: nobody listens.
    """
    path = str(Path("/tmp/.X11-unix") / f"X{screen}")
    for address in (path, f"\0{path}"):
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(2)
            if knock.connect_ex(address) == 0:
                return
    raise OSError(f"no display {screen}")
