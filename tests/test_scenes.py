"""The generator that other tests trust."""

from __future__ import annotations

import av
import numpy as np
import pytest

from tests import scenes


def test_crossing_hides_one_object_and_shows_it_again():
    scene = scenes.crossing()
    seen = [1 in scene.truth(i).ids for i in range(len(scene))]
    assert seen[0]
    assert seen[-1]
    hidden = [i for i, one in enumerate(seen) if not one]
    assert 2 <= len(hidden) <= 12
    assert hidden == list(range(hidden[0], hidden[-1] + 1))
    assert all(2 in scene.truth(i).ids for i in range(len(scene)))


def test_masks_are_disjoint_and_boxes_are_tight():
    scene = scenes.crowd(30, length=10)
    for index in range(len(scene)):
        truth = scene.truth(index)
        dense = np.array(list(truth.masks))
        assert dense.sum(axis=0).max() == 1
        for box, mask in zip(truth.boxes, dense, strict=True):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_a_missed_object_is_there_but_not_detected():
    scene = scenes.gap(1.0, 1.4)
    numbers = [len(detections) for _, detections in scene.detections()]
    assert numbers == [1] * 25 + [0] * 10 + [1] * 40
    assert all(len(scene.truth(i).ids) == 1 for i in range(len(scene)))


def test_detections_are_the_same_every_time():
    settings = {"box_noise_px": 1.0, "clutter": 2.0, "with_features": True}
    first, second = (scenes.crossing(**settings).detect(17) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert first.features is not None
    assert second.features is not None
    assert np.array_equal(first.features, second.features)
    assert np.allclose(np.linalg.norm(first.features, axis=1), 1, atol=1e-6)


def test_skipped_frames_leave_gaps_and_are_counted():
    scene = scenes.still(skipped=frozenset({3, 4, 10}), length=12)
    frames = list(scene.frames())
    assert [frame.index for frame in frames] == [0, 1, 2, 5, 6, 7, 8, 9, 11]
    assert sum(frame.dropped_before for frame in frames) == 3


def test_empty_scene():
    detections = scenes.empty().detect(0)
    assert len(detections) == 0
    assert detections.boxes.shape == (0, 4)


@pytest.mark.parametrize("with_features", [False, True])
def test_hidden_objects_leave_empty_detections(with_features):
    scene = scenes.gap(0.0, 3.1, with_features=with_features)
    assert len(scene.detect(10)) == 0


def test_video_holds_every_frame(crossing_video):
    scene = scenes.crossing()
    with av.open(str(crossing_video)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == len(scene)
    difference = frames[30].to_ndarray(format="rgb24").astype(int) - scene.image(30)
    assert np.abs(difference).mean() < 6
