"""The tracker alone on the bundled scene: with perfect detections, identity is its own work."""

from __future__ import annotations

import functools
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trackers import Detections, Masks, SortTracker


@functools.cache
def follow(root: Path, min_visible: float) -> dict[str, Counter[int]]:
    """For each object how often it got which identity, by the place of its box.

    A detector that sees what shows at least `min_visible` of itself, and that exactly.
    """
    from pycocotools import mask as coco_mask

    tracker = SortTracker()
    followed: dict[str, Counter[int]] = {}
    with gzip.open(root / "pipeline/data/demo_truth.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            frame = json.loads(line)
            seen = [one for one in frame["objects"] if one["visible"] >= min_visible]
            boxes = np.array([one["box"] for one in seen], np.float32).reshape(-1, 4)
            dense = np.array([coco_mask.decode(one["mask"]) for one in seen], bool)
            masks = Masks.from_dense(dense.reshape(-1, 480, 640))
            scores = np.full(len(seen), 0.9, np.float32)
            tracks = tracker.update(Detections(boxes, scores, masks), frame["time_s"])
            for number, box, coasting in zip(
                tracks.ids.tolist(), tracks.boxes, tracks.coasting, strict=True
            ):
                if coasting:
                    continue
                place = int(np.abs(boxes - box).sum(axis=1).argmin())
                followed.setdefault(seen[place]["name"], Counter())[number] += 1
    return followed


@pytest.mark.parametrize("min_visible", [0.05, 0.5])
@pytest.mark.parametrize("name", ["shuttle", "hopper", "astronaut", "cup"])
def test_one_identity(root, name, min_visible):
    assert len(follow(root, min_visible)[name]) == 1


@pytest.mark.parametrize("min_visible", [0.05, 0.5])
def test_one_identity_after_being_hidden(root, min_visible):
    # The flower passes behind a person; it is hidden wholly for some .2 s.
    assert len(follow(root, min_visible)["dahlia"]) == 1
