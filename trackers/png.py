"""Palette PNG files, as mask annotations come in: the indices, with nothing but zlib.

PNG Specification (Third Edition), W3C, 2023, sections 9 (filters) and 11 (chunks).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_indices(path: Path) -> NDArray[np.uint8]:
    """`(H, W)` palette indices, or grey values, of a PNG of at most 8 bits a pixel.

    Raises:
        ValueError: Not such a PNG.
    """
    data = path.read_bytes()
    if not data.startswith(SIGNATURE):
        raise ValueError(f"{path}: not a PNG file")
    header, packed, at = b"", b"", len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        header = body if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    try:
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
        raw = np.frombuffer(zlib.decompress(packed), np.uint8)
        if colour not in (0, 3) or depth > 8 or interlaced:
            raise ValueError(
                f"{path}: expected a palette or grey PNG of at most 8 bits, without interlacing"
            )
        length = 1 + (width * depth + 7) // 8
        if height == 0 or len(raw) != height * length:
            raise ValueError(
                f"{path}: damaged PNG ({len(raw)} bytes of pixels, {height} x {length} expected)"
            )
        lines = raw.reshape(height, length)
    except (struct.error, zlib.error) as error:
        raise ValueError(f"{path}: damaged PNG ({error})") from error
    bytes_ = _unfilter(lines[:, 0], lines[:, 1:].copy())
    if depth == 8:
        return bytes_
    per_byte = 8 // depth
    shifts = np.arange(per_byte - 1, -1, -1, dtype=np.uint8) * np.uint8(depth)
    spread = (bytes_[:, :, None] >> shifts) & np.uint8((1 << depth) - 1)
    return spread.reshape(height, -1)[:, :width]


def _unfilter(filters: NDArray[np.uint8], lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo each line's filter in place: none, sub, up, average or Paeth."""
    above = np.zeros(lines.shape[1], np.uint8)
    for kind, line in zip(filters.tolist(), lines, strict=True):
        if kind == 1:
            line[:] = np.cumsum(line, dtype=np.uint8)
        elif kind == 2:
            line += above
        elif kind in (3, 4):
            line[:] = _predicted(kind, line.tolist(), above.tolist())
        above = line
    return lines


def _predicted(kind: int, line: list[int], above: list[int]) -> list[int]:
    """One line whose bytes are differences to a prediction from left, above and above left."""
    out, left, corner = [], 0, 0
    for value, up in zip(line, above, strict=True):
        if kind == 3:
            guess = (left + up) // 2
        else:
            estimate = left + up - corner
            guess = min((left, up, corner), key=lambda v: abs(estimate - v))
        left, corner = (value + guess) & 255, up
        out.append(left)
    return out
