"""Two connections joined by a byte pipe, in virtual time: nothing waits, and every run is the same."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from virtagent.errors import VirtagentError
from virtagent.protocol.announcement import Identity
from virtagent.protocol.connection import Connection
from virtagent.protocol.events import SessionUp
from virtagent.protocol.rpc import Request
from virtagent.protocol.streams import Stream

EventType = TypeVar("EventType")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the core must know of a channel."""

    scheme: str = "tcp"
    lossless: bool = True
    stale: bool = False
    speaks_first: bool = False
    line_rate: int | None = None
    exclusive: bool = False


SOCKET = Facts()
VIRTIO = Facts(scheme="virtio", stale=True, speaks_first=True)
SERIAL = Facts(scheme="serial", lossless=False, stale=True, speaks_first=True, line_rate=11520)


class Recorded(Stream):
    """A stream that writes down what happens to it, and reads at once unless told otherwise."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.data = bytearray()
        self.ends: list[VirtagentError | None] = []
        self.resets: list[VirtagentError] = []
        self.reads_at_once = True

    def on_data(self, data: bytes) -> None:
        self.data += data
        if self.reads_at_once:
            self.consume(len(data))

    def on_end(self, error: VirtagentError | None) -> None:
        self.ends.append(error)

    def on_reset(self, error: VirtagentError) -> None:
        self.resets.append(error)


class Side:
    """One process: its connection, what it was told, and what is on the way to it."""

    def __init__(self, pair: Pair, name: str, facts: Facts, connecting: bool, options: dict[str, Any]) -> None:
        self.pair, self.name, self.facts, self.connecting, self.options = pair, name, facts, connecting, options
        self.events: list[Any] = []
        self.incoming = bytearray()
        self.transform: Callable[[bytes], bytes] | None = None
        self.deaf = False
        self.start()

    def start(self) -> None:
        """Begin (again) as a new process on the same channel."""
        options: dict[str, Any] = {"make_stream": Recorded, "keepalive": 5.0} | self.options
        identity = options.pop("identity", Identity(name=self.name))
        self.connection = Connection(identity, draw=self.pair.random.getrandbits, now=self.pair.now, **options)
        self.connection.encode_special = self.encode_stream
        self.connection.channel_made(self.facts, connecting=self.connecting, now=self.pair.now)

    def encode_stream(self, value: Any) -> Any:
        if isinstance(value, Opening):
            value.stream, reference = self.connection.open_stream(value.flags)
            return reference
        raise TypeError("not plain data")

    def take(self) -> bytes:
        """What this side hands to the channel now."""
        return b"".join(self.connection.data_to_send(self.pair.now))

    def read(self, data: bytes) -> None:
        self.events += self.connection.receive_data(data, self.pair.now)

    def of(self, kind: type[EventType]) -> list[EventType]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def requests(self) -> list[Request]:
        return self.of(Request)

    def call(self, method: str = "m", params: Any = None, **options: Any) -> Any:
        return self.connection.call(method, params, self.pair.now, **options)


class Opening:
    """Stands in params for a stream that is opened while they are encoded."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.stream: Any = None


class Pair:
    """Both sides and the pipe between them."""

    def __init__(
        self,
        left: Facts = SOCKET,
        right: Facts = SOCKET,
        *,
        seed: int = 1,
        left_options: dict[str, Any] | None = None,
        right_options: dict[str, Any] | None = None,
    ) -> None:
        self.now = 1000.0
        self.random = random.Random(seed)
        self.left = Side(self, "left", left, True, left_options or {})
        self.right = Side(self, "right", right, False, right_options or {})

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.left, self.right

    def step(self) -> bool:
        """Carry once what both sides have to send; whether anything moved."""
        moved = False
        for sender, receiver in ((self.left, self.right), (self.right, self.left)):
            if not sender.deaf and (data := sender.take()):
                receiver.incoming += sender.transform(data) if sender.transform else data
                moved = True
        for side in self.sides:
            if side.incoming and not side.deaf:
                data, side.incoming = bytes(side.incoming), bytearray()
                side.read(data)
                moved = True
        return moved

    def pump(self, most: int = 10_000) -> None:
        """Carry until nothing moves."""
        for _ in range(most):
            if not self.step():
                return
        raise AssertionError("the two never stop talking")

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer at its moment."""
        end = self.now + seconds
        self.pump()
        while True:
            at = min(side.connection.next_timer_at for side in self.sides if not side.deaf)
            if at > end:
                break
            self.now = max(self.now, at)
            for side in self.sides:
                if not side.deaf and side.connection.next_timer_at <= self.now:
                    side.events += side.connection.handle_timer(self.now)
            self.pump()
            stuck = [side for side in self.sides if not side.deaf and side.connection.next_timer_at <= self.now]
            if stuck:
                self.now = math.nextafter(self.now, math.inf) + 1e-6
        self.now = end

    def up(self) -> Pair:
        """Wait until both are up in one session."""
        self.advance(3.0)
        assert self.left.connection.up
        assert self.right.connection.up
        assert self.left.of(SessionUp)
        assert self.right.of(SessionUp)
        return self
