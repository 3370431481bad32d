"""What the guest prints on its console (ttyS0): collected from QEMU's output as it comes, and awaitable."""

from __future__ import annotations

import asyncio

_TAIL = 3000


class Console:
    """Text so far, and a wait for text to come."""

    def __init__(self) -> None:
        self.text = ""
        self._more = asyncio.Event()

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Collect until end of file."""
        while piece := await reader.read(65536):
            self.text += piece.decode(errors="replace").replace("\r", "")
            self._more.set()

    async def wait(self, text: str, start: int = 0) -> None:
        """Return once `text` was printed at or after the offset `start` (in characters)."""
        while text not in self.text[start:]:
            self._more.clear()
            await self._more.wait()

    def tail(self) -> str:
        """Return the last lines, for error messages."""
        return self.text[-_TAIL:] or "(nothing printed)"
