"""Where results go: files, standard output, a window, a browser.

    with open_sinks(outputs, context) as sinks:         every output on a thread of its own:
        sinks.write(frame, tracks)                      ──▶ Channel ──▶ draw ──▶ sink
                                                        ──▶ Channel ──▶ sink

A sink that fails ends the run: its error comes out of the next `write`, or at the end. The other
sinks are closed as at a normal end, and all that was written stays readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.frames import Frame
from pipeline.sinks.base import (
    Factory,
    Receipts,
    Result,
    Sink,
    SinkContext,
    Taker,
    Writer,
    drawing,
)
from pipeline.sinks.coco import CocoSink
from pipeline.sinks.config import FORMATS, OutputConfig, Outputs, prepare
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
    "SINKS",
    "OutputConfig",
    "Outputs",
    "Result",
    "Sink",
    "SinkContext",
    "Sinks",
    "open_sinks",
    "prepare",
]


def _jsonl(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, jsonl_lines)


def _mot(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, mot_rows)


def _mots(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, mots_rows)


def _csv(target: Path | None, context: SinkContext) -> Sink:
    return LinesSink(target, csv_rows, CSV_HEADER)


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
        sinks: in any order.
        stats: counts the results.
    """

    def __init__(self, sinks: Sequence[Taker], stats: RunStats) -> None:
        self._sinks = sinks
        self._stats = stats

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Take the tracks of a frame; waits where a sink is behind.

        Raises:
            SinkError: a sink failed, now or some frames ago.
        """
        result = Result(frame, tracks, self._stats.count(frame, tracks))
        for sink in self._sinks:
            sink.write(result)


@contextmanager
def open_sinks(outputs: Outputs, context: SinkContext) -> Iterator[Sinks]:
    """Open the outputs of a run and its view; closed, they hold every frame.

    Raises:
        SinkError: one cannot be opened, written or closed.
    """
    receipts = Receipts(len(outputs.files), context.stats)
    with ExitStack() as stack:
        sinks: list[Taker] = []
        for name, target in outputs.files:
            sink = SINKS[name](target, context)
            draw = drawing(context.render, context.stats) if name in _DRAWN else None
            writer = Writer(name, sink, receipts, draw)
            stack.callback(writer.close)
            sinks.append(writer)
            context.stats.outputs[name] = "standard output" if target is None else str(target)
        view = _open_view(context)
        if view is not None:
            stack.callback(view.close)
            sinks.append(view)
        yield Sinks(sinks, context.stats)


def _open_view(context: SinkContext) -> Window | Writer | None:
    """What `output.view` asks for."""
    if context.output.view == "web":
        return Writer("web", WebSink(context), None, drawing(context.render, context.stats))
    return open_window(context)
