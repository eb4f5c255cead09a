"""Streams at once, and another program's turn: what the benchmarks make of what they are told."""

import json
import shlex
import sys

import pytest

from benchmarks import measuring, streams, throughput


def summary(read=100, dropped=0, inferred=50, p95=30.0):
    return {
        "frames_read": read,
        "frames_dropped": dropped,
        "frames_inferred": inferred,
        "frames_per_s": 25.0,
        "latency_ms": {"p50": 20.0, "p95": p95},
    }


@pytest.mark.parametrize(
    ("given", "kept_up"),
    [
        (summary(), True),
        (summary(dropped=1), True),
        (summary(dropped=2), False),
        (summary(p95=streams.AGE_MS + 1), False),
    ],
)
def test_a_stream_holds_that_drops_little_and_is_not_late(given, kept_up):
    assert streams.holds(given) is kept_up


def test_a_row_is_of_all_streams():
    row = streams.row([summary(), summary(read=300, dropped=20, inferred=100, p95=80.0)])
    assert (row["streams"], row["results_per_s"], row["age_p95_ms"]) == (2, 50.0, 80.0)
    assert (row["dropped"], row["looked_at"]) == (0.05, 0.375)


def test_the_other_program_says_its_rate_in_its_last_line():
    told = json.dumps({"fps": 12.5, "cpu_s_frame": 0.045, "clips": []})
    code = f"print('loading'); print({told!r})"
    command = shlex.join([sys.executable, "-c", code])
    assert throughput.of_peer(command) == {throughput.RATE: 12.5, throughput.CPU: 45.0}
    with pytest.raises(SystemExit, match="boom"):
        measuring.run_command([sys.executable, "-c", "raise SystemExit('boom')"])
