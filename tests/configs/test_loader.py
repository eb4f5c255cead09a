"""The loader: presets and overrides become dataclasses, and mistakes become one helpful line."""

from __future__ import annotations

import dataclasses
import enum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pytest

from configs import ConfigError, dump, load, loader, presets


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Motion:
    noise: float = 0.5
    gate_px: int = 4
    order: Literal["first", "second"] = "first"


@dataclasses.dataclass(frozen=True)
class Tracker:
    max_age_s: float = 1.0
    min_hits: int = 3
    motion: Motion = Motion()

    def __post_init__(self) -> None:
        if self.max_age_s < 0:
            raise ValueError(f"max_age_s should be 0 or more, got {self.max_age_s}")


@dataclasses.dataclass(frozen=True)
class Root:
    source: str = "webcam"
    tracker: Tracker = Tracker()
    save: tuple[str, ...] = ("video",)
    size: tuple[int, int] | None = None
    output: Path | None = None
    rate: Fraction | None = None
    device: int | str = "auto"
    colour: Colour = Colour.RED
    weights: dict[str, float] = dataclasses.field(default_factory=dict)
    anything: Any = None
    quiet: bool = False


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_source_gives_the_defaults() -> None:
    assert load(Root) == Root()


def test_file_sets_what_it_names_and_overrides_win(tmp_path: Path) -> None:
    path = write(tmp_path, "tracker:\n  max_age_s: 2\n  min_hits: 5\nsave: [jsonl, mot]\n")
    config = load(Root, path, ["tracker.min_hits=7", "tracker.motion.noise=1e-3"])
    assert config.tracker == Tracker(2.0, 7, Motion(noise=1e-3))
    assert isinstance(config.tracker.max_age_s, float)
    assert config.save == ("jsonl", "mot")


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("source=0", "source", "0"),
        ("source=rtsp://host/a?b=c", "source", "rtsp://host/a?b=c"),
        ("source=", "source", ""),
        ("save=video,jsonl", "save", ("video", "jsonl")),
        ("save=[video, jsonl]", "save", ("video", "jsonl")),
        ("save=[]", "save", ()),
        ("size=[640, 480]", "size", (640, 480)),
        ("size=640,480", "size", (640, 480)),
        ("size=null", "size", None),
        ("output=out dir", "output", Path("out dir")),
        ("save=a: b,take #1.jsonl", "save", ("a: b", "take #1.jsonl")),
        ("rate=30000/1001", "rate", Fraction(30000, 1001)),
        ("device=1", "device", 1),
        ("device=cuda:1", "device", "cuda:1"),
        ("colour=blue", "colour", Colour.BLUE),
        ("weights={a: 1}", "weights", {"a": 1.0}),
        ("anything=[1, x]", "anything", [1, "x"]),
        ("quiet=true", "quiet", True),
    ],
)
def test_override_is_read_as_the_type_of_its_field(override: str, field: str, value: Any) -> None:
    assert getattr(load(Root, None, [override]), field) == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "tracker.max_agee=3",
            "unknown setting 'tracker.max_agee'; did you mean 'tracker.max_age_s'?",
        ),
        ("trakcer.max_age_s=3", "unknown setting 'trakcer'; did you mean 'tracker'?"),
        ("noise=3", "unknown setting 'noise'; did you mean 'tracker.motion.noise'?"),
        ("tracker.motion.qqq=3", "(known here: noise, gate_px, order)"),
        ("tracker.max_age_s=three", "'tracker.max_age_s' should be a number, got the text 'three'"),
        ("tracker.min_hits=1.5", "'tracker.min_hits' should be a whole number, got 1.5"),
        ("tracker.min_hits=true", "'tracker.min_hits' should be a whole number, got True"),
        ("tracker.min_hits=null", "'tracker.min_hits' should be a whole number, got null"),
        ("quiet=yes", "'quiet' should be true or false, got the text 'yes'"),
        ("tracker=3", "'tracker' should be a group of settings (max_age_s, min_hits, motion)"),
        ("tracker.motion.order=frist", "should be one of first, second, got 'frist'; did you mean"),
        ("colour=green", "'colour' should be one of red, blue, got 'green'"),
        ("tracker.max_age_s=-1", "tracker.max_age_s should be 0 or more, got -1.0"),
        ("size=[1]", "'size' should be a list of 2, got [1]"),
        ("size=[1, a]", "'size[1]' should be a whole number, got the text 'a'"),
        ("save", "a setting is given as path.to.key=value, got 'save'"),
        ("size=[1", "not readable as YAML"),
    ],
)
def test_mistake_is_one_line_that_helps(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Root, None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tracker: [1", "line 1: not readable as YAML"),
        ("- a\n- b\n", "should hold 'key: value' lines, got ['a', 'b']"),
        ("quiet: true\nquiet: false\n", "line 2: not readable as YAML: 'quiet' is given twice"),
        ("source: 5\n", "'source' should be text, got 5"),
        ("3: x\n", "unknown setting '3'"),
    ],
)
def test_mistake_in_a_file_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Root, write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mapping_of_overrides_holds_python_values(tmp_path: Path) -> None:
    path = write(tmp_path, "tracker: {min_hits: 5}\n")
    given = {"tracker": {"max_age_s": 2}, "tracker.motion": Motion(gate_px=9), "output": tmp_path}
    config = load(Root, path, given)
    assert config.tracker == Tracker(2.0, 5, Motion(gate_px=9))
    assert config.output == tmp_path
    dotted = {"tracker": {"motion.gate_px": 9}}
    assert load(Root, path, dotted).tracker == Tracker(1.0, 5, Motion(gate_px=9))
    assert load(Root, None, dotted).tracker.motion == Motion(gate_px=9)
    with pytest.raises(ConfigError, match="unknown setting 'tracker.max_agee'"):
        load(Root, None, {"tracker": {"max_agee": 2}})


def test_an_instance_of_the_type_that_a_group_extends_is_taken_as_it_is() -> None:
    @dataclasses.dataclass(frozen=True)
    class Base:
        speed: int = 1
        size: int = 2

    @dataclasses.dataclass(frozen=True)
    class Extended(Base):
        speed: int = 3

    Whole = dataclasses.make_dataclass(
        "Whole", [("part", Extended, dataclasses.field(default_factory=Extended))], frozen=True
    )
    assert load(Whole, None, {"part": Base(size=5)}).part == Extended(speed=1, size=5)
    assert load(Whole, None, {"part.size": 5}).part == Extended(speed=3, size=5)
    with pytest.raises(ConfigError, match="group of settings"):
        load(Whole, None, {"part": object()})


def test_what_comes_after_a_dataclass_leaves_the_rest_of_it() -> None:
    mine = Tracker(2.0, 5, Motion(gate_px=9))
    config = load(Root, None, {"tracker": mine, "tracker.min_hits": 6, "tracker.motion.noise": 1.0})
    assert config.tracker == Tracker(2.0, 6, Motion(1.0, 9))
    assert load(Root, None, {"tracker": mine, "tracker.max_age_s": 3}).tracker.min_hits == 5
    assert load(Root, None, {"tracker": {"min_hits": 5}, "source": "a"}).tracker.min_hits == 5


def test_empty_file_and_empty_group_mean_the_defaults(tmp_path: Path) -> None:
    assert load(Root, write(tmp_path, "# nothing\n")) == Root()
    assert load(Root, write(tmp_path, "tracker:\n")) == Root()


def test_unknown_preset_suggests_the_nearest(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(loader, "PRESETS", tmp_path)
    (tmp_path / "webcam.yaml").write_text("quiet: true\n", encoding="utf-8")
    assert load(Root, "webcam").quiet
    with pytest.raises(ConfigError, match=r"unknown preset 'webcm'; did you mean 'webcam'\?"):
        load(Root, "webcm")
    with pytest.raises(ConfigError, match=r"no such settings file: 'nowhere.yaml'"):
        load(Root, "nowhere.yaml")


def test_dump_is_read_back_as_the_same_settings(tmp_path: Path) -> None:
    config = load(
        Root,
        None,
        ["source=1e3", "tracker.max_age_s=1e-7", "save=null, on", "size=1,2", "rate=1/3"],
    )
    assert load(Root, write(tmp_path, dump(config))) == config


def test_presets_are_those_of_the_settings_asked_for(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(loader, "PRESETS", tmp_path)
    (tmp_path / "webcam.yaml").write_text("quiet: true\n", encoding="utf-8")
    (tmp_path / "slow.yaml").write_text("gate_px: 9\n", encoding="utf-8")
    assert presets(Root) == ["webcam"]
    assert presets(Motion) == ["slow"]
    with pytest.raises(ConfigError, match=r"unknown preset 'slow' \(presets: webcam;"):
        load(Root, "slow")


def test_every_preset_opens_with_a_comment() -> None:
    paths = list(loader.PRESETS.glob("*.yaml"))
    assert paths
    for path in paths:
        assert path.read_text(encoding="utf-8").startswith("# "), path


def test_one_number_is_a_list_of_one() -> None:
    @dataclasses.dataclass(frozen=True)
    class Sizes:
        px: tuple[int, ...] = (512,)

    assert load(Sizes, None, ["px=384"]).px == (384,)
    assert load(Sizes, None, ["px=384,832"]).px == (384, 832)
    assert load(Sizes, None, {"px": 384}).px == (384,)
    with pytest.raises(ConfigError, match="px"):
        load(Sizes, None, ["px=wide"])


@pytest.mark.parametrize(
    "overrides", [["tracker=5", "tracker.min_hits=2"], {"tracker": 5, "tracker.min_hits": 2}]
)
def test_a_group_that_is_a_number_is_a_mistake(overrides: Any) -> None:
    with pytest.raises(ConfigError, match="'tracker' should be a group of settings, got 5"):
        load(Root, None, overrides)


def test_a_group_given_whole_keeps_what_it_sets() -> None:
    config = load(Root, None, ["tracker={min_hits: 2}", "tracker.max_age_s=3"])
    assert config.tracker == Tracker(3.0, 2)


def test_settings_that_are_no_name_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="a preset or a YAML file, got 5"):
        load(Root, 5)  # type: ignore[arg-type]
