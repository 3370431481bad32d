"""Code around handlers (served calls) and around calls (made ones): logging, metrics, permission, retry.

The first interceptor of a list is the outermost: it sees a call first and its outcome last. What it does not catch goes
on outwards, cancellation included; whoever catches ``CancelledError`` must raise it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from virtagent.peer.caller import Caller
from virtagent.peer.context import Context
from virtagent.peer.handler import Handler, Params

if TYPE_CHECKING:
    from virtagent.peer.stream import StreamCall

__all__ = ["CallInterceptor", "HandlerInterceptor", "Proceed", "intercept_calls", "intercept_handlers"]

Proceed: TypeAlias = Callable[[Context, Params], Awaitable[Any]]
"""Goes on to the next interceptor, or to the handler; may be called with other params, several times, or not at all."""

HandlerInterceptor: TypeAlias = Callable[[Context, Params, Proceed], Awaitable[Any]]
"""``async def interceptor(ctx, params, proceed)``: what it returns is answered, what it raises too.

Params are as they came, before validation; a result is plain data, or an ``OutgoingStream`` which is not yet open.
"""


def intercept_handlers(handlers: Iterable[Handler], interceptors: Sequence[HandlerInterceptor]) -> list[Handler]:
    """Handlers with interceptors around them, which makes each of them a task; without interceptors, as they are.

    A handler of mode ``thread`` then runs in the event loop's default executor. Cancelling leaves its thread running.
    """
    if not interceptors:
        return list(handlers)
    return [
        Handler(
            each.name,
            "task",
            _around(each, interceptors),
            each.idempotent,
            each.description,
            each.role,
            each.secrets,
        )
        for each in handlers
    ]


def _around(handler: Handler, interceptors: Sequence[HandlerInterceptor]) -> Proceed:
    proceed = _innermost(handler)
    for interceptor in reversed(interceptors):
        proceed = _link(interceptor, proceed)
    return proceed


def _link(interceptor: HandlerInterceptor, proceed: Proceed) -> Proceed:
    async def linked(context: Context, params: Params) -> Any:
        return await interceptor(context, params, proceed)

    return linked


def _innermost(handler: Handler) -> Proceed:
    async def run(context: Context, params: Params) -> Any:
        if handler.mode == "thread":
            return await asyncio.to_thread(handler.invoke, context, params)
        result = handler.invoke(context, params)
        return await result if handler.mode == "task" else result

    return run


class CallInterceptor:
    """Base class for interceptors of calls: override what matters; the rest passes through.

    ``proceed(method, args, params)`` goes on to the next interceptor, or sends.
    """

    async def call(
        self, method: str, args: tuple[Any, ...], params: dict[str, Any], proceed: Callable[..., Awaitable[Any]]
    ) -> Any:
        """Around a call, from before it is sent until its answer or error."""
        return await proceed(method, args, params)

    def notify(self, method: str, args: tuple[Any, ...], params: dict[str, Any], proceed: Callable[..., None]) -> None:
        """Around the sending of a notification."""
        proceed(method, args, params)

    def stream(
        self, method: str, args: tuple[Any, ...], params: dict[str, Any], proceed: Callable[..., StreamCall]
    ) -> StreamCall:
        """Around the making of a stream call; nothing is sent until the stream is used."""
        return proceed(method, args, params)


def intercept_calls(caller: Caller, interceptors: Sequence[CallInterceptor]) -> Caller:
    """A caller that passes through interceptors; without any, the caller itself."""
    for interceptor in reversed(interceptors):
        caller = _Intercepted(caller, interceptor)
    return caller


class _Intercepted(Caller):
    """One interceptor in front of a caller."""

    def __init__(self, caller: Caller, interceptor: CallInterceptor) -> None:
        self._caller = caller
        self._interceptor = interceptor
        self._call, self._notify, self._stream = (
            partial(_send, send) for send in (caller.call, caller.notify, caller.stream)
        )

    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        return await self._interceptor.call(method, args, params, self._call)

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        self._interceptor.notify(method, args, params, self._notify)

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return self._interceptor.stream(method, args, params, self._stream)

    def __repr__(self) -> str:
        return f"{self._caller!r} through {type(self._interceptor).__name__}"


def _send(send: Callable[..., Any], method: str, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    return send(method, *args, **params)
