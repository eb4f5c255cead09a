"""Track every object of a video: the main flow, and its command line.

    reader thread      inference thread(s)     main thread        writer threads
    source ─▶ Frame ──▶ detector ─▶ Detections ──▶ tracker ─▶ Tracks ──▶ draw ─▶ video
                                                                     ──▶ jsonl, mot, mots, ...

`run` is the whole of it. Everything asynchronous hides behind the two iterators: `read_frames`
decodes ahead, `detect_async` keeps the detector busy and gives results in the order of frames.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import configs
from configs import user_path
from pipeline.config import PipelineConfig
from pipeline.detector import open_detector
from pipeline.errors import PipelineError, SinkError
from pipeline.frames import Frame, VideoInfo
from pipeline.inference import detect_async
from pipeline.region import open_in_region
from pipeline.resume import Place, frames_after, load_place, open_after, open_places
from pipeline.sinks import (
    FORMATS,
    SETTINGS,
    SUMMARY,
    Outputs,
    SinkContext,
    open_sinks,
    open_view,
    prepare,
    split,
)
from pipeline.sources import described_cameras, file_of, is_path, list_cameras, redact
from pipeline.stats import Progress, RunStats, RunSummary, TimedDetector, Totals, as_dict
from pipeline.streams import SharedDetectors, run_beside, settings_of_each
from trackers.sort import SortTracker

log = logging.getLogger(__name__)

DONE, MISTAKE, BROKEN = 0, 2, 3
"""Exit codes: all done or stopped on request; the user's mistake; broken off in the middle."""

SWITCH_S = 0.0003
"""How long a thread may keep others from running Python. At Python's own 5 ms the threads of the
detector wait for those that draw and write, and their cores with them."""

HIDDEN = "..."
"""In `config.yaml`, for the values of FFmpeg's options."""


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
        nullcontext(begun(coming)) as frames,
        nullcontext(context_of(config, source.info, stats, stop)) as context,
        open_view(context) as view,
        record(config, source.info, stats, is_new=place is None) as outputs,
        open_places(config, outputs, source.info, stats, place) as places,
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
                    tracks = tracker.coast(frame.time_s)
                else:
                    tracks = tracker.update(detections, frame.time_s)
            sinks.write(frame, tracks)
            places.passed(frame, tracker, sinks)
            if progress is not None:
                progress.update()
    return stats.summary()


def begun(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames, once the first is there.

    Raises:
        SourceError: the source fails before it.
    """
    return chain(list(islice(frames, 1)), frames)


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
    """What the sinks of this run may know of it."""
    file = None if info.is_live else file_of(config.source.source)
    path = None if file is None else str(file.absolute())
    return SinkContext(info, config.output, config.render, stats, stop, path)


def announcement(info: VideoInfo, detector: str, outputs: Outputs) -> str:
    """What is about to run, in a line."""
    rate = f", {float(info.rate):.4g} frames/s" if info.rate else ""
    saved = ", ".join(name for name, _ in outputs.files) or "nothing"
    where = f" in {outputs.folder}" if outputs.folder else ""
    return f"{info.name} {info.width}x{info.height}{rate}; {detector}; saving {saved}{where}"


@contextmanager
def record(
    config: PipelineConfig, info: VideoInfo, stats: RunStats, *, is_new: bool
) -> Iterator[Outputs]:
    """The outputs of a run; puts its settings and, at its end, its summary beside them."""
    outputs = prepare(config.output, info, spare=file_of(config.source.source))
    folder = outputs.folder
    if folder is not None and is_new:
        _write_settings(folder / SETTINGS, config)
    error: BaseException | None = None
    try:
        yield outputs
    except Exception as caught:
        error = caught
        raise
    finally:
        if folder is not None:
            summary = json.dumps(as_dict(stats.summary(error)), indent=2)
            try:
                (folder / SUMMARY).write_text(summary + "\n")
            except OSError as full:
                log.warning("cannot write the summary: %s", full.strerror)


def _write_settings(path: Path, config: PipelineConfig) -> None:
    try:
        path.write_text(configs.dump(without_secrets(from_anywhere(config))), encoding="utf-8")
    except OSError as error:
        raise SinkError(f"cannot write {str(path)!r}: {error.strerror}") from error


def without_secrets(config: PipelineConfig) -> PipelineConfig:
    """The settings without passwords in addresses and values of FFmpeg's options."""
    source = dataclasses.replace(
        config.source,
        source=redact(config.source.source),
        options=dict.fromkeys(config.source.options, HIDDEN),
    )
    return dataclasses.replace(config, source=source)


def from_anywhere(config: PipelineConfig) -> PipelineConfig:
    """The same settings for whoever stands in another folder: paths of source and outputs whole."""
    source, save = config.source.source, config.output.save
    if is_path(source):
        source = _whole_path(source)
    if save is not None:
        named = [split(entry) for entry in save]
        save = tuple(
            name if file is None else f"{name}:{_whole_path(file)}" for name, file in named
        )
    return dataclasses.replace(
        config,
        source=dataclasses.replace(config.source, source=source),
        output=dataclasses.replace(config.output, save=save),
    )


def _whole_path(path: str) -> str:
    """The path from the root on; `-` is standard output."""
    return path if path == "-" else str(Path.cwd() / user_path(path))


@contextmanager
def stopping(close: Callable[[], None], stats: RunStats) -> Iterator[Callable[[], None]]:
    """A function that ends the source; while this is open, the first signal calls it."""
    # On a thread: a signal may have come while this one holds the lock that `close` needs.
    stats.on_stop(lambda: threading.Thread(target=close, name="stop", daemon=True).start())
    with stopped_by_signals(stats):
        yield stats.stop


@contextmanager
def stopped_by_signals(*streams: RunStats) -> Iterator[None]:
    """While this is open, the first signal ends these runs, the second the program as usual."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if all(stats.stopped for stats in streams):
            raise KeyboardInterrupt
        for stats in streams:
            stats.stop()

    with handling(on_signal):
        yield


@contextmanager
def handling(on_signal: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call `on_signal`. Elsewhere than on the main thread: do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


# The command line.


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as all mistakes."""
        self.exit(MISTAKE, f"{self.prog}: {redact(message)} (see --help)\n")


def parser() -> argparse.ArgumentParser:
    """The command line's arguments; each is a setting."""
    formats = ", ".join(FORMATS)
    presets = ", ".join(configs.presets(PipelineConfig))
    result = _Parser(
        prog="pipeline.run",
        description="Find, segment and follow every object in a video.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "examples:\n"
            "  %(prog)s --source webcam\n"
            "  %(prog)s --source clip.mp4 --save video,jsonl,mot,mots\n"
            "  %(prog)s --source rtsp://host/stream --save jsonl:- | jq .tracks"
        ),
    )
    result.add_argument(
        "--source",
        metavar="SRC",
        action="append",
        default=[],
        help="webcam, webcam:N, /dev/videoN, demo, a video file, a folder or glob of images, a "
        "URL (rtsp, http, udp, tcp), or - for stdin; default: demo; given more than once, all are "
        "tracked beside each other, each into a folder of its own",
    )
    result.add_argument(
        "--config",
        metavar="NAME|FILE",
        help=f"settings: a preset ({presets}) or a YAML file",
    )
    result.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, such as tracker.lost_s=3; may be given often",
    )
    result.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the outputs; default: runs/<name>-<n>, and nothing saved of a live source",
    )
    result.add_argument(
        "--save",
        metavar="LIST",
        help=f"outputs, from {formats}; jsonl:FILE for a file of its own, jsonl:- for stdout; "
        "default: video,jsonl",
    )
    result.add_argument(
        "--view", metavar="auto|window|web|none", help="where to show; default: auto"
    )
    result.add_argument(
        "--device", metavar="auto|cpu|cuda[:N]", help="where to compute; default: auto"
    )
    result.add_argument("--start", metavar="S", help="begin S seconds into a file")
    result.add_argument("--duration", metavar="S", help="end after S seconds")
    result.add_argument("--quiet", action="store_true", help="say nothing but errors")
    result.add_argument(
        "--resume",
        metavar="DIR",
        help="continue the run of a file that broke off in this folder, with its settings",
    )
    result.add_argument(
        "--list-cameras", action="store_true", help="name the cameras of this machine, and end"
    )
    return result


def settings(arguments: argparse.Namespace) -> PipelineConfig:
    """The settings that a command line asks for.

    Raises:
        ConfigError: it asks for what there is not.
    """
    if arguments.resume is not None:
        return complete(settings_of(arguments))
    flags = {
        "source.source": arguments.source[0] if arguments.source else None,
        "output.directory": arguments.output,
        "output.save": arguments.save,
        "output.view": arguments.view,
        "detector.device": arguments.device,
        "source.start_s": arguments.start,
        "source.duration_s": arguments.duration,
    }
    given = [f"{path}={value}" for path, value in flags.items() if value is not None]
    return complete(configs.load(PipelineConfig, arguments.config, [*arguments.set, *given]))


def complete(config: PipelineConfig) -> PipelineConfig:
    """The same settings.

    Raises:
        ConfigError: they are of a `config.yaml` that leaves out FFmpeg's options.
    """
    hidden = [name for name, value in config.source.options.items() if value == HIDDEN]
    if hidden:
        raise configs.ConfigError(
            f"source.options: the value of {', '.join(hidden)} is not kept with a run, it may be "
            "secret: give it again with --set 'source.options={NAME: VALUE}'"
        )
    return config


def settings_of(arguments: argparse.Namespace) -> PipelineConfig:
    """The settings of the run that a command line wants to resume.

    Raises:
        ConfigError: there are none, or others are given.
    """
    options = [each for each in arguments.set if each.startswith("source.options")]
    for name in ("source", "config", "set", "output", "save", "start", "duration"):
        if getattr(arguments, name) and not (name == "set" and options == arguments.set):
            raise configs.ConfigError(
                f"--resume takes all settings from {arguments.resume!r}: leave out --{name}"
            )
    now = {"output.view": arguments.view, "detector.device": arguments.device}
    given = [*options, *(f"{path}={value}" for path, value in now.items() if value is not None)]
    folder = Path(arguments.resume)
    if not (folder / SETTINGS).is_file():
        several = sorted(each.parent.name for each in folder.glob(f"stream-*/{SETTINGS}"))
        hint = f"; several sources were run: resume one of {', '.join(several)} in it"
        raise configs.ConfigError(
            f"nothing to resume in {redact(arguments.resume)!r}: no {SETTINGS} there"
            f"{hint if several else ''}"
        )
    config = configs.load(PipelineConfig, folder / SETTINGS, given)
    output = dataclasses.replace(config.output, directory=folder)
    return dataclasses.replace(config, output=output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    if sys.stderr is None:  # closed by who started the program
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    arguments = parser().parse_args(argv)
    if arguments.list_cameras:
        return show_cameras()
    sys.setswitchinterval(SWITCH_S)
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
    if not any(failures):
        return DONE
    return BROKEN if any(stats.processed for stats in streams) else MISTAKE


def say(lines: Iterable[str]) -> None:
    """Words for people, on stderr; none any more once nobody reads them."""
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def show_cameras() -> int:
    """Print device and description of each camera; gives the exit code."""
    cameras = list_cameras()
    print(*(f"{device}\t{description}\n" for device, description in cameras), sep="", end="")
    if not cameras:
        print(f"{parser().prog}: {described_cameras()}", file=sys.stderr)
    return DONE


class _Discreet(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Without the passwords of addresses, whoever wrote the line."""
        return redact(super().format(record))


@contextmanager
def speaking(quiet: bool) -> Iterator[None]:
    """Show what is logged, by this project or a library, on stderr: all of it, or only errors."""
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    handler = logging.StreamHandler()
    handler.setFormatter(_Discreet(f"{clear}pipeline.run: %(message)s"))
    logger = logging.getLogger()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


if __name__ == "__main__":
    sys.exit(main())
