from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import virtagent
from tests.guest.test_clipboard import LIMIT, Agent, Board
from virtagent.api.clipboard import LARGEST_CONTENT
from virtagent.errors import NotFound, UsageError
from virtagent.host.guest import Guest


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
async def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Board) -> AsyncIterator[Guest]:
    """A guest with a session, from the host's side: host, agent and helper, over two real sockets."""
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(tmp_path))
    agent = Agent()
    url = f"unix:{tmp_path}/guest.sock"
    async with asyncio.timeout(LIMIT):
        await agent.socket.start()
        async with (
            agent.helped(board),
            virtagent.listen(url, services=[agent.clipboard]),
            virtagent.connect(url) as made,
        ):
            yield made
        await agent.socket.stop("stop", "")


async def test_text_and_pictures_go_there_and_back_as_a_whole(guest: Guest, board: Board) -> None:
    await guest.clipboard.set_text("grüße")
    assert board.content["clipboard"][1] == "grüße".encode()
    assert await guest.clipboard.get_text() == "grüße"
    image = os.urandom(1_000_000)
    await guest.clipboard.set_data(image, "image/png", selection="primary")
    assert await guest.clipboard.get_data("image/png", selection="primary") == image
    assert await guest.clipboard.get_text() == "grüße"


async def test_the_methods_of_the_service_are_there_too(guest: Guest) -> None:
    (session,) = await guest.clipboard.sessions()
    assert session.uid == os.getuid()
    assert await guest.clipboard.types(session=session.id) == []
    with pytest.raises(NotFound, match="has no text/plain"):
        await guest.clipboard.get_text()


async def test_empty_text_is_text(guest: Guest) -> None:
    await guest.clipboard.set_text("")
    assert await guest.clipboard.get_text() == ""


async def test_what_is_too_large_is_not_sent(guest: Guest, board: Board) -> None:
    with pytest.raises(UsageError, match="takes 16 MiB at most"):
        await guest.clipboard.set_data(bytes(LARGEST_CONTENT + 1), "image/png")
    assert board.content == {}
