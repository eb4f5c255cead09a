"""What a sink is, and the thread it runs on."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.channel import Channel, Closed
from pipeline.frames import Frame, VideoInfo
from pipeline.render import RenderConfig, Renderer
from pipeline.sinks.config import OutputConfig
from pipeline.stats import RunStats
from trackers.tracks import Tracks

FLUSH_S = 0.5
"""No result waits longer than this in memory."""

_WAITING = 4
"""Results that may wait for a sink before the run waits for it."""


State = dict[str, Any]
"""What an output needs to go on from where it is, as JSON can hold it."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Result:
    """All there is to know of one frame."""

    frame: Frame
    tracks: Tracks

    latency_ms: float
    """From the decoder until the tracks were known."""

    image: NDArray[np.uint8] | None = None
    """`(H, W, 3)` uint8 RGB with the tracks drawn, for sinks that show pictures."""


@dataclasses.dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink may know of its run."""

    info: VideoInfo
    output: OutputConfig
    render: RenderConfig
    stats: RunStats

    stop: Callable[[], None]
    """Ends the run as at the end of the source; from any thread."""

    file: str | None = None
    """The file on this machine that the pictures are of, if it is one: its whole path."""

    state: State | None = None
    """What this sink's `mark` gave where the run goes on from; None in a new run."""

    leftovers: list[Path] = dataclasses.field(default_factory=list)
    """Files that only a continued run needs: they go once all outputs are closed at the end."""


class Taker(Protocol):
    """Takes results, in order."""

    def write(self, result: Result) -> None:
        """Take one result.

        Raises:
            SinkError: it cannot be written.
        """


class Sink(Taker, Protocol):
    """Writes results somewhere. Used by one thread."""

    def flush(self) -> None:
        """Nothing has come for a while: hand on what is kept in memory."""

    def mark(self) -> State:
        """What a continued run needs to go on from here.

        Later output depends on earlier results through this state only. By the next `mark`, or
        after `close`, all that was written before is on disk.
        """

    def close(self) -> None:
        """No more results come. What was written stays readable, whatever happened before."""


Factory = Callable[[Path | None, SinkContext], Sink]
"""Opens a sink that writes to a file, or to standard output for None."""


class Receipts:
    """Tells when every output was handed a frame, and what writing it took in all.

    Args:
        outputs: how many there are.
        stats: where it is counted.
    """

    def __init__(self, outputs: int, stats: RunStats) -> None:
        self._outputs = outputs
        self._stats = stats
        self._lock = threading.Lock()
        self._open: dict[int, tuple[int, float]] = {}

    def sign(self, frame_index: int, seconds: float) -> None:
        """One output was handed the frame; writing it took `seconds`."""
        with self._lock:
            count, total = self._open.pop(frame_index, (0, 0.0))
            count, total = count + 1, total + seconds
            if count < self._outputs:
                self._open[frame_index] = count, total
            else:
                self._stats.count_written(total)


class Drawing:
    """Adds the picture to each result; to be given every one, in order.

    Args:
        config: how to draw.
        stats: counts what it takes.
        state: go on from there.
    """

    def __init__(self, config: RenderConfig, stats: RunStats, state: State | None = None) -> None:
        self._renderer = Renderer(config)
        self._stats = stats
        if state is not None:
            self._renderer.restore(state["past"])

    def __call__(self, result: Result) -> Result:
        with self._stats.stage("draw"):
            image = self._renderer.render(result.frame, result.tracks)
        return dataclasses.replace(result, image=image)

    def skip(self, result: Result) -> None:
        """Draw nothing of this one."""
        self._renderer.note(result.frame.time_s, result.tracks)

    def mark(self) -> State:
        """What later pictures need of earlier ones."""
        return {"past": self._renderer.state()}


class Signatures:
    """Collects the states of all outputs at one frame.

    Args:
        outputs: how many there are.
        complete: gets the states, in the order of the outputs, from the thread of the last one.
    """

    def __init__(self, outputs: int, complete: Callable[[list[State]], None]) -> None:
        self._states: list[State | None] = [None] * outputs
        self._complete = complete
        self._lock = threading.Lock()

    def sign(self, number: int, state: State) -> None:
        """Output `number` gives its state."""
        with self._lock:
            self._states[number] = state
            states = [state for state in self._states if state is not None]
        if len(states) == len(self._states):
            self._complete(states)


class Writer:
    """Runs a sink on a thread of its own, a few results behind.

    An error of the sink is raised by the `write` or the `close` that follows it.

    Args:
        name: for the thread.
        sink: closed by that thread.
        receipts: signed for each frame; None for a view, which keeps nothing.
        draw: makes the picture of a result, where the sink wants one.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        receipts: Receipts | None = None,
        draw: Drawing | None = None,
    ) -> None:
        self._sink = sink
        self._receipts = receipts
        self._draw = draw
        self._error: BaseException | None = None
        self._channel: Channel[Result | Callable[[State], None]] = Channel(_WAITING)
        self._thread = threading.Thread(target=self._run, name=f"write {name}", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Hand a result over; waits where too many wait already."""
        self._put(result)

    def mark(self, sign: Callable[[State], None]) -> None:
        """After what was handed over until now, call `sign` with the state; see `Sink.mark`."""
        self._put(sign)

    def _put(self, what: Result | Callable[[State], None]) -> None:
        with contextlib.suppress(Closed):
            self._channel.put(what)
            return
        self.close()
        raise Closed("this output was closed")

    def close(self) -> None:
        """Wait until all is written and the sink is closed."""
        self._channel.close()
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._write_all()
        except BaseException as error:
            self._error = error
        finally:
            # First of all free the run, which may wait for room.
            self._channel.cancel()
            try:
                self._sink.close()
            except BaseException as error:
                self._error = self._error or error

    def _write_all(self) -> None:
        while True:
            try:
                result = self._channel.get(timeout_s=FLUSH_S)
            except TimeoutError:
                self._sink.flush()
                continue
            except Closed:
                return
            if not isinstance(result, Result):
                drawn = self._draw.mark() if self._draw is not None else {}
                result(self._sink.mark() | drawn)
                continue
            if self._draw is not None:
                result = self._draw(result)
            began = time.perf_counter()
            self._sink.write(result)
            if self._receipts is not None:
                self._receipts.sign(result.frame.index, time.perf_counter() - began)
