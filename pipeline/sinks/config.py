"""What a user may say about outputs, and what it comes to for a source."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from configs import did_you_mean, user_path
from pipeline.errors import SinkError
from pipeline.frames import VideoInfo

FORMATS = {
    "video": "video.mp4",
    "jsonl": "tracks.jsonl",
    "mot": "mot.txt",
    "mots": "mots.txt",
    "csv": "tracks.csv",
    "coco": "coco.json",
    "parquet": "tracks.parquet",
    "cutouts": "cutouts",
}
"""The name of each output, and the file that it goes to."""

SETTINGS, SUMMARY = "config.yaml", "summary.json"
"""What lies beside the outputs in a folder."""

STREAMING = frozenset({"jsonl", "mot", "mots", "csv"})
"""Outputs that can go to standard output."""

FOLDERS = frozenset({"parquet", "cutouts"})
"""Outputs that are folders, made where they are missing."""

EXTRAS = {"parquet": "pipeline.sinks.parquet"}
"""Outputs that need an extra; their module, which says so where that is missing."""

REPLACING = frozenset({"video", "coco"})
"""Outputs whose file is replaced at the end: it must be a plain one, no device or pipe."""

FILE_DEFAULT = ("video", "jsonl")
"""What is saved where nobody says what."""

VIEWS = ("auto", "window", "web", "none")

LAST_PORT = 65535

_FORBIDDEN = "this user may not write there"

X264_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast",
    "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """Where results go."""

    save: tuple[str, ...] | None = None
    """Outputs, each a format of `FORMATS` with a file of its own behind a colon where wanted
    (`jsonl:out.jsonl`, `jsonl:-` for standard output). None: video and jsonl, but nothing for a
    live source without a folder."""

    directory: Path | None = None
    """Folder of the outputs. None: a new folder `runs/<name of the source>-<number>`, made where
    something is to be saved in it."""

    view: str = "auto"
    """`window`, `web` (a page for the browser), `none`, or `auto`: a window where there is a
    display."""

    web_port: int = 8000
    """Port of the web view on this machine, 0 for any free one."""

    video_crf: int = 21
    """Quality of the video, as of x264: 0 without loss to 51; six more halve the size."""

    video_preset: str = "superfast"
    """Speed of the encoder, as of x264: beside `superfast`, `ultrafast` makes the file a third
    larger in five sixths of the CPU time, `veryfast` smaller in five thirds of it."""

    def __post_init__(self) -> None:
        for entry in self.save or ():
            name, target = split(entry)
            if name not in FORMATS:
                raise ValueError(
                    f"save: unknown format {name!r}{did_you_mean(name, FORMATS)} "
                    f"(formats: {', '.join(FORMATS)})"
                )
            if target == "":
                raise ValueError(f"save: {entry!r} names no file; leave the colon out, or name one")
            if name == "video" and target is not None and target.lower().endswith(".avi"):
                raise ValueError(
                    f"save: AVI keeps no times of pictures, got {target!r}: choose .mp4 or .mkv"
                )
            if target == "-" and name not in STREAMING:
                raise ValueError(
                    f"save: {name} cannot go to standard output, only "
                    f"{', '.join(sorted(STREAMING))} can"
                )
        if [split(entry)[1] for entry in self.save or ()].count("-") > 1:
            raise ValueError("save: only one output can go to standard output")
        if self.directory is not None and "\0" in str(self.directory):
            raise ValueError(f"directory should be a path, got {str(self.directory)!r}")
        if self.view not in VIEWS:
            raise ValueError(
                f"view should be one of {', '.join(VIEWS)}, got {self.view!r}"
                f"{did_you_mean(self.view, VIEWS)}"
            )
        if not 0 <= self.web_port <= LAST_PORT:
            raise ValueError(f"web_port should be in [0, {LAST_PORT}], got {self.web_port}")
        if not 0 <= self.video_crf <= 51:
            raise ValueError(f"video_crf should be in [0, 51], got {self.video_crf}")
        if self.video_preset not in X264_PRESETS:
            raise ValueError(
                f"video_preset should be one of {', '.join(X264_PRESETS)}, "
                f"got {self.video_preset!r}"
            )


def split(entry: str) -> tuple[str, str | None]:
    """The format and the file of `format` or `format:file`."""
    name, colon, target = entry.partition(":")
    return name.strip(), target.strip() if colon else None


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of one run."""

    folder: Path | None
    """Made and writable; None where nothing goes into a folder."""

    files: tuple[tuple[str, Path | None], ...]
    """Format and file of each output; None is standard output."""


def prepare(config: OutputConfig, info: VideoInfo, spare: Path | None = None) -> Outputs:
    """Decide what is saved where, and make the folder.

    Args:
        config: what is asked for.
        info: of the source.
        spare: a file that no output may replace: the source.

    Raises:
        SinkError: the folder cannot be made or written to, a file cannot be where it is wanted, two
            files would be one, or an extra is missing.
    """
    wanted = config.save
    if wanted is None:
        viewed_only = info.is_live and config.directory is None
        wanted = () if viewed_only else FILE_DEFAULT
    targets = [split(entry) for entry in wanted]
    folder = None
    if config.directory is not None or any(target is None for _, target in targets):
        folder = _make_folder(config.directory, info.name)
    files: list[tuple[str, Path | None]] = []
    for name, target in targets:
        if target is None and folder is not None:
            files.append((name, folder / FORMATS[name]))
        else:
            files.append((name, None if target == "-" else user_path(str(target))))
    try:
        _check_distinct(files, folder, spare)
        _check_places(files)
    except OSError as error:  # a name that is too long, a folder that nobody may look into
        raise SinkError(
            f"cannot write to {error.filename!r}: {error.strerror}; choose another"
        ) from error
    return Outputs(folder, tuple(files))


def _check_distinct(
    files: Sequence[tuple[str, Path | None]], folder: Path | None, spare: Path | None
) -> None:
    taken = {} if spare is None else {_identity(spare): "the source itself"}
    if folder is not None:
        taken[_identity(folder / SETTINGS)] = "where the settings go"
        taken[_identity(folder / SUMMARY)] = "where the summary goes"
    for name, path in files:
        if path is None or (path.exists() and not path.is_file()):  # /dev/null takes anything
            continue
        file = _identity(path)
        if file in taken:
            raise SinkError(
                f"cannot write {name} to {str(path)!r}: that is {taken[file]}; choose "
                "another file, or another folder with --output"
            )
        taken[file] = f"where {name} goes"


def _identity(path: Path) -> object:
    """The same for all names of one file, links of both kinds."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path.resolve()
    return found.st_dev, found.st_ino


def _check_places(files: Sequence[tuple[str, Path | None]]) -> None:
    """All outputs can be made, before the first of them takes the place of an older one."""
    for name, path in files:
        if name in EXTRAS:
            importlib.import_module(EXTRAS[name])
        if path is None:
            continue
        why = _why_no_folder(path) if name in FOLDERS else _why_no_file(path, name in REPLACING)
        if why is not None:
            raise SinkError(f"cannot write {name} to {str(path)!r}: {why}")


def _why_no_folder(path: Path) -> str | None:
    """Why an output cannot be this folder, made where it is missing."""
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        return f"{str(there)!r} is a file; name a folder"
    return None if os.access(there, os.W_OK) else _FORBIDDEN


def _why_no_file(path: Path, plain: bool) -> str | None:
    """Why an output cannot be this file; `plain`: it must be no device or pipe."""
    if path.is_dir():
        return "that is a folder; name a file"
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return _FORBIDDEN
    if plain and path.exists() and not path.is_file():
        return "that is no plain file; only a text format can go there"
    return None


def _make_folder(wanted: Path | None, name: str) -> Path:
    """The folder `wanted`, or the first free `runs/<name>-<number>`."""
    folder = wanted or Path("runs")
    try:
        if wanted is not None:
            wanted.mkdir(parents=True, exist_ok=True)
        else:
            folder = _numbered(Path("runs"), name)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SinkError(
            f"cannot write to the folder {str(folder)!r}: {error.strerror}; "
            "choose another with --output"
        ) from error
    return folder


def _numbered(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
