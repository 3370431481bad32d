from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest

from virtagent.service.annotation import (
    REFUSALS,
    Unsupported,
    builtins_in,
    converter,
    is_plain,
    plainer,
    schema_of,
    stream_item,
    type_name,
)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(msgspec.Struct):
    name: str
    blob: bytes = b""
    children: list[Node] = []


@dataclass
class Moment:
    at: datetime


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
ESCAPED = b"a\xff".decode("utf-8", "surrogateescape")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("kind", [AsyncIterator, AsyncIterable])
def test_every_kind_of_async_iterable_is_a_stream(kind: Any) -> None:
    assert stream_item(kind[bytes]) is bytes
    assert stream_item(AsyncGenerator[Node, None]) is Node
    assert stream_item(list[bytes]) is None


def test_a_stream_of_unstated_items_is_unsupported() -> None:
    with pytest.raises(Unsupported, match=r"write AsyncIterator\[bytes\]"):
        stream_item(AsyncIterator)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, ()),
        (list[str], ()),
        (Node, (bytes, bytearray, memoryview)),
        (dict[str, Moment], (datetime,)),
        (bytes | None, (bytes, bytearray, memoryview)),
        (tuple[int, datetime], (datetime,)),
    ],
)
def test_types_that_the_wire_has_itself_are_found_at_any_depth(annotation: Any, expected: tuple[type, ...]) -> None:
    assert builtins_in(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (asyncio.Event, "Event is no struct, dataclass, enum or plain type"),
        (list[asyncio.Event], "Event is no struct"),
        (bytes | str, "more than one str-like type"),
        (Node | Moment, "more than one"),
        (msgspec.Raw, "has no meaning here"),
        (Annotated[str, msgspec.Meta(ge=1)], "numeric"),
    ],
)
def test_what_cannot_be_carried_is_unsupported(annotation: Any, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        builtins_in(annotation)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (str, ESCAPED, ESCAPED),
        (Annotated[str, msgspec.Meta(max_length=2, pattern="^a")], ESCAPED, ESCAPED),
        (dict[str, int], {ESCAPED: 1}, {ESCAPED: 1}),
        (bytes, b"\x00\xff", b"\x00\xff"),
        (datetime, NOW, NOW),
        (Moment, {"at": NOW}, Moment(NOW)),
        (Color, "red", Color.RED),
        (Literal["a", 1], 1, 1),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Node, {"name": "a", "children": [{"name": "b"}], "newer": 1}, Node("a", b"", [Node("b")])),
        (float, 1, 1.0),
        (int, 2**64 - 1, 2**64 - 1),
        (Any, [object], [object]),
        (None, None, None),
    ],
)
def test_wire_data_becomes_what_the_annotation_says(annotation: Any, value: Any, expected: Any) -> None:
    assert converter(annotation)(value) == expected


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "1"),
        (int, True),
        (int, 1.0),
        (bytes, "aGk="),
        (bytes, ESCAPED),
        (datetime, "2026-01-02T03:04:05Z"),
        (datetime, 5),
        (Color, ESCAPED),
        (Literal["a", "b"], ESCAPED),
        (int | None, ESCAPED),
        (Port, 0),
        (str, b"a"),
        (Node, {"name": 1}),
        (Node, {ESCAPED: 1}),
    ],
)
def test_other_data_is_refused_and_never_coerced(annotation: Any, value: Any) -> None:
    with pytest.raises(REFUSALS):
        converter(annotation)(value)


def test_data_that_is_nested_without_end_is_refused() -> None:
    nested: dict[str, Any] = {"name": "leaf"}
    for _ in range(20_000):
        nested = {"name": "n", "children": [nested]}
    with pytest.raises(REFUSALS):
        converter(Node)(nested)


@pytest.mark.parametrize(
    "annotation", [None, int, str, bytes, datetime, list[int], dict[str, list[float | None]], Port]
)
def test_plain_types_need_no_work_to_be_sent(annotation: Any) -> None:
    assert is_plain(annotation)
    assert plainer(annotation) is None


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Node, Node("a", b"\xff"), {"name": "a", "blob": b"\xff", "children": []}),
        (list[Color], [Color.RED], ["red"]),
        (Moment, Moment(NOW), {"at": NOW}),
        (Any, {"x": Node(ESCAPED)}, {"x": {"name": ESCAPED, "blob": b"", "children": []}}),
        (tuple[int, ...], (1, 2), [1, 2]),
        (list, [Color.BLUE], ["blue"]),
    ],
)
def test_other_types_are_made_plain(annotation: Any, value: Any, expected: Any) -> None:
    plain = plainer(annotation)
    assert plain is not None
    made = plain(value)
    assert (list(made) if isinstance(made, tuple) else made) == expected


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (None, "None"),
        (int, "int"),
        (Port, "int >= 1 and <= 65535"),
        (Annotated[str, msgspec.Meta(max_length=8, pattern="^a")], "str of at most 8 long and matching '^a'"),
        (list[str] | None, "list[str] | None"),
        (Optional[int], "int | None"),  # noqa: UP045 - the old spelling is another object
        (Literal["a", 1], "'a' | 1"),
        (Color, "Color ('red' | 'blue')"),
        (dict[str, Node], "dict[str, Node]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Any, "Any"),
    ],
)
def test_types_are_named_as_people_write_them(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


def test_schemas_are_json_schema_with_bytes_as_binary() -> None:
    assert schema_of(Port) == {"type": "integer", "minimum": 1, "maximum": 65535}
    node = schema_of(Node)["$defs"]["Node"]
    assert node["properties"]["blob"] == {"type": "string", "format": "binary", "default": ""}
    assert schema_of(dict[bytes, int]) == {} or "type" in schema_of(dict[bytes, int])
    assert schema_of(asyncio.Event) == {}
