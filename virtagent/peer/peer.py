"""A peer: the other side as user code holds it, over one channel after another."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from virtagent.errors import (
    DeadlineExceeded,
    NobodyAnswers,
    PeerClosed,
    PeerGone,
    SessionLost,
    UsageError,
)
from virtagent.peer.caller import Caller
from virtagent.peer.channel import Channel
from virtagent.peer.context import Context, current_context
from virtagent.peer.fork import generation, in_child
from virtagent.peer.handler import Router
from virtagent.peer.link import Link
from virtagent.peer.options import CLASSES, CallOptions, PeerOptions
from virtagent.peer.state import PeerState
from virtagent.peer.stream import StreamCall
from virtagent.peer.with_options import CallerWithOptions, join_arguments, make_options
from virtagent.protocol.connection import Connection
from virtagent.protocol.events import GoodbyeDone, Liveness, Pong, SessionEnded, SessionUp, Trouble
from virtagent.protocol.plain import PlainConnection
from virtagent.protocol.schedule import NORMAL

if TYPE_CHECKING:
    from types import TracebackType

    from virtagent.protocol.announcement import Announcement

__all__ = ["Peer"]

log = logging.getLogger("virtagent.peer")

SHORTEST_FAREWELL = 1.0
"""Seconds that what is queued has at least to leave before a goodbye: an answer is worth as much as the reason."""


class Peer(Caller, Link):
    """The other side of a connection.

    Made by :func:`virtagent.connect` and :func:`virtagent.listen`, not directly.

    Args:
        router: the methods that the other side may call.
        options: this side's behaviour.
        name: the channel, for messages to people.
        returns: the peer comes back after a loss (a reconnecting connector, a device): calls wait for it.
        plain: speak plain msgpack-RPC (rule X2).

    Attributes:
        on_session: called soon after each session is established, the first one included; None: nobody wants to know.
    """

    def __init__(
        self,
        router: Router,
        options: PeerOptions,
        *,
        name: str,
        returns: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__(router, options, name=name, plain=plain)
        self.on_session: Callable[[Peer], None] | None = None
        self._returns = returns
        self._generation = generation()
        in_child(self, Peer._forked)
        self._served = False
        self._last_loss: SessionLost | None = None
        self._pong: asyncio.Future[float] | None = None
        self._pinged = 0.0
        self._goodbye: asyncio.Future[bool] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.state.value}>"

    # -- what users ask ------------------------------------------------------------------------------------------

    @property
    def state(self) -> PeerState:
        """Where the peer is."""
        return self._cell.state

    @property
    def detail(self) -> str:
        """One line for people on the state."""
        return self._cell.detail

    @property
    def info(self) -> Announcement | None:
        """What the peer said of itself in its newest hello, or None."""
        return self._core.peer

    @property
    def last_loss(self) -> SessionLost | None:
        """How the last session ended; None while there is one, or none was yet."""
        return self._last_loss

    @property
    def channel(self) -> Channel | None:
        """The channel at the moment, or None."""
        return self._channel

    def states(self) -> AsyncIterator[PeerState]:
        """The state now, then each new one, until the peer is closed."""
        return self._cell.follow()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the peer is up.

        Args:
            timeout: seconds; None: for as long as it takes.

        Raises:
            NobodyAnswers: it was not up in time; the message says what is known.
            PeerClosed, PeerGone, SessionLost: it will not come (back) on this object.
        """
        self._check_fork()
        if timeout is None:
            await self._wait_up()
            return
        try:
            async with asyncio.timeout(timeout):
                await self._wait_up()
        except TimeoutError:
            raise NobodyAnswers(self._explain()) from None

    async def _wait_up(self) -> None:
        while not self._usable:
            self._check_may_come()
            await self._cell.changed()

    async def ping(self, timeout: float | None = None) -> float:
        """Measure the round trip below all handlers; seconds.

        Raises:
            DeadlineExceeded: no answer within ``timeout`` (default: the deadline of calls).
            UsageError: the channel is plain msgpack-RPC, which has no pings.
        """
        self._check_fork()
        limit = self.options.deadline if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                await self._wait_up()
                if self._pong is None:
                    if not isinstance(self._core, Connection):
                        raise UsageError("plain msgpack-RPC has no pings (rule X3)")
                    self._pong = self._loop.create_future()
                    self._pinged = time.perf_counter()  # finer than a loop's own clock: uvloop's has milliseconds
                    now = self._clock()
                    self._core.ping(now)
                    self._flush(now)
                return await asyncio.shield(self._pong)
        except TimeoutError:
            raise DeadlineExceeded(f"{self.name}: no answer to a ping within {limit:g} s ({self.detail})") from None

    def statistics(self) -> dict[str, Any]:
        """Counters and sizes of this peer at the moment, as plain data."""
        calls = self._core.calls
        out: dict[str, Any] = {
            "state": self.state.value,
            "detail": self.detail,
            "calls": len(calls.calls),
            "requests": calls.open_requests,
            "running": self._dispatcher.running,
            "strays": calls.strays,
            "malformed": calls.malformed,
            "overloads": calls.overloads,
            "dropped_notifications": self._dispatcher.dropped_notifications,
            "stuck_threads": self._dispatcher.stuck_threads,
        }
        if isinstance(self._core, Connection):
            out |= self._core.statistics()
        return out

    # -- calling -------------------------------------------------------------------------------------------------

    def call(self, method: str, /, *args: Any, **params: Any) -> Coroutine[Any, Any, Any]:
        return self._call(method, join_arguments(method, args, params) if args else params, None)

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        self._notify(method, join_arguments(method, args, params) if args else params, None)

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return StreamCall(self, method, args, params)

    def with_options(self, **options: Any) -> Caller:
        """The same peer with other options for the calls made through it; see :class:`CallOptions`.

        Raises:
            UsageError: an option that does not exist, or a value that cannot be.
        """
        return CallerWithOptions(self._call, self._notify, make_options(options))

    async def _call(self, method: str, payload: Any, options: CallOptions | None) -> Any:
        context = current_context.get()
        if context is None and options is None:
            deadline, priority, metadata = None, NORMAL, None
        else:
            deadline, priority, metadata = self._terms(context, options)
        if self._closing and (context is None or context.peer is not self):
            raise PeerClosed(f"{self.name}: is being closed here; {method} was not sent")
        while True:
            if not self._usable:
                deadline = await self._wait_usable(method, deadline)
            core = self._core
            now = self._clock()
            call = core.call(method, payload, now, deadline, priority, metadata)
            call.waiter = waiter = self._loop.create_future()
            if len(core.calls.calls) == 1:
                self._flush(now)
            else:
                self._flush_soon()
            try:
                return await waiter
            except asyncio.CancelledError:
                core.cancel(call)
                self._flush_soon()
                raise
            except SessionLost as error:
                if (options is None or not options.retry) and (error.may_have_run or not self._returns):
                    raise
                if deadline is None:
                    deadline = call.deadline

    def _notify(self, method: str, payload: Any, options: CallOptions | None) -> None:
        if not self._usable:
            self._check_may_come()
            raise SessionLost(self._explain(), may_have_run=False)
        if options is None:
            self._core.notify(method, payload)
        else:
            _, priority, metadata = self._terms(None, options)
            self._core.notify(method, payload, priority=priority, metadata=metadata)
        self._flush_soon()

    def _terms(
        self, context: Context | None, options: CallOptions | None
    ) -> tuple[float | None, int, dict[str, Any] | None]:
        """A call's deadline on the loop's clock, its class and its metadata (rules C6, C10, D1, D4, P1)."""
        deadline = None
        priority = NORMAL
        metadata: dict[str, Any] = {}
        if options is not None:
            metadata.update(options.metadata)
            if options.deadline is not None:
                deadline = self._clock() + options.deadline
        if context is not None:
            priority = context.priority
            if context.deadline is not None:
                own = self._clock() + self.options.deadline if deadline is None else deadline
                deadline = min(own, context.deadline)
            if context.peer is self:
                metadata["depth"] = context.depth + 1
            for key in ("traceparent", "tracestate"):
                if key in context.metadata:
                    metadata.setdefault(key, context.metadata[key])
        if options is not None and options.priority is not None:
            priority = CLASSES[options.priority]
        if priority != NORMAL:
            metadata["priority"] = priority
        return deadline, priority, metadata or None

    async def _wait_usable(self, method: str, deadline: float | None) -> float:
        """Wait for a session, inside the call's deadline (rule K5), which is returned: waiting does not renew it."""
        self._check_fork()
        if deadline is None:
            deadline = self._clock() + self.options.deadline
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                await self._wait_up()
        except TimeoutError:
            raise DeadlineExceeded(f"{method}: not sent: {self.detail}", may_have_run=False) from None
        return deadline

    def _check_fork(self) -> None:
        if self._generation != generation():
            raise UsageError(
                "this process was forked and shares the peer's channel with its parent: connect again in the child"
            )

    def _forked(self) -> None:
        """In a forked child: make the next use find out (:meth:`_check_fork`), at no cost for the uses here."""
        self._usable = False

    def _explain(self) -> str:
        return self.named(self.detail)

    def named(self, detail: str) -> str:
        """The channel and what is known of its state, the channel's name once."""
        return detail if detail.startswith(self.name) else f"{self.name}: {detail}"

    def _check_may_come(self) -> None:
        """Refuse to wait for what cannot come."""
        self._check_fork()
        if self.state is PeerState.CLOSED or self._closing:
            raise PeerClosed(self._explain())
        if not self._returns and self._channel is None:
            loss = self._last_loss
            if isinstance(loss, PeerGone):
                raise PeerGone(str(loss), reason=loss.reason, may_have_run=False)
            raise SessionLost(self._explain(), may_have_run=False)

    # -- events of the core --------------------------------------------------------------------------------------

    def _take_event(self, event: Any) -> None:
        if isinstance(event, tuple):
            self._dispatcher.end(event[1], event[0])
        elif isinstance(event, SessionUp):
            self._set_up(f"session with {event.peer.identity.name or 'the peer'} ({event.peer.identity.software})")
        elif isinstance(event, SessionEnded):
            self._session_ended(event.error)
        elif isinstance(event, Liveness):
            self._usable = not event.silent
            state = PeerState.SILENT if event.silent else PeerState.UP
            self._cell.set(state, SILENT.format(self.name) if event.silent else "up again")
        elif isinstance(event, Pong):
            if self._pong is not None and not self._pong.done():
                self._pong.set_result(time.perf_counter() - self._pinged)
            self._pong = None
        elif isinstance(event, GoodbyeDone):
            if self._goodbye is not None and not self._goodbye.done():
                self._goodbye.set_result(event.acknowledged)
        elif isinstance(event, Trouble):
            log.warning("%s: %s", self.name, event.text)
            self._cell.detail = f"{self.name}: {event.text}"

    def _set_up(self, detail: str) -> None:
        self._usable = self._served = True
        self._last_loss = None
        on_session = self.on_session  # before those run who wait for the session: one of them may set another
        self._cell.set(PeerState.UP, detail, at_once=self._in_read)
        if on_session is not None:
            self._loop.call_soon(on_session, self)

    def _session_ended(self, error: SessionLost) -> None:
        self._usable = False
        self._last_loss = error
        if self._pong is not None and not self._pong.done():
            self._pong.set_exception(error)
            self._pong.exception()
        self._pong = None
        if isinstance(error, PeerGone):
            self._cell.set(PeerState.GONE, str(error))
        else:
            self._cell.set(PeerState.NOBODY_ANSWERS, str(error))
        if isinstance(self._core, PlainConnection) and self._channel is not None:
            self._channel.close()

    # -- the end -------------------------------------------------------------------------------------------------

    async def aclose(self, reason: str = "client", message: str = "", *, drain: float | None = None) -> None:
        """Let running calls end, say goodbye with a reason, and close the channel (section G). Safe to call twice.

        Args:
            reason: one word for programs.
            message: one line for people.
            drain: seconds that running calls of both directions have before they are cancelled; None: as the
                options say; 0: the goodbye goes at once, and they fail with its reason.

        Cancelling this closes the channel at once, without a goodbye.
        """
        patience = self.options.drain if drain is None else drain
        if self._closing:
            while self.state is not PeerState.CLOSED:
                await self._cell.changed()
            return
        self._closing = True
        try:
            if self._usable:
                await self._drain(patience)
                if self._channel is not None and not self._channel.closing:
                    await self._say_goodbye(reason, message, patience)
        finally:
            await self._tear_down()

    async def _drain(self, patience: float) -> None:
        self._core.calls.draining = True
        try:
            async with asyncio.timeout(patience):
                waiters = [call.waiter for call in self._core.calls.calls.values() if call.waiter is not None]
                if waiters:
                    await asyncio.wait(waiters)
                await self._dispatcher.wait_idle()
                if self._pumps:
                    await asyncio.wait(set(self._pumps))
        except TimeoutError:
            log.warning("%s: calls were still running %g s after the close began; cancelled", self.name, patience)

    async def _say_goodbye(self, reason: str, message: str, patience: float) -> None:
        if not self._core.goodbye(reason, message, self._clock(), patience=max(patience, SHORTEST_FAREWELL)):
            return
        self._goodbye = self._loop.create_future()
        self._flush(self._clock())
        if not await self._goodbye:
            log.warning("%s: the goodbye was not acknowledged; the tail of what was sent may be lost", self.name)

    async def _tear_down(self) -> None:
        channel = self._channel
        self._usable = False
        if channel is not None:
            channel.close()
        try:
            for task in list(self._pumps):
                task.cancel()
            await self._dispatcher.aclose()
            while self._pumps:
                await asyncio.wait(set(self._pumps))
        finally:
            if self._channel is not None:
                self._take_events(self._core.channel_lost(self._clock(), f"{self.name}: closed here"))
                self._channel = None
            self._become_closed()
        if channel is not None:
            await channel.wait_closed()

    def _close_if_at_rest(self) -> None:
        """Be closed, without a channel already, if that takes no waiting; :meth:`aclose` does the same in a task."""
        if not self._closing and not self._pumps and self._dispatcher.is_at_rest:
            self._closing = True
            self._become_closed()

    def _become_closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._trace is not None:
            self._trace.close()
        self._cell.set(PeerState.CLOSED, f"{self.name}: closed here")

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


SILENT = "{}: silent: paused, hung, or a handler blocks its event loop"
