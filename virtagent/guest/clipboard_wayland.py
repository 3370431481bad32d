"""The clipboard of a Wayland session, through wl-clipboard: wl-paste(1) gets and watches it, wl-copy(1) sets it.

Watching needs a compositor with wlr-data-control or ext-data-control: sway, KDE, Hyprland, labwc and others, not GNOME.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from virtagent.api.clipboard import TEXT, Selection
from virtagent.errors import NotFound, Unavailable
from virtagent.guest.clipboard_tool import Done, find_tool, run_tool
from virtagent.guest.clipboard_types import choose, media_types
from virtagent.guest.wayland_globals import list_globals, socket_path

__all__ = ["WaylandClipboard"]

PACKAGE = "wl-clipboard"
TEXT_TYPES = (TEXT, "text/plain;charset=UTF-8", "UTF8_STRING", "text/plain", "STRING", "TEXT")
WATCHABLE = {"zwlr_data_control_manager_v1", "ext_data_control_manager_v1"}
SELECTIONS: tuple[Selection, ...] = ("clipboard", "primary")
EMPTY = ("nothing is copied", "no selection")


class WaylandClipboard:
    """The selections of a compositor.

    Args:
        display: such as "wayland-0".

    Attributes:
        kind: for the agent.
    """

    kind: Literal["wayland"] = "wayland"

    def __init__(self, display: str) -> None:
        self.display = display
        self._env = {"WAYLAND_DISPLAY": display}

    def socket_path(self) -> str:
        """Where the compositor listens."""
        return socket_path(self.display)

    async def watchable(self) -> bool:
        """Whether changes can be told: the compositor has one of the protocols for that, and wl-clipboard is there."""
        try:
            find_tool("wl-paste", PACKAGE)
            return bool(WATCHABLE & await list_globals(self.display))
        except (OSError, TimeoutError, EOFError, Unavailable):
            return False

    async def types(self, selection: Selection) -> list[str]:
        """The media types; none if it is empty."""
        return media_types(await self._offered(selection), TEXT_TYPES)

    async def get(self, type: str, selection: Selection) -> bytes:
        """The content.

        Raises:
            NotFound: it is empty, or has no such type.
        """
        chosen = choose(type, await self._offered(selection), TEXT_TYPES)
        done = await self._run("wl-paste", selection, "--no-newline", "--type", chosen)
        if done.code != 0:
            raise NotFound(f"the clipboard has no {type} any more: {done.complaint}")
        return done.output

    async def set(self, data: bytes, type: str, selection: Selection) -> None:
        """Put content there; a process stays behind that holds it, until another program takes its place."""
        done = await self._run("wl-copy", selection, "--type", type, data=data)
        if done.code != 0:
            raise Unavailable(f"wl-copy could not set the clipboard of {self.display}: exit status {done.code}")

    async def clear(self, selection: Selection) -> None:
        """Empty it."""
        done = await self._run("wl-copy", selection, "--clear")
        if done.code != 0:
            raise Unavailable(f"wl-copy could not empty the clipboard of {self.display}: {done.complaint}")

    async def _offered(self, selection: Selection) -> list[str]:
        done = await self._run("wl-paste", selection, "--list-types")
        if done.code != 0:
            if any(each in done.complaint.lower() for each in EMPTY):
                return []
            raise Unavailable(f"wl-paste cannot ask {self.display}: {done.complaint}")
        return done.output.decode(errors="replace").split("\n")[:256]

    async def _run(self, program: str, selection: Selection, *arguments: str, data: bytes | None = None) -> Done:
        return await run_tool([*self._command(program, selection), *arguments], data, env=self._env)

    def _command(self, program: str, selection: Selection) -> Sequence[str]:
        return [find_tool(program, PACKAGE), *(["--primary"] if selection == "primary" else [])]

    async def changes(self) -> AsyncGenerator[Selection, None]:
        """Which selection has changed, as the compositor tells it; ends when the compositor does.

        Raises:
            Unavailable: wl-clipboard is missing.
        """
        queue: asyncio.Queue[Selection | None] = asyncio.Queue(64)
        watching = [asyncio.create_task(self._follow(each, queue)) for each in SELECTIONS]
        try:
            while (selection := await queue.get()) is not None:
                yield selection
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

    async def _follow(self, selection: Selection, queue: asyncio.Queue[Selection | None]) -> None:
        """One `wl-paste --watch`, which runs `echo` at each change: a line is one."""
        process = await asyncio.create_subprocess_exec(
            *self._command("wl-paste", selection),
            "--watch",
            "echo",
            env={**os.environ, **self._env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            while await process.stdout.readline():
                await queue.put(selection)
            # A compositor without primary selection ends only that watch.
            if selection == "clipboard":
                await queue.put(None)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
