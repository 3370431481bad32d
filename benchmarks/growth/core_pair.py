"""Two protocol cores joined in memory, in virtual time: what they do is the same in every run, and can be counted."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.growth.limits import LIMITS
from virtagent.protocol.announcement import Identity
from virtagent.protocol.connection import Connection
from virtagent.protocol.streams import ITEMS, RECEIVES, SENDS, Stream

__all__ = ["CorePair", "Opening"]

START = 1000.0


class Facts:
    """The facts of a socket."""

    scheme = "tcp"
    lossless = True
    stale = False
    speaks_first = False
    line_rate = None
    exclusive = False


class Opening:
    """Stands in params or a result for a stream that is opened while they are encoded; ``stream`` is it then."""

    def __init__(self, flags: int = SENDS | RECEIVES | ITEMS) -> None:
        self.flags = flags
        self.stream: Any = None


class Reading(Stream):
    """A stream whose reader takes at once what comes."""

    taken = 0

    def on_data(self, data: bytes) -> None:
        self.taken += len(data)
        self.consume(len(data))


class CorePair:
    """Both cores, with a session, and what each was told.

    Attributes:
        left, right: the cores; the left one has connected.
        events: what each was told, left and right.
        now: the time of both.
    """

    def __init__(self) -> None:
        self.now = START
        draw = random.Random(1).getrandbits
        self.left, self.right = (
            Connection(Identity(), draw=draw, now=self.now, limits=LIMITS, keepalive=0.0, make_stream=Reading)
            for _ in range(2)
        )
        self.events: tuple[list[Any], list[Any]] = ([], [])
        for core in (self.left, self.right):
            core.encode_special = self._encoder(core)
            core.channel_made(Facts(), connecting=core is self.left, now=self.now)
        self.carry()
        if not (self.left.up and self.right.up):
            raise RuntimeError("two cores in one process found no session")

    @staticmethod
    def _encoder(core: Connection) -> Any:
        def encode(value: Any) -> Any:
            if isinstance(value, Opening):
                value.stream, reference = core.open_stream(value.flags)
                return reference
            raise TypeError("not plain data")

        return encode

    def carry(self) -> None:
        """Carry bytes to and fro until both are quiet."""
        moved = True
        while moved:
            moved = False
            for sender, receiver, told in (
                (self.left, self.right, self.events[1]),
                (self.right, self.left, self.events[0]),
            ):
                while pieces := sender.data_to_send(self.now):
                    moved = True
                    for piece in pieces:
                        told.extend(receiver.receive_data(piece, self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass, with every timer at its moment."""
        end = self.now + seconds
        while (at := min(self.left.next_timer_at, self.right.next_timer_at)) <= end:
            self.now = max(self.now, at) + 1e-6
            for core, told in zip((self.left, self.right), self.events, strict=True):
                if core.next_timer_at <= self.now:
                    told.extend(core.handle_timer(self.now))
            self.carry()
        self.now = max(self.now, end)

    def told(self, kind: type[Any]) -> list[Any]:
        """What the right one was told since this was last asked, of one kind."""
        found = [event for event in self.events[1] if type(event) is kind]
        self.events[1].clear()
        return found
