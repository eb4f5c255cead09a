"""One opened container: the decoded pictures of its video stream, in order."""

from __future__ import annotations

import heapq
import itertools
import logging
import os
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.sources.config import SourceConfig
from pipeline.sources.inputs import Input, Kind, cannot_open

log = logging.getLogger(__name__)

MAX_READ_ERRORS = 100
"""So many unreadable places in a row, and a container counts as broken."""

SEEK_MARGINS_S = (0.0, 5.0, 30.0)
"""How far before the wanted time to seek, one after the other, until it lands early enough."""

_MAX_RATE = 1000

Picture = tuple[av.VideoFrame, int]
"""A decoded picture, and how many packets could not be decoded since the one before."""


class Connection:
    """A container held open; knows its first picture from the start.

    Use it from one thread at a time: closing while another thread reads crashes FFmpeg.

    Raises:
        SourceError: If it cannot be opened or gives no picture.
    """

    def __init__(self, source: Input, config: SourceConfig) -> None:
        self._source = source
        self._config = config
        self._connect()

    def _connect(self) -> None:
        self._container = _open(self._source, self._config)
        try:
            self.stream = _video_stream(self._source, self._container)
            self.is_live = _is_live(self._source, self._config, self._container)
            self.duration_s = _duration_s(self.stream, self._container)
            self._prepare_decoder()
            self._pictures: Iterator[Picture] = self._decode()
            self.first = self._first()
        except FFmpegError as error:
            self.close()
            raise cannot_open(self._source, error) from None
        except BaseException:
            self.close()
            raise

    def stamp_s(self, picture: av.VideoFrame) -> float | None:
        """Return the timestamp of a picture in seconds on the container's clock.

        That of presentation, or where it is missing (AVI) that of decoding; None without both.
        """
        stamp = picture.pts if picture.pts is not None else picture.dts
        if stamp is None or not self.stream.time_base:
            return None
        return float(stamp * self.stream.time_base)

    def pictures(self) -> Iterator[Picture]:
        """Give the pictures from here to the end.

        Raises:
            FFmpegError: If the container breaks off; what was read before is given first.
        """
        return self._pictures

    def seek(self, time_s: float) -> None:
        """Go on with a picture at or before `time_s`, or with the first there is.

        Args:
            time_s: Seconds after the first picture.
        """
        origin = self.stamp_s(self.first)
        base = self.stream.time_base
        if origin is None or not base:
            return
        for margin_s in SEEK_MARGINS_S:
            wanted_s = origin + max(time_s - margin_s, 0.0)
            try:
                self._container.seek(int(wanted_s / base), stream=self.stream)
            except FFmpegError:  # not seekable: the pictures come from where it stands
                return
            self._pictures = self._decode()
            landed = self._peek()
            landed_s = None if landed is None else self.stamp_s(landed)
            if landed_s is not None and landed_s <= origin + time_s:
                return
        self.close()
        self._connect()

    def close(self) -> None:
        """Close the container. Twice is once."""
        self._container.close()

    @property
    def rate(self) -> Fraction | None:
        """Mean frames a second as the container claims it."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate):
            if rate and 0 < rate <= _MAX_RATE:
                return rate
        return None

    def _prepare_decoder(self) -> None:
        # Frame threads are fastest, and hold back a frame each.
        self.stream.thread_type = "SLICE" if self.is_live else "AUTO"
        self.stream.thread_count = self._config.decoder_threads or min(os.cpu_count() or 1, 4)

    def _first(self) -> av.VideoFrame:
        picture = self._peek()
        if picture is None:
            raise SourceError(
                f"cannot read {self._source.kind.value} {self._source.label!r}: "
                f"no picture of its {self.stream.codec_context.name} video can be decoded"
            )
        return picture

    def _peek(self) -> av.VideoFrame | None:
        """Return the next picture, and leave it to be given; None at the end."""
        for picture, lost in self._pictures:
            self._pictures = itertools.chain([(picture, lost)], self._pictures)
            return picture
        return None

    def _decode(self) -> Iterator[Picture]:
        """Give the pictures from here; a packet that cannot be decoded is lost."""
        lost = 0
        expected = _Expected()
        broken: FFmpegError | None = None
        packets = self._packets()
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                broken, packet = error, None
            if packet is not None:
                expected.add(packet)
            try:
                empty = packet is not None and packet.size == 0  # would end the decoder
                pictures = [] if empty else self.stream.decode(packet)
            except FFmpegError:
                lost += packet is not None and packet.pts is None
                pictures = []
            for picture in pictures:
                yield picture, lost + expected.passed_over(picture)
                lost = 0
            if packet is None:
                break
        if broken is not None:
            raise broken

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        """Give the packets of the stream, going on behind places that cannot be read.

        A last packet that is cut off is left out: what it does to the decoder costs whole ones.
        """
        errors = 0
        held: Packet[VideoStream] | None = None
        while True:
            try:
                for packet in self._container.demux(self.stream):
                    if packet.size == 0 and packet.pts is None:  # only marks the end
                        continue
                    errors = 0
                    if held is not None:
                        yield held
                    held = packet if packet.is_corrupt else None
                    if held is None:
                        yield packet
                return
            except InvalidDataError:
                errors += 1
                if errors > MAX_READ_ERRORS:
                    raise


class _Expected:
    """Packets whose pictures have not come out of the decoder yet, by their timestamps.

    Pictures come in the order of their timestamps, however many the decoder holds back. So what
    is due before one that comes, and did not come, is lost.
    """

    def __init__(self) -> None:
        self._stamps: list[int] = []  # a heap
        self._last_dts: int | None = None

    def add(self, packet: Packet[VideoStream]) -> None:
        """Note a packet that goes to the decoder."""
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts < self._last_dts:
                self._stamps.clear()  # timestamps start anew: these tell nothing of the old ones
            self._last_dts = packet.dts
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._stamps, packet.pts)

    def passed_over(self, picture: av.VideoFrame) -> int:
        """Return how many were due before a picture that came; they are noted no more."""
        pts = picture.pts
        if pts is None or pts not in self._stamps:
            return 0
        count = 0
        while self._stamps and self._stamps[0] <= pts:
            count += heapq.heappop(self._stamps) < pts
        return count


def _open(source: Input, config: SourceConfig) -> InputContainer:
    is_stream = source.kind is Kind.STREAM
    try:
        return av.open(
            source.url,
            mode="r",
            format=source.format,
            options=source.options,
            timeout=(config.open_timeout_s, config.read_timeout_s) if is_stream else None,
            metadata_errors="replace",
        )
    except (FFmpegError, ValueError) as error:
        raise cannot_open(source, error) from None


def _video_stream(source: Input, container: InputContainer) -> VideoStream:
    """Return the video stream to read: the best one that is not the cover of an album."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    ]
    best = container.streams.best("video")
    chosen = next((stream for stream in streams if stream is best), None) or next(
        iter(streams), None
    )
    if chosen is None or container.format.name == "tty":  # which shows any text as a film
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise SourceError(
            f"cannot read {source.kind.value} {source.label!r}: it holds no video, only {kinds}"
        )
    if chosen.codec_context is None:
        raise SourceError(
            f"cannot read {source.kind.value} {source.label!r}: "
            "this build of FFmpeg has no decoder for its video"
        )
    return chosen


def _duration_s(stream: VideoStream, container: InputContainer) -> float | None:
    """Return the length as the container claims it."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _is_live(source: Input, config: SourceConfig, container: InputContainer) -> bool:
    if config.live is not None:
        return config.live
    if source.kind is Kind.STREAM:
        return container.duration is None
    return source.kind is Kind.CAMERA
