"""What a run puts beside its outputs: its settings before it, its summary after it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import configs
from configs import user_path
from pipeline import effects
from pipeline.config import PipelineConfig
from pipeline.detector import are_shipped
from pipeline.errors import SinkError
from pipeline.frames import VideoInfo
from pipeline.sinks import SETTINGS, SUMMARY, Outputs, prepare, split
from pipeline.sources import file_of, is_path, redact
from pipeline.stats import RunStats, as_dict

log = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

HEADER = "# The settings of a run of pipeline.run.\n"
"""The first line of a run's `config.yaml`: one without it is somebody's own."""

HIDDEN = "..."
"""In `config.yaml`, for the values of FFmpeg's options."""


@contextmanager
def record(
    config: PipelineConfig, info: VideoInfo, stats: RunStats, *, is_new: bool
) -> Iterator[Outputs]:
    """The outputs of a run; puts its settings and, at its end, its summary beside them.

    Raises:
        SinkError: they cannot be written, another run writes there, or what would be replaced is
            of no run.
    """
    outputs = prepare(config.output, info, spare=file_of(config.source.source))
    folder = outputs.folder
    with nullcontext() if folder is None else _alone_in(folder):
        if folder is not None and is_new:
            _write_settings(folder, config)
        error: BaseException | None = None
        try:
            yield outputs
        except Exception as caught:
            error = caught
            raise
        finally:
            stats.finish()
            if folder is not None:
                _write_summary(folder, stats, error)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder, where the system can."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkError(
                f"another run writes to {str(folder)!r}: choose another --output"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _write_settings(folder: Path, config: PipelineConfig) -> None:
    path = folder / SETTINGS
    text = configs.dump(without_secrets(from_anywhere(config)))
    try:
        if not _is_of_a_run(folder):
            raise SinkError(
                f"{str(folder)!r} holds a {SETTINGS} or {SUMMARY} that no run has written: choose "
                "another --output"
            )
        path.write_text(HEADER + text, encoding="utf-8")
    except OSError as error:
        raise SinkError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _is_of_a_run(folder: Path) -> bool:
    """Whether what would be replaced in the folder is of an earlier run, or nothing is there."""
    if not (folder / SETTINGS).is_file():  # what else it may be says so when it is written
        return not (folder / SUMMARY).exists()
    with (folder / SETTINGS).open(encoding="utf-8", errors="replace") as file:
        return file.readline() == HEADER


def _write_summary(folder: Path, stats: RunStats, error: BaseException | None) -> None:
    summary = json.dumps(as_dict(stats.summary(error)), indent=2)
    partial = folder / f".{SUMMARY}.part"
    try:
        partial.write_text(summary + "\n", encoding="utf-8")
        partial.replace(folder / SUMMARY)
    except OSError as full:
        log.warning("cannot write the summary: %s", full.strerror)
        with suppress(OSError):
            partial.unlink()


def without_secrets(config: PipelineConfig) -> PipelineConfig:
    """The settings without passwords in addresses and values of FFmpeg's options."""
    source = dataclasses.replace(
        config.source,
        source=redact(config.source.source),
        options=dict.fromkeys(config.source.options, HIDDEN),
    )
    return dataclasses.replace(config, source=source)


def from_anywhere(config: PipelineConfig) -> PipelineConfig:
    """The same settings for whoever stands in another folder: all paths are whole."""
    source, region, weights = config.source.source, config.source.region, config.detector.weights
    picture, save, folder = config.render.picture, config.output.save, config.output.directory
    if is_path(source):
        source = _whole_path(source)
    if isinstance(region, str):
        region = _whole_path(region)
    if not are_shipped(weights):
        weights = _whole_path(weights)
    if effects.colour(picture) is None:
        picture = _whole_path(picture)
    if save is not None:
        named = [split(entry) for entry in save]
        save = tuple(
            name if file is None else f"{name}:{_whole_path(file)}" for name, file in named
        )
    return dataclasses.replace(
        config,
        source=dataclasses.replace(config.source, source=source, region=region),
        detector=dataclasses.replace(config.detector, weights=weights),
        render=dataclasses.replace(config.render, picture=picture),
        output=dataclasses.replace(
            config.output, save=save, directory=folder and folder.absolute()
        ),
    )


def _whole_path(path: str) -> str:
    """The path from the root on; `-` is standard output."""
    return path if path == "-" else str(Path.cwd() / user_path(path))
