"""Detection on several threads: order, bounds, errors, ends. The live path: newest wins."""

import threading
import time

import numpy as np
import pytest

from pipeline.channel import Channel, Policy
from pipeline.errors import InferenceError, SourceBroken
from pipeline.frames import Frame
from pipeline.inference import detect_async
from tests.fakes import ScriptedDetector
from trackers.detections import Detections


def frame(index):
    return Frame(index, index / 25, np.zeros((8, 8, 3), np.uint8))


def frames(count):
    return (frame(i) for i in range(count))


def detector(before=None, concurrency=1):
    return ScriptedDetector(lambda _: Detections.empty((8, 8)), before, concurrency)


def drain(results, seen):
    for given, _ in results:
        seen.append(given.index)


@pytest.mark.parametrize("concurrency", [1, 2, 4])
def test_results_come_in_the_order_of_frames(concurrency):
    slow_evens = detector(lambda f: time.sleep(0.01 * (f.index % 2 == 0)), concurrency)
    given = [f.index for f, _ in detect_async(slow_evens, frames(20))]
    assert given == list(range(20))


def test_so_many_threads_work_at_a_time():
    together = threading.Barrier(3, timeout=10)
    busy = detector(lambda _: together.wait() and None, concurrency=3)
    assert len(list(detect_async(busy, frames(9)))) == 9


def test_frames_are_not_fetched_ahead_of_the_consumer():
    fetched = []

    def watched():
        for f in frames(50):
            fetched.append(f.index)
            yield f

    results = detect_async(detector(concurrency=2), watched())
    next(results)
    time.sleep(0.1)
    assert len(fetched) <= 1 + 3  # one given, three places
    results.close()


def test_a_failing_detector_is_an_error_with_its_cause():
    def fail(f):
        if f.index == 3:
            raise ZeroDivisionError("no luck")

    seen: list[int] = []
    with pytest.raises(InferenceError, match="frame 3 .*no luck") as caught:
        seen.extend(f.index for f, _ in detect_async(detector(fail, 2), frames(10)))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_results_before_a_failure_are_given_first():
    def fail(f):
        if f.index == 3:
            raise ValueError("no luck")

    seen: list[int] = []
    with pytest.raises(InferenceError):
        drain(detect_async(detector(fail, 2), frames(10)), seen)
    assert seen == [0, 1, 2]


def test_a_broken_source_is_raised_after_the_results_of_its_frames():
    def breaking():
        yield from frames(4)
        raise SourceBroken("cable out")

    seen: list[int] = []
    with pytest.raises(SourceBroken, match="cable out"):
        drain(detect_async(detector(concurrency=2), breaking()), seen)
    assert seen == [0, 1, 2, 3]


def test_a_consumer_that_leaves_frees_everybody():
    before = threading.active_count()
    results = detect_async(detector(lambda _: time.sleep(0.01), 2), frames(10_000))
    next(results)
    results.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_live_frames_are_the_newest_when_the_detector_is_slow():
    mailbox: Channel[Frame] = Channel(1, Policy.LATEST)

    def film():
        for f in frames(60):
            mailbox.put(f)
            time.sleep(0.002)
        mailbox.close()

    threading.Thread(target=film, daemon=True).start()
    seen = [f.index for f, _ in detect_async(detector(lambda _: time.sleep(0.02)), mailbox)]
    assert seen == sorted(set(seen))
    assert seen[-1] == 59
    assert len(seen) < 40
    assert mailbox.statistics().dropped == 60 - len(seen)
