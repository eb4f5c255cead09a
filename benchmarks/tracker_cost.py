"""What the tracker costs, in CPU time: boxes, and masks with everything included.

    python -m benchmarks.tracker_cost [--objects 10,50,200,1000] [--masks 50] [--pictures 50]
        [--json FILE]

One thread. The scene: objects at constant velocity that bounce off the borders, with noise and
10 % misses, in random order; with masks ellipses of the objects in 640x480; with pictures, masks
and what a camera would show, each object with a pattern of its own, so that those that are missed
are sought and found. Times are those of `SortTracker.update` by `time.process_time`, the best of
`--repeats`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks import measuring  # noqa: E402
from trackers import Detections, Masks, SortConfig, SortTracker, Tracks  # noqa: E402
from trackers.patches import Picture  # noqa: E402

FRAME_S = 1 / 30
GRAIN_PX = 16
"""Side of the squares that patterns consist of."""


class View(NamedTuple):
    """What one frame of the scene gives the tracker."""

    detections: Detections
    picture: Picture | None


def scene(
    objects: int,
    frames: int,
    size: tuple[int, int],
    *,
    masks: bool,
    pictures: bool = False,
    seed: int = 0,
) -> list[View]:
    """Views of `objects` moving in a picture of `size` (W, H)."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform((0, 0), size, (objects, 2))
    speed = rng.normal(0, 3, (objects, 2))
    side = rng.uniform((20, 40), (60, 120), (objects, 2))
    out = []
    for _ in range(frames):
        centre += speed
        outside = (centre < 0) | (centre > size)
        speed[outside] *= -1
        middle = centre + rng.normal(0, 1, centre.shape)
        sides = side * (1 + rng.normal(0, 0.02, side.shape))
        seen = rng.permutation(np.flatnonzero(rng.random(objects) < 0.9))
        everywhere = np.hstack([middle - sides / 2, middle + sides / 2])
        boxes = everywhere[seen].astype(np.float32)
        scores = rng.uniform(0.72, 0.99, len(seen)).astype(np.float32)
        detections = Detections(boxes, scores, ellipses(boxes, size) if masks else None)
        out.append(View(detections, painted(everywhere, size) if pictures else None))
    return out


def painted(boxes: NDArray[np.float64], size: tuple[int, int]) -> Picture:
    """A picture of `size` (W, H) with a pattern in each of `boxes`, the same in every frame."""
    picture = pattern(0, size)
    for number, box in enumerate(boxes.round().astype(int).tolist(), 1):
        x1, y1, x2, y2 = box
        left, top = max(0, x1), max(0, y1)
        place = picture[top : max(0, y2), left : max(0, x2)]
        whole = pattern(number, (x2 - x1, y2 - y1))
        place[:] = whole[top - y1 :, left - x1 :][: place.shape[0], : place.shape[1]]
    return picture


def pattern(seed: int, size: tuple[int, int]) -> Picture:
    """Squares of any colours, `(H, W, 3)`."""
    columns, rows = (-(-side // GRAIN_PX) for side in size)
    grains = np.random.default_rng(seed).integers(0, 256, (99, 99, 3), dtype=np.uint8)
    picture = grains[:rows, :columns].repeat(GRAIN_PX, 0).repeat(GRAIN_PX, 1)
    return np.ascontiguousarray(picture[: size[1], : size[0]])


def ellipses(boxes: NDArray[np.float32], size: tuple[int, int]) -> Masks:
    """The ellipse in each box, cut off at the border of a picture of `size` (W, H)."""
    crops, offsets = [], np.zeros((len(boxes), 2), np.int32)
    for k, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        left, top = (min(max(int(v), 0), limit) for v, limit in zip((x1, y1), size, strict=True))
        right, bottom = (
            min(max(int(np.ceil(v)), 0), limit) for v, limit in zip((x2, y2), size, strict=True)
        )
        x, y = np.arange(left, right) + 0.5, np.arange(top, bottom)[:, None] + 0.5
        rx, ry = (x2 - x1) / 2, (y2 - y1) / 2
        crops.append(((x - x1 - rx) / rx) ** 2 + ((y - y1 - ry) / ry) ** 2 <= 1)
        offsets[k] = left, top
    return Masks((size[1], size[0]), offsets, tuple(crops))


def cpu_seconds(frames: list[View], config: SortConfig, budget_s: float) -> float:
    """CPU seconds a frame of one pass over `frames`, stopped when `budget_s` is spent."""
    tracker = SortTracker(config)
    start = time.process_time()
    for done, (detections, picture) in enumerate(frames, 1):
        tracker.update(detections, done * FRAME_S, picture)
        spent = time.process_time() - start
        if spent > budget_s:
            break
    return spent / done


def ours(frame_size: tuple[int, int]) -> tuple[Callable[[Any], Detections], Any, Any]:
    """Adapter for a comparison with other trackers: (prepare, step, output).

    Args:
        frame_size: (W, H) of the scene; this tracker does not need it.
    """
    tracker, frame = SortTracker(), 0

    def prepare(rows: NDArray[np.float64]) -> Detections:
        return Detections(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32))

    def step(detections: Detections) -> Tracks:
        nonlocal frame
        frame += 1
        return tracker.update(detections, frame * FRAME_S)

    def output(tracks: Tracks) -> list[tuple[float, ...]]:
        seen = ~tracks.coasting
        rows = zip(tracks.ids[seen].tolist(), tracks.boxes[seen].tolist(), strict=True)
        return [(i, *box) for i, box in rows]

    return prepare, step, output


def main() -> None:
    """Print one line for each number of objects."""
    parser = measuring.arguments("tracker_cost", __doc__, measuring.TRACKER)
    parser.add_argument("--objects", default="10,50,200,1000", help="numbers of boxes")
    parser.add_argument("--masks", default="50", help="numbers of masks, at 640x480")
    parser.add_argument("--pictures", default="50", help="the same, with pictures")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=5.0, help="CPU seconds a repeat")
    options = parser.parse_args()
    config = measuring.tracker_config(options.set)
    about, rows = measuring.announce(), []
    kinds = {"boxes": options.objects, "masks": options.masks, "pictures": options.pictures}
    for kind, counts in kinds.items():
        for count in (int(word) for word in counts.split(",") if word):
            masks, pictures = kind != "boxes", kind == "pictures"
            size = (640, 480) if masks else (1920, 1080) if count <= 200 else (3840, 2160)
            frames = scene(count, options.frames, size, masks=masks, pictures=pictures)
            best = min(cpu_seconds(frames, config, options.budget) for _ in range(options.repeats))
            print(f"{count:5d} {kind:8} {1e3 * best:8.3f} ms a frame {1 / best:9,.0f} frames/s")
            rows.append({"objects": count, "kind": kind, "cpu_ms": 1e3 * best})
    measuring.save(options.json, about | {"rows": rows})


if __name__ == "__main__":
    measuring.start(main)
