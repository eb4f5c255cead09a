"""What the benchmarks share: what ran where, runs of the program, measurements that take turns.

Machines slow down and speed up while something is measured. Things to be compared are therefore
measured in turns, round after round, and the median of each is kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import configs
from deepmask.runtime import usable_cores
from pipeline.errors import PipelineError
from trackers import SortConfig

T = TypeVar("T")

LIBRARIES = (
    "openvino",
    "torch",
    "av",
    "opencv-python",
    "opencv-python-headless",
    "numpy",
    "scipy",
)
PIPELINE = "a setting of the pipeline, such as detector.sizes_px=384"
TRACKER = "a setting of the tracker, such as mask_weight=0.5"


def arguments(name: str, doc: str | None, settings: str = PIPELINE) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes; `settings` says what --set is of."""
    parser = argparse.ArgumentParser(
        prog=f"benchmarks.{name}", description=(doc or "").splitlines()[0]
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=settings)
    return parser


def start(main: Callable[[], int | None]) -> NoReturn:
    """Run a benchmark; what its user did wrong is one line, and exit code 2."""
    try:
        code = main()
    except (PipelineError, ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def machine() -> str:
    """This machine in a few words, with its load before the measurement."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = names[0].split(":", 1)[1].strip() if names else model
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{model}, {usable_cores()} cores, load {load}, {today}"


def versions() -> str:
    """Python and the libraries that the speed depends on."""
    found = [f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def announce() -> dict[str, Any]:
    """Print what runs where; gives it as the beginning of the JSON."""
    about = {"machine": machine(), "versions": versions()}
    print(*about.values(), sep="\n", flush=True)
    return about


def save(path: Path | None, numbers: Mapping[str, Any]) -> None:
    """Write the numbers as JSON, where a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def in_turns(measures: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Call each measure once a round; gives the results of each."""
    results: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            results[name].append(measure())
    return results


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU time of a call, of all threads of this process, in milliseconds."""
    began = time.process_time()
    call()
    return 1e3 * (time.process_time() - began)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return float(statistics.median(values))


def tracker_config(settings: Sequence[str]) -> SortConfig:
    """The tracker's settings by default, but for these.

    Raises:
        configs.ConfigError: there is no such setting, or it cannot have that value.
    """
    return configs.load(SortConfig, None, list(settings))


def settings_flags(settings: Sequence[str]) -> Iterator[str]:
    """`--set` once for each of the settings."""
    for setting in settings:
        yield from ("--set", setting)


def run_program(*flags: str, save_as: str = "jsonl") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One run of `pipeline.run` as a user starts it, in a process of its own.

    Args:
        *flags: of the command line, but those of the outputs.
        save_as: the outputs.

    Returns:
        Its summary, and the lines of its `tracks.jsonl` (none where that was not asked for).

    Raises:
        SystemExit: the run failed; with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        _run_into(folder, *flags, "--save", save_as)
        tracks = Path(folder) / "tracks.jsonl"
        lines = tracks.read_text(encoding="utf-8").splitlines() if tracks.exists() else []
        return _summary(Path(folder)), [json.loads(line) for line in lines]


def run_streams(sources: Sequence[str], *flags: str) -> list[dict[str, Any]]:
    """One run of `pipeline.run` on several sources at once; gives the summary of each.

    Raises:
        SystemExit: a stream failed; with what it said.
    """
    named = [flag for source in sources for flag in ("--source", source)]
    with tempfile.TemporaryDirectory() as folder:
        _run_into(folder, *named, *flags, "--save", "jsonl")
        # One source alone has no folder below that of the run.
        folders = sorted(Path(folder).glob("stream-*")) or [Path(folder)]
        return [_summary(one) for one in folders]


def _run_into(folder: str, *flags: str) -> None:
    command = [sys.executable, "-m", "pipeline.run", *flags, "--view", "none", "--quiet"]
    run_command([*command, "--output", folder])


def run_command(command: Sequence[str]) -> str:
    """What a command prints.

    Raises:
        SystemExit: it failed; with what it said.
    """
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary
