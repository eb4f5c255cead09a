"""What is in the wheel, and that it is found from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

PACKAGES = {"pipeline", "trackers", "deepmask", "configs"}


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build writes build/ and *.egg-info beside the sources: build from a copy of what counts.
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout: the wheel is built from a checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if not (root / name).is_file():
            continue
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((root / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", folder, source],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_name_clashes_with_nobody(project):
    # PyPI has other packages called trackers, pipeline, configs and deepmask.
    assert project["project"]["name"] == "deepmask-tracking"


def test_torch_is_pinned(project):
    assert "torch==2.13.0" in project["project"]["dependencies"]


def test_wheel_holds_the_four_packages_and_nothing_else(wheel, root):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    inside = {name for name in names if name.endswith(".py")}
    on_disk = {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    }
    assert inside == on_disk


def test_wheel_holds_its_data(wheel, root):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"pipeline/data/demo.mp4", "pipeline/data/README.md"}
    wanted |= {f"configs/{path.name}" for path in (root / "configs").glob("*.yaml")}
    wanted |= {
        f"deepmask/weights/{path.name}" for path in (root / "deepmask/weights").glob("[!.]*")
    }
    assert wanted <= names


def test_wheel_works_away_from_the_checkout(wheel, tmp_path):
    # Nothing else is on the path: no checkout, no current folder that happens to hold it.
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = f"import {', '.join(sorted(PACKAGES))}; print(pipeline.__file__, trackers.__file__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(name).is_relative_to(site) for name in done.stdout.split())
