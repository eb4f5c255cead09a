"""How fast the whole program is on this machine: decode, find, follow, draw, write everything.

    python -m benchmarks.throughput [--source demo] [--repeat 3] [--device auto] [--json FILE]

Runs `pipeline.run` as a user would, each time in a process of its own, and prints what its
`summary.json` says. One run first, not counted, fills the cache of compiled networks. Numbers mean
something only when the machine does nothing else: the load average is printed beside them.
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
from pathlib import Path
from typing import Any


def run_once(source: str, device: str, folder: Path) -> dict[str, Any]:
    """The summary of one run with all four outputs."""
    command = [sys.executable, "-m", "pipeline.run", "--source", source, "--device", device]
    command += ["--output", str(folder), "--save", "video,jsonl,mot,mots", "--view", "none"]
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"benchmarks.throughput: {done.stderr.strip()}")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def machine() -> str:
    """This machine in a few words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{model}, {os.cpu_count()} cores, load {load}, {today}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.throughput")
    parser.add_argument("--source", default="demo")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every summary here")
    arguments = parser.parse_args()

    print(machine())
    summaries = []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(arguments.repeat + 1):
            summary = run_once(arguments.source, arguments.device, Path(folder) / str(index))
            if index:
                summaries.append(summary)
    best = max(summaries, key=lambda one: one["frames_per_s"])
    print(f"{best['source']} {best['width']}x{best['height']}, {best['frames_read']} frames")
    print(best["detector"])
    for name, unit in (("frames_per_s", "frames/s"), ("cpu_ms_per_frame", "CPU-ms a frame")):
        values = [one[name] for one in summaries]
        print(
            f"{unit:>16}: median {statistics.median(values):.1f}, "
            f"{min(values):.1f} to {max(values):.1f} in {len(values)} runs"
        )
    print(f"{'ms a frame':>16} {'p50':>8} {'p95':>8} {'p99':>8}   (the fastest run)")
    for name, stage in {**best["stages_ms"], "end to end": best["latency_ms"]}.items():
        print(f"{name:>16} {stage['p50']:8.2f} {stage['p95']:8.2f} {stage['p99']:8.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(summaries, indent=1) + "\n")


if __name__ == "__main__":
    main()
