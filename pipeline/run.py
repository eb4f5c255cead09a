"""Track every object of a video: the main flow.

    reader thread      inference thread(s)     main thread        writer threads
    source ─▶ Frame ──▶ detector ─▶ Detections ──▶ tracker ─▶ Tracks ──▶ draw ─▶ video
                                                                     ──▶ jsonl, mot, mots, ...

`run` is the whole of it. Everything asynchronous hides behind the two iterators: `read_frames`
decodes ahead, `detect_async` keeps the detector busy and gives results in the order of frames.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path

import configs
from pipeline import effects
from pipeline.arguments import parser, settings
from pipeline.config import PipelineConfig
from pipeline.console import say, speaking
from pipeline.detector import open_detector
from pipeline.errors import PipelineError, Stopped
from pipeline.frames import Frame, VideoInfo
from pipeline.inference import detect_async
from pipeline.record import record
from pipeline.region import open_in_region
from pipeline.resume import Place, frames_after, load_place, open_after, open_places
from pipeline.signals import handling, stopped_by_signals, stopping
from pipeline.sinks import Outputs, SinkContext, open_sinks, open_view
from pipeline.sources import described_cameras, file_of, list_cameras
from pipeline.stats import Progress, RunStats, RunSummary, TimedDetector, Totals
from pipeline.streams import SharedDetectors, run_beside, settings_of_each
from trackers.sort import SortTracker

log = logging.getLogger(__name__)

DONE, MISTAKE, BROKEN = 0, 2, 3
"""Exit codes: all done or stopped on request; the user's mistake; broken off in the middle."""


def run(
    config: PipelineConfig,
    stats: RunStats | None = None,
    progress: Progress | None = None,
    place: Place | None = None,
    detectors: SharedDetectors | None = None,
) -> RunSummary:
    """Track one source to its end, and write what the settings ask for.

    SIGINT and SIGTERM end the source early; everything is finished as at its end.

    Args:
        config: all settings.
        stats: counts while the run runs, for whoever wants to watch.
        progress: shown after each frame.
        place: where an earlier run of the same settings broke off, to be continued.
        detectors: where its detector is lent; None opens one for this run alone.

    Raises:
        PipelineError: something cannot be opened, or breaks off; what was written is readable.
    """
    stats = stats or RunStats()
    with (
        open_after(config.source, place, stats) as source,
        open_in_region(
            detectors.open if detectors else open_detector,
            config.detector.for_source(source.info),
            config.source.region,
            source.info,
        ) as detector,
        # Only now: what a live source shows while the network gets ready would be dropped.
        frames_after(source, place) as (reader, coming),
        stopping(reader.close, stats) as stop,
        # What an earlier run left stays as it is until this one has a picture, and a screen for it.
        nullcontext(begun(coming, stats)) as frames,
        nullcontext(context_of(config, source.info, stats, stop)) as context,
        open_view(context) as view,
        record(config, source.info, stats, is_new=place is None) as outputs,
        open_places(config, outputs, context, place) as places,
        open_sinks(outputs, context, view, places.states) as sinks,
    ):
        tracker = SortTracker(config.tracker)
        places.go_on(tracker)
        log.info("%s", announcement(source.info, detector.description, outputs))
        stats.begin(source.info, detector.description)
        interval = config.detector.interval_for(source.info)
        for frame, detections in detect_async(TimedDetector(detector, stats), frames, interval):
            with stats.stage("track"):
                if detections is None:
                    tracks = tracker.coast(frame.time_s, frame.image)
                else:
                    tracks = tracker.update(detections, frame.time_s, frame.image)
            sinks.write(frame, tracks)
            places.passed(frame, tracker, sinks)
            if progress is not None:
                progress.update()
    return stats.summary()


def begun(frames: Iterator[Frame], stats: RunStats) -> Iterator[Frame]:
    """The same frames, once the first is there.

    Raises:
        SourceError: the source fails before it.
        Stopped: the run was stopped before it.
    """
    first = list(islice(frames, 1))
    if not first and stats.stopped:
        raise Stopped("stopped before the first picture: nothing is written")
    return chain(first, frames)


def run_all(
    each: Sequence[PipelineConfig], stats: Sequence[RunStats], progress: Progress
) -> list[BaseException | None]:
    """Track several sources beside each other with one detector; gives what each run raised.

    Args:
        each: the settings of each, as `settings_of_each` makes them.
        stats: counts of each.
        progress: shown while they run.
    """
    with SharedDetectors(open_detector, len(each)) as detectors, stopped_by_signals(*stats):
        runs = [
            partial(run, config, counts, detectors=detectors)
            for config, counts in zip(each, stats, strict=True)
        ]
        return run_beside(runs, progress.update)


def context_of(
    config: PipelineConfig, info: VideoInfo, stats: RunStats, stop: Callable[[], None]
) -> SinkContext:
    """What the sinks of this run may know of it.

    Raises:
        PipelineError: the picture that is to be drawn cannot be read.
    """
    effects.load(config.render.picture)  # Known before the results of an earlier run are touched.
    file = None if info.is_live else file_of(config.source.source)
    path = None if file is None else str(file.absolute())
    return SinkContext(info, config.output, config.render, stats, stop, path)


def announcement(info: VideoInfo, detector: str, outputs: Outputs) -> str:
    """What is about to run, in a line."""
    rate = f", {float(info.rate):.4g} frames/s" if info.rate else ""
    saved = ", ".join(name for name, _ in outputs.files) or "nothing"
    where = f" in {outputs.folder}" if outputs.folder else ""
    return f"{info.name} {info.width}x{info.height}{rate}; {detector}; saving {saved}{where}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    if sys.stderr is None:  # closed by who started the program
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    arguments = parser().parse_args(argv)
    if arguments.list_cameras:
        return show_cameras()
    work_steadily()
    if len(arguments.source) > 1:
        return main_of_several(arguments)
    stats = RunStats()
    progress = Progress(stats, None if arguments.quiet else sys.stderr)
    with handling(signal.default_int_handler), speaking(arguments.quiet):
        try:
            config = settings(arguments)
            place = None if arguments.resume is None else load_place(Path(arguments.resume))
            run(config, stats, progress, place)
            code = DONE
        except KeyboardInterrupt:
            if not stats.processed:
                log.info("stopped before the first picture: nothing is written")
            code = DONE
        except Stopped as stopped:
            log.info("%s", stopped)
            code = DONE
        except (configs.ConfigError, PipelineError) as error:
            log.error("%s", error)
            code = BROKEN if stats.processed else MISTAKE
        if stats.processed and not arguments.quiet:
            progress.close()
            say(stats.summary().lines())
    return code


def main_of_several(arguments: argparse.Namespace) -> int:
    """Run the command line for several sources; gives the exit code."""
    with handling(signal.default_int_handler), speaking(arguments.quiet):
        try:
            each = settings_of_each(settings(arguments), arguments.source)
            streams = [RunStats() for _ in each]
            progress = Progress(Totals(streams), None if arguments.quiet else sys.stderr)
            failures = run_all(each, streams, progress)
        except KeyboardInterrupt:
            return DONE
        except configs.ConfigError as error:
            log.error("%s", error)
            return MISTAKE
        progress.close()
    for stats, failure in zip(streams, failures, strict=True):
        if failure is not None and not isinstance(failure, PipelineError):
            raise failure
        if stats.processed and not arguments.quiet:
            say(stats.summary(failure).lines())
    if all(failure is None or isinstance(failure, Stopped) for failure in failures):
        return DONE
    return BROKEN if any(stats.processed for stats in streams) else MISTAKE


def work_steadily() -> None:
    """On Linux, let threads that wake up wait for those that run: fewer of them are interrupted."""
    if hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER:
        with suppress(OSError):  # where a container forbids it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def show_cameras() -> int:
    """Print device and description of each camera; gives the exit code."""
    cameras = list_cameras()
    print(*(f"{device}\t{description}\n" for device, description in cameras), sep="", end="")
    if not cameras:
        print(f"{parser().prog}: {described_cameras()}", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
