"""Fuzzes a whole connection in an established session, with frames that are valid and content that is hostile.

The input is a list of steps; each becomes a frame with the right seed, sequence and checks (or, rarely, bytes that
are none), an answer, a stream's use, or passing time. Allowed exceptions: none. Bounds that must hold: rules C5, C6,
P6, T6, T9, L1; and after all of it a new session begins.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import msgpack

from fuzz.driver import main
from virtagent.protocol.announcement import Identity
from virtagent.protocol.connection import Connection
from virtagent.protocol.events import SessionUp
from virtagent.protocol.limits import Limits
from virtagent.protocol.rpc import Request
from virtagent.protocol.streams import SENDS, Stream

LIMITS = Limits()._replace(frame=1024, message=3000, reassembly=6000, transfers=3, calls=4, streams=3, window=64,
                 surplus=256, largest_window=256)  # fmt: skip
KINDS = [5, 5, 5, 6, 6, 7, 7 | 0x20, 7 | 0x10, 7 | 0x30, 8, 9, 9 | 0x10, 9 | 0x40, 10, 11, 3, 4, 2, 1, 1 | 0x10, 0, 12]


@dataclass(frozen=True)
class Facts:
    """A channel that is as bad as any."""

    scheme: str = "virtio"
    lossless: bool = True
    stale: bool = True
    speaks_first: bool = True
    line_rate: int | None = None
    exclusive: bool = True


def join(one: Connection, other: Connection, now: float, rounds: int = 20) -> list[Any]:
    """Carry bytes both ways; the events of the first."""
    events = []
    for _ in range(rounds):
        other.receive_data(b"".join(one.data_to_send(now)), now)
        events += one.receive_data(b"".join(other.data_to_send(now)), now)
    return events


class Run:
    """One input: a victim, and a peer whose frames carry what the input says."""

    def __init__(self, data: bytes) -> None:
        draw = Random(1)
        self.now = 100.0
        self.victim = Connection(Identity(), draw=draw.getrandbits, now=self.now, limits=LIMITS)
        self.hostile = Connection(Identity(), draw=draw.getrandbits, now=self.now, limits=LIMITS)
        for connection in (self.victim, self.hostile):
            connection.channel_made(Facts(), connecting=True, now=self.now)
        join(self.victim, self.hostile, self.now)
        assert self.victim.up
        self.requests: list[Request] = []
        self.data, self.position = data, 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.position : self.position + count]
        self.position += count
        return piece

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size), "big")

    def run(self) -> None:
        while self.position < len(self.data) and self.victim.up and self.hostile.up:
            self.step(self.number())
            self.check()
        self.recover()

    def step(self, what: int) -> None:
        session = self.hostile._session
        if session is None:
            return
        if what < 0xE0:
            kind = KINDS[what % len(KINDS)]
            stream, length = self.number() & 7, self.number()
            self.receive(session.writer.frame(kind, stream, self.take(length)))
        elif what < 0xE8:
            if self.requests:
                self.victim.respond(self.requests.pop(), [1, b"x" * self.number()])
        elif what < 0xEC:
            self.now += self.number() / 8
            self.took(self.victim.handle_timer(self.now))
        elif what < 0xF0:
            self.victim.data_to_send(self.now)
        elif what < 0xF4:
            self.victim.call("m", [], self.now, deadline=self.now + 3)
        elif what < 0xF8:
            self.use_stream()
        elif what < 0xFC and self.victim.calls.calls:
            self.victim.cancel(next(iter(self.victim.calls.calls.values())))
        else:
            self.receive(self.take(self.number()))

    def use_stream(self) -> None:
        streams = self.victim.streams
        open_ones = list(streams._streams.values()) if streams is not None else []
        for stream in open_ones[:2]:
            self.use(stream)
        if streams is not None and streams._mine < 3:
            streams.open(SENDS, 3)[0].opened()

    def use(self, stream: Stream) -> None:
        what = self.number()
        if what < 100 and stream.sends:
            stream.send(bytes(what))
        elif what < 200:
            stream.consume(stream._received - stream._consumed)
        elif what < 230:
            stream.end()
        else:
            stream.reset([1, "", None])

    def receive(self, data: bytes) -> None:
        self.took(self.victim.receive_data(data, self.now))

    def took(self, events: list[Any]) -> None:
        self.requests += [event for event in events if isinstance(event, Request)]

    def check(self) -> None:
        victim = self.victim
        assert victim.calls.open_requests <= 2 * LIMITS.calls
        assert victim.calls.unsent_answers <= 2 * LIMITS.calls + 600
        session = victim._session
        if session is None:
            return
        assert session._reassembly._total <= LIMITS.reassembly
        assert len(session._reassembly) <= LIMITS.transfers
        streams = session.streams
        assert len(streams) - streams._mine <= LIMITS.streams
        grown = sum(stream._window - LIMITS.window for stream in streams._streams.values())
        assert streams._surplus + grown == LIMITS.surplus
        assert streams._surplus >= 0

    def recover(self) -> None:
        self.hostile.channel_lost(self.now, "")
        self.victim.channel_lost(self.now, "")
        assert not self.victim.calls.calls
        assert not self.victim.calls.requests
        for connection in (self.hostile, self.victim):
            connection.channel_made(Facts(), connecting=True, now=self.now)
        assert any(isinstance(event, SessionUp) for event in join(self.victim, self.hostile, self.now))


def step(kind: int, payload: bytes, stream: int = 0) -> bytes:
    """The input that makes one frame."""
    return bytes([KINDS.index(kind), stream, min(len(payload), 255)]) + payload[:255]


def corpus() -> list[bytes]:
    """Each kind of frame with content of the right shape, and whole stories."""
    pack = msgpack.packb
    references = [msgpack.ExtType(1, bytes([0, 0, 0, identifier, 1 + identifier % 7])) for identifier in range(1, 7)]
    messages = [
        [0, 1, "m", [1]],
        [0, 2, "m", {"a": 1}, {"deadline": 5, "depth": 1, "priority": 3}],
        [1, 1, None, 5],
        [1, 1, [5, "x", None], None],
        [2, "n", []],
        [3, 1],
        *([0, number, "m", [reference]] for number, reference in enumerate(references)),
        [2, "n", references],
    ]
    steps = [step(5, pack(message)) for message in messages]
    steps.append(step(6, pack(messages[:5])))
    steps.append(step(6, pack(messages[6:9])))
    steps.append(step(6, pack([[0, 5, "m", {1: 2}], *messages[6:9]])))
    long = pack([0, 9, "m", [bytes(400)]])
    steps.append(step(7 | 0x20, len(long).to_bytes(4, "big") + long[:200], 3) + step(7 | 0x10, long[200:], 3))
    steps.append(step(7 | 0x20, b"\x00\xff\x00\x00" + long[:100], 4) + step(8, b"", 4))
    steps += [step(9, b"data", stream) + step(9 | 0x10, b"end", stream) for stream in range(4)]
    steps += [step(10, bytes(7) + b"\xff", 2), step(11, pack([5, "x", None]), 1), step(9 | 0x40, pack([5, "x", 0]), 1)]
    steps += [step(3, bytes(8)), step(4, bytes(8)), step(2, b""), step(1, pack({"reason": "stop"})), step(12, b"?")]
    steps += [b"\xf4\x10\x20", b"\xe0\x10", b"\xe8\x20", b"\xf0", b"\xec", b"\xf8"]
    return [b"".join(steps), b"".join(reversed(steps)), *(each * 3 for each in steps)]


def target(data: bytes) -> None:
    """Run one input."""
    Run(data).run()


if __name__ == "__main__":
    main(target, corpus())
