"""Do masks help the association? Noisy ground-truth masks, tracked with and without them.

    python -m benchmarks.mask_noise --gt DATA [--drop 0.1] [--shift 3] [--seeds 3] [--json FILE]

DATA holds one folder a sequence with `instances.txt` or `masks/*.png`. Of the masks a share is
dropped at random, the others are moved by a few pixels and eroded or dilated, and false ones are
added: masks of the sequence put elsewhere. Both trackers get the same detections and report the
same masks; only the share of masks in the association differs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy import ndimage

from benchmarks import measuring
from trackers import Detections, Masks, SortConfig, SortTracker, metrics
from trackers.evaluate import MaskFrame, Scores, compare_mask_frames, read_mask_truth, score
from trackers.motchallenge import read_seqinfo


@dataclasses.dataclass(frozen=True, slots=True)
class Noise:
    """How the masks are spoilt."""

    drop: float
    """Share of the masks that is missing."""
    shift: float
    """Standard deviation of their displacement, pixels."""
    erode: int
    """They are eroded or dilated by up to this many pixels."""
    false: float
    """Mean number of false masks a frame."""


def detections(
    truth: dict[int, MaskFrame], length: int, noise: Noise, rng: np.random.Generator
) -> Iterator[Detections]:
    """Spoilt masks of each frame, with their boxes."""
    everything = [rle for frame in truth.values() for rle in frame.masks]
    height, width = everything[0]["size"]
    for k in range(length):
        frame = truth.get(k, MaskFrame([], [], None))
        kept = [rle for rle in frame.masks if rng.random() >= noise.drop]
        real = [moved(grown(rle, noise, rng), rng.normal(0, noise.shift, 2)) for rle in kept]
        masks = [mask for mask in real if mask.any()]
        found = len(masks)
        for _ in range(rng.poisson(noise.false)):
            stray = coco_mask.decode(everything[rng.integers(len(everything))]).astype(bool)
            masks.append(moved(stray, rng.uniform(-0.5, 0.5, 2) * (width, height)))
        masks = [mask for mask in masks if mask.any()]
        scores = np.where(np.arange(len(masks)) < found, 0.9, 0.6).astype(np.float32)
        stack = Masks.from_dense(np.array(masks, bool).reshape(-1, height, width))
        yield Detections(stack.extents.astype(np.float32), scores, stack)


def grown(rle: dict[str, Any], noise: Noise, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The mask `(H, W)`, eroded or dilated at random."""
    mask: NDArray[np.bool_] = coco_mask.decode(rle).astype(bool)
    steps = int(rng.integers(-noise.erode, noise.erode + 1))
    if steps == 0:
        return mask
    change = ndimage.binary_dilation if steps > 0 else ndimage.binary_erosion
    changed: NDArray[np.bool_] = change(mask, iterations=abs(steps))
    return changed if changed.any() else mask


def moved(mask: NDArray[np.bool_], shift: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The mask displaced by `shift` (x, y or any two numbers), cut off at the border."""
    one = Masks.from_dense(mask[None])
    return one.moved(np.rint(shift).astype(np.int32)[None]).full(0)


def track(frames: list[Detections], rate: float, config: SortConfig) -> list[MaskFrame]:
    """Masks and identities seen in each frame."""
    tracker, out = SortTracker(config), []
    for k, seen in enumerate(frames):
        tracks = tracker.update(seen, k / rate)
        rows = np.flatnonzero(~tracks.coasting)
        assert tracks.masks is not None
        rles = [tracks.masks.rle(i) for i in rows.tolist()]
        masks = [{**rle, "counts": rle["counts"].encode("ascii")} for rle in rles]
        out.append(MaskFrame(tracks.ids[rows].tolist(), masks, None))
    return out


def main() -> None:
    """Print one line for each share of masks."""
    parser = measuring.arguments("mask_noise", __doc__, measuring.TRACKER)
    parser.add_argument("--gt", type=Path, required=True)
    parser.add_argument("--drop", type=float, default=0.1)
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--erode", type=int, default=2)
    parser.add_argument("--false", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="0,0.7,1", help="values of mask_weight to compare")
    options = parser.parse_args()
    base = measuring.tracker_config(options.set)
    about, rows = measuring.announce(), []
    noise = Noise(options.drop, options.shift, options.erode, options.false)
    weights = [float(word) for word in options.weights.split(",")]
    totals: dict[float, list[Scores]] = {weight: [] for weight in weights}
    folders = sorted(p for p in options.gt.iterdir() if p.is_dir())
    for folder in folders:
        truth, info = read_mask_truth(folder), read_seqinfo(folder)
        length = info.length or max(truth) + 1
        for seed in range(options.seeds):
            frames = list(detections(truth, length, noise, np.random.default_rng(seed)))
            for weight in weights:
                config = dataclasses.replace(base, mask_weight=weight)
                result = dict(enumerate(track(frames, info.frame_rate, config)))
                comparison = metrics.compare(compare_mask_frames(truth, result, length))
                totals[weight].append(score(comparison))
    print("mask_weight   HOTA   AssA   MOTA   IDF1  IDSW")
    for weight, scores in totals.items():
        s = functools.reduce(Scores.plus, scores)
        rates = (s.hota.HOTA, s.hota.AssA, s.clear.MOTA, s.identity.IDF1)
        print(f"{weight:11.1f}", *(f"{100 * r:6.2f}" for r in rates), f"{s.clear.IDSW:5d}")
        names = ("HOTA", "AssA", "MOTA", "IDF1")
        found = {name: 100 * rate for name, rate in zip(names, rates, strict=True)}
        rows.append({"mask_weight": weight, **found, "IDSW": s.clear.IDSW})
    measuring.save(options.json, about | {"rows": rows})


if __name__ == "__main__":
    measuring.start(main)
