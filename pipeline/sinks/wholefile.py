"""A file that is complete at any moment, whatever ends the program."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_STDOUT = 1


class WholeFile:
    """Holds whole pieces only: each is written in one go, or taken back.

    A kill comes before or after a piece, a full disk leaves the pieces before.

    Args:
        path: made anew; None for standard output.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path | None) -> None:
        if path is None:
            self._file = os.dup(_STDOUT)
        else:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._bytes = 0

    def write(self, piece: bytes) -> int:
        """Append a piece; gives its length.

        Raises:
            OSError: there is no room, or nobody reads; what was there before is as it was.
        """
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # A pipe or a device takes nothing back.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._bytes)
            raise
        self._bytes += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file. Twice is once."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
