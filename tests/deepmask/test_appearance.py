"""What objects look like: the colours under their masks, beside what the network sees."""

import numpy as np
import pytest

from deepmask.appearance import COLOURS, appearance

SEEN = np.eye(4, dtype=np.float32)


def disc(radius):
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + cols**2 <= radius**2


def painted(*colours, ground=(0, 0, 0), radius=20):
    """A picture with a disc of each colour; the discs' places and masks."""
    side = 2 * radius + 1
    mask = disc(radius)
    image = np.empty((side, side * len(colours), 3), np.uint8)
    image[:] = ground
    for i, colour in enumerate(colours):
        image[:, i * side : (i + 1) * side][mask] = colour
    offsets = np.array([(i * side, 0) for i in range(len(colours))], np.int32)
    return image, offsets, [mask] * len(colours)


def looks(*colours, **kwargs):
    """Of things that the network cannot tell apart."""
    return appearance(SEEN[[0] * len(colours)], *painted(*colours, **kwargs))


def test_colours_tell_apart_what_is_one_kind_to_the_network():
    red, same, darker, blue, grey = looks(
        (180, 60, 50), (180, 60, 50), (165, 55, 46), (50, 70, 170), (120, 120, 120)
    )
    assert red @ same == pytest.approx(1, abs=1e-5)
    assert red @ darker > 0.9
    assert max(red @ blue, red @ grey, blue @ grey) < 0.6


def test_vectors_are_unit_and_both_halves_count():
    colours = [(180, 60, 50), (180, 60, 50)]
    one, other = appearance(SEEN[:2], *painted(*colours))
    assert np.linalg.norm([one, other], axis=1) == pytest.approx(1, abs=1e-5)
    assert one @ other == pytest.approx(0.7, abs=1e-5)


def test_only_the_mask_counts_at_any_size():
    small = looks((180, 60, 50), (50, 70, 170), radius=4)
    large = looks((180, 60, 50), (50, 70, 170), ground=(10, 200, 30), radius=150)
    assert np.sum(small * large, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_line_that_the_sampled_rows_miss():
    image = np.zeros((100, 100, 3), np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[3] = True
    image[mask] = 180, 60, 50
    found = appearance(SEEN[:1], image, np.zeros((1, 2), np.int32), [mask])
    assert found[0] @ looks((180, 60, 50))[0] == pytest.approx(1, abs=1e-5)


def test_nothing():
    found = appearance(SEEN[:0], np.zeros((9, 9, 3), np.uint8), np.zeros((0, 2), np.int32), [])
    assert found.shape == (0, 4 + COLOURS)
