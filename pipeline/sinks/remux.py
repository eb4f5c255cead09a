"""The last step of a video: the same packets in a plain MP4, with the sound of the source."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

log = logging.getLogger(__name__)

# How the description of H.264 begins in containers that put lengths before its units.
_AVCC = b"\x01"

_Timed = tuple[float, "Packet[Any]"]


def remux(pictures: Path, target: Path, sound: str | None = None, first_s: float = 0.0) -> None:
    """Copy a video into an MP4 that has its index in front, and sound of another file with it.

    Sound that cannot be read, or that MP4 cannot hold, is left out with a warning.

    Args:
        pictures: a file with one video stream that starts at 0.
        target: made anew.
        sound: a file whose first audio stream is copied, None for no sound.
        first_s: time of the first picture on the clock of `sound`.

    Raises:
        FFmpegError: the video cannot be read or the target not be written.
    """
    try:
        _copy(pictures, target, sound, first_s)
    except (FFmpegError, ValueError) as error:
        if sound is None:
            raise
        log.warning("the sound is left out: %s", getattr(error, "strerror", None) or error)
        _copy(pictures, target, None, first_s)


def has_sound(path: str) -> bool:
    """Whether there is an audio stream in a file; False where it cannot be read."""
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return bool(container.streams.audio)
    except (FFmpegError, ValueError):
        return False


def first_packets(path: Path, number: int) -> Iterator[Packet[Any]]:
    """The first packets of the pictures in a file, up to `number`, as their encoder gave them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        has_lengths = (stream.codec_context.extradata or b"").startswith(_AVCC)
        packets = (packet for packet in container.demux(stream) if packet.size)
        for packet in itertools.islice(packets, number):
            if has_lengths:
                packet.update(_with_start_codes(bytes(packet)))
            yield packet


def _with_start_codes(units: bytes) -> bytes:
    """H.264 in which start codes stand between the units, where containers put lengths."""
    out, at = bytearray(units), 0
    while at < len(units):
        length = int.from_bytes(units[at : at + 4], "big")
        out[at : at + 4] = b"\0\0\0\1"
        at += 4 + length
    return bytes(out)


def count(path: Path, most: int) -> int:
    """Packets of pictures in a file, counted up to `most`; 0 where it cannot be read."""
    try:
        return sum(1 for _ in first_packets(path, most))
    except FFmpegError:
        return 0


def _copy(pictures: Path, target: Path, sound: str | None, first_s: float) -> None:
    with ExitStack() as stack:
        reader = stack.enter_context(av.open(str(pictures)))
        writer = stack.enter_context(
            av.open(str(target), "w", format="mp4", options={"movflags": "faststart"})
        )
        video = reader.streams.video[0]
        end_s = float((video.duration or 0) * (video.time_base or 0))
        packets = [_packets(reader, video, writer.add_stream_from_template(video), 0.0, end_s)]
        if sound is not None:
            source = stack.enter_context(av.open(f"file:{sound}", metadata_errors="replace"))
            for audio in source.streams.audio[:1]:
                copy = writer.add_stream_from_template(audio)
                packets.append(_packets(source, audio, copy, first_s, end_s))
        for _, packet in heapq.merge(*packets, key=lambda timed: timed[0]):
            writer.mux(packet)


def _packets(
    container: InputContainer,
    stream: av.VideoStream | AudioStream,
    copy: av.VideoStream | AudioStream,
    start_s: float,
    end_s: float,
) -> Iterator[_Timed]:
    """Packets of a stream between two times, made those of its `copy`, with their times.

    `start_s`, on the clock of `container`, becomes 0; `end_s` is counted from there.
    """
    for packet in container.demux(stream):
        if packet.pts is None or packet.dts is None or not packet.size:
            continue
        ticks = round(start_s / packet.time_base)
        time_s = float((packet.pts - ticks) * packet.time_base)
        if time_s < 0:
            continue
        if time_s > end_s:
            return
        packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        packet.stream = copy
        yield time_s, packet
