"""Hand-worked tables. Boxes are left out: a frame is ids of the truth, ids of the tracks, IoU."""

import math

import numpy as np
import pytest

from trackers import metrics

NOTHING: tuple[list[int], list[int], np.ndarray] = ([], [], np.zeros((0, 0)))


def one(truth, track, similarity=1.0):
    """A frame with one object and one track."""
    return [truth], [track], [[similarity]]


def miss(truth):
    """A frame with one object that nothing finds."""
    return [truth], [], np.zeros((1, 0))


def all_of(frames):
    c = metrics.compare(frames)
    return metrics.hota(c), metrics.clear(c), metrics.identity(c), metrics.jaccard(c)


def test_perfect_tracks():
    hota, clear, identity, jaccard = all_of([one(7, 3)] * 10)
    assert (hota.HOTA, hota.DetA, hota.AssA, hota.OWTA, hota.LocA) == pytest.approx((1,) * 5)
    assert (clear.MOTA, identity.IDF1, jaccard.J) == (1.0, 1.0, 1.0)
    assert (clear.IDSW, clear.Frag, clear.MT, clear.ML) == (0, 0, 1, 0)


def test_one_switch_in_the_middle():
    """Ten frames, the first five by track 1, the others by track 2.

    DetA = 1. Each of the ten TP has TPA 5, FNA 5, FPA 0, so AssA = 5/10 and HOTA = sqrt(1/2).
    IDTP = 5, IDFN = 5, IDFP = 5, so IDF1 = 1/2. MOTA = (10 - 0 - 1) / 10.
    """
    hota, clear, identity, jaccard = all_of([one(1, 1)] * 5 + [one(1, 2)] * 5)
    assert hota.DetA == pytest.approx(1.0)
    assert hota.AssA == pytest.approx(0.5)
    assert pytest.approx(math.sqrt(0.5)) == hota.HOTA
    assert (clear.IDSW, clear.MOTA) == (1, 0.9)
    assert (identity.IDTP, identity.IDFN, identity.IDFP, identity.IDF1) == (5, 5, 5, 0.5)
    assert (jaccard.J, jaccard.J_oracle) == (0.5, 1.0)


def test_a_miss_is_one_fragmentation():
    """Found 4 times, missed twice, found 4 times: FN 2, Frag 1, no switch, MT needs over 80 %."""
    hota, clear, identity, jaccard = all_of([one(1, 1)] * 4 + [miss(1)] * 2 + [one(1, 1)] * 4)
    assert (clear.TP, clear.FN, clear.FP, clear.IDSW, clear.MT) == (8, 2, 0, 0, 0)
    assert pytest.approx(0.8) == clear.MOTA
    assert pytest.approx(8 / 9) == identity.IDF1
    assert hota.DetRe == pytest.approx(0.8)
    assert pytest.approx(0.8) == hota.OWTA  # DetRe .8, AssA .8
    assert pytest.approx(0.8) == jaccard.J


def test_what_nobody_annotated_costs_detection_but_not_owta():
    """One object found in all 4 frames, and one track of nothing in each."""
    frames = [([1], [1, 2], [[1.0, 0.0]])] * 4
    hota, clear, identity, _ = all_of(frames)
    assert hota.DetA == pytest.approx(0.5)
    assert pytest.approx(1.0) == hota.OWTA
    assert (clear.FP, clear.MOTA) == (4, 0.0)
    assert pytest.approx(2 / 3) == identity.IDF1


def test_hota_counts_the_thresholds_that_the_overlap_passes():
    """An IoU of .5 passes .05 ... .5, ten of the nineteen thresholds."""
    hota, clear, identity, _ = all_of([one(1, 1, 0.5)] * 3)
    assert pytest.approx(10 / 19) == hota.HOTA
    assert clear.TP == identity.IDTP == 3


def test_the_match_of_the_frame_before_is_kept():
    """Two tracks lie on the object; the better one appears later and does not take over."""
    frames = [([1], [1], [[0.6]]), ([1], [1, 2], [[0.6, 0.9]]), ([1], [1, 2], [[0.6, 0.9]])]
    _, clear, _, _ = all_of(frames)
    assert (clear.IDSW, clear.FP) == (0, 2)


def test_jaccard_takes_the_best_single_track():
    """Object seen in 4 frames: track 1 covers .5 in three, track 2 covers 1 in one."""
    _, _, _, jaccard = all_of([one(1, 1, 0.5)] * 3 + [one(1, 2)])
    assert pytest.approx(1.5 / 4) == jaccard.J
    assert jaccard.J_oracle == pytest.approx(2.5 / 4)


def test_results_add_up():
    first, second = [one(1, 1)] * 6, [one(1, 1)] * 3 + [one(1, 2)] * 3
    together = [a + b for a, b in zip(all_of(first), all_of(second), strict=True)]
    hota, clear, identity, jaccard = together
    assert hota.AssA == pytest.approx(0.75)  # six TP at 1, six at 1/2
    assert (clear.TP, clear.IDSW) == (12, 1)
    assert pytest.approx(9 / 12) == identity.IDF1
    assert pytest.approx(0.75) == jaccard.J


@pytest.mark.parametrize("frames", [[], [NOTHING], [NOTHING] * 3])
def test_nothing_at_all(frames):
    hota, clear, identity, jaccard = all_of(frames)
    assert (hota.HOTA, clear.MOTA, identity.IDF1, jaccard.J) == (0, 0, 0, 0)


def test_no_tracks_and_no_truth():
    hota, clear, identity, _ = all_of([miss(1)] * 4)
    assert (hota.HOTA, clear.FN, clear.ML, identity.IDFN) == (0, 4, 1, 4)
    hota, clear, identity, _ = all_of([([], [5], np.zeros((0, 1)))] * 4)
    assert (hota.HOTA, clear.FP, identity.IDFP) == (0, 4, 4)


def test_an_id_twice_in_a_frame_is_named():
    with pytest.raises(ValueError, match="frame 1: an id appears twice in the result"):
        metrics.compare([one(1, 1), ([1], [2, 2], [[1.0, 1.0]])])


def test_a_similarity_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"frame 0: similarity should be \(1, 2\)"):
        metrics.compare([([1], [1, 2], [[1.0]])])
