"""Outlines that follow the picture: where they move to, and where they stay."""

import numpy as np
import pytest

from deepmask import outlines

SIDE = 56
WINDOW = np.array([[10, 20, 10 + 4 * SIDE, 20 + 4 * SIDE]], np.float32)
"""Four pixels of the picture for each of the mask."""


def ramp(edge):
    """`(56, 56)` probabilities: surely an object at the left, .5 at column `edge`."""
    columns = np.arange(SIDE) + 0.5
    return np.tile(np.clip(0.5 - (columns - edge) / 8, 0, 1), (SIDE, 1)).astype(np.float32)


def picture(edge, left=(200, 60, 40), right=(30, 90, 160), noise=0.0):
    """`(280, 280, 3)`: one colour up to column `edge`, another from there on."""
    image = np.empty((280, 280, 3))
    image[:, :edge], image[:, edge:] = left, right
    image += np.random.default_rng(0).normal(0, noise, image.shape) if noise else 0
    return image.clip(0, 255).astype(np.uint8)


def edge_of(mask):
    """Where the mask ends in each row of the middle, in pixels of the picture."""
    rows = mask[SIDE:-SIDE] > 0.5
    return WINDOW[0, 0] + rows.sum(1) * 4 * SIDE / rows.shape[1]


@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_an_unsure_edge_moves_onto_that_of_the_picture(noise):
    """The mask's edge is 6 px off, at 122; the picture's at 116."""
    image = picture(116, noise=noise)
    before = edge_of(np.repeat(np.repeat(ramp(28), 3, 0), 3, 1))
    after = edge_of(outlines.follow(ramp(28)[None], WINDOW, image)[0])
    assert abs(before - 116).min() > 4
    assert abs(after - 116).max() < 3
    assert abs(after - 116).mean() < 1.5


def test_where_the_picture_is_flat_the_mask_stays():
    fine = outlines.follow(ramp(28)[None], WINDOW, picture(0))[0]
    assert fine.shape == (3 * SIDE, 3 * SIDE)
    assert abs(edge_of(fine) - 122).max() < 1.5


def test_an_edge_in_what_the_network_is_sure_of_changes_nothing():
    """A stripe across the object's inside, as on a shirt."""
    image = picture(116)
    image[:, 30:50] = 255
    fine = outlines.follow(ramp(28)[None], WINDOW, image)[0]
    assert fine[SIDE:-SIDE, 9:60].min() > 0.8


def test_colours_decide_where_the_network_is_unsure():
    """A gap of .4 in the object has the object's colour, one beside it the other's."""
    mask = ramp(28)
    mask[20:30, 5:15] = mask[20:30, 40:50] = 0.4
    after = outlines.recoloured(mask[None], picture(122)[None, 20:244:4, 10:234:4])[0]
    assert after[22:28, 7:13].min() > 0.5
    assert after[22:28, 42:48].max() < 0.3


def test_a_window_may_reach_beyond_the_picture_or_lie_outside():
    image = picture(60)
    windows = np.array(
        [[-80, -100, 144, 124], [200, 200, 424, 424], [500, 500, 556, 556], [3, 3, 4, 4]],
        np.float32,
    )
    fine = outlines.follow(np.tile(ramp(28), (4, 1, 1)), windows, image)
    assert fine.shape == (4, 3 * SIDE, 3 * SIDE)
    assert np.isfinite(fine).all()
    assert ((fine > -0.5) & (fine < 1.5)).all()


def test_sure_masks_and_empty_ones_stay_so():
    masks = np.stack([np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)])
    fine = outlines.follow(masks, np.tile(WINDOW, (2, 1)), picture(116, noise=20))
    np.testing.assert_allclose(fine[0], 0, atol=1e-3)
    np.testing.assert_allclose(fine[1], 1, atol=1e-3)


def test_no_objects_are_no_masks():
    nothing = np.zeros((0, SIDE, SIDE), np.float32)
    assert outlines.follow(nothing, np.zeros((0, 4), np.float32), picture(0)).shape[0] == 0


def test_each_of_many_masks_is_drawn_as_if_it_were_alone():
    """More than OpenCV takes at once, in places that differ."""
    rng = np.random.default_rng(0)
    image, count = picture(116, noise=8.0), 150
    windows = WINDOW + rng.uniform(-30, 30, (count, 1)).astype(np.float32)
    masks = np.stack([ramp(rng.uniform(10, 46)) for _ in range(count)])
    fine = outlines.follow(masks, windows, image)
    for i in range(0, count, 7):
        one = slice(i, i + 1)
        alone = outlines.follow(masks[one], windows[one], image)[0]
        np.testing.assert_allclose(fine[i], alone, atol=1e-4)


def test_specks_go_and_pieces_stay():
    """Of an object behind a post both parts are its own."""
    mask = np.full((SIDE, SIDE), 0.2, np.float32)
    mask[10:40, 5:25] = mask[10:20, 30:40] = 0.9  # 600 and 100 px
    mask[45:49, 45:49] = 0.8  # 16 px
    clean = outlines.without_specks(mask, 0.5)
    assert (clean[45:49, 45:49] == 0).all()
    mask[45:49, 45:49] = 0
    np.testing.assert_array_equal(clean, mask)
    assert outlines.without_specks(mask, 0.5) is mask
    assert outlines.without_specks(mask, 0.95) is mask
