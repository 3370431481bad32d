"""A protocol core on one channel after another: bytes in and out, the first byte, the timer.

Everything that each call passes through is here and below, in modules that can be compiled (CONTRIBUTING.md).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from mypy_extensions import mypyc_attr

from virtagent.peer.channel import Channel, ChannelUser
from virtagent.peer.dispatch import Dispatcher
from virtagent.peer.handler import Router
from virtagent.peer.identity import local_identity
from virtagent.peer.options import PeerOptions
from virtagent.peer.pump import close_source, pump
from virtagent.peer.state import PeerState, StateCell
from virtagent.peer.stream import NewStream, OutgoingStream, StreamEnd
from virtagent.peer.waking import wake
from virtagent.protocol.connection import Connection
from virtagent.protocol.endpoint import Endpoint
from virtagent.protocol.plain import PlainConnection
from virtagent.protocol.rpc import Call, Notification, Request
from virtagent.protocol.streams import ITEMS, RECEIVES, SENDS

if TYPE_CHECKING:
    from virtagent.peer.peer import Peer
    from virtagent.peer.trace import Trace

__all__ = ["Link"]

log = logging.getLogger("virtagent.peer")

FIRST_BYTE_TIMEOUT: Final = 10.0
"""Seconds that an acceptor waits for the first byte (rule X1)."""

PLAIN_FIRST_BYTES: Final = (0x93, 0x94)
FRAMED_FIRST_BYTES: Final = (0xC1, 0x00)


@mypyc_attr(allow_interpreted_subclasses=True)
class Link(ChannelUser):
    """Moves bytes between a protocol core and the channel that it has at the moment; hands out what they mean.

    Args:
        router: the methods that the other side may call.
        options: this side's behaviour.
        name: the channel, for messages to people.
        plain: speak plain msgpack-RPC (rule X2).

    Attributes:
        router: see above.
    """

    def __init__(self, router: Router, options: PeerOptions, *, name: str, plain: bool) -> None:
        self.router = router
        self.name = name
        self.options = options
        self._plain = plain
        self._loop = asyncio.get_running_loop()
        self._clock = clock_of(self._loop)
        self._cell = StateCell()
        self._channel: Channel | None = None
        self._core: Endpoint = self._make_core()
        self._usable = False
        self._closing = False
        self._in_read = False
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._detecting = self._watching = False
        self._first_byte_timer: asyncio.TimerHandle | None = None
        self._new_pumps: list[tuple[StreamEnd, Any, str]] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._trace = begin_trace(options.trace, name) if options.trace is not None else None
        self._dispatcher = Dispatcher(
            cast("Peer", self),
            router,
            respond=self._core.respond,
            flush=self._flush_answer,
            threads=options.threads,
            notifications=lambda: self._core.limits.notifications,
        )

    def _make_core(self) -> Endpoint:
        if self._plain:
            core: Endpoint = PlainConnection(limits=self.options.limits, deadline=self.options.deadline)
        else:
            core = Connection(
                self.options.identity or local_identity(),
                draw=lambda bits: int.from_bytes(os.urandom(bits // 8), "big"),
                now=self._clock(),
                limits=self.options.limits,
                keepalive=self.options.keepalive,
                deadline=self.options.deadline,
                lost_after=self.options.lost_after,
                make_stream=StreamEnd,
                flush_wanted=self._flush_soon,
            )
        core.encode_special = self._encode_special
        return core

    # -- what the peer does with it --------------------------------------------------------------------------------

    @abstractmethod
    def _take_event(self, event: Any) -> None:
        """The core tells of something else than a call."""

    @abstractmethod
    def _set_up(self, detail: str) -> None:
        """Calls can be made; ``detail`` is one line for people."""

    # -- what happened -------------------------------------------------------------------------------------------

    def _take_events(self, events: list[Any]) -> None:
        """The core tells what happened; most of it is calls that ended, or requests."""
        served: list[Any] = []
        for event in events:
            if isinstance(event, Call):
                waiter = event.waiter
                if waiter is not None and not waiter.done():
                    if event.error is None:
                        wake(waiter, event.result)
                    else:
                        waiter.set_exception(event.error)
            elif isinstance(event, (Request, Notification)):
                if len(events) == 1:
                    self._dispatcher.dispatch_one(event)
                    return
                served.append(event)
            else:
                if served:
                    self._dispatcher.dispatch(served)
                    served = []
                self._take_event(event)
        if served:
            self._dispatcher.dispatch(served)

    def _flush_answer(self) -> None:
        """Send the answer of a handler that ran as a task: at once if it was the only one."""
        if not self._dispatcher.running:
            self._flush(self._clock())
        else:
            self._flush_soon()

    # -- streams -------------------------------------------------------------------------------------------------

    def _encode_special(self, value: Any) -> Any:
        if isinstance(value, OutgoingStream):
            flags = SENDS | (ITEMS if value.kind == "items" else 0)
            end, reference = self._core.open_stream(flags)
            assert isinstance(end, StreamEnd)
            if not self._new_pumps:
                self._loop.call_soon(self._start_pumps)
            self._new_pumps.append((end, value.source, self.name))
            return reference
        if isinstance(value, NewStream):
            flags = SENDS * value.sends | RECEIVES * value.receives | (ITEMS if value.kind == "items" else 0)
            end, reference = self._core.open_stream(flags)
            assert isinstance(end, StreamEnd)
            value.stream = end.reference()
            return reference
        raise TypeError(f"{type(value).__name__} is not plain data")

    def _start_pumps(self) -> None:
        pumps, self._new_pumps = self._new_pumps, []
        for end, source, name in pumps:
            task = self._loop.create_task(pump(end, source, name), name=f"stream {end.identifier} of {name}")
            self._pumps.add(task)
            task.add_done_callback(partial(self._pump_ended, end, source))

    def _pump_ended(self, end: StreamEnd, source: Any, task: asyncio.Task[None]) -> None:
        self._pumps.discard(task)
        if not end.pumped:
            end.pumped = True
            closing = self._loop.create_task(close_source(source), name=f"close stream {end.identifier}")
            self._pumps.add(closing)
            closing.add_done_callback(self._pumps.discard)

    # -- the channel (ChannelUser) -------------------------------------------------------------------------------

    def channel_up(self, channel: Channel) -> None:
        self._channel = channel
        facts = channel.facts
        connecting = bool(getattr(facts, "connecting", False))
        if isinstance(self._core, Connection):
            self._core.channel_made(facts, connecting=connecting, now=self._clock())
            self._detecting = not connecting and not facts.speaks_first
            self._watching = self._detecting or self._trace is not None
            self._cell.set(PeerState.NOBODY_ANSWERS, NOBODY_ANSWERS.format(self.name))
            if self._detecting:
                self._first_byte_timer = self._loop.call_later(FIRST_BYTE_TIMEOUT, self._no_first_byte)
        else:
            self._set_up("plain msgpack-RPC")
        self._flush(self._clock())

    def _no_first_byte(self) -> None:
        if self._detecting and self._channel is not None:
            self._cell.set(
                PeerState.NOBODY_ANSWERS, f"{self.name}: connected, but sent nothing for {FIRST_BYTE_TIMEOUT:g} s"
            )
            self._channel.abort()

    def buffer_getter(self) -> Callable[[int], memoryview]:
        return self._core.buffer_getter

    def buffer_updated(self, count: int) -> None:
        if self._watching and not self._watch(self._core.get_buffer()[:count]):
            return
        now = self._clock()
        self._in_read = True
        try:
            events = self._core.received(count, now)
            if events:
                self._take_events(events)
        finally:
            self._in_read = False
        core = self._core
        if core.has_data:
            self._flush(now)
        elif core.next_timer_at < self._timer_at:
            self._rearm()

    def data_received(self, data: bytes) -> None:
        if self._watching and not self._watch(memoryview(data)):
            return
        now = self._clock()
        self._in_read = True
        try:
            self._take_events(self._core.receive_data(data, now))
        finally:
            self._in_read = False
        self._flush(now)

    def _watch(self, data: memoryview) -> bool:
        """Look at what comes, where there is reason to; False if the bytes have been dealt with."""
        if self._detecting and not self._detect(data):
            return False
        if self._trace is not None:
            self._trace.record(False, data)
        self._watching = self._trace is not None
        return True

    def _detect(self, data: memoryview) -> bool:
        """Look at the first byte (rule X1); False if the bytes have been dealt with."""
        self._detecting = False
        if self._first_byte_timer is not None:
            self._first_byte_timer.cancel()
        first = data[0]
        if first in FRAMED_FIRST_BYTES:
            return True
        if first in PLAIN_FIRST_BYTES:
            self._plain = True
            self._core = self._make_core()
            self._dispatcher.respond = self._core.respond
            if self._channel is not None:
                self._channel.bind_buffer()
            self._set_up("plain msgpack-RPC")
            self.data_received(bytes(data))
            return False
        log.warning("%s: a client sent neither frames nor msgpack-RPC (first byte 0x%02x); closed", self.name, first)
        self._cell.set(PeerState.NO_CHANNEL, f"{self.name}: the client spoke another protocol")
        if self._channel is not None:
            self._channel.abort()
        return False

    def writable(self) -> None:
        self._flush(self._clock())

    def channel_down(self, channel: Channel, error: Exception | None) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        if self._first_byte_timer is not None:
            self._first_byte_timer.cancel()
        reason = f"{self.name}: the channel was lost" + (f": {error}" if error is not None else "")
        self._take_events(self._core.channel_lost(self._clock(), reason))
        if self._cell.state not in (PeerState.GONE, PeerState.CLOSED) or self._closing:
            self._usable = False
            self._cell.set(PeerState.CLOSED if self._closing else PeerState.NO_CHANNEL, reason)
        self._rearm()

    # -- sending and time ----------------------------------------------------------------------------------------

    def _flush(self, now: float) -> None:
        """Hand to the channel what it takes now; nothing in the read path, which does this at its end."""
        if self._in_read:
            return
        channel, core = self._channel, self._core
        while channel is not None and not channel.paused:
            buffers = core.data_to_send(now)
            if len(buffers) == 1 and self._trace is None and channel.transport is not None:
                channel.transport.write(buffers[0])
            elif buffers:
                self._write(channel, buffers)
            if not (core.more and buffers):
                break
            now = self._clock()
        if core.next_timer_at < self._timer_at:
            self._rearm()

    def _write(self, channel: Channel, buffers: list[Any]) -> None:
        if self._trace is not None:
            self._trace.record(True, b"".join(buffers))
        channel.write(buffers)

    def _flush_soon(self) -> None:
        """Flush once for all that is queued in this turn of the loop."""
        if not self._flush_scheduled and not self._in_read:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_scheduled_now)

    def _flush_scheduled_now(self) -> None:
        self._flush_scheduled = False
        self._flush(self._clock())

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = self._core.next_timer_at
        if self._timer_at != math.inf:
            self._timer = self._loop.call_at(self._timer_at, self._handle_timer)

    def _handle_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = self._clock()
        self._take_events(self._core.handle_timer(now))
        self._flush(now)


NOBODY_ANSWERS: Final = (
    "{}: the channel is open, but nobody answers: either no agent in the guest has the other end open (not running,"
    " or still booting), or another program on this machine holds the channel"
)


def begin_trace(path: str, name: str) -> Trace:
    """Begin to record; few do, so nobody else loads what it needs."""
    from virtagent.peer.trace import Trace  # noqa: PLC0415

    return Trace(path, name)


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock, as cheap and fine as can be: every call and frame asks it.

    asyncio's own is a Python function around this C one, and uvloop's, which has milliseconds only, the same clock.
    """
    kind = type(loop)
    is_monotonic = getattr(kind, "time", None) is asyncio.BaseEventLoop.time or kind.__module__ == "uvloop"
    return time.monotonic if is_monotonic else loop.time
