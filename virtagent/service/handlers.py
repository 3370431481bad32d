"""One annotated function as the handler of a request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from virtagent.errors import UsageError
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Params
from virtagent.service.method import Method
from virtagent.service.options import MethodOptions, is_in_thread
from virtagent.service.plan import Invoke, Plan, Way, plan_of

__all__ = ["make_handler"]


def make_handler(name: str, function: Callable[..., Any], method: Method) -> Handler:
    """Make the handler of one function.

    =================================================  ==================================================
    ``async def``                                      task
    ``async def``, inline                              inline; it must never suspend
    ``def``                                            thread
    ``def``, inline                                    inline
    ``async def`` with ``yield``                       inline (making a generator runs nothing), a stream
    =================================================  ==================================================

    A function that gives an async iterator in another way (``def`` or ``async def`` with ``return``) runs as its
    kind does, and what it returned is the stream.

    Args:
        name: the method's whole name on the wire.
        function: the method's function, bound to its service.
        method: what is known of it.

    Raises:
        UsageError: ``inline`` was asked of a function that runs in a thread.
    """
    plan, options = plan_of(name, method), method.options
    way = plan.way
    if way is None or getattr(function, "__func__", None) is not method.function:
        way = _way(name, function, options)
        if getattr(function, "__func__", None) is method.function:
            plan.way = way
    if way.unwrap:
        # The descriptor protocol again, for the function below the awaitable one.
        function = function.__wrapped__.__get__(getattr(function, "__self__", None))  # type: ignore[attr-defined]
    invoke = way.make(name, function, plan)
    return Handler(
        name,
        way.mode,
        invoke,
        idempotent=bool(options.idempotent),
        description=plan.description,
        role=options.role or "admin",
        secrets=options.secrets or (),
    )


def _way(name: str, function: Callable[..., Any], options: MethodOptions) -> Way:
    if is_in_thread(function):
        if options.inline:
            raise UsageError(f"{name}: inline and @in_thread exclude each other; drop one")
        return Way("thread", _direct, unwrap=True)
    if inspect.isasyncgenfunction(function):
        return Way("inline", _direct)
    if inspect.iscoroutinefunction(function):
        return Way("inline", _driven) if options.inline else Way("task", _awaited)
    return Way("inline" if options.inline else "thread", _direct)


def _direct(name: str, function: Callable[..., Any], plan: Plan) -> Invoke:
    def invoke(context: Context, params: Params) -> Any:
        result = plan.call(function, context, params)
        return result if plan.finish is None else plan.finish(result)

    return invoke


def _awaited(name: str, function: Callable[..., Any], plan: Plan) -> Invoke:
    async def invoke(context: Context, params: Params) -> Any:
        result = await plan.call(function, context, params)
        return result if plan.finish is None else plan.finish(result)

    return invoke


def _driven(name: str, function: Callable[..., Any], plan: Plan) -> Invoke:
    """A coroutine that never suspends gives its result at its first step, without a task."""

    def invoke(context: Context, params: Params) -> Any:
        running = plan.call(function, context, params)
        try:
            running.send(None)
        except StopIteration as end:
            return end.value if plan.finish is None else plan.finish(end.value)
        running.close()
        raise UsageError(f"{name} is inline, and waited for something; drop inline=True")

    return invoke
