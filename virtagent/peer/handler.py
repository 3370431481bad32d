"""What answers a request: a handler, and the router that finds it by its method's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from virtagent.errors import UsageError

if TYPE_CHECKING:
    from virtagent.peer.context import Context

__all__ = ["Handler", "Mode", "Params", "Router"]

Mode = Literal["inline", "task", "thread"]
"""How a handler runs: ``inline`` in the read path (it must not block), as a ``task``, or in a ``thread``."""

Params = list[Any] | dict[str, Any]
"""Arguments as they came: by position or by name (rule C1)."""


class Handler:
    """One method that a peer may call.

    Attributes:
        name: the method's name on the wire.
        mode: how it runs. ``task``: ``invoke`` gives a coroutine; otherwise it gives the result itself.
        invoke: takes the call's context and its arguments as they came. Its result is answered; an
            :class:`~virtagent.peer.stream.OutgoingStream` is opened and pumped; what it raises is answered (rule E1).
        idempotent: running it twice is as good as once, so a caller may retry it after ``SessionLost``.
        description: what ``rpc.methods`` tells of it (plain data), or None.
    """

    __slots__ = ("description", "idempotent", "invoke", "mode", "name")

    def __init__(
        self,
        name: str,
        mode: Mode,
        invoke: Callable[[Context, Params], Any],
        idempotent: bool = False,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.mode: Mode = mode
        self.invoke = invoke
        self.idempotent = idempotent
        self.description = description


class Router:
    """The methods of one side, by name."""

    def __init__(self, handlers: Iterable[Handler] = ()) -> None:
        self._handlers: dict[str, Handler] = {}
        self.get = self._handlers.get
        for handler in handlers:
            self.add(handler)

    @classmethod
    def of(cls, handlers: Iterable[Handler]) -> Router:
        """A router of these handlers; a router is taken as it is, so that what is added to it later counts."""
        return handlers if isinstance(handlers, Router) else cls(handlers)

    def add(self, handler: Handler) -> None:
        """Add a method.

        Raises:
            UsageError: the name is taken.
        """
        if handler.name in self._handlers:
            raise UsageError(
                f"two handlers for the method {handler.name!r}: rename one, or give its service another name"
            )
        self._handlers[handler.name] = handler

    def remove(self, name: str) -> None:
        """Take a method away; calls that run in it go on. Unknown names are ignored."""
        self._handlers.pop(name, None)

    def __iter__(self) -> Iterator[Handler]:
        return iter(list(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)

    def __contains__(self, name: object) -> bool:
        return name in self._handlers
