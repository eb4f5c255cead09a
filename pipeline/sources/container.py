"""One opened container: the decoded pictures of its video stream, in order."""

from __future__ import annotations

import errno
import functools
import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TypeVar

import av
import av.error
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.errors import SourceError
from pipeline.sources.config import SourceConfig
from pipeline.sources.inputs import Input, Kind, cannot_open
from pipeline.sources.watchdog import Watchdog

log = logging.getLogger(__name__)

MAX_READ_ERRORS = 100
"""So many unreadable places in a row, and a container counts as broken."""

SEEK_MARGINS_S = (0.0, 5.0, 30.0)
"""How far before the wanted time to seek, one after the other, until it lands early enough."""

_MAX_RATE = 1000

SEARCHED_BYTES = 256 << 20
"""So much of standard input may go by without a picture: some noise looks like a recording."""

_PIPE_BUFFER = 1 << 18

_TINY_S = 1e-6

_GRACE_S = 1.0
"""So much longer than FFmpeg's own time-out do we wait for it."""

_PIECES = ("hls", "dash")
"""Formats that come in pieces of several seconds, each at once."""

_UNSIZED = (*_PIECES, "sdp", "mpjpeg", "jpeg_pipe", "png_pipe")
"""Formats whose size says nothing of their end: a list's, a description's, that of one picture in a
browser, or one that a camera invents."""

_PIECES_PATIENCE = 6
"""So many times longer than for other streams do we wait for a piece."""

T = TypeVar("T")

Picture = tuple[av.VideoFrame, int]
"""A decoded picture, and how many packets could not be decoded since the one before."""


class Connection:
    """A container held open; knows its first picture from the start.

    Use it from one thread at a time: closing while another thread reads crashes FFmpeg. A camera
    or stream that goes silent is waited for only so long, whatever FFmpeg does.

    `is_pieced` tells whether it comes as a list of pieces, `is_sized` whether it says how many
    bytes it has, as a file on a web server does; `lost_at_end` how many packets after the last
    picture could not be decoded, once the end is reached.

    Args:
        source: What to open.
        config: How.
        closing: Set by whoever wants no more: ends the wait for a silent camera or stream.

    Raises:
        SourceError: If it cannot be opened or gives no picture.
    """

    def __init__(
        self, source: Input, config: SourceConfig, closing: threading.Event | None = None
    ) -> None:
        self._source = source
        self._config = config
        self._closing = closing or threading.Event()
        self._connect()

    def _connect(self) -> None:
        is_stream = self._source.kind is Kind.STREAM
        may_hang = is_stream or self._source.kind is Kind.CAMERA
        self._watchdog = Watchdog(self._closing) if may_hang else None
        self._is_closed = False
        self._opened: InputContainer | None = None
        self._pipe = _Pipe() if self._source.kind is Kind.PIPE else None
        self._limit_s = _open_limit_s(self._source, self._config)
        try:
            self._container = self._wait(self._open)
            self.stream = _video_stream(self._source, self._container)
            self.is_pieced = self._container.format.name in _PIECES
            self.is_sized = _is_sized(self._config, self._container)
            self.is_live = _is_live(self._source, self._config, self._container, self.is_sized)
            self.duration_s = _duration_s(self.stream, self._container)
            self._prepare_decoder()
            self._pictures: Iterator[Picture] = self._decode()
            self.first = self._first()
            if self._pipe is not None:
                self._pipe.left = None
            self._limit_s = self._patience_s + (_GRACE_S if is_stream else 0.0)
        except (FFmpegError, ValueError) as error:
            self.close()
            if self._pipe is not None and self._pipe.is_empty:
                raise SourceError("cannot read standard input: nothing came in") from None
            raise cannot_open(self._source, error) from None
        except BaseException:
            self.close()
            raise

    def _open(self) -> InputContainer:
        self._opened = _open(self._source, self._config, self._pipe)
        return self._opened

    @property
    def _patience_s(self) -> float:
        """How long to wait for a packet."""
        return self._config.read_timeout_s * (_PIECES_PATIENCE if self.is_pieced else 1)

    def _wait(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; what may hang is waited for only so long."""
        return call() if self._watchdog is None else self._watchdog.call(call, self._limit_s)

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
        # A pipe is read through, and so is what only counts its packets: behind a seek they do not
        # tell which pictures they are.
        if origin is None or not base or self._pipe is not None or self._counts_packets:
            return
        for margin_s in SEEK_MARGINS_S:
            wanted_s = origin + max(time_s - margin_s, 0.0)
            try:
                stamp = int(wanted_s / base)
                self._wait(functools.partial(self._container.seek, stamp, stream=self.stream))
            except FFmpegError:  # not seekable: the pictures come from where it stands
                return
            self._pictures = self._decode()
            try:
                landed = self._peek()
            except FFmpegError:  # damaged there
                continue
            landed_s = None if landed is None else self.stamp_s(landed)
            if landed is None or landed_s is None:
                continue
            # One that is interlaced is made whole with the help of the one before.
            latest_s = origin + time_s - (_TINY_S if landed.interlaced_frame else 0.0)
            if landed_s <= latest_s:
                return
        self.close()
        self._connect()

    def close(self) -> None:
        """Close the container, or leave it to a call that hangs. Twice is once."""
        if self._watchdog is None:
            self._clean_up()
        elif not self._is_closed:
            self._watchdog.finish(self._clean_up)
        self._is_closed = True

    def _clean_up(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def rate(self) -> Fraction | None:
        """Mean frames a second as the container claims it."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate):
            if rate and 0 < rate <= _MAX_RATE:
                return rate
        return None

    @property
    def _counts_packets(self) -> bool:
        """Whether timestamps only count packets: in AVI, where pictures are reordered."""
        is_reordered = self.stream.codec_context.has_b_frames
        return self._container.format.name == "avi" and bool(is_reordered)

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
        lost = self.lost_at_end = 0
        expected = _Expected(are_numbers=self._counts_packets)
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
        self.lost_at_end = lost + len(expected)
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
                packets = self._container.demux(self.stream)
                while (packet := self._next(packets)) is not None:
                    errors = 0
                    if held is not None:
                        yield held
                    held = packet if packet.is_corrupt else None
                    if held is None:
                        yield packet
                return
            except (InvalidDataError, av.error.BlockingIOError):  # "try again", of a damaged file
                errors += 1
                if errors > MAX_READ_ERRORS:
                    raise

    def _next(self, packets: Iterator[Packet[VideoStream]]) -> Packet[VideoStream] | None:
        """Return the next packet; None at the end."""
        began_s = time.perf_counter()
        packet: Packet[VideoStream] | None = self._wait(functools.partial(next, packets, None))
        if packet is not None and (packet.size or packet.pts is not None):
            return packet
        # An empty packet without a time only marks the end. For some formats FFmpeg says so too
        # when it is its patience that has an end.
        waited_s = time.perf_counter() - began_s
        if self._source.kind is Kind.STREAM and waited_s >= self._patience_s:
            raise _nothing_came()
        return None


class _Pipe:
    """Standard input for FFmpeg, which has no end of patience of its own.

    `left` is how many bytes may still be read; what is longer ends there. None is without limit.
    `is_empty` tells whether nothing has come yet.
    """

    name = "standard input"

    def __init__(self) -> None:
        self.left: int | None = SEARCHED_BYTES
        self.is_empty = True

    def read(self, size: int) -> bytes:
        """Return what is there, at most `size` bytes; nothing at the end."""
        if self.left is None:
            return os.read(0, size)
        data = os.read(0, min(size, self.left))
        self.left -= len(data)
        self.is_empty &= not data
        return data


class _Expected:
    """Packets whose pictures have not come out of the decoder yet, by their timestamps.

    Pictures come in the order of their timestamps, however many the decoder holds back. So what
    is due before one that comes, and did not come, is lost.

    Args:
        are_numbers: The timestamps only count packets, in the order of decoding: what AVI has
            where that is not the order of the pictures.
    """

    def __init__(self, are_numbers: bool) -> None:
        self._are_numbers = are_numbers
        self._stamps: list[int] = []  # a heap
        self._last_dts: int | None = None
        self._older = 0  # pictures that may still come of what was before a new start
        self._given: int | None = None  # timestamp of the last picture
        self._is_ordered = True  # as far as is known: some files give the times of decoding

    def add(self, packet: Packet[VideoStream]) -> None:
        """Note a packet that goes to the decoder."""
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts < self._last_dts:
                self._older = len(self._stamps)  # timestamps start anew
                self._stamps.clear()
                self._given = None
            self._last_dts = packet.dts
        if packet.pts is None or packet.is_discard:
            return
        # What leads up to the picture that a seek found came before it.
        if self._given is None or packet.pts >= self._given:
            heapq.heappush(self._stamps, packet.pts)

    def __len__(self) -> int:
        return len(self._stamps)

    def passed_over(self, picture: av.VideoFrame) -> int:
        """Return how many were due before a picture that came; they are noted no more."""
        if self._are_numbers and self._stamps:
            picture.pts = self._stamps[0]
        pts = picture.pts
        if pts is not None and self._given is not None and pts < self._given and not self._older:
            self._is_ordered = False
        if not self._is_ordered:
            self._stamps.clear()
            return 0
        if pts is None or pts not in self._stamps:
            self._older = max(0, self._older - 1)
            return 0
        if self._older:
            self._older -= 1
            self._stamps.remove(pts)
            heapq.heapify(self._stamps)
            return 0
        count = 0
        while self._stamps and self._stamps[0] <= pts:
            count += heapq.heappop(self._stamps) < pts
        self._given = pts
        return count


def _open(source: Input, config: SourceConfig, pipe: _Pipe | None) -> InputContainer:
    is_stream = source.kind is Kind.STREAM
    # What comes in pieces shows only when it is open; until then FFmpeg must be patient.
    patience = _PIECES_PATIENCE if source.url.lower().startswith("http") else 1
    limits_s = (config.open_timeout_s, config.read_timeout_s * patience)
    began_s = time.perf_counter()
    try:
        return av.open(
            source.url if pipe is None else pipe,
            mode="r",
            buffer_size=_PIPE_BUFFER,
            format=source.format,
            options=source.options,
            timeout=limits_s if is_stream else None,
            metadata_errors="replace",
        )
    except InvalidDataError:
        # What RTSP makes of the end of our patience.
        if is_stream and time.perf_counter() - began_s >= config.open_timeout_s:
            raise _nothing_came() from None
        raise


def _nothing_came() -> av.error.TimeoutError:
    return av.error.TimeoutError(errno.ETIMEDOUT, "nothing came in time")


def _open_limit_s(source: Input, config: SourceConfig) -> float:
    """Return how long to wait for FFmpeg to open, and for each packet up to the first picture.

    Streams have FFmpeg's own time-outs (for opening, and for finding out what they hold): ours is
    for where they fail, as in looking up a name.
    """
    if source.kind is Kind.STREAM:
        return 2 * config.open_timeout_s + _GRACE_S
    return config.open_timeout_s


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
    if not container.duration:
        return None
    end = container.duration
    if "matroska" in container.format.name:  # it claims its end, and may begin later than at 0
        end -= max(container.start_time or 0, 0)
    return end / av.time_base if end > 0 else None


def _is_sized(config: SourceConfig, container: InputContainer) -> bool:
    return config.live is not True and container.format.name not in _UNSIZED and container.size > 0


def _is_live(
    source: Input, config: SourceConfig, container: InputContainer, is_sized: bool
) -> bool:
    if config.live is not None:
        return config.live
    if source.kind is Kind.STREAM:
        return container.duration is None and not is_sized
    return source.kind is Kind.CAMERA
