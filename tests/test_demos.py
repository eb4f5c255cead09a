"""Each demo runs as its docstring says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest


def run(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def test_crossing_keeps_both_identities(root):
    done = run(root, "demos.crossing")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 objects, 2 identities"


@pytest.mark.parametrize("flags", [(), ("--boxes",)], ids=["masks", "boxes"])
def test_custom_detector_sees_what_moves(root, crossing_video, tmp_path, flags):
    output = tmp_path / "last.png"
    done = run(root, "demos.custom_detector", crossing_video, *flags, "--output", output)
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(tmp_path / "last.png"))
    assert picture is not None
    assert picture.shape == (240, 320, 3)
    assert int(done.stdout.split()[0]) >= 2


@pytest.mark.slow
def test_webcam_demo_follows_a_file_too(root, crossing_video):
    if not list((root / "deepmask" / "weights").glob("*.safetensors")):
        pytest.skip("deepmask/weights/ holds no weights yet")
    done = run(root, "demos.webcam", crossing_video)
    assert done.returncode == 0, done.stderr
