"""Clipboards of the guest's desktop sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LARGEST_CONTENT",
    "TEXT",
    "Clipboard",
    "ClipboardChange",
    "ClipboardSession",
    "MimeType",
    "Selection",
    "SessionName",
]

LARGEST_CONTENT = 16 * 1024 * 1024
"""Bytes of one content."""

TEXT = "text/plain;charset=utf-8"

MimeType = Annotated[
    str,
    msgspec.Meta(min_length=3, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9!#$&^_.+;= -]+\Z"),
]
"""A media type (RFC 2046) as desktops name formats, such as "text/plain;charset=utf-8" and "image/png"."""

Selection = Literal["clipboard", "primary"]
"""What Ctrl-C copies, and what is selected with the mouse (ICCCM, section 2.6)."""

SessionName = Annotated[str, msgspec.Meta(max_length=256)]
"""A session's id, or the name of its user; "": the one that came last."""


class ClipboardSession(msgspec.Struct, frozen=True, kw_only=True):
    """A desktop session whose clipboard can be reached.

    Attributes:
        id: names it while it lasts.
        user: whose.
        kind: how its clipboard is reached.
        display: such as ":0" and "wayland-0".
        since: when its helper came, by the guest's clock.
        watched: changes of its clipboard are told; not without python-xlib (X11) or the compositor's help (Wayland).
    """

    id: str
    user: str
    uid: int
    kind: Literal["x11", "wayland"]
    display: str
    since: datetime
    watched: bool = True


class ClipboardChange(msgspec.Struct, frozen=True, kw_only=True):
    """A clipboard has other content, or none.

    Attributes:
        session: whose.
        selection: which one.
        types: the media types in which the content can be had; none: it is empty.
        missed: changes before this one that were not told, since nobody took them in time.
    """

    session: str
    user: str
    selection: Selection
    types: list[str]
    missed: int = 0


_REACH = (NotFound, Unavailable)

# Within the class below, no name of a method is a type.
Types = list[str]
Sessions = list[ClipboardSession]


class Clipboard(Service, name="clipboard", interface=True):
    """Clipboards of the guest's desktop sessions, through the helper that runs in each (``virtagentd session``).

    Methods take ``session``: a session's id or its user's name; "" is the session whose helper came last. All raise
    ``Unavailable`` where no helper runs, and ``NotFound`` where there is no such session.
    """

    @method(idempotent=True, role="observe", since="0.1.0")
    async def sessions(self) -> Sessions:
        """The sessions whose helpers are there, the latest last."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=_REACH)
    async def types(self, *, session: SessionName = "", selection: Selection = "clipboard") -> Types:
        """The media types in which the content can be had; none: the clipboard is empty."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(*_REACH, ResourceExhausted))
    async def get(
        self, *, type: MimeType = TEXT, session: SessionName = "", selection: Selection = "clipboard"
    ) -> AsyncIterator[bytes]:
        """The content, as a stream. Text is UTF-8, whatever the program that holds it has.

        Args:
            type: the media type that is wanted.

        Raises:
            NotFound: the clipboard is empty, or has no such type.
            ResourceExhausted: there are more than 16 MiB.
            Unavailable: the program that holds the content does not give it within 10 seconds.
        """
        raise NotImplementedError

    @method(
        idempotent=True,
        role="admin",
        since="0.1.0",
        errors=(*_REACH, InvalidArgument, ResourceExhausted),
        secrets=("data",),
    )
    async def set(
        self,
        data: AsyncIterator[bytes],
        *,
        type: MimeType = TEXT,
        session: SessionName = "",
        selection: Selection = "clipboard",
    ) -> int:
        """Put content into the clipboard, in place of what is there.

        Args:
            data: the content; nothing is changed before its end has come.
            type: its media type.

        Returns:
            How many bytes it had.

        Raises:
            InvalidArgument: text that is no UTF-8.
            ResourceExhausted: there are more than 16 MiB.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_REACH)
    async def clear(self, *, session: SessionName = "", selection: Selection = "clipboard") -> None:
        """Empty the clipboard."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=_REACH)
    async def watch(self, *, session: SessionName = "") -> AsyncIterator[ClipboardChange]:
        """Changes of both selections as they come, pushed by the display server; not what is there at the start.

        Args:
            session: "": those of all sessions, of such that come later, too.

        Raises:
            Unavailable: the session cannot tell of changes; or (later) the agent goes.
            NotFound: (later) the session has ended.
        """
        raise NotImplementedError
