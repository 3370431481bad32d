"""What a handler may know about the call it serves."""

from __future__ import annotations

from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from virtagent.peer.peer import Peer

__all__ = ["Context", "current_context"]

NO_METADATA: Final[Mapping[str, Any]] = MappingProxyType({})


class Context:
    """One call as its handler sees it.

    Attributes:
        peer: the peer that called; ``ctx.peer.call(...)`` calls it back.
        method: the method's name.
        deadline: the time on the event loop's clock by which the answer is wanted, or None (rule D1).
        priority: the call's class: 1 urgent, 2 normal, 3 bulk (rule P1).
        depth: how many calls of the two peers this one is nested in (rule C6).
        metadata: the call's metadata as it came (rule C10).
    """

    __slots__ = ("_clock", "deadline", "depth", "metadata", "method", "peer", "priority")

    def __init__(
        self,
        peer: Peer,
        method: str,
        clock: Callable[[], float],
        deadline: float | None = None,
        priority: int = 2,
        depth: int = 0,
        metadata: Mapping[str, Any] = NO_METADATA,
    ) -> None:
        self.peer = peer
        self.method = method
        self._clock = clock
        self.deadline = deadline
        self.priority = priority
        self.depth = depth
        self.metadata = metadata

    def remaining(self) -> float | None:
        """Seconds until the deadline (never negative), or None where the call has none."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())


current_context: ContextVar[Context | None] = ContextVar("virtagent.current_context", default=None)
"""The call that the running handler serves; calls inside inherit its deadline, class and depth (D4, C6, P1)."""
