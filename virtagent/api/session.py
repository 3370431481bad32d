"""What the agent and its helper in a user's desktop session say to each other, over the agent's unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec

from virtagent.api.clipboard import MimeType, Selection
from virtagent.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["SESSION_SOCKET", "Session", "SessionClipboard", "SessionInfo", "SessionTypes"]

SESSION_SOCKET = "session.sock"
"""In the agent's runtime directory. Any user may connect, and serves the sessions of that user only."""


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a helper says of its session. Whose it is, the kernel says.

    Attributes:
        kind: how its clipboard is reached.
        display: such as ":0" and "wayland-0".
        watched: it tells of changes.
    """

    kind: Literal["x11", "wayland"]
    display: Annotated[str, msgspec.Meta(max_length=255)]
    watched: bool = False


SessionTypes = Annotated[list[Annotated[str, msgspec.Meta(max_length=255)]], msgspec.Meta(max_length=256)]


class Session(Service, name="session", interface=True):
    """Called by helpers; the agent serves nothing else on that socket."""

    @method(role="observe", since="0.1.0", errors=(PermissionDenied, ResourceExhausted))
    async def attach(self, info: SessionInfo) -> None:
        """Offer a session, for as long as this call lasts: it is answered when the agent goes, not before.

        Raises:
            PermissionDenied: the kernel does not tell who calls.
            ResourceExhausted: this user has 8 sessions, or all users have 256.
        """
        raise NotImplementedError

    @method(role="observe", since="0.1.0")
    def clipboard_changed(self, selection: Selection, types: SessionTypes) -> None:
        """A notification: the clipboard of the caller's session has other content."""
        raise NotImplementedError


class SessionClipboard(Service, name="clipboard", interface=True):
    """Served by helpers; the agent calls it."""

    @method(role="observe", since="0.1.0", errors=(Unavailable,))
    async def types(self, *, selection: Selection) -> list[str]:
        """See :meth:`virtagent.api.clipboard.Clipboard.types`."""
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(NotFound, ResourceExhausted, Unavailable))
    async def get(self, *, type: MimeType, selection: Selection) -> AsyncIterator[bytes]:
        """See :meth:`virtagent.api.clipboard.Clipboard.get`."""
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(InvalidArgument, ResourceExhausted, Unavailable))
    async def set(self, data: AsyncIterator[bytes], *, type: MimeType, selection: Selection) -> int:
        """See :meth:`virtagent.api.clipboard.Clipboard.set`."""
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(Unavailable,))
    async def clear(self, *, selection: Selection) -> None:
        """See :meth:`virtagent.api.clipboard.Clipboard.clear`."""
        raise NotImplementedError
