"""The policy around handlers, between two peers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import (
    CallError,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    StreamReset,
)
from virtagent.guest.audit import Audit
from virtagent.guest.frozen import Frozen
from virtagent.guest.grants import ROLES as ALL_ROLES
from virtagent.guest.grants import Access, Grant, Grants
from virtagent.guest.guard import Guard, refusal
from virtagent.guest.peer_identity import PeerIdentity
from virtagent.peer.handler import Handler
from virtagent.peer.stream import OutgoingStream
from virtagent.service.options import method
from virtagent.service.service import Service, handlers_of
from virtagent.service.serving import router_of
from virtagent.testing import peer_pair

LIMIT = 20.0


class Machine(Service, name="machine"):
    """A method of each kind."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed = asyncio.Event()

    @method(role="observe", inline=True)
    async def look(self) -> str:
        return "inline"

    @method(role="observe")
    async def wait(self) -> str:
        self.began.set()
        await self.go_on.wait()
        return "task"

    @method(role="files-read")
    def read(self) -> str:
        return threading.current_thread().name

    @method(role="observe")
    async def watch(self, count: int) -> AsyncIterator[bytes]:
        try:
            for _ in range(count):
                yield b"12345"
            if not count:
                self.began.set()
                await self.go_on.wait()
        finally:
            self.closed.set()

    @method(role="exec")
    async def run(self, command: str, *, password: str = "") -> str:
        if command == "fail":
            raise NotFound("there is no such command")
        if command == "wait":
            self.began.set()
            await self.go_on.wait()
        if command == "quote":
            raise InvalidArgument(f"cannot use {password!r}")
        if command == "crash":
            raise KeyError(password)
        return command

    @method(role="exec", inline=True)
    async def kick(self) -> None: ...

    @method(role="exec")
    async def follow(self, count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"12345"
        if count == 2:
            raise NotFound("the end is missing")
        if count == 3:
            await self.go_on.wait()

    @method(role="files-write")
    async def write(self, data: AsyncIterator[bytes]) -> int:
        return sum([len(chunk) async for chunk in data])

    @method(role="admin")
    def own(self) -> None: ...


class Recorded(Audit):
    """Remembers what is written down."""

    def __init__(self) -> None:
        super().__init__(Frozen(), journal="/nonexistent/journal")
        self.lines: list[str] = []

    def _log(self, text: str) -> None:
        self.lines.append(text)


class Setting:
    """A guarded machine, and a host that calls it."""

    def __init__(self, grant: Grant) -> None:
        self.machine = Machine()
        self.audit = Recorded()
        self.grants = Grants(lambda peer: (grant, PeerIdentity("memory:", "memory")))
        self.guard = Guard(self.grants, lambda: self.audit)
        self.router = router_of((), map(self.guard, handlers_of(self.machine)))

    def __aenter__(self) -> Any:
        self._pair = peer_pair([], self.router)
        return self._enter()

    async def _enter(self) -> Any:
        self.host, self.guest = await self._pair.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._pair.__aexit__(*error)

    @property
    def access(self) -> Access:
        return self.grants.access(self.guest)


def granted(*roles: str, **more: Any) -> Setting:
    return Setting(Grant(who="somebody", rule="rule 1", roles=frozenset(roles), **more))


ROLES = {
    "look": "observe",
    "read": "files-read",
    "kick": "exec",
    "run": "exec",
    "write": "files-write",
    "own": "admin",
}


async def may(setting: Setting, name: str) -> bool:
    arguments: dict[str, Any] = {"command": "x"} if name == "run" else {}
    try:
        await setting.host.call(f"machine.{name}", **arguments)
    except PermissionDenied:
        return False
    except InvalidArgument:
        return True  # it got as far as its arguments
    return True


@pytest.mark.parametrize("role", ["observe", "files-read", "files-write", "exec", "power", "admin"])
async def test_a_role_allows_what_it_is_for_and_to_look(role: str) -> None:
    async with granted(role) as setting:
        for name, needed in ROLES.items():
            assert await may(setting, name) is (role in (needed, "admin") or needed == "observe"), name


async def test_without_a_role_nothing_is_allowed_but_to_ask_what_there_is() -> None:
    async with granted() as setting:
        assert not any([await may(setting, name) for name in ROLES])
        assert await setting.host.call("rpc.services")


async def test_who_is_denied_is_told_who_lacks_which_role_and_where_to_grant_it() -> None:
    async with granted("observe") as setting:
        with pytest.raises(PermissionDenied) as caught:
            await setting.host.call("machine.run", command="x")
    assert str(caught.value) == (
        "somebody lacks the role 'exec' for machine.run, by rule 1; to grant it, write into /etc/virtagent/agent.toml"
        ' in the guest: [[policy]] with a channel and roles = ["exec"]'
    )


async def test_deny_goes_before_allow_and_allow_before_roles() -> None:
    async with granted("observe", allow=("machine.r*", "*.own"), deny=("*.run", "*.look")) as setting:
        allowed = [name for name in ROLES if await may(setting, name)]
    assert allowed == ["read", "own"]


async def test_who_may_only_read_changes_nothing_whatever_else_is_said() -> None:
    async with granted("admin", allow=("*",), read_only=True) as setting:
        allowed = [name for name in ROLES if await may(setting, name)]
    assert allowed == ["look", "read"]


async def test_a_denial_holds_for_notifications_too() -> None:
    async with granted("observe") as setting:
        setting.host.notify("machine.run", command="x")
        await setting.host.call("machine.look")
        assert setting.access.denied == 1
    assert "machine.run" in setting.audit.lines[0]


async def test_a_handler_keeps_its_mode_and_what_is_known_of_it() -> None:
    setting = granted("admin")
    for each in handlers_of(setting.machine):
        guarded = setting.router.find(each.name)
        assert guarded is not None
        assert (guarded.mode, guarded.role, guarded.secrets, guarded.idempotent, guarded.description) == (
            each.mode,
            each.role,
            each.secrets,
            each.idempotent,
            each.description,
        )
    async with setting:
        assert await setting.host.call("machine.look") == "inline"
        assert "MainThread" not in await setting.host.call("machine.read")


# -- limits -------------------------------------------------------------------------------------------------------


async def test_one_call_more_than_allowed_is_refused_and_room_comes_back() -> None:
    async with granted("observe", calls=1) as setting, asyncio.timeout(LIMIT):
        first = asyncio.ensure_future(setting.host.call("machine.wait"))
        await setting.machine.began.wait()
        with pytest.raises(ResourceExhausted, match="somebody has 1 calls and streams open"):
            await setting.host.call("machine.wait")
        assert await setting.host.call("machine.look") == "inline"  # it ends at once, so it takes no room
        setting.machine.go_on.set()
        assert await first == "task"
        assert await setting.host.call("machine.wait") == "task"
        assert not setting.access.calls


async def test_a_stream_is_a_call_until_it_ends() -> None:
    async with granted("observe", calls=1) as setting, asyncio.timeout(LIMIT):
        stream = setting.host.stream("machine.watch", count=0)
        reading = asyncio.ensure_future(anext(aiter(stream)))
        await setting.machine.began.wait()
        (call,) = setting.access.calls
        assert (call.method, call.streams) == ("machine.watch", True)
        with pytest.raises(ResourceExhausted):
            await setting.host.stream("machine.watch", count=1).read_all()
        reading.cancel()
        await asyncio.wait([reading])
        await stream.aclose()
        await setting.machine.closed.wait()
        assert await setting.host.stream("machine.watch", count=2).read_all() == b"1234512345"
        assert not setting.access.calls


async def test_a_call_that_is_cancelled_or_fails_is_open_no_longer() -> None:
    async with granted("exec", calls=1) as setting, asyncio.timeout(LIMIT):
        for _ in range(3):
            call = asyncio.ensure_future(setting.host.call("machine.run", command="wait"))
            await setting.machine.began.wait()
            setting.machine.began.clear()
            call.cancel()
            await asyncio.wait([call])
            with pytest.raises(NotFound):
                await setting.host.call("machine.run", command="fail")
        assert not setting.access.calls


async def test_a_session_that_is_lost_leaves_no_call_open() -> None:
    async with granted("observe") as setting, asyncio.timeout(LIMIT):
        stream = setting.host.stream("machine.watch", count=0)
        reading = asyncio.ensure_future(anext(aiter(stream)))
        await setting.machine.began.wait()
        access = setting.access
        await setting.host.aclose()
        await setting.machine.closed.wait()
        await asyncio.wait([reading])
        reading.exception()
        assert not access.calls


async def test_a_stream_that_is_sent_may_have_so_many_bytes() -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"12345"

    async with granted("admin", bytes=10) as setting, asyncio.timeout(LIMIT):
        assert await setting.host.call("machine.write", data=OutgoingStream(chunks(2), "bytes")) == 10
        with pytest.raises(ResourceExhausted, match="more than 10 bytes"):
            await setting.host.call("machine.write", data=OutgoingStream(chunks(3), "bytes"))


async def test_a_stream_that_the_handler_does_not_read_is_ended_with_its_call() -> None:
    """It is reset at once, and not some time later when somebody collects garbage (rule T11)."""
    setting = granted("admin")

    async def ignore(context: Any, params: Any) -> None:
        kept.append(params)

    kept: list[Any] = []
    setting.router.add(setting.guard(Handler("raw.ignore", "task", ignore)))
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1000)
        finally:
            ended.set()

    async with setting, asyncio.timeout(LIMIT):
        await setting.host.call("raw.ignore", data=OutgoingStream(endless(), "bytes"))
        await ended.wait()
        assert kept


async def test_a_stream_that_is_received_may_have_so_many_bytes() -> None:
    async with granted("admin", bytes=10) as setting, asyncio.timeout(LIMIT):
        assert await setting.host.stream("machine.watch", count=2).read_all() == b"1234512345"
        with pytest.raises((ResourceExhausted, StreamReset), match="more than 10 bytes"):
            await setting.host.stream("machine.watch", count=3).read_all()
        assert setting.machine.closed.is_set()


# -- what is written down -----------------------------------------------------------------------------------------


async def test_what_changes_nothing_is_not_written_down() -> None:
    async with granted("observe", "files-read") as setting:
        await setting.host.call("machine.look")
        await setting.host.call("machine.read")
        await setting.host.stream("machine.watch", count=1).read_all()
    assert setting.audit.lines == []


async def test_a_call_that_changes_something_leaves_one_line() -> None:
    async with granted("exec") as setting:
        await setting.host.call("machine.run", command="ls")
        await setting.host.call("machine.kick")
    run, kick = setting.audit.lines
    assert run.startswith("somebody as ")
    assert ': machine.run {"command": "ls"}: ok in ' in run
    assert ": machine.kick {}: ok in " in kick


async def test_arguments_by_position_have_names_in_the_line() -> None:
    async with granted("exec") as setting:
        await setting.host.call("machine.run", "ls")
    assert '{"command": "ls"}' in setting.audit.lines[0]


async def test_an_error_is_written_down_by_its_name() -> None:
    async with granted("exec") as setting:
        with pytest.raises(NotFound):
            await setting.host.call("machine.run", command="fail")
        with pytest.raises(InvalidArgument):
            await setting.host.call("machine.run", command=5)
    assert [line.partition("}: ")[2].partition(" in ")[0] for line in setting.audit.lines] == [
        "NotFound",
        "InvalidArgument",
    ]


async def test_a_cancelled_call_is_written_down_as_that() -> None:
    async with granted("exec") as setting, asyncio.timeout(LIMIT):
        call = asyncio.ensure_future(setting.host.call("machine.run", command="wait"))
        await setting.machine.began.wait()
        call.cancel()
        await asyncio.wait([call])
        await setting.host.call("machine.kick")
    assert ": Cancelled in " in setting.audit.lines[0]


async def test_a_denial_leaves_a_line_with_the_arguments() -> None:
    async with granted("observe") as setting:
        with pytest.raises(PermissionDenied):
            await setting.host.call("machine.run", command="ls", password="hunter22")
        with pytest.raises(PermissionDenied):
            await setting.host.call("machine.read")
    assert '"command": "ls", "password": "***"' in setting.audit.lines[0]
    assert ": PermissionDenied in 0.0 ms" in setting.audit.lines[0]
    assert "machine.read" in setting.audit.lines[1]


async def test_a_stream_is_written_down_when_it_ends_with_its_size_and_its_error() -> None:
    async with granted("exec") as setting, asyncio.timeout(LIMIT):
        await setting.host.stream("machine.follow", count=1).read_all()
        with pytest.raises(CallError):
            await setting.host.stream("machine.follow", count=2).read_all()
        stream = setting.host.stream("machine.follow", count=3)
        assert (await anext(aiter(stream))).startswith(b"12345")
        assert len(setting.audit.lines) == 2
        await stream.aclose()
        while len(setting.audit.lines) < 3:
            await setting.host.call("rpc.services")
    ends = [line.partition("}: ")[2] for line in setting.audit.lines]
    assert ends[0].startswith("ok in ")
    assert ends[0].endswith(", 5 bytes sent")
    assert ends[1].startswith("NotFound in ")
    assert ends[1].endswith(", 10 bytes sent")
    assert ends[2].startswith("Cancelled in ")


async def test_what_a_peer_sends_as_a_stream_is_written_down_by_its_size() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"secret text"

    async with granted("files-write") as setting, asyncio.timeout(LIMIT):
        await setting.host.call("machine.write", data=OutgoingStream(chunks(), "bytes"))
    assert '{"data": "<stream>"}: ok in' in setting.audit.lines[0]
    assert setting.audit.lines[0].endswith(", 11 bytes received")


@pytest.mark.parametrize("command", ["quote", "crash"])
async def test_a_secret_leaves_the_agent_neither_in_an_error_nor_in_a_log(
    command: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with granted("exec") as setting:
        with caplog.at_level(logging.DEBUG), pytest.raises(CallError) as caught:
            await setting.host.call("machine.run", command=command, password="hunter22")
    assert isinstance(caught.value, InvalidArgument if command == "quote" else InternalError)
    assert "held a secret" in str(caught.value)
    for text in (str(caught.value), caplog.text, *setting.audit.lines):
        assert "hunter" not in text
    assert command == "quote" or "KeyError" in caplog.text


async def test_handlers_without_annotations_get_the_streams_that_they_know() -> None:
    """Foreign handlers may read a stream by its own methods, not only as an iterator."""
    setting = granted("admin")

    async def sink(context: Any, params: Any) -> int:
        return len(await params["data"].read_all())

    guarded = setting.guard(Handler("raw.sink", "task", sink))
    setting.router.add(guarded)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"12345"

    async with setting, asyncio.timeout(LIMIT):
        assert await setting.host.call("raw.sink", data=OutgoingStream(chunks(), "bytes")) == 5


# -- what a grant allows, whatever is in it -------------------------------------------------------------------------

patterns = st.lists(st.sampled_from(["*", "machine.*", "*.run", "machine.r?n", "other.*", "machine.look"]), max_size=2)
grants = st.builds(
    Grant,
    roles=st.frozensets(st.sampled_from(ALL_ROLES)),
    allow=patterns.map(tuple),
    deny=patterns.map(tuple),
    read_only=st.booleans(),
)
names = st.sampled_from(["machine.run", "machine.look", "other.thing"])
handlers = st.builds(lambda name, role: Handler(name, "inline", print, role=role), names, st.sampled_from(ALL_ROLES))


def allows(grant: Grant, handler: Handler) -> bool:
    return refusal(handler, grant) is None


@given(grants, handlers, st.sampled_from(ALL_ROLES))
def test_more_roles_never_forbid_anything(grant: Grant, handler: Handler, role: str) -> None:
    assert not allows(grant, handler) or allows(grant._replace(roles=grant.roles | {role}), handler)


@given(grants, handlers, patterns)
def test_more_denials_never_allow_anything_and_what_they_name_is_denied(
    grant: Grant, handler: Handler, more: list[str]
) -> None:
    denied = grant._replace(deny=(*grant.deny, *more))
    assert allows(grant, handler) or not allows(denied, handler)
    assert not any(fnmatchcase(handler.name, each) for each in more) or not allows(denied, handler)


@given(grants, handlers)
def test_who_may_only_read_calls_nothing_that_changes_the_machine(grant: Grant, handler: Handler) -> None:
    reading = allows(grant._replace(read_only=True), handler)
    assert not reading or handler.role in ("observe", "files-read")
    assert not reading or allows(grant._replace(read_only=False), handler)


@given(grants, handlers)
def test_nothing_is_allowed_without_a_role_or_a_pattern_that_says_so(grant: Grant, handler: Handler) -> None:
    if not any(fnmatchcase(handler.name, each) for each in grant.allow):
        needed = {handler.role, "admin"} if handler.role != "observe" else set(ALL_ROLES)
        assert not allows(grant, handler) or grant.roles & needed


@given(grants, handlers)
def test_a_refusal_says_who_and_which_method(grant: Grant, handler: Handler) -> None:
    told = refusal(handler, grant._replace(who="somebody", rule="rule 7"))
    assert told is None or all(each in told for each in ("somebody", handler.name, "rule 7", "agent.toml"))
