"""Effects: which pixels change, which do not, and what can be recognised afterwards."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import effects
from pipeline.arguments import parser, settings
from pipeline.errors import PipelineError
from pipeline.frames import Frame
from pipeline.render import RenderConfig, Renderer
from pipeline.sinks import SINKS, Result
from tests.fakes import boxes_of, discs, tracks_of
from tests.pipeline.saved import context
from trackers.tracks import Tracks

SIZE = (120, 160)
NOISE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
CENTRES = [(40, 60), (110, 60)]


def two(coasting: tuple[bool, bool] = (False, False)) -> tuple[Tracks, np.ndarray, np.ndarray]:
    """Two objects, ids 1 and 2, and their masks."""
    masks = discs(SIZE, CENTRES, 20)
    return tracks_of(masks, coasting=coasting), masks.full(0), masks.full(1)


def test_a_tint_is_of_the_objects_that_are_wanted():
    tracks, first, second = two()
    changed = (rendered(tracks, ids=(2,), labels=False, trail_s=0) != NOISE).any(2)
    assert not changed[first].any()
    assert changed[second].mean() > 0.9


def rendered(tracks: Tracks, image: np.ndarray = NOISE, **settings: object) -> np.ndarray:
    before = image.copy()
    out = Renderer(RenderConfig(**settings)).render(Frame(0, 0.0, image), tracks)  # type: ignore[arg-type]
    assert (image == before).all()
    return out


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a == b).all(axis=2)


def picture_file(path: Path, rgba: tuple[int, ...], size: tuple[int, int] = (10, 10)) -> str:
    image = np.full((*size, len(rgba)), rgba, np.uint8)
    image[..., :3] = image[..., 2::-1]
    cv2.imwrite(str(path), image)
    return str(path)


def test_a_picture_of_a_phone_is_upright(tmp_path):
    """20 x 10, red beside blue, to be turned to the right: 10 x 20, red above blue."""
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, :10, 2], image[:, 10:, 0] = 255, 255
    encoded = cv2.imencode(".jpg", image)[1].tobytes()
    # APP1: a TIFF header and one entry, orientation 6 (EXIF 2.3, section 4.6.4).
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = tmp_path / "phone.jpg"
    path.write_bytes(encoded[:2] + segment + encoded[2:])
    found = effects.load(str(path))
    assert found.shape == (20, 10, 4)
    assert found[2, 5, 0] > 200
    assert found[17, 5, 2] > 200


@pytest.mark.parametrize(("dtype", "white"), [(np.uint16, 65535), (np.float32, 1.0)])
def test_pictures_of_more_than_8_bits(dtype, white, tmp_path):
    path = tmp_path / "deep.tiff"
    cv2.imwrite(str(path), np.full((4, 4, 3), white, dtype))
    assert (effects.load(str(path)) == 255).all()


@pytest.mark.parametrize("style", ["blur", "pixelate", "fill"])
def test_privacy_changes_the_objects_and_nothing_else(style):
    tracks, first, second = two()
    out = rendered(tracks, style=style)
    assert same(out, NOISE)[~(first | second)].all()
    assert same(out, NOISE)[first | second].mean() < 0.02


@pytest.mark.parametrize("style", ["blur", "pixelate", "fill"])
def test_privacy_changes_everything_but_the_objects(style):
    tracks, first, second = two()
    out = rendered(tracks, style=style, where="background")
    assert same(out, NOISE)[first | second].all()
    assert same(out, NOISE)[~(first | second)].mean() < 0.02


def test_privacy_covers_coasting_objects_too():
    tracks, first, second = two(coasting=(False, True))
    assert (rendered(tracks, style="fill")[first | second] == 0).all()
    # And shows nothing of a place where an object is only believed to be.
    out = rendered(tracks, style="fill", where="background")
    assert same(out, NOISE)[first].all()
    assert (out[second] == 0).all()


def test_a_frame_that_nobody_looked_at_shows_the_objects_of_the_one_before():
    tracks, first, second = two(coasting=(True, True))
    tracks = dataclasses.replace(tracks, missed=np.array([False, True]))
    out = rendered(tracks, style="fill", where="background")
    assert same(out, NOISE)[first].all()
    assert (out[second] == 0).all()


def test_privacy_margin_grows_the_masks():
    tracks, *_ = two()
    black = (rendered(tracks, style="fill", margin_px=7) == 0).all(axis=2)
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.min([np.hypot(cols - x, rows - y) for x, y in CENTRES], axis=0)
    assert black[distance <= 26].all()
    assert not black[distance > 29].any()


def test_privacy_of_some_identities_only():
    tracks, first, second = two()
    out = rendered(tracks, style="fill", ids=(2,))
    assert same(out, NOISE)[first].all()
    assert (out[second] == 0).all()
    assert same(rendered(tracks, style="fill", ids=(77,)), NOISE).all()


def test_privacy_without_masks_covers_the_boxes():
    tracks = dataclasses.replace(two()[0], masks=None)
    out = rendered(tracks, style="fill")
    x1, y1, x2, y2 = boxes_of(discs(SIZE, CENTRES, 20))[0].astype(int)
    assert (out[y1:y2, x1:x2] == 0).all()
    assert same(out, NOISE)[:y1].all()


@pytest.mark.parametrize("style", ["blur", "pixelate"])
def test_what_is_blurred_or_pixelated_cannot_be_recognised(style):
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::4] = 255
    stripes[:, 1::4] = 255
    tracks = tracks_of(discs((480, 640), [(320, 240)], 100))
    out = rendered(tracks, stripes, style=style).astype(int)
    inside = out[200:280, 280:360]
    assert inside.max() - inside.min() < 16


def test_pixelate_gives_blocks_whose_size_grows_with_the_strength():
    tracks, first, _ = two()
    few = {strength: len(np.unique(rendered(tracks, style="pixelate", strength=strength)[first],
           axis=0)) for strength in (1.0, 4.0)}  # fmt: skip
    assert few[1.0] > 2 * few[4.0]


def test_background_is_replaced_by_a_colour():
    tracks, first, second = two()
    out = rendered(tracks, style="fill", where="background", picture="#1080ff")
    assert (out[~(first | second)] == (0x10, 0x80, 0xFF)).all()


def test_background_is_replaced_by_a_picture(tmp_path):
    tracks, first, second = two()
    name = picture_file(tmp_path / "sky.png", (10, 90, 200), size=(30, 20))
    out = rendered(tracks, style="fill", where="background", picture=name)
    assert (out[~(first | second)] == (10, 90, 200)).all()
    assert same(out, NOISE)[first | second].all()


def test_overlay_is_anchored_and_hidden_behind_what_is_in_front(tmp_path):
    name = picture_file(tmp_path / "badge.png", (255, 0, 0, 255))
    masks = discs(SIZE, [(60, 60), (75, 70)], 20)  # the second stands lower: it is in front
    out = rendered(tracks_of(masks), style="overlay", picture=name, ids=(1,))
    red = (out == (255, 0, 0)).all(axis=2)
    x1, y1, x2, y2 = boxes_of(masks)[0].astype(int)
    badge = np.zeros(SIZE, bool)
    badge[y1:y2, x1:x2] = True
    assert (red == (badge & ~masks.full(1))).all()
    assert same(out, NOISE)[~red].all()
    # The one in front has its own whole.
    out = rendered(tracks_of(masks), style="overlay", picture=name, ids=(2,))
    x1, y1, x2, y2 = boxes_of(masks)[1].astype(int)
    assert (out[y1:y2, x1:x2] == (255, 0, 0)).all()


def test_overlay_keeps_its_shape_and_its_alpha(tmp_path):
    grey = np.full((*SIZE, 3), 100, np.uint8)
    name = picture_file(tmp_path / "wide.png", (200, 200, 200, 128), size=(10, 40))
    masks = discs(SIZE, [(80, 60)], 20)
    out = rendered(tracks_of(masks), grey, style="overlay", picture=name)
    rows, cols = np.nonzero((out != 100).any(axis=2))
    assert [int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1] == [41, 10]
    assert np.abs(out[60, 80].astype(int) - 150).max() <= 1


@pytest.mark.parametrize("centre", [(0, 0), (159, 119), (-15, 60)])
def test_overlay_at_the_border_of_the_picture(centre, tmp_path):
    name = picture_file(tmp_path / "badge.png", (255, 0, 0, 255))
    tracks = tracks_of(discs(SIZE, [(80, 60)], 20))
    x, y = centre
    moved = dataclasses.replace(tracks, boxes=np.array([[x - 20, y - 20, x + 20, y + 20]], "f4"))
    assert (rendered(moved, style="overlay", picture=name) == (255, 0, 0)).all(axis=2).any()


def test_cutouts_are_the_objects_with_alpha(tmp_path):
    tracks, first, _ = two(coasting=(False, True))
    run = dataclasses.replace(context(), render=RenderConfig(ids=(1, 2)))
    sink = SINKS["cutouts"](tmp_path / "cutouts", run)
    sink.write(Result(Frame(7, 0.0, NOISE), tracks, 1.0))
    (path,) = (tmp_path / "cutouts").rglob("*.*")  # the coasting one was not seen
    assert path.relative_to(tmp_path / "cutouts") == Path("1/000007_20_40.png")
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    part = np.s_[40 : 40 + picture.shape[0], 20 : 20 + picture.shape[1]]
    assert ((picture[..., 3] == 255) == first[part]).all()
    assert (picture[..., 2::-1] == NOISE[part]).all()
    SINKS["cutouts"](tmp_path / "cutouts", run)
    assert not list((tmp_path / "cutouts").rglob("*.png"))


def test_cutouts_leave_the_pictures_of_others(tmp_path):
    names = ["2024/20240512_143022_001.png", "1/000007_20_40.png", "1/000008_1_2.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    picture_file(tmp_path / names[0], (255, 0, 0, 255))
    picture_file(tmp_path / names[1], (255, 0, 0, 255))
    (tmp_path / names[2]).touch()
    SINKS["cutouts"](tmp_path, context())
    assert all((tmp_path / name).exists() for name in names)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "blurr"}, "style should be one of .* did you mean 'blur'"),
        ({"where": "backgrund"}, "did you mean 'background'"),
        ({"picture": "nowhere.png"}, "an image file, got 'nowhere.png'"),
        ({"margin_px": -1}, "margin_px"),
        ({"strength": 0}, "strength"),
    ],
)
def test_effects_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        RenderConfig(**settings)


def test_commands_of_the_documentation_are_taken(root, tmp_path, monkeypatch):
    text = (root / "docs/outputs.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("$V ")]
    monkeypatch.chdir(tmp_path)
    for name in ("beach.jpg", "hat.png"):
        picture_file(tmp_path / name, (1, 2, 3))
    for command in commands:
        settings(parser().parse_args(shlex.split(command, comments=True)[1:]))
    assert len(commands) == 8


def test_picture_that_is_none(tmp_path):
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(PipelineError, match="cannot read the picture"):
        Renderer(RenderConfig(picture=str(tmp_path / "text.png")))


@pytest.mark.parametrize("strength", [1e-6, 0.02, 1.0])
@pytest.mark.parametrize("size", [(20, 30), (240, 320), (1080, 1920)])
def test_privacy_leaves_nothing_as_it_was_at_any_size_and_strength(size, strength):
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    for smooth in (False, True):
        change = effects.coarse(picture, strength, smooth).astype(int) - picture
        assert np.abs(change).mean() > 40
