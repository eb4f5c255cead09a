"""Identities at points set by people: who is found where, and whose name it has."""

import numpy as np
import pytest

from benchmarks.identities import POINTS, Point, judge, read_points
from trackers import Masks
from trackers.tracks import Tracks

SIZE = (60, 100)


def tracks(*named):
    """A frame with a square of 10 px for each (identity, x, y), its top left."""
    masks = np.zeros((len(named), *SIZE), bool)
    for mask, (_, x, y) in zip(masks, named, strict=True):
        mask[y : y + 10, x : x + 10] = True
    boxes = [(x, y, x + 10, y + 10) for _, x, y in named]
    zeros = np.zeros(len(named), np.float32)
    return Tracks(
        ids=np.array([identity for identity, _, _ in named], np.int64),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=zeros,
        coasting=zeros > 0,
        velocities=np.zeros((len(named), 2), np.float32),
        ages_s=zeros,
        masks=Masks.from_dense(masks),
        missed=zeros > 0,
    )


def point(frame, x, y, name="ball", least=50, most=200):
    return Point("clip", name, least, most, frame, x, y)


def test_the_own_identity_is_the_one_it_has_most_often():
    frames = [tracks((1, 20, 20)), tracks((1, 30, 20)), tracks((2, 40, 20)), tracks()]
    points = [point(k, 25 + 10 * k, 25) for k in range(4)]
    row = judge("clip", points, frames)
    assert (row.objects, row.identities) == (1, 2)
    assert row.found == pytest.approx(3 / 4)
    assert row.own == pytest.approx(2 / 4)


def test_points_of_the_mirror_image_are_mirrored():
    """A square of 10 px at 20 from the left lies at 70 from it in the mirror image, 100 px wide."""
    frames, points = [tracks((1, 70, 20))], [point(0, 20, 25, least=100, most=100)]
    assert judge("clip", points, frames, mirrored=True).own == 1
    assert judge("clip", points, frames).own == 0


def test_objects_weigh_the_same_however_many_points_they_have():
    frames = [tracks((1, 20, 20), (2, 60, 20)) for _ in range(4)]
    points = [point(k, 25, 25) for k in range(4)] + [point(0, 5, 5, "nothing")]
    assert judge("clip", points, frames).own == pytest.approx(1 / 2)


def test_points_of_frames_that_never_come_are_not_found():
    row = judge("clip", [point(0, 25, 25), point(9, 25, 25)], [tracks((1, 20, 20))])
    assert (row.found, row.own) == (0.5, 0.5)
    assert judge("clip", [point(9, 25, 25)], [tracks()]).found == 0


def test_masks_of_another_size_or_place_are_others():
    frames = [tracks((1, 20, 20))]
    near, far = point(0, 32, 25), point(0, 34, 25)
    assert judge("clip", [near], frames).found == 1
    assert judge("clip", [far], frames).found == 0
    assert judge("clip", [point(0, 25, 25, least=101)], frames).found == 0
    assert judge("clip", [point(0, 25, 25, most=99)], frames).found == 0


def test_the_points_are_a_table(tmp_path):
    clips = read_points(POINTS)
    assert all(one.least_px < one.most_px for points in clips.values() for one in points)
    broken = tmp_path / "points.csv"
    broken.write_text(
        "clip,object,least_px,most_px,frame,x,y\na,b,1,2,3,4,five\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"points.csv, line 2: expected clip,object"):
        read_points(broken)
