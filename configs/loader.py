"""Build any frozen dataclass from a YAML preset or file and `a.b=value` overrides.

Whoever owns a setting writes it as a field of a dataclass, with its type and its default; nested
dataclasses are groups. The loader knows only fields and types: what no dataclass owns is an
error that names the nearest setting, and what has the wrong type is an error that names its path.

YAML is read by the rules of YAML 1.2 where PyYAML follows 1.1: `1e-3` is a number, `on` and `no`
are words, `1:30` is text, and a key given twice is an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

PRESETS = Path(__file__).parent


class ConfigError(ValueError):
    """A setting that nobody owns or that has the wrong type, a preset or file that is not there."""


class _Text(str):
    """The value of an override: still text, since only the field's type says how to read it."""


def load(
    into: type[T],
    source: str | Path | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
) -> T:
    """Give an `into` made of its defaults, then `source`, then `overrides`; the last one wins.

    Args:
        into: a dataclass whose fields all have defaults; fields that are dataclasses are groups.
        source: name of a preset of this package, path of a YAML file, or None for the defaults.
        overrides: `path.to.key=value`, the value in YAML (`3`, `null`, `[video, jsonl]`); or a
            mapping from such paths, or groups, to values as Python has them.

    Raises:
        ConfigError: one line, for an unknown preset or file, unreadable YAML, an unknown setting
            (with the nearest known one), a wrong type, or a value that its owner refuses.
    """
    if source is not None and not isinstance(source, str | Path):
        raise ConfigError(f"settings should be a preset or a YAML file, got {source!r}")
    tree = {} if source is None else _read(source, into)
    if isinstance(overrides, Mapping):
        for path, value in overrides.items():
            _put(tree, path.split("."), value)
    else:
        for override in overrides:
            _put(tree, *_split(override))
    return typing.cast(T, _build(into, tree, "", into))


def dump(config: Any) -> str:
    """The YAML of a dataclass instance, every setting included, in the order of its fields."""
    text: str = yaml.dump(_plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def user_path(path: str | Path) -> Path:
    """A path as people write it: `~` and `~name` are homes, where there is such a user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def user_file(path: str | Path) -> Path | None:
    """The file that people mean by a path; None where there is none, or the name is too long."""
    file = user_path(path)
    try:
        return file if file.is_file() else None
    except OSError:
        return None


def presets(into: type[Any]) -> list[str]:
    """Names of the presets of this package for `into`: those that set nothing else."""
    known = set(_names(into))
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if known.issuperset(_tree(path)))


# Reading.


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2 and no key twice."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key should be a plain word", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: quotes what that would take for a number or null."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "float",
        r"^[-+]?(?:\.inf|\.Inf|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)$|^\.nan$",
        list("-+0123456789."),
    ),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
# PyYAML reads `010` as octal; YAML 1.2 and people read ten.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{origin}, line {mark.line + 1}" if mark else origin
        raise ConfigError(
            f"{where}: not readable as YAML: {getattr(error, 'problem', None) or error}"
        ) from error


def _read(source: str | Path, into: type[Any]) -> dict[str, Any]:
    """The mapping that a preset for `into`, or a settings file, holds."""
    return _tree(_find(source, into))


def _tree(path: Path) -> dict[str, Any]:
    try:
        tree = _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {str(path)!r}: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: should hold 'key: value' lines, got {_kind(tree)}")
    return tree


def _find(source: str | Path, into: type[Any]) -> Path:
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        file = user_file(path)
        if file is None:
            raise ConfigError(f"no such settings file: {str(source)!r}")
        return file
    known = presets(into)
    if str(source) not in known:
        raise ConfigError(
            f"unknown preset {str(source)!r}{did_you_mean(str(source), known)} "
            f"(presets: {', '.join(known) or 'none'}; a file ends in .yaml)"
        )
    return PRESETS / f"{source}.yaml"


def _split(override: str) -> tuple[list[str], _Text]:
    """The path and the value of `a.b=value`."""
    path, equals, value = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"a setting is given as path.to.key=value, got {override!r}")
    return keys, _Text(value.strip())


def _put(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set `tree[keys[0]][keys[1]]...`; a mapping sets what it names and leaves the rest."""
    *groups, key = keys
    for group in groups:
        tree[group] = _group(tree.get(group), group)
        tree = tree[group]
    if isinstance(value, Mapping):
        tree[key] = _group(tree.get(key), key)
        for inner, item in value.items():
            _put(tree[key], str(inner).split("."), item)
    else:
        tree[key] = value


def _group(value: Any, name: str) -> dict[str, Any]:
    """What a group of settings sets so far: of a mapping or dataclass what it holds."""
    if isinstance(value, _Text):
        value = _parse(value, repr(name))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{name!r} should be a group of settings, got {_kind(value)}")
    return value or {}


# Building.


def _build(into: type[Any], tree: Mapping[Any, Any], path: str, root: type[Any]) -> Any:
    """An instance of the dataclass `into` from what `tree` sets; the rest keeps its default."""
    hints = typing.get_type_hints(into)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(into) if field.init}
    values = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if key not in fields:
            raise ConfigError(f"unknown setting {here!r}{_nearest(here, fields, root)}")
        values[key] = _convert(fields[key], value, here, root)
    try:
        return into(**values)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        # Owners begin with the name of their field, and know no path to themselves.
        owned = str(error).partition(" ")[0].rstrip(":") in fields
        where = f"{path}." if path and owned else f"{path}: " if path else ""
        raise ConfigError(f"{where}{error}") from error


def _convert(hint: Any, value: Any, path: str, root: type[Any]) -> Any:
    """`value` as the type `hint`.

    Raises:
        ConfigError: `value` is not of that type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(hint, value, path, root)
    if isinstance(value, _Text):
        # A name may hold what YAML takes for its own: `jsonl:take #1.jsonl`.
        listed = origin in (list, tuple, Sequence) and arguments[0] in (str, Path)
        plain = hint in (str, Path) or (listed and not value.startswith("["))
        value = str(value) if plain else _parse(value, repr(path))
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type[Any], hint)):
            return value
        tree = {} if value is None else value
        if dataclasses.is_dataclass(value) and issubclass(
            typing.cast(type[Any], hint), type(value)
        ):
            tree = _group(value, path)  # of the type that this one extends
        if not isinstance(tree, dict):
            raise _wrong(path, f"a group of settings ({', '.join(_names(hint))})", value)
        return _build(typing.cast(type[Any], hint), tree, path, root)
    if hint is Any:
        return value
    if origin is typing.Literal:
        return _convert_choice(arguments, arguments, value, path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _convert_choice([member.value for member in hint], list(hint), value, path)
    if origin in (list, tuple, Sequence):
        return _convert_sequence(origin, arguments, value, path, root)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(path, "a mapping", value)
        return {
            _convert(arguments[0], key, path, root): _convert(
                arguments[1], v, f"{path}.{key}", root
            )
            for key, v in value.items()
        }
    return _convert_scalar(hint, value, path)


_NULLS = ("", "~", "null", "Null", "NULL")


def _convert_union(hint: Any, value: Any, path: str, root: type[Any]) -> Any:
    options = typing.get_args(hint)
    if type(None) in options and (value is None or (isinstance(value, _Text) and value in _NULLS)):
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _convert(options[0], value, path, root)
    for option in options:
        try:
            return _convert(option, value, path, root)
        except ConfigError:
            continue
    plain = str(value) if isinstance(value, _Text) else value
    raise _wrong(path, " or ".join(map(_name, options)), plain)


def _convert_choice(given: Sequence[Any], results: Sequence[Any], value: Any, path: str) -> Any:
    """The one of `results` whose name in `given` is `value`."""
    for name, result in zip(given, results, strict=True):
        if name == value and type(name) is type(value):
            return result
    names = [str(name) for name in given]
    raise ConfigError(
        f"{path!r} should be one of {', '.join(names)}, got {value!r}"
        f"{did_you_mean(str(value), names)}"
    )


def _convert_sequence(
    origin: Any, arguments: tuple[Any, ...], value: Any, path: str, root: type[Any]
) -> Any:
    """A list, or a tuple; `a, b` is taken for `[a, b]` and `3` for `[3]`, as people write it."""
    if isinstance(value, str):
        value = [_Text(item.strip()) for item in value.split(",") if item.strip()]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list | tuple):
        raise _wrong(path, "a list", value)
    if origin is tuple and Ellipsis not in arguments:
        if len(value) != len(arguments):
            raise _wrong(path, f"a list of {len(arguments)}", value)
        hints = list(arguments)
    else:
        hints = [arguments[0]] * len(value)
    items = [
        _convert(hint, item, f"{path}[{i}]", root)
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    ]
    return items if origin is list else tuple(items)


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return user_path(value)
    if hint is Fraction and type(value) in (int, float, str):
        try:
            return Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            raise _wrong(path, "a number or a fraction such as 30000/1001", value) from None
    # `type() is`, since True is an instance of int.
    if hint is type(None) or type(value) is not hint:
        raise _wrong(path, _name(hint), value)
    return value


# Sentences.


_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
}


def _name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(repr(value) for value in typing.get_args(hint))
    return _WORDS.get(hint) or str(getattr(hint, "__name__", hint))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return f"the text {value!r}" if isinstance(value, str) else repr(value)


def _wrong(path: str, wanted: str, value: Any) -> ConfigError:
    return ConfigError(f"{path!r} should be {wanted}, got {_kind(value)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word: which of the known ones may have been meant."""
    close = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _names(dataclass: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(dataclass) if field.init]


def _paths(dataclass: Any, prefix: str = "") -> Iterator[str]:
    """Every setting below a dataclass, as `a.b`, groups included."""
    for name, hint in typing.get_type_hints(dataclass).items():
        if name in _names(dataclass):
            yield prefix + name
            if dataclasses.is_dataclass(hint):
                yield from _paths(hint, f"{prefix}{name}.")


def _nearest(path: str, siblings: Mapping[str, Any], root: type[Any]) -> str:
    """What the writer of an unknown `path` may have meant: a sibling, the same key elsewhere."""
    prefix, _, key = path.rpartition(".")
    close = difflib.get_close_matches(key, list(siblings), 1, 0.6)
    if close:
        return f"; did you mean {f'{prefix}.{close[0]}'.lstrip('.')!r}?"
    elsewhere = {known.rpartition(".")[2]: known for known in _paths(root)}
    close = difflib.get_close_matches(key, list(elsewhere), 1, 0.8)
    if close:
        return f"; did you mean {elsewhere[close[0]]!r}?"
    return f" (known here: {', '.join(siblings)})"


def _plain(value: Any) -> Any:
    """`value` as what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name)) for name in _names(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path | Fraction):
        return str(value)
    return value
