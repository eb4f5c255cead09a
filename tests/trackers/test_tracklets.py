"""The table of tracklets: where masks should be."""

import numpy as np

from trackers.masks import Masks
from trackers.tracklets import COLUMNS, FOUND_S, SEEN_S, VELOCITY, Tracklets


def test_masks_are_expected_where_their_velocity_takes_them_since_they_were_seen():
    dense = np.zeros((2, 100, 100), bool)
    dense[0, 10:20, 30:50] = dense[1, 60:70, 10:20] = True
    table, rows = Tracklets(), np.zeros((2, COLUMNS))
    rows[:, VELOCITY] = (17.8, -4.0), (-30.0, 12.2)
    rows[:, SEEN_S], rows[:, FOUND_S] = (1.0, 1.5), 0.0
    table.add(rows, Masks.from_dense(dense), None, np.arange(2))
    assert table.expected_moves(np.arange(2), 2.0).tolist() == [[18, -4], [-15, 6]]
    expected = table.expected_masks((100, 100), np.array([1, 0]), 2.0)
    assert expected.extents.tolist() == [[-5, 66, 5, 76], [48, 6, 68, 16]]


def test_no_move_is_too_far_to_be_counted():
    table, rows = Tracklets(), np.zeros((1, COLUMNS))
    rows[:, VELOCITY] = 100.0, -100.0
    table.add(rows, None, None, np.zeros(1, np.intp))
    with np.errstate(all="raise"):
        ((x, y),) = table.expected_moves(np.zeros(1, np.intp), 1e9).tolist()
    assert (x, y) == (2**30, -(2**30))
