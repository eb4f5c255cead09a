"""From the words of a user to what FFmpeg opens, and from FFmpeg's errors back to words."""

from __future__ import annotations

import dataclasses
import difflib
import enum
import errno
import importlib.resources
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from av import error as av_error

from configs import user_path
from pipeline.errors import SourceError
from pipeline.sources.addresses import address_name, is_address, redact
from pipeline.sources.cameras import (
    DEVICE_FORMAT,
    camera_device,
    camera_options,
    described_cameras,
    is_camera,
)
from pipeline.sources.config import SourceConfig

EXPECTED = (
    "expected webcam, webcam:N, demo, a video file, a folder or glob of images, "
    "a URL (rtsp, http, udp, tcp) or -"
)


class Kind(enum.Enum):
    """Kinds of source that FFmpeg opens; the values are the words for them in messages."""

    FILE = "file"
    CAMERA = "camera"
    STREAM = "stream"
    PIPE = "standard input"
    GRAPH = "filtergraph"


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """What FFmpeg opens."""

    kind: Kind

    name: str
    """For `VideoInfo.name`: letters, digits, dot, dash and underscore."""

    label: str
    """What messages call it: no credentials."""

    url: str = dataclasses.field(repr=False)
    """What FFmpeg is given: may hold credentials."""

    format: str | None = None
    options: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)


def is_path(source: str) -> bool:
    """Tell whether `source` is the path of a file or folder, or a glob: not a name or address."""
    return not (
        source in ("demo", "-")
        or source.startswith("lavfi:")
        or is_camera(source)
        or is_address(source)
    )


def file_of(source: str) -> Path | None:
    """Return the file that `source` names, None where it names something else."""
    if not is_path(source) and source != "demo" and not _is_file_address(source):
        return None
    path = _path(source)
    return path if path.is_file() else None


def _is_file_address(source: str) -> bool:
    return source.lower().startswith("file://")


def resolve(config: SourceConfig) -> Input:
    """Return what FFmpeg should open for `config.source` (anything but a folder or glob).

    Raises:
        SourceError: If no such file exists.
    """
    source = config.source
    if is_camera(source):
        device = camera_device(source)
        options = camera_options(config)
        found = Input(Kind.CAMERA, safe_name(device), device, device, DEVICE_FORMAT, options)
    elif source == "-":
        found = Input(Kind.PIPE, "stdin", "-", "-")
    elif source.startswith("lavfi:"):
        found = Input(Kind.GRAPH, "lavfi", source, source.removeprefix("lavfi:"), "lavfi")
    elif is_address(source) and not _is_file_address(source):
        found = _stream(config)
    else:
        found = _file(_path(source))
    return dataclasses.replace(
        found,
        format=config.format or found.format,
        options=found.options | {name: str(value) for name, value in config.options.items()},
    )


def safe_name(text: str) -> str:
    """Return `text` fit for the name of a folder: at most 80 letters, digits, `.`, `-`, `_`.

    >>> safe_name("/dev/video0")
    'video0'
    """
    name = re.sub(r"[^\w.-]+", "-", text.removeprefix("/dev/")).strip("-.")
    return name[:80] or "source"


def folder_name(path: Path) -> str:
    """Return the name of a source that is a folder, or a glob in one."""
    path = path.absolute()
    return safe_name(path.name if path.is_dir() else path.parent.name)


def _path(source: str) -> Path:
    if source == "demo":
        return Path(str(importlib.resources.files("pipeline").joinpath("data", "demo.mp4")))
    if _is_file_address(source):
        try:
            return Path(unquote(urlsplit(source).path))
        except ValueError as error:
            raise SourceError(
                f"cannot open {source!r}: {error}; expected file:///a/path"
            ) from error
    return user_path(source)


def _file(path: Path) -> Input:
    if not path.exists():
        names = {Path(name).stem: name for name in _names_beside(path)}
        near = difflib.get_close_matches(path.stem, names, n=1)
        hint = f"did you mean {str(path.with_name(names[near[0]]))!r}?" if near else EXPECTED
        if path.name.isdigit():
            hint = f"a camera is 'webcam:{path.name}'"
        raise SourceError(f"cannot open {str(path)!r}: no such file or folder; {hint}")
    if path.stat().st_size == 0 and path.is_file():
        raise SourceError(f"cannot open file {str(path)!r}: it is empty (0 bytes)")
    # With its prefix a name that holds ':' or '%' is a plain name for FFmpeg too.
    return Input(
        Kind.FILE,
        safe_name(path.stem),
        str(path),
        f"file:{path}",
        options={"pattern_type": "none"},
    )


def _names_beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []


def _stream(config: SourceConfig) -> Input:
    scheme, colon, rest = config.source.partition(":")
    scheme = scheme.lower()
    url = scheme + colon + rest
    options: dict[str, str] = {}
    if scheme in ("rtsp", "rtsps"):
        options = {"rtsp_transport": config.rtsp_transport}
    elif scheme == "udp":
        options = {"overrun_nonfatal": "1"}
    return Input(Kind.STREAM, safe_name(address_name(url)), redact(url), url, options=options)


def cannot_open(source: Input, error: Exception) -> SourceError:
    """Return the error to raise when FFmpeg could not open `source`.

    The text never holds FFmpeg's own, which quotes the address with its password.
    """
    return SourceError(f"cannot open {source.kind.value} {source.label!r}: {_why(source, error)}")


def lost_words(source: Input, error: Exception | None) -> str:
    """Return in a few words why a source that was open gives no more; None is its end."""
    if source.kind is Kind.CAMERA:
        if isinstance(error, av_error.TimeoutError):
            return "it sent nothing more; it hangs (see source.read_timeout_s) or was unplugged"
        return "it was unplugged or stopped answering"
    if error is None:
        return "the other side ended it, which source.reconnect_s=0 takes for its regular end"
    if isinstance(error, (av_error.ExitError, av_error.TimeoutError)):
        return "nothing came in time"
    return _ffmpeg_words(error)


def _why(source: Input, error: Exception) -> str:
    if source.kind is Kind.CAMERA:
        return _why_camera(source, error)
    if source.kind is Kind.STREAM:
        return _why_stream(error)
    if isinstance(error, av_error.PermissionError):
        return "this user may not read it; check its permissions"
    is_noise = isinstance(error, (av_error.InvalidDataError, UnicodeDecodeError))
    if is_noise and source.kind is Kind.PIPE:
        return (
            "FFmpeg finds no video or image in it; an MP4 with its index at the end can be read "
            "from a file only: name it, or let `ffmpeg -movflags +faststart` move the index"
        )
    if is_noise and source.kind is not Kind.GRAPH:
        return (
            "FFmpeg finds no video or image in it; if it is a recording, it was cut off before "
            "its index was written, or it is damaged"
        )
    return _ffmpeg_words(error)


def _why_camera(source: Input, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, av_error.PermissionError):
        return f"this user may not use it; try: sudo usermod -aG video $USER (now: {source.url})"
    if isinstance(error, av_error.TimeoutError):
        return (
            "it sends no picture; unplug it and plug it in again, or raise source.open_timeout_s "
            "if it is slow"
        )
    if number == errno.EBUSY:
        return "another program is using it; close that first"
    if number == errno.EINVAL:
        return "it does not offer the size, rate or format asked for; leave source.camera_* unset"
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"no such camera; {described_cameras()}"
    return f"{_ffmpeg_words(error)}; {described_cameras()}"


def _why_stream(error: Exception) -> str:
    if isinstance(error, av_error.ProtocolNotFoundError):
        return "this build of FFmpeg does not speak that protocol"
    if isinstance(error, (av_error.HTTPUnauthorizedError, av_error.HTTPForbiddenError)):
        return "it refuses the user name or password in the address"
    if isinstance(error, (av_error.ExitError, av_error.TimeoutError)):
        return "nothing came in time; check the address, or raise source.open_timeout_s"
    if isinstance(error, av_error.ConnectionRefusedError):
        return "nobody listens there; check host and port"
    if isinstance(error, av_error.InvalidDataError):
        return "what comes from there is not a video that FFmpeg can read"
    if getattr(error, "errno", None) == errno.EIO:
        return (
            "it breaks off; check the network, and if it is an MP4 with its index at the end, "
            "whether the server can give parts of a file"
        )
    return f"{_ffmpeg_words(error)}; check the address and the network"


def _ffmpeg_words(error: Exception) -> str:
    # Never the whole text of an error of FFmpeg: it quotes the address.
    words = error.strerror if isinstance(error, av_error.FFmpegError) else str(error)
    words = words or type(error).__name__
    return f"{words[:1].lower()}{words[1:]}"
