"""The annotated video: H.264 with the source's timestamps, playable whatever happens."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from pipeline.errors import SinkError
from pipeline.frames import VideoInfo
from pipeline.sinks.base import Result, SinkContext, State
from pipeline.sinks.config import OutputConfig
from pipeline.sinks.remux import count, first_packets, has_sound, remux
from pipeline.sinks.wholefile import WholeFile

log = logging.getLogger(__name__)

T = TypeVar("T")

_FRAGMENTED = {
    # Each fragment can be played without what follows it; kill -9 costs what is in memory.
    "movflags": "empty_moov+default_base_moof+frag_keyframe",
    "frag_duration": "500000",
    "flush_packets": "1",
}
# Longer than a fragment, so that each comes in one piece. Memory that is not used costs nothing.
_BUFFER_BYTES = 1 << 24
_MP4 = frozenset({".mp4", ".m4v", ".mov"})
_TIME_BASE = Fraction(1, 90000)
_FINEST = Fraction(1, 1_000_000)
"""MP4 counts how long a picture stays in 32 bits of this: an hour."""
_FINEST_MPEG4 = Fraction(1, 60000)
_RATE = Fraction(25)

LONGEST_PX = 16384

# Costs less CPU time; without adaptive quantisation the file is smaller, too.
_SPARED = "weightp=0:partitions=none:aq-mode=0:cabac=0"

# FFmpeg's numbers. What `cv2.COLOR_RGB2YUV_I420` makes is BT.601, limited range.
_BT601 = 6
_LIMITED = 1
_UNSPECIFIED = (0, 2)


class VideoSink:
    """Encodes the pictures of results.

    While it is written the file is a fragmented MP4, which plays up to its last half second even
    if the program is killed; at the normal end it becomes a plain one with its index in front.

    At each `mark` the encoder starts anew, so that what follows is the same whether the run goes on
    or is continued later.

    Args:
        target: the file; its suffix chooses the container.
        context: of the run.

    Raises:
        SinkError: the file cannot be written.
    """

    def __init__(self, target: Path | None, context: SinkContext) -> None:
        if target is None:
            raise SinkError("video cannot go to standard output")
        if max(context.info.width, context.info.height) > LONGEST_PX:
            raise SinkError(
                f"cannot write a video of {context.info.width}x{context.info.height}: H.264 holds "
                f"at most {LONGEST_PX} pixels a side; leave video out of --save"
            )
        self._path, self._sound, self._origin_s = target, context.file, context.info.origin_s
        self._before = target.with_name(f".{target.name}.before")
        self._is_mp4 = target.suffix.lower() in _MP4
        state = context.state or {"first_s": None, "pts": -1, "packets": 0}
        self._first_s: float | None = state["first_s"]
        self._pts: int = state["pts"]
        self._packets = 0
        self._interval = Fraction(1) / (context.info.rate or _RATE)
        if state["packets"]:
            self._try(lambda: self._put_aside(state["packets"]))
        self._file = self._try(lambda: WholeFile(target)) if self._is_mp4 else None
        self._container = self._try(self._open)
        self._stream = self._try(lambda: _add_stream(self._container, context.info, context.output))
        self._encoder: VideoCodecContext | None = self._stream.codec_context
        self._new_encoder = lambda: _another(
            self._stream.codec_context, context.info, context.output
        )
        self._time_base = self._stream.codec_context.time_base or _TIME_BASE
        # Writes the header: what cannot be written is known before the first frame.
        self._try(self._container.start_encoding)
        if state["packets"]:
            self._try(lambda: self._mux(first_packets(self._before, state["packets"])))

    def write(self, result: Result) -> None:
        image = result.frame.image if result.image is None else result.image
        picture = av.VideoFrame.from_ndarray(_to_yuv(image), format="yuv420p")
        picture.colorspace, picture.color_range = _BT601, _LIMITED
        picture.pts, picture.time_base = self._next_pts(result.frame.time_s), self._time_base
        picture.duration = max(1, round(self._interval / self._time_base))
        if self._encoder is None:
            self._encoder = self._try(self._new_encoder)
        encoder = self._encoder
        self._try(lambda: self._mux(encoder.encode(picture)))

    def flush(self) -> None:
        """Nothing to do: fragments go out by themselves."""

    def mark(self) -> State:
        self._try(self._end_encoder)
        # The key frame that comes next sends what is before it to the disk.
        return {"first_s": self._first_s, "pts": self._pts, "packets": self._packets}

    def close(self) -> None:
        try:
            self._try(self._finish)
        finally:
            if self._file is not None:
                self._file.close()
        self._before.unlink(missing_ok=True)
        if self._first_s is None:
            self._path.unlink(missing_ok=True)
        elif self._is_mp4:
            self._index_first()
        elif self._sound is not None and has_sound(self._sound):
            kinds = ", ".join(sorted(_MP4))
            log.warning("%s is without sound, which is copied into %s only", self._path, kinds)

    def _open(self) -> av.container.OutputContainer:
        if self._file is None:
            return av.open(str(self._path), "w")
        return av.open(
            self._file, "w", format="mp4", options=_FRAGMENTED, buffer_size=_BUFFER_BYTES
        )

    def _finish(self) -> None:
        try:
            self._end_encoder()
        finally:
            self._container.close()

    def _end_encoder(self) -> None:
        """Write the pictures that the encoder has kept, and leave it."""
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            self._mux(encoder.encode(None))

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for packet in packets:
            packet.stream = self._stream
            self._container.mux(packet)
            self._packets += 1

    def _put_aside(self, packets: int) -> None:
        """Make the file of the run that is continued `_before`, unless that was done already.

        Raises:
            OSError: what is there holds less than so many packets.
        """
        if self._path.exists() and count(self._path, packets) == packets:
            self._path.replace(self._before)
        elif not self._before.exists() or count(self._before, packets) < packets:
            raise OSError(errno.ENODATA, "it has become shorter since the run broke off")

    def _next_pts(self, time_s: float) -> int:
        """The frame's time, counted from the first frame, in units of the time base."""
        if self._first_s is None:
            self._first_s = time_s
        wanted = round((time_s - self._first_s) / self._time_base)
        self._pts = max(wanted, self._pts + 1)
        return self._pts

    def _index_first(self) -> None:
        """Make the fragmented file a plain one, with its index in front of the pictures."""
        whole = self._path.with_name(f".{self._path.name}.part")
        try:
            remux(self._path, whole, self._sound, self._origin_s + (self._first_s or 0.0))
            whole.replace(self._path)
        except (OSError, FFmpegError) as error:
            whole.unlink(missing_ok=True)
            log.warning("%s stays fragmented: %s", self._path, error.strerror)

    def _try(self, action: Callable[[], T]) -> T:
        """Do `action`; FFmpeg's errors become ours."""
        try:
            return action()
        except (OSError, FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise SinkError(f"cannot write the video {str(self._path)!r}: {why}") from error


def _add_stream(
    container: av.container.OutputContainer, info: VideoInfo, output: OutputConfig
) -> av.VideoStream:
    """The video stream: H.264, or MPEG-4 where this PyAV has no encoder for that."""
    rate = info.rate or _RATE
    if "libx264" in av.codecs_available:
        stream = container.add_stream("libx264", rate=rate)
    else:
        log.warning("this PyAV has no H.264 encoder: the video is MPEG-4, which browsers refuse")
        stream = container.add_stream("mpeg4", rate=rate)
    _set_up(stream.codec_context, info, output)
    return stream


def _another(first: VideoCodecContext, info: VideoInfo, output: OutputConfig) -> VideoCodecContext:
    """An encoder for the same stream as `first`, which knows nothing of earlier pictures."""
    codec = cast(VideoCodecContext, av.CodecContext.create(first.codec.name, "w"))
    codec.framerate, codec.flags = first.framerate, first.flags
    _set_up(codec, info, output)
    return codec


def _set_up(codec: VideoCodecContext, info: VideoInfo, output: OutputConfig) -> None:
    """What pictures and time are like, and how to encode."""
    codec.time_base = max(info.time_base or _TIME_BASE, _FINEST)
    if codec.name == "mpeg4":
        codec.time_base = max(codec.time_base, _FINEST_MPEG4)
        codec.options = {"qmin": "2", "qmax": "5"}
    else:
        crf, preset = str(output.video_crf), output.video_preset
        options = {"preset": preset, "crf": crf, "bf": "0"}
        if preset == "superfast":
            options["x264-params"] = _SPARED
        codec.options = options
    codec.width, codec.height = info.width + info.width % 2, info.height + info.height % 2
    codec.pix_fmt = "yuv420p"
    codec.thread_count = 1  # A second thread costs half as much again for the same pictures.
    codec.colorspace, codec.color_range = _BT601, _LIMITED
    for tag in ("color_primaries", "color_trc"):
        if info.colour.get(tag, 2) not in _UNSPECIFIED:
            setattr(codec, tag, info.colour[tag])


def _to_yuv(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB `(H, W, 3)` as planes of 4:2:0; odd sides are made even by repeating the last pixels."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return cast(NDArray[np.uint8], cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420))
