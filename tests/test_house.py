"""The house: who may import whom, what may not be here, and no file that outgrew its room."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("pipeline", "trackers", "deepmask", "configs")


def modules(root: Path, package: str) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def test_import_contracts(root):
    # The contracts are in pyproject.toml; a breach is named with its file and line.
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["trackers", "configs"])
def test_lower_floors_import_without_torch_or_video(root, package):
    script = (
        f"import {package}, sys; "
        "heavy = {'torch', 'openvino', 'cv2', 'av', 'pipeline', 'deepmask'} & set(sys.modules); "
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(root, package):
    silent = [
        str(path.relative_to(root))
        for path in modules(root, package)
        if (code := ast.parse(path.read_text(encoding="utf-8"))).body
        and ast.get_docstring(code) is None
    ]
    assert silent == []


def test_no_init_under_tests(root):
    # A tests/trackers/__init__.py would make `import trackers` find the tests.
    assert list((root / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_architecture_names_every_module(root, package):
    text = (root / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.split(f"\n### {package}\n")[1].split("\n##")[0]
    named = set(re.findall(r"`([\w/]+\.py)`", section))
    there = {str(path.relative_to(root / package)) for path in modules(root, package)}
    there = {name for name in there if not name.endswith("__init__.py")}
    assert there - named == set(), "in the house, not in ARCHITECTURE.md"
    assert named - there == set(), "in ARCHITECTURE.md, not in the house"


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_in_docstrings_hold(root, package):
    for path in modules(root, package):
        if ">>>" in path.read_text(encoding="utf-8"):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            done = doctest.testmod(importlib.import_module(name))
            assert done.attempted > 0, name
            assert done.failed == 0, name
