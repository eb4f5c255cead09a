"""Keeps a detector busy on its own threads, and gives results in the order of the frames.

Not every frame must be looked at: `interval` leaves out some, or as many as it takes to hold the
rate of a live source. Those come without detections, in their place.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.channel import Channel
from pipeline.detector import Detector, Interval
from pipeline.errors import InferenceError, PipelineError
from pipeline.frames import Frame
from trackers.detections import Detections

Pending = tuple[Frame, "Future[Detections] | None"]

MOST_WAITING = 16
"""With interval `auto`, most frames that wait for the detector's answer to an earlier one."""

MOST_BETWEEN = 64
"""With a long interval, most frames that wait here; fewer are then looked at beside each other."""


def detect_async(
    detector: Detector, frames: Iterable[Frame], interval: Interval = 1
) -> Generator[tuple[Frame, Detections | None], None, None]:
    """Detect on `detector.concurrency` threads while the consumer works on earlier results.

    A frame is taken from `frames` only when it can be worked on soon, so that of a live source the
    newest is seen: at most `concurrency` + 1 frames that are looked at are between `frames` and
    the consumer, each with the `interval` - 1 frames after it, in all at most `MOST_BETWEEN`.

    With interval `auto`, for sources that do not wait, every frame is taken as it comes, and looked
    at where fewer than `concurrency` others are between here and the consumer. So a detector that
    is slow, or shares its cores with a consumer that is, sees fewer frames and holds up none.

    Args:
        detector: its `detect` is called from `concurrency` threads.
        frames: read on a thread of this function.
        interval: look at every n-th frame, or `auto`.

    Yields:
        Each frame with its detections, in the order of `frames`; None where nobody looked.

    Raises:
        InferenceError: the detector failed; its own error is the cause.
        BaseException: whatever `frames` raised, after the results of all earlier frames.
    """
    places = detector.concurrency + (interval != "auto")
    waiting = MOST_WAITING if interval == "auto" else min(places * interval, MOST_BETWEEN)
    pending: Channel[Pending] = Channel(max(places, waiting))
    free = threading.Semaphore(places)
    left = threading.Event()
    with ThreadPoolExecutor(detector.concurrency, thread_name_prefix="detect") as pool:

        def feed() -> None:
            error: BaseException | None = None
            try:
                for frame, look in _chosen(frames, interval, free):
                    pending.put((frame, pool.submit(detector.detect, frame) if look else None))
            except BaseException as failure:
                error = None if left.is_set() else failure
            pending.close(error)

        threading.Thread(target=feed, name="feed", daemon=True).start()
        try:
            for frame, future in pending:
                detections = None
                if future is not None:
                    detections = _result(frame, future)
                    free.release()
                yield frame, detections
        finally:
            left.set()
            pending.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            free.release()


def _chosen(
    frames: Iterable[Frame], interval: Interval, free: threading.Semaphore
) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether to look at it, which takes a place of `free`."""
    if interval == "auto":
        for frame in frames:
            yield frame, free.acquire(blocking=False)
        return
    iterator = iter(frames)
    for number in itertools.count():
        look = number % interval == 0
        if look:
            free.acquire()  # before the frame is fetched: the newest is wanted
        try:
            yield next(iterator), look
        except StopIteration:
            return


def _result(frame: Frame, future: Future[Detections]) -> Detections:
    try:
        found = future.result()
        if not isinstance(found, Detections):
            raise TypeError(f"it gave {type(found).__name__}, expected Detections")
        return found
    except PipelineError:
        raise
    except Exception as error:
        raise InferenceError(
            f"the detector failed on frame {frame.index} ({frame.width}x{frame.height}): {error}"
        ) from error
