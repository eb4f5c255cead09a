"""Keeps a detector busy on its own threads, and gives results in the order of the frames."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.channel import Channel
from pipeline.detector import Detector
from pipeline.errors import InferenceError, PipelineError
from pipeline.frames import Frame
from trackers.detections import Detections

Pending = tuple[Frame, "Future[Detections]"]


def detect_async(
    detector: Detector, frames: Iterable[Frame]
) -> Generator[tuple[Frame, Detections], None, None]:
    """Detect on `detector.concurrency` threads while the consumer works on earlier results.

    A frame is taken from `frames` only when it can be worked on soon, so that of a live source the
    newest is seen: at most `concurrency` + 1 frames are between `frames` and the consumer.

    Args:
        detector: its `detect` is called from `concurrency` threads.
        frames: read on a thread of this function.

    Yields:
        Each frame with its detections, in the order of `frames`.

    Raises:
        InferenceError: the detector failed; its own error is the cause.
        BaseException: whatever `frames` raised, after the results of all earlier frames.
    """
    places = detector.concurrency + 1
    pending: Channel[Pending] = Channel(capacity=places)
    free = threading.Semaphore(places)
    left = threading.Event()
    with ThreadPoolExecutor(detector.concurrency, thread_name_prefix="detect") as pool:

        def feed() -> None:
            error: BaseException | None = None
            try:
                for frame in _when(free, frames):
                    pending.put((frame, pool.submit(detector.detect, frame)))
            except BaseException as failure:
                error = None if left.is_set() else failure
            pending.close(error)

        threading.Thread(target=feed, name="feed", daemon=True).start()
        try:
            for frame, future in pending:
                detections = _result(frame, future)
                free.release()
                yield frame, detections
        finally:
            left.set()
            pending.cancel()
            pool.shutdown(wait=False, cancel_futures=True)
            free.release()


def _when(free: threading.Semaphore, frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames, each fetched only after a place is free for it."""
    iterator = iter(frames)
    while True:
        free.acquire()
        try:
            yield next(iterator)
        except StopIteration:
            return


def _result(frame: Frame, future: Future[Detections]) -> Detections:
    try:
        return future.result()
    except PipelineError:
        raise
    except Exception as error:
        raise InferenceError(
            f"the detector failed on frame {frame.index} ({frame.width}x{frame.height}): {error}"
        ) from error
