"""Small videos and images with known content, made with PyAV: the brightness tells the frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.frames import Frame

DARKEST, STEP = 24, 8

Image = NDArray[np.uint8]


def grey(number: int) -> int:
    """Level of frame `number`: steps of 8, so that it survives lossy coding; repeats after 26."""
    return DARKEST + STEP * (number % 26)


def number(frame: Frame) -> int:
    """Which frame a decoded picture is: the number that `grey` was given, modulo 26."""
    return round((float(frame.image.mean()) - DARKEST) / STEP)


def frames_until(pictures: Iterator[Frame], found: Callable[[Frame], bool]) -> list[Frame]:
    """The next frames, up to and with the first for which `found` is true."""
    frames = [next(pictures)]
    while not found(frames[-1]):
        assert len(frames) < 250
        frames.append(next(pictures))
    return frames


def plain(count: int, width: int = 64, height: int = 48) -> list[Image]:
    """`count` pictures of one grey level each."""
    return [np.full((height, width, 3), grey(i), np.uint8) for i in range(count)]


def corner(width: int = 64, height: int = 48) -> Image:
    """A black picture with a white upper left quarter: shows how it was turned."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


def picture(image: Image, pixel_format: str) -> av.VideoFrame:
    """An FFmpeg picture from RGB, or RGBA where `image` has four channels."""
    frame = av.VideoFrame.from_ndarray(image, "rgba" if image.shape[2] == 4 else "rgb24")
    return frame.reformat(format=pixel_format)


def write(
    path: Path,
    images: Sequence[Image | av.VideoFrame],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: float | None = None,
    hflip: bool = False,
    colour: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,  # noqa: A002 - PyAV's name
    damage: Callable[[av.Packet, int], None] | None = None,
) -> Path:
    """Encode `images`; `stamps` are their pts in `time_base`; `damage` gets each packet."""
    first = images[0]
    if not isinstance(first, av.VideoFrame):
        first = picture(first, pixel_format)
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, pixel_format
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if rotation is not None or hflip:
            stream.set_display_rotation(rotation or 0, hflip=hflip)
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        packets: list[av.Packet] = []
        for n, image in enumerate(images):
            frame = image if isinstance(image, av.VideoFrame) else picture(image, pixel_format)
            frame.pts = n if stamps is None else stamps[n]
            frame.time_base = time_base or Fraction(1, rate)
            packets += stream.encode(frame)
        packets += stream.encode()
        for n, packet in enumerate(packets):
            if damage is not None:
                damage(packet, n)
            container.mux(packet)
    return path


def write_sound(path: Path, codec: str, seconds: float = 0.2) -> Path:
    """A file with sound and nothing else."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=44100)
        for start in range(0, int(44100 * seconds), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), "s16", "stereo")
            frame.sample_rate, frame.pts = 44100, start
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def spoil(*which: int) -> Callable[[av.Packet, int], None]:
    """For `write`: fills the later half of these packets with noise."""
    noise = np.random.default_rng(0)

    def damage(packet: av.Packet, n: int) -> None:
        if n in which:
            content = bytes(packet)
            kept = len(content) // 2
            packet.update(content[:kept] + noise.bytes(len(content) - kept))

    return damage


def noisy(count: int, width: int = 64, height: int = 48) -> list[Image]:
    """`plain` with noise on it, so that its packets are not tiny."""
    rng = np.random.default_rng(0)
    return [
        np.clip(image.astype(int) + rng.integers(-6, 7, image.shape), 0, 255).astype(np.uint8)
        for image in plain(count, width, height)
    ]


def combed(count: int, width: int = 128, height: int = 96) -> list[Image]:
    """A bright bar that moves between the two fields of each picture."""
    images = []
    for i in range(count):
        image = np.full((height, width, 3), 60, np.uint8)
        for field in (0, 1):
            left = 10 + 8 * i + 4 * field
            image[field::2, left : left + 20] = 220
        images.append(image)
    return images


def combing(image: Image) -> float:
    """How much each line differs from the mean of its neighbours, in levels."""
    lines = image[..., 1].astype(float)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())
