"""Detection on several threads: order, bounds, errors, ends. The live path: newest wins."""

import threading
import time

import numpy as np
import pytest

from pipeline.channel import Channel, Policy
from pipeline.errors import InferenceError, SourceBroken
from pipeline.frames import Frame
from pipeline.inference import MOST_BETWEEN, MOST_WAITING, detect_async
from tests.fakes import ScriptedDetector
from trackers.detections import Detections


def frame(index):
    return Frame(index, index / 25, np.zeros((8, 8, 3), np.uint8))


def frames(count):
    return (frame(i) for i in range(count))


def watched(count, fetched):
    """Frames that note in `fetched` when somebody takes them."""
    for f in frames(count):
        fetched.append(f.index)
        yield f


def detector(before=None, concurrency=1):
    return ScriptedDetector(lambda _: Detections.empty((8, 8)), before, concurrency)


def drain(results, seen):
    for given, _ in results:
        seen.append(given.index)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
    fetched: list[int] = []

    results = detect_async(detector(concurrency=2), watched(50, fetched))
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


def test_a_detector_that_gives_nothing_is_an_error(monkeypatch):
    forgetful = detector(concurrency=1)
    monkeypatch.setattr(forgetful, "detect", lambda frame: None)
    with pytest.raises(InferenceError, match="frame 0 .*gave NoneType, expected Detections"):
        list(detect_async(forgetful, frames(3)))


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
    wait_until(lambda: threading.active_count() <= before)


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


# Frames that are left out.


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("interval", [2, 5])
def test_every_nth_frame_is_looked_at(concurrency, interval):
    slow = detector(lambda _: time.sleep(0.005), concurrency)
    results = list(detect_async(slow, frames(17), interval))
    assert [f.index for f, _ in results] == list(range(17))
    looked = [f.index for f, detections in results if detections is not None]
    assert looked == list(range(0, 17, interval))
    assert slow.calls == len(looked)


def test_the_detector_works_ahead_though_frames_are_left_out():
    fetched: list[int] = []

    results = detect_async(detector(concurrency=2), watched(50, fetched), 4)
    next(results)
    wait_until(lambda: len(fetched) >= 12)
    time.sleep(0.05)
    assert len(fetched) <= 16  # one given, three places, each with three more
    results.close()


def test_a_long_interval_keeps_no_more_frames_waiting():
    fetched: list[int] = []

    results = detect_async(detector(concurrency=16), watched(2000, fetched), 100)
    next(results)
    wait_until(lambda: len(fetched) > MOST_BETWEEN)
    time.sleep(0.2)
    assert len(fetched) <= MOST_BETWEEN + 2  # one handed out, one in the hand of who fetches
    results.close()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_auto_leaves_out_frames_that_come_while_the_detector_is_busy(concurrency):
    all_came = threading.Event()

    def film():
        yield from frames(10)
        all_came.set()

    busy = detector(lambda _: all_came.wait(10), concurrency)
    results = list(detect_async(busy, film(), "auto"))
    assert [f.index for f, _ in results] == list(range(10))
    looked = [f.index for f, detections in results if detections is not None]
    assert looked == list(range(concurrency))


def test_auto_looks_at_every_frame_where_there_is_time():
    taken = threading.Semaphore(0)

    def film():
        for f in frames(20):
            yield f
            taken.acquire()

    for _, detections in detect_async(detector(), film(), "auto"):
        assert detections is not None
        taken.release()


def test_auto_leaves_a_slow_consumer_its_time():
    # A result that waits for the consumer holds its place: the detector is given no more.
    fetched: list[int] = []

    def film():
        for f in frames(10_000):
            fetched.append(f.index)
            yield f

    quick = detector()
    results = detect_async(quick, film(), "auto")
    next(results)
    wait_until(lambda: len(fetched) >= MOST_WAITING)
    time.sleep(0.05)
    assert quick.calls <= 2
    assert len(fetched) <= MOST_WAITING + 2  # one given, one that waits for room
    results.close()


def test_failures_are_raised_though_frames_are_left_out():
    def fail(f):
        if f.index == 4:
            raise ValueError("no luck")

    seen: list[int] = []
    with pytest.raises(InferenceError, match="frame 4"):
        drain(detect_async(detector(fail), frames(20), 2), seen)
    assert seen == [0, 1, 2, 3]


def test_a_consumer_that_leaves_frees_everybody_in_auto():
    before = threading.active_count()
    results = detect_async(detector(lambda _: time.sleep(0.01)), frames(10_000), "auto")
    next(results)
    results.close()
    wait_until(lambda: threading.active_count() <= before)
