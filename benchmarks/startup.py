"""How long the first result takes: from the command to the first line, and what is imported.

    python -m benchmarks.startup [--source demo] [--repeat 5] [--json FILE]

Python alone, the imports alone and the whole command take turns, each in a process of its own.
One round first, not counted, fills the caches. CPU time is that of all threads.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import measuring

IMPORTS = "import pipeline.run"
SHOWN = 12
"""Imports listed, the longest first."""


def first_line(command: Sequence[str]) -> tuple[float, float]:
    """Seconds until a command wrote its first line or ended, and CPU seconds until its end."""
    before, began = _cpu_s(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, _cpu_s() - before


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def import_times() -> list[tuple[float, str]]:
    """Milliseconds that each package costs with all that it imports first, longest first."""
    command = [sys.executable, "-X", "importtime", "-c", IMPORTS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    rows = []
    for line in done.stderr.splitlines():
        _, total, name = line.removeprefix("import time:").split("|")
        if total.strip().isdigit():
            rows.append((int(total) / 1e3, name.rstrip()))
    return sorted(rows, reverse=True)


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("startup", __doc__)
    parser.add_argument("--source", default="demo")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    about = measuring.announce()
    program = ["-m", "pipeline.run", "--source", options.source, "--duration", "0.1", "--quiet"]
    program += ["--save", "jsonl:-", "--view", "none", *measuring.settings_flags(options.set)]
    commands = {"Python": ["-c", "pass"], "imports": ["-c", IMPORTS], "first result": program}
    measures: dict[str, Callable[[], tuple[float, float]]] = {
        name: lambda rest=rest: first_line([sys.executable, *rest])  # type: ignore[misc]
        for name, rest in commands.items()
    }
    measuring.in_turns(measures, 1)
    found = measuring.in_turns(measures, options.repeat)
    rows = {
        name: {
            "median_s": measuring.median([one for one, _ in pairs]),
            "least_s": min(one for one, _ in pairs),
            "cpu_s": measuring.median([cpu for _, cpu in pairs]),
        }
        for name, pairs in found.items()
    }
    print(f"{'seconds':>14} {'median':>8} {'least':>8} {'CPU':>8}")
    for name, row in rows.items():
        print(f"{name:>14} " + " ".join(f"{value:8.2f}" for value in row.values()))
    imports = import_times()
    print(f"imports, ms with what they import ({IMPORTS}):")
    for total_ms, name in imports[:SHOWN]:
        print(f"{total_ms:14.1f} {name}")
    measuring.save(options.json, about | {"seconds": rows, "imports_ms": imports[:100]})


if __name__ == "__main__":
    measuring.start(main)
