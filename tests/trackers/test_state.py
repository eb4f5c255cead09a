"""The tracker's state: saved, and gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import scenes
from trackers import Detections, SortTracker

SCENE = scenes.crowd(count=4, seed=3)


def detections(frame: int, kind: str) -> Detections:
    """Four objects, with a frame now and then in which nothing is seen."""
    scene = SCENE
    seen = scene.detect(frame)
    if frame % 11 == 7:
        seen = Detections.empty()
    features = np.random.default_rng(frame).normal(size=(len(seen), 8)).astype(np.float32)
    return Detections(
        seen.boxes,
        seen.scores,
        seen.masks if kind == "masks" and len(seen) else None,
        features if kind == "masks" else None,
    )


def saved_and_read(state: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    np.savez(path, **state)  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def facts(thing: Any) -> Any:
    """Everything that an object holds, as what can be compared."""
    if isinstance(thing, np.ndarray):
        return thing.tolist()
    if isinstance(thing, list | tuple):
        return [facts(item) for item in thing]
    if type(thing).__module__.startswith("trackers.") and hasattr(thing, "__dict__"):
        return {name: facts(value) for name, value in vars(thing).items() if name != "_model"}
    return thing


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_a_restored_tracker_goes_on_as_if_nothing_had_happened(kind, tmp_path):
    first = SortTracker()
    for frame in range(20):
        first.update(detections(frame, kind), frame / 25)
    second = SortTracker()
    second.restore(saved_and_read(first.state(), tmp_path / "state.npz"))
    assert facts(second) == facts(first)
    for frame in range(20, 35):
        a, b = (one.update(detections(frame, kind), frame / 25) for one in (first, second))
        assert facts(a.ids) == facts(b.ids)
        assert facts(a.boxes) == facts(b.boxes)
        assert a.masks is None or [m.tolist() for m in a.masks] == [m.tolist() for m in b.masks]  # type: ignore[union-attr]
    assert facts(second) == facts(first)


def test_the_state_before_the_first_frame(tmp_path):
    tracker = SortTracker()
    tracker.restore(saved_and_read(SortTracker().state(), tmp_path / "state.npz"))
    assert facts(tracker) == facts(SortTracker())
