"""Calls and notifications between two peers."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest

from virtagent.errors import (
    CallError,
    Cancelled,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    MethodNotFound,
    NotFound,
    Overloaded,
    SessionLost,
    TooDeep,
    UsageError,
    error_code,
)
from virtagent.peer.context import Context, current_context
from virtagent.peer.options import PeerOptions
from virtagent.peer.state import PeerState
from virtagent.protocol.limits import Limits
from virtagent.testing import faulty_pair, memory_pair, peer_pair

from .support import ECHO, Gate, handler, is_idle, until, virtual_loop


async def test_calls_go_both_ways_with_arguments_by_position_and_by_name() -> None:
    """Rule C1: both peers are equal; params are an array or a map."""

    def describe(_: Context, *args: Any, **params: Any) -> Any:
        return [list(args), params]

    both = [handler(describe)]
    async with peer_pair(both, both) as (a, b):
        assert await a.call("describe", 1, "two") == [[1, "two"], {}]
        assert await b.call("describe", x=1) == [[], {"x": 1}]
        assert await b.call("describe") == [[], {}]
        with pytest.raises(UsageError, match="by position or by name"):
            await a.call("describe", 1, x=1)
        assert is_idle(a, b)


async def test_answers_come_in_any_order_and_each_to_its_own_call() -> None:
    """Rule C4."""
    gates = [Gate(f"gate{number}") for number in range(5)]
    async with peer_pair(handlers_b=[gate.handler for gate in gates]) as (a, _):
        calls = [asyncio.create_task(a.call(f"gate{number}", number)) for number in range(5)]
        for number in (3, 0, 4, 2, 1):
            await gates[number].entered.wait()
            gates[number].open.set()
            assert await calls[number] == number


async def test_a_thousand_calls_at_once_share_frames_and_are_all_answered() -> None:
    """Rule P4."""
    async with peer_pair([ECHO], [ECHO]) as (a, b):
        answers = await asyncio.gather(*(peer.call("echo", number) for number in range(500) for peer in (a, b)))
        assert answers == [number for number in range(500) for _ in range(2)]
        assert is_idle(a, b)


async def test_a_notification_reaches_its_handler_and_is_not_answered() -> None:
    """Rule C9."""
    seen: asyncio.Queue[Any] = asyncio.Queue()
    async with peer_pair(handlers_b=[handler(lambda _, value: seen.put_nowait(value), "note")]) as (a, b):
        a.notify("note", 1)
        a.with_options(priority="urgent").notify("note", value=2)
        a.notify("nobody.listens", 3)
        assert {await seen.get(), await seen.get()} == {1, 2}
        with pytest.raises(UsageError):
            a.notify("", 1)
        assert is_idle(a, b)


async def test_notifications_beyond_the_bound_are_dropped_counted_and_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rules C9, L1."""
    gate = Gate("note")
    few = PeerOptions(limits=Limits(notifications=3))
    async with peer_pair(handlers_b=[gate.handler, ECHO], options_b=few) as (a, b):
        for number in range(10):
            a.notify("note", number)
        await a.call("echo")
        assert gate.count == 3
        assert b.statistics()["dropped_notifications"] == 7
        assert "notifications dropped" in caplog.text
        gate.open.set()
        await until(lambda: b.statistics()["running"] == 0)
        a.notify("note")
        await a.call("echo")
        assert gate.count == 4


async def test_a_call_to_a_method_that_is_not_there_says_so() -> None:
    async with peer_pair() as (a, b):
        with pytest.raises(MethodNotFound, match=r"no method 'nothing\.here'"):
            await a.call("nothing.here")
        assert is_idle(a, b)


async def test_handlers_run_inline_as_tasks_and_in_threads() -> None:
    loop_thread = threading.get_ident()
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="")

    def inline(_: Context) -> Any:
        return [threading.get_ident() == loop_thread, asyncio.current_task() is None]

    async def task(ctx: Context) -> Any:
        mark.set("of the task")
        await asyncio.sleep(0)
        return [threading.get_ident() == loop_thread, current_context.get() is ctx]

    def thread(ctx: Context) -> Any:
        return [threading.get_ident() == loop_thread, current_context.get() is ctx]

    handlers = [handler(inline), handler(task), handler(thread, mode="thread")]
    async with peer_pair(handlers_b=handlers) as (a, _):
        assert await a.call("inline") == [True, True]
        assert await a.call("task") == [True, True]
        with virtual_loop().hold():
            assert await a.call("thread") == [False, True]
        assert mark.get() == ""


async def test_an_inline_handler_that_blocks_is_reported_by_name(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slow(_: Context) -> None:
        clock[0] += 0.3

    async with peer_pair(handlers_b=[handler(slow), ECHO]) as (a, _):
        await a.call("echo")
        assert "blocked" not in caplog.text
        await a.call("slow")
    assert "the handler of slow blocked the event loop for 300 ms" in caplog.text


async def test_an_inline_handler_is_not_blamed_for_a_coroutine_before_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.12 and later run a coroutine's first step in the read path."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    async def slow(_: Context) -> None:
        clock[0] += 0.3

    async with peer_pair(handlers_b=[handler(slow), ECHO]) as (a, _):
        await a.call("echo")
        await asyncio.gather(a.call("echo"), a.call("slow"), a.call("echo"))  # the last two share a frame
    assert "echo blocked" not in caplog.text


# -- errors -------------------------------------------------------------------------------------------------------


@error_code(1234)
class OutOfPaper(CallError):
    """An application's own."""


@pytest.mark.parametrize("mode", ["inline", "task", "thread"])
async def test_errors_arrive_as_the_same_class_with_text_and_data(mode: Any) -> None:
    """Rule C3, and E1's table."""
    error: CallError = NotFound("no such file", data={"path": "/x"})

    def fail(_: Context) -> None:
        raise error

    async def fail_in_task(_: Context) -> None:
        raise error

    function = fail_in_task if mode == "task" else fail
    both = [handler(function, "fail", mode)]
    async with peer_pair(both, both) as (a, b):
        for peer in (a, b):
            for error in (NotFound("no such file", data={"path": "/x"}), OutOfPaper("tray 2", data=[1])):
                with virtual_loop().hold(), pytest.raises(type(error)) as caught:
                    await peer.call("fail")
                assert type(caught.value) is type(error)
                assert caught.value.message == error.message
                assert caught.value.data == error.data


async def test_a_code_that_is_not_known_here_is_kept() -> None:
    """Rule E1."""

    def fail(_: Context) -> None:
        raise CallError("eh", code=4711)

    async with peer_pair(handlers_b=[handler(fail)]) as (a, _):
        with pytest.raises(CallError) as caught:
            await a.call("fail")
        assert (type(caught.value), caught.value.code) == (CallError, 4711)


async def test_an_unforeseen_exception_tells_the_caller_its_class_name_only(caplog: pytest.LogCaptureFixture) -> None:
    """Rule E1: the text may tell secrets, so it stays in the log of its own side."""

    async def fail(_: Context) -> None:
        raise ZeroDivisionError("password=hunter2")

    async with peer_pair(handlers_b=[handler(fail)]) as (a, _):
        with pytest.raises(InternalError) as caught:
            await a.call("fail")
        assert "ZeroDivisionError" in str(caught.value)
        assert "hunter2" not in repr(caught.value.args) + repr(caught.value.data)
    assert "hunter2" in caplog.text


async def test_a_result_or_error_data_that_cannot_be_sent_is_answered_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rule C4: exactly one response, whatever the handler gives."""

    def bad_result(_: Context) -> Any:
        return object()

    def bad_data(_: Context) -> Any:
        raise InvalidArgument("not this", data=object())

    async with peer_pair(handlers_b=[handler(bad_result), handler(bad_data)]) as (a, b):
        with pytest.raises(InternalError, match="cannot be sent"):
            await a.call("bad_result")
        with pytest.raises(InvalidArgument):
            await a.call("bad_data")
        with pytest.raises(UsageError):
            await a.call("bad_data", object())
        assert is_idle(a, b)
    assert "bad_result returned something that cannot be sent" in caplog.text


# -- nested calls -------------------------------------------------------------------------------------------------


async def test_a_handler_calls_back_to_its_caller_within_its_call() -> None:
    """Rule C6."""

    async def ask(ctx: Context, value: Any) -> Any:
        return [ctx.depth, await ctx.peer.call("answer", value)]

    async def answer(ctx: Context, value: Any) -> Any:
        return [ctx.depth, value]

    async with peer_pair([handler(answer)], [handler(ask)]) as (a, b):
        assert await a.call("ask", 7) == [0, [1, 7]]
        assert is_idle(a, b)


async def test_calls_nest_up_to_the_limit_and_then_are_too_deep() -> None:
    """Rule C6."""
    deepest = 0

    async def bounce(ctx: Context, levels: int) -> Any:
        nonlocal deepest
        deepest = max(deepest, ctx.depth)
        return await ctx.peer.call("bounce", levels - 1) if levels else "bottom"

    both = [handler(bounce)]
    async with peer_pair(both, both) as (a, b):
        assert await a.call("bounce", 64) == "bottom"
        assert deepest == 64
        with pytest.raises(TooDeep, match="deeper than 64"):
            await a.call("bounce", 65)
        assert is_idle(a, b)


async def test_call_backs_get_through_when_all_places_for_calls_are_taken() -> None:
    """Rules C5, C6: nested calls have a quota of their own, so full peers cannot deadlock."""

    async def ask(ctx: Context) -> Any:
        return await ctx.peer.call("answer")

    async def answer(_: Context) -> str:
        await asyncio.sleep(1)
        return "yes"

    both = [handler(ask), handler(answer)]
    few = PeerOptions(limits=Limits(calls=8))
    async with peer_pair(both, both, options=few) as (a, b):
        answers = await asyncio.gather(*(peer.call("ask") for _ in range(8) for peer in (a, b)))
        assert answers == ["yes"] * 16
        assert is_idle(a, b)


async def test_a_callee_at_its_limit_answers_overloaded_at_once() -> None:
    """Rules C5, L1."""
    gate = Gate()
    few = PeerOptions(limits=Limits(calls=3))
    async with peer_pair(handlers_b=[gate.handler], options_b=few) as (a, b):
        calls = [asyncio.create_task(a.call("gate", number)) for number in range(3)]
        await until(lambda: gate.count == 3)
        with pytest.raises(Overloaded, match="3 calls are open"):
            await a.call("gate")
        assert b.statistics()["overloads"] == 1
        gate.open.set()
        assert await asyncio.gather(*calls) == [0, 1, 2]
        assert await a.call("gate", 3) == 3


# -- cancellation -------------------------------------------------------------------------------------------------


async def test_cancelling_a_call_cancels_the_peers_handler_and_its_finally_runs() -> None:
    """Rule C7."""
    gate = Gate()
    async with peer_pair(handlers_b=[gate.handler, ECHO]) as (a, b):
        call = asyncio.create_task(a.call("gate"))
        await gate.entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert a.statistics()["calls"] == 0
        await gate.ended.wait()
        assert gate.cancelled == 1
        await a.call("echo")
        assert is_idle(a, b)
        assert a.statistics()["strays"] == 0


async def test_a_cancel_goes_through_nested_calls_to_the_last() -> None:
    """Rules C6, C7."""
    gate = Gate()

    async def middle(ctx: Context) -> Any:
        return await ctx.peer.call("gate")

    async with peer_pair([gate.handler], [handler(middle), ECHO]) as (a, b):
        call = asyncio.create_task(a.call("middle"))
        await gate.entered.wait()
        call.cancel()
        await gate.ended.wait()
        assert gate.cancelled == 1
        await a.call("echo")
        await until(lambda: is_idle(a, b))


async def test_a_call_that_is_cancelled_or_late_before_it_leaves_is_never_sent() -> None:
    """Rules C8, D5: the channel takes nothing more, so the requests wait here."""
    gate, pair = Gate(), faulty_pair()
    async with peer_pair(handlers_b=[gate.handler, ECHO], pair=pair) as (a, b):
        pair.stop()
        a.notify("echo", bytes(300_000))
        await asyncio.sleep(0)
        call = asyncio.create_task(a.call("gate"))
        late = asyncio.create_task(a.with_options(deadline=2).call("gate"))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(DeadlineExceeded, match="could not be sent") as caught:
            await late
        assert not caught.value.may_have_run
        assert call.cancelled()
        pair.release()
        assert await a.call("echo", 1) == 1
        assert gate.count == 0
        assert is_idle(a, b)


async def test_a_request_and_its_cancel_in_one_read_never_start_the_handler() -> None:
    """Rule C7."""
    gate, pair = Gate(), faulty_pair()
    async with peer_pair(handlers_b=[gate.handler, ECHO], pair=pair) as (a, b):
        pair.stop()
        call = asyncio.create_task(a.call("gate"))
        await until(lambda: pair.wires is not None and pair.wires[0].held > 0)
        call.cancel()
        await asyncio.wait([call])
        for _ in range(3):
            await asyncio.sleep(0)
        joined = pair.wires[0].receive  # type: ignore[index]
        pair.wires[0].receive = lambda now: [b"".join(joined(now))] if pair.wires[0].held else []  # type: ignore[index,method-assign]
        pair.release()
        assert await a.call("echo", 1) == 1
        assert gate.count == 0
        assert is_idle(a, b)


async def test_a_handler_that_ends_by_cancellation_of_its_own_answers_cancelled() -> None:
    async def give_up(_: Context) -> None:
        raise asyncio.CancelledError

    async with peer_pair(handlers_b=[handler(give_up)]) as (a, b):
        with pytest.raises(Cancelled, match="give_up"):
            await a.call("give_up")
        assert is_idle(a, b)


async def test_a_handler_cancelled_before_its_first_step_is_answered_too() -> None:
    """Rule C4: the deadline may pass in the turn of the loop in which the request came."""
    gate = Gate()

    def stall(ctx: Context) -> None:
        virtual_loop().advance(2)
        ctx.peer._handle_timer()

    async with peer_pair(handlers_b=[gate.handler, handler(stall), ECHO]) as (a, b):
        first = asyncio.create_task(a.call("echo"))
        call = asyncio.create_task(a.with_options(deadline=1).call("gate"))
        await asyncio.sleep(0)
        a.notify("stall")
        with pytest.raises(DeadlineExceeded):
            await call
        await first
        await a.call("echo")
        if sys.version_info < (3, 12):  # later ones take a handler's first step at once
            assert gate.count == 0
        assert is_idle(a, b)


async def test_twenty_thousand_cancelled_and_timed_out_calls_leave_nothing() -> None:
    """Rules C4, C7, D3: no entries, no tasks, no timers, no memory."""

    async def forever(_: Context) -> None:
        await asyncio.Event().wait()

    async with peer_pair(handlers_b=[handler(forever), ECHO]) as (a, b):

        async def round_of(count: int) -> None:
            cancelled = [
                asyncio.create_task(
                    a.call(
                        "forever",
                    )
                )
                for _ in range(count // 2)
            ]
            late = [asyncio.create_task(a.with_options(deadline=0.5).call("forever")) for _ in range(count // 2)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for call in cancelled:
                call.cancel()
            outcomes = await asyncio.gather(*cancelled, *late, return_exceptions=True)
            assert {type(each) for each in outcomes} == {asyncio.CancelledError, DeadlineExceeded}
            await a.call("echo")
            await until(lambda: is_idle(a, b))

        for _ in range(3):
            await round_of(500)
        gc.collect()
        tasks, timers = len(asyncio.all_tasks()), len(virtual_loop()._scheduled)  # type: ignore[attr-defined]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(37):
                await round_of(500)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 256 * 1024  # 14 bytes a call: no object is so small; asyncio's set of tasks takes 64 KiB
        assert len(asyncio.all_tasks()) == tasks
        assert len(virtual_loop()._scheduled) <= timers + 4  # type: ignore[attr-defined]


# -- deadlines ----------------------------------------------------------------------------------------------------


async def test_a_call_has_the_default_deadline_of_its_side() -> None:
    """Rule D1."""
    gate = Gate()
    loop = virtual_loop()
    async with peer_pair(handlers_b=[gate.handler], options=PeerOptions(deadline=7)) as (a, _):
        started = loop.time()
        with pytest.raises(DeadlineExceeded) as caught:
            await a.call("gate")
        assert loop.time() - started == pytest.approx(7, abs=0.01)
        assert caught.value.may_have_run
        await gate.ended.wait()
        assert gate.cancelled == 1


async def test_a_deadline_is_enforced_by_the_callee_even_if_the_caller_says_nothing_more() -> None:
    """Rules D2, D3: the callee cancels its handler although no cancel arrives."""
    gate, pair = Gate(), faulty_pair()
    loop = virtual_loop()
    async with peer_pair(handlers_b=[gate.handler], pair=pair) as (a, _):
        call = asyncio.create_task(a.with_options(deadline=3).call("gate"))
        await gate.entered.wait()
        pair.stop()
        started = loop.time()
        await gate.ended.wait()
        assert loop.time() - started == pytest.approx(3, abs=0.01)
        with pytest.raises(DeadlineExceeded):
            await call
        pair.release()


async def test_handlers_see_the_remaining_time_and_nested_calls_inherit_it() -> None:
    """Rules D2, D4."""
    seen: list[float | None] = []

    async def outer(ctx: Context) -> None:
        seen.append(ctx.remaining())
        await asyncio.sleep(2)
        await ctx.peer.call("inner")

    async def inner(ctx: Context) -> None:
        seen.append(ctx.remaining())
        await asyncio.Event().wait()

    async with peer_pair([handler(inner)], [handler(outer)]) as (a, b):
        with pytest.raises(DeadlineExceeded):
            await a.with_options(deadline=5).call("outer")
        assert seen == [pytest.approx(5, abs=0.01), pytest.approx(3, abs=0.01)]
        await until(lambda: is_idle(a, b))


async def test_a_call_without_deadline_says_so_and_lasts() -> None:
    """Rules C10, D1."""
    seen: list[float | None] = []

    async def outer(ctx: Context) -> str:
        seen.append(ctx.remaining())
        await asyncio.sleep(20_000)
        return "at last"

    async with peer_pair(handlers_b=[handler(outer)]) as (a, _):
        assert await a.with_options(deadline=float("inf")).call("outer") == "at last"
        assert seen == [None]


async def test_metadata_reaches_the_handler_and_trace_context_goes_on() -> None:
    """Rule C10."""

    async def outer(ctx: Context) -> Any:
        return [ctx.metadata["key"], ctx.priority, await ctx.peer.call("inner")]

    async def inner(ctx: Context) -> Any:
        return [ctx.metadata.get("key"), ctx.metadata["traceparent"], ctx.priority]

    async with peer_pair([handler(inner)], [handler(outer)]) as (a, _):
        caller = a.with_options(key="once", traceparent="00-1-2-03", priority="bulk")
        assert await caller.call("outer") == ["once", 3, [None, "00-1-2-03", 3]]
        with pytest.raises(UsageError, match="options of a call are"):
            a.with_options(colour="red")
        for bad in ({"deadline": 0}, {"deadline": float("nan")}, {"priority": "asap"}):
            with pytest.raises(UsageError):
                a.with_options(**bad)


async def test_a_silent_peer_is_sent_no_new_request() -> None:
    """Rules K2, K5, D5: it would do it when it wakes up, when nobody wants it any more."""
    gate, pair = Gate(), faulty_pair()
    async with peer_pair(handlers_b=[gate.handler, ECHO], pair=pair) as (a, _):
        running = asyncio.create_task(a.with_options(deadline=100).call("gate", "late"))
        await gate.entered.wait()
        pair.stop()
        states = a.states()
        assert await anext(states) is PeerState.UP
        assert await anext(states) is PeerState.SILENT
        assert "silent" in a.detail
        with pytest.raises(DeadlineExceeded, match="not sent") as caught:
            await a.with_options(deadline=5).call("gate")
        assert not caught.value.may_have_run
        waiting = asyncio.create_task(a.call("echo", 1))
        await asyncio.sleep(1)
        pair.release()
        assert await waiting == 1
        assert await anext(states) is PeerState.UP
        gate.open.set()
        assert await running == "late"
        assert gate.count == 1


async def test_waiting_for_a_session_does_not_renew_a_calls_deadline() -> None:
    """Rules D1, K5."""
    gate, pair = Gate(), faulty_pair()
    loop = virtual_loop()
    async with peer_pair(handlers_b=[gate.handler], pair=pair, options=PeerOptions(deadline=30)) as (a, _):
        pair.stop()
        await anext(aiter_after(a.states(), PeerState.SILENT))
        started = loop.time()
        call = asyncio.create_task(a.call("gate"))
        await asyncio.sleep(20)
        pair.release()
        with pytest.raises(DeadlineExceeded):
            await call
        assert loop.time() - started == pytest.approx(30, abs=0.1)


async def aiter_after(states: Any, wanted: PeerState) -> Any:
    async for state in states:
        if state is wanted:
            yield state


async def test_a_call_without_a_channel_fails_as_not_sent() -> None:
    """Rule D5."""
    pair = memory_pair()
    async with peer_pair(handlers_b=[ECHO], pair=pair) as (a, b):
        pair.cut()
        await until(lambda: a.state is PeerState.NO_CHANNEL)
        with pytest.raises(SessionLost) as caught:
            await a.call("echo")
        assert not caught.value.may_have_run
        with pytest.raises(SessionLost):
            a.notify("echo")
        assert is_idle(a, b)


# -- threads ------------------------------------------------------------------------------------------------------


async def test_thread_handlers_run_at_most_so_many_at_a_time() -> None:
    release, started, most = threading.Event(), threading.Semaphore(0), [0, 0]
    lock = threading.Lock()

    def work(_: Context) -> None:
        with lock:
            most[0] += 1
            most[1] = max(most)
        started.release()
        release.wait(10)
        with lock:
            most[0] -= 1

    async with peer_pair(handlers_b=[handler(work, mode="thread")], options_b=PeerOptions(threads=3)) as (a, _):
        with virtual_loop().hold():
            calls = [asyncio.create_task(a.call("work")) for _ in range(10)]
            for _ in range(3):
                assert await asyncio.to_thread(started.acquire, timeout=10)
            release.set()
            await asyncio.gather(*calls)
    assert most[1] == 3


async def test_a_cancelled_thread_handler_is_answered_at_once_and_reported_until_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rules C4, C7: a thread cannot be cancelled."""
    release, started = threading.Event(), threading.Event()

    def work(_: Context) -> None:
        started.set()
        release.wait(10)

    try:
        async with peer_pair(handlers_b=[handler(work, mode="thread"), ECHO]) as (a, b):
            with virtual_loop().hold():
                call = asyncio.create_task(a.call("work"))
                assert await asyncio.to_thread(started.wait, 10)
                call.cancel()
                await asyncio.wait([call])
                await a.call("echo")
                await until(lambda: is_idle(a, b))
                assert b.statistics()["stuck_threads"] == 1
                assert "work was cancelled, but runs on in its thread" in caplog.text
                release.set()
                deadline = time.monotonic() + 10
                while b.statistics()["stuck_threads"] and time.monotonic() < deadline:
                    await asyncio.to_thread(threading.Event().wait, 0.001)
                assert b.statistics()["stuck_threads"] == 0
    finally:
        release.set()


async def test_a_flood_in_one_read_lets_the_loop_turn_in_between() -> None:
    turns, served = 0, 0

    def count(_: Context) -> int:
        nonlocal served
        served += 1
        return turns

    def turn() -> None:
        nonlocal turns
        turns += 1
        if served < 3000:
            asyncio.get_running_loop().call_soon(turn)

    many = PeerOptions(limits=Limits(calls=4096))
    async with peer_pair(handlers_b=[handler(count)], options=many) as (a, _):
        turn()
        answers = await asyncio.gather(*(a.call("count") for _ in range(3000)))
        assert len(set(answers)) >= 5
