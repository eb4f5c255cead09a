"""Each kind of source, each odd file, and what happens with it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import http.server
import itertools
import logging
import math
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import pytest

from pipeline.errors import SourceBroken, SourceError
from pipeline.frames import Frame
from pipeline.sources import Source, SourceConfig, list_cameras, open_source, redact
from pipeline.sources import cameras as cameras_module
from pipeline.sources.clock import Clock
from pipeline.sources.container import Connection
from pipeline.sources.inputs import Input, Kind, cannot_open, lost_words, safe_name
from pipeline.sources.picture import Converter, fit, orient
from tests.pipeline import media
from tests.pipeline.servers import PASSWORD, rtsp_address, rtsp_server, tcp_server

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "tracking" / "clips"


def opened(source: Path | str, **settings: object) -> Source:
    return open_source(SourceConfig(source=str(source), **settings))  # type: ignore[arg-type]


def read(source: Path | str, **settings: object) -> list[Frame]:
    """All frames, with the promises that every source makes checked."""
    with opened(source, **settings) as frames:
        got = list(frames)
        size = (frames.info.height, frames.info.width, 3)
    assert [frame.index for frame in got] == list(range(len(got)))
    assert all(before.time_s < after.time_s for before, after in itertools.pairwise(got))
    assert {frame.image.shape for frame in got} == {size}
    assert all(frame.image.flags.c_contiguous for frame in got)
    return got


def times(frames: list[Frame]) -> list[float]:
    return [round(frame.time_s, 3) for frame in frames]


def numbers(frames: list[Frame]) -> list[int]:
    return [media.number(frame) for frame in frames]


def drops(frames: list[Frame]) -> dict[int, int]:
    return {frame.index: frame.dropped_before for frame in frames if frame.dropped_before}


def even_times(count: int, rate: int = 25) -> list[float]:
    return [round(i / rate, 3) for i in range(count)]


# --- odd files: what is written, and what must come out --------------------------------------


@dataclasses.dataclass(frozen=True)
class Odd:
    """An odd file and what becomes of it."""

    name: str
    make: Callable[[Path], Path]
    numbers: list[int]
    times: list[float] | None = None
    """None: 25 a second."""
    size: tuple[int, int] = (64, 48)
    drops: dict[int, int] = dataclasses.field(default_factory=dict)


def video(file: str, images: list[media.Image], **how: object) -> Callable[[Path], Path]:
    return lambda folder: media.write(folder / file, images, **how)  # type: ignore[arg-type]


def cut(file: str, part: float, make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make_and_cut(folder: Path) -> Path:
        content = make(folder).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * part)])
        return folder / file

    return make_and_cut


def joined(file: str, *makes: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        contents = [one(folder).read_bytes() for one in makes]
        (folder / file).write_bytes(b"".join(contents))
        return folder / file

    return make


def animated_webp(folder: Path) -> Path:
    animation: Any = cv2.Animation()
    animation.frames = [cv2.cvtColor(image, cv2.COLOR_RGB2BGRA) for image in media.plain(4)]
    animation.durations = np.array([40, 300, 40, 100])
    cv2.imwriteanimation(str(folder / "a.webp"), animation)
    return folder / "a.webp"


UNEVEN = {"stamps": [0, 40, 45, 200, 1000, 1001], "time_base": Fraction(1, 1000)}
AS_IS = {"avoid_negative_ts": "disabled"}
FAST, FINE = {"movflags": "faststart"}, {"qp": "8"}
DAMAGED = {"damage": media.spoil(7, 8, 15)}
HOLED = [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19]

ODD_FILES = [
    Odd("plain", video("a.mp4", media.plain(20)), list(range(20))),
    Odd("reordered", video("a.mkv", media.plain(20), options={"bf": "3"}), list(range(20))),
    Odd("starts at 1.4 s", video("a.ts", media.plain(20)), list(range(20))),
    Odd("no timestamps", video("a.h264", media.plain(20)), list(range(20))),
    Odd(
        "variable rate",
        video("v.mp4", media.plain(6), **UNEVEN),
        list(range(6)),
        [0.0, 0.04, 0.045, 0.2, 1.0, 1.001],
    ),
    Odd(
        "decoding times only",
        video("a.avi", media.plain(9), codec="mpeg4", options={"bf": "2", "qmax": "2"}),
        list(range(9)),
    ),
    Odd(
        "timestamps that count packets",
        video("a.avi", media.plain(20), options={"bf": "3"}),
        [*range(20)],
    ),
    Odd(
        "the same timestamps twice, of pictures in other order",
        joined("ab.ts", *2 * [video("a.ts", media.plain(6), options={"bf": "3"})]),
        [*range(6), *range(6)],
    ),
    Odd(
        "timestamps start anew",
        joined("ab.ts", video("a.ts", media.plain(20)), video("b.ts", media.plain(4))),
        [*range(20), 0, 1, 2, 3],
    ),
    Odd(
        "edit list that hides five pictures",
        video("e.mp4", media.plain(20), stamps=range(-5, 15), container_options=AS_IS),
        list(range(5, 20)),
    ),
    Odd(
        "another size in the middle",
        joined("ab.ts", video("a.ts", media.plain(20)), video("b.ts", media.plain(4, 128, 96))),
        [*range(20), 0, 1, 2, 3],
    ),
    Odd(
        "odd size",
        video("a.mp4", media.plain(5, 65, 49), codec="mpeg4"),
        [*range(5)],
        None,
        (65, 49),
    ),
    Odd("one pixel", video("a.mkv", media.plain(2, 1, 1), codec="ffv1"), [0, 1], None, (1, 1)),
    Odd(
        "ten bits",
        video("a.mkv", media.plain(5), codec="ffv1", pixel_format="yuv420p10le"),
        [*range(5)],
    ),
    Odd("grey", video("a.mkv", media.plain(5), codec="ffv1", pixel_format="gray"), [*range(5)]),
    Odd(
        "a name with signs in it",
        lambda folder: media.write(folder / "b.mp4", media.plain(3)).rename(
            folder / "12:30 a%03d*[x].mp4"
        ),
        [0, 1, 2],
    ),
    Odd(
        "single image",
        video("s%02d.png", media.plain(1), codec="png", pixel_format="rgb24", format="image2pipe"),
        [0],
    ),
    Odd(
        "animated GIF",
        video(
            "a.gif",
            media.plain(4),
            codec="gif",
            pixel_format="gray",
            stamps=[0, 10, 20, 50],
            time_base=Fraction(1, 100),
        ),
        [0, 1, 2, 3],
        [0.0, 0.1, 0.2, 0.5],
    ),
    Odd("animated WebP", animated_webp, [0, 1, 2, 3], [0.0, 0.04, 0.34, 0.38]),
    Odd(
        "cut off, index in front",
        cut(
            "c.mp4",
            0.8,
            video("a.mp4", media.noisy(20), container_options=FAST, options=FINE),
        ),
        list(range(15)),
    ),
    Odd(
        "cut off, no index",
        cut("c.mkv", 0.7, video("a.mkv", media.noisy(20), options=FINE)),
        list(range(13)),
    ),
    Odd(
        "cut off stream",
        cut("c.ts", 0.7, video("a.ts", media.noisy(20), options=FINE)),
        list(range(13)),
    ),
    Odd(
        "damaged packets",
        video("a.avi", media.noisy(20), codec="mjpeg", pixel_format="yuvj420p", **DAMAGED),
        HOLED,
        [round(n / 25, 3) for n in HOLED],
        drops={7: 2, 13: 1},
    ),
]


@pytest.mark.parametrize("odd", ODD_FILES, ids=lambda odd: odd.name)
def test_odd_file(odd: Odd, tmp_path: Path) -> None:
    frames = read(odd.make(tmp_path))
    if odd.name.startswith("cut off"):  # how many survive is the codec's affair; none is wrong
        assert len(odd.numbers) - 2 <= len(frames) <= len(odd.numbers) + 3
        assert numbers(frames) == list(range(len(frames)))
        return
    assert numbers(frames) == odd.numbers
    assert times(frames) == (odd.times or even_times(len(odd.numbers)))
    assert (frames[0].width, frames[0].height) == odd.size
    assert drops(frames) == odd.drops


def test_a_file_that_ends_early_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make = video("a.mkv", media.plain(100), rate=10)
    with caplog.at_level(logging.WARNING):
        read(cut("c.mkv", 0.6, make)(tmp_path))
    assert "cut off or damaged" in caplog.text


def test_a_file_that_cannot_be_read_on_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Connection._packets

    def failing(self: Connection) -> Iterator[Any]:
        yield from itertools.islice(whole(self), 12)
        raise av.error.OSError(errno.EIO, "Input/output error", "a.mkv")

    monkeypatch.setattr(Connection, "_packets", failing)
    path = media.write(tmp_path / "a.mkv", media.plain(20), options={"bf": "0"})
    got: list[Frame] = []
    with opened(path) as source, pytest.raises(SourceBroken, match="input/output error"):
        got.extend(source)
    assert numbers(got) == list(range(12))  # with what the decoder had held back


@pytest.mark.parametrize(
    ("file", "container_options", "least"),
    [
        ("a.ts", {}, 60),
        ("a.mkv", {}, 60),
        # FFmpeg looks through the pieces of a fragmented MP4 once, when it opens it.
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}, 20),
    ],
)
def test_file_that_grows_while_it_is_read(
    file: str, container_options: dict[str, str], least: int, tmp_path: Path
) -> None:
    images = media.noisy(60, 160, 120)
    options = FINE | {"g": "5"}
    whole = media.write(
        tmp_path / file, images, options=options, container_options=container_options
    ).read_bytes()
    growing = _written(tmp_path / f"growing{Path(file).suffix}", whole[: len(whole) // 2])
    with opened(growing) as source:
        frames = iter(source)
        got = [next(frames) for _ in range(3)]
        with growing.open("ab") as file_end:
            file_end.write(whole[len(whole) // 2 :])
        got += frames
    assert len(got) >= least
    assert numbers(got) == [n % 26 for n in range(len(got))]


def test_frames_lost_after_the_last_picture_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage = media.spoil(5, 18, 19)
    how: dict[str, Any] = {"codec": "mjpeg", "pixel_format": "yuvj420p", "damage": damage}
    frames = read(media.write(tmp_path / "a.avi", media.noisy(20), **how))
    assert len(frames) == 17
    assert drops(frames) == {5: 1}
    assert "a.avi: the last 2 frames cannot be decoded" in caplog.text


UNREADABLE: list[tuple[str, Callable[[Path], Path | str], str]] = [
    ("missing", lambda folder: folder / "clip.mp4", "no such file"),
    ("empty", lambda folder: _written(folder / "a.mp4", b""), "empty"),
    ("text", lambda folder: _written(folder / "a.mp4", b"hello\n" * 99), "no video or image"),
    ("no index", cut("c.mp4", 0.5, video("a.mp4", media.plain(9))), "cut off before its index"),
    ("sound only", lambda folder: media.write_sound(folder / "a.m4a", "aac"), "only audio"),
    ("folder without images", lambda folder: folder, "no image among"),
    ("glob without images", lambda folder: folder / "*.png", "no image among"),
    ("damaged image", lambda folder: _written(folder / "a.png", b"\x89PNG junk"), "cannot"),
    ("bad graph", lambda _: "lavfi:nosuchfilter", "cannot open filtergraph"),
    ("no camera", lambda _: "/dev/video97", "no such camera"),
    ("no camera by number", lambda _: "webcam:97", "no such camera"),
    ("strange protocol", lambda _: "gopher2://host/x", "does not speak"),
]


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "words"), [row[1:] for row in UNREADABLE], ids=[r[0] for r in UNREADABLE]
)
def test_unreadable(make: Callable[[Path], Path | str], words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words) as caught:
        opened(make(tmp_path))
    assert not isinstance(caught.value, SourceBroken)
    assert "\n" not in str(caught.value)


def test_the_nearest_file_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"did you mean '.*holiday\.mp4'"):
        opened(tmp_path / "holliday.mp4")


# --- pictures ----------------------------------------------------------------------------------

MATRICES = {"601": (6, 0.299, 0.114), "709": (1, 0.2126, 0.0722), "2020": (9, 0.2627, 0.0593)}
"""FFmpeg's number of the matrix, and its weights of red and blue (ITU-R BT.601, 709, 2020)."""


def expected_rgb(yuv: tuple[int, int, int], matrix: str, full: bool) -> np.ndarray:
    """R' = Y + 2 (1 - Kr) V, B' = Y + 2 (1 - Kb) U, G' from Y = Kr R' + Kg G' + Kb B'."""
    _, red, blue = MATRICES[matrix]
    y, u, v = (float(value) for value in yuv)
    if full:
        y, u, v = y / 255, (u - 128) / 255, (v - 128) / 255
    else:
        y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.array([r, g, b]) * 255, 0, 255)


def flat(yuv: tuple[int, int, int], height: int, pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame(16, height, pixel_format)
    deep = "10" in pixel_format
    for plane, value in zip(frame.planes, yuv, strict=True):
        sample = struct.pack("<H", value * 4) if deep else bytes([value])
        plane.update(sample * (plane.buffer_size // len(sample)))
    return frame


@pytest.mark.parametrize("yuv", [(81, 90, 240), (145, 54, 34), (41, 240, 110), (180, 100, 150)])
@pytest.mark.parametrize(
    ("colour", "height", "pixel_format", "matrix", "full"),
    [
        ({"colorspace": 6}, 16, "yuv420p", "601", False),
        ({"colorspace": 1}, 16, "yuv420p", "709", False),
        ({"colorspace": 9}, 16, "yuv420p", "2020", False),
        ({}, 16, "yuv420p", "601", False),
        ({}, 720, "yuv420p", "709", False),
        ({"colorspace": 6}, 720, "yuv420p", "601", False),
        ({"colorspace": 12}, 720, "yuv420p", "709", False),
        ({"colorspace": 1, "color_range": 2}, 16, "yuv420p", "709", True),
        ({"colorspace": 1}, 16, "yuv444p", "709", False),
        ({"colorspace": 1}, 16, "yuv420p10le", "709", False),
    ],
)
def test_colour(
    yuv: tuple[int, int, int],
    colour: dict[str, int],
    height: int,
    pixel_format: str,
    matrix: str,
    full: bool,
    tmp_path: Path,
) -> None:
    images = [flat(yuv, height, pixel_format)]
    path = media.write(
        tmp_path / "a.mkv", images, codec="ffv1", pixel_format=pixel_format, colour=colour
    )
    frame = read(path)[0]
    assert np.abs(frame.image[5, 5] - expected_rgb(yuv, matrix, full)).max() <= 3


def test_pictures_that_cannot_be_converted_are_lost(tmp_path: Path, monkeypatch: Any) -> None:
    convert = Converter.__call__

    def fail(self: Converter, picture: av.VideoFrame) -> media.Image:
        if picture.pts in (2 * 512, 3 * 512):
            raise av.error.OSError(95, "Operation not supported")
        return convert(self, picture)

    path = media.write(tmp_path / "a.mp4", media.plain(6))
    monkeypatch.setattr(Converter, "__call__", fail)
    frames = read(path)
    assert [media.number(frame) for frame in frames] == [0, 1, 4, 5]
    assert [frame.dropped_before for frame in frames] == [0, 0, 2, 0]


def test_cameras_without_a_matrix_are_taken_as_601() -> None:
    yuv = (81, 90, 240)
    image = Converter(is_camera=True)(flat(yuv, 720, "yuv422p"))
    assert np.abs(image[5, 5] - expected_rgb(yuv, "601", False)).max() <= 3


def test_what_is_known_of_colour_is_handed_on(tmp_path: Path) -> None:
    path = media.write(
        tmp_path / "a.mkv",
        media.plain(1),
        codec="ffv1",
        colour={"colorspace": 1, "color_range": 2, "color_primaries": 1, "color_trc": 1},
    )
    with opened(path) as source:
        assert source.info.colour == {
            "colorspace": 1,
            "color_range": 2,
            "color_primaries": 1,
            "color_trc": 1,
        }


@pytest.mark.parametrize(
    ("rotation", "hflip", "turned"),
    [
        (0, False, lambda image: image),
        (90, False, lambda image: np.rot90(image, 1)),
        (180, False, lambda image: np.rot90(image, 2)),
        (-90, False, lambda image: np.rot90(image, -1)),
        (0, True, np.fliplr),
    ],
    ids=["upright", "90", "180", "-90", "mirrored"],
)
def test_rotation_is_applied(
    rotation: int, hflip: bool, turned: Callable[[media.Image], media.Image], tmp_path: Path
) -> None:
    path = media.write(
        tmp_path / "a.mp4", [media.corner()] * 3, rotation=rotation or None, hflip=hflip
    )
    wanted = turned(media.corner())
    with opened(path) as source:
        assert (source.info.height, source.info.width) == wanted.shape[:2]
        for frame in source:
            assert np.abs(frame.image.astype(int) - wanted).mean() < 4


def photograph(path: Path, orientation: int) -> Path:
    """A JPEG of `media.corner` with an EXIF orientation, as phones write it."""
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, orientation) + bytes(4)
    segment = b"Exif\0\0" + tiff
    jpeg = cv2.imencode(".jpg", media.corner())[1].tobytes()
    marker = b"\xff\xe1" + struct.pack(">H", len(segment) + 2)
    return _written(path, jpeg[:2] + marker + segment + jpeg[2:])


@pytest.mark.parametrize(("orientation", "quarters"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_photographs_are_upright(orientation: int, quarters: int, tmp_path: Path) -> None:
    frame = read(photograph(tmp_path / "a.jpg", orientation))[0]
    wanted = np.rot90(media.corner(), quarters)
    assert np.abs(frame.image.astype(int) - wanted).mean() < 4


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ([[1, 0], [0, -1]], np.flipud),
        ([[0, 1], [1, 0]], lambda image: image.transpose(1, 0, 2)),
        ([[0, -1], [-1, 0]], lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
    ],
)
def test_mirrored_matrices(
    matrix: list[list[int]], turned: Callable[[media.Image], media.Image]
) -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    got = orient(image, np.array(matrix, np.int32) * 65536)
    assert np.array_equal(got, turned(image))


@pytest.mark.parametrize(
    "matrix", [[[0, 0], [0, 0]], [[131072, 0], [0, 65536]], [[-(2**31), 0], [0, -65536]]]
)
def test_matrices_that_turn_nothing(matrix: list[list[int]]) -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    got = orient(image, np.array(matrix, np.int32))
    assert np.array_equal(got, image if matrix[1][1] >= 0 else np.rot90(image, 2))


def test_transparent_parts_are_black(tmp_path: Path) -> None:
    image = np.full((8, 8, 4), 200, np.uint8)
    image[:4, :, 3], image[4:6, :, 3], image[6:, :, 3] = 255, 128, 0
    path = media.write(
        tmp_path / "a.png", [image], codec="png", pixel_format="rgba", format="image2"
    )
    assert [int(level) for level in read(path)[0].image[[0, 4, 7], 0, 0]] == [200, 100, 0]


@pytest.mark.parametrize(
    ("file", "codec", "options"),
    [
        ("a.mpg", "mpeg2video", {"flags": "+ildct+ilme"}),
        ("a.mkv", "libx264", {"x264-params": "tff=1:interlaced=1"}),
    ],
)
def test_interlaced_pictures_are_made_whole(
    file: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = media.write(tmp_path / file, media.combed(8), codec=codec, options=options)
    stored, whole = read(path, deinterlace=False), read(path)
    assert times(whole) == times(stored) == even_times(8)
    assert all(media.combing(frame.image) > 8 for frame in stored)
    assert all(media.combing(frame.image) < 1 for frame in whole)


def test_interlaced_pictures_that_are_tiny_are_left_as_they_are(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme"}
    path = media.write(tmp_path / "a.avi", media.plain(3, 4, 2), codec="mpeg4", options=options)
    assert [frame.image.shape for frame in read(path)] == [(2, 4, 3)] * 3


@pytest.mark.parametrize("gop", ["1", "4"])
def test_a_part_of_an_interlaced_file_is_that_of_the_whole(gop: str, tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "g": gop}
    path = media.write(tmp_path / "a.mov", media.combed(12), codec="mpeg2video", options=options)
    whole, part = read(path), read(path, start_s=0.2)
    assert len(part) == 7
    assert all(np.array_equal(a.image, b.image) for a, b in zip(whole[5:], part, strict=True))


def test_interlaced_and_rotated(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1:interlaced=1"}
    path = media.write(tmp_path / "a.mp4", media.combed(3), options=options, rotation=90)
    assert read(path)[0].image.shape == (128, 96, 3)


def test_fit_keeps_the_shape_and_centres_on_black() -> None:
    image = fit(np.full((10, 40, 3), 200, np.uint8), 20, 20)
    assert image.shape == (20, 20, 3)
    rows = np.flatnonzero(image[:, 10, 0] == 200)
    assert (rows[0], rows[-1]) == (7, 11)


# --- images ------------------------------------------------------------------------------------


def save(path: Path, image: media.Image) -> Path:
    return media.write(path, [image], codec="png", pixel_format="rgb24", format="image2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images 1, 2, 10 and between them one of another size, one damaged, one that is none."""
    images = tmp_path / "holiday"
    images.mkdir()
    for i in (1, 2, 10):
        save(images / f"im{i}.png", media.plain(11)[i])
    save(images / "im3.png", np.full((48, 32, 3), 200, np.uint8))
    _written(images / "im4.jpg", b"junk")
    _written(images / "notes.txt", b"no image")
    return images


def test_folder_of_images(folder: Path) -> None:
    frames = read(folder, image_rate=10.0)
    # Natural order; the damaged one left out, counted, and its time kept.
    assert times(frames) == [0.0, 0.1, 0.2, 0.4]
    assert [numbers(frames)[i] for i in (0, 1, 3)] == [1, 2, 10]
    assert drops(frames) == {3: 1}
    # The other size is fitted into that of the first image, centred on black.
    assert frames[2].image[24, 32].tolist() == [200, 200, 200]
    assert frames[2].image[24, 2].tolist() == frames[2].image[24, -3].tolist() == [0, 0, 0]


def test_glob_of_images(folder: Path) -> None:
    assert numbers(read(folder / "im1*.png")) == [1, 10]
    with opened(folder / "im1*.png") as source:
        assert (source.info.name, source.info.frame_count) == ("holiday", 2)
        assert (source.info.rate, source.info.time_base) == (Fraction(25), None)


def test_part_of_a_folder(folder: Path) -> None:
    frames = read(folder, image_rate=10.0, start_s=0.1, duration_s=0.15)
    assert times(frames) == [0.1, 0.2]
    with pytest.raises(SourceError, match="start_s is 9"):
        opened(folder, start_s=9.0)


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("a.jpg", media.plain(5)[4]),
        ("a.bmp", media.plain(5)[4]),
        ("a.tif", media.plain(5)[4]),
        ("a.webp", media.plain(5)[4]),
        ("a.pgm", media.plain(5)[4][..., 0]),
        ("a.png", media.plain(5)[4].astype(np.uint16) * 257),
    ],
)
def test_kinds_of_images(file: str, image: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / file), image)
    assert numbers(read(tmp_path)) == [4]


def test_names_win_over_folders_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    save(tmp_path / "demo" / "a.png", media.plain(1)[0])
    with contextlib.suppress(SourceError), opened("demo") as source:
        assert source.info.width > 64
    assert len(read("./demo")) == 1


# --- parts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["mp4", "mkv", "ts", "avi", "webm", "m4v.avi", "mpg.mkv"])
def long_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds with a key frame each second, pictures reordered where the format can."""
    extension = request.param
    options = {"g": "25", "bf": "2"}
    codec = "libvpx" if extension == "webm" else "libx264"
    if codec == "libvpx":
        options = {"g": "25", "deadline": "realtime", "cpu-used": "8"}
    elif extension == "m4v.avi":  # key frames behind pictures that come before them
        codec = "mpeg4"
    elif extension == "mpg.mkv":
        codec = "mpeg2video"
    path = tmp_path_factory.mktemp("long") / f"a.{extension}"
    return media.write(path, media.plain(75), codec=codec, options=options)


@pytest.mark.parametrize(
    ("start_s", "duration_s"), [(0.0, 0.5), (0.5, None), (1.0, 0.4), (1.02, 0.0401), (2.96, 9.0)]
)
def test_part_of_a_file(long_file: Path, start_s: float, duration_s: float | None) -> None:
    end_s = start_s + (duration_s or 100)
    whole = [frame for frame in read(long_file) if start_s - 1e-6 <= frame.time_s < end_s - 1e-6]
    part = read(long_file, start_s=start_s, duration_s=duration_s)
    assert times(part) == times(whole)
    assert numbers(part) == numbers(whole)
    assert not drops(part)


def test_a_file_that_gives_the_times_of_decoding_drops_little(tmp_path: Path) -> None:
    def damage(packet: av.Packet, n: int) -> None:
        packet.pts = packet.dts

    path = media.write(tmp_path / "a.mkv", media.plain(60), options={"bf": "2"}, damage=damage)
    frames = read(path)
    assert len(frames) == 60
    assert sum(drops(frames)) <= 2


def test_a_source_is_read_once(long_file: Path) -> None:
    with opened(long_file) as source:
        assert len(list(source)) == 75
        assert list(source) == []


def test_start_behind_the_end(long_file: Path) -> None:
    with opened(long_file, start_s=60.0) as source, pytest.raises(SourceError, match="start_s"):
        list(source)


def test_live_sources_have_no_past() -> None:
    with pytest.raises(SourceError, match="no past"), tcp_server() as url:
        opened(url, start_s=1.0)


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    path = media.write(tmp_path / "my clip (1).mp4", media.plain(50))
    with opened(path) as source:
        info = source.info
    assert (info.name, info.width, info.height, info.is_live) == ("my-clip-1", 64, 48, False)
    assert (info.rate, info.frame_count, info.duration_s) == (Fraction(25), 50, 2.0)
    with opened(path, start_s=0.5, duration_s=1.0) as source:
        assert (source.info.frame_count, source.info.duration_s) == (25, 1.0)


def test_what_is_known_of_a_recording_that_begins_later(tmp_path: Path) -> None:
    how: dict[str, Any] = {"stamps": range(5000, 7000, 40), "time_base": Fraction(1, 1000)}
    path = media.write(tmp_path / "a.mkv", media.plain(50), **how)
    with opened(path) as source:
        assert source.info.duration_s == pytest.approx(2.0, abs=0.05)
        assert len(list(source)) == 50


@pytest.mark.parametrize(
    "bad",
    [
        {"start_s": -1.0},
        {"start_s": 1e300},
        {"duration_s": math.nan},
        {"source": ""},
        {"region": [[0, 0], [1, 1], [0.5, 0.5]]},
        {"duration_s": 0.0},
        {"image_rate": 0.0},
        {"camera_width": 640},
        {"rtsp_transport": "pigeon"},
    ],
)
def test_settings_that_make_no_sense(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        SourceConfig(**bad)  # type: ignore[arg-type]


# --- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamps", "wanted"),
    [
        ([5.0, 5.1, 5.25], [0.0, 0.1, 0.25]),
        ([None, None, None], [0.0, 0.04, 0.08]),
        ([1.0, None, 1.08], [0.0, 0.04, 0.08]),
        ([0.0, 0.04, 0.04, 0.12], [0.0, 0.04, 0.08, 0.12]),
        ([0.0, 0.04, 0.02, 0.12], [0.0, 0.04, 0.08, 0.12]),
        ([0.0, 0.04, 0.08, 0.05, 0.06, 0.2], [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]),
        ([7.0, 8.0, 9.0, 0.0, 0.5, 1.5], [0.0, 1.0, 2.0, 2.04, 2.54, 3.54]),
        ([0.0, 10.0, 10.04], [0.0, 10.0, 10.04]),
    ],
    ids=["kept", "none", "missing", "twice", "back", "back for long", "anew", "gap"],
)
def test_clock(stamps: list[float | None], wanted: list[float]) -> None:
    clock = Clock(0.04)
    assert [clock.time_s(stamp) for stamp in stamps] == pytest.approx(wanted)


def test_clock_goes_on_after_a_gap() -> None:
    clock = Clock(0.04)
    clock.time_s(100.0)
    clock.time_s(100.04)
    clock.resume(2.0)
    assert [clock.time_s(0.0), clock.time_s(0.04)] == pytest.approx([2.04, 2.08])


# --- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.7:554/cam", "rtsp://10.0.0.7:554/cam"),
        ("rtsp://admin:p@ss@10.0.0.7/cam", "rtsp://10.0.0.7/cam"),
        ("RTSP://s3cret@host/cam", "RTSP://host/cam"),
        ("rtsp://admin:s3/cr#et?s3cret@host/cam", "rtsp://host/cam"),
        ("http://host:8080/@home/a.mp4", "http://host:8080/@home/a.mp4"),
        ("cannot open 'rtsp://admin:s3cret@host/cam': no", "cannot open 'rtsp://host/cam': no"),
        ("http://host/v?channel=1&password=s3cret&x=2", "http://host/v?channel=1&password=***&x=2"),
        ("http://host/v?access_token=s3cret", "http://host/v?access_token=***"),
        ("rtsp://host/user=a_password=s3cret_channel=1", "rtsp://host/user=***"),
        ("http://host/v.m3u8?X-Amz-Signature=s3cret", "http://host/v.m3u8?X-Amz-Signature=***"),
        ("http://host/v#token=s3cret", "http://host/v#token=***"),
        ("http://host:8080/a/@home/b.mp4", "http://host:8080/a/@home/b.mp4"),
        ("rtsp://user:[s3cret]@host:1/x", "rtsp://host:1/x"),
        ("rtsp://user:my s3cret@host:1/x", "rtsp://host:1/x"),
        ("http://host/v?password=a's3cret&x=2", "http://host/v?password=***&x=2"),
        ("rtsp://user:12/s3cret@host:1/x", "rtsp://host:1/x"),
        ("rtsp://admin:s3/s3cret@y@host/cam", "rtsp://host/cam"),
        ("http://host/v?pw=s3cret&codec=h264", "http://host/v?pw=***&codec=h264"),
        ("'http://h/v?jwt=s3cret': nobody is there", "'http://h/v?jwt=***': nobody is there"),
        (
            "give path.to.key=VALUE, not rtsp://u:s3cret@h/x",
            "give path.to.key=VALUE, not rtsp://h/x",
        ),
        ("http://h/v?token=s3cret lost", "http://h/v?token=*** lost"),
        ("http://h/v?token=s3:cret: lost", "http://h/v?token=***: lost"),
        ("clip@home.mp4", "clip@home.mp4"),
    ],
)
def test_secrets_are_not_shown(source: str, shown: str) -> None:
    assert redact(source) == shown
    assert "s3cret" not in repr(SourceConfig(source=source, options={"password": "s3cret"}))


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:s3cret@127.0.0.1:9/cam?token=s3cret",
        "tcp://admin:s3cret@127.0.0.1:9",
        "http://admin:s3cret@127.0.0.1:9/a.mp4",
        "http://admin:s3cret@nosuch.invalid/a.mp4",
    ],
)
def test_secrets_are_in_no_message(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceError) as caught:
        opened(address, open_timeout_s=2.0)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in caplog.text
    assert caught.value.__suppress_context__  # FFmpeg's own error quotes the address


@pytest.mark.parametrize(
    ("text", "name"),
    [("/dev/video0", "video0"), ("a b/c", "a-b-c"), ("...", "source"), ("x" * 200, "x" * 80)],
)
def test_names_fit_folders(text: str, name: str) -> None:
    assert safe_name(text) == name


# --- cameras -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (av.error.OSError(errno.EBUSY, "Device or resource busy"), "another program"),
        (av.error.PermissionError(errno.EACCES, "Permission denied"), "usermod -aG video"),
        (av.error.ArgumentError(errno.EINVAL, "Invalid argument"), "does not offer"),
        (av.error.OSError(errno.ENODEV, "No such device"), "no such camera"),
    ],
)
def test_camera_troubles_have_words(error: Exception, words: str) -> None:
    camera = Input(Kind.CAMERA, "video0", "/dev/video0", "/dev/video0", "v4l2")
    assert words in str(cannot_open(camera, error))


def test_unplugged_camera_has_words() -> None:
    camera = Input(Kind.CAMERA, "video0", "/dev/video0", "/dev/video0", "v4l2")
    assert "unplugged" in lost_words(camera, av.error.OSError(errno.ENODEV, "No such device"))


def test_missing_camera_names_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [av.device.DeviceInfo("/dev/video2", "HD Webcam", False, ["video"])]
    monkeypatch.setattr(av.device, "enumerate_input_devices", lambda _: known)
    assert list_cameras() == [("/dev/video2", "HD Webcam")]
    with pytest.raises(SourceError, match=r"cameras here: /dev/video2 \(HD Webcam\)"):
        opened("/dev/video97")
    assert cameras_module.camera_device("webcam") == "/dev/video2"
    assert cameras_module.camera_device("webcam:1") == "/dev/video1"


def test_what_is_asked_of_a_camera() -> None:
    config = SourceConfig(
        source="webcam", camera_width=1280, camera_height=720, camera_rate=30, camera_format="mjpeg"
    )
    options = cameras_module.camera_options(config)
    assert options["video_size"] == "1280x720"
    assert options["framerate"] == "30"
    assert "mjpeg" in options.values()


@pytest.mark.camera
def test_camera() -> None:
    with opened("webcam", duration_s=1.0) as source:
        assert source.info.is_live
        assert next(iter(source)).image.any()


# --- live --------------------------------------------------------------------------------------


def test_file_played_live_keeps_its_pace(tmp_path: Path) -> None:
    path = media.write(tmp_path / "a.mp4", media.plain(11))
    with opened(path, live=True) as source:
        assert source.info.is_live
        start_s = time.perf_counter()
        got = [(frame.time_s, frame.captured_s) for frame in source]
    taken_s = time.perf_counter() - start_s
    assert 0.4 <= taken_s < 5
    for time_s, captured_s in got:
        assert captured_s - start_s >= time_s - 0.01


def test_more_of_what_ffmpeg_can_be_told(tmp_path: Path) -> None:
    raw = b"".join(image[..., 0].tobytes() for image in media.plain(5))
    path = _written(tmp_path / "a.raw", raw)
    options = {"video_size": "64x48", "pixel_format": "gray", "framerate": 10}
    frames = read(path, format="rawvideo", options=options)
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert times(frames) == even_times(5, rate=10)


def test_file_address(tmp_path: Path) -> None:
    path = media.write(tmp_path / "a b.mp4", media.plain(3))
    assert numbers(read(path.as_uri())) == [0, 1, 2]


def test_filtergraph() -> None:
    frames = read("lavfi:testsrc2=size=64x48:rate=30", duration_s=0.5)
    assert len(frames) == 15


def test_standard_input(tmp_path: Path, root: Path) -> None:
    path = media.write(tmp_path / "a.mkv", media.plain(20))
    code = (
        "from pipeline.sources import SourceConfig, open_source\n"
        "with open_source(SourceConfig(source='-')) as source:\n"
        "    print(source.info.name, source.info.is_live, sum(1 for _ in source))\n"
    )
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=file, capture_output=True, cwd=root, timeout=30
        )
    assert done.stdout.split() == [b"stdin", b"False", b"20"], done.stderr


# --- streams -----------------------------------------------------------------------------------


def test_stream_lost_and_found_at_another_size(caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.ExitStack() as first:
        url = first.enter_context(tcp_server())
        with opened(url, reconnect_s=20.0) as source:
            assert source.info.is_live
            pictures = iter(source)
            before = [next(pictures) for _ in range(10)]
            first.close()  # the server hangs up ...
            with tcp_server(int(url.rpartition(":")[2]), width=128, height=96):  # and comes back
                before += media.frames_until(pictures, lambda frame: frame.dropped_before > 0)
                after = [before.pop(), *(next(pictures) for _ in range(5))]
    frames = [*before, *after]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert numbers(after) == [0, 1, 2, 3, 4, 5]
    gap_s = after[0].time_s - before[-1].time_s
    assert gap_s > 0.2
    assert after[0].dropped_before == pytest.approx(gap_s * 25, abs=2)
    assert "lost" in caplog.text
    assert "128x96" in caplog.text


def test_rtsp(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with contextlib.ExitStack() as first:
        server = first.enter_context(rtsp_server())
        with opened(rtsp_address(server), reconnect_s=20.0) as source:
            assert source.info.is_live
            assert source.info.name == "127.0.0.1-cam"
            assert "TCP" in server.transports[0]
            pictures = iter(source)
            before = [next(pictures) for _ in range(5)]
            assert numbers(before) == [0, 1, 2, 3, 4]
            first.close()
            with rtsp_server(server.port):
                media.frames_until(pictures, lambda frame: frame.dropped_before > 0)
    assert "lost" in caplog.text
    assert PASSWORD not in caplog.text


def test_rtsp_with_the_wrong_password() -> None:
    with (
        rtsp_server() as server,
        pytest.raises(SourceError, match="user name or password") as caught,
    ):
        opened(rtsp_address(server, password="s3cret2"))
    assert "s3cret" not in str(caught.value)


def test_stream_that_stays_away_breaks_off() -> None:
    with contextlib.ExitStack() as server:
        url = server.enter_context(tcp_server())
        with opened(url, reconnect_s=0.5) as source:
            pictures = iter(source)
            next(pictures)
            server.close()
            start_s = time.perf_counter()
            with pytest.raises(SourceBroken, match=r"did not come back within 0\.5 s"):
                list(pictures)
            assert time.perf_counter() - start_s < 10


def test_stream_that_falls_silent_breaks_off() -> None:
    with (
        tcp_server(count=10, silent=True) as url,
        opened(url, read_timeout_s=0.5, open_timeout_s=0.5, reconnect_s=0.0) as source,
        pytest.raises(SourceBroken, match="nothing came in time"),
    ):
        list(source)


def test_without_reconnection_the_end_of_a_stream_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with tcp_server(count=25) as url:
        with opened(url, reconnect_s=0.0) as source:
            assert numbers(list(source)) == list(range(25))
        with opened(url, reconnect_s=20.0) as source:
            media.frames_until(iter(source), lambda frame: frame.dropped_before > 0)
    assert "ended it, which source.reconnect_s=0 takes for its regular end" in caplog.text


def test_closing_ends_the_wait_for_a_lost_stream() -> None:
    with contextlib.ExitStack() as server:
        url = server.enter_context(tcp_server())
        with opened(url, reconnect_s=60.0) as source:
            pictures = iter(source)
            next(pictures)
            server.close()
            threading.Timer(0.5, source.close).start()
            start_s = time.perf_counter()
            list(pictures)
            assert time.perf_counter() - start_s < 10


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_silent_server_times_out() -> None:
    start_s = time.perf_counter()
    with silent_server() as url, pytest.raises(SourceError, match="nothing came in time"):
        opened(url, open_timeout_s=0.3)
    assert time.perf_counter() - start_s < 5


class _Noise(socketserver.BaseRequestHandler):
    """Sends noise without end."""

    def handle(self) -> None:
        noise = np.random.default_rng(0).bytes(1 << 16)
        with contextlib.suppress(OSError):
            while True:
                self.request.sendall(noise)


def test_noise_without_end_is_given_up_on() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Noise) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        start_s = time.perf_counter()
        with pytest.raises(SourceError, match="not a video"):
            opened(f"tcp://127.0.0.1:{server.server_address[1]}", open_timeout_s=20.0)
        assert time.perf_counter() - start_s < 19
        server.shutdown()


@pytest.mark.parametrize("seed", [0, 131])  # FFmpeg takes 131 for the beginning of a recording
def test_noise_without_end_on_standard_input(root: Path, seed: int) -> None:
    code = (
        "from pipeline.sources import SourceConfig, container, open_source\n"
        "container.SEARCHED_BYTES = 1 << 24\n"
        "from pipeline.errors import SourceError\n"
        "try: open_source(SourceConfig(source='-'))\n"
        "except SourceError as error: print(error)\n"
    )
    endless = (
        "import random, sys\n"
        f"noise = random.Random({seed})\n"
        "try:\n"
        "    while True: sys.stdout.buffer.write(noise.randbytes(65536))\n"
        "except BrokenPipeError: sys.stderr.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", endless], stdout=subprocess.PIPE) as noise:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=noise.stdout,
            capture_output=True,
            cwd=root,
            timeout=60,
        )
        noise.kill()
    assert b"no video" in done.stdout, done.stderr


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/closed"):
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server that shows `tmp_path`."""
    handler = functools.partial(_Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_file_on_the_web_loses_no_frame(web: str, tmp_path: Path) -> None:
    media.write(tmp_path / "a.mkv", media.plain(20))
    with opened(f"{web}/a.mkv") as source:
        assert (source.info.name, source.info.is_live) == ("127.0.0.1-a.mkv", False)
        assert numbers(list(source)) == list(range(20))
    assert len(read(f"HTTP{web.removeprefix('http')}/a.mkv")) == 20


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("nosuch.mp4", "404"),
        ("closed.mp4", "user name or password"),
        ("a.txt", "no video"),
    ],
)
def test_what_the_web_refuses(page: str, words: str, web: str, tmp_path: Path) -> None:
    _written(tmp_path / "a.txt", b"hello\n" * 99)
    with pytest.raises(SourceError, match=words):
        opened(f"{web}/{page}")


# --- real clips --------------------------------------------------------------------------------


@pytest.mark.skipif(not CLIPS.is_dir(), reason="no real clips here")
@pytest.mark.parametrize("path", sorted(CLIPS.glob("*.mp4")), ids=lambda path: path.stem)
def test_real_clip(path: Path) -> None:
    with opened(path) as source:
        previous_s = -1.0
        count = 0
        for frame in source:
            assert frame.index == count
            assert frame.time_s > previous_s
            assert frame.dropped_before == 0
            assert frame.image.shape == (source.info.height, source.info.width, 3)
            previous_s, count = frame.time_s, count + 1
    assert count == source.info.frame_count


def test_demo_scene_is_at_hand() -> None:
    with opened("demo") as source:
        assert source.info.name == "demo"
        assert next(iter(source)).image.any()


@pytest.mark.parametrize("file", ["a.mkv", "a.ts", "a.flv", "a.avi"])
def test_a_part_of_standard_input_is_that_of_the_file(file: str, tmp_path: Path) -> None:
    path = media.write(tmp_path / file, media.plain(50))
    wanted = [(frame.index, round(frame.time_s, 3)) for frame in read(path, start_s=0.5)]
    code = (
        "from pipeline.sources import SourceConfig, open_source\n"
        "with open_source(SourceConfig(source='-', start_s=0.5)) as source:\n"
        "    print([(frame.index, round(frame.time_s, 3)) for frame in source])"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=pipe.stdout, capture_output=True, cwd=root
        )
    assert done.stdout.decode().strip() == str(wanted), done.stderr


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    for number, image in enumerate(media.plain(3)):
        save(tmp_path / f"img{number}.png", image)
    save(tmp_path / ".hidden.png", np.zeros((5, 5, 3), np.uint8))
    (tmp_path / "._img0.png").write_bytes(b"as macOS leaves them")
    for source in (tmp_path, tmp_path / "*.png"):
        frames = read(source)
        assert drops(frames) == {}
        assert [frame.image.shape for frame in frames] == 3 * [media.plain(1)[0].shape]


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [image[..., ::-1] for image in media.plain(4)]
    assert cv2.imwritemulti(str(tmp_path / "stack.tif"), pages)
    frames = read(tmp_path / "stack.tif", image_rate=10.0)
    assert times(frames) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert all((f.image == page).all() for f, page in zip(frames, media.plain(4), strict=True))
