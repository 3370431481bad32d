"""Calls with options: a deadline, a class, a retry, for some calls of a peer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from virtagent.errors import UsageError
from virtagent.peer.caller import Caller
from virtagent.peer.options import CallOptions
from virtagent.peer.stream import StreamCall

__all__ = ["CallerWithOptions", "join_arguments", "make_options"]


class CallerWithOptions(Caller):
    """A peer with other options for the calls made through it."""

    __slots__ = ("_call", "_notify", "_options")

    def __init__(
        self,
        call: Callable[[str, Any, CallOptions], Coroutine[Any, Any, Any]],
        notify: Callable[[str, Any, CallOptions], None],
        options: CallOptions,
    ) -> None:
        self._call = call
        self._notify = notify
        self._options = options

    def call(self, method: str, /, *args: Any, **params: Any) -> Coroutine[Any, Any, Any]:
        return self._call(method, join_arguments(method, args, params), self._options)

    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        self._notify(method, join_arguments(method, args, params), self._options)

    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        return StreamCall(self, method, args, params)


def make_options(options: dict[str, Any]) -> CallOptions:
    """Options from keyword arguments, with a clear error for a wrong one."""
    try:
        return CallOptions(**options)
    except TypeError as error:
        raise UsageError(
            f"{error}; the options of a call are deadline, priority, retry, traceparent, tracestate, key"
        ) from None


def join_arguments(method: str, args: tuple[Any, ...], params: dict[str, Any]) -> list[Any] | dict[str, Any]:
    """Arguments by position or by name (rule C1).

    Raises:
        UsageError: both are given.
    """
    if not args:
        return params
    if params:
        raise UsageError(f"{method}: give arguments by position or by name, not both")
    return list(args)
