"""One annotation: whether the wire can carry it, how people call it, its JSON schema, its converters.

msgspec does the work. What is ours: str is never coerced to bytes or datetime (the wire has both, rules V2 and V5), and
text with surrogate escapes (rule V1) makes msgspec raise ``UnicodeEncodeError`` where it expects something else than
``str``, which is a refusal like any other (:data:`REFUSALS`).
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import types
import typing
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import msgspec.inspect

__all__ = [
    "REFUSALS",
    "Unsupported",
    "builtins_in",
    "converter",
    "is_plain",
    "is_scalar",
    "plainer",
    "schema_of",
    "stream_item",
    "type_name",
]

REFUSALS = (msgspec.ValidationError, ValueError, TypeError, OverflowError, RecursionError)
"""What ``msgspec.convert`` raises for data that is not of the type."""

_WIRE_TYPES = (bytes, bytearray, memoryview, datetime)
"""Types which the wire has itself, beside the plain ones; the others that msgspec knows travel as text."""

_EXACT = frozenset({bool, int, float, str, bytes, datetime})
_PLAIN = _EXACT | {None, type(None)}
_STREAMS = (collections.abc.AsyncIterator, collections.abc.AsyncIterable, collections.abc.AsyncGenerator)
_CONSTRAINTS = {
    "gt": "> {}",
    "ge": ">= {}",
    "lt": "< {}",
    "le": "<= {}",
    "multiple_of": "multiple of {}",
    "min_length": "of at least {} long",
    "max_length": "of at most {} long",
    "pattern": "matching {!r}",
}


class Unsupported(Exception):
    """An annotation that cannot be carried; the text completes "unsupported type: ..."."""


def stream_item(annotation: Any) -> Any:
    """The item type of ``AsyncIterator[T]`` and its kin, or None for any other annotation.

    Raises:
        Unsupported: it is a stream of unstated items.
    """
    origin = typing.get_origin(annotation) or annotation
    if origin not in _STREAMS:
        return None
    args = typing.get_args(annotation)
    if not args:
        raise Unsupported(f"{origin.__name__} does not say of what; write {origin.__name__}[bytes] or of an item type")
    return args[0]


def _parts(info: msgspec.inspect.Type) -> list[Any]:
    parts = [each.type for each in getattr(info, "fields", ())]
    parts += [getattr(info, name) for name in ("type", "item_type", "key_type", "value_type") if hasattr(info, name)]
    parts += [*getattr(info, "item_types", ()), *getattr(info, "types", ())]
    return parts


@functools.lru_cache(maxsize=1024)
def builtins_in(annotation: Any) -> tuple[type, ...]:
    """Check an annotation, and tell which of the wire's own types occur in it: msgspec must not make them of text.

    Raises:
        Unsupported: the wire or msgspec cannot carry it.
        NameError: it refers to a name that does not exist (yet).
    """
    try:
        msgspec.msgpack.Decoder(annotation)
        pending: list[Any] = [msgspec.inspect.type_info(annotation)]
    except TypeError as error:
        raise Unsupported(" ".join(str(error).split("\n", maxsplit=1)[0].split())) from None
    found: set[type] = set()
    seen: set[int] = set()
    while pending:
        info = pending.pop()
        if id(info) in seen or not isinstance(info, msgspec.inspect.Type):
            continue
        seen.add(id(info))
        match info:
            case msgspec.inspect.CustomType():
                raise Unsupported(f"{type_name(info.cls)} is no struct, dataclass, enum or plain type")
            case msgspec.inspect.RawType() | msgspec.inspect.ExtType():
                raise Unsupported(f"{type_name(annotation)} has no meaning here; write Any")
            case msgspec.inspect.BytesType() | msgspec.inspect.ByteArrayType() | msgspec.inspect.MemoryViewType():
                found.update((bytes, bytearray, memoryview))
            case msgspec.inspect.DateTimeType():
                found.add(datetime)
        pending += _parts(info)
    return tuple(each for each in _WIRE_TYPES if each in found)


def converter(annotation: Any) -> Callable[[Any], Any]:
    """A function that makes a value of the annotated type from wire data, raising one of :data:`REFUSALS`."""
    builtin = builtins_in(annotation)
    convert = msgspec.convert
    if annotation is Any:
        return lambda value: value
    if annotation in _EXACT:
        return lambda value: value if type(value) is annotation else convert(value, annotation, builtin_types=builtin)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return lambda value: convert(value, annotation, builtin_types=builtin)
    # msgspec keeps what it knows of a struct, and works the rest out anew each time: that takes a microsecond or two.
    kept: Any = msgspec.defstruct("Value", [("value", annotation)], array_like=True, gc=False)

    def convert_kept(value: Any) -> Any:
        try:
            return convert((value,), kept, builtin_types=builtin).value
        except REFUSALS:
            # Again, for an error that tells places inside the value.
            return convert(value, annotation, builtin_types=builtin)

    return convert_kept


def is_scalar(annotation: Any) -> bool:
    """Whether a value of this type that came over the wire is what the annotation says, and cannot be changed."""
    if annotation in _PLAIN or annotation is Any:
        return annotation is not float  # an int is taken for one, and made one
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return is_scalar(args[0])
    if origin in (typing.Union, types.UnionType):
        return all(is_scalar(each) for each in args)
    return origin is typing.Literal


def is_plain(annotation: Any) -> bool:
    """Whether every value of this type goes on the wire as it is."""
    if annotation in _PLAIN:
        return True
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return is_plain(args[0])
    if origin in (list, dict, typing.Union, types.UnionType):
        return all(is_plain(each) for each in args)
    return False


def plainer(annotation: Any) -> Callable[[Any], Any] | None:
    """A function that makes a value of the annotated type plain, or None where it is plain already."""
    if is_plain(annotation):
        return None
    to_builtins = msgspec.to_builtins
    return lambda value: to_builtins(value, builtin_types=_WIRE_TYPES)


def _limits(metas: tuple[Any, ...]) -> str:
    return " and ".join(
        text.format(value)
        for meta in metas
        if isinstance(meta, msgspec.Meta)
        for name, text in _CONSTRAINTS.items()
        if (value := getattr(meta, name)) is not None
    )


def type_name(annotation: Any) -> str:
    """The annotation as people write it, with its constraints: ``int >= 0``, ``list[str] | None``, ``'a' | 'b'``."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if origin is typing.Annotated:
        return f"{type_name(args[0])} {_limits(args[1:])}".strip()
    if origin in (typing.Union, types.UnionType, typing.Literal):
        return " | ".join(map(repr if origin is typing.Literal else type_name, args))
    if origin is not None:
        return f"{getattr(origin, '__name__', origin)}[{', '.join('...' if a is ... else type_name(a) for a in args)}]"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return f"{annotation.__name__} ({' | '.join(repr(each.value) for each in annotation)})"
    return str(getattr(annotation, "__name__", annotation))


def _with_binary(schema: Any) -> Any:
    """JSON has no bytes, msgspec says base64 text; the wire has them (rule V2); OpenAPI's word for that is binary."""
    if isinstance(schema, dict):
        if schema.get("contentEncoding") == "base64":
            kept = {key: value for key, value in schema.items() if key != "contentEncoding"}
            return {**kept, "format": "binary"}
        return {key: _with_binary(value) for key, value in schema.items()}
    return [_with_binary(each) for each in schema] if isinstance(schema, list) else schema


def schema_of(annotation: Any) -> dict[str, Any]:
    """The JSON schema (2020-12) of an annotation; ``{}`` (anything) where JSON schema has no word for it."""
    try:
        schema: dict[str, Any] = _with_binary(msgspec.json.schema(annotation))
    except TypeError:
        return {}
    return schema
