"""What the command line says to people, on stderr: without passwords, and quiet where asked."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipeline.sources import redact
from pipeline.streams import STREAM


def say(lines: Iterable[str]) -> None:
    """Words for people, on stderr; none any more once nobody reads them."""
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


class _Discreet(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Without the passwords of addresses, whoever wrote the line; of several streams, which."""
        name = record.threadName or ""
        record.stream = f"{name}: " if name.startswith(STREAM) else ""
        return redact(super().format(record))


@contextmanager
def speaking(quiet: bool) -> Iterator[None]:
    """Show what is logged, by this project or a library, on stderr: all of it, or only errors."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    handler = logging.StreamHandler()
    handler.setFormatter(_Discreet(f"{clear}pipeline.run: %(stream)s%(message)s"))
    logger = logging.getLogger()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
