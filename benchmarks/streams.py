"""How many live streams this machine holds: a recording played at its own pace, n times at once.

    python -m benchmarks.streams [--source demo] [--seconds 10] [--most 16] [--json FILE]

`pipeline.run --source a --source b ...` with `source.live=true` and 1, 2, 3, ... streams, until one
does not hold its rate: more than a hundredth of its frames dropped, or one result in twenty older
than `AGE_MS`. With `detector.interval=auto`, the default here, every frame gets its result, and
fewer are looked at the more streams there are; with `--set detector.interval=1` every frame is.
"""

from __future__ import annotations

from typing import Any

from benchmarks import measuring

MOST_DROPPED = 0.01
AGE_MS = 200.0


def holds(summary: dict[str, Any]) -> bool:
    """Whether a stream kept up, by the summary of its run."""
    dropped = summary["frames_dropped"] / max(1, summary["frames_read"])
    return bool(dropped <= MOST_DROPPED and summary["latency_ms"]["p95"] <= AGE_MS)


def row(summaries: list[dict[str, Any]]) -> dict[str, float]:
    """What streams that ran at once did together."""
    read = sum(one["frames_read"] for one in summaries)
    return {
        "streams": len(summaries),
        "results_per_s": sum(one["frames_per_s"] for one in summaries),
        "dropped": sum(one["frames_dropped"] for one in summaries) / max(1, read),
        "looked_at": sum(one["frames_inferred"] for one in summaries) / max(1, read),
        "age_p50_ms": max(one["latency_ms"]["p50"] for one in summaries),
        "age_p95_ms": max(one["latency_ms"]["p95"] for one in summaries),
    }


def main() -> None:
    """Measure and print."""
    parser = measuring.arguments("streams", __doc__)
    parser.add_argument("--source", default="demo", help="a file, or lavfi:GRAPH")
    parser.add_argument("--seconds", type=float, default=10.0, help="most seconds of the source")
    parser.add_argument("--most", type=int, default=16, help="streams at which to end")
    options = parser.parse_args()

    about = measuring.announce()
    settings = ["source.live=true", "detector.interval=auto", *options.set]
    flags = [*measuring.settings_flags(settings), "--duration", str(options.seconds)]
    measuring.run_streams([options.source], *flags[:-1], "0.1")
    print(
        f"{'streams':>8} {'results/s':>10} {'dropped':>8} {'looked at':>10} {'age p50, p95 ms':>18}"
    )
    rows: list[dict[str, float]] = []
    held = 0
    while held == len(rows) < options.most:
        summaries = measuring.run_streams([options.source] * (len(rows) + 1), *flags)
        rows.append(row(summaries))
        held += all(map(holds, summaries))
        streams, rate, dropped, looked_at, *ages = rows[-1].values()
        print(
            f"{streams:8} {rate:10.1f} {dropped:8.1%} {looked_at:10.1%} "
            f"{ages[0]:9.1f}{ages[1]:9.1f}",
            flush=True,
        )
    print(f"streams that hold their rate: {held}")
    measuring.save(options.json, about | {"held": held, "rows": rows})


if __name__ == "__main__":
    measuring.start(main)
