"""From windows to objects: drawing masks, suppressing duplicates and parts."""

import dataclasses

import numpy as np
import pytest

from deepmask.appearance import COLOURS
from deepmask.proposals import (
    ProposalConfig,
    Windows,
    choose_cells,
    paste,
    propose,
    rank,
    suppress,
    vote,
)

SIZE = (96, 128)
BLANK = np.zeros((*SIZE, 3), np.uint8)
AS_DRAWN = ProposalConfig(follow_edges=False)
SIDE = 56


def disc(radius, centre=(28, 28)):
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return (((y - centre[1]) ** 2 + (x - centre[0]) ** 2) < radius**2).astype(np.float32)


def draw(mask, window, size=SIZE):
    found = paste(mask, np.array(window, np.float32), size, 0.5)
    assert found is not None
    return found


def windows(rows):
    """Windows from (score, mask, x1, y1, x2, y2)."""
    scores = np.array([row[0] for row in rows], np.float32)
    return Windows(
        scores,
        scores,
        np.stack([row[1] for row in rows]),
        np.array([row[2:] for row in rows], np.float32),
        np.eye(len(rows), 4, dtype=np.float32),
    )


def test_a_mask_is_drawn_where_its_window_lies():
    (x, y), crop = draw(disc(14), [10, 20, 66, 76])
    assert (x, y) == (24, 34)
    assert crop.shape == (28, 28)
    np.testing.assert_array_equal(crop, disc(14)[14:42, 14:42] > 0)


def test_a_window_over_the_edge_is_cut_to_the_picture():
    (x, y), crop = draw(disc(20), [-28, -28, 28, 28])
    assert (x, y) == (0, 0)
    assert crop.shape == (20, 20)


def test_nothing_above_the_threshold_is_nothing():
    assert paste(disc(14) * 0.4, np.array([0, 0, 56, 56], np.float32), SIZE, 0.5) is None
    assert paste(disc(5), np.array([500, 0, 556, 56], np.float32), SIZE, 0.5) is None


def test_masks_scale_with_the_window():
    _, crop = draw(disc(14), [0, 0, 112, 112], (200, 200))
    assert crop.sum() == pytest.approx(np.pi * 28**2, rel=0.02)


def test_duplicates_go_and_neighbours_stay():
    given = windows(
        [
            (0.9, disc(20), 0, 0, 56, 56),
            (0.8, disc(20), 2, 1, 58, 57),
            (0.7, disc(20), 60, 0, 116, 56),
        ]
    )
    assert suppress(given, SIZE, ProposalConfig())[0].tolist() == [0, 2]
    everything = ProposalConfig(max_iou=1.0)
    assert suppress(given, SIZE, everything)[0].tolist() == [0, 1, 2]


def test_a_whole_replaces_a_part_that_scores_little_more():
    whole, part = disc(26), disc(9, (28, 14))
    given = windows([(0.75, part, 0, 0, 56, 56), (0.7, whole, 0, 0, 56, 56)])
    assert suppress(given, SIZE, ProposalConfig(whole_bonus=0.1))[0].tolist() == [1]
    much_better = windows([(0.95, part, 0, 0, 56, 56), (0.6, whole, 0, 0, 56, 56)])
    assert suppress(much_better, SIZE, ProposalConfig(whole_bonus=0.1))[0].tolist() == [0, 1]


def test_a_small_thing_in_front_of_a_large_one_is_kept_where_parts_are():
    """Small masks fill few cells of the grid, and those in part: they are not inside by that."""
    large, small = disc(26), disc(8)
    given = windows([(0.9, large, 0, 0, 90, 90), (0.8, small, 60, 60, 74, 74)])
    assert suppress(given, SIZE, ProposalConfig(max_inside=1.0))[0].tolist() == [0, 1]
    beside = windows([(0.9, large, 0, 0, 56, 56), (0.8, small, 52, 20, 66, 34)])
    assert suppress(beside, SIZE, ProposalConfig())[0].tolist() == [0, 1]


def test_what_covers_nearly_all_of_the_picture_is_where_things_are_not_their_whole():
    tank, fish = np.ones((56, 56), np.float32), disc(20)
    width, height = SIZE[1], SIZE[0]
    scene = windows([(0.8, tank, 0, 0, width, height), (0.7, fish, 20, 20, 60, 60)])
    assert suppress(scene, SIZE, ProposalConfig())[0].tolist() == [0, 1]
    smaller = windows([(0.8, tank, 0, 0, 0.8 * width, height), (0.7, fish, 20, 20, 60, 60)])
    assert suppress(smaller, SIZE, ProposalConfig())[0].tolist() == [0]


def test_blocks_in_a_row_are_seen_beside_the_row():
    """Each covers less than half of it; together they are all of it."""
    square, row = np.zeros((2, SIDE, SIDE), np.float32)
    square[14:42, 14:42] = 1  # 20 px
    row[20:36, 6:50] = 1  # 63 x 23 px
    blocks = [(0.6, square, x, 20, x + 40, 60) for x in (10, 30, 50)]
    given = windows([(0.9, row, 10, 0, 90, 80), *blocks])
    assert suppress(given, SIZE, ProposalConfig())[0].tolist() == [0, 1, 2, 3]
    one = windows([(0.9, row, 10, 0, 90, 80), blocks[0]])
    assert suppress(one, SIZE, ProposalConfig())[0].tolist() == [0]


def test_near_copies_vote_on_the_mask():
    """Each copy misses another corner: two of three have every pixel."""
    corners = [np.s_[14:24, 14:24], np.s_[14:24, 32:42], np.s_[32:42, 14:24]]
    square = np.zeros((SIDE, SIDE), np.float32)
    square[14:42, 14:42] = 1
    masks = []
    for corner in corners:
        masks.append(square.copy())
        masks[-1][corner] = 0
    given = windows([(0.8, mask, 0, 0, 56, 56) for mask in masks])
    alone = propose(given, BLANK, dataclasses.replace(AS_DRAWN, vote_iou=1.0))
    assert alone.crops[0].sum() == 28 * 28 - 100
    voted = propose(given, BLANK, AS_DRAWN)
    assert [crop.sum() for crop in voted.crops] == [28 * 28]


def test_votes_come_from_windows_of_any_place_and_size():
    """The same square seen in a window twice as large and elsewhere."""
    small, large = np.zeros((2, SIDE, SIDE), np.float32)
    small[12:36, 12:36] = 1  # 12 to 36 px
    large[11:23, 13:25] = 1  # -10 + 2 * 11 to 36 px; -14 + 2 * 13 to 36 px
    given = windows([(0.9, small, 0, 0, 56, 56), (0.8, large, -14, -10, 98, 102)])
    mask = vote(given, 0, np.array([0.5, 0.5], np.float32))
    np.testing.assert_allclose(mask[14:34, 14:34], 1, atol=1e-6)
    assert mask[:10].max() == mask[38:].max() == 0
    np.testing.assert_allclose(mask.sum(), 24 * 24, rtol=0.01)


def test_results_are_in_the_picture_s_own_pixels():
    given = windows([(0.9, disc(14), 10, 20, 66, 76)])
    found = propose(given.scaled(2, 2), np.zeros((192, 256, 3), np.uint8), ProposalConfig())
    np.testing.assert_allclose(found.boxes, [[48, 68, 104, 124]], atol=1)
    assert found.crops[0].sum() == pytest.approx(4 * np.pi * 14**2, rel=0.03)
    assert found.appearance.shape == (1, 4 + COLOURS)


def test_nothing_found_is_normal():
    empty = Windows(
        np.zeros(0, np.float32),
        np.zeros(0, np.float32),
        np.zeros((0, SIDE, SIDE), np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros((0, 4), np.float32),
    )
    found = propose(empty, BLANK, ProposalConfig())
    assert found.boxes.shape == (0, 4)
    assert found.appearance.shape == (0, 4 + COLOURS)


def test_the_score_is_the_geometric_mean_of_objectness_and_quality():
    given = windows([(0.9, disc(14), 10, 20, 66, 76)])
    given = dataclasses.replace(given, quality=np.array([0.4], np.float32))
    found = propose(given, BLANK, ProposalConfig())
    assert found.scores == pytest.approx([0.6])
    assert found.quality == pytest.approx([0.4])


def test_the_best_cells_are_chosen_in_order():
    objectness = np.array([0.2, 0.0, 0.9, 0.5, 0.7], np.float32)
    assert choose_cells(objectness, 0.3, 10).tolist() == [2, 4, 3]
    assert choose_cells(objectness, 0.0, 2).tolist() == [2, 4]
    assert choose_cells(objectness, 0.95, 10).tolist() == []


def test_copies_come_after_all_that_is_distinct():
    given = windows(
        [
            (0.9, disc(14), 0, 0, 56, 56),
            (0.8, disc(14), 1, 0, 57, 56),  # a copy
            (0.3, disc(14), 60, 30, 116, 86),
            (0.2, disc(14), 60, 31, 116, 87),  # a copy
            (0.1, disc(6), 0, 40, 56, 96),
        ]
    )
    config = dataclasses.replace(AS_DRAWN, min_score=0.0, max_inside=1.0, vote_iou=1.0)
    shown = propose(given, BLANK, config)
    all_of_them = rank(given, BLANK, config, distinct=100)
    assert len(shown.scores) == 3
    np.testing.assert_array_equal(all_of_them.boxes[:, 0], [14, 74, 22, 15, 74])
    np.testing.assert_array_equal(all_of_them.scores[:3], shown.scores)
    assert (np.diff(all_of_them.scores) <= 0).all()
    one = rank(given, BLANK, config, distinct=1)
    np.testing.assert_array_equal(one.boxes[:, 0], [14, 15, 74, 74, 22])
    few = dataclasses.replace(config, max_count=2)
    assert len(rank(given, BLANK, few, distinct=100).scores) == 2
