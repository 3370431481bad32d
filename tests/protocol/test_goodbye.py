"""What a goodbye carries (docs/protocol.md, rule G1)."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.protocol.goodbye import decode_goodbye, encode_goodbye


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_goodbye_fits_the_smallest_frame_and_arrives(reason: str, message: str) -> None:
    """Rule G1."""
    payload = encode_goodbye(reason, message)
    assert len(payload) <= 256
    got_reason, got_message = decode_goodbye(memoryview(payload))
    assert got_reason == "unknown" or reason.startswith(got_reason)
    assert message.startswith(got_message)


@pytest.mark.parametrize("content", [[], 5, {"reason": 5, "message": b"x"}, {b"reason": "x"}, {}])
def test_a_goodbye_of_another_shape_has_an_unknown_reason(content: Any) -> None:
    """Rules G1, L1."""
    assert decode_goodbye(memoryview(msgpack.packb(content))) == ("unknown", "")


@given(st.binary(max_size=300))
def test_any_bytes_are_some_goodbye(payload: bytes) -> None:
    """Rules G1, L1."""
    reason, message = decode_goodbye(memoryview(payload))
    assert 0 < len(reason.encode("utf-8", "surrogateescape")) <= 32
    assert len(message.encode("utf-8", "surrogateescape")) <= 128
