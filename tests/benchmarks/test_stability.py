"""How much still objects tremble: pairing, what stands still, the averages."""

import cv2
import numpy as np
import pytest

from benchmarks.stability import changes_between, disturbances, of_still, stands_still, summary
from tests.fakes import ScriptedDetector
from trackers import Detections, Masks

SIZE = (120, 160)


def detections(*boxes, scores=None):
    masks = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    scores = np.full(len(boxes), 0.8) if scores is None else np.array(scores)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(found, scores.astype(np.float32), Masks.from_dense(masks))


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), (0, 0), 3)


def test_changes_are_those_of_the_same_object():
    before = detections((10, 10, 50, 50), (100, 20, 140, 60), scores=[0.9, 0.6])
    after = detections((100, 20, 140, 60), (10, 10, 50, 48), scores=[0.5, 0.8])
    first, second = changes_between(before, after, np.array([True, True]))
    assert first == pytest.approx((0.1, 38 / 40, 0.5))
    assert second == pytest.approx((0.1, 1.0, 0.0))


def test_what_moves_is_left_out_and_what_is_gone_is_counted():
    before = detections((10, 10, 50, 50), (100, 20, 140, 60))
    after = detections((10, 10, 50, 50))
    assert len(changes_between(before, after, np.array([True, False]))) == 1
    changes = changes_between(before, after, np.array([True, True]))
    assert changes[1] is None
    row = summary("clip", changes)
    assert (row.objects, row.kept, row.mask_iou) == (2, 0.5, 1.0)
    assert changes_between(before, detections(), np.array([True, True])) == [None, None]


def test_flow_tells_what_stands_still(picture):
    moved = picture.copy()
    moved[:, 80:] = np.roll(picture, 3, axis=1)[:, 80:]
    still = stands_still(picture, moved, detections((10, 20, 60, 100), (100, 20, 150, 100)))
    assert still.tolist() == [True, False]


def test_a_still_is_disturbed_anew_in_each_frame(picture):
    seen = []
    found = detections((10, 10, 50, 50))
    detector = ScriptedDetector(lambda _: found, before=lambda frame: seen.append(frame.image))
    for name, disturb in disturbances().items():
        changes = of_still(detector, picture, disturb, 3)
        assert changes == [(0.0, 1.0, 0.0)] * 2, name
        assert len({image.tobytes() for image in seen[-3:]}) == 3, name
        assert np.abs(seen[-1].astype(int) - picture).mean() < 20, name
