"""Who is logged in, as logind tells over a real bus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dbus_fast import Message, Variant

from tests.guest.fake_logind import FakeLogind, path_of
from tests.guest.message_bus import message_bus
from virtagent.errors import Unavailable
from virtagent.guest.logind import list_sessions


class Forgetful(FakeLogind):
    """Lists a session that is gone when it is asked about it."""

    def _answer(self, message: Message) -> Message | None:
        if message.member == "ListSessions":
            rows = [[name, 1000, "u", "", path_of(name)] for name in [*self.sessions, "gone"]]
            return Message.new_method_return(message, "a(susso)", [rows])
        return super()._answer(message)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """A bus of our own; its address."""
    with message_bus(tmp_path) as address:
        yield address


async def test_sessions_of_users_are_told_as_logind_knows_them(bus: str) -> None:
    logind = await Forgetful().start(bus)
    logind.add(
        "a1",
        "anna",
        TTY=Variant("s", "pts/3"),
        RemoteHost=Variant("s", "192.0.2.9"),
        Timestamp=Variant("t", 1_700_000_000_500_000),
        Leader=Variant("u", 77),
    )
    logind.add(
        "a2",
        "bert",
        Type=Variant("s", "x11"),
        Display=Variant("s", ":0"),
        Active=Variant("b", False),
        Seat=Variant("(so)", ["seat0", "/org/freedesktop/login1/seat/seat0"]),
    )
    logind.add("a3", "gdm", Class=Variant("s", "greeter"))
    logind.add("a4", "root", Class=Variant("s", "background"))
    logind.add("a5", "anna", State=Variant("s", "closing"))
    try:
        first, second = await list_sessions(bus)
    finally:
        logind.stop()
    assert (first.session, first.user, first.terminal) == ("a1", "anna", "pts/3")
    assert (first.host, first.pid, first.seat) == ("192.0.2.9", 77, "")
    assert first.since is not None
    assert first.since.timestamp() == 1_700_000_000.5
    assert (second.user, second.kind, second.terminal) == ("bert", "x11", ":0")
    assert (second.active, second.seat, second.since) == (False, "seat0", None)


async def test_a_bus_without_logind_is_told_of(bus: str) -> None:
    with pytest.raises(Unavailable, match="login1"):
        await list_sessions(bus)
