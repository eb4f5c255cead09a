"""Objects looked for only in a part of the picture: crops, coordinates, mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import configs
import pipeline
from pipeline.detector import Detector, DetectorConfig
from pipeline.errors import InferenceError, SourceError
from pipeline.frames import Frame, VideoInfo
from pipeline.region import SMALLEST_PX, open_in_region
from pipeline.run import main
from pipeline.sources import SourceConfig
from tests import scenes
from tests.fakes import ScriptedDetector, boxes_of, discs
from trackers.detections import Detections
from trackers.masks import Masks

WIDTH, HEIGHT = 320, 240
INFO = VideoInfo("a", WIDTH, HEIGHT, is_live=False)
LEFT_HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]


def frame(image: np.ndarray | None = None) -> Frame:
    return Frame(0, 0.0, np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image)


def bright_discs(seen: Frame) -> Detections:
    """One object for each bright spot: a detector that truly looks at what it is given."""
    grey = np.ascontiguousarray(seen.image[..., 0])
    count, labels = cv2.connectedComponents((grey > 100).astype(np.uint8))
    masks = Masks.from_dense(
        np.array([labels == i for i in range(1, count)], bool).reshape(-1, *grey.shape)
    )
    features = np.arange(2 * len(masks), dtype=np.float32).reshape(-1, 2)
    return Detections(boxes_of(masks), np.full(len(masks), 0.9, np.float32), masks, features)


def picture(*centres: tuple[int, int], radius: int = 10) -> Frame:
    """A frame with a bright disc at each of `centres` x, y."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for mask in discs((HEIGHT, WIDTH), centres, radius):
        image[mask] = 200
    return frame(image)


def looking(region: object, script: Callable[[Frame], Detections] = bright_discs) -> Detector:
    setting = SourceConfig(region=region).region  # type: ignore[arg-type]
    return open_in_region(lambda _: ScriptedDetector(script), DetectorConfig(), setting, INFO)


def test_coordinates_are_those_of_the_whole_frame() -> None:
    shown = picture((220, 130), (280, 170))
    whole = bright_discs(shown)
    found = looking([[200, 100], [310, 100], [310, 200], [200, 200]]).detect(shown)
    assert np.array_equal(found.boxes, whole.boxes)
    assert found.masks is not None
    assert whole.masks is not None
    assert found.masks.size == (HEIGHT, WIDTH)
    assert np.array_equal(list(found.masks), list(whole.masks))
    assert found.features is not None
    assert found.features.shape == (2, 2)


def test_the_detector_gets_only_the_part_around_the_region() -> None:
    shapes = []

    def script(seen: Frame) -> Detections:
        assert seen.image.flags.c_contiguous
        shapes.append(seen.image.shape)
        return Detections.empty((seen.height, seen.width))

    detector = looking([[100, 100], [200, 100], [200, 150], [100, 150]], script)
    assert len(detector.detect(frame())) == 0
    [(height, width, _)] = shapes
    assert height == pytest.approx(50 + 2 * 10, abs=3)  # with a tenth of 100 px around it
    assert width == pytest.approx(100 + 2 * 10, abs=3)
    assert detector.description == f"a script, on {width}x{height} of 320x240"


def test_what_lies_mostly_outside_is_dropped() -> None:
    # The border is at x = 160; the second disc is mostly left of it, the third mostly right.
    shown = picture((40, 40), (156, 100), (165, 200))
    found = looking(LEFT_HALF).detect(shown)
    assert [round(float(box[:2].mean())) for box in found.boxes] == [30, 118]


def test_boxes_alone_are_enough() -> None:
    def script(_: Frame) -> Detections:
        boxes = np.array([[10, 10, 50, 50], [150, 10, 170, 50], [155, 10, 175, 50]], np.float32)
        return Detections(boxes, np.ones(3, np.float32))

    assert len(looking(LEFT_HALF, script).detect(frame())) == 2


def test_nothing_seen_stays_nothing() -> None:
    found = looking(LEFT_HALF).detect(frame())
    assert found.boxes.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.size == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    "region",
    [
        LEFT_HALF,
        [LEFT_HALF],
        [[0, 0], [160, 0], [160, 240], [0, 240]],
        [[[0, 0], [160, 0], [160, 120], [0, 120]], [[0, 0.5], [0.5, 0.5], [0.5, 1], [0, 1]]],
    ],
    ids=["one", "list", "pixels", "two"],
)
def test_ways_to_give_polygons(region: object) -> None:
    shown = picture((40, 40), (40, 200), (290, 40), (290, 200))
    found = looking(region).detect(shown)
    assert sorted(map(tuple, found.boxes[:, :2].tolist())) == [(30.0, 30.0), (30.0, 190.0)]


def test_a_region_of_two_parts_leaves_out_what_is_between() -> None:
    left, right = ([[x, 0], [x + 60, 0], [x + 60, 240], [x, 240]] for x in (0, 260))
    found = looking([left, right]).detect(picture((30, 50), (160, 50), (290, 50)))
    assert found.boxes[:, 0].tolist() == [20.0, 280.0]


def masked(kind: str) -> np.ndarray:
    """The left half bright, in half the size of the frames."""
    lit = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    lit[:, : WIDTH // 4] = 255
    if kind == "colour":
        return np.dstack([lit, np.zeros_like(lit), np.zeros_like(lit)])
    if kind == "transparent":
        return np.dstack([np.full_like(lit, 255)] * 3 + [lit])
    return lit.astype(np.uint16) * 257 if kind == "deep" else lit


@pytest.mark.parametrize("kind", ["grey", "colour", "transparent", "deep"])
def test_mask_images(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "left.png"
    cv2.imwrite(str(path), masked(kind))
    found = looking(str(path)).detect(picture((40, 40), (290, 200)))
    assert found.boxes[:, 0].tolist() == [30.0]


def test_no_region_is_no_wrapper() -> None:
    assert isinstance(looking(None), ScriptedDetector)


@pytest.mark.parametrize(
    ("region", "size_px"),
    [
        ([[0, 0], [1, 0], [1, 1], [0, 1]], 640),
        ([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]], 352),  # a half, and the margin of a tenth
        ([[0.5, 0.5], [0.51, 0.5], [0.51, 0.51]], SMALLEST_PX),
    ],
    ids=["all", "quarter", "tiny"],
)
def test_the_network_sees_less_where_there_is_less_to_see(
    region: list[list[float]], size_px: int
) -> None:
    asked: list[int] = []

    def opened(config: DetectorConfig) -> Detector:
        asked.extend(config.sizes_px)
        return ScriptedDetector()

    open_in_region(opened, DetectorConfig(sizes_px=(640,)), region, INFO)
    assert asked == [pytest.approx(size_px, rel=0.05)]


def test_no_look_is_taken_twice_where_sizes_end_up_the_same() -> None:
    asked: list[int] = []

    def opened(config: DetectorConfig) -> Detector:
        asked.extend(config.sizes_px)
        return ScriptedDetector()

    tiny = [[0.5, 0.5], [0.51, 0.5], [0.51, 0.51]]
    open_in_region(opened, DetectorConfig(sizes_px=(512, 768)), tiny, INFO)
    assert asked == [SMALLEST_PX]


def test_it_goes_around_all_that_a_detector_is() -> None:
    inner = ScriptedDetector(bright_discs, concurrency=3)
    detector = open_in_region(lambda _: inner, DetectorConfig(), LEFT_HALF, INFO)
    assert detector.concurrency == 3
    with detector:
        assert not inner.closed
    assert inner.closed


# --- the whole run -----------------------------------------------------------------------------


def test_run_with_a_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = scenes.parallel().write_video(tmp_path / "a.mp4")
    shapes = set()

    def script(seen: Frame) -> Detections:
        shapes.add(seen.image.shape)
        return Detections.empty((seen.height, seen.width))

    monkeypatch.setattr("pipeline.run.open_detector", lambda _: ScriptedDetector(script))
    region = "source.region=[[0, 0], [1, 0], [1, 0.4], [0, 0.4]]"
    arguments = ["--source", str(video), "--output", str(tmp_path / "out"), "--save", "jsonl"]
    assert main([*arguments, "--set", region]) == 0
    [(height, width, _)] = shapes
    assert (height, width) == (pytest.approx(96 + 32, abs=2), 320)
    first = json.loads(
        (tmp_path / "out" / "tracks.jsonl").read_text(encoding="utf-8").splitlines()[0]
    )
    assert (first["width"], first["height"]) == (320, 240)
    # What was written repeats the run.
    again = configs.load(pipeline.config.PipelineConfig, tmp_path / "out" / "config.yaml")
    assert again.source.region == [[0.0, 0.0], [1.0, 0.0], [1.0, 0.4], [0.0, 0.4]]


def test_what_fails_while_it_gets_ready_is_named() -> None:
    class Unready(ScriptedDetector):
        def prepare(self, size: tuple[int, int]) -> None:
            raise RuntimeError("out of memory")

    with pytest.raises(InferenceError, match=r"first picture \(320x240\): out of memory"):
        open_in_region(lambda _: Unready(), DetectorConfig(), None, INFO)


def test_track_with_a_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = scenes.parallel().write_video(tmp_path / "a.mp4")
    monkeypatch.setattr("pipeline.detector.open_detector", lambda _: ScriptedDetector(bright_discs))
    shown = pipeline.track(video, source={"region": [[0, 0], [1, 0], [1, 0.1], [0, 0.1]]})
    assert next(shown)[0].image.shape == (240, 320, 3)
    shown.close()


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("[[0, 0], [1, 1]]", "three or more"),
        ("[[0, 0, 1], [1, 1, 1], [1, 0, 1]]", "three or more"),
        ("[]", "three or more"),
        ("[[0, 0], [-1, 1], [1, 1]]", "0 or more"),
        ("[[0, 0], [.nan, 1], [1, 1]]", "0 or more"),
        ("[[0, 0], [5000, 0], [5000, 100]]", "outside of the frames of 320x240"),
        ("nowhere.png", "cannot use 'nowhere.png' as source.region: no such file"),
        ("text.png", "not readable as an image"),
        ("tall.png", "it is 24x48, of another shape than the frames of 320x240"),
        ("dark.png", "is nowhere brighter than half"),
        ("[[a, b]]", "no such file; expected a mask image, or polygons as"),
    ],
)
def test_region_mistake_is_one_line_and_exit_code_2(
    region: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    scenes.parallel(length=2).write_video(tmp_path / "a.mp4")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    cv2.imwrite("tall.png", np.full((48, 24), 255, np.uint8))
    cv2.imwrite("dark.png", np.full((24, 32), 100, np.uint8))
    monkeypatch.setattr("pipeline.run.open_detector", lambda _: ScriptedDetector())
    assert main(["--source", "a.mp4", "--set", f"source.region={region}", "--quiet"]) == 2
    said = capfd.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_region_errors_are_source_errors_for_python() -> None:
    with pytest.raises(SourceError, match="outside of the frames"):
        looking([[0, 0], [500, 0], [500, 10]])
