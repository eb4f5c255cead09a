"""Cameras of this machine: which there are, and FFmpeg's name for one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import av
import av.device

from pipeline.sources.config import SourceConfig

_DEVICE_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}

DEVICE_FORMAT = _DEVICE_FORMATS.get(sys.platform, "v4l2")
"""FFmpeg's input format for cameras on this system."""


def list_cameras() -> list[tuple[str, str]]:
    """Return the cameras that can be opened, as pairs of device and description.

    Empty as well where this build of FFmpeg cannot ask the system.
    """
    try:
        found = av.device.enumerate_input_devices(DEVICE_FORMAT)
    except (av.error.FFmpegError, ValueError):
        return []
    return [
        (device.name, device.description)
        for device in found
        if "video" in device.media_types or not device.media_types
    ]


def is_camera(source: str) -> bool:
    """Tell whether `source` is written as `webcam`, `webcam:N` or `/dev/videoN`."""
    return re.fullmatch(r"webcam(:\d+)?|/dev/video\d+", source) is not None


def camera_device(source: str) -> str:
    """Return FFmpeg's name of the camera `source`.

    On Linux `webcam:N` is `/dev/videoN`; elsewhere it is the N-th of the list. `webcam` is the
    first that the system lists.
    """
    if source.startswith("/dev/"):
        return source
    cameras = [device for device, _ in list_cameras()]
    _, _, number = source.partition(":")
    if DEVICE_FORMAT == "v4l2":
        return f"/dev/video{number}" if number else (cameras or ["/dev/video0"])[0]
    index = int(number or 0)
    name = cameras[index] if index < len(cameras) else str(index)
    return f"video={name}" if DEVICE_FORMAT == "dshow" else name


def camera_options(config: SourceConfig) -> dict[str, str]:
    """Return FFmpeg's options for what the user asks of a camera."""
    options: dict[str, str] = {}
    if config.camera_width and config.camera_height:
        options["video_size"] = f"{config.camera_width}x{config.camera_height}"
    if config.camera_rate:
        options["framerate"] = f"{config.camera_rate:g}"
    if config.camera_format:
        options["input_format" if DEVICE_FORMAT == "v4l2" else "pixel_format"] = (
            config.camera_format
        )
    return options


def described_cameras() -> str:
    """Return the cameras of this machine as words for a message."""
    cameras = ", ".join(f"{device} ({text})" for device, text in list_cameras())
    if cameras:
        return f"cameras here: {cameras}"
    nodes = sorted(str(node) for node in Path("/dev").glob("video*"))
    if nodes:
        return f"no camera here can be opened, though there are {', '.join(nodes)}"
    return "there is no camera on this machine"
