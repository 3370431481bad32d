from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.service.wire import Wire, context
from virtagent.errors import InvalidArgument, NotFound, PermissionDenied
from virtagent.peer.context import Context
from virtagent.peer.handler import Params
from virtagent.peer.stream import OutgoingStream, StreamCall
from virtagent.service.interceptors import CallInterceptor, Proceed, intercept_calls, intercept_handlers
from virtagent.service.options import method
from virtagent.service.service import Service, handlers_of
from virtagent.service.stub import stub


class Files(Service, name="files"):
    @method(inline=True)
    async def quick(self, path: str) -> str:
        return path

    async def task(self, path: str) -> str:
        if path == "/gone":
            raise NotFound(path)
        return path

    def thread(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    async def read(self) -> AsyncIterator[bytes]:
        yield b"x"

    async def wait(self) -> None:
        await asyncio.get_running_loop().create_future()

    def event(self, what: str) -> None: ...


class Recorder:
    """An interceptor of handlers that writes down what it sees."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def __call__(self, ctx: Context, params: Params, proceed: Proceed) -> Any:
        self.log.append(f"{self.name} in {ctx.method}")
        try:
            result = await proceed(ctx, params)
        except BaseException as error:
            self.log.append(f"{self.name} {type(error).__name__}")
            raise
        self.log.append(f"{self.name} out")
        return result


def served(*interceptors: Any) -> Wire:
    return Wire(handlers=intercept_handlers(handlers_of(Files()), interceptors))


async def test_the_first_interceptor_is_the_outermost() -> None:
    log: list[str] = []
    wire = served(Recorder("one", log), Recorder("two", log))
    assert await wire.call("files.task", "/x") == "/x"
    assert log == ["one in files.task", "two in files.task", "two out", "one out"]


async def test_every_kind_of_handler_becomes_a_task_and_works_as_before() -> None:
    log: list[str] = []
    wire = served(Recorder("one", log))
    assert {each.mode for each in wire.router} == {"task"}
    assert await wire.call("files.quick", "/x") == "/x"
    assert await wire.call("files.thread") is False
    assert [chunk async for chunk in wire.stream("files.read")] == [b"x"]


def test_without_interceptors_handlers_stay_as_they_are() -> None:
    handlers = handlers_of(Files())
    assert intercept_handlers(handlers, []) == handlers


async def test_an_error_passes_through_every_interceptor_outwards() -> None:
    log: list[str] = []
    wire = served(Recorder("one", log), Recorder("two", log))
    with pytest.raises(NotFound):
        await wire.call("files.task", "/gone")
    assert log[2:] == ["two NotFound", "one NotFound"]
    with pytest.raises(InvalidArgument):
        await wire.call("files.task", 1)


async def test_an_interceptor_may_refuse_change_or_repeat() -> None:
    async def refuse(ctx: Context, params: Params, proceed: Proceed) -> Any:
        raise PermissionDenied(ctx.method)

    async def change(ctx: Context, params: Params, proceed: Proceed) -> Any:
        return [await proceed(ctx, ["/changed"]), await proceed(ctx, params)]

    with pytest.raises(PermissionDenied, match=r"files.task"):
        await served(refuse).call("files.task", "/x")
    assert await served(change).call("files.task", "/x") == ["/changed", "/x"]


async def test_an_interceptor_sees_a_stream_before_it_is_open() -> None:
    seen: list[Any] = []

    async def look(ctx: Context, params: Params, proceed: Proceed) -> Any:
        seen.append(await proceed(ctx, params))
        return seen[0]

    assert [chunk async for chunk in served(look).stream("files.read")] == [b"x"]
    assert isinstance(seen[0], OutgoingStream)


async def test_cancellation_passes_through() -> None:
    log: list[str] = []
    handler = served(Recorder("one", log)).router.get("files.wait")
    assert handler is not None
    running = asyncio.ensure_future(handler.invoke(context("files.wait"), []))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert log == ["one in files.wait", "one CancelledError"]


class Tagging(CallInterceptor):
    """Writes down what passes, and changes paths."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def call(self, method: str, args: Any, params: Any, proceed: Callable[..., Awaitable[Any]]) -> Any:
        self.log.append(f"{self.name} call {method}")
        try:
            return await proceed(method, args, {**params, "path": f"{params['path']}{self.name}"})
        finally:
            self.log.append(f"{self.name} done")

    def notify(self, method: str, args: Any, params: Any, proceed: Callable[..., None]) -> None:
        self.log.append(f"{self.name} notify {method}")
        proceed(method, args, params)

    def stream(self, method: str, args: Any, params: Any, proceed: Callable[..., StreamCall]) -> StreamCall:
        self.log.append(f"{self.name} stream {method}")
        return proceed(method, args, params)


async def test_calls_notifications_and_streams_pass_through_call_interceptors_outermost_first() -> None:
    log: list[str] = []
    wire = Wire(Files())
    files = stub(Files2, intercept_calls(wire, [Tagging("1", log), Tagging("2", log)]))
    assert await files.task("/x") == "/x12"
    files.event("up")
    assert [chunk async for chunk in files.read()] == [b"x"]
    assert log == [
        "1 call files.task",
        "2 call files.task",
        "2 done",
        "1 done",
        "1 notify files.event",
        "2 notify files.event",
        "1 stream files.read",
        "2 stream files.read",
    ]
    assert wire.notified == [("files.event", {"what": "up"})]


class Files2(Service, name="files", interface=True):
    async def task(self, path: str) -> str:
        raise NotImplementedError

    def event(self, what: str) -> None:
        raise NotImplementedError

    def read(self) -> AsyncIterator[bytes]:
        raise NotImplementedError


async def test_errors_and_cancellation_pass_through_call_interceptors() -> None:
    log: list[str] = []
    caller = intercept_calls(Wire(Files()), [Tagging("", log)])
    with pytest.raises(NotFound):
        await caller.call("files.task", path="/gone")
    assert log == [" call files.task", " done"]


async def test_an_interceptor_that_overrides_nothing_changes_nothing() -> None:
    wire = Wire(Files())
    caller = intercept_calls(wire, [CallInterceptor()])
    assert await caller.call("files.task", "/x") == "/x"
    caller.notify("files.event", "up")
    assert [chunk async for chunk in caller.stream("files.read")] == [b"x"]
    assert repr(caller) == "<wire> through CallInterceptor"
    assert intercept_calls(wire, []) is wire
