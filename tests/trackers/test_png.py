import struct
import zlib

import numpy as np
import pytest

from trackers.png import read_indices


def filtered(kind, line, above):
    """One line of bytes as a PNG encoder would filter it."""
    left = np.concatenate([[0], line[:-1]])
    corner = np.concatenate([[0], above[:-1]])
    estimate = left + above - corner
    near = np.stack([abs(left - estimate), abs(above - estimate), abs(corner - estimate)])
    paeth = np.choose(near.argmin(0), [left, above, corner])
    guess = [0 * line, left, above, (left + above) // 2, paeth][kind]
    return bytes([kind]) + ((line - guess) % 256).astype(np.uint8).tobytes()


def png(lines, width, depth, kinds):
    """A palette PNG of `lines` (H, bytes a line)."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    values = lines.astype(int)
    above = np.vstack([np.zeros((1, lines.shape[1]), int), values[:-1]])
    body = b"".join(
        filtered(kinds[k % len(kinds)], values[k], above[k]) for k in range(len(values))
    )
    header = struct.pack(">IIBBBBB", width, len(lines), depth, 3, 0, 0, 0)
    packed = zlib.compress(body)
    parts = [packed[:20], packed[20:]]
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(chunk(b"IDAT", part) for part in parts)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kinds", [[0], [1], [2], [3], [4], [0, 1, 2, 3, 4]])
def test_every_filter(tmp_path, kinds):
    image = np.random.default_rng(0).integers(0, 256, (12, 17)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(image, 17, 8, kinds))
    np.testing.assert_array_equal(read_indices(path), image)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_several_pixels_in_a_byte(tmp_path, depth):
    image = np.random.default_rng(0).integers(0, 1 << depth, (5, 11)).astype(np.uint8)
    bits = np.unpackbits(image[:, :, None], axis=2)[:, :, -depth:].reshape(5, -1)
    path = tmp_path / "a.png"
    path.write_bytes(png(np.packbits(bits, axis=1), 11, depth, [0]))
    np.testing.assert_array_equal(read_indices(path), image)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="not a PNG"):
        read_indices(path)
    image = np.zeros((4, 4), np.uint8)
    path.write_bytes(png(image, 4, 8, [0])[:45])
    with pytest.raises(ValueError, match="damaged PNG"):
        read_indices(path)
    for wide, lines in ((4, image[:, :2]), (4, image[:3, :3]), (0, image[:0])):
        path.write_bytes(png(lines, wide, 8, [0]))
        with pytest.raises(ValueError, match="a.png: damaged PNG"):
            read_indices(path)
    path.write_bytes(png(np.zeros((4, 8), np.uint8), 4, 16, [0]))
    with pytest.raises(ValueError, match="at most 8 bits"):
        read_indices(path)
