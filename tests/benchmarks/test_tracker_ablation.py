import numpy as np
import pytest

from benchmarks.tracker_ablation import VARIANTS, cell, scores
from configs import loader
from trackers import SortConfig


@pytest.fixture
def data(tmp_path):
    """A sequence of three objects side by side, each seen in every frame; the third weakly."""
    folder = tmp_path / "set" / "lanes"
    folder.mkdir(parents=True)
    truth, seen = [], []
    for frame, lane in np.ndindex(20, 3):
        box = f"{20 + 3 * frame},{50 + 100 * lane},40,60"
        truth.append(f"{frame + 1},{lane + 1},{box},1,1,1")
        seen.append(f"{frame + 1},-1,{box},{0.3 if lane == 2 and frame > 5 else 0.9}")
    (folder / "gt.txt").write_text("\n".join(truth), encoding="utf-8")
    (folder / "det.txt").write_text("\n".join(seen), encoding="utf-8")
    return tmp_path / "set"


def test_a_cell_tells_what_the_tracker_reaches(data):
    assert cell(scores(data, ())) == "100.0 / 100.0 / 100.0, 3 of 3"
    assert scores(data, VARIANTS["no second pass"]).clear.FN == 14


@pytest.mark.parametrize("overrides", VARIANTS.values())
def test_every_variant_is_one_of_the_settings(overrides):
    loaded = loader.load(into=SortConfig, source=None, overrides=list(overrides))
    assert (loaded != SortConfig()) == bool(overrides)
