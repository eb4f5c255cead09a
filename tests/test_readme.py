"""What the README shows is true: its settings exist, its Python runs, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import configs


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text(encoding="utf-8")


def test_settings_exist(readme):
    from pipeline.config import PipelineConfig

    overrides = re.findall(r"--set (\S+=\S+)", readme)
    assert overrides
    configs.load(PipelineConfig, None, overrides)


def test_presets_exist(readme, root):
    names = re.findall(r"--config (\w+)", readme)
    assert names
    assert [name for name in names if not (root / "configs" / f"{name}.yaml").exists()] == []


def test_links_lead_to_files(readme, root):
    targets = re.findall(r"\]\(([^)#:]+)\)", readme)
    assert targets
    assert [target for target in targets if not (root / target).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_python_runs(readme, root, crossing_video, tmp_path):
    if not list((root / "deepmask" / "weights").glob("*.safetensors")):
        pytest.skip("deepmask/weights/ holds no weights yet")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(code.replace("clip.mp4", str(crossing_video)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "objects in all" in done.stdout
