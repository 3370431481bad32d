"""The blocking facade: calls from plain code, from notebooks, and from threads; and where it must refuse."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from virtagent.errors import CallError, ChannelUnavailable, DeadlineExceeded, NotFound, PeerClosed, UsageError
from virtagent.peer.blocking import BlockingPeer, BlockingStream, connect
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler
from virtagent.peer.listening import Listening
from virtagent.peer.peer import Peer
from virtagent.peer.state import PeerState
from virtagent.peer.stream import NewStream, OutgoingStream, Stream

from .support import count_up, echo, handler

BOUND = 10.0


class Server:
    """A server in a thread of its own."""

    def __init__(self, url: str, handlers: list[Handler]) -> None:
        self.url = url
        self.peers: list[Peer] = []
        self.ended = threading.Event()
        self._handlers = handlers
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with Listening(self.url, self._handlers, on_peer=self.peers.append):
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._ready.wait(BOUND)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(BOUND)
        assert not self._thread.is_alive()


def count(_: Context, end: int | None = None) -> OutgoingStream:
    return OutgoingStream(count_up(end=end))


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(10):
        yield b"x" * 1000


def data(_: Context) -> OutgoingStream:
    return OutgoingStream(chunks(), "bytes")


def fail(_: Context) -> None:
    raise NotFound("nothing", data=1)


class Forever:
    """A handler that never ends, and tells when it was cancelled."""

    def __init__(self) -> None:
        self.entered, self.cancelled = threading.Event(), threading.Event()

    async def __call__(self, _: Context) -> None:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def upper(_: Context, stream: Stream) -> str:
    async for chunk in stream:
        await stream.write(chunk.upper())
    stream.end()
    return "done"


async def ask(ctx: Context, method: str) -> Any:
    return await ctx.peer.call(method)


forever = Forever()


@pytest.fixture
def server(short_tmp: Path) -> Iterator[Server]:
    global forever  # noqa: PLW0603
    forever = Forever()
    handlers = [handler(each) for each in (echo, count, data, fail, upper, ask)]
    handlers.append(handler(forever.__call__, "forever"))
    before = threading.active_count()
    with Server(f"unix:{short_tmp}/s", handlers) as running:
        yield running
    assert threading.active_count() <= before + 1  # asyncio.to_thread's pool is the process's


def test_calls_notifications_pings_and_options(server: Server) -> None:
    with connect(server.url) as peer:
        assert peer.call("echo", {"a": [1, b"2"]}) == {"a": [1, b"2"]}
        assert peer.call("echo", value=3) == 3
        peer.notify("echo", 1)
        assert 0 < peer.ping() < BOUND
        peer.wait_ready(1)
        assert peer.state.value == "up"
        assert peer.info is not None
        assert "session with" in peer.detail
        with pytest.raises(NotFound, match="nothing") as caught:
            peer.call("fail")
        assert caught.value.data == 1
        with pytest.raises(DeadlineExceeded):
            peer.with_options(deadline=0.01).call("forever")
        with pytest.raises(UsageError):
            peer.with_options(colour="red")
        with pytest.raises(UsageError):
            peer.notify("echo", object())
        assert "up" in repr(peer)
    assert peer.state is PeerState.CLOSED
    peer.close()
    with pytest.raises(PeerClosed):
        peer.call("echo", 1)


def test_a_stream_is_a_plain_iterator(server: Server) -> None:
    with connect(server.url) as peer:
        assert list(peer.stream("count", 100)) == list(range(100))
        with peer.stream("count") as numbers:
            for number in numbers:
                if number == 5:
                    break
        assert peer.stream("data").read_all() == b"x" * 10_000
        with peer.stream("data") as stream:
            assert stream.read(10) == b"x" * 10
            assert len(stream.read()) == 9_990
        result = peer.call("count", 2)
        assert isinstance(result, BlockingStream)
        assert list(result) == [0, 1]
        with pytest.raises(NotFound):
            next(peer.stream("fail"))


def test_a_duplex_stream_is_written_and_read_from_plain_code(server: Server) -> None:
    with connect(server.url) as peer:
        new = NewStream("bytes")
        caller = threading.Thread(target=lambda: peer.call("upper", new))
        caller.start()
        while new.stream is None:
            peer.ping()
        with BlockingStream(peer._thread, new.stream) as stream:
            stream.write(b"hello")
            assert stream.read(100) == b"HELLO"
            stream.end()
            assert stream.read() == b""
        caller.join(BOUND)


def test_a_stream_that_is_dropped_is_reset_in_its_own_thread(server: Server) -> None:
    with connect(server.url) as peer:
        stream = peer.stream("count")
        next(stream)
        with pytest.warns(ResourceWarning, match="dropped before its end"):  # noqa: PT031
            del stream
            gc.collect()
            peer.ping()
        while peer._peer.statistics()["streams"]:
            peer.ping()


def test_several_threads_share_one_connection(server: Server) -> None:
    answers: dict[int, Any] = {}
    with connect(server.url) as peer:

        def work(number: int) -> None:
            answers[number] = [peer.call("echo", number * 100 + step) for step in range(20)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)
    assert answers == {number: [number * 100 + step for step in range(20)] for number in range(5)}


def test_handlers_serve_the_other_side_and_may_block_in_threads(server: Server) -> None:
    holder: list[BlockingPeer] = []

    def mine(_: Context) -> str:
        return "mine"

    def nested(_: Context) -> Any:
        return holder[0].call("echo", "from a thread")

    with connect(server.url, handlers=[handler(mine), handler(nested, mode="thread")]) as peer:
        holder.append(peer)
        assert peer.call("ask", "mine") == "mine"
        assert peer.call("ask", "nested") == "from a thread"


def test_a_blocking_call_in_the_connections_own_thread_is_refused(server: Server) -> None:
    holder: list[BlockingPeer] = []
    said: list[str] = []

    def deadlock(_: Context) -> None:
        for use in (lambda: holder[0].call("echo", 1), holder[0].close, lambda: next(holder[0].stream("count"))):
            with pytest.raises(UsageError, match="own thread") as caught:
                use()
            said.append(str(caught.value))

    with connect(server.url, handlers=[handler(deadlock)]) as peer:
        holder.append(peer)
        peer.call("ask", "deadlock")
        assert len(said) == 3
        assert peer.call("echo", 1) == 1


def test_it_works_inside_a_running_loop_as_in_a_notebook(server: Server) -> None:
    async def cell() -> Any:
        with connect(server.url) as peer:
            return peer.call("echo", 1), list(peer.stream("count", 3))

    assert asyncio.run(cell()) == (1, [0, 1, 2])


def test_ctrl_c_cancels_the_call_at_the_other_side(server: Server) -> None:
    main = threading.main_thread().ident
    assert main is not None
    with connect(server.url) as peer:

        def interrupt() -> None:
            assert forever.entered.wait(BOUND)
            signal.pthread_kill(main, signal.SIGINT)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            peer.call("forever")
        interrupter.join(BOUND)
        assert forever.cancelled.wait(BOUND)
        assert peer.call("echo", "still usable") == "still usable"


def test_ctrl_c_while_the_call_is_handed_over_cancels_it_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(server.url) as peer:
        thread = peer._thread
        hand_over = thread.call_soon
        interrupts = [KeyboardInterrupt()]

        def interrupted(callback: Any) -> None:
            hand_over(callback)
            if interrupts:
                assert forever.entered.wait(BOUND)
                raise interrupts.pop()

        monkeypatch.setattr(thread, "call_soon", interrupted)
        with pytest.raises(KeyboardInterrupt):
            peer.call("forever")
        assert forever.cancelled.wait(BOUND)
        assert peer.call("echo", "still usable") == "still usable"


def test_closing_in_another_thread_ends_a_call(server: Server) -> None:
    from virtagent.peer.options import PeerOptions

    outcome: list[BaseException] = []
    peer = connect(server.url, options=PeerOptions(drain=0.05))

    def call() -> None:
        try:
            peer.call("forever")
        except BaseException as error:
            outcome.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    assert forever.entered.wait(BOUND)
    peer.close()
    caller.join(BOUND)
    assert len(outcome) == 1
    assert forever.cancelled.wait(BOUND)


def test_a_connection_that_fails_leaves_no_thread(short_tmp: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ChannelUnavailable, match="no such socket"):
        connect(f"unix:{short_tmp}/none")
    assert threading.active_count() == before


def test_a_peer_that_is_not_closed_warns(server: Server) -> None:
    peer = connect(server.url)
    inner, thread = peer._peer, peer._thread
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031
        del peer
        gc.collect()
    thread.run(inner.aclose)
    thread.stop()


FORKER = """
import os, sys
from virtagent.errors import UsageError
from virtagent.peer.blocking import connect
with connect(sys.argv[1]) as peer:
    pid = os.fork()
    if pid == 0:
        try:
            peer.call("echo", 1)
        except UsageError as error:
            print("child:", error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print("parent:", peer.call("echo", 1), flush=True)
"""


def test_a_forked_child_is_told_instead_of_hanging(server: Server) -> None:
    command = [sys.executable, "-c", FORKER, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    child, parent = done.stdout.splitlines()
    assert "forked" in child
    assert parent == "parent: 1"


def test_asynchronous_code_runs_in_the_connections_loop_and_its_result_comes_back(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    with Server(url, [handler(echo)]), connect(url) as peer:

        async def twice(there: Peer) -> list[Any]:
            return list(await asyncio.gather(there.call("echo", 1), there.call("echo", 2)))

        assert peer.run(twice) == [1, 2]


def test_asynchronous_code_that_fails_raises_here(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    with Server(url, []), connect(url) as peer:

        async def fail(there: Peer) -> None:
            await there.call("nothing.here")

        with pytest.raises(CallError, match=r"no method 'nothing\.here'"):
            peer.run(fail)
