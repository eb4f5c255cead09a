"""Latencies, counts, the progress line and the summary."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest

from pipeline.frames import Frame, VideoInfo
from pipeline.stats import Latencies, Progress, RunStats, as_dict
from tests.fakes import discs, tracks_of

IMAGE = np.zeros((20, 30, 3), np.uint8)
FILE = VideoInfo("clip", 30, 20, is_live=False, frame_count=10, duration_s=1.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def counted(frames: int, ids: tuple[int, ...] = (1, 2), info: VideoInfo = FILE) -> RunStats:
    stats = RunStats()
    stats.begin(info, "a script")
    for i in range(frames):
        stats.count(
            Frame(i, i / 10, IMAGE), tracks_of(discs((20, 30), [(5, 5)] * len(ids), 2), ids)
        )
    return stats


def test_percentiles_are_those_of_the_durations():
    durations = np.random.default_rng(0).lognormal(-5, 1, 5000)
    latencies = Latencies()
    for seconds in durations:
        latencies.add(float(seconds))
    for percent in (50, 95, 99):
        expected = 1e3 * np.percentile(durations, percent)
        assert latencies.percentile_ms(percent) == pytest.approx(expected, rel=0.02)
    assert latencies.summary()["mean"] == pytest.approx(1e3 * durations.mean(), rel=1e-3)


def test_latencies_do_not_grow_with_their_number():
    latencies = Latencies()
    for i in range(20_000):
        latencies.add(1e-7 * i)
    latencies.add(1e5)
    assert len(latencies._buckets) < 500


def test_no_durations_have_no_percentile():
    assert math.isnan(Latencies().percentile_ms(50))


def test_what_goes_on_after_the_end_does_not_count():
    stats = RunStats()
    stats.begin(FILE, "a script")
    assert 0 < stats.elapsed_s < stats.elapsed_s
    stats.finish()
    after_s = stats.elapsed_s
    assert stats.elapsed_s == after_s > 0


def test_counts_frames_drops_and_different_tracks():
    stats = RunStats()
    stats.begin(FILE, "a script")
    for index, dropped, ids in ((0, 0, [1]), (4, 3, [1, 9]), (5, 0, [9, 5000])):
        masks = discs((20, 30), [(5, 5)] * len(ids), 2)
        stats.count(Frame(index, index / 10, IMAGE, dropped_before=dropped), tracks_of(masks, ids))
    stats.add("infer", 0.1)
    summary = stats.summary()
    assert (summary.frames_read, summary.frames_inferred, summary.frames_dropped) == (6, 1, 3)
    assert summary.tracks == 3
    assert summary.source_s == 0.5
    assert summary.ended == "done"


def test_summary_is_json_even_of_nothing():
    record = json.loads(
        json.dumps(
            as_dict(
                RunStats().summary(ValueError("no")),
            ),
            allow_nan=False,
        )
    )
    assert record["ended"] == "failed"
    assert record["error"] == "no"
    assert record["latency_ms"]["p50"] is None


def test_summary_lines_name_stages_and_outputs():
    stats = counted(5)
    stats.outputs["jsonl"] = "runs/clip-1/tracks.jsonl"
    with stats.stage("track"):
        pass
    text = "\n".join(stats.summary().lines())
    assert "5 frames read, 0 inferred, 0 dropped, 0 written; 2 tracks" in text
    assert "runs/clip-1/tracks.jsonl" in text
    assert "track" in text


@pytest.mark.parametrize(
    ("info", "share"),
    [
        (FILE, " (50%, "),
        (VideoInfo("clip", 30, 20, is_live=False, duration_s=0.8), " (50%, "),
        (VideoInfo("camera", 30, 20, is_live=True, duration_s=0.8), "5 frames, "),
    ],
)
def test_progress_tells_the_share_of_a_file(info: VideoInfo, share: str):
    terminal = Terminal()
    stats = counted(5, info=info)
    progress = Progress(stats, terminal)
    progress._shown_s -= 10
    progress.update()
    assert share in terminal.getvalue()
    assert "2 objects" in terminal.getvalue()
    assert terminal.getvalue().startswith("\r")


def test_progress_is_sparse_in_a_log_and_silent_on_request():
    log = io.StringIO()
    stats = counted(5)
    progress = Progress(stats, log)
    for _ in range(100):
        progress.update()
    assert log.getvalue() == ""
    progress._shown_s -= 10
    progress.update()
    progress.close()
    assert log.getvalue().count("\n") == 1
    assert "\r" not in log.getvalue()
    Progress(stats, None).update()


def test_progress_goes_silent_when_nobody_reads():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress = Progress(counted(3), Gone())
    progress._every_s = 0.0
    progress.update()
    progress.update()
    progress.close()
