"""Who is logged in, as logind tells over a real bus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property

from tests.guest.message_bus import message_bus
from virtagent.errors import Unavailable
from virtagent.guest.logind import MANAGER, NAME, list_sessions


class Manager(ServiceInterface):
    def __init__(self, rows: list[list[Any]]) -> None:
        super().__init__(f"{NAME}.Manager")
        self._rows = rows

    @dbus_method()
    def ListSessions(self) -> "a(susso)":  # type: ignore[valid-type]  # noqa: F821, UP037
        return self._rows


def read_only(kind: str, name: str) -> Any:
    def read(self: Any) -> Any:
        return self.fields[name]

    read.__name__ = name
    read.__annotations__ = {"return": kind}
    return dbus_property(access=PropertyAccess.READ)(read)


class Session(ServiceInterface):
    Class = read_only("s", "Class")
    State = read_only("s", "State")
    Timestamp = read_only("t", "Timestamp")
    TTY = read_only("s", "TTY")
    Display = read_only("s", "Display")
    RemoteHost = read_only("s", "RemoteHost")
    Type = read_only("s", "Type")
    Leader = read_only("u", "Leader")
    Active = read_only("b", "Active")

    def __init__(self, **fields: Any) -> None:
        self.fields = {
            "Class": "user",
            "State": "active",
            "Timestamp": 1_700_000_000_500_000,
            "TTY": "",
            "Display": "",
            "RemoteHost": "",
            "Type": "tty",
            "Leader": 77,
            "Active": True,
            **fields,
        }
        super().__init__(f"{NAME}.Session")


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """A bus of our own; its address."""
    with message_bus(tmp_path) as address:
        yield address


async def serve(address: str, sessions: dict[str, Session | None]) -> MessageBus:
    connected = await MessageBus(address).connect()
    rows = [[name, 1000, "anna", "seat0", f"{MANAGER}/session/{name}"] for name in sessions]
    connected.export(MANAGER, Manager(rows))
    for name, session in sessions.items():
        if session is not None:
            connected.export(f"{MANAGER}/session/{name}", session)
    await connected.request_name(NAME)
    return connected


async def test_sessions_of_users_are_told_as_logind_knows_them(bus: str) -> None:
    logind = await serve(
        bus,
        {
            "a1": Session(TTY="pts/3", RemoteHost="192.0.2.9"),
            "a2": Session(Type="x11", Display=":0", Active=False),
            "greeter": Session(Class="greeter"),
            "closing": Session(State="closing"),
            "gone": None,
        },
    )
    try:
        first, second = await list_sessions(bus)
    finally:
        logind.disconnect()
    assert (first.session, first.user, first.terminal, first.host, first.pid) == (
        "a1",
        "anna",
        "pts/3",
        "192.0.2.9",
        77,
    )
    assert first.since is not None
    assert first.since.timestamp() == 1_700_000_000.5
    assert (second.kind, second.terminal, second.active, second.seat) == ("x11", ":0", False, "seat0")


async def test_a_bus_without_logind_is_told_of(bus: str) -> None:
    with pytest.raises(Unavailable, match="systemd-logind"):
        await list_sessions(bus)
