"""OpenTelemetry spans of both ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import virtagent
from virtagent.errors import NotFound
from virtagent.peer.context import Context
from virtagent.service.options import in_thread, method
from virtagent.service.service import handlers_of
from virtagent.service.stub import stub
from virtagent.service.telemetry import Tracing

LIMIT = 20.0


class Machine(virtagent.Service, name="machine"):
    """A handler of each kind."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    @method(inline=True)
    async def inline(self) -> str:
        return traceparent()

    async def task(self, password: str = "") -> str:
        if password:
            raise NotFound(f"no {password}")
        return traceparent()

    @in_thread
    def thread(self) -> str:
        return traceparent()

    async def back(self, *, ctx: Context) -> str:
        result: str = await ctx.peer.call("host.answer")
        return result

    async def stream(self, count: int, fail: bool = False) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        if fail:
            raise NotFound("secret")

    def notice(self) -> None:
        self.told.set()


class Host(virtagent.Service, name="host"):
    @method(inline=True)
    async def answer(self) -> str:
        return "answer"


def traceparent() -> str:
    """The trace that a handler is part of."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


class Spans:
    """What one side has exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, name: str) -> ReadableSpan:
        (found,) = [each for each in self.all if each.name == name]
        return found

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert span.parent is not None
    assert parent.context is not None
    return (span.parent.span_id, span.parent.trace_id) == (parent.context.span_id, parent.context.trace_id)


@asynccontextmanager
async def both(directory: Path) -> AsyncIterator[tuple[Any, Spans, Spans]]:
    host, guest = Spans(), Spans()
    handlers = Tracing(guest.provider).handlers(handlers_of(Machine()))
    url = f"unix:{directory}/machine.sock"
    async with (
        asyncio.timeout(LIMIT),
        virtagent.listen(url, handlers=handlers),
        virtagent.connect(url, tracing=host.provider, services=[Host()]) as peer,
    ):
        yield peer, host, guest


@pytest.mark.parametrize("mode", ["inline", "task", "thread"])
async def test_a_call_is_one_trace_across_both_sides(mode: str, tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        with host.tracer.start_as_current_span("my work"):
            within = await peer.call(f"machine.{mode}")
    work, client, server = host.named("my work"), host.named(f"machine.{mode}"), guest.named(f"machine.{mode}")
    assert is_child(client, work)
    assert is_child(server, client)
    assert within == f"{trace_id(work):032x}"
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert dict(server.attributes or {}) == {"rpc.system": "virtagent", "rpc.service": "machine", "rpc.method": mode}
    assert client.start_time is not None
    assert server.start_time is not None
    assert client.start_time <= server.start_time


async def test_stubs_and_calls_with_options_are_traced_too(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        await stub(Machine, peer).task()
        await peer.with_options(deadline=5, priority="urgent").call("machine.inline")
        async with peer.with_options(deadline=5).stream("machine.stream", count=1) as stream:
            assert [item async for item in stream] == [0]
    assert sorted(each.name for each in guest.all) == ["machine.inline", "machine.stream", "machine.task"]
    assert all(is_child(each, next(s for s in host.all if s.name == each.name)) for each in guest.all[:2])


async def test_an_error_is_told_by_its_class_and_never_by_its_message(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        with pytest.raises(NotFound, match="hunter22"):
            await peer.call("machine.task", password="hunter22")
    for span in (host.named("machine.task"), guest.named("machine.task")):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "NotFound"
        assert dict(span.attributes or {})["virtagent.code"] == 5
        assert "hunter22" not in span.to_json()


async def test_a_cancelled_call_ends_its_spans_as_such(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, _):
        call = asyncio.ensure_future(peer.call("machine.task"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
    assert host.named("machine.task").status.description == "CancelledError"


async def test_calls_back_belong_to_the_trace(tmp_path: Path) -> None:
    """The host's own handlers may be traced as well; here the wire tells what they would be told."""
    seen: list[Any] = []

    class Watching(virtagent.Service, name="host"):
        @method(inline=True)
        async def answer(self, *, ctx: Context) -> str:
            seen.append(ctx.metadata["traceparent"])
            return "answer"

    host, guest = Spans(), Spans()
    url = f"unix:{tmp_path}/machine.sock"
    async with (
        asyncio.timeout(LIMIT),
        virtagent.listen(url, handlers=Tracing(guest.provider).handlers(handlers_of(Machine()))),
        virtagent.connect(url, tracing=host.provider, services=[Watching()]) as peer,
    ):
        assert await peer.call("machine.back") == "answer"
    server = guest.named("machine.back")
    assert server.context is not None
    assert [each[:-2] for each in seen] == [f"00-{server.context.trace_id:032x}-{server.context.span_id:016x}-"]


async def test_the_spans_of_a_stream_last_until_it_ends(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        stream = peer.stream("machine.stream", count=3)
        assert await anext(aiter(stream)) == 0
        assert [each.kind for each in host.all] == [SpanKind.CLIENT]  # the call that opened it
        assert [item async for item in stream] == [1, 2]
        call, whole = host.all
    assert whole.kind is SpanKind.INTERNAL
    assert is_child(call, whole)
    server = guest.named("machine.stream")
    assert is_child(server, call)
    assert server.status.status_code is StatusCode.UNSET
    assert call.end_time is not None
    assert whole.end_time is not None
    assert call.end_time < whole.end_time


async def test_a_stream_that_fails_tells_so_on_both_sides(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        with pytest.raises(NotFound):
            _ = [item async for item in peer.stream("machine.stream", count=1, fail=True)]
        whole = host.all[-1]
    for span in (whole, guest.named("machine.stream")):
        assert span.status.description == "NotFound"
        assert "secret" not in span.to_json()


async def test_a_stream_that_is_left_ends_its_spans(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        async with peer.stream("machine.stream", count=1_000_000) as stream:
            assert await anext(aiter(stream)) == 0
        while not guest.all:
            await peer.call("rpc.services")
        assert len([each for each in host.all if each.name == "machine.stream"]) == 2
        (server,) = guest.all
        assert [each.name for each in server.events] == ["the reader left before the end"]


async def test_a_notification_is_a_span_of_its_own(tmp_path: Path) -> None:
    async with both(tmp_path) as (peer, host, guest):
        peer.notify("machine.notice")
        while not guest.all:
            await peer.call("rpc.services")
    assert host.named("machine.notice").kind is SpanKind.PRODUCER
    assert is_child(guest.named("machine.notice"), host.named("machine.notice"))


async def test_a_trace_that_the_caller_names_is_not_replaced(tmp_path: Path) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with both(tmp_path) as (peer, _, guest):
        await peer.with_options(traceparent=parent).call("machine.task")
    assert f"{trace_id(guest.named('machine.task')):032x}" == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("told", ["", "nonsense", "00-0-0-0", 5, b"00"])
async def test_a_trace_context_that_makes_no_sense_begins_a_new_trace(told: Any) -> None:
    """It comes from the other side, and may be anything."""
    guest = Spans()
    (handler,) = [each for each in handlers_of(Machine()) if each.name == "machine.inline"]
    context = Context(None, "machine.inline", lambda: 0.0, metadata={"traceparent": told, "tracestate": 5})  # type: ignore[arg-type]
    Tracing(guest.provider).handler(handler).invoke(context, {})
    assert guest.named("machine.inline").parent is None


def test_nothing_of_it_is_loaded_unless_asked_for() -> None:
    code = (
        "import sys, virtagent.host.connect, virtagent.guest.daemon, virtagent.service.serving\n"
        "print([each for each in sys.modules if 'opentelemetry' in each or 'telemetry' in each])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
