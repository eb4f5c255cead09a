"""Runs that are killed at random moments, for tests; one process after another, none for long.

    python -m tests.killed_runs COUNT DIR [arguments of pipeline.run]

Each run writes to a folder of its own, DIR/0 and so on, with a scripted detector that takes a
hundredth of a second, and gets SIGKILL up to a second after its first line is on the disk.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pipeline.run
from tests.fakes import ScriptedDetector


def child(folder: Path, arguments: list[str]) -> None:
    """The run: never comes back."""
    pipeline.run.open_detector = lambda config: ScriptedDetector(  # type: ignore[attr-defined]
        before=lambda frame: time.sleep(0.01)
    )
    os._exit(pipeline.run.main(["--output", str(folder), "--quiet", *arguments]))


def main() -> None:
    """Start and kill the runs."""
    count, folder, arguments = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    for number in range(count):
        run = os.fork()
        if run == 0:
            child(folder / str(number), arguments)
        lines = folder / str(number) / "tracks.jsonl"
        deadline = time.monotonic() + 60
        while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.random())
        os.kill(run, signal.SIGKILL)
        _, status = os.waitpid(run, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"run {number} ended by itself: {status}")


if __name__ == "__main__":
    main()
