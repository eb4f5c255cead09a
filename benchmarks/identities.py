"""Do objects of real clips keep their identity? Counted at points set beforehand.

    python -m benchmarks.identities --clips DIR [--points FILE] [--mirrored] [--set KEY=VALUE]

`points.csv` beside this file says where an object is in some frames of a clip of DIR, and between
which areas its mask must lie (`clip,object,least_px,most_px,frame,x,y`). They were set by hand;
those of the fish are the dark spots on the still ground of the tank, followed while apart.
An object is found in such a frame where a track's mask lies within 3 px of the point. Its own
identity is the one that it is found with most often. Both are shares of its points, averaged over
the objects of a clip.

A clip is a few moments at which an identity is kept or lost. `--mirrored`, which takes the clips'
mirror images, and another `detector.precision` say how much of a figure is chance.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import configs
from benchmarks import measuring
from pipeline import track
from pipeline.config import PipelineConfig
from trackers.tracks import Tracks

POINTS = Path(__file__).with_name("points.csv")
NEAR_PX = 3


class Point(NamedTuple):
    """Where an object is in one frame."""

    clip: str
    object: str
    least_px: int
    """Pixels that its mask has at least."""
    most_px: int
    frame: int
    """From 0."""
    x: int
    y: int


class Row(NamedTuple):
    """What became of the objects of one clip."""

    clip: str
    objects: int
    found: float
    own: float
    """Share of the points at which an object has its own identity."""
    identities: int
    """How many were given in the whole clip, those of other things too."""


def read_points(path: Path) -> dict[str, list[Point]]:
    """Clip -> its points.

    Raises:
        ValueError: the file is no such table.
    """
    clips = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                numbers = {name: int(row[name]) for name in Point._fields[2:]}
                clips[row["clip"]].append(Point(row["clip"], row["object"], **numbers))
            except (KeyError, TypeError, ValueError) as error:
                wanted = ",".join(Point._fields)
                raise ValueError(f"{path}, line {number}: expected {wanted}, got {row}") from error
    return dict(clips)


def identity_at(tracks: Tracks, point: Point) -> int | None:
    """Of the tracks near the point with a mask of such a size, the smallest."""
    assert tracks.masks is not None
    found = []
    for identity, (x, y), crop in zip(
        tracks.ids.tolist(), tracks.masks.offsets.tolist(), tracks.masks.crops, strict=True
    ):
        top, left = point.y - y - NEAR_PX, point.x - x - NEAR_PX
        side = 2 * NEAR_PX + 1
        near = crop[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
        area = int(crop.sum())
        if near.any() and point.least_px <= area <= point.most_px:
            found.append((area, identity))
    return min(found)[1] if found else None


def mirror_image(point: Point, tracks: Tracks) -> Point:
    """Where the point is in the mirror image of its picture."""
    assert tracks.masks is not None
    return point._replace(x=tracks.masks.size[1] - 1 - point.x)


def judge(
    clip: str, points: Sequence[Point], frames: Iterable[Tracks], *, mirrored: bool = False
) -> Row:
    """Follow the objects of one clip; its tracks, or its mirror image's, come frame by frame."""
    wanted = defaultdict(list)
    for point in points:
        wanted[point.frame].append(point)
    met: dict[str, Counter[int]] = defaultdict(Counter)
    identities: set[int] = set()
    for number, tracks in enumerate(frames):
        identities.update(tracks.ids.tolist())
        for point in wanted[number]:
            identity = identity_at(tracks, mirror_image(point, tracks) if mirrored else point)
            if identity is not None:
                met[point.object][identity] += 1
    counts = Counter(point.object for point in points)
    found = [met[name].total() / count for name, count in counts.items()]
    own = [max(met[name].values(), default=0) / count for name, count in counts.items()]
    return Row(clip, len(counts), fmean(found), fmean(own), len(identities))


def main() -> None:
    """The command line."""
    parser = measuring.arguments("identities", __doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder with CLIP.mp4")
    parser.add_argument("--points", type=Path, default=POINTS)
    parser.add_argument("--mirrored", action="store_true", help="the clips' mirror images")
    options = parser.parse_args()
    about = measuring.announce()
    rows = []
    print(f"{'clip':32} objects  found    own  identities")
    config = configs.load(PipelineConfig, None, options.set)
    for clip, points in read_points(options.points).items():
        path = options.clips / f"{clip}.mp4"
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}: --clips is the folder of the clips")
        source = f"lavfi:movie={path},hflip" if options.mirrored else path
        frames = track(source, detector=config.detector, tracker=config.tracker)
        shown = (tracks for _, tracks in frames)
        row = judge(clip, points, shown, mirrored=options.mirrored)
        print(f"{clip:32} {row.objects:7} {row.found:6.3f} {row.own:6.3f} {row.identities:11}")
        rows.append(row)
    found, own = fmean(row.found for row in rows), fmean(row.own for row in rows)
    print(f"{'mean':32} {'':7} {found:6.3f} {own:6.3f}")
    about["mirrored"] = options.mirrored
    measuring.save(options.json, {**about, "rows": [row._asdict() for row in rows]})


if __name__ == "__main__":
    measuring.start(main)
