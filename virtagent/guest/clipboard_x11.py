"""The clipboard of an X11 session: xclip(1) gets and sets it, XFIXES tells when it changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Literal

from virtagent.api.clipboard import TEXT, Selection
from virtagent.errors import NotFound, Unavailable
from virtagent.guest.clipboard_tool import Done, find_tool, run_tool
from virtagent.guest.clipboard_types import choose, media_types

__all__ = ["X11Clipboard"]

TEXT_TARGETS = ("UTF8_STRING", TEXT, "text/plain;charset=UTF-8", "text/plain", "STRING")
"""What text is asked for as, the best first (ICCCM, section 2.6.2)."""

OWNED_TRIES = 100
"""With 10 ms between them this is a second."""

NO_OWNER = ("not available", "no selection", "cannot convert")


class X11Clipboard:
    """The selections of a display.

    Args:
        display: such as ":0".

    Attributes:
        kind: for the agent.
    """

    kind: Literal["x11"] = "x11"

    def __init__(self, display: str) -> None:
        self.display = display

    def socket_path(self) -> str:
        """Where the server listens: X(7), "Display names"; the number is that behind the last colon."""
        number = self.display.rpartition(":")[2].partition(".")[0]
        return f"/tmp/.X11-unix/X{number}"  # noqa: S108 - the X server's own place

    async def watchable(self) -> bool:
        """Whether changes can be told: python-xlib is there, and the server has XFIXES."""
        try:
            connection = _connect(self.display)
        except (Unavailable, OSError):
            return False
        connection.close()
        return True

    async def types(self, selection: Selection) -> list[str]:
        """The media types; none if it is empty."""
        return media_types(await self._targets(selection), TEXT_TARGETS)

    async def get(self, type: str, selection: Selection) -> bytes:
        """The content; text as UTF-8.

        Raises:
            NotFound: it is empty, or has no such type.
        """
        target = choose(type, await self._targets(selection), TEXT_TARGETS)
        done = await self._xclip(selection, "-o", "-t", target)
        if done.code != 0:
            raise NotFound(f"the clipboard has no {type} any more: {done.complaint}")
        return done.output.decode("latin-1").encode() if target == "STRING" else done.output

    async def set(self, data: bytes, type: str, selection: Selection) -> None:
        """Put content there; a process stays behind that holds it, until another program takes its place."""
        target = "UTF8_STRING" if type == TEXT else type
        done = await self._xclip(selection, "-i", "-t", target, data=data)
        if done.code != 0:
            raise Unavailable(f"xclip could not set the clipboard of {self.display}: exit status {done.code}")
        # xclip leaves before the server has what its other process sent. A clipboard manager may have changed it since.
        for _ in range(OWNED_TRIES):
            if (await self._xclip(selection, "-o", "-t", target)).output == data:
                break
            await asyncio.sleep(0.01)

    async def clear(self, selection: Selection) -> None:
        """Empty it: its owner is told that it owns it no more."""
        connection = _connect(self.display)
        try:
            _disown(connection, selection.upper())
        finally:
            connection.close()

    async def _targets(self, selection: Selection) -> list[str]:
        done = await self._xclip(selection, "-o", "-t", "TARGETS")
        if done.code != 0:
            if any(each in done.complaint.lower() for each in NO_OWNER):
                return []
            raise Unavailable(f"xclip cannot ask {self.display}: {done.complaint}")
        return done.output.decode(errors="replace").split("\n")[:256]

    async def _xclip(self, selection: Selection, *arguments: str, data: bytes | None = None) -> Done:
        xclip = find_tool("xclip", "xclip")
        return await run_tool([xclip, "-d", self.display, "-selection", selection, *arguments], data)

    async def changes(self) -> AsyncGenerator[Selection, None]:
        """Which selection has changed, as the server tells it; ends when the server does.

        Raises:
            Unavailable: python-xlib is missing, or the server has no XFIXES.
        """
        connection = _connect(self.display)
        selections: dict[int, Selection] = {
            connection.intern_atom("CLIPBOARD"): "clipboard",
            connection.intern_atom("PRIMARY"): "primary",
        }
        _select(connection, list(selections))
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        descriptor = connection.fileno()  # which a connection that is lost does not tell any more
        loop.add_reader(descriptor, readable.set)
        try:
            while True:
                readable.clear()
                for each in _changed(connection):
                    if each in selections:
                        yield selections[each]
                await readable.wait()
        except _closed_errors():
            return
        finally:
            loop.remove_reader(descriptor)
            with contextlib.suppress(Exception):  # the server has gone
                connection.close()


def _connect(display: str) -> Any:
    """A connection to the server, which has XFIXES.

    It blocks, in the event loop too: a helper whose server hangs has nothing else to do, and a thread that a cancelled
    wait leaves behind would leave its connection open.

    Raises:
        Unavailable: there is no such server, no XFIXES, or no library.
    """
    try:
        from Xlib import error  # noqa: PLC0415 - an optional library
        from Xlib.display import Display  # noqa: PLC0415
    except ModuleNotFoundError:
        raise Unavailable("this needs python-xlib in the guest: install virtagent[clipboard]") from None
    try:
        connection = Display(display)
    except (error.DisplayError, error.ConnectionClosedError, OSError) as refused:
        raise Unavailable(f"no X server answers at {display!a}: {refused}") from None
    if not connection.has_extension("XFIXES"):
        connection.close()
        raise Unavailable(f"the X server at {display} has no XFIXES extension")
    connection.xfixes_query_version()
    return connection


def _disown(connection: Any, selection: str) -> None:
    """Take a selection from whoever owns it."""
    from Xlib import X  # noqa: PLC0415 - an optional library
    from Xlib.protocol import request  # noqa: PLC0415

    atom = connection.intern_atom(selection)
    request.SetSelectionOwner(display=connection.display, window=X.NONE, selection=atom, time=X.CurrentTime)
    connection.sync()


def _select(connection: Any, atoms: list[int]) -> None:
    """Ask for events."""
    from Xlib.ext import xfixes  # noqa: PLC0415 - an optional library

    mask = (
        xfixes.XFixesSetSelectionOwnerNotifyMask
        | xfixes.XFixesSelectionWindowDestroyNotifyMask
        | xfixes.XFixesSelectionClientCloseNotifyMask
    )
    root = connection.screen().root
    for atom in atoms:
        connection.xfixes_select_selection_input(root, atom, mask)
    connection.sync()


def _changed(connection: Any) -> list[int]:
    """The selections of the events that are here, each once."""
    found: dict[int, None] = {}
    while connection.pending_events():
        selection = getattr(connection.next_event(), "selection", None)
        if isinstance(selection, int):
            found[selection] = None
    return list(found)


def _closed_errors() -> tuple[type[BaseException], ...]:
    from Xlib import error  # noqa: PLC0415 - an optional library

    return (error.ConnectionClosedError, OSError)
