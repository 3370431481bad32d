"""Fuzzes a plain channel: whatever comes, it goes on or ends with SessionEnded (rules X4, L1).

Allowed exceptions: none.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgpack

from fuzz.driver import main
from virtagent.protocol.events import SessionEnded
from virtagent.protocol.limits import Limits
from virtagent.protocol.plain import PlainConnection
from virtagent.protocol.rpc import Request

LIMITS = Limits()._replace(calls=4, message=2000)


def corpus() -> list[bytes]:
    """Messages of all shapes."""
    messages = [
        [0, 1, "m", [1, {"a": b"b"}]],
        [1, 1, None, [1.5, "x"]],
        [1, 1, [5, "no", None], None],
        [1, 1, ["odd"], None],
        [2, "n", {"k": msgpack.Timestamp(1, 2)}],
        [0, 2, "m", [msgpack.ExtType(1, b"12345"), msgpack.ExtType(9, b"")]],
    ]
    packed = [msgpack.packb(message) for message in messages]
    return [*packed, b"".join(packed), b"".join(packed) * 5]


def target(data: bytes) -> None:
    """The first byte tells in which portions the rest is read."""
    connection = PlainConnection(limits=LIMITS)
    connection.call("m", [], 0.0)
    step = 1 + (data[0] if data else 0)
    for number, start in enumerate(range(1, len(data), step)):
        events = connection.receive_data(data[start : start + step], float(number))
        for event in events:
            if isinstance(event, Request) and number % 2:
                connection.respond(event, event.params)
        events += connection.handle_timer(float(number))
        connection.data_to_send(float(number))
        assert connection.calls.open_requests <= 2 * LIMITS.calls
        assert connection.up or not connection.has_data
    assert connection.up or not connection.receive_data(b"x", 0.0)
    assert not any(isinstance(event, SessionEnded) for event in connection.handle_timer(1e9))


if __name__ == "__main__":
    main(target, [b"\xff" + data for data in corpus()] + [b"\x02" + data for data in corpus()])
