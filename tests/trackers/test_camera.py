import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers.camera import common_velocity


def test_what_goes_both_ways_has_nothing_in_common():
    assert common_velocity(np.array([[5.0, 3.0], [-4.0, 3.0], [6.0, 3.0]])).tolist() == [0.0, 3.0]


def test_one_in_five_may_move_otherwise():
    pan = np.array([[-40.0, 0.0]] * 8 + [[30.0, 0.0], [-90.0, 0.0]])
    assert common_velocity(pan).tolist() == [-40.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_it_is_no_faster_than_most_and_mirrors_with_the_picture(n, seed):
    velocities = np.random.default_rng(seed).normal(20, 30, (n, 2))
    common = common_velocity(velocities)
    assert (np.abs(common) <= np.median(np.abs(velocities), axis=0)).all()
    np.testing.assert_array_equal(common_velocity(-velocities), -common)
