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
        role: what a policy must grant to a caller; "admin" where nobody said.
        secrets: the names of arguments that no log may show.
    """

    __slots__ = ("description", "idempotent", "invoke", "mode", "name", "role", "secrets")

    def __init__(
        self,
        name: str,
        mode: Mode,
        invoke: Callable[[Context, Params], Any],
        idempotent: bool = False,
        description: Mapping[str, Any] | None = None,
        role: str = "admin",
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.mode: Mode = mode
        self.invoke = invoke
        self.idempotent = idempotent
        self.description = description
        self.role = role
        self.secrets = secrets


class Router:
    """The methods of one side, by name.

    Args:
        handlers: the methods at hand.
        later: what makes the handlers of a service, by its name: called once, when one of its methods is wanted, or
            all methods are.
    """

    def __init__(
        self, handlers: Iterable[Handler] = (), later: Mapping[str, Callable[[], Iterable[Handler]]] | None = None
    ) -> None:
        self._handlers: dict[str, Handler] = {}
        self._later = dict(later or {})
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

    def find(self, name: str) -> Handler | None:
        """The method; its service is made first, if that has not happened yet."""
        found = self.get(name)
        if found is None and self._later:
            self.make(name.rpartition(".")[0])
            found = self.get(name)
        return found

    @property
    def unmade(self) -> list[str]:
        """The services that nobody has wanted yet."""
        return list(self._later)

    def make(self, service: str) -> None:
        """Make a service's handlers now. One that is made already, or not known, is left alone."""
        make = self._later.get(service)
        if make is not None:
            handlers = list(make())
            self._later.pop(service, None)
            for handler in handlers:
                self.add(handler)

    def _make_all(self) -> None:
        for service in self.unmade:
            self.make(service)

    def remove(self, name: str) -> None:
        """Take a method away; calls that run in it go on. Unknown names are ignored."""
        self._handlers.pop(name, None)

    def __iter__(self) -> Iterator[Handler]:
        self._make_all()
        return iter(list(self._handlers.values()))

    def __len__(self) -> int:
        self._make_all()
        return len(self._handlers)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None
