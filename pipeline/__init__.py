"""Any video in, every object of it found, segmented and followed.

    from pipeline import track

    for frame, tracks in track("video.mp4"):
        print(frame.time_s, tracks.ids, tracks.boxes)

This room knows video, threads, drawing and files. It loads its parts when they are used.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before numpy is loaded: its matrices here are small, and shared among threads they cost half as
# much CPU time again, taken from the network.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _is_run(words: list[str]) -> bool:
    """Whether Python is about to run this package: `words` are its command line.

    >>> _is_run(["python", "-m", "pipeline.run", "--source", "demo"])
    True
    >>> _is_run(["python", "-m", "another.program"])
    False
    """
    named = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return named != [] and named[0].partition(".")[0] == __name__


# While it is imported Ctrl-C ends the program without a traceback; `pipeline.run` takes over.
if (
    sys.argv[:1] == ["-m"]
    and _is_run(sys.orig_argv)
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if TYPE_CHECKING:
    from pipeline.frames import Frame
    from trackers.tracks import Tracks

__all__ = ["track"]


def track(
    source: str | Path, /, *, config: str | Path | None = None, **settings: Any
) -> Generator[tuple[Frame, Tracks], None, None]:
    """Frame after frame of `source` with the objects in it: what the sinks of a run get.

    Of a file every frame comes; of a live source the newest, whenever the caller is ready for
    one. Closing the generator, or leaving it to be collected, closes source and detector.

    Args:
        source: as `--source` takes it: `webcam`, a file, a folder, a URL, `demo`.
        config: a preset or a YAML file.
        **settings: groups of settings over those of `config`, each a mapping or the owner's
            dataclass: `tracker={"lost_s": 3}`, `detector={"device": "cuda"}`.

    Raises:
        TypeError: the source is neither text nor a path.
        configs.ConfigError: there is no such setting, or it is of outputs.
        pipeline.errors.PipelineError: the source cannot be opened or breaks off, or the
            detector fails.
    """
    import configs
    from pipeline.config import PipelineConfig
    from pipeline.detector import open_detector
    from pipeline.inference import detect_async
    from pipeline.reader import read_frames
    from pipeline.region import open_in_region
    from pipeline.sources import open_source
    from trackers.sort import SortTracker

    if not isinstance(source, str | Path):
        raise TypeError(
            f"track() takes one source, as --source does, got {type(source).__name__}: pictures of "
            "your own go to trackers.SortTracker with your detections"
        )
    silent = [name for name in settings if name.partition(".")[0] in ("output", "render")]
    if silent:
        raise configs.ConfigError(
            f"track() writes and draws nothing: leave out {silent[0]!r}, or use pipeline.run"
        )
    resolved = configs.load(PipelineConfig, config, settings | {"source.source": str(source)})
    with (
        open_source(resolved.source) as opened,
        open_in_region(
            open_detector,
            resolved.detector.for_source(opened.info),
            resolved.source.region,
            opened.info,
        ) as detector,
        read_frames(opened) as frames,
    ):
        tracker = SortTracker(resolved.tracker)
        interval = resolved.detector.interval_for(opened.info)
        for frame, detections in detect_async(detector, frames, interval):
            if detections is None:
                yield frame, tracker.coast(frame.time_s, frame.image)
            else:
                yield frame, tracker.update(detections, frame.time_s, frame.image)
