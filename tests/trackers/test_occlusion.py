"""Boxes of half hidden objects: measured by the edges that show."""

from __future__ import annotations

import numpy as np
import pytest

from trackers.masks import Masks
from trackers.occlusion import uncovered

SIZE = (100, 200)
EXPECTED = [50.0, 20.0, 90.0, 60.0]


def shown(measured, others=(), expected=EXPECTED):
    """What is measured of the object after its hidden edges are put right."""
    boxes = np.array([measured, *others], np.float64)
    dense = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x1, y1, x2, y2) in zip(dense, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    masks = Masks.from_dense(dense)
    one = np.array([expected]), boxes[:1], np.zeros(1, np.intp)
    return uncovered(*one, boxes, masks)[0].tolist()


@pytest.mark.parametrize(
    ("measured", "other", "wanted"),
    [
        ([52, 20, 80, 60], [80, 0, 130, 90], [52, 20, 92, 60]),  # right edge hidden
        ([60, 20, 88, 60], [10, 0, 60, 90], [48, 20, 88, 60]),  # left
        ([50, 22, 90, 50], [40, 50, 99, 99], [50, 22, 90, 62]),  # bottom
        ([50, 30, 90, 58], [40, 0, 99, 30], [50, 18, 90, 58]),  # top
    ],
)
def test_a_hidden_edge_follows_from_the_one_that_shows(measured, other, wanted):
    assert shown(measured, [other]) == wanted


def test_who_shrinks_alone_is_measured_as_it_is():
    assert shown([52, 20, 80, 60]) == [52, 20, 80, 60]
    assert shown([52, 20, 80, 60], [[130, 0, 180, 90]]) == [52, 20, 80, 60]


def test_the_one_in_front_is_measured_as_it_is():
    assert shown([55, 20, 95, 60], [[95, 0, 150, 90]]) == [55, 20, 95, 60]


def test_hidden_on_both_sides_is_measured_as_it_is():
    assert shown([60, 20, 80, 60], [[80, 0, 130, 90], [10, 0, 60, 90]]) == [60, 20, 80, 60]


def test_the_border_of_the_picture_hides_as_well():
    leaving = [170.0, 20.0, 210.0, 60.0]
    assert shown([168, 20, 200, 60], expected=leaving) == [168, 20, 208, 60]
    assert shown([0, 20, 32, 60], expected=[-10.0, 20.0, 30.0, 60.0]) == [-8, 20, 32, 60]
    # A mask may end a little before it.
    assert shown([168, 20, 197, 60], expected=leaving) == [168, 20, 208, 60]
    assert shown([3, 20, 32, 60], expected=[-10.0, 20.0, 30.0, 60.0]) == [-8, 20, 32, 60]
    assert shown([168, 20, 185, 60], expected=leaving) == [168, 20, 185, 60]


def test_a_box_that_sticks_out_of_the_picture_hides_none_of_its_other_edges():
    out = shown([50, -60, 80, 60], expected=[50.0, -60.0, 90.0, 60.0])
    assert out == [50, -60, 80, 60]


def test_two_may_hide_an_edge_together():
    others = [[80, 0, 130, 38], [80, 42, 130, 90]]
    assert shown([52, 20, 80, 60], others) == [52, 20, 92, 60]
