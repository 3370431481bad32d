"""A peer for code without asyncio: scripts, notebooks, threads. Each connection has an event loop in its own thread.

::

    with connect("unix:/run/vm.sock") as guest:
        print(guest.call("system.info"))
        with guest.stream("log.follow") as lines:
            for line in lines:
                print(line)
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from virtagent.errors import PeerClosed, UsageError
from virtagent.peer.connecting import CONNECT_TIMEOUT, Connecting, ConnectingPeer
from virtagent.peer.fork import generation
from virtagent.peer.handler import Handler
from virtagent.peer.options import PeerOptions
from virtagent.peer.peer import Peer
from virtagent.peer.stream import Stream, StreamCall

if TYPE_CHECKING:
    from types import TracebackType

    from virtagent.peer.caller import Caller
    from virtagent.peer.state import PeerState
    from virtagent.protocol.announcement import Announcement

__all__ = ["BlockingCaller", "BlockingPeer", "BlockingStream", "connect"]

Result = TypeVar("Result")

CANCEL_WAIT = 2.0
"""Seconds that Ctrl-C waits for a call's cancellation: it takes none unless a handler here blocks the loop."""


def connect(
    url: str,
    *,
    handlers: Iterable[Handler] = (),
    options: PeerOptions | None = None,
    timeout: float | None = CONNECT_TIMEOUT,
    wait: bool = False,
    plain: bool = False,
) -> BlockingPeer:
    """Connect, and wait until the peer is up.

    Args:
        url: the channel.
        handlers: the methods that the other side may call; they run in the connection's own thread and loop.
        options: this side's behaviour.
        timeout: seconds in which the peer must be up; None: for as long as it takes.
        wait: a channel that cannot be opened yet is tried again within the timeout, instead of failing at once.
        plain: speak plain msgpack-RPC.

    Raises:
        ChannelError: the channel cannot be opened, or (NobodyAnswers) nobody answered in time.
    """
    methods = list(handlers)

    def make() -> ConnectingPeer:
        return ConnectingPeer(url, methods, options or PeerOptions(), plain=plain)

    return BlockingPeer(lambda: Connecting(make, timeout=timeout, wait=wait))


class LoopThread:
    """An event loop that runs in a thread of its own, and work for it from other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._generation = generation()
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="virtagent-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def run(self, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run a coroutine there and wait for it; an exception here (Ctrl-C) cancels it, and waits for that.

        Raises:
            UsageError: this is the loop's own thread, or a forked child.
            PeerClosed: the loop was stopped.
        """
        self.check()
        outcome: concurrent.futures.Future[Result] = concurrent.futures.Future()
        tasks: list[asyncio.Task[Result]] = []

        def start() -> None:
            task = self._loop.create_task(make())
            tasks.append(task)
            task.add_done_callback(lambda task: transfer(task, outcome))

        try:
            self.call_soon(start)  # in here, too: Ctrl-C may come when the other thread has begun already
            return outcome.result()
        except concurrent.futures.CancelledError:
            raise PeerClosed("the connection was closed while this was under way") from None
        except PeerClosed:
            raise
        except BaseException:
            if not outcome.done():
                self.call_soon(lambda: [task.cancel() for task in tasks])
                with contextlib.suppress(BaseException):
                    outcome.exception(CANCEL_WAIT)
            raise

    def check(self) -> None:
        """Refuse to wait where that would never end."""
        if self._generation != generation():
            raise UsageError("this process was forked and its parent has the connection's thread: connect again here")
        if threading.current_thread() is self._thread:
            raise UsageError(
                "a blocking call in the connection's own thread would wait for itself for ever:"
                " in a handler, 'await ctx.peer.call(...)', or let the handler run in a thread"
            )

    def call_soon(self, function: Callable[[], Any]) -> None:
        """Call something there.

        Raises:
            PeerClosed: the loop was stopped.
        """
        with self._lock:
            if self._stopped:
                raise PeerClosed("the connection is closed")
            self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """End what still runs there, and the thread; safe to call twice."""

        async def end() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        with contextlib.suppress(PeerClosed):
            self.run(end)
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def transfer(task: asyncio.Task[Result], outcome: concurrent.futures.Future[Result]) -> None:
    """Give a finished task's outcome to the thread that waits for it."""
    if task.cancelled():
        outcome.cancel()
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


class BlockingCaller:
    """Calls, notifies and streams, from any thread but the connection's own.

    Args:
        thread: where the peer lives.
        caller: the peer there.
    """

    def __init__(self, thread: LoopThread, caller: Caller) -> None:
        self._thread = thread
        self._caller = caller

    def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        """Call a method and wait for its answer; see :meth:`Caller.call`. Ctrl-C cancels it at the other side too."""

        async def call() -> Any:
            return await self._caller.call(method, *args, **params)

        result = self._thread.run(call)
        return BlockingStream(self._thread, result) if isinstance(result, Stream) else result

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        """Send a notification; see :meth:`Caller.notify`."""

        async def notify() -> None:
            self._caller.notify(method, *args, **params)

        self._thread.run(notify)

    def stream(self, method: str, /, *args: Any, **params: Any) -> BlockingStream:
        """Call a method that answers with a stream; the call is made at the first use of the result."""
        return BlockingStream(self._thread, self._caller.stream(method, *args, **params))


class BlockingPeer(BlockingCaller):
    """The other side of a connection, for code without asyncio; ``with`` it, or :meth:`close` it.

    Args:
        start: gives the peer, in the event loop of the new connection's thread.

    Raises:
        ChannelError: what ``start`` raises.
    """

    def __init__(self, start: Callable[[], Awaitable[Peer]]) -> None:
        self._opened = False
        thread = LoopThread()

        async def begin() -> Peer:
            return await start()

        try:
            peer = thread.run(begin)
        except BaseException:
            thread.stop()
            raise
        super().__init__(thread, peer)
        self._peer = peer
        self._opened = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._peer.name}: {self.state.value}>"

    @property
    def state(self) -> PeerState:
        """Where the peer is."""
        return self._peer.state

    @property
    def detail(self) -> str:
        """One line for people on the state."""
        return self._peer.detail

    @property
    def info(self) -> Announcement | None:
        """What the peer said of itself in its newest hello, or None."""
        return self._peer.info

    def with_options(self, **options: Any) -> BlockingCaller:
        """The same peer with other options for the calls made through it; see :class:`CallOptions`.

        Raises:
            UsageError: an option that does not exist, or a value that cannot be.
        """
        return BlockingCaller(self._thread, self._peer.with_options(**options))

    def ping(self, timeout: float | None = None) -> float:
        """Measure the round trip below all handlers; see :meth:`Peer.ping`."""
        return self._thread.run(lambda: self._peer.ping(timeout))

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the peer is up; see :meth:`Peer.wait_ready`."""
        self._thread.run(lambda: self._peer.wait_ready(timeout))

    def run(self, work: Callable[[Any], Coroutine[Any, Any, Result]]) -> Result:
        """Do something with the peer in the connection's own event loop, and wait for it; Ctrl-C cancels it.

        ::

            size = guest.run(lambda guest: guest.files.put("kernel", "/boot/kernel"))

        Args:
            work: gets the peer (a :class:`~virtagent.host.guest.Guest`, where that was connected to).
        """
        return self._thread.run(lambda: work(self._peer))

    def close(self, reason: str = "client", message: str = "") -> None:
        """Let running calls end, say goodbye, close the channel and end the thread. Safe to call twice."""
        if not self._opened:
            return
        self._thread.check()
        self._opened = False
        try:
            with contextlib.suppress(PeerClosed):
                self._thread.run(lambda: self._peer.aclose(reason, message))
        finally:
            self._thread.stop()

    def __enter__(self) -> BlockingPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._opened:
            warnings.warn(f"{self!r} was not closed; use 'with' or close()", ResourceWarning, stacklevel=2, source=self)


class BlockingStream(Iterator[Any]):
    """A stream as a plain iterator; leaving its ``with`` block ends it."""

    def __init__(self, thread: LoopThread, stream: StreamCall | Stream) -> None:
        self._thread = thread
        self._source = stream
        self._closed = False

    async def _stream(self) -> Stream:
        return self._source if isinstance(self._source, Stream) else await self._source.open()

    def __iter__(self) -> BlockingStream:
        return self

    def __next__(self) -> Any:
        """The next item, or chunk of bytes; see :meth:`Stream.__anext__` for what it raises."""

        async def following() -> tuple[Any, ...]:
            try:  # a tuple, since StopIteration cannot leave a coroutine
                return (await anext(await self._stream()),)
            except StopAsyncIteration:
                return ()

        found = self._thread.run(following)
        if not found:
            self._closed = True
            raise StopIteration
        return found[0]

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, ``b""`` at the end; see :meth:`Stream.read`."""

        async def read() -> bytes:
            return await (await self._stream()).read(size)

        return self._thread.run(read)

    def read_all(self, limit: int | None = 64 * 1024 * 1024) -> bytes:
        """All bytes until the end; see :meth:`Stream.read_all`."""

        async def read_all() -> bytes:
            return await (await self._stream()).read_all(limit)

        return self._thread.run(read_all)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; see :meth:`Stream.write`."""

        async def write() -> None:
            await (await self._stream()).write(data)

        self._thread.run(write)

    def write_item(self, item: Any) -> None:
        """Send one item of a stream of items; see :meth:`Stream.write_item`."""

        async def write_item() -> None:
            await (await self._stream()).write_item(item)

        self._thread.run(write_item)

    def end(self) -> None:
        """Half-close: the peer reads all that was written, then the end."""

        async def end() -> None:
            (await self._stream()).end()

        self._thread.run(end)

    def close(self) -> None:
        """End the stream; safe to call twice, and after the connection's end."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(PeerClosed):
                self._thread.run(self._source.aclose)

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The stream's own __del__ resets it, which only the loop's thread may do: the last reference goes there.
        with contextlib.suppress(AttributeError, PeerClosed):
            self._thread.call_soon(Dropped(self._source))


class Dropped:
    """Carries the last reference of a stream to its loop's thread."""

    def __init__(self, source: StreamCall | Stream) -> None:
        self._source: Any = source

    def __call__(self) -> None:
        self._source = None
