"""The golden bytes of frames and hellos: what is on the wire for good (docs/protocol.md, Versions)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack
import pytest

from virtagent.protocol.frames import FrameReader, FrameWriter, encode_hello_frame, session_seed
from virtagent.protocol.hello import HelloHead

VECTORS = Path(__file__).parent.parent / "vectors"
FRAMES: list[dict[str, Any]] = json.loads((VECTORS / "frames.json").read_text())["frames"]
HELLOS: list[dict[str, Any]] = json.loads((VECTORS / "hello.json").read_text())["hellos"]


def frame_name(vector: dict[str, Any]) -> str:
    return f"{vector['name']}{'' if vector['payload_check'] else ', unchecked'}"


def parse_one(reader: FrameReader, wire: bytes) -> tuple[int, int, bytes]:
    assert reader.feed(wire) == len(wire)
    frame = reader.next_frame()
    assert frame is not None
    assert reader.pending == 0
    return frame[0], frame[1], bytes(frame[2])


@pytest.mark.parametrize("vector", FRAMES, ids=frame_name)
def test_a_frame_is_encoded_and_decoded_as_recorded(vector: dict[str, Any]) -> None:
    """Rules F1, F2, F4, F5, F7."""
    seed = session_seed(vector["sender_tag"], vector["receiver_tag"])
    kind, payload, wire = (
        vector["flags"] << 4 | vector["kind"],
        bytes.fromhex(vector["payload"]),
        bytes.fromhex(vector["wire"]),
    )
    writer = FrameWriter(seed, check_payload=vector["payload_check"])
    writer.sequence = vector["sequence"]
    assert writer.frame(kind, vector["stream"], payload) == wire
    reader = FrameReader(1024)
    reader.begin(seed, check_payload=vector["payload_check"], expected=vector["sequence"])
    assert parse_one(reader, wire) == (kind, vector["stream"], payload)


@pytest.mark.parametrize("vector", FRAMES, ids=frame_name)
def test_a_frame_is_what_the_diagram_says(vector: dict[str, Any]) -> None:
    """Rules F1, F2, F5: laid out by hand, without the code under test."""
    payload = bytes.fromhex(vector["payload"])
    head = (
        b"\xc1\x56"
        + bytes([vector["flags"] << 4 | vector["kind"]])
        + len(payload).to_bytes(3, "big")
        + vector["stream"].to_bytes(4, "big")
        + vector["sequence"].to_bytes(2, "big")
    )
    tags = vector["sender_tag"].to_bytes(4, "big") + vector["receiver_tag"].to_bytes(4, "big")
    check = crc32(head, crc32(tags))
    tail = crc32(payload, check).to_bytes(4, "big") if payload and vector["payload_check"] else b""
    assert bytes.fromhex(vector["wire"]) == head + check.to_bytes(4, "big") + payload + tail


@pytest.mark.parametrize("vector", HELLOS, ids=lambda vector: str(vector["name"]))
def test_a_hello_is_encoded_and_decoded_as_recorded(vector: dict[str, Any]) -> None:
    """Rules F2, F4, F5, H8."""
    head = HelloHead(vector["tag"], vector["echo"], vector["session"], int(vector["instance"], 16))
    payload, wire = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["wire"])
    assert head.pack() + bytes.fromhex(vector["map"]) == payload
    assert encode_hello_frame(payload) == wire
    kind, stream, parsed = parse_one(FrameReader(256), wire)
    assert (kind, stream, parsed) == (0, 0, payload)
    assert HelloHead.unpack(parsed) == head
    assert isinstance(msgpack.unpackb(parsed[20:]), dict)


def test_every_kind_has_a_vector() -> None:
    """Rule F1: the table of kinds in section F, and one unknown (F7)."""
    assert {vector["kind"] for vector in FRAMES} == {*range(1, 12), 15}
