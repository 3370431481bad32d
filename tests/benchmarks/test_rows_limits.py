"""The limits do what they are compared for: a limit that loses bytes or messages would be no limit."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.limits import BUFFER, ECHO, ECHO_CLIENT, Buffered, RawCopyClient, Source
from benchmarks.loops import LOOPS, loop_factory
from benchmarks.prototype import Prototype
from benchmarks.rows.lane import CONNECT, Lane
from benchmarks.rows.notifications import AT_ONCE, turns
from benchmarks.rows.servers import Servers


class Written(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))


def receive(protocol: Buffered, data: bytes) -> None:
    """What a read of exactly these bytes does."""
    position = 0
    while position < len(data):
        room = protocol.get_buffer(-1)
        count = min(len(room), len(data) - position)
        assert count > 0
        room[:count] = data[position : position + count]
        protocol.buffer_updated(count)
        position += count


def pair() -> tuple[Prototype, Written, Prototype, Written]:
    """Both ends; what one writes is to be brought to the other."""
    handlers = {"echo": lambda params: params["data"]}
    client, server = Prototype({}), Prototype(handlers)
    written = Written(), Written()
    client.connection_made(written[0])
    server.connection_made(written[1])
    return client, written[0], server, written[1]


@given(
    st.lists(st.binary(max_size=200), min_size=1, max_size=8),
    st.lists(st.integers(0, 2000), max_size=8),
    st.lists(st.integers(0, 2000), max_size=8),
)
def test_the_prototype_answers_every_call_however_reads_are_split(
    payloads: list[bytes], there: list[int], back: list[int]
) -> None:
    async def exchange() -> list[Any]:
        client, sent, server, answered = pair()
        futures = [client.call("echo", {"data": payload}) for payload in payloads]
        client.flush()
        for end, data, cuts in ((server, sent, there), (client, answered, back)):
            whole = b"".join(data.writes)
            for start, stop in itertools.pairwise([0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]):
                receive(end, whole[start:stop])
        async with asyncio.timeout(5):
            return await asyncio.gather(*futures)

    assert asyncio.run(exchange()) == payloads


async def test_the_prototype_answers_all_of_a_read_in_one_write() -> None:
    client, sent, server, answered = pair()
    futures = [client.call("echo", {"data": b"x"}) for _ in range(10)]
    client.flush()
    assert len(sent.writes) == 2  # the first goes at once, the rest together
    receive(server, b"".join(sent.writes))
    assert len(answered.writes) == 1
    receive(client, answered.writes[0])
    assert all(future.done() for future in futures)


async def test_the_prototype_takes_a_message_that_is_larger_than_its_buffer() -> None:
    client, sent, server, answered = pair()
    payload = bytes(3 * BUFFER)
    future = client.call("echo", {"data": payload})
    receive(server, sent.writes[0])
    receive(client, answered.writes[0])
    assert future.result() == payload


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("size", [1, 64, BUFFER, 5 * BUFFER + 1])
def test_a_bare_echo_gives_back_as_many_bytes(loop: str, size: int, tmp_path: Any) -> None:
    async def echo() -> int:
        path = str(tmp_path / "echo.sock")
        running = asyncio.get_running_loop()
        async with await running.create_unix_server(ECHO[loop], path), asyncio.timeout(10):
            transport, client = await running.create_unix_connection(ECHO_CLIENT[loop], path)
            await client.echo(bytes(size))
            transport.close()
            return client.wanted

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        assert runner.run(echo()) == 0


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("total", [1, BUFFER, 20 * BUFFER + 7])
def test_a_raw_copy_moves_as_many_bytes_as_were_asked_for(loop: str, total: int, tmp_path: Any) -> None:
    async def copy() -> int:
        path = str(tmp_path / "copy.sock")
        running = asyncio.get_running_loop()
        async with await running.create_unix_server(Source, path), asyncio.timeout(10):
            transport, client = await running.create_unix_connection(RawCopyClient, path)
            await client.receive(total)
            transport.close()
            return client.wanted

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        assert runner.run(copy()) == 0


@pytest.mark.parametrize("subject", ["ours", "prototype"])
def test_notifications_that_were_not_handled_are_a_failure(subject: str) -> None:
    with Servers() as servers:
        lane: Lane[Any] = Lane(
            subject, "asyncio", CONNECT[subject](servers.get(subject, "asyncio", None).path, "asyncio")
        )
        try:
            assert turns(lane, 1) > 0
            notify = lane.client.notify
            skipped = itertools.chain([False], itertools.repeat(True))
            lane.client.notify = lambda *args, **kwargs: notify(*args, **kwargs) if next(skipped) else None
            with pytest.raises(RuntimeError, match=f"{AT_ONCE - 1} of {AT_ONCE} notifications"):
                turns(lane, 1)
        finally:
            lane.close()
