"""Checking what a configuration file says: each mistake is told by its line, with what to write instead."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from virtagent.guest.configuration import Configuration
from virtagent.guest.configuration_file import ConfigurationError
from virtagent.guest.toml_places import Place, places_in

__all__ = ["check"]

_MOST = 50
"""Mistakes that are told at most."""


def check(file: str, text: str, values: Mapping[str, Any]) -> Configuration:
    """The configuration that a file means.

    Args:
        file: its path, for messages.
        text: what is in it.
        values: the same, parsed.

    Raises:
        ConfigurationError: there are mistakes, all of which are told.
    """
    found = list(_Check().struct(Configuration, values, ()))
    if found:
        places = places_in(text)
        lines = sorted((_line(places, place), text) for place, text in found)
        raise ConfigurationError(f"{file}, line {line}: {text}" for line, text in lines[:_MOST])
    return msgspec.convert(values, Configuration)


def _line(places: Mapping[Place, int], place: Place) -> int:
    """The line of a place, or of the nearest one around it."""
    while place and place not in places:
        place = place[:-1]
    return places.get(place, 1)


class _Check:
    """Finds all mistakes of a document."""

    def struct(self, cls: type[msgspec.Struct], value: Any, place: Place) -> Iterator[tuple[Place, str]]:
        """The mistakes of a table."""
        if not isinstance(value, Mapping):
            name = _name(place)
            yield place, f"{name} is a table; write [{name}] and its keys below"
            return
        fields = {each.encode_name: each for each in msgspec.structs.fields(cls)}
        clean = True
        for key in value:
            if key not in fields:
                clean = False
                yield (*place, key), _unknown(key, place, list(fields))
        for key, field in fields.items():
            if key not in value and field.required:
                clean = False
                yield place, f"{key} is missing in {_name(place)}; write for example {key} = {_toml(_example(field))}"
            if key in value:
                for mistake in self._value(field, value[key], (*place, key)):
                    clean = False
                    yield mistake
        if clean:
            yield from self._together(cls, value, place)

    def _value(self, field: msgspec.structs.FieldInfo, value: Any, place: Place) -> Iterator[tuple[Place, str]]:
        inner = _bare(field.type)
        arguments = get_args(inner)
        if _is_struct(inner):
            yield from self.struct(inner, value, place)
        elif get_origin(inner) is tuple and _is_struct(_bare(arguments[0])):
            if not isinstance(value, list):
                yield place, f"there may be several of {_name(place)}; write [[{_name(place)}]] with two brackets"
                return
            for index, each in enumerate(value):
                yield from self.struct(_bare(arguments[0]), each, (*place, index))
        elif get_origin(inner) is dict and _is_struct(_bare(arguments[1])) and isinstance(value, dict):
            for key, each in value.items():
                yield from self.struct(_bare(arguments[1]), each, (*place, key))
        else:
            yield from self._plain(field, value, place)

    def _plain(self, field: msgspec.structs.FieldInfo, value: Any, place: Place) -> Iterator[tuple[Place, str]]:
        key = str(place[-1])
        instead = f"write for example {key} = {_toml(_example(field))}"
        if isinstance(value, float) and not math.isfinite(value):
            yield place, f"{key} = {value} is no number to work with; {instead}"
            return
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            inside = tuple(int(each) for each in path.rstrip("`").replace("]", "").split("[") if each.isdigit())
            yield (*place, *inside), f"{key}: {_words(text, field.type)}, not {_toml(_at(value, inside))}; {instead}"

    def _together(
        self, cls: type[msgspec.Struct], value: Mapping[str, Any], place: Place
    ) -> Iterator[tuple[Place, str]]:
        """What keys say that each by itself may say."""
        mistakes = getattr(cls, "mistakes", None)
        if mistakes is not None:
            for key, text in mistakes(msgspec.convert(value, cls)):
                inside = tuple(int(each) if each.isdigit() else each for each in key.split("."))
                yield (*place, *inside), text


def _unknown(key: str, place: Place, known: list[str]) -> str:
    """The text for a key that is not there, with what may have been meant."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

    where = f"[{_name(place)}]" if place else "the file"
    near = get_close_matches(key, known, n=3)
    if near:
        return f"unknown key {key!r} in {where}; did you mean {' or '.join(near)}?"
    owners = [
        section.encode_name
        for section in msgspec.structs.fields(Configuration)
        if place != (section.encode_name,) and key in _keys_of(section.type)
    ]
    if owners:
        return f"unknown key {key!r} in {where}; it belongs to [{owners[0]}]"
    return f"unknown key {key!r} in {where}; known are {', '.join(known)}"


def _keys_of(annotation: Any) -> tuple[str, ...]:
    inner = _bare(annotation)
    inner = inner if _is_struct(inner) else _bare((*get_args(inner), None)[0])
    return tuple(each.encode_name for each in msgspec.structs.fields(inner)) if _is_struct(inner) else ()


def _bare(annotation: Any) -> Any:
    """A type without its bounds."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _name(place: Place) -> str:
    return ".".join(str(each) for each in place if isinstance(each, str))


def _at(value: Any, inside: Iterable[int]) -> Any:
    for each in inside:
        value = value[each]
    return value


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": 'a list such as ["one", "two"]',
    "object": "a table",
    "null": "nothing",
}


def _words(text: str, annotation: Any) -> str:
    """What msgspec says, for people: ``expected a number >= 0.0``."""
    choices = _choices(annotation)
    if text.startswith("Invalid enum value") and choices:
        return f"expected {' or '.join(_toml(each) for each in choices)}"
    expected = text.partition(", got ")[0].replace("Expected", "expected", 1)
    for name, words in _KINDS.items():
        expected = expected.replace(f"`{name}`", words)
        for other, others in _KINDS.items():
            expected = expected.replace(f"`{name} | {other}`", f"{words} or {others}")
    if "matching regex '^(/" in expected or "matching regex '^/" in expected:
        return "expected an absolute path"
    return expected.replace(" | nothing", "").replace("`", "").replace(" or nothing", "")


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of the first Literal in a type."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    for each in get_args(annotation):
        found = _choices(each)
        if found:
            return found
    return ()


def _example(field: msgspec.structs.FieldInfo) -> Any:
    """What one might write: the type's own example, else the default."""
    choices = _choices(field.type)
    if field.required and choices:
        return choices[0]
    for annotation in (field.type, *get_args(_bare(field.type))):
        for each in getattr(annotation, "__metadata__", ()):
            if isinstance(each, msgspec.Meta) and each.examples:
                inner = annotation is not field.type
                return each.examples if inner else each.examples[0]
    return "..." if field.default in (msgspec.NODEFAULT, None, "", ()) else field.default


def _toml(value: Any) -> str:
    """A value as it is written in the file, cut where it is long."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, (list, tuple)):
        text = f"[{', '.join(_toml(each) for each in value)}]"
    elif isinstance(value, dict):
        text = "{...}"
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
