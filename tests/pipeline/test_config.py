"""The settings of a run, put together from those of its parts."""

from __future__ import annotations

import dataclasses

import configs
from deepmask.training.config import TrainConfig
from pipeline.config import PipelineConfig
from pipeline.detector import DetectorConfig
from pipeline.frames import VideoInfo
from trackers import SortConfig


def test_defaults_are_complete():
    assert configs.load(PipelineConfig) == PipelineConfig()


def test_presets_load_and_differ_from_the_defaults():
    names = configs.presets(PipelineConfig)
    assert {"accurate", "fast", "file", "webcam"} <= set(names)
    for name in names:
        assert configs.load(PipelineConfig, name) != PipelineConfig(), name


def test_recipes_of_trainings_are_no_presets_of_a_run():
    recipes = configs.presets(TrainConfig)
    assert "train_lite0" in recipes
    assert not set(recipes) & set(configs.presets(PipelineConfig))


def test_other_settings_of_the_tracker_leave_those_for_deepmask_as_they_are():
    assert PipelineConfig().tracker.birth_score < SortConfig().birth_score
    config = configs.load(PipelineConfig, None, ["tracker.lost_s=3", "tracker.parts.memory_s=2"])
    assert config.tracker.birth_score == PipelineConfig().tracker.birth_score
    mine = configs.load(PipelineConfig, None, {"tracker": SortConfig(lost_s=3)})
    assert mine.tracker.birth_score == SortConfig().birth_score


def test_settings_survive_being_written_and_read(tmp_path):
    config = configs.load(
        PipelineConfig, "webcam", ["output.save=video,jsonl:-", "source.options={rtbufsize: 1M}"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(configs.dump(config), encoding="utf-8")
    assert configs.load(PipelineConfig, path) == config


def test_every_setting_is_documented():
    """Each field of each group is followed by its own docstring, or shares the one after it."""
    import inspect

    for group in dataclasses.fields(PipelineConfig):
        owner = type(getattr(PipelineConfig(), group.name))
        assert inspect.getdoc(owner), owner


def test_only_frames_of_files_wait_for_a_batch():
    config = DetectorConfig(batch=8)
    assert config.for_source(VideoInfo("camera", 640, 480, is_live=True)).batch == 1
    assert config.for_source(VideoInfo("clip", 640, 480, is_live=False)) == config
