"""How fast the whole program is on this machine: decode, find, follow, draw, write everything.

    python -m benchmarks.throughput [--source demo] [--repeat 3] [--device auto] [--json FILE]

Runs `pipeline.run` as a user would, each time in a process of its own, and prints what its
`summary.json` says. One run first, not counted, fills the cache of compiled networks. Numbers mean
something only when the machine does nothing else: the load average is printed beside them. What
each stage costs in CPU time is measured by `benchmarks.overlap`, where each runs alone.
"""

from __future__ import annotations

from benchmarks import measuring


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("throughput", __doc__)
    parser.add_argument("--source", default="demo")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    about = measuring.announce()
    flags = ["--source", options.source, "--device", options.device]
    flags += measuring.settings_flags(options.set)
    runs = [
        measuring.run_program(*flags, save_as="video,jsonl,mot,mots")[0]
        for _ in range(options.repeat + 1)
    ][1:]
    best = max(runs, key=lambda one: one["frames_per_s"])
    print(f"{best['source']} {best['width']}x{best['height']}, {best['frames_read']} frames")
    print(best["detector"])
    for name, unit in (("frames_per_s", "frames/s"), ("cpu_ms_per_frame", "CPU-ms a frame")):
        values = [one[name] for one in runs]
        print(
            f"{unit:>16}: median {measuring.median(values):.1f}, "
            f"{min(values):.1f} to {max(values):.1f} in {len(values)} runs"
        )
    print(f"{'ms a frame':>16} {'p50':>8} {'p95':>8} {'p99':>8}   (the fastest run)")
    for name, stage in {**best["stages_ms"], "end to end": best["latency_ms"]}.items():
        print(f"{name:>16} {stage['p50']:8.2f} {stage['p95']:8.2f} {stage['p99']:8.2f}")
    measuring.save(options.json, about | {"runs": runs})


if __name__ == "__main__":
    main()
