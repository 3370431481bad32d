"""The calling face that a peer, a peer with options, and typed stubs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtagent.peer.stream import StreamCall

__all__ = ["Caller"]


class Caller(ABC):
    """Something that can call, notify and open streams."""

    @abstractmethod
    async def call(self, method: str, /, *args: Any, **params: Any) -> Any:
        """Call a method of the peer and wait for its answer.

        Args:
            method: the method's name, such as "system.info".
            args: arguments by position; give either these or ``params``.
            params: arguments by name.

        Returns:
            What the handler returned, as plain data.

        Raises:
            CallError: the peer answered with an error; the subclass tells which.
            DeadlineExceeded: no answer in time; ``may_have_run`` tells whether the request may have reached a handler.
            SessionLost: the session ended before the answer came.
            UsageError: the arguments cannot be sent.

        Cancellation ends the wait at once; the peer's handler is cancelled too (rule C7).
        """

    @abstractmethod
    def notify(self, method: str, /, *args: Any, **params: Any) -> None:
        """Send a notification: no answer, no certainty (rule C9).

        Raises:
            SessionLost: there is no session.
            UsageError: the arguments cannot be sent.
        """

    @abstractmethod
    def stream(self, method: str, /, *args: Any, **params: Any) -> StreamCall:
        """Call a method that answers with a stream; nothing is sent before the first use of the result.

        ``async for`` over it gives items (or chunks of bytes); leaving an ``async with`` block ends it.
        """
