"""Drawing: what is touched, what tells objects apart, what is remembered."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.frames import Frame
from pipeline.render import RenderConfig, Renderer, colour_of, draw
from tests.fakes import discs, tracks_of

SIZE = (120, 160)
GREY = np.full((*SIZE, 3), 100, np.uint8)
BARE = RenderConfig(labels=False, trail_s=0)


def changed(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(axis=2)


def test_only_the_mask_changes_and_the_input_does_not():
    masks = discs(SIZE, [(60, 50), (120, 90)], 12)
    before = GREY.copy()
    drawn = draw(GREY, tracks_of(masks), config=BARE)
    assert (before == GREY).all()
    assert (changed(drawn) == masks.full(0) | masks.full(1)).all()


def test_a_mask_takes_the_colour_of_its_id():
    drawn = draw(GREY, tracks_of(discs(SIZE, [(60, 50)], 12), ids=[7]), config=BARE)
    expected = 0.55 * 100 + 0.45 * np.array(colour_of(7))
    assert np.abs(drawn[50, 60] - expected).max() <= 1.5


def test_a_coasting_object_is_an_outline():
    masks = discs(SIZE, [(60, 50)], 12)
    drawn = changed(draw(GREY, tracks_of(masks, coasting=[True]), config=BARE))
    assert not drawn[50, 60]
    assert drawn.any()
    assert not (drawn & ~masks.full(0)).any()


def test_a_frame_that_nobody_looked_at_looks_like_the_one_before():
    masks = discs(SIZE, [(60, 50)], 12)
    seen, unseen = tracks_of(masks), tracks_of(masks, coasting=[True])
    expected = dataclasses.replace(unseen, missed=np.array([False]))
    np.testing.assert_array_equal(draw(GREY, expected), draw(GREY, seen))
    assert (draw(GREY, expected) != draw(GREY, unseen)).any()


def test_a_small_object_is_drawn_over_a_large_one():
    both = discs(SIZE, [(60, 50)], 40), discs(SIZE, [(60, 50)], 10)
    for ids in ([1, 2], [2, 1]):
        order = [0, 1] if ids == [1, 2] else [1, 0]
        masks = dataclasses.replace(
            both[0],
            offsets=np.concatenate([both[i].offsets for i in order]),
            crops=tuple(both[i].crops[0] for i in order),
        )
        drawn = draw(
            GREY, tracks_of(masks, ids=[1, 2]), config=RenderConfig(opacity=1, labels=False)
        )
        assert tuple(drawn[50, 60]) == colour_of(2 if ids == [1, 2] else 1)


def test_boxes_are_drawn_where_there_are_no_masks():
    tracks = dataclasses.replace(tracks_of(discs(SIZE, [(60, 50)], 10)), masks=None)
    drawn = changed(draw(GREY, tracks, config=BARE))
    x1, y1, x2, y2 = tracks.boxes[0].astype(int)
    assert drawn[y1, x1:x2].all()
    assert drawn[y2 - 1, x1:x2].all()
    assert not drawn[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].any()


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (240, 320), (1080, 1920)])
def test_labels_and_trails_fit_into_any_picture(size: tuple[int, int]):
    height, width = size
    corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    renderer = Renderer()
    image = np.zeros((*size, 3), np.uint8)
    for i in range(3):
        drawn = renderer.render(Frame(i, i / 25, image), tracks_of(discs(size, corners, 5)))
        assert drawn.shape == image.shape
        assert drawn.any()


def test_label_is_readable_at_any_resolution():
    def height(lines: int) -> int:
        size = (lines, lines * 4 // 3)
        image = np.full((*size, 3), 100, np.uint8)
        tracks = tracks_of(discs(size, [(lines // 2, lines // 2)], lines / 10))
        with_label = draw(image, tracks, config=RenderConfig(trail_s=0))
        without = draw(image, tracks, config=RenderConfig(trail_s=0, labels=False))
        rows = np.flatnonzero((with_label != without).any(axis=(1, 2)))
        return int(rows[-1] - rows[0])

    assert height(240) >= 12
    assert height(1080) >= 1080 // 40


def test_nothing_and_empty_masks_draw_nothing():
    assert (draw(GREY, tracks_of(discs(SIZE, [], 3))) == GREY).all()
    masks = discs(SIZE, [(60, 50)], 10)
    empty = dataclasses.replace(masks, crops=(np.zeros((0, 0), bool),))
    assert (draw(GREY, tracks_of(empty), config=BARE) == GREY).all()


def test_colours_stay_and_neighbours_differ():
    colours = np.array([colour_of(i) for i in range(1, 201)], float)
    assert (colours == [colour_of(i) for i in range(1, 201)]).all()
    for distance in range(1, 6):
        apart = np.linalg.norm(colours[distance:] - colours[:-distance], axis=1)
        assert apart.min() > 60, distance


def test_trail_follows_the_object_and_ends():
    renderer = Renderer(RenderConfig(opacity=0, labels=False, trail_s=1.0))

    def trail(time_s: float, x: float) -> np.ndarray:
        masks = discs(SIZE, [(x, 60)], 3)
        drawn = renderer.render(Frame(round(time_s * 10), time_s, GREY), tracks_of(masks))
        columns = np.flatnonzero(changed(drawn).any(axis=0))
        return columns[[0, -1]]

    for i in range(11):
        columns = trail(i / 10, 20 + 10 * i)
    assert columns[0] in range(15, 22)  # one second back it was at 20
    assert columns[1] in range(118, 126)
    assert trail(5.0, 120)[0] >= 110  # four seconds later nothing is left of it


def test_trail_starts_anew_when_time_goes_back():
    renderer = Renderer(RenderConfig(opacity=0, labels=False))
    tracks = tracks_of(discs(SIZE, [(20, 60)], 3))
    renderer.render(Frame(0, 100.0, GREY), tracks)
    moved = tracks_of(discs(SIZE, [(120, 60)], 3))
    drawn = renderer.render(Frame(1, 0.0, GREY), moved)
    assert not changed(drawn)[:, :100].any()


@pytest.mark.parametrize("bad", [{"opacity": 1.5}, {"scale": 0}, {"trail_s": -1}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(bad))):
        RenderConfig(**bad)  # type: ignore[arg-type]
