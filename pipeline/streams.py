"""Several sources in one process: a run for each on a thread of its own, one detector for all.

Each stream keeps its own reader, tracker, identities and outputs. One that fails leaves the others
running.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Self

from configs import ConfigError
from pipeline.config import PipelineConfig
from pipeline.detector import Detector, DetectorConfig, Preparable
from pipeline.errors import Stopped
from pipeline.frames import Frame
from pipeline.sinks.config import LAST_PORT, split
from trackers.detections import Detections

log = logging.getLogger(__name__)

STREAM = "stream "
"""The threads' names, but for their numbers."""

LOOK_S = 0.1
"""How often the main thread looks around while streams run."""


def settings_of_each(config: PipelineConfig, sources: Sequence[str]) -> list[PipelineConfig]:
    """The settings of each of several streams: `config`, with a source and a folder of its own.

    Raises:
        ConfigError: what is asked for cannot be shared by streams.
    """
    output = config.output
    if any(split(entry)[1] is not None for entry in output.save or ()):
        raise ConfigError("output.save: several sources cannot share a file: give only formats")
    if output.view == "window":
        raise ConfigError("output.view: several sources cannot share a window: use web or none")
    if output.web_port + len(sources) - 1 > LAST_PORT:
        raise ConfigError(
            f"output.web_port: each of {len(sources)} sources has a port of its own, from "
            f"{output.web_port} on, but the last is {LAST_PORT}: choose a lower one"
        )
    if "" in sources:
        raise ConfigError("source.source should not be empty, and one of several is")
    return [
        dataclasses.replace(
            config,
            source=dataclasses.replace(config.source, source=source),
            output=dataclasses.replace(
                output,
                directory=output.directory and output.directory / f"stream-{number}",
                view="none" if output.view == "auto" else output.view,
                web_port=output.web_port and output.web_port + number - 1,
            ),
        )
        for number, source in enumerate(sources, 1)
    ]


class SharedDetectors:
    """Opens detectors as `open_detector` does, but each only once; closes them at its own end.

    All streams work on the threads that keep one detector busy, and take turns on them. On a GPU
    their frames are looked at together: those that wait, up to one of each stream.

    Args:
        open_detector: opens one.
        streams: how many share them.
    """

    def __init__(
        self, open_detector: Callable[[DetectorConfig], Detector], streams: int = 1
    ) -> None:
        self._open_detector, self._streams = open_detector, streams
        self._opened: dict[DetectorConfig, Detector] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def open(self, config: DetectorConfig) -> Detector:
        """The detector of these settings, to be used by any stream."""
        config = dataclasses.replace(config, batch=self._streams)
        with self._lock:
            if config not in self._opened:
                detector = self._stack.enter_context(self._open_detector(config))
                pool = ThreadPoolExecutor(detector.concurrency, thread_name_prefix="shared detect")
                self._stack.callback(pool.shutdown, cancel_futures=True)
                self._opened[config] = _Lent(detector, pool, self._streams)
            return self._opened[config]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Lent:
    """A detector that its user does not close, on threads that it shares."""

    def __init__(self, detector: Detector, pool: ThreadPoolExecutor, streams: int) -> None:
        self._detector, self._pool = detector, pool
        self.description = detector.description
        # Its share of the threads, but at least two: one works while the other's result is taken.
        self.concurrency = min(detector.concurrency, max(2, detector.concurrency // streams))

    def detect(self, frame: Frame) -> Detections:
        """What the detector sees, as soon as a thread is free for it."""
        return self._pool.submit(self._detector.detect, frame).result()

    def prepare(self, size: tuple[int, int]) -> None:
        """As the detector does, where it does."""
        if isinstance(self._detector, Preparable):
            self._pool.submit(self._detector.prepare, size).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def run_beside(
    runs: Sequence[Callable[[], object]], meanwhile: Callable[[], None]
) -> list[BaseException | None]:
    """Call each of `runs` on a thread of its own.

    Args:
        runs: one for each stream.
        meanwhile: called by this thread now and then.

    Returns:
        What each of them raised, once all have ended.
    """
    errors: list[BaseException | None] = [None] * len(runs)

    def call(number: int) -> None:
        try:
            runs[number]()
        except BaseException as error:
            errors[number] = error
            level = logging.INFO if isinstance(error, Stopped) else logging.ERROR
            log.log(level, "%s", error)

    threads = [
        threading.Thread(target=call, args=(i,), name=f"{STREAM}{i + 1}", daemon=True)
        for i in range(len(runs))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(LOOK_S)
            meanwhile()
    return errors
