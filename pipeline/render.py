"""Draw tracks on a picture: tinted masks, outlines, ids and where each object came from.

Or, where a style asks for it, change the picture by their masks (`pipeline.effects`).

Only the pixels of an object's crop, its label and its trail are touched, and all of that in C:
what an object costs depends on its size, not on the picture's.
"""

from __future__ import annotations

import colorsys
import dataclasses
import functools
import math
from collections import deque
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from configs import did_you_mean, user_file
from pipeline import effects
from pipeline.frames import Frame
from trackers.tracks import Tracks

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.6180339887
_TRAIL_POINTS = 16

LARGEST_SCALE = 100.0

STYLES = ("tint", "blur", "pixelate", "fill", "overlay")
PLACES = ("objects", "background")


@dataclasses.dataclass(frozen=True)
class RenderConfig:
    """How tracks look."""

    style: str = "tint"
    """`tint` draws tracks on the picture. The others draw nothing, they change it: `blur`,
    `pixelate` and `fill` (with `picture`) what `where` says, `overlay` lays `picture` on objects,
    hidden by those in front of them."""

    where: str = "objects"
    """What `blur`, `pixelate` and `fill` change: `objects`, predicted ones included, or
    `background`, which is all but the objects that the last look at the source saw."""

    ids: tuple[int, ...] = ()
    """Identities that count as objects for cut-outs and styles other than `tint`; none: all."""

    margin_px: int = 0
    """Pixels by which masks are grown first, to be sure that nothing of an object is left out."""

    strength: float = 1.0
    """Of `blur` and `pixelate`: at 1, blocks of a 24th of the picture's shorter side."""

    picture: str = "black"
    """For `fill` and `overlay`: `black`, `white`, `#rrggbb` or an image file, with alpha or
    without. It fills the frame, or the box of an object as far as its shape allows."""

    opacity: float = 0.45
    """How much of an object its colour covers: 0 nothing, 1 everything."""

    labels: bool = True
    """Write id and score beside each object."""

    scale: float = 1.0
    """Size of labels and lines; at 1 they grow with the picture so that they stay readable."""

    trail_s: float = 1.5
    """How far back the line behind an object reaches, in seconds of the source; 0 draws none."""

    def __post_init__(self) -> None:
        for name, known in (("style", STYLES), ("where", PLACES)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(
                    f"{name} should be one of {', '.join(known)}, got {value!r}"
                    f"{did_you_mean(value, known)}"
                )
        if not self.margin_px >= 0:
            raise ValueError(f"margin_px should be 0 or more, got {self.margin_px}")
        if not 0 < self.strength < math.inf:
            raise ValueError(f"strength should be above 0, got {self.strength}")
        if effects.colour(self.picture) is None and user_file(self.picture) is None:
            raise ValueError(
                f"picture should be black, white, #rrggbb or an image file, got {self.picture!r}"
            )
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity should be in [0, 1], got {self.opacity}")
        if not 0 < self.scale <= LARGEST_SCALE:
            raise ValueError(f"scale should be above 0, at most {LARGEST_SCALE}, got {self.scale}")
        if not self.trail_s >= 0:
            raise ValueError(f"trail_s should be 0 or more seconds, got {self.trail_s}")


@functools.lru_cache(maxsize=4096)
def colour_of(track_id: int) -> Colour:
    """The RGB colour of an id: always the same, and far from those of its neighbours.

    Hues a golden section apart never come close to each other for consecutive ids; two levels of
    lightness tell the rest apart.
    """
    hue = track_id * _GOLDEN % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45 if track_id % 2 else 0.62, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(
    image: NDArray[np.uint8],
    tracks: Tracks,
    trails: Mapping[int, NDArray[np.int32]] | None = None,
    config: RenderConfig | None = None,
) -> NDArray[np.uint8]:
    """A copy of `image` with `tracks` on it.

    Objects are tinted; those that were looked for and not found are an outline, with their id in
    brackets. A frame that nobody looked at looks like the one before.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        tracks: what to draw; without masks it draws boxes.
        trails: for an id, the points `(M, 2)` x, y in pixels where it was, oldest first.
        config: how to draw.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    config = config or RenderConfig()
    canvas = image.copy()
    unit = _unit(image.shape[0], image.shape[1]) * config.scale
    line = max(1, round(unit))
    order, unseen = _large_first(tracks), tracks.unseen
    for i in order:
        colour = colour_of(int(tracks.ids[i]))
        tint = 0.0 if unseen[i] else config.opacity
        if tracks.masks is None:
            _box(canvas, tracks.boxes[i], colour, line)
        else:
            _mask(canvas, tracks.masks.offsets[i], tracks.masks.crops[i], colour, tint, line)
        trail = trails.get(int(tracks.ids[i])) if trails else None
        if trail is not None and len(trail) > 1:
            cv2.polylines(canvas, [trail], False, colour, line, cv2.LINE_AA)
    if config.labels:
        for i in order:
            _label(canvas, tracks, int(i), 0.42 * unit)
    return canvas


class Renderer:
    """Draws frame after frame and remembers where each object was.

    Args:
        config: how to draw.

    Raises:
        PipelineError: the picture that it asks for cannot be read.
    """

    def __init__(self, config: RenderConfig | None = None) -> None:
        self._config = config or RenderConfig()
        self._picture = effects.load(self._config.picture)
        self._fill: NDArray[np.uint8] | None = None
        # One entry a moment: when, the ids `(N,)` and their centres `(N, 2)` int32.
        self._past: deque[tuple[float, NDArray[np.int64], NDArray[np.int32]]] = deque()

    def note(self, time_s: float, tracks: Tracks) -> None:
        """Remember where objects are, for the trails of later pictures."""
        length = self._config.trail_s
        while self._past and not time_s - length <= self._past[0][0] <= time_s:
            self._past.popleft()
        if length and (not self._past or time_s - self._past[-1][0] >= length / _TRAIL_POINTS):
            self._past.append((time_s, tracks.ids, _centres(tracks)))

    def render(self, frame: Frame, tracks: Tracks) -> NDArray[np.uint8]:
        """The frame with its tracks in its style, `(H, W, 3)` uint8 RGB, a new picture."""
        index = effects.chosen(tracks, self._config.ids)
        if self._config.style == "tint":
            shown = tracks.take(index) if self._config.ids else tracks
            return draw(frame.image, shown, self._trails(frame.time_s, tracks), self._config)
        if self._config.style == "overlay":
            return effects.overlaid(frame.image, tracks, index, self._picture)
        return self._changed(frame.image, tracks, index)

    def _changed(
        self, image: NDArray[np.uint8], tracks: Tracks, index: NDArray[np.intp]
    ) -> NDArray[np.uint8]:
        """The picture with the objects at `index`, or all but them, made unrecognisable."""
        config, size = self._config, image.shape[:2]
        if config.style != "fill":
            changed = effects.coarse(image, config.strength, smooth=config.style == "blur")
        else:
            if self._fill is None or self._fill.shape != image.shape:
                self._fill = effects.fitted(self._picture, size)
            changed = self._fill
        masks = effects.shapes(tracks, size)
        if config.where == "objects":
            return effects.combined(image, changed, effects.union(masks, index, config.margin_px))
        seen = index[~tracks.unseen[index]]
        return effects.combined(changed, image, effects.union(masks, seen, config.margin_px))

    def state(self) -> list[tuple[float, list[int], list[list[int]]]]:
        """What is remembered, as JSON can hold it."""
        return [(time_s, ids.tolist(), centres.tolist()) for time_s, ids, centres in self._past]

    def restore(self, state: Sequence[tuple[float, list[int], list[list[int]]]]) -> None:
        """Remember what the renderer did that gave `state`."""
        for time_s, ids, centres in state:
            points = np.array(centres, np.int32).reshape(-1, 2)
            self._past.append((time_s, np.array(ids, np.int64), points))

    def _trails(self, time_s: float, tracks: Tracks) -> dict[int, NDArray[np.int32]]:
        """Where each object was, and is: for an id `(M, 2)` int32."""
        self.note(time_s, tracks)
        if not self._past:
            return {}
        moments = [*self._past]
        if moments[-1][0] != time_s:
            moments.append((time_s, tracks.ids, _centres(tracks)))
        ids = np.concatenate([moment[1] for moment in moments])
        points = np.concatenate([moment[2] for moment in moments])
        order = np.argsort(ids, kind="stable")
        keys, starts = np.unique(ids[order], return_index=True)
        # The part before the first start is empty.
        return dict(zip(keys.tolist(), np.split(points[order], starts)[1:], strict=True))


def _centres(tracks: Tracks) -> NDArray[np.int32]:
    """`(N, 2)` x, y of the boxes' centres, in whole pixels."""
    return np.round((tracks.boxes[:, :2] + tracks.boxes[:, 2:]) / 2).astype(np.int32)


def _unit(height: int, width: int) -> float:
    """The size of things: 1 in a picture of 480 lines, growing with the shorter side."""
    return max(0.85, min(height, width) / 480)


def _large_first(tracks: Tracks) -> NDArray[np.intp]:
    """Indices by falling area of the boxes, so that small objects end up on top."""
    sides = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
    return np.argsort(-sides[:, 0] * sides[:, 1], kind="stable")


def _mask(
    canvas: NDArray[np.uint8],
    offset: NDArray[np.int32],
    crop: NDArray[np.bool_],
    colour: Colour,
    tint: float,
    line: int,
) -> None:
    """Tint the pixels of a mask and draw its outline."""
    if crop.size == 0:
        return
    x, y = offset.tolist()
    height, width = crop.shape
    region = canvas[y : y + height, x : x + width]
    mask = crop.view(np.uint8)
    if tint > 0:
        faded = cv2.convertScaleAbs(region, alpha=1 - tint)
        red, green, blue = (channel * tint for channel in colour)
        # A scalar of four channels, which the stubs do not know.
        cv2.add(faded, (red, green, blue, 0), dst=region, mask=mask)  # type: ignore[call-overload]
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(region, outline, -1, colour, line)


def _box(canvas: NDArray[np.uint8], box: NDArray[np.float32], colour: Colour, line: int) -> None:
    x1, y1, x2, y2 = np.round(box).astype(int).tolist()
    cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colour, line)


def _label(canvas: NDArray[np.uint8], tracks: Tracks, i: int, scale: float) -> None:
    """Write `#id score` on the object's colour, above its box or inside where there is no room."""
    track_id = int(tracks.ids[i])
    text = f"(#{track_id})" if tracks.unseen[i] else f"#{track_id} {tracks.scores[i]:.0%}"
    colour = colour_of(track_id)
    weight = 1 if scale < 0.8 else 2
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, weight)
    margin = max(2, height // 3)
    left, top = np.round(tracks.boxes[i, :2]).astype(int).tolist()
    left = max(0, min(left, canvas.shape[1] - width - 2 * margin))
    top = max(0, min(top - height - 2 * margin, canvas.shape[0] - height - 2 * margin))
    corner = (left + width + 2 * margin, top + height + 2 * margin)
    cv2.rectangle(canvas, (left, top), corner, colour, cv2.FILLED)
    at = (left + margin, top + height + margin)
    cv2.putText(canvas, text, at, _FONT, scale, _ink(colour), weight, cv2.LINE_AA)


def _ink(colour: Colour) -> Colour:
    """Black or white, whichever is readable on `colour`."""
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    return (0, 0, 0) if bright else (255, 255, 255)
