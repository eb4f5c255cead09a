import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers import association
from trackers.association import assign


def best_total(gain):
    """The largest total gain over all assignments, by trying them."""
    n, m = gain.shape
    if n > m:
        return best_total(gain.T)
    return max(
        sum(gain[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(m), n)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.floats(0.1, 1.0), st.integers(0, 2**32 - 1))
def test_assign_gains_as_much_as_any_choice(n, m, density, seed):
    rng = np.random.default_rng(seed)
    gain = rng.random((n, m)) * (rng.random((n, m)) < density)
    i, j = gain.nonzero()
    rows, columns = assign(i, j, gain[i, j], (n, m))
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    assert (gain[rows, columns] > 0).all()
    assert gain[rows, columns].sum() == pytest.approx(best_total(gain))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.002, 0.1), st.booleans(), st.integers(0, 2**32 - 1))
def test_large_scenes_get_the_same_optimum(density, ties, seed):
    """Taking dominant pairs first changes nothing, with equal gains either."""
    rng = np.random.default_rng(seed)
    shape = (90, 110)
    gain = rng.random(shape) * (rng.random(shape) < density)
    if ties:
        gain = np.ceil(gain * 3) / 3
    i, j = gain.nonzero()
    rows, columns = assign(i, j, gain[i, j], shape)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    direct = association._hungarian(i, j, gain[i, j], shape)
    assert gain[rows, columns].sum() == pytest.approx(gain[direct].sum())


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 4), (100, 100)])
def test_nothing_to_assign(shape):
    none = np.zeros(0, np.intp)
    rows, columns = assign(none, none, np.zeros(0), shape)
    assert len(rows) == len(columns) == 0


def test_overlap_gain_is_iou():
    gain = association.overlap_gain(np.array([2.0]), np.array([4.0]), np.array([4.0]))
    assert gain.tolist() == pytest.approx([1 / 3])
