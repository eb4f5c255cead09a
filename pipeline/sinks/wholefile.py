"""A file that is complete at any moment, whatever ends the program."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_STDOUT = 1


class WholeFile:
    """Holds whole pieces only: each is written in one go, or taken back.

    A kill comes before or after a piece, a full disk leaves the pieces before. Of standard output
    nothing is taken back: it may be a file that others write to, too.

    Args:
        path: made anew; None for standard output.
        keep: go on after so many bytes of what is there instead.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path | None, keep: int = 0) -> None:
        self._bytes = keep
        self._may_cut = path is not None
        if path is None:
            self._file = os.dup(_STDOUT)
            return
        if keep and path.stat().st_size < keep:
            raise OSError(errno.ENODATA, "it has become shorter since the run broke off")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if os.fstat(self._file).st_size:  # What is no plain file cannot be cut.
                os.ftruncate(self._file, keep)
        except OSError:
            os.close(self._file)
            raise

    def write(self, piece: bytes) -> int:
        """Append a piece; gives its length.

        Raises:
            OSError: there is no room, or nobody reads; a file is as it was before.
        """
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # A pipe or a device takes nothing back.
            with contextlib.suppress(OSError):
                if self._may_cut:
                    os.ftruncate(self._file, self._bytes)
            raise
        self._bytes += len(piece)
        return len(piece)

    @property
    def length(self) -> int:
        """Bytes that it holds."""
        return self._bytes

    def close(self) -> None:
        """Close the file. Twice is once."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
