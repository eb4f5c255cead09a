"""The last step of a video: the same packets in a plain MP4, with the sound of the source."""

from __future__ import annotations

import heapq
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

_Timed = tuple[float, "Packet[Any]"]


def remux(pictures: Path, target: Path, sound: str | None = None, first_s: float = 0.0) -> None:
    """Copy a video into an MP4 that has its index in front, and sound of another file with it.

    Sound that cannot be read, or that MP4 cannot hold, is left out with a warning.

    Args:
        pictures: a file with one video stream that starts at 0.
        target: made anew.
        sound: a file whose first audio stream is copied, None for no sound.
        first_s: time of the first picture in `sound`, counted from the first picture there.

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
                packets.append(_packets(source, audio, copy, _start_s(source) + first_s, end_s))
        for _, packet in heapq.merge(*packets, key=lambda timed: timed[0]):
            writer.mux(packet)


def _start_s(container: InputContainer) -> float:
    """When the first picture of a file is shown, on the clock of the file."""
    for stream in container.streams.video:
        if stream.start_time is not None and stream.time_base:
            return float(stream.start_time * stream.time_base)
    return 0.0


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
