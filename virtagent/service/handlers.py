"""One annotated function as the handler of a request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from virtagent.errors import UsageError
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Mode, Params
from virtagent.service.annotation import plainer
from virtagent.service.binding import Binder, make_binder
from virtagent.service.description import describe_method
from virtagent.service.options import MethodOptions, is_in_thread
from virtagent.service.signature import Signature
from virtagent.service.streams import outgoing

__all__ = ["make_handler"]

Invoke = Callable[[Context, Params], Any]
Finish = Callable[[Any], Any]


def make_handler(
    name: str, function: Callable[..., Any], signature: Signature, options: MethodOptions, doc: str
) -> Handler:
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
        name: the method's name on the wire.
        function: the function, bound to its service.

    Raises:
        UsageError: ``inline`` was asked of a function that runs in a thread.
    """
    bind = make_binder(name, signature)
    kind, returns = signature.stream, signature.returns
    finish: Finish | None = plainer(returns) if kind is None else outgoing(returns, kind)
    mode: Mode
    if is_in_thread(function):
        if options.inline:
            raise UsageError(f"{name}: inline and @in_thread exclude each other; drop one")
        # The descriptor protocol again, for the function below the awaitable one.
        function = function.__wrapped__.__get__(getattr(function, "__self__", None))  # type: ignore[attr-defined]
        mode, invoke = "thread", _direct(function, bind, finish)
    elif signature.generator:
        mode, invoke = "inline", _direct(function, bind, finish)
    elif signature.awaitable:
        mode = "inline" if options.inline else "task"
        invoke = _driven(name, function, bind, finish) if options.inline else _awaited(function, bind, finish)
    else:
        mode, invoke = "inline" if options.inline else "thread", _direct(function, bind, finish)
    description = describe_method(name, signature, options, doc)
    return Handler(name, mode, invoke, idempotent=bool(options.idempotent), description=description)


def _direct(function: Callable[..., Any], bind: Binder, finish: Finish | None) -> Invoke:
    def invoke(context: Context, params: Params) -> Any:
        args, kwargs = bind(context, params)
        result = function(*args, **kwargs)
        return result if finish is None else finish(result)

    return invoke


def _awaited(function: Callable[..., Coroutine[Any, Any, Any]], bind: Binder, finish: Finish | None) -> Invoke:
    async def invoke(context: Context, params: Params) -> Any:
        args, kwargs = bind(context, params)
        result = await function(*args, **kwargs)
        return result if finish is None else finish(result)

    return invoke


def _driven(
    name: str, function: Callable[..., Coroutine[Any, Any, Any]], bind: Binder, finish: Finish | None
) -> Invoke:
    """A coroutine that never suspends gives its result at its first step, without a task."""

    def invoke(context: Context, params: Params) -> Any:
        args, kwargs = bind(context, params)
        running = function(*args, **kwargs)
        try:
            running.send(None)
        except StopIteration as end:
            return end.value if finish is None else finish(end.value)
        running.close()
        raise UsageError(f"{name} is inline, and waited for something; drop inline=True")

    return invoke
