"""``guest.clipboard``: the stub of the service, and content as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from virtagent.api.clipboard import LARGEST_CONTENT, TEXT, Clipboard, Selection
from virtagent.errors import UsageError
from virtagent.host.delegate import Delegate
from virtagent.peer.caller import Caller
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub

__all__ = ["GuestClipboard"]

CHUNK = 64 * 1024

if TYPE_CHECKING:
    _Base = Clipboard
else:
    _Base = Delegate


class GuestClipboard(_Base):
    """All methods of :class:`~virtagent.api.clipboard.Clipboard`, and these for content that is at hand as a whole."""

    def __init__(self, caller: Caller) -> None:
        self._stub = stub(Clipboard, caller)

    async def get_text(self, *, session: str = "", selection: Selection = "clipboard") -> str:
        """The text in the clipboard. Raises as ``get`` does: ``NotFound`` if there is none."""
        return (await self.get_data(TEXT, session=session, selection=selection)).decode(errors="replace")

    async def set_text(self, text: str, *, session: str = "", selection: Selection = "clipboard") -> None:
        """Put text into the clipboard. Raises as ``set`` does."""
        await self.set_data(text.encode(), TEXT, session=session, selection=selection)

    async def get_data(self, type: str, *, session: str = "", selection: Selection = "clipboard") -> bytes:
        """The content as one type, such as "image/png". Raises as ``get`` does."""
        content = await self._stub.get(type=type, session=session, selection=selection)
        return await TypedStream.of(content).read_all(LARGEST_CONTENT)

    async def set_data(self, data: bytes, type: str, *, session: str = "", selection: Selection = "clipboard") -> None:
        """Put content into the clipboard. Raises as ``set`` does.

        Raises:
            UsageError: there are more than 16 MiB; nothing was sent.
        """
        if len(data) > LARGEST_CONTENT:
            raise UsageError(f"a clipboard takes {LARGEST_CONTENT >> 20} MiB at most, not {len(data)} bytes")
        await self._stub.set(_chunks(data), type=type, session=session, selection=selection)


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), CHUNK):
        yield data[at : at + CHUNK]
