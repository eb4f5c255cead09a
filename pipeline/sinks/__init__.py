"""Where results go: files, standard output, a window, a browser.

    with open_sinks(outputs, context, view) as sinks:   every output on a thread of its own:
        sinks.write(frame, tracks)                      ──▶ Channel ──▶ draw ──▶ sink
                                                        ──▶ Channel ──▶ sink

A sink that fails ends the run: its error comes out of the next `write`, or at the end. The other
sinks are closed as at a normal end, and all that was written stays readable.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.frames import Frame
from pipeline.sinks.base import (
    Drawing,
    Factory,
    Receipts,
    Result,
    Signatures,
    Sink,
    SinkContext,
    State,
    Taker,
    Writer,
)
from pipeline.sinks.coco import CocoSink
from pipeline.sinks.config import FORMATS, SETTINGS, SUMMARY, OutputConfig, Outputs, prepare, split
from pipeline.sinks.cutouts import CutoutSink
from pipeline.sinks.lines import (
    CSV_HEADER,
    LinesSink,
    csv_rows,
    jsonl_lines,
    mot_rows,
    mots_rows,
)
from pipeline.sinks.video import VideoSink
from pipeline.sinks.web import WebSink
from pipeline.sinks.window import Window, open_window
from pipeline.stats import RunStats
from trackers.tracks import Tracks

__all__ = [
    "FORMATS",
    "SETTINGS",
    "SINKS",
    "SUMMARY",
    "OutputConfig",
    "Outputs",
    "Result",
    "Sink",
    "SinkContext",
    "Sinks",
    "State",
    "open_sinks",
    "open_view",
    "prepare",
    "split",
]


def _jsonl(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, jsonl_lines, state=context.state)


def _mot(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, mot_rows, state=context.state)


def _mots(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, mots_rows, state=context.state)


def _csv(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, csv_rows, CSV_HEADER, context.state)


def _parquet(target: Path | None, context: SinkContext) -> Sink:
    # Only here: pyarrow is an extra, and takes a while to load.
    from pipeline.sinks.parquet import ParquetSink

    return ParquetSink(target, context)


SINKS: dict[str, Factory] = {
    "video": VideoSink,
    "jsonl": _jsonl,
    "mot": _mot,
    "mots": _mots,
    "csv": _csv,
    "coco": CocoSink,
    "parquet": _parquet,
    "cutouts": CutoutSink,
}
"""How each output of `FORMATS` is opened."""

_DRAWN = frozenset({"video"})
"""Outputs that want pictures."""


class Sinks:
    """Hands each result to every sink.

    Args:
        outputs: what is kept.
        view: what is only shown.
        stats: counts the results.
    """

    def __init__(self, outputs: Sequence[Writer], view: Taker | None, stats: RunStats) -> None:
        self._outputs = outputs
        self._sinks: list[Taker] = [*outputs] if view is None else [*outputs, view]
        self._stats = stats

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take the tracks of a frame; waits where a sink is behind.

        Raises:
            SinkError: a sink failed, now or some frames ago.
        """
        result = Result(frame, tracks, self._stats.count(frame, tracks))
        for sink in self._sinks:
            sink.write(result)

    def mark(self, complete: Callable[[list[State]], None]) -> None:
        """Call `complete` with the state of each output after what was written until now.

        Raises:
            SinkError: a sink failed.
        """
        signatures = Signatures(len(self._outputs), complete)
        for number, output in enumerate(self._outputs):
            output.mark(functools.partial(signatures.sign, number))


@contextmanager
def open_sinks(
    outputs: Outputs,
    context: SinkContext,
    view: Taker | None = None,
    states: Sequence[State] | None = None,
) -> Iterator[Sinks]:
    """Open the outputs of a run; closed, they hold every frame.

    Args:
        outputs: what to write where.
        context: of the run.
        view: of `open_view`, which gets the results, too.
        states: of each output, where the run goes on from; None for a new run.

    Raises:
        SinkError: one cannot be opened, written or closed.
    """
    receipts = Receipts(len(outputs.files), context.stats)
    names = [name for name, _ in outputs.files]
    with ExitStack() as stack:
        writers: list[Writer] = []
        for number, (name, target) in enumerate(outputs.files):
            state = states[number] if states else None
            sink = SINKS[name](target, dataclasses.replace(context, state=state))
            draw = Drawing(context.render, context.stats, state) if name in _DRAWN else None
            writer = Writer(name, sink, receipts, draw)
            stack.callback(writer.close)
            writers.append(writer)
            count = names[: number + 1].count(name)
            key = name if count == 1 else f"{name}-{count}"
            context.stats.outputs[key] = "standard output" if target is None else str(target)
        yield Sinks(writers, view, context.stats)


@contextmanager
def open_view(context: SinkContext) -> Iterator[Taker | None]:
    """What `output.view` asks for; None shows nothing.

    Raises:
        SinkError: there is no display, or the port is taken.
    """
    if context.output.view == "web":
        view: Window | Writer | None = Writer("web", WebSink(context))
    else:
        view = open_window(context)
    with ExitStack() as stack:
        if view is not None:
            stack.callback(view.close)
        yield view
