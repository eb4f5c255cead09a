"""The tracker's cost: what it prints, it also writes, with machine and versions."""

import json
from pathlib import Path

import pytest

from benchmarks import measuring, tracker_cost
from trackers import SortConfig, SortTracker


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr("sys.argv", ["tracker_cost", "--frames", "3", "--repeats", "1", *flags])
    tracker_cost.main()


def test_numbers_are_written_with_machine_and_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cost.json"
    counts = "--objects", "4,9", "--masks", "2", "--pictures", "3"
    run(monkeypatch, *counts, "--json", str(file))
    written = json.loads(file.read_text(encoding="utf-8"))
    rows = [(row["objects"], row["kind"]) for row in written["rows"]]
    assert rows == [(4, "boxes"), (9, "boxes"), (2, "masks"), (3, "pictures")]
    assert all(row["cpu_ms"] > 0 for row in written["rows"])
    assert written["machine"] in capsys.readouterr().out
    assert "numpy" in written["versions"]


def test_the_missed_objects_of_the_scene_are_found_in_its_pictures() -> None:
    tracker, coasting = SortTracker(SortConfig(coast_s=0.0)), 0
    views = tracker_cost.scene(5, 40, (640, 480), masks=True, pictures=True)
    for frame, (detections, picture) in enumerate(views, 1):
        tracks = tracker.update(detections, frame * tracker_cost.FRAME_S, picture)
        coasting += int(tracks.coasting.sum())
    assert coasting > 10


def test_a_mistyped_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        measuring.start(lambda: run(monkeypatch, "--set", "mask_weigt=1"))
    assert ended.value.code == 2
    assert "tracker_cost: " in (error := capsys.readouterr().err)
    assert "did you mean 'mask_weight'" in error
