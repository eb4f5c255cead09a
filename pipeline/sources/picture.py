"""A decoded picture made into an upright RGB array."""

from __future__ import annotations

from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

_KNOWN = (0, 1, 4, 5, 6, 7, 9)
"""Matrices (AVCOL_SPC_...) that FFmpeg converts from."""
_HD_LINES = 720

Image = NDArray[np.uint8]


class Converter:
    """Turns FFmpeg's pictures of one source into RGB arrays; keeps the conversion tables.

    The matrix is the one that the picture names. One that names none, or one that FFmpeg cannot
    convert from, is taken as BT.709 from 720 lines on, as BT.601 below, and as BT.601 if it comes
    from a camera (`is_camera`). Range
    (limited or full) and bit depth follow the picture. Transparent parts become black.
    High dynamic range is not mapped to the standard one: such pictures look pale.
    """

    def __init__(self, is_camera: bool = False) -> None:
        self._is_camera = is_camera
        self._reformatter = VideoReformatter()

    def __call__(self, picture: av.VideoFrame) -> Image:
        """Return a picture as `(H, W, 3)` uint8 RGB, turned as its display matrix says."""
        alpha = any(component.is_alpha for component in picture.format.components)
        converted = self._reformatter.reformat(
            picture,
            format="rgba" if alpha else "rgb24",
            src_colorspace=self._matrix(picture),
            threads=1,  # 0.13 ms for 640x480: more threads cost more than they bring
        )
        image = cast(Image, converted.to_ndarray())
        if alpha:
            image = on_black(image)
        return np.ascontiguousarray(orient(image, display_matrix(picture)))

    def _matrix(self, picture: av.VideoFrame) -> Colorspace | None:
        if picture.colorspace in _KNOWN:
            return None
        if picture.height >= _HD_LINES and not self._is_camera:
            return Colorspace.ITU709
        return Colorspace.ITU601


def on_black(image: Image) -> Image:
    """Blend `(H, W, 4)` RGBA over black; returns `(H, W, 3)`."""
    alpha = image[..., 3:]
    if alpha.min() == 255:
        return image[..., :3]
    blended = (image[..., :3].astype(np.uint16) * alpha + 127) // 255
    return blended.astype(np.uint8)


def display_matrix(picture: av.VideoFrame) -> NDArray[np.int32] | None:
    """Return the `(2, 2)` part of the display matrix that turns and mirrors; None without one."""
    try:
        side_data: Any = picture.side_data  # PyAV's type for it knows motion vectors only
    except ValueError:  # PyAV 18 cannot list side data of photographs (EXIF), only the angle
        angle = np.deg2rad(picture.rotation)
        turned = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return np.rint(np.array(turned) * 65536).astype(np.int32)
    matrix = side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2]


def orient(image: Image, matrix: NDArray[np.int32] | None) -> Image:
    """Turn and mirror `(H, W, C)` by the nearest quarter turn of a display matrix.

    The matrix `[[a, b], [c, d]]` shows the pixel (x, y) at (a x + c y, b x + d y).
    """
    if matrix is None:
        return image
    (a, b), (c, d) = matrix.astype(np.int64).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image = image.transpose(1, 0, 2)
        a, d = c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def fit(image: Image, width: int, height: int) -> Image:
    """Scale an image to fit into `width` x `height`, centred on black, its shape kept."""
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner_w = max(1, min(width, round(image.shape[1] * scale)))
    inner_h = max(1, min(height, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    inner = canvas[top : top + inner_h, left : left + inner_w]
    inner[:] = cv2.resize(image, (inner_w, inner_h), interpolation=method)
    return canvas
