"""Patches of the picture, and objects that the detector misses but the picture shows."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers import Detections, Masks, SortConfig, SortTracker, patches

SIZE = (240, 320)
GROUND = np.random.default_rng(0).integers(90, 110, (*SIZE, 3), dtype=np.uint8)


def texture(width, height, seed=1):
    grains = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(grains, (width, height), interpolation=cv2.INTER_CUBIC)


def picture_with(*boxes):
    """Something with a pattern of its own in each of `boxes`."""
    out = GROUND.copy()
    for seed, (x1, y1, x2, y2) in enumerate(boxes, 1):
        out[y1:y2, x1:x2] = texture(x2 - x1, y2 - y1, seed)
    return out


def seen(*boxes):
    dense = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x1, y1, x2, y2) in zip(dense, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    scores = np.full(len(boxes), 0.9, np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, Masks.from_dense(dense))


@pytest.mark.parametrize("side", [12, 30, 90])
def test_a_patch_is_found_where_it_went(side):
    patch = patches.cut(
        picture_with((100, 80, 100 + side, 80 + side)),
        np.array([100, 80, 100 + side, 80 + side], np.int32),
    )
    extent = np.array([100, 80, 100 + side, 80 + side], np.int32)
    picture = picture_with((105, 76, 105 + side, 76 + side))
    assert patch is not None
    place = patches.find(patch, picture, extent, (0.0, 0.0), 10.0)
    assert place is not None
    assert (place.x, place.y) == pytest.approx((5, -4), abs=0.5 + patch.step / 2)
    assert place.similarity > 0.9


def test_correlation_is_opencvs():
    picture = picture_with((10, 10, 60, 60))[:70, :80, patches.GREEN]
    patch = patches.cut(picture_with((10, 10, 60, 60)), np.array([20, 15, 40, 43], np.int32))
    wanted = cv2.matchTemplate(picture, picture[15:43, 20:40].copy(), cv2.TM_CCOEFF_NORMED)
    assert patch is not None
    pattern = patches.normalised(patch.samples)
    assert pattern is not None
    found = patches.correlation(pattern, picture)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_plain_ground_and_specks_are_no_patch():
    plain = np.full((*SIZE, 3), 80, np.uint8)
    extent = np.array([20, 20, 60, 60], np.int32)
    patch = patches.cut(plain, extent)
    assert patch is not None
    assert patches.find(patch, picture_with((20, 20, 60, 60)), extent, (0.0, 0.0), 10.0) is None
    assert patches.cut(picture_with((20, 20, 60, 60)), np.array([20, 20, 22, 60], np.int32)) is None


def test_a_patch_is_sought_within_the_picture_alone():
    extent = np.array([300, 0, 320, 20], np.int32)
    patch = patches.cut(picture_with((300, 0, 320, 20)), extent)
    assert patch is not None
    place = patches.find(patch, GROUND, extent, (200.0, -50.0), 15.0)
    assert place is not None
    assert extent[2] + place.x <= SIZE[1]
    assert extent[1] + place.y >= 0
    beyond = np.array([330, 0, 350, 20], np.int32)
    assert patches.find(patch, GROUND, beyond, (0.0, 0.0), 5.0) is None


def followed(there, missed_from, missed_to, config=None):
    """Tracks of each frame of something at `there`, unseen by the detector for a while."""
    tracker, out = SortTracker(config), []
    for frame, box in enumerate(there):
        look = seen() if missed_from <= frame < missed_to else seen(box)
        out.append(tracker.update(look, frame / 25, picture_with(box)))
    return out


TURNED = [(40 + 2 * k, 60, 80 + 2 * k, 110) for k in range(8)]
TURNED += [(54, 60 + 4 * k, 94, 110 + 4 * k) for k in range(12)]
"""It goes to the right, then down."""


def test_what_the_detector_misses_is_followed_by_its_looks():
    out = followed(TURNED, 8, 14)
    for tracks, box in zip(out[8:14], TURNED[8:14], strict=True):
        assert tracks.ids.tolist() == [1]
        assert tracks.coasting.tolist() == [True]
        assert tracks.unseen.tolist() == [True]
        np.testing.assert_allclose(tracks.boxes[0], box, atol=2.5)
        assert tracks.masks.extents[0].tolist() == tracks.boxes[0].astype(int).tolist()
    assert out[14].ids.tolist() == [1]
    assert not out[14].coasting.any()


def test_it_is_not_where_the_setting_is_0():
    out = followed(TURNED, 8, 18, SortConfig(carry_s=0.0, coast_s=0.1))
    assert [len(tracks) for tracks in out[8:18]] == [1, 1] + [0] * 8


def test_it_is_followed_no_longer_than_it_had_been_seen():
    still = [(40, 60, 80, 110)] * 40
    out = followed(still, 5, 40)
    assert len(out[8]) == 1
    assert len(out[20]) == 0


def test_what_left_is_not_followed():
    tracker = SortTracker(SortConfig(coast_s=0.1))
    for frame in range(10):
        tracker.update(seen((40, 60, 80, 110)), frame / 25, picture_with((40, 60, 80, 110)))
    counts = [len(tracker.update(seen(), frame / 25, GROUND)) for frame in range(10, 15)]
    assert counts[-1] == 0


@pytest.mark.parametrize(
    ("second", "wanted"), [((90, 60, 130, 110), [1, 2]), ((50, 60, 130, 110), [2])]
)
def test_it_is_not_followed_onto_what_is_seen(second, wanted):
    one, other = (40, 60, 80, 110), (90, 60, 130, 110)
    tracker, picture = SortTracker(SortConfig(coast_s=0.0)), picture_with(one, other)
    for frame in range(10):
        tracker.update(seen(one, other), frame / 25, picture)
    assert tracker.update(seen(second), 0.4, picture).ids.tolist() == wanted


def looked_at(pictured, config=None, every=4):
    """How far each reported box is from where the thing is, looked at in each `every`-th frame."""
    tracker, off = SortTracker(config), []
    for frame, box in enumerate(TURNED):
        picture = picture_with(box)
        if frame % every:
            tracks = tracker.coast(frame / 25, picture if pictured else None)
        else:
            tracks = tracker.update(seen(box), frame / 25, picture)
        assert tracks.masks is not None
        assert tracks.ids.tolist() == [1]
        assert tracks.coasting.tolist() == [frame % every > 0]
        assert tracks.masks.extents[0] == pytest.approx(tracks.boxes[0], abs=1.5)
        off.append(float(np.abs(tracks.boxes[0] - box).max()))
    return off


def test_where_nobody_looked_the_picture_shows_where_things_are():
    assert max(looked_at(False)) > 8
    assert max(looked_at(True)) < 3
    assert looked_at(True, SortConfig(carry_s=0.0)) == looked_at(False)


def test_where_nobody_looked_each_is_found_by_its_own_patch():
    """One that was lost, one that is too plain to be found, and one that speeds up."""
    tracker, gone = SortTracker(), (240, 10, 280, 50)
    for frame in range(40):
        y = 2 * frame if frame < 28 else 56 + 5 * (frame - 28)
        fast, plain = (40, y, 80, y + 50), (120 + 2 * frame, 180, 150 + 2 * frame, 210)
        picture = picture_with(gone, fast)
        picture[180:210, plain[0] : plain[2]] = 200
        if frame >= 12:
            picture[10:50, 240:280] = 100
        there = [gone, plain, fast] if frame < 12 else [plain, fast]
        if frame % 4:
            tracks = tracker.coast(frame / 25, picture)
        else:
            tracks = tracker.update(seen(*there), frame / 25, picture)
        if frame > 24:
            assert tracks.ids.tolist() == [2, 3]
            np.testing.assert_allclose(tracks.boxes, [plain, fast], atol=3)


def test_what_moves_fast_is_sought_where_it_should_be():
    tracker = SortTracker()
    for frame in range(13):
        y = 60 + 4 * max(0, frame - 8)
        box = (12 * frame, y, 12 * frame + 40, y + 40)
        if frame <= 8:
            tracker.update(seen(box), frame / 25, picture_with(box))
        else:
            tracks = tracker.coast(frame / 25, picture_with(box))
            np.testing.assert_allclose(tracks.boxes[0], box, atol=3)


def test_a_sighting_without_a_picture_leaves_nothing_to_be_found():
    tracker = SortTracker()
    tracker.update(seen((240, 60, 320, 140)), 0.0, picture_with((240, 60, 320, 140)))
    tracker.update(seen((290, 60, 320, 140)), 0.04)
    box = (290, 60, 320, 140)
    assert len(tracker.coast(0.08, picture_with(box))) == 1
    np.testing.assert_allclose(tracker.update(seen(box), 0.12).boxes, [box])


def test_the_tracker_learns_nothing_where_nobody_looked():
    plain, pictured = SortTracker(), SortTracker()
    for frame, box in enumerate(TURNED):
        picture = picture_with(box)
        a, b = (t.update(seen(box), frame / 25, picture) for t in (plain, pictured))
        assert a.velocities.tolist() == b.velocities.tolist()
        pictured.coast((frame + 0.5) / 25, picture)
        plain.coast((frame + 0.5) / 25)


@pytest.mark.parametrize(("left", "wanted"), [(75, [2]), (95, [1, 2])])
def test_it_is_not_followed_to_where_others_are_now(left, wanted):
    one, other, moved = (40, 60, 80, 110), (110, 60, 150, 110), (60, 60, 100, 110)
    tracker = SortTracker(SortConfig(coast_s=0.0))
    for frame in range(10):
        tracker.update(seen(one, other), frame / 25, picture_with(one, other))
    tracks = tracker.update(seen((left, 60, 150, 110)), 0.4, picture_with(moved, other))
    assert tracks.ids.tolist() == wanted


def test_a_picture_of_another_size_is_refused():
    wanted = r"picture should be \(240, 320, 3\), got \(100, 100, 3\)"
    with pytest.raises(ValueError, match=wanted):
        SortTracker().update(seen((40, 60, 80, 110)), 0.0, GROUND[:100, :100])
    tracker = SortTracker()
    tracker.update(seen((40, 60, 80, 110)), 0.0)
    with pytest.raises(ValueError, match=wanted):
        tracker.coast(0.1, GROUND[:100, :100])
    with pytest.raises(ValueError, match=r"picture should be \(100, 100, 3\)"):
        tracker.update(Detections.empty((100, 100)), 0.1, GROUND)
    assert len(tracker.coast(0.1, GROUND)) == 1  # nothing that was refused has changed anything


def test_boxes_need_no_picture():
    tracker, boxes = SortTracker(), np.array([[40, 60, 80, 110]], np.float32)
    for frame in range(4):
        tracker.update(Detections(boxes, np.ones(1, np.float32)), frame / 25, GROUND)
    assert len(tracker.update(Detections.empty(SIZE), 4 / 25, GROUND)) == 1
    assert len(tracker.coast(5 / 25, GROUND)) == 1


def test_the_state_holds_the_patches():
    first, second = SortTracker(), SortTracker()
    for frame, box in enumerate(TURNED[:8]):
        first.update(seen(box), frame / 25, picture_with(box))
    second.restore(first.state())
    for frame, box in enumerate(TURNED[8:14], 8):
        a, b = (t.update(seen(), frame / 25, picture_with(box)) for t in (first, second))
        assert a.boxes.tolist() == b.boxes.tolist() != []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_is_seen_and_shown_reports_stay_in_the_picture(seed):
    rng, tracker = np.random.default_rng(seed), SortTracker()
    known: set[int] = set()
    where, speed = rng.uniform(0, 300, (6, 2)), rng.uniform(-25, 25, (6, 2))
    for frame in range(25):
        where += speed
        corners = np.hstack([where, where + rng.uniform(5, 60, (6, 1))]).round()
        boxes = np.clip(corners, 0, [SIZE[1], SIZE[0]] * 2).astype(int)
        in_view = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)].tolist()
        picture = picture_with(*in_view) if rng.random() < 0.8 else None
        if rng.random() < 0.4:
            tracks = tracker.coast(frame / 25, picture)
            assert tracks.coasting.all()
            assert set(tracks.ids.tolist()) <= known
        else:
            there = [box for box in in_view if rng.random() < 0.7]
            tracks = tracker.update(seen(*there), frame / 25, picture)
        assert len(set(tracks.ids.tolist())) == len(tracks)
        assert np.isfinite(tracks.boxes).all()
        known |= set(tracks.ids.tolist())
        for mask in tracks.masks or ():
            assert mask.shape == SIZE
            assert mask.any()
