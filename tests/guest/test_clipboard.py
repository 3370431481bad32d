"""The agent and its helpers over the real socket; the clipboards are these tests'."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from virtagent.api.clipboard import LARGEST_CONTENT, TEXT, MimeType, Selection
from virtagent.errors import (
    CallError,
    InvalidArgument,
    MethodNotFound,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from virtagent.guest import clipboard as clipboard_module
from virtagent.guest import sessions as sessions_module
from virtagent.guest.clipboard import ClipboardService
from virtagent.guest.event_log import EventReader, LoggedEvent
from virtagent.guest.resources import Resources
from virtagent.guest.session_helper import SessionHelper
from virtagent.guest.sessions import SessionSocket
from virtagent.peer.connecting import Connecting, ConnectingPeer
from virtagent.peer.peer import Peer
from virtagent.service.serving import peer_options, router_of

LIMIT = 30


class Board:
    """A clipboard in memory."""

    def __init__(self, display: str = ":0", kind: Literal["x11", "wayland"] = "x11", watched: bool = True) -> None:
        self.display = display
        self.kind = kind
        self.watched = watched
        self.content: dict[str, tuple[str, bytes]] = {}
        self.news: asyncio.Queue[Selection | None] = asyncio.Queue()
        self.watching = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.place = "/no/such/socket"

    def socket_path(self) -> str:
        return self.place

    async def watchable(self) -> bool:
        return self.watched

    async def types(self, selection: Selection) -> list[str]:
        if self.held is not None:
            await self.held.wait()
        return [self.content[selection][0]] if selection in self.content else []

    async def get(self, type: str, selection: Selection) -> bytes:
        kind, data = self.content.get(selection, ("", b""))
        if kind != type:
            raise NotFound(f"the clipboard has no {type}")
        return data

    async def set(self, data: bytes, type: str, selection: Selection) -> None:
        self.content[selection] = (type, data)
        self.news.put_nowait(selection)

    async def clear(self, selection: Selection) -> None:
        self.content.pop(selection, None)
        self.news.put_nowait(selection)

    async def changes(self) -> AsyncGenerator[Selection, None]:
        self.watching.set()
        while (selection := await self.news.get()) is not None:
            yield selection


class Agent:
    """The part of the agent that has to do with sessions."""

    def __init__(self) -> None:
        self.resources = Resources()
        self.socket = SessionSocket(self.resources)
        self.clipboard = ClipboardService(self.resources)
        self._stack = AsyncExitStack()

    @asynccontextmanager
    async def helped(self, board: Board) -> AsyncIterator[asyncio.Task[None]]:
        """Run a helper; it is there when this begins."""
        before = len(await self.clipboard.sessions())
        task = asyncio.create_task(SessionHelper(board, self.socket.path).run())
        try:
            await self.until(before + 1, task)
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, count: int, task: asyncio.Task[None] | None = None) -> None:
        """Wait until there are so many sessions."""
        async with asyncio.timeout(LIMIT):
            while len(await self.clipboard.sessions()) != count:
                if task is not None and task.done():
                    task.result()
                await asyncio.sleep(0)


@pytest.fixture
async def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(tmp_path))
    made = Agent()
    await made.socket.start()
    yield made
    await made.socket.stop("stop", "")


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def read(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([each async for each in stream])


async def test_without_a_helper_it_is_said_what_to_do(agent: Agent) -> None:
    assert await agent.clipboard.sessions() == []
    for call in (
        agent.clipboard.get(),
        agent.clipboard.types(),
        agent.clipboard.clear(),
        agent.clipboard.set(chunks()),
    ):
        with pytest.raises(Unavailable, match="run `virtagentd session` in the session"):
            await call


async def test_content_goes_to_the_session_and_comes_from_it(agent: Agent) -> None:
    board = Board()
    async with agent.helped(board), asyncio.timeout(LIMIT):
        assert await agent.clipboard.set(chunks(b"h\xc3", b"\xa9"), type=TEXT) == 3
        assert board.content["clipboard"] == (TEXT, b"h\xc3\xa9")
        assert await agent.clipboard.types() == [TEXT]
        assert await read(await agent.clipboard.get()) == b"h\xc3\xa9"
        image = os.urandom(1_000_000)
        await agent.clipboard.set(chunks(image[:7], image[7:]), type="image/png", selection="primary")
        assert await read(await agent.clipboard.get(type="image/png", selection="primary")) == image
        await agent.clipboard.clear()
        assert await agent.clipboard.types() == []
        await agent.clipboard.set(chunks())
        assert await read(await agent.clipboard.get()) == b""


async def test_what_the_session_refuses_answers_the_call(agent: Agent) -> None:
    board = Board()
    async with agent.helped(board), asyncio.timeout(LIMIT):
        with pytest.raises(NotFound, match="has no image/png"):
            await agent.clipboard.get(type="image/png")
        with pytest.raises(InvalidArgument, match=r"no UTF-8"):
            await agent.clipboard.set(chunks(b"\xff"))
        with pytest.raises(ResourceExhausted, match="more than 16 MiB"):
            await agent.clipboard.set(chunks(*[bytes(1 << 20)] * (LARGEST_CONTENT >> 20), b"x"), type="image/png")
        assert board.content == {}


async def test_sessions_are_told_apart_by_id_and_user(agent: Agent) -> None:
    first, second = Board(":0"), Board("wayland-1", kind="wayland")
    async with agent.helped(first), agent.helped(second), asyncio.timeout(LIMIT):
        one, two = await agent.clipboard.sessions()
        assert (one.id, one.kind, one.display, one.uid) == ("x11-1", "x11", ":0", os.getuid())
        assert (two.id, two.kind, two.display, two.user) == ("wayland-2", "wayland", "wayland-1", one.user)
        await agent.clipboard.set(chunks(b"one"), session="x11-1")
        await agent.clipboard.set(chunks(b"latest"))
        assert (first.content["clipboard"][1], second.content["clipboard"][1]) == (b"one", b"latest")
        assert await read(await agent.clipboard.get(session=one.user)) == b"latest"
        with pytest.raises(NotFound, match=r"no session 'x11-9'; there are x11-1 \(user"):
            await agent.clipboard.types(session="x11-9")


async def test_changes_are_pushed_to_watchers_and_events(agent: Agent) -> None:
    board = Board()
    async with agent.helped(board), asyncio.timeout(LIMIT), aclosing(await agent.clipboard.watch()) as changes:  # type: ignore[type-var]
        await board.set(b"x", TEXT, "clipboard")
        change = await anext(changes)
        assert (change.session, change.selection, change.types, change.missed) == ("x11-1", "clipboard", [TEXT], 0)
        await board.clear("primary")
        assert (await anext(changes)).types == []
        (session,) = await agent.clipboard.sessions()
    reader = EventReader(agent.resources.events, lambda kind: kind == "clipboard.changed", after=0)
    async with asyncio.timeout(LIMIT):
        event = await reader.next()
    reader.close()
    assert isinstance(event, LoggedEvent)
    assert (event.fields["session"], event.fields["user"]) == ("x11-1", session.user)
    assert (event.fields["selection"], event.fields["types"]) == ("clipboard", [TEXT])


async def test_a_watcher_that_is_slow_is_told_how_many_it_missed(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipboard_module, "MOST_WAITING", 2)
    board = Board()
    async with agent.helped(board), asyncio.timeout(LIMIT):
        slow, quick = await agent.clipboard.watch(), await agent.clipboard.watch()
        for number in range(5):
            await board.set(b"x", f"text/x-{number}", "clipboard")
            assert (await anext(quick)).types == [f"text/x-{number}"]
        change = await anext(slow)
        assert (change.types, change.missed) == (["text/x-3"], 3)
        assert (await anext(slow)).missed == 0


async def test_a_watch_ends_with_its_session(agent: Agent) -> None:
    board = Board()
    async with agent.helped(board) as helper, asyncio.timeout(LIMIT):
        changes, of_all = await agent.clipboard.watch(session="x11-1"), await agent.clipboard.watch()
        await board.watching.wait()
        board.news.put_nowait(None)  # the display server has gone
        with pytest.raises(NotFound, match="session x11-1 .* has ended"):
            await anext(changes)
        await helper
        await agent.until(0)
        async with agent.helped(Board()):
            pass
        assert not of_all._waiting  # type: ignore[attr-defined]


async def test_watches_end_when_they_are_closed_and_when_the_agent_goes(agent: Agent) -> None:
    async with agent.helped(Board()), asyncio.timeout(LIMIT):
        closed, open_one = await agent.clipboard.watch(), await agent.clipboard.watch()
        await closed.aclose()  # type: ignore[attr-defined]
        with pytest.raises(StopAsyncIteration):
            await anext(closed)
        await agent.resources.stop("stop", "the agent was stopped")
        with pytest.raises(Unavailable, match="the agent was stopped"):
            await anext(open_one)
        assert len(agent.resources.sessions.watchers) == 1
        await open_one.aclose()  # type: ignore[attr-defined]
        assert not agent.resources.sessions.watchers


async def test_a_session_that_cannot_tell_of_changes_is_not_watched(agent: Agent) -> None:
    async with agent.helped(Board(watched=False)), asyncio.timeout(LIMIT):
        assert not (await agent.clipboard.sessions())[0].watched
        with pytest.raises(Unavailable, match="cannot tell of changes"):
            await agent.clipboard.watch(session="x11-1")


async def test_a_session_that_cannot_tell_of_changes_ends_when_its_display_server_does(
    agent: Agent, tmp_path: Path
) -> None:
    board = Board(watched=False)
    board.place = str(tmp_path / "display")
    connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda _, writer: connected.put_nowait(writer), board.place)
    async with server, agent.helped(board) as helper, asyncio.timeout(LIMIT):
        (await connected.get()).close()
        await helper
        await agent.until(0)


async def test_a_session_that_ends_before_there_is_an_agent_ends_its_helper(tmp_path: Path) -> None:
    board = Board()
    helper = asyncio.create_task(SessionHelper(board, str(tmp_path / "none.sock")).run())
    board.news.put_nowait(None)
    await asyncio.wait_for(helper, LIMIT)


async def test_a_helper_that_goes_meanwhile_is_told(agent: Agent) -> None:
    board = Board()
    board.held = asyncio.Event()
    async with agent.helped(board) as helper, asyncio.timeout(LIMIT):
        asking = asyncio.create_task(agent.clipboard.types())
        await asyncio.sleep(0)
        helper.cancel()
        with pytest.raises((Unavailable, CallError)):
            await asking
        await agent.until(0)


async def test_a_helper_comes_back_to_the_next_agent(agent: Agent) -> None:
    board = Board()
    async with agent.helped(board), asyncio.timeout(LIMIT):
        await agent.socket.stop("stop", "an upgrade")
        await agent.until(0)
        another = Agent()
        await another.socket.start()
        try:
            await another.until(1)
            await another.clipboard.set(chunks(b"again"))
            assert board.content["clipboard"][1] == b"again"
        finally:
            await another.socket.stop("stop", "")


async def test_a_second_agent_of_a_machine_has_no_sessions_and_takes_none(agent: Agent) -> None:
    second = Agent()
    await second.socket.start()
    await second.socket.stop("stop", "")
    async with agent.helped(Board()):
        assert await second.clipboard.sessions() == []


async def test_a_user_has_no_more_sessions_than_is_sensible(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MOST_OF_A_USER", 1)
    async with agent.helped(Board()):
        helper = asyncio.create_task(SessionHelper(Board(), agent.socket.path).run())
        with pytest.raises(ResourceExhausted, match="has 1 session helpers"):
            await asyncio.wait_for(helper, LIMIT)


# -- who connects to the socket --------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(path: str) -> AsyncIterator[Peer]:
    router = router_of([])
    options = peer_options(None, router, role="session")
    async with Connecting(lambda: ConnectingPeer(f"unix:{path}", router, options), timeout=LIMIT) as peer:
        yield peer


@pytest.mark.parametrize("method", ["files.read", "clipboard.get", "agent.ping", "rpc.methods", "session.nope"])
async def test_nothing_else_can_be_called_there(method: str, agent: Agent) -> None:
    async with connected(agent.socket.path) as peer:
        with pytest.raises(MethodNotFound):
            await peer.call(method)


async def test_whoever_offers_no_session_tells_of_no_changes(agent: Agent) -> None:
    watch = await agent.clipboard.watch()
    async with agent.helped(Board()), connected(agent.socket.path) as peer:
        peer.notify("session.clipboard_changed", selection="clipboard", types=["text/evil"])
        with pytest.raises(MethodNotFound):
            await peer.call("session.nope")  # answered after the notification was taken
        assert not watch._waiting  # type: ignore[attr-defined]


@pytest.mark.root
async def test_a_helper_serves_the_user_whom_the_kernel_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", folder)
        agent = Agent()
        await agent.socket.start()
        os.seteuid(65534)  # as connect(2) sees it (unix(7), SO_PEERCRED)
        try:
            async with agent.helped(Board()):
                os.seteuid(0)
                (session,) = await agent.clipboard.sessions()
                assert (session.user, session.uid) == ("nobody", 65534)
        finally:
            os.seteuid(0)
            await agent.socket.stop("stop", "")


@pytest.mark.parametrize("kind", ["image/png", TEXT, "application/x-kde4-urilist", "image/svg+xml"])
def test_media_types_as_desktops_name_them_are_accepted(kind: Any) -> None:
    assert msgspec.convert(kind, MimeType) == kind


@pytest.mark.parametrize("kind", ["", "png", "-t/x", "image/", "a/b\n", "image/png\0", "TARGETS", "x" * 250 + "/y" * 9])
def test_what_is_no_media_type_reaches_no_program(kind: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(kind, MimeType)
