"""How fast the whole program is on this machine: decode, find, follow, draw, write everything.

    python -m benchmarks.throughput [--source demo] [--repeat 3] [--device auto] [--json FILE]
                                    [--peer COMMAND]

Runs `pipeline.run` as a user would, each time in a process of its own, and prints what its
`summary.json` says. One run first, not counted, fills the cache of compiled networks. Numbers mean
something only when the machine does nothing else: the load average is printed beside them. What
each stage costs in CPU time is measured by `benchmarks.overlap`, where each runs alone.

Another program that finds and follows objects can take turns with it: a command whose last line is
JSON with `fps` and `cpu_s_frame` of the same source.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from benchmarks import measuring

RATE, CPU = "frames_per_s", "cpu_ms_per_frame"


def of_peer(command: str) -> dict[str, Any]:
    """Runs the other program; gives its rate and CPU time under our names."""
    told = json.loads(measuring.run_command(shlex.split(command)).splitlines()[-1])
    return {RATE: told["fps"], CPU: 1e3 * told["cpu_s_frame"]}


def print_spread(runs: list[dict[str, Any]]) -> None:
    """Print median and range of rate and CPU time."""
    for name, unit in ((RATE, "frames/s"), (CPU, "CPU-ms a frame")):
        values = [one[name] for one in runs]
        print(
            f"{unit:>16}: median {measuring.median(values):.1f}, "
            f"{min(values):.1f} to {max(values):.1f} in {len(values)} runs"
        )


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("throughput", __doc__)
    parser.add_argument("--source", default="demo")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer", metavar="COMMAND", help="another program, to take turns with")
    options = parser.parse_args()

    about = measuring.announce()
    flags = ["--source", options.source, "--device", options.device]
    flags += measuring.settings_flags(options.set)
    measures = {"runs": lambda: measuring.run_program(*flags, save_as="video,jsonl,mot,mots")[0]}
    if options.peer:
        measures["peer"] = lambda: of_peer(options.peer)
    measuring.in_turns(measures, 1)
    found = measuring.in_turns(measures, options.repeat)
    runs = found["runs"]
    best = max(runs, key=lambda one: one[RATE])
    print(f"{best['source']} {best['width']}x{best['height']}, {best['frames_read']} frames")
    print(best["detector"])
    print_spread(runs)
    print(f"{'ms a frame':>16} {'p50':>8} {'p95':>8} {'p99':>8}   (the fastest run)")
    for name, stage in {**best["stages_ms"], "end to end": best["latency_ms"]}.items():
        print(f"{name:>16} {stage['p50']:8.2f} {stage['p95']:8.2f} {stage['p99']:8.2f}")
    if options.peer:
        print(options.peer)
        print_spread(found["peer"])
        ours, theirs = (measuring.median([one[CPU] for one in each]) for each in found.values())
        print(f"CPU time, ours over theirs: {ours / theirs:.3f}")
    measuring.save(options.json, about | found)


if __name__ == "__main__":
    measuring.start(main)
