"""What a decorator may say of a method beyond its annotations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from virtagent.errors import CallError, UsageError

__all__ = ["MethodOptions", "in_thread", "is_in_thread", "method", "options_of"]

P = ParamSpec("P")
T = TypeVar("T")
Self = TypeVar("Self")
Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = "__virtagent_method__"
_IN_THREAD = "__virtagent_in_thread__"


class MethodOptions(msgspec.Struct, frozen=True):
    """What ``@method`` said; None is "not said", so that an override inherits it from the method it overrides."""

    inline: bool | None = None
    idempotent: bool | None = None
    since: str | None = None
    name: str | None = None
    errors: tuple[type[CallError], ...] | None = None
    doc: str | None = None
    role: str | None = None
    secrets: tuple[str, ...] | None = None

    def over(self, base: MethodOptions) -> MethodOptions:
        """These options, completed from those of the overridden method; ``inline`` belongs to one body."""
        said = {
            key: value
            for key in ("idempotent", "since", "name", "errors", "doc", "role", "secrets")
            if (value := getattr(self, key)) is not None
        }
        return msgspec.structs.replace(base, inline=self.inline, **said)


def method(
    *,
    inline: bool | None = None,
    idempotent: bool | None = None,
    since: str | None = None,
    name: str | None = None,
    errors: tuple[type[CallError], ...] | None = None,
    doc: str | None = None,
    role: str | None = None,
    secrets: tuple[str, ...] | None = None,
) -> Callable[[Function], Function]:
    """Decorator for a method of a service. All is optional, and inherited by an override that does not say it again.

    Args:
        inline: run in the event loop's read path: for bodies that neither block nor wait. An ``async def`` may be
            inline too if it never suspends (it then matches an interface's ``async def``). Not inherited.
        idempotent: running it twice is as good as once, so a caller may retry it after ``SessionLost``.
        since: the version that brought the method, for people.
        name: its name on the wire, instead of the Python name.
        errors: the error classes that it answers with on purpose.
        doc: its documentation, instead of the docstring.
        role: what a policy must grant to a caller: "observe", "files-read", "files-write", "exec", "power" or "admin".
            A method that is not for "observe" or "files-read" changes the machine: the agent logs its calls.
        secrets: the names of arguments that no log may show.

    Raises:
        UsageError: ``errors`` holds something that is no :class:`~virtagent.errors.CallError` class.
    """
    for each in errors or ():
        if not (isinstance(each, type) and issubclass(each, CallError)):
            raise UsageError(
                f"@method(errors=...): {each!r} is no CallError class; derive it from virtagent.errors.CallError"
            )
    options = MethodOptions(
        inline=inline,
        idempotent=idempotent,
        since=since,
        name=name,
        errors=errors,
        doc=doc,
        role=role,
        secrets=secrets,
    )

    def decorate(function: Function) -> Function:
        setattr(function, _OPTIONS, options)
        return function

    return decorate


def in_thread(
    function: Callable[Concatenate[Self, P], T],
) -> Callable[Concatenate[Self, P], Coroutine[Any, Any, T]]:
    """Decorator: a blocking ``def`` implements an interface's ``async def``; its handler runs it in a thread.

    What results is a true ``async def``, so type checkers accept it as the override and other code can await it.

    Cancellation of the wait leaves the thread running to its end.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(
            f"@in_thread: {function.__qualname__} is async already; write a plain `def`, or drop @in_thread"
        )

    @functools.wraps(function)
    async def awaitable(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio  # noqa: PLC0415 - only a process that awaits one of these needs it, and it has it already

        return await asyncio.to_thread(function, self, *args, **kwargs)

    setattr(awaitable, _IN_THREAD, True)
    return awaitable


def options_of(function: Callable[..., Any]) -> MethodOptions:
    """What ``@method`` said of this very function."""
    found = getattr(function, _OPTIONS, None)
    return found if isinstance(found, MethodOptions) else MethodOptions()


def is_in_thread(function: Callable[..., Any]) -> bool:
    """Whether ``@in_thread`` made it."""
    return getattr(function, _IN_THREAD, False) is True
