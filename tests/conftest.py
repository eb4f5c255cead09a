"""What every test may use: markers that know the machine, a small video."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import scenes

ROOT = Path(__file__).resolve().parents[1]


def missing_for(marker: str) -> str | None:
    """Why a test with this marker cannot run here; None where it can."""
    if marker == "gpu":
        import torch

        return None if torch.cuda.is_available() else "no CUDA device"
    if marker == "camera":
        return None if any(Path("/dev").glob("video*")) else "no camera (/dev/video*)"
    raise AssertionError(f"no such marker: {marker}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the machine cannot do; where REQUIRE_GPU=1 a missing GPU is a failure."""
    for marker in ("gpu", "camera"):
        if item.get_closest_marker(marker) is None:
            continue
        reason = missing_for(marker)
        if reason is None:
            continue
        if marker == "gpu" and os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail(f"REQUIRE_GPU=1, and {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def own_scheduling() -> Iterator[None]:
    """What `pipeline.run.main` sets on Linux, batch scheduling, is not for the tests after it."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    if os.sched_getscheduler(0) != before:
        os.sched_setscheduler(0, before, os.sched_param(0))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def crossing_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`scenes.crossing()` as an H.264 file: 320x240, 75 frames, 25 a second."""
    return scenes.crossing().write_video(tmp_path_factory.mktemp("videos") / "crossing.mp4")
