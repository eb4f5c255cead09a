import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers import boxes


def random_boxes(rng, n):
    corner = rng.uniform(-50, 300, (n, 2))
    return np.hstack([corner, corner + rng.uniform(1, 80, (n, 2))])


def plain_iou(a, b):
    out = np.zeros((len(a), len(b)))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            w = min(p[2], q[2]) - max(p[0], q[0])
            h = min(p[3], q[3]) - max(p[1], q[1])
            if w > 0 and h > 0:
                union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - w * h
                out[i, j] = w * h / union
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 90), st.integers(0, 90), st.integers(0, 2**32 - 1))
def test_iou_equals_the_definition(n, m, seed):
    """Both ways of finding pairs: all comparisons for few boxes, the sweep for many."""
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, n), random_boxes(rng, m)
    np.testing.assert_allclose(boxes.iou(a, b), plain_iou(a, b), atol=1e-12)


def test_pairs_come_in_the_order_of_the_first():
    rng = np.random.default_rng(3)
    i, _, sides = boxes.overlaps(random_boxes(rng, 80), random_boxes(rng, 90))
    assert (np.diff(i) >= 0).all()
    assert (sides > 0).all()


def test_boxes_that_only_touch_do_not_overlap():
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[10.0, 0, 20, 10], [0, 10, 10, 20]])
    assert len(boxes.overlaps(a, b)[0]) == 0


def test_formats_round_trip():
    given_ = random_boxes(np.random.default_rng(0), 9)
    np.testing.assert_allclose(boxes.to_corners(boxes.to_centres(given_)), given_)
