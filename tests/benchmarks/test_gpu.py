"""The benchmark of GPUs, on machines that have none."""

import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu
from pipeline.frames import Frame
from pipeline.sources import open_source
from pipeline.sources.config import SourceConfig
from tests.fakes import ScriptedDetector


def frames():
    return [Frame(i, i / 25, np.zeros((24, 32, 3), np.uint8)) for i in range(3)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_what_is_measured_excludes_the_beginning(monkeypatch):
    monkeypatch.setattr(gpu, "WARM_S", 0.2)
    first = []
    detector = ScriptedDetector(before=lambda frame: first.append(frame.index))
    times = gpu.latencies(detector, frames(), 0.2)
    assert 0 < times["p50"] <= times["p95"] <= times["p99"]
    calls = detector.calls
    found = gpu.rate(detector.detect, 2, frames(), 0.2)
    assert 0 < found * 0.2 < detector.calls - calls
    assert set(first) == {0, 1, 2}


def test_the_paced_video_has_the_pictures_given(tmp_path):
    pictures = [np.full((24, 32, 3), 40 * i, np.uint8) for i in range(1, 6)]
    gpu.write_video(tmp_path / "paced.mp4", pictures, (64, 48))
    with open_source(SourceConfig(source=str(tmp_path / "paced.mp4"))) as source:
        found = list(source)
    assert [round(frame.time_s * 30) for frame in found] == [0, 1, 2, 3, 4]
    assert found[0].image.shape == (48, 64, 3)
    assert np.abs(found[4].image.astype(int) - 200).max() < 8
