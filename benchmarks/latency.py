"""How old results are when frames cannot wait: a file played at its own pace, like a camera.

    python -m benchmarks.latency [--source demo] [--seconds 60] [--set detector.interval=auto]

`pipeline.run` with `source.live=true`, after a short run that fills the caches. The age of a
result is the time from the decoder to the finished tracks. The last column tells whether it grows:
the median age in the last fifth of the run, over that in the first fifth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import measuring


def ages(lines: list[dict[str, Any]]) -> dict[str, float]:
    """p50, p95, p99 and the largest age of the results in ms, and by what it grew."""
    age_ms = np.array([line["latency_ms"] for line in lines])
    fifth = max(1, len(age_ms) // 5)
    p50, p95, p99 = np.percentile(age_ms, (50, 95, 99)).tolist()
    grown = np.median(age_ms[-fifth:]) / max(float(np.median(age_ms[:fifth])), 1e-3)
    return {"p50": p50, "p95": p95, "p99": p99, "most": float(age_ms.max()), "grown": float(grown)}


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("latency", __doc__)
    parser.add_argument("--source", default="demo", help="a file, or lavfi:GRAPH")
    parser.add_argument("--seconds", type=float, default=60.0, help="most seconds of the source")
    parser.add_argument("--save", default="jsonl,video", help="outputs, jsonl among them")
    options = parser.parse_args()

    about = measuring.announce()
    settings = [f"source.source={options.source}", "source.live=true", *options.set]
    flags = list(measuring.settings_flags(settings))
    measuring.run_program(*flags, "--duration", "0.1")
    summary, lines = measuring.run_program(
        *flags, "--duration", str(options.seconds), save_as=options.save
    )
    age = ages(lines)
    read, dropped = summary["frames_read"], summary["frames_dropped"]
    print(f"{summary['source']} {summary['width']}x{summary['height']}, {summary['detector']}")
    print(
        f"{read} frames in {summary['source_s']:.1f} s: {dropped} dropped "
        f"({dropped / max(1, read):.1%}), {summary['frames_inferred']} looked at, "
        f"{summary['frames_per_s']:.1f} results/s"
    )
    print(f"{'age in ms':>10}" + "".join(f"{name:>9}" for name in age))
    print(f"{'':>10}" + "".join(f"{value:9.1f}" for value in age.values()))
    measuring.save(options.json, about | {"age_ms": age, "summary": summary})


if __name__ == "__main__":
    measuring.start(main)
