import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackers import Detections, Masks, SortConfig, SortTracker
from trackers.parts import PartsConfig

SIZE = (240, 320)

AS_MEASURED = SortConfig(steady_boxes=False)
"""Reports measured boxes to the last bit, so that a test can tell which detection it was."""


def detections(boxes, scores=0.9, masks=None, features=None):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.broadcast_to(np.float32(scores), len(boxes)).copy()
    return Detections(boxes, scores, masks, features)


def box_at(x, y, w=20.0, h=40.0):
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def ellipses(boxes, size=SIZE):
    """The ellipse in each box as a mask."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    dense = [
        ((x - (x1 + x2) / 2) / (x2 - x1) * 2) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1) * 2) ** 2 <= 1
        for x1, y1, x2, y2 in boxes
    ]
    return Masks.from_dense(np.array(dense, bool).reshape(-1, *size))


def rectangle(box, size=SIZE):
    """All pixels in the box."""
    out = np.zeros(size, bool)
    x1, y1, x2, y2 = (int(v) for v in box)
    out[y1:y2, x1:x2] = True
    return out


def run(frames, rate=25.0, config=None):
    """Tracks of each frame; a frame is Detections, or (Detections, time)."""
    tracker = SortTracker(config or AS_MEASURED)
    out = []
    for k, frame in enumerate(frames):
        seen, time_s = frame if isinstance(frame, tuple) else (frame, k / rate)
        out.append(tracker.update(seen, time_s))
    return out


def id_of(tracks, box):
    """Identity of the object seen in `box`, None if it is not reported."""
    for i, other, coasting in zip(tracks.ids, tracks.boxes, tracks.coasting, strict=True):
        if not coasting and np.allclose(other, box, atol=1e-3):
            return int(i)
    return None


# One object, two objects.


def test_one_object_keeps_one_identity_and_its_measured_box():
    boxes = [box_at(20 + 3 * k, 60 + k) for k in range(40)]
    for k, tracks in enumerate(run([detections([b]) for b in boxes])):
        assert tracks.ids.tolist() == [1]
        np.testing.assert_allclose(tracks.boxes[0], boxes[k])
        assert tracks.ages_s[0] == pytest.approx(k / 25)
    np.testing.assert_allclose(tracks.velocities[0], [75, 25], rtol=0.1)


def test_identities_survive_a_crossing_in_which_one_hides_the_other():
    frames = []
    for k in range(60):
        left, right = box_at(40 + 4 * k, 100), box_at(276 - 4 * k, 104)
        hidden = abs(left[0] - right[0]) < 10
        frames.append(detections([left] if hidden else [left, right]))
    out = run(frames)
    assert out[0].ids.tolist() == out[-1].ids.tolist() == [1, 2]
    first, last = box_at(40, 100), box_at(40 + 4 * 59, 100)
    assert id_of(out[0], first) == id_of(out[-1], last)


def test_identity_survives_a_gap_during_which_the_object_moves_on():
    frames = [detections([box_at(20 + 4 * k, 100)] if not 20 <= k < 35 else []) for k in range(60)]
    out = run(frames)
    assert {i for tracks in out for i in tracks.ids.tolist()} == {1}
    assert out[21].coasting.tolist() == [True]
    assert len(out[34]) == 0  # lost, and no longer shown
    np.testing.assert_allclose(out[22].boxes[0], box_at(20 + 4 * 22, 100), atol=2.0)


def test_an_object_that_stays_away_comes_back_as_another():
    config = SortConfig()
    away = 10 + int(25 * config.lost_s)
    out = run([detections([box_at(50, 50)] if k < 10 or k > away else []) for k in range(away + 9)])
    assert out[9].ids.tolist() == [1]
    assert out[-1].ids.tolist() == [2]


def test_an_object_of_the_last_frame_is_known_after_a_pause_of_the_stream():
    frames = [(detections([box_at(50, 50)]), t) for t in (0.0, 0.04, 0.08, 10.0, 20.0)]
    assert [t.ids.tolist() for t in run(frames)] == [[1]] * 5


def test_weak_detections_prolong_but_do_not_begin():
    config = SortConfig()
    weak = (config.weak_score + config.strong_score) / 2
    strong = [detections([box_at(50 + k, 50)]) for k in range(5)]
    faint = [detections([box_at(55 + k, 50)], weak) for k in range(5)]
    assert all(t.ids.tolist() == [1] and not t.coasting.any() for t in run(strong + faint))
    assert all(len(t) == 0 for t in run(faint))


def test_a_single_sighting_later_on_is_not_reported():
    far = box_at(200, 200)
    frames = [detections([box_at(50, 50)] + ([far] if k == 5 else [])) for k in range(20)]
    assert {i for t in run(frames) for i in t.ids.tolist()} == {1}


def test_reset_forgets_objects_but_no_identity():
    tracker = SortTracker()
    assert tracker.update(detections([box_at(50, 50)]), 0.0).ids.tolist() == [1]
    tracker.reset()
    assert tracker.update(detections([box_at(50, 50)]), 0.0).ids.tolist() == [2]


def test_two_trackers_know_nothing_of_each_other():
    one, two = SortTracker(), SortTracker()
    assert one.update(detections([box_at(50, 50)]), 0.0).ids.tolist() == [1]
    assert two.update(detections([box_at(50, 50)]), 0.0).ids.tolist() == [1]


@pytest.mark.parametrize(("away", "wanted"), [(10, 1), (30, 2)])
def test_who_turned_while_unseen_is_sought_where_it_was_seen_last_but_not_for_long(away, wanted):
    """It came from the left, and is back at the place where it disappeared."""
    there = box_at(20 + 6 * 19, 100)
    frames = [[box_at(20 + 6 * k, 100)] for k in range(20)] + [[]] * away + [[there]] * 5
    config = dataclasses.replace(AS_MEASURED, recovery_s=0.8, lost_s=5.0)
    assert run([detections(boxes) for boxes in frames], config=config)[-1].ids.tolist() == [wanted]


def names_of_parked_cars(camera_objects):
    """How many identities each car of a row has before a camera that begins to turn.

    The cars stand 30 pixels apart; those on the right come into the picture one by one.
    """
    config = dataclasses.replace(AS_MEASURED, camera_objects=camera_objects)
    tracker, left = SortTracker(config), 0.0
    names: dict[int, set[int]] = {}
    for k in range(40):
        left -= min(2 * max(k - 8, 0), 24)
        cars = {car: left + 30 * car for car in range(60) if 0 < left + 30 * car < 300}
        boxes = [box_at(x, 100, 24, 16) for x in cars.values()]
        tracks = tracker.update(detections(boxes), k / 10)
        for car, box in zip(cars, boxes, strict=True):
            name = id_of(tracks, box)
            names.setdefault(car, set()).update(set() if name is None else {name})
    return [len(some) for some in names.values() if some]


def test_new_objects_are_sought_where_a_turning_camera_takes_them():
    assert max(names_of_parked_cars(camera_objects=3)) == 1
    assert max(names_of_parked_cars(camera_objects=1000)) > 1


# Masks.


def test_masks_are_reported_as_measured_and_coast_with_the_motion():
    frames = []
    for k in range(30):
        boxes = [box_at(40 + 4 * k, 100)] if k < 20 else []
        frames.append(detections(boxes, masks=ellipses(boxes)))
    out = run(frames)
    np.testing.assert_array_equal(out[10].masks.full(0), frames[10].masks.full(0))
    assert out[21].coasting.tolist() == [True]
    expected = ellipses([box_at(40 + 4 * 21, 100)]).full(0)
    moved = out[21].masks.full(0)
    assert (expected & moved).sum() / (expected | moved).sum() > 0.8


def test_a_mask_coasting_out_of_the_picture_is_cut_off():
    frames = []
    for k in range(20):
        boxes = [box_at(250 + 7 * k, 100)] if k < 8 else []
        frames.append(detections(boxes, masks=ellipses(boxes)))
    for tracks in run(frames):
        for mask in tracks.masks:
            assert mask.shape == SIZE


def test_masks_tell_apart_what_boxes_cannot():
    """Two diagonal bars share one box all the time, on different sides of the diagonal."""
    y, x = np.mgrid[:60, :60]
    frames = []
    for k in range(12):
        dense = np.zeros((2, *SIZE), bool)
        dense[0, 50:110, 50 + k : 110 + k] = x > y + 5
        dense[1, 50:110, 50 + k : 110 + k] = y > x + 5
        boxes = [[50 + k, 50, 110 + k, 110]] * 2
        order = [0, 1] if k % 2 else [1, 0]
        frames.append(detections(boxes, masks=Masks.from_dense(dense[order])))
    out = run(frames, config=SortConfig(parts=PartsConfig(copy_iou=1.1)))
    corner = [t.masks.full(t.ids.tolist().index(1))[52, 100 + k] for k, t in enumerate(out)]
    assert len(set(corner)) == 1
    assert {i for t in out for i in t.ids.tolist()} == {1, 2}


def test_masks_that_come_and_go_are_refused():
    tracker = SortTracker()
    tracker.update(detections([box_at(50, 50)], masks=ellipses([box_at(50, 50)])), 0.0)
    tracker.update(Detections.empty(), 0.04)  # no objects, no masks: fine
    with pytest.raises(ValueError, match="masks should be given in every frame or in none"):
        tracker.update(detections([box_at(50, 50)]), 0.08)


# Jitter.


def trembling(noise, frames=80):
    """An object on a straight line, and where a detector sees it."""
    rng = np.random.default_rng(0)
    truth = np.array([box_at(40 + 2 * k, 100 + k) for k in range(frames)])
    return truth, truth + rng.normal(0, noise, truth.shape)


def error(out, truth):
    """Mean distance of the reported box's sides from the truth, once the filter has settled."""
    return np.mean(
        [np.abs(t.boxes[0] - b).mean() for t, b in zip(out[30:], truth[30:], strict=True)]
    )


def test_boxes_of_a_trembling_detector_are_steadied():
    truth, seen = trembling(1.5)
    frames = [detections([b]) for b in seen]
    assert error(run(frames, config=SortConfig()), truth) < 0.8 * error(run(frames), truth)


def test_boxes_of_a_precise_detector_stay_as_measured():
    truth, _ = trembling(0.0)
    out = run([detections([b]) for b in truth], config=SortConfig())
    assert error(out, truth) < 1e-3


def test_boxes_that_come_with_masks_stay_as_measured():
    _, seen = trembling(1.5, 40)
    frames = [detections([b], masks=ellipses([b])) for b in seen]
    assert error(run(frames, config=SortConfig()), seen) < 1e-4


# Parts and wholes.


def scene_of(*boxes_and_more):
    """One frame: ellipses in boxes, all scored .9."""
    boxes = list(boxes_and_more)
    return detections(boxes, masks=ellipses(boxes))


def reported(out):
    """Number of objects reported in the last frame."""
    return len(out[-1])


def test_a_part_that_moves_along_is_not_reported():
    """A head inside its person, found after the person."""
    frames = []
    for k in range(50):
        person, head = box_at(60 + 2 * k, 120, 60, 160), box_at(60 + 2 * k, 60, 20, 30)
        frames.append(scene_of(person, head) if k > 15 else scene_of(person))
    out = run(frames)
    assert {i for t in out for i in t.ids.tolist()} == {1}


def test_a_part_found_before_its_whole_gives_way_to_it():
    frames = []
    for k in range(80):
        person, head = box_at(60 + 2 * k, 120, 60, 160), box_at(60 + 2 * k, 60, 20, 30)
        frames.append(scene_of(person, head) if k > 15 else scene_of(head))
    out = run(frames)
    assert out[10].ids.tolist() == [1]
    assert out[-1].ids.tolist() == [2]


def test_blocks_in_a_row_are_no_parts_of_it():
    """The row is seen all the time, each of the three blocks too. Eyes cover little of a face."""
    row, blocks = box_at(160, 120, 186, 62), [box_at(160 + 62 * k, 120, 60, 60) for k in (-1, 0, 1)]
    masks = Masks.from_dense(np.stack([rectangle(box) for box in [row, *blocks]]))
    out = run([detections([row, *blocks], masks=masks)] * 20)
    assert reported(out) == 4
    assert (
        reported(run([scene_of(row, *(box_at(160 + 62 * k, 120, 30, 30) for k in (-1, 1)))] * 20))
        == 1
    )


def test_two_looks_at_one_part_are_no_heap():
    whole, half = box_at(160, 120, 160, 100), box_at(130, 120, 96, 96)
    also = box_at(134, 120, 100, 98)
    masks = Masks.from_dense(np.stack([rectangle(box) for box in (whole, half, also)]))
    out = run([detections([whole, half, also], masks=masks)] * 20)
    assert reported(out) == 1


@pytest.mark.parametrize(("score", "wanted"), [(0.75, 1), (0.95, 2)])
def test_what_scores_clearly_better_than_its_whole_is_no_part(score, wanted):
    """Cups on a table: the detector is surer of them. An arm is as sure as its person."""
    boxes = [box_at(160, 120, 200, 160), box_at(130, 120, 20, 30)]
    frames = [detections(boxes, scores=[0.8, score], masks=ellipses(boxes))] * 20
    assert reported(run(frames)) == wanted


def test_who_walks_past_something_large_is_not_swallowed():
    """The worst case: the large thing's mask is filled where the small one stands before it."""
    car = box_at(160, 120, 160, 100)
    frames = [scene_of(car, box_at(20 + 4 * k, 120, 20, 50)) for k in range(70)]
    assert all({1, 2} <= set(t.ids.tolist()) for t in run(frames))


def test_what_leaves_the_whole_is_reported():
    frames = []
    for k in range(100):
        x = 160 if k < 40 else min(160 + 6 * (k - 40), 290)
        frames.append(scene_of(box_at(120, 120, 160, 100), box_at(x, 120, 20, 30)))
    out = run(frames)
    assert len(out[30]) == 1
    assert reported(out) == 2


def test_a_second_mask_on_the_same_thing_is_not_reported():
    frames = []
    for k in range(40):
        first, second = box_at(100 + k, 120, 80, 60), box_at(103 + k, 121, 80, 60)
        frames.append(scene_of(first, second) if k > 5 else scene_of(first))
    assert reported(run(frames)) == 1


def test_the_policy_can_be_left_out():
    config = SortConfig(parts=PartsConfig(part_inside=1.1, copy_iou=1.1))
    frames = [scene_of(box_at(120, 120, 160, 100), box_at(130, 120, 20, 30)) for _ in range(20)]
    assert reported(run(frames, config=config)) == 2
    assert reported(run(frames)) == 1


# Appearance.


def test_who_comes_back_after_long_is_recognised_by_appearance():
    one, other = np.eye(4, dtype=np.float32)[:2]
    away = [detections([]) for _ in range(60)]
    before = [detections([box_at(50, 50)], features=one[None]) for _ in range(10)]
    same = [detections([box_at(250, 200)], features=one[None]) for _ in range(5)]
    stranger = [detections([box_at(250, 200)], features=other[None]) for _ in range(5)]
    assert run(before + away + same)[-1].ids.tolist() == [1]
    assert run(before + away + stranger)[-1].ids.tolist() == [2]
    forever = [detections([]) for _ in range(int(25 * SortConfig().reentry_s) + 10)]
    assert run(before + forever + same)[-1].ids.tolist() == [2]


def test_looks_bring_nobody_back_from_farther_than_it_can_have_gone():
    one = np.eye(4, dtype=np.float32)[:1]
    before = [detections([box_at(30, 50)], features=one) for _ in range(10)]
    away = [detections([]) for _ in range(50)]
    near = [detections([box_at(250, 50)], features=one) for _ in range(5)]
    far = [detections([box_at(900, 50)], features=one) for _ in range(5)]
    assert run(before + away + near)[-1].ids.tolist() == [1]
    assert run(before + away + far)[-1].ids.tolist() == [2]


def test_of_lost_ones_who_look_alike_the_nearer_comes_back():
    alike, twin, other = np.eye(4, dtype=np.float32)[[0, 0, 1]]
    cases = [(other, 60, [1]), (twin, 60, [1]), (twin, 140, [2]), (twin, 100, [3])]
    for second, where, wanted in cases:
        both = np.stack((alike, second))
        before = [detections([box_at(50, 50), box_at(150, 150)], features=both)] * 10
        gone = [detections([])] * 50
        back = [detections([box_at(where, where)], features=alike[None])] * 5
        assert run(before + gone + back)[-1].ids.tolist() == wanted


def test_who_is_lost_does_not_come_back_as_a_second_box_on_a_twin():
    twins = np.eye(4, dtype=np.float32)[[0, 0]]
    before = [detections([box_at(50, 50), box_at(150, 150)], features=twins)] * 10
    doubled = [detections([box_at(150, 150), box_at(153, 150)], features=twins)] * 50
    back = [detections([box_at(50, 50), box_at(150, 150)], features=twins)] * 5
    tracks = run(before + doubled + back)
    assert all(1 not in each.ids[~each.coasting] for each in tracks[15:60])
    assert tracks[-1].ids.tolist() == [1, 2]


def test_who_comes_back_is_not_taken_for_a_twin_in_view():
    twins = np.eye(4, dtype=np.float32)[[0, 0]]
    before = [detections([box_at(50, 50), box_at(150, 150)], features=twins)] * 10
    gone = [detections([box_at(150, 150)], features=twins[1:])] * 50
    back = [detections([box_at(150, 50), box_at(150, 150)], features=twins)] * 5
    assert run(before + gone + back)[-1].ids.tolist() == [1, 2]


def crossing_the_edge(centres, features):
    """Frames of one object with a mask; its box ends where the picture does."""
    frames = []
    for (x, y), looks in zip(centres, features, strict=True):
        box = np.clip(box_at(x, y), 0, [*SIZE[::-1], *SIZE[::-1]])
        frames.append(detections([box], masks=ellipses([box]), features=looks[None]))
    return frames


def nothing(count):
    none = detections([], masks=Masks.empty(SIZE), features=np.zeros((0, 4), np.float32))
    return [none] * count


def test_who_left_over_the_edge_and_comes_back_is_known_again_once_in_view():
    whole, part, less = np.array([(1, 0, 0), (0.6, 0.8, 0), (0.6, 0, 0.8)], np.float32)
    here = crossing_the_edge([(100, 60)] * 10, [whole] * 10)
    out = crossing_the_edge([(100, 20 - 4 * k) for k in range(8)], [part] * 8)
    back = crossing_the_edge([(100, 4 * k - 16) for k in range(14)], [less] * 9 + [whole] * 5)
    again = run(here + out + nothing(50) + back)[-len(back) :]
    assert [len(tracks) for tracks in again[:9]] == [0] * 9  # cut off: it may be somebody lost
    assert [tracks.ids.tolist() for tracks in again[-3:]] == [[1], [1], [1]]
    # A stranger gets a number, at the edge after a while, and at once where nobody was lost.
    stranger = crossing_the_edge([(100, 10)] * 30, [part] * 30)
    reported = [len(tracks) for tracks in run(here + nothing(50) + stranger)][-30:]
    assert reported.index(1) == math.ceil(25 * SortConfig().entry_s)
    assert len(run(nothing(1) + stranger[:2])[-1]) == 1


def test_who_looks_like_nobody_who_was_lost_does_not_wait_at_the_edge():
    known, other = np.eye(4, dtype=np.float32)[:2]
    here = crossing_the_edge([(100, 60)] * 10, [known] * 10)
    stranger = crossing_the_edge([(100, 10)] * 3, [other] * 3)
    assert run(here + nothing(50) + stranger)[-1].ids.tolist() == [2]


@pytest.mark.parametrize(("side", "wanted"), [(60, [1]), (75, [1, 2])])
def test_a_mask_that_is_much_larger_at_once_is_another_thing(side, wanted):
    """Of a mug that something hides, its table does not take the number."""
    mug, table = box_at(100, 100, 30, 30), box_at(100, 100, side, side)
    out = run([detections([box], masks=ellipses([box])) for box in [mug] * 10 + [table] * 10])
    assert sorted({number for tracks in out for number in tracks.ids.tolist()}) == wanted


def test_who_left_the_picture_is_not_reported_outside():
    tracker = SortTracker(dataclasses.replace(AS_MEASURED, coast_s=1.0))
    leaving = crossing_the_edge([(280 + 5 * k, 100) for k in range(8)], np.ones((8, 4)))
    for k, frame in enumerate(leaving):
        tracker.update(frame, k / 25)
    left = [tracker.update(frame, k / 25) for k, frame in enumerate(nothing(12), 8)]
    assert [len(tracks) for tracks in left] == [1, 1] + [0] * 10


def test_who_left_is_not_reported_beside_others():
    tracker = SortTracker(dataclasses.replace(AS_MEASURED, coast_s=1.0))
    stays = box_at(100, 100)
    for k in range(10):
        boxes = [stays, np.clip(box_at(280 + 4 * k, 100), 0, [320, 240, 320, 240])]
        tracker.update(detections(boxes, masks=ellipses(boxes)), k / 25)
    one = detections([stays], masks=ellipses([stays]))
    out = [tracker.update(one, k / 25).ids.tolist() for k in range(10, 20)]
    assert out[4:] == [[1]] * 6


def test_a_mask_without_pixels_is_reported_while_it_is_seen():
    tracker, boxes = SortTracker(AS_MEASURED), [box_at(100, 100), box_at(200, 100)]
    masks = ellipses(boxes).full(0), np.zeros(SIZE, bool)
    for k in range(6):
        tracker.update(detections(boxes, masks=Masks.from_dense(np.stack(masks))), k / 25)
    missed = detections(boxes[1:], masks=Masks.from_dense(np.zeros((1, *SIZE), bool)))
    assert tracker.update(missed, 6 / 25).ids.tolist() == [1, 2]


def test_who_is_hidden_stays_so_between_looks():
    tracker = SortTracker(dataclasses.replace(AS_MEASURED, coast_s=1.0))
    for k in range(10):
        before = box_at(190 - 10 * k, 100, 60, 60)
        boxes = [box_at(100, 100, 20, 20), before] if k < 6 else [before]
        tracks = tracker.update(detections(boxes, masks=ellipses(boxes)), k / 25)
    assert tracks.ids.tolist() == [2]
    assert tracker.coast(9.5 / 25).ids.tolist() == [2]


@pytest.mark.parametrize(
    ("known", "stranger", "waits"),
    [
        (box_at(100, 60), box_at(130, 20), True),
        (box_at(300, 200, 10, 20), box_at(20, 10), False),  # it cannot have come that far
    ],
)
def test_only_who_can_have_come_there_is_waited_for(known, stranger, waits):
    looks = np.eye(4, dtype=np.float32)[:1]
    part = np.array([[0.6, 0.8, 0, 0]], np.float32)
    stranger = np.clip(stranger, 0, 320)
    here = [detections([known], masks=ellipses([known]), features=looks)] * 10
    comes = [detections([stranger], masks=ellipses([stranger]), features=part)] * 3
    assert (len(run(here + nothing(10) + comes)[-1]) == 0) == waits


def test_who_is_in_view_is_not_waited_for():
    looks = np.eye(4, dtype=np.float32)[[0, 0]]
    boxes = [box_at(100, 40), box_at(121, 24)]
    here = [detections(boxes[:1], masks=ellipses(boxes[:1]), features=looks[:1])] * 10
    both = [detections(boxes, masks=ellipses(boxes), features=looks)] * 3
    assert run(here + both)[-1].ids.tolist() == [1, 2]


def test_who_is_never_seen_whole_is_known_by_what_shows():
    looks = np.eye(4, dtype=np.float32)[0]
    desk = crossing_the_edge([(100, 230)] * 10, [looks] * 10)
    assert run(desk + nothing(50) + desk)[-1].ids.tolist() == [1]


def test_of_a_mask_that_becomes_two_the_half_that_looks_alike_goes_on():
    """A hand holds a bottle, one mask, and lets go of it: the hand is larger, and fits better."""
    bottle, hand = np.eye(4, dtype=np.float32)[:2]
    small, large = box_at(100, 145, 40, 70), box_at(100, 70, 60, 90)
    both = box_at(100, 100, 60, 160)
    alone = [detections([small], features=bottle[None])] * 10
    held = [detections([both], features=((bottle + hand) / math.sqrt(2))[None])] * 4
    apart = [detections([small, large], features=np.stack((bottle, hand)))] * 5
    for weight, wanted in ((5.0, small), (0.0, large)):
        out = run(alone + held + apart, config=SortConfig(appearance_weight=weight))
        assert out[-1].boxes[0].tolist() == pytest.approx(wanted, abs=1)


def test_two_who_meet_and_turn_back_are_told_apart_by_their_looks():
    looks = np.eye(4, dtype=np.float32)[:2]
    frames = [
        detections([box_at(140 - away, 100), box_at(140 + away, 101)], features=looks)
        for away in [4 * abs(20 - k) for k in range(40)]
    ]
    for weight, ids in ((5.0, [1, 2]), (0.0, [2, 1])):
        out = run(frames, config=SortConfig(appearance_weight=weight))[-1]
        assert out.ids[np.argsort(out.boxes[:, 0])].tolist() == ids


def test_what_touches_others_does_not_change_what_an_object_looks_like():
    looks = np.eye(4, dtype=np.float32)
    mine = looks[0]
    alone = [detections([box_at(60, 100)], features=mine[None])] * 10
    apart = [detections([box_at(60, 100), box_at(200, 100)], features=looks[[1, 3]])] * 30
    beside = [detections([box_at(60, 100), box_at(75, 100)], features=looks[[1, 3]])] * 30
    for between, known in ((apart, False), (beside, True)):
        tracker = SortTracker()
        for k, each in enumerate(alone + between):
            tracker.update(each, k / 30)
        features = tracker.state()["tablefeatures"][0]
        assert (features @ mine > 0.99) == known


# What is shown of the unseen.


def test_who_is_wholly_behind_others_is_not_shown():
    both = [box_at(100, 60), box_at(160, 60, 80, 80)]
    for other, wanted in ((box_at(125, 60, 80, 80), [False]), (both[1], [True, False])):
        seen = [detections(both, masks=ellipses(both)) for _ in range(10)]
        last = detections([other], masks=ellipses([other]))
        assert run([*seen, last])[-1].coasting.tolist() == wanted


def test_who_was_seen_for_a_moment_is_not_shown_for_longer_unseen():
    both = [box_at(30, 50), box_at(200, 60)]
    first = [detections(both[:1])] * 5
    two = [detections(both)] * 3
    shown = [len(tracks) for tracks in run(first + two + [detections(both[:1])] * 3)]
    assert (shown[-3], shown[-1]) == (2, 1)


# What is refused.


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([math.nan, 0, 10, 10], "row 1 is not finite"),
        ([0, 0, math.inf, 10], "row 1 is not finite"),
        ([-math.inf, 0, 10, 10], "row 1 is not finite"),
        ([10, 0, 10, 10], "row 1 has no area"),
        ([10, 0, 5, 10], "row 1 has no area"),
        ([0, 10, 5, 2], "row 1 has no area"),
    ],
)
def test_bad_boxes_are_named(box, message):
    with pytest.raises(ValueError, match=message):
        SortTracker().update(detections([box_at(50, 50), box]), 0.0)


@pytest.mark.parametrize("score", [-0.1, 1.5, math.nan])
def test_bad_scores_are_named(score):
    with pytest.raises(ValueError, match=r"scores row 0 is outside \[0, 1\]"):
        SortTracker().update(detections([box_at(50, 50)], score), 0.0)


@pytest.mark.parametrize("times", [(1.0, 1.0), (1.0, 0.5), (0.0, math.nan), (0.0, math.inf)])
def test_time_that_does_not_go_forward_is_refused(times):
    tracker = SortTracker()
    tracker.update(detections([]), times[0])
    with pytest.raises(ValueError, match="time_s should go forward"):
        tracker.update(detections([]), times[1])


def test_a_refused_frame_leaves_the_tracker_as_it_was():
    tracker = SortTracker()
    tracker.update(detections([box_at(50, 50)]), 0.0)
    with pytest.raises(ValueError, match="no area"):
        tracker.update(detections([[5, 5, 5, 5]]), 0.04)
    assert tracker.update(detections([box_at(51, 50)]), 0.04).ids.tolist() == [1]


@pytest.mark.parametrize(
    "wrong",
    [{"weak_score": 0.9}, {"lost_s": -1.0}, {"confirm_hits": 0}, {"min_overlap": 1.5}],
)
def test_settings_that_make_no_sense_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(SortConfig(), **wrong)


# Properties.


@st.composite
def streams(draw, max_objects=8, with_looks=False):
    """Frames of objects in motion, with noise, misses and false alarms, on a quarter pixel grid.

    With looks, they have masks and features, as a segmenter gives them.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, frames = draw(st.integers(0, max_objects)), draw(st.integers(1, 25))
    centre, speed = rng.uniform(40, 200, (n, 2)), rng.normal(0, 4, (n, 2))
    side, look = rng.uniform(10, 50, (n, 2)), rng.normal(0, 1, (n, 16))
    out = []
    for k in range(frames):
        middle = centre + k * speed + rng.normal(0, 1, (n, 2))
        there = rng.random(n) < 0.85
        middle, sides, looks = middle[there], side[: there.sum()], look[there]
        if rng.random() < 0.3:
            middle = np.vstack([middle, rng.uniform(40, 200, (1, 2))])
            sides = np.vstack([sides, rng.uniform(10, 50, (1, 2))])
            looks = np.vstack([looks, rng.normal(0, 1, (1, 16))])
        boxes = np.round(np.hstack([middle - sides / 2, middle + sides / 2]) * 4) / 4
        scores = rng.uniform(0.05, 1.0, len(boxes)).astype(np.float32)
        masks, features = None, None
        if with_looks:
            masks = ellipses(boxes)
            features = (looks + rng.normal(0, 0.2, looks.shape)).astype(np.float32)
        out.append(Detections(boxes.astype(np.float32), scores, masks, features))
    return out


@settings(max_examples=40, deadline=None)
@given(st.one_of(streams(), streams(with_looks=True)))
def test_identities_are_unique_and_never_used_again(frames):
    newest = 0
    last_seen: dict[int, int] = {}
    gone: set[int] = set()
    for k, tracks in enumerate(run(frames)):
        ids = tracks.ids.tolist()
        assert ids == sorted(set(ids))
        fresh = [i for i in ids if i > newest]
        assert not (set(ids) - set(fresh) - set(last_seen)), "an identity from nowhere"
        assert not (set(ids) & gone)
        newest = max([newest, *ids])
        last_seen.update(dict.fromkeys(ids, k))
        gone |= {i for i, when in last_seen.items() if k / 25 - when / 25 > SortConfig().lost_s + 1}


@settings(max_examples=40, deadline=None)
@given(st.one_of(streams(), streams(with_looks=True)))
def test_no_two_tracks_share_a_detection(frames):
    for seen, tracks in zip(frames, run(frames), strict=True):
        reported = [tuple(b) for b in tracks.boxes[~tracks.coasting].tolist()]
        given_ = [tuple(b) for b in seen.boxes.tolist()]
        assert all(reported.count(b) <= given_.count(b) for b in reported)


def reordered(seen, order):
    masks = None if seen.masks is None else seen.masks.take(order)
    features = None if seen.features is None else seen.features[order]
    return Detections(seen.boxes[order], seen.scores[order], masks, features)


def histories(frames, out):
    """For each identity the frames and boxes in which it was seen; without the identities."""
    seen: dict[int, list[tuple]] = {}
    for k, tracks in enumerate(out):
        for i, box, coasting in zip(
            tracks.ids.tolist(), tracks.boxes, tracks.coasting, strict=True
        ):
            if not coasting:
                seen.setdefault(i, []).append((k, *np.round(box, 2).tolist()))
    return sorted(seen.values())


@settings(max_examples=40, deadline=None)
@given(st.one_of(streams(), streams(with_looks=True)), st.integers(0, 2**32 - 1))
def test_the_order_of_the_detections_does_not_matter(frames, seed):
    rng = np.random.default_rng(seed)
    shuffled = [reordered(frame, rng.permutation(len(frame))) for frame in frames]
    assert histories(frames, run(frames)) == histories(frames, run(shuffled))


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_that_look_like_nobody_the_nearer_one_is_who_was_there(order):
    """The light changes: neither looks as the object did a moment ago."""
    there, beside = [100, 100, 140, 150], [126, 100, 166, 150]
    tracker, looks = SortTracker(AS_MEASURED), np.eye(3, dtype=np.float32)
    for k in range(5):
        tracker.update(detections([there], features=looks[:1]), k / 25)
    changed = np.array([[0.3, 0.95, 0.0], [0.3, 0.0, 0.95]], np.float32)
    now = detections(np.array([there, beside])[order], features=changed[order])
    assert id_of(tracker.update(now, 5 / 25), there) == 1


@settings(max_examples=40, deadline=None)
@given(streams(), st.integers(-4000, 4000), st.integers(-4000, 4000), st.sampled_from("_xy"))
def test_moving_or_mirroring_the_picture_moves_or_mirrors_the_tracks(frames, dx, dy, mirror):
    order, signs = {
        "_": ([0, 1, 2, 3], [1, 1, 1, 1]),
        "x": ([2, 1, 0, 3], [-1, 1, -1, 1]),
        "y": ([0, 3, 2, 1], [1, -1, 1, -1]),
    }[mirror]

    def changed(boxes):
        boxes = boxes + np.array([dx, dy, dx, dy], np.float32)
        return boxes[:, order] * np.array(signs, np.float32)

    there = run([Detections(changed(f.boxes), f.scores) for f in frames])
    for here, moved in zip(run(frames), there, strict=True):
        assert here.ids.tolist() == moved.ids.tolist()
        np.testing.assert_allclose(changed(here.boxes), moved.boxes, atol=0.02)


@settings(max_examples=40, deadline=None)
@given(streams(), st.integers(0, 25))
def test_empty_frames_are_no_error(frames, where):
    frames[where:where] = [Detections.empty()]
    run(frames)
    tracker = SortTracker()
    assert len(tracker.update(Detections.empty((10, 10)), 0.0)) == 0


def walk(times, rng):
    """Five objects on straight lanes, 30 to 60 pixels a second, sampled at `times`."""
    speed = rng.uniform(30, 60, 5)
    frames = []
    for t in times:
        boxes = [box_at(30 + v * t, 40 + 60 * lane, 40, 50) for lane, v in enumerate(speed)]
        frames.append((detections(boxes), float(t)))
    return frames


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([5, 15, 60, None]), st.integers(0, 2**32 - 1))
def test_the_same_motion_gives_the_same_identities_at_any_rate(rate, seed):
    """At 5, 15 and 60 frames a second, and with irregular timestamps."""
    rng = np.random.default_rng(seed)
    times = np.arange(0, 4, 1 / rate) if rate else np.cumsum(rng.uniform(0.01, 0.25, 30))
    frames = walk(times, rng)
    for (seen, _), tracks in zip(frames, run(frames), strict=True):
        assert tracks.ids.tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(tracks.boxes, seen.boxes)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_known_object_seen_in_each_frame_never_changes_identity(seed):
    rng = np.random.default_rng(seed)
    out = []
    for seen, time_s in walk(np.arange(0, 3, 1 / 25), rng):
        order = rng.permutation(len(seen))
        out.append((Detections(seen.boxes[order], seen.scores[order]), time_s))
    lanes_of: dict[int, set[int]] = {}
    for tracks in run(out):
        lanes = ((tracks.boxes[:, 1] + tracks.boxes[:, 3]) / 2).round().astype(int).tolist()
        for identity, lane in zip(tracks.ids.tolist(), lanes, strict=True):
            lanes_of.setdefault(identity, set()).add(lane)
    assert [len(lanes) for lanes in lanes_of.values()] == [1] * 5


def test_what_is_kept_does_not_grow_with_time():
    """Objects come and go for a long time; the table holds only those of the last seconds."""
    tracker, rng = SortTracker(), np.random.default_rng(0)
    for k in range(600):
        boxes = [box_at(*rng.uniform(50, 2000, 2)) for _ in range(4)]
        tracker.update(detections(boxes + boxes_of(k)), k / 25)
    assert len(tracker._scene.table) < 100


def boxes_of(k):
    """An object that is replaced by another, elsewhere, every second."""
    return [box_at(100 + 300 * (k // 25 % 7), 3000 + k % 25)]


# Frames that nobody looked at.


def looked(tracker, every, frames=30, masks=False):
    """Tracks of an object at 100 px a second, where it is looked for in each `every`-th frame."""
    out = []
    for k in range(frames):
        if k % every:
            out.append(tracker.coast(k / 25))
        else:
            boxes = [box_at(40 + 4 * k, 100)]
            seen = detections(boxes, masks=ellipses(boxes) if masks else None)
            out.append(tracker.update(seen, k / 25))
    return out


@pytest.mark.parametrize("masks", [False, True])
def test_coasting_follows_the_motion(masks):
    for k, tracks in enumerate(looked(SortTracker(AS_MEASURED), 3, masks=masks)):
        assert tracks.ids.tolist() == [1]
        assert tracks.coasting.tolist() == [k % 3 > 0]
        assert tracks.ages_s == pytest.approx([k / 25])
        if k > 12:
            assert tracks.boxes[0] == pytest.approx(box_at(40 + 4 * k, 100), abs=1)
            if masks:
                left = tracks.masks.offsets[0, 0]
                assert left == pytest.approx(30 + 4 * k, abs=2)


def test_frames_that_nobody_looked_at_are_no_misses():
    # Tentative objects do not survive a miss; lost ones are buried after `lost_s`.
    tracker = SortTracker(dataclasses.replace(AS_MEASURED, lost_s=0.1, coast_s=0.1))
    tracker.update(detections([]), 0.0)
    tracker.update(detections([box_at(50, 50)]), 0.04)
    assert [len(tracker.coast(time_s)) for time_s in (0.1, 0.3)] == [0, 0]
    assert tracker.update(detections([box_at(50, 50)]), 0.5).ids.tolist() == [1]
    assert [tracker.coast(time_s).ids.tolist() for time_s in (0.6, 1.0)] == [[1], [1]]
    assert tracker.update(detections([box_at(50, 50)]), 1.1).ids.tolist() == [1]


def test_what_was_missed_stays_so_until_somebody_looks_again():
    tracker = SortTracker(AS_MEASURED)
    for k in range(5):
        tracker.update(detections([box_at(50, 50)]), k / 25)
    assert not tracker.coast(0.2).unseen.any()
    missed = tracker.update(detections([]), 0.24)
    assert (missed.coasting.tolist(), missed.unseen.tolist()) == ([True], [True])
    assert tracker.coast(0.28).unseen.tolist() == [True]
    assert tracker.update(detections([box_at(50, 50)]), 0.32).unseen.tolist() == [False]


def test_coasting_changes_nothing_but_where_objects_are():
    frames = [(detections([box_at(40 + 4 * k, 100)]), k / 5) for k in range(10)]
    plain, coasted = SortTracker(AS_MEASURED), SortTracker(AS_MEASURED)
    for seen, time_s in frames:
        expected, got = plain.update(seen, time_s), coasted.update(seen, time_s)
        assert got.ids.tolist() == expected.ids.tolist()
        assert got.velocities == pytest.approx(expected.velocities, rel=1e-4)
        coasted.coast(time_s + 0.1)


def test_coasting_goes_forward_in_time():
    tracker = SortTracker()
    assert len(tracker.coast(0.0)) == 0
    tracker.update(detections([box_at(50, 50)]), 1.0)
    tracker.coast(2.0)
    with pytest.raises(ValueError, match="forward from 2"):
        tracker.update(detections([]), 1.5)


def test_an_empty_frame_with_a_size_does_not_make_masks_of_boxes():
    tracker = SortTracker()
    for k in range(4):
        tracker.update(detections([box_at(20 + k, 30)]), k / 25)
    tracker.update(Detections.empty((240, 320)), 4 / 25)
    tracks = tracker.update(detections([box_at(25, 30)]), 5 / 25)
    assert len(tracks) == 1
    assert tracks.masks is None


def test_an_empty_frame_without_size_leaves_the_masks_in_place():
    box, tracker = box_at(100, 100), SortTracker()
    for k in range(5):
        tracker.update(detections([box], masks=ellipses([box])), k / 25)
    tracks = tracker.update(Detections.empty(), 5 / 25)
    assert tracks.ids.tolist() == [1]
    assert tracks.masks is not None
    np.testing.assert_array_equal(tracks.masks.full(0), ellipses([box]).full(0))


@pytest.mark.parametrize("features", [None, np.eye(3, dtype=np.float32)[:1]], ids=["none", "wider"])
def test_other_features_may_come_once_all_is_forgotten(features):
    tracker = SortTracker()
    tracker.update(detections([box_at(20, 30)], features=np.ones((1, 2), np.float32)), 0.0)
    tracker.update(Detections.empty(), 20.0)
    tracker.update(Detections.empty(), 20.1)
    for k in range(3):
        tracks = tracker.update(detections([box_at(20, 30)], features=features), 21 + k / 25)
    assert tracks.ids.tolist() == [2]


def test_the_length_of_features_says_nothing():
    """Who comes back looks like nobody known (cosine .2), whatever its detector's numbers are."""
    for dtype, length in ((np.float32, 1), (np.float32, 20), (np.float16, 200), (np.uint8, 200)):
        looks = (length * np.array([[1, 0], [0.2, 0.98]])).astype(dtype)
        frames = [detections([box_at(60, 60)], features=looks[:1])] * 5
        frames += [detections([])] * 50
        frames += [detections([box_at(90, 60)], features=looks[1:])] * 5
        assert run(frames)[-1].ids.tolist() == [2]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.array([[1, 0, 0]], np.float32), r"should be \(N, 2\), got \(N, 3\)"),
        (np.array([[np.nan, 0]], np.float32), "features row 0 is not finite"),
    ],
)
def test_features_that_mean_nothing_are_refused(features, message):
    tracker = SortTracker()
    tracker.update(detections([box_at(20, 30)], features=np.ones((1, 2), np.float32)), 0.0)
    with pytest.raises(ValueError, match=message):
        tracker.update(detections([box_at(20, 30)], features=features), 0.1)


def test_detections_name_what_they_cannot_take():
    boxes, scores = np.array([box_at(20, 30)], np.float32), np.ones(1, np.float32)
    with pytest.raises(ValueError, match=r"should be Masks, which Masks\.from_dense makes"):
        Detections(boxes, scores, np.zeros((1, 48, 64), bool))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Detections\.boxes should be an array, got .*list"):
        Detections(boxes.tolist(), scores)


def test_a_mask_beyond_the_picture_is_refused():
    mask = Masks((48, 64), np.array([[50, 10]], np.int32), (np.ones((20, 20), bool),))
    with pytest.raises(ValueError, match="masks row 0 reaches beyond the picture of 64x48"):
        SortTracker().update(detections([[50, 10, 70, 30]], masks=mask), 0.0)


def test_boxes_that_never_move_stay_where_they_are():
    tracker = SortTracker()
    still = detections([box_at(40 * k, 30) for k in range(8)])
    tracker.update(still, 0.0)
    jitter = tracker._scene.jitter
    jitter._squares[:] = jitter._products[:] = 1e-300  # as after days of it
    for k in range(1, 2000):
        tracks = tracker.update(still, k / 25)
    assert np.isfinite(tracks.boxes).all()
    assert np.allclose(tracks.boxes, still.boxes)
