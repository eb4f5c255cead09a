"""Renders the bundled scene: photographs of real things moving in front of a photograph.

    pip install -e '.[scene]' && python -m demos.make_scene [--output DIR] [--sheet FILE.png]

The output, `pipeline/data/demo.mp4` and `demo_truth.jsonl.gz`, is committed: nobody needs to run
this to use the demo. The same pictures, OpenCV and PyAV give the same files.

The pictures lie inside wheels on PyPI (`pipeline/data/README.md` names their authors and licences).
Each object is cut out by hand-drawn outlines that GrabCut refines, then scaled, turned and moved
along a smooth path, back to front with soft edges. The truth is the composition itself: a pixel
belongs to the object that gives more than half of its colour.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import importlib.util
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from trackers.masks import Masks

WIDTH, HEIGHT = 640, 480
RATE = 25
FRAMES = 250
NOISE = 2.0
"""Standard deviation of the camera-like noise in grey levels."""

MIN_PIXELS = 16
"""An object that shows less is not in the truth of that frame."""

Floats = NDArray[np.float32]
Points = Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Key:
    """Where an object's cut-out is at one time; between two keys the path is smooth."""

    time_s: float
    x: float
    y: float
    """Centre of the cut-out in pixels of the scene."""

    height: float
    """Height of the whole cut-out in pixels of the scene, before it is turned."""

    angle: float = 0.0
    """Degrees, counter-clockwise."""


@dataclasses.dataclass(frozen=True)
class Prop:
    """One object: its picture, its outlines in that picture's pixels, its path."""

    name: str
    picture: tuple[str, str]
    """Package and the file inside it."""

    outside: Points
    """What lies outside this outline is background."""

    inside: Points
    """What lies inside this outline is the object."""

    keys: tuple[Key, ...]
    holes: tuple[Points, ...] = ()
    """Background within `outside`."""


def ellipse(x: int, y: int, rx: int, ry: int) -> Points:
    """An outline of 72 points."""
    return [(int(px), int(py)) for px, py in cv2.ellipse2Poly((x, y), (rx, ry), 0, 0, 360, 5)]


# fmt: off
PROPS = (  # back to front; the truth's ids are the places in this list, from 1
    Prop(
        name="shuttle",
        picture=("skimage", "data/astronaut.png"),
        outside=[
            (405, -1), (428, -1), (438, 25), (441, 45), (446, 36), (456, 50), (457, 190),
            (460, 228), (452, 238), (460, 268), (432, 272), (428, 240), (428, 268), (405, 270),
            (385, 270), (368, 274), (364, 262), (372, 240), (352, 226), (352, 215), (376, 185),
            (378, 60), (386, 38), (394, 50), (397, 25),
        ],
        inside=[
            (410, 5), (424, 5), (434, 35), (436, 60), (450, 60), (450, 185), (448, 225),
            (440, 255), (415, 255), (385, 250), (375, 255), (380, 235), (365, 222), (384, 190),
            (385, 60), (400, 60), (402, 25),
        ],
        keys=(
            Key(4.0, 352, 590, 175), Key(5.0, 351, 545, 175, 1), Key(7.0, 346, 350, 170, 2),
            Key(9.0, 338, 190, 165, 1), Key(10.0, 334, 150, 163, 0),
        ),
    ),
    Prop(
        name="dahlia",
        picture=("sklearn", "datasets/images/flower.jpg"),
        outside=ellipse(307, 222, 146, 142),
        inside=ellipse(307, 222, 122, 118),
        keys=(
            Key(0.0, 450, 150, 116), Key(2.0, 370, 225, 112, 15), Key(3.4, 268, 300, 100, 30),
            Key(4.6, 172, 335, 92, 42), Key(6.0, 62, 300, 104, 55), Key(8.0, 78, 180, 116, 75),
            Key(10.0, 165, 110, 122, 90),
        ),
    ),
    Prop(
        name="hopper",
        picture=("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        outside=[
            (170, 75), (190, 45), (215, 30), (225, 22), (300, 20), (330, 50), (355, 65), (360, 85),
            (375, 95), (376, 160), (378, 185), (378, 210), (365, 260), (365, 290), (345, 318),
            (360, 335), (400, 355), (450, 370), (490, 385), (505, 420), (511, 450), (511, 599),
            (8, 599), (20, 500), (30, 430), (48, 385), (100, 365), (160, 345), (195, 318),
            (175, 295), (160, 270), (155, 225), (150, 190), (152, 150), (150, 95),
        ],
        inside=[
            (180, 85), (200, 65), (230, 35), (300, 40), (345, 75), (368, 95), (366, 180),
            (370, 200), (350, 250), (335, 310), (345, 335), (400, 365), (480, 395), (500, 450),
            (505, 595), (20, 595), (30, 500), (45, 400), (110, 372), (190, 340), (200, 320),
            (175, 280), (170, 240), (160, 200), (165, 160), (158, 110),
        ],
        holes=([
            (163, 284), (170, 287), (180, 293), (192, 298), (199, 302), (201, 310), (195, 320),
            (185, 331), (172, 340), (158, 346), (150, 340), (150, 300),
        ],),
        keys=(
            Key(0.0, 140, 392, 248), Key(2.5, 152, 386, 248, 1.5), Key(5.0, 175, 391, 250, -1),
            Key(7.5, 205, 386, 252, -2), Key(10.0, 228, 392, 254, 0),
        ),
    ),
    Prop(
        name="astronaut",
        picture=("skimage", "data/astronaut.png"),
        outside=[
            (150, 60), (175, 25), (215, 10), (255, 10), (290, 40), (308, 90), (300, 125),
            (285, 150), (280, 165), (300, 200), (312, 240), (330, 255), (352, 285), (368, 330),
            (372, 345), (400, 340), (440, 345), (475, 370), (500, 420), (508, 450), (511, 470),
            (511, 511), (15, 511), (20, 440), (15, 400), (22, 350), (35, 300), (50, 265),
            (75, 240), (105, 215), (112, 190), (135, 160), (160, 146), (178, 140), (160, 120),
            (150, 100),
        ],
        inside=[
            (165, 70), (200, 30), (250, 25), (285, 60), (290, 100), (265, 170), (295, 230),
            (335, 290), (350, 350), (400, 352), (450, 365), (480, 420), (500, 480), (500, 505),
            (35, 505), (32, 440), (30, 400), (50, 320), (70, 270), (110, 235), (125, 190),
            (150, 160), (185, 145), (180, 115), (160, 110),
        ],
        holes=([
            (268, 139), (276, 135), (284, 123), (300, 112), (310, 120), (310, 205), (295, 212),
            (284, 197), (270, 183), (256, 173), (260, 160), (266, 147),
        ],),
        keys=(
            Key(1.2, 780, 388, 240), Key(3.0, 640, 384, 240, -2), Key(5.0, 500, 388, 242, 1),
            Key(7.5, 462, 384, 244, 2), Key(10.0, 478, 388, 246, -1),
        ),
    ),
    Prop(
        name="cup",
        picture=("skimage", "data/coffee.png"),
        outside=[
            (72, 215), (80, 165), (110, 108), (150, 76), (172, 70), (190, 40), (240, 15),
            (300, 12), (360, 30), (395, 60), (410, 62), (428, 68), (425, 100), (450, 120),
            (475, 170), (483, 230), (475, 280), (448, 333), (400, 371), (330, 391), (270, 390),
            (200, 374), (143, 340), (98, 297), (75, 250),
        ],
        inside=[
            (85, 215), (95, 160), (120, 115), (170, 80), (190, 50), (240, 25), (300, 22),
            (355, 38), (395, 70), (418, 75), (415, 105), (440, 125), (465, 175), (473, 230),
            (463, 280), (438, 325), (395, 360), (330, 380), (270, 378), (205, 362), (152, 330),
            (110, 290), (88, 245),
        ],
        keys=(
            Key(0.0, 92, 100, 122, -6), Key(2.5, 200, 84, 130, 0), Key(5.0, 350, 108, 142, 8),
            Key(7.0, 490, 118, 148, 4), Key(8.4, 620, 100, 142, -4), Key(9.4, 735, 90, 138, -8),
        ),
    ),
)
# fmt: on

BACKGROUND = ("skimage", "data/brick.png")


def read_picture(package: str, file: str) -> NDArray[np.uint8]:
    """A picture out of an installed package, BGR, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"make_scene: {package} is not installed: pip install -e '.[scene]'")
    path = Path(next(iter(spec.submodule_search_locations))) / file
    picture = cv2.imread(str(path))
    if picture is None:
        raise SystemExit(f"make_scene: this version of {package} has no {file}")
    return np.asarray(picture, np.uint8)


def cut_out(prop: Prop) -> Floats:
    """The object as premultiplied BGRA in [0, 1], cropped to what it covers."""
    picture = read_picture(*prop.picture)
    labels = np.full(picture.shape[:2], cv2.GC_BGD, np.uint8)
    cv2.fillPoly(labels, [np.array(prop.outside, np.int32)], cv2.GC_PR_FGD)
    cv2.fillPoly(labels, [np.array(prop.inside, np.int32)], cv2.GC_FGD)
    for hole in prop.holes:
        cv2.fillPoly(labels, [np.array(hole, np.int32)], cv2.GC_BGD)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, (0, 0, 0, 0), *models, 6, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)

    # The largest piece, without specks of background in it.
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(solid)
    solid = (pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(1 - solid)
    for piece in range(1, count):
        if stats[piece, cv2.CC_STAT_AREA] < 300:
            solid[pieces == piece] = 1

    # The outermost pixel is a mixture with the old background: leave it out, then soften.
    solid = np.pad(solid, 4)
    picture = np.pad(picture, ((4, 4), (4, 4), (0, 0)), mode="edge")
    alpha = cv2.GaussianBlur(
        cv2.erode(solid, np.ones((3, 3), np.uint8)).astype(np.float32), (0, 0), 1
    )
    x, y, w, h = cv2.boundingRect((alpha > 0.02).astype(np.uint8))
    alpha = alpha[y : y + h, x : x + w, None]
    colour = picture[y : y + h, x : x + w].astype(np.float32) / 255
    return np.concatenate([colour * alpha, alpha], axis=2)


class Actor:
    """A cut-out that knows where it is at any time."""

    def __init__(self, prop: Prop) -> None:
        """Cut the object out and smooth its path."""
        self.name = prop.name
        cut = cut_out(prop)
        tallest = max(key.height for key in prop.keys)
        # Shrunk once, well, to its largest size in the scene; from there a linear warp is enough.
        size = round(cut.shape[1] * tallest / cut.shape[0]), round(tallest)
        self.cut = np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), np.float32)
        self.area = int((self.cut[..., 3] > 0.5).sum())
        times = [key.time_s for key in prop.keys]
        path = [(key.x, key.y, key.height, key.angle) for key in prop.keys]
        self._path = PchipInterpolator(times, path)
        self._last_s = times[-1]
        self._first_s = times[0]

    def at(self, time_s: float) -> tuple[Floats, float] | None:
        """The cut-out on an empty scene, and its scale; None where it is not on its path."""
        if not self._first_s <= time_s <= self._last_s:
            return None
        x, y, height, angle = self._path(time_s)
        scale = height / self.cut.shape[0]
        centre = self.cut.shape[1] / 2, self.cut.shape[0] / 2
        matrix = cv2.getRotationMatrix2D(centre, float(angle), float(scale))
        matrix[:, 2] += x - centre[0], y - centre[1]
        placed = cv2.warpAffine(self.cut, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        return np.asarray(placed, np.float32), float(scale)


def make_background() -> Floats:
    """A brick wall, out of focus and painted, larger than the scene, BGR in [0, 1]."""
    wall = cv2.rotate(read_picture(*BACKGROUND), cv2.ROTATE_90_CLOCKWISE)
    grey = cv2.resize(wall, (760, 760), interpolation=cv2.INTER_CUBIC)[..., :1]
    grey = cv2.GaussianBlur(grey, (0, 0), 2.2).astype(np.float32)[..., None] / 255
    grey = (grey - grey.mean()) * 0.55 + 0.5
    paint = np.array([0.98, 1.0, 0.88], np.float32)  # a pale green, BGR
    ys, xs = np.mgrid[:760, :760].astype(np.float32) / 760
    light = 1.08 - 0.25 * ((xs - 0.4) ** 2 + (ys - 0.3) ** 2)  # a lamp from the upper left
    return np.asarray(np.clip(grey * paint * light[..., None], 0, 1), np.float32)


def render(
    actors: Sequence[Actor], wall: Floats, index: int
) -> tuple[NDArray[np.uint8], list[Any]]:
    """One frame (RGB) and its truth."""
    time_s = index / RATE
    # The camera is held by hand: the wall sways by a few pixels.
    sway = np.array(
        [
            [1, 0, -60 + 7 * np.sin(0.9 * time_s) + 2 * np.sin(2.3 * time_s)],
            [0, 1, -100 + 4 * np.sin(1.3 * time_s + 1)],
        ]
    )
    picture = cv2.warpAffine(wall, sway, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR).astype(np.float32)

    layers: list[tuple[int, Floats, float]] = []  # id, alpha, scale
    for number, actor in enumerate(actors, 1):
        placed = actor.at(time_s)
        if placed is None:
            continue
        image, scale = placed
        alpha = image[..., 3:]
        picture = picture * (1 - alpha) + image[..., :3]
        layers.append((number, alpha[..., 0], scale))

    objects: list[dict[str, Any]] = []
    in_front = np.ones((HEIGHT, WIDTH), np.float32)
    for number, alpha, scale in reversed(layers):
        in_frame = int((alpha > 0.5).sum())
        seen = alpha * in_front > 0.5
        in_front *= 1 - alpha
        pixels = int(seen.sum())
        if pixels < MIN_PIXELS:
            continue
        masks = Masks.from_dense(seen[None])
        (x, y), (h, w) = masks.offsets[0].tolist(), masks.crops[0].shape
        actor = actors[number - 1]
        objects.append(
            {
                "id": number,
                "name": actor.name,
                "box": [x, y, x + w, y + h],
                "mask": masks.rle(0),
                "visible": round(pixels / in_frame, 3),
                "in_frame": round(min(1.0, in_frame / (actor.area * scale**2)), 3),
            }
        )
    objects.sort(key=lambda one: one["id"])

    noise = np.random.default_rng(index).normal(0, NOISE, (HEIGHT, WIDTH, 1))
    colour_noise = np.random.default_rng(1000 + index).normal(0, NOISE / 3, (HEIGHT, WIDTH, 3))
    noisy = cv2.GaussianBlur(picture, (0, 0), 0.6) * 255 + noise + colour_noise
    return np.clip(noisy[..., ::-1] + 0.5, 0, 255).astype(np.uint8), objects


def write_sheet(
    frames: Sequence[NDArray[np.uint8]], truths: Sequence[list[Any]], path: Path
) -> None:
    """Twelve frames with the truth's outlines, for a person to look at."""
    from pycocotools import mask as coco_mask

    tiles = []
    for index in np.linspace(0, len(frames) - 1, 12).astype(int):
        tile = np.ascontiguousarray(frames[index][..., ::-1])
        for one in truths[index]:
            outline, _ = cv2.findContours(
                coco_mask.decode(one["mask"]), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(tile, outline, -1, (0, 255, 255), 1)
            place = (one["box"][0], max(10, one["box"][1] - 3))
            text = f"{one['id']} {one['visible']:.2f} {one['in_frame']:.2f}"
            cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        text = f"{index / RATE:.2f} s"
        cv2.putText(tile, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 255), 1)
        tiles.append(tile)
    rows = [np.hstack(tiles[i : i + 4]) for i in range(0, 12, 4)]
    cv2.imwrite(str(path), np.vstack(rows))


def main() -> None:
    """Render, encode, and write the truth."""
    parser = argparse.ArgumentParser(prog="demos.make_scene", description="Renders the demo scene.")
    default = Path(__file__).parents[1] / "pipeline" / "data"
    parser.add_argument("--output", type=Path, default=default, metavar="DIR")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="a contact sheet as well")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)

    wall = make_background()
    actors = [Actor(prop) for prop in PROPS]
    frames, truths = [], []
    for index in range(FRAMES):
        frame, objects = render(actors, wall, index)
        frames.append(frame)
        truths.append(objects)

    video = arguments.output / "demo.mp4"
    with av.open(str(video), "w", options={"movflags": "+faststart"}) as container:
        options = {"crf": "19", "preset": "slow", "threads": "1"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.time_base = Fraction(1, RATE)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))

    lines = [
        json.dumps({"frame": i, "time_s": i / RATE, "objects": one}, separators=(",", ":"))
        for i, one in enumerate(truths)
    ]
    truth = arguments.output / "demo_truth.jsonl.gz"
    truth.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))
    print(f"{video}: {video.stat().st_size:,} bytes; {truth}: {truth.stat().st_size:,} bytes")
    if arguments.sheet:
        write_sheet(frames, truths, arguments.sheet)


if __name__ == "__main__":
    main()
