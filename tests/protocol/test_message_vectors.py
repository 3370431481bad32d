"""The golden bytes of messages: what is on the wire for good (docs/protocol.md, sections C, T, V, Versions).

``tests/vectors/messages.json`` is for any language. In its ``value``: numbers, text, booleans, null and arrays are
themselves; an object has one key that tells the kind: ``map`` (pairs), ``bin`` (hex), ``text`` (hex of its bytes),
``int`` (decimal, beyond 2^53), ``float`` (in words), ``timestamp`` (seconds, nanoseconds), ``ext`` (type, hex).
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import pytest

from virtagent.protocol.announcement import Announcement, Identity
from virtagent.protocol.codec import Codec, message_head
from virtagent.protocol.goodbye import decode_goodbye, encode_goodbye
from virtagent.protocol.limits import SERIAL

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "messages.json").read_text())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
codec = Codec()


def value_of(node: Any) -> Any:
    """The value that a node of the file stands for."""
    if isinstance(node, list):
        return [value_of(each) for each in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "map":
        return {value_of(key): value_of(value) for key, value in content}
    if kind == "timestamp":
        return EPOCH + timedelta(seconds=content[0], microseconds=content[1] // 1000)
    if kind == "ext":
        return msgpack.ExtType(content[0], bytes.fromhex(content[1]))
    if kind == "text":
        return bytes.fromhex(content).decode("utf-8", "surrogateescape")
    if kind == "bin":
        return bytes.fromhex(content)
    return int(content) if kind == "int" else float(content)


def name_of(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize("vector", VECTORS["messages"] + VECTORS["values"], ids=name_of)
def test_a_value_is_encoded_and_decoded_as_recorded(vector: dict[str, Any]) -> None:
    """Rules C1, C3, C10, T1, V1, V2, V3, V4, V5, V6, V9."""
    value, wire = value_of(vector["value"]), bytes.fromhex(vector["wire"])
    assert codec.pack(value) == wire
    assert same(codec.unpack(wire), value)


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=name_of)
def test_the_head_of_a_message_is_as_recorded(vector: dict[str, Any]) -> None:
    """Rule C2."""
    head = message_head(bytes.fromhex(vector["wire"]))
    assert (list(head) if head is not None else None) == vector["head"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=name_of)
def test_what_is_not_accepted_is_as_recorded(vector: dict[str, Any]) -> None:
    """Rules V5, V6, V8."""
    with pytest.raises((ValueError, OverflowError)):
        codec.unpack(bytes.fromhex(vector["wire"]))


def test_a_goodbye_is_as_recorded() -> None:
    """Rule G1."""
    for vector in VECTORS["goodbyes"]:
        wire = bytes.fromhex(vector["wire"])
        assert encode_goodbye(vector["reason"], vector["message"]) == wire
        assert decode_goodbye(memoryview(wire)) == (vector["reason"], vector["message"])


def test_a_hellos_map_is_as_recorded() -> None:
    """Rule H8."""
    identity = Identity(
        role="guest", name="vm-1", software="virtagent 0.1.0", machine="m", boot="b", digest="d", features={"line": {}}
    )
    mine = Announcement.of_limits(
        identity, SERIAL, keepalive=5.0, deadline=60.0, check=True, line_rate=11520, exclusive=True
    )
    wire = bytes.fromhex(VECTORS["hello_map"]["wire"])
    assert mine.pack() == wire
    assert Announcement.unpack(wire) == mine
    assert codec.unpack(wire) == value_of(VECTORS["hello_map"]["value"])
