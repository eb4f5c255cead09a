"""The command line: its arguments, and the settings that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import re
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import configs
from configs import did_you_mean
from pipeline.config import PipelineConfig
from pipeline.record import HIDDEN
from pipeline.sinks import FORMATS, SETTINGS
from pipeline.sources import redact


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as all mistakes."""
        what, _, words = message.partition(": ")
        first = words.split(" ")[0]
        if what == "unrecognized arguments" and first.startswith("-"):
            message += did_you_mean(first, self._option_string_actions)
        elif what == "unrecognized arguments":
            message += "; name each source with --source, and put a pattern in quotes"
        self.exit(2, f"{self.prog}: {redact(message)} (see --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it, asked of the package only here: that takes time."""
        from importlib.metadata import version

        print(f"deepmask-tracking {version('deepmask-tracking')}")  # noqa: T201
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The command line's arguments; each is a setting."""
    formats = ", ".join(FORMATS)
    presets = ", ".join(configs.presets(PipelineConfig))
    result = _Parser(
        prog="pipeline.run",
        allow_abbrev=False,
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
        action="append",
        default=[],
        help=f"outputs, from {formats}; jsonl:FILE for a file of its own, jsonl:- for stdout; "
        "none for nothing; default: video,jsonl; may be given often",
    )
    result.add_argument(
        "--view", metavar="auto|window|web|none", help="where to show; default: auto"
    )
    result.add_argument(
        "--device", metavar="auto|cpu|cuda[:N]", help="where to compute; default: auto"
    )
    result.add_argument(
        "--start", metavar="S", help="begin S seconds into a file; 1:30 is a minute and a half"
    )
    result.add_argument("--duration", metavar="S", help="end after S seconds, or minutes as above")
    result.add_argument("--quiet", action="store_true", help="say nothing but errors")
    result.add_argument(
        "--resume",
        metavar="DIR",
        help="continue the run of a file that broke off in this folder, with its settings",
    )
    result.add_argument(
        "--version", nargs=0, action=_Version, help="say which version this is, and end"
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
    save = ",".join(filter(None, arguments.save))
    flags = {
        "source.source": arguments.source[0] if arguments.source else None,
        "output.directory": arguments.output,
        "output.save": ("[]" if save in ("", "none") else save) if arguments.save else None,
        "output.view": arguments.view,
        "detector.device": arguments.device,
        "source.start_s": in_seconds(arguments.start),
        "source.duration_s": in_seconds(arguments.duration),
    }
    given = [f"{path}={value}" for path, value in flags.items() if value is not None]
    return complete(configs.load(PipelineConfig, arguments.config, [*arguments.set, *given]))


def in_seconds(text: str | None) -> str | None:
    """A time as clocks show it, in seconds; any other text as it is.

    >>> in_seconds("1:02:03.5")
    '3723.5'
    """
    if text is None or not re.fullmatch(r"(\d+:)?\d+:[0-5]?\d(\.\d*)?", text):
        return text
    *minutes, seconds = text.split(":")
    whole = sum(int(n) * 60**i for i, n in enumerate(reversed(minutes), 1))
    return str(whole + float(seconds))


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
    for name in ("config", "set", "output", "save", "start", "duration"):
        if getattr(arguments, name) and not (name == "set" and options == arguments.set):
            raise configs.ConfigError(
                f"--resume takes all settings from {arguments.resume!r}: leave out --{name}"
            )
    now = {"output.view": arguments.view, "detector.device": arguments.device}
    given = [*options, *(f"{path}={value}" for path, value in now.items() if value is not None)]
    folder = Path(arguments.resume)
    if configs.user_file(folder / SETTINGS) is None:
        several: list[str] = []
        with suppress(OSError):  # a name that is too long
            several = sorted(each.parent.name for each in folder.glob(f"stream-*/{SETTINGS}"))
        hint = f"; several sources were run: resume one of {', '.join(several)} in it"
        raise configs.ConfigError(
            f"nothing to resume in {redact(arguments.resume)!r}: no {SETTINGS} there"
            f"{hint if several else ''}"
        )
    config = configs.load(PipelineConfig, folder / SETTINGS, given)
    source = config.source
    if arguments.source:  # its password is not kept
        if [redact(given) for given in arguments.source] != [source.source]:
            raise configs.ConfigError(
                f"--resume goes on with {source.source!r}: leave out --source, or give that "
                "address with its password"
            )
        source = dataclasses.replace(source, source=arguments.source[0])
    output = dataclasses.replace(config.output, directory=folder)
    return dataclasses.replace(config, source=source, output=output)
