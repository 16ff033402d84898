"""`--config FILE.yaml --section.key value`: a configuration model filled from a file and flags."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from jmed.errors import UserError, nearest
from jmed.untrusted import MAX_YAML, PlainLoader, read_whole

Config = TypeVar("Config", bound=BaseModel)


@dataclass
class Given:
    """What the user gave: nested values, and where each dotted key stands (`FILE:line` or the flag)."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)


def parse(model: type[Config], program: str, arguments: Sequence[str] | None = None) -> Config:
    """Read flags and file into `model`; UserError names the key, where it stands and what is expected."""
    keys = dict(_keys(model))
    parser = _parser(model, program, keys)
    try:
        options, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; --help shows every key") from None
    if unknown:
        raise _unknown_argument(unknown[0], keys)
    given = _read_file(Path(options.config)) if options.config else Given()
    for key in keys:
        if (text := getattr(options, key)) is not None:
            _put(given, key, _value(text), f"--{key}")
    try:
        return model.model_validate(given.values)
    except ValidationError as error:
        raise UserError(_explain(error, given, keys)) from None


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf key, dotted."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _keys(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def _parser(model: type[BaseModel], program: str, keys: dict[str, FieldInfo]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=model.__doc__,
        epilog='A flag overrides the file. A list on the command line is JSON: \'["ja", "en"]\'. '
        "Exit status: 0 done, 2 you can mend it (one message says how), 1 anything else.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="file that holds any of the keys below")
    for key, info in keys.items():
        required = info.is_required()
        default = "required" if required else f"default: {json.dumps(_plain(info.get_default()), ensure_ascii=False)}"
        text = f"{info.description} ({default})".replace("%", "%%")
        bare: dict[str, Any] = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
        parser.add_argument(f"--{key}", dest=key, metavar=_type_name(info.annotation), help=text, **bare)
    return parser


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _type_name(annotation: Any) -> str:
    """A type as a user reads it: `int|auto`, `ja|en`, `list of text`."""
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(str(value) for value in get_args(annotation))
    if origin is list:
        return f"[{_type_name(get_args(annotation)[0])}, …]"
    if hasattr(annotation, "__metadata__"):
        return _type_name(get_args(annotation)[0])
    if origin is Union or type(annotation).__name__ == "UnionType":
        return "|".join(_type_name(part) for part in get_args(annotation) if part is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "{" + ", ".join(annotation.model_fields) + "}"
    if origin is dict:
        return "{name: value, …}"
    names = {str: "TEXT", int: "INT", float: "NUMBER", bool: "true|false"}
    return names.get(annotation, str(annotation))


def _value(text: str) -> Any:
    """A flag's text; lists, objects and null are JSON, the rest is converted by the field's type."""
    if text[:1] in "[{" and text:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return None if text == "null" else text


def _put(given: Given, key: str, value: Any, place: str) -> None:
    *sections, name = key.split(".")
    target = given.values
    for section in sections:
        if not isinstance(target.get(section), dict):
            target[section] = {}
        target = target[section]
    target[name] = value
    given.places[key] = place


def _read_file(path: Path) -> Given:
    try:
        text = read_whole(path, MAX_YAML).decode()
        values = yaml.load(text, Loader=PlainLoader)
        node = yaml.compose(text, Loader=PlainLoader)
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror}); give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise UserError(f"--config {path}: is not UTF-8 text; save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}; expected lines such as `limit: 10`") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # control characters, a 13th month, endless nesting
        raise UserError(f"--config {path}: not YAML: {error}; expected lines such as `limit: 10`") from None
    if values is None:
        return Given()
    if not isinstance(values, dict):
        raise UserError(f"{path}:1: found {type(values).__name__}; expected keys and values such as `limit: 10`")
    return Given(values, dict(_places(node, path)))


def _places(node: yaml.Node | None, path: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`FILE:line` of every key; a key that stands twice in one mapping is an error (YAML keeps the last, silently)."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        name, line = str(key_node.value), key_node.start_mark.line + 1
        if name in seen:
            raise UserError(f"{path}:{line}: key {prefix + name!r} stands already in line {seen[name]}; keep one")
        seen[name] = line
        yield prefix + name, f"{path}:{line}"
        yield from _places(value_node, path, f"{prefix}{name}.")


def _unknown_argument(argument: str, keys: dict[str, FieldInfo]) -> UserError:
    if not argument.startswith("--"):
        return UserError(f"unexpected argument {argument!r}; expected --key value (see --help)")
    name = argument[2:].split("=")[0]
    return UserError(f"unknown key --{name}{nearest(name, keys)}; --help lists every key")


def _explain(error: ValidationError, given: Given, keys: dict[str, FieldInfo]) -> str:
    messages: dict[str, str] = {}  # one a key: a union reports each of its branches
    for detail in error.errors(include_url=False):
        messages.setdefault(_dotted(detail["loc"], keys), _explain_one(dict(detail), given, keys))
    return "\n".join(messages.values())


def _explain_one(detail: dict[str, Any], given: Given, keys: dict[str, FieldInfo]) -> str:
    key, item = _dotted(detail["loc"], keys), _item(detail["loc"], keys)
    found = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and not detail["loc"]:  # a rule between keys; its text names them
        key = next((k for k in sorted(keys, key=len, reverse=True) if found.startswith(k)), "")
        place = next((given.places[k] for k in _outward(key) if k in given.places), "")
        return f"{place}: {found}" if place else found
    place = next((given.places[k] for k in _outward(key) if k in given.places), "")
    if detail["type"] == "missing" and not item:
        wanted = [name for name in keys if name == key or (name.startswith(key + ".") and keys[name].is_required())]
        key = wanted[0] if wanted else key
        return f"{key} is required: give --{key} VALUE or write it into the --config file"
    if detail["type"] == "extra_forbidden":
        known = _item_keys(keys[key]) if item else keys
        hint = "" if item else "; --help lists every key"
        expected = f"; expected {', '.join(known)}" if item else ""
        return (
            f"{place}: unknown key {key + item!r}{nearest(item.split('.')[-1] if item else key, known)}{expected}{hint}"
        )
    expected = f" ({_type_name(keys[key].annotation)})" if key in keys and not item else ""
    hint = '; a list on the command line is JSON: \'["a", "b"]\'' if detail["type"] == "list_type" else ""
    return f"{place}: {key}{item}: found {detail['input']!r}; expected: {found}{expected}{hint}"


def _dotted(location: tuple[Any, ...], keys: dict[str, FieldInfo]) -> str:
    """The longest prefix of a pydantic location that is a key (union branches and list indices are cut off)."""
    parts = [str(part) for part in location]
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in keys:
            return ".".join(parts[:end])
    return ".".join(parts)


def _item(location: tuple[Any, ...], keys: dict[str, FieldInfo]) -> str:
    """`[2].format`: the place inside a list of objects; empty for every other key."""
    key = _dotted(location, keys)
    rest = location[len(key.split(".")) :]
    if key not in keys or not _item_keys(keys[key]) or not rest:
        return ""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)


def _item_keys(info: FieldInfo) -> list[str]:
    """The keys of the objects that a list holds; empty for any other type."""
    inner = get_args(info.annotation)[0] if get_origin(info.annotation) is list else None
    return list(inner.model_fields) if isinstance(inner, type) and issubclass(inner, BaseModel) else []


def _outward(key: str) -> Iterator[str]:
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        yield ".".join(parts[:end])
