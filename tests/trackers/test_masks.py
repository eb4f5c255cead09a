import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers import Masks

SIZE = (30, 40)


def random_masks(rng, n):
    dense = np.zeros((n, *SIZE), bool)
    for mask in dense:
        x, y = rng.integers(0, 35), rng.integers(0, 25)
        mask[y : y + rng.integers(0, 20), x : x + rng.integers(0, 20)] = True
        mask &= rng.random(SIZE) < 0.7
    return dense


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_intersections_equal_those_of_dense_masks(n, m, seed):
    rng = np.random.default_rng(seed)
    a, b = random_masks(rng, n), random_masks(rng, m)
    i, j = (x.ravel() for x in np.mgrid[:n, :m])
    shared = Masks.from_dense(a).intersections(i, Masks.from_dense(b), j)
    np.testing.assert_array_equal(shared, (a[i] & b[j]).sum((1, 2)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 150), st.integers(0, 2**32 - 1))
def test_intersections_that_could_be_enough_are_exact(least, seed):
    rng = np.random.default_rng(seed)
    a, b = random_masks(rng, 4), random_masks(rng, 4)
    i, j = (x.ravel() for x in np.mgrid[:4, :4])
    exact = (a[i] & b[j]).sum((1, 2))
    shared = Masks.from_dense(a).intersections(i, Masks.from_dense(b), j, least)
    np.testing.assert_array_equal(shared[exact >= least], exact[exact >= least])
    assert np.isin(shared, (0, *exact)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pixels_inside_a_window_equal_those_of_the_dense_mask(seed):
    rng = np.random.default_rng(seed)
    dense = random_masks(rng, 4)
    corner = rng.integers(-10, 40, (4, 2))
    windows = np.concatenate((corner, corner + rng.integers(0, 30, (4, 2))), axis=1)
    pixels = Masks.from_dense(dense).inside(np.arange(4), windows.astype(np.int32))
    for mask, (x1, y1, x2, y2), count in zip(dense, windows.clip(0), pixels, strict=True):
        assert count == mask[y1:y2, x1:x2].sum()


@settings(max_examples=40, deadline=None)
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 2**32 - 1))
def test_moved_equals_moving_the_pixels_and_cutting_at_the_border(dx, dy, seed):
    dense = random_masks(np.random.default_rng(seed), 3)
    moved = Masks.from_dense(dense).moved(np.array([[dx, dy]] * 3, np.int32))
    wide = np.pad(dense, ((0, 0), (50, 50), (50, 50)))
    expected = np.roll(wide, (dy, dx), (1, 2))[:, 50:-50, 50:-50]
    np.testing.assert_array_equal(np.array(list(moved)), expected)
    for (x, y), crop in zip(moved.offsets.tolist(), moved.crops, strict=True):
        assert 0 <= x <= x + crop.shape[1] <= SIZE[1]
        assert 0 <= y <= y + crop.shape[0] <= SIZE[0]
