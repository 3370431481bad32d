"""What the interfaces promise, and that they stay able to grow."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import virtagent.api
from tests.service.wire import Canned, Wire
from virtagent.api import file_types, log
from virtagent.api.agent import Agent, AgentEvents, Down, Heartbeat, Pong, Up
from virtagent.api.file_types import FileStat
from virtagent.api.files import Files
from virtagent.api.log import KernelRecord, Log
from virtagent.api.system import Kernel, OperatingSystem, System, SystemInfo
from virtagent.errors import InvalidArgument
from virtagent.service.options import method
from virtagent.service.service import Service, handlers_of, is_interface, methods_of
from virtagent.service.stub import stub

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MODULES = [
    importlib.import_module(f"virtagent.api.{each.name}") for each in pkgutil.iter_modules(virtagent.api.__path__)
]
CLASSES = {each for module in MODULES for each in vars(module).values() if isinstance(each, type)}
OURS = sorted(
    (each for each in CLASSES if each.__module__.startswith("virtagent.api.")), key=lambda each: each.__name__
)
INTERFACES = [each for each in OURS if issubclass(each, Service)]
STRUCTS = [each for each in OURS if issubclass(each, msgspec.Struct)]


def test_the_interfaces_are_all_found() -> None:
    assert len(INTERFACES) >= 19
    assert len(STRUCTS) >= 80


@pytest.mark.parametrize("interface", INTERFACES)
def test_every_method_is_declared_only_documented_and_says_since_when(interface: type[Service]) -> None:
    assert is_interface(interface)
    assert handlers_of(interface()) == []
    for each in methods_of(interface).values():
        assert each.doc
        assert each.options.since


@pytest.mark.parametrize("cls", STRUCTS)
def test_structs_are_frozen_take_names_only_and_ignore_what_is_newer(cls: type[msgspec.Struct]) -> None:
    assert cls.__struct_config__.frozen
    assert not cls.__struct_config__.forbid_unknown_fields
    assert cls.__doc__
    assert all(each.kind is each.KEYWORD_ONLY for each in inspect.signature(cls).parameters.values())


class GuestAgent(Agent):
    @method(inline=True)
    async def ping(self) -> Pong:
        return Pong(time=NOW, agent_uptime=2.5, session_uptime=1.5, version="0.1.0", pid=7)


class GuestSystem(System):
    async def info(self) -> SystemInfo:
        return SystemInfo(
            hostname="guest",
            kernel=Kernel(release="6.1", version="#1", machine="x86_64"),
            os=OperatingSystem(id="debian", pretty_name="Debian"),
            time=NOW,
            uptime=12.5,
            memory=2**33,
            booted=NOW,
        )


class GuestFiles(Files):
    async def read(
        self,
        path: str,
        *,
        offset: file_types.Size = 0,
        length: file_types.Size | None = None,
        chunk: file_types.ChunkSize = 4,
    ) -> AsyncIterator[bytes]:
        data = path.encode("utf-8", "surrogateescape")[offset:][:length]
        for start in range(0, len(data), chunk):
            yield data[start : start + chunk]

    async def stat(self, path: file_types.Path, *, follow: bool = True) -> FileStat:
        return FileStat(kind="link", size=1, mode=0o644, uid=0, gid=0, modified=NOW, target=path)


class GuestLog(Log):
    async def kernel(
        self, *, follow: bool = False, since: log.Since | None = None, level: log.Level | None = None
    ) -> AsyncIterator[KernelRecord]:
        yield KernelRecord(sequence=1, timestamp=0.5, level=6, message="up", fields={"SUBSYSTEM": "pci"})


class HostEvents(AgentEvents):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    @method(inline=True)
    def up(self, event: Up) -> None:
        self.seen.append(event)

    @method(inline=True)
    def down(self, event: Down) -> None:
        self.seen.append(event)

    @method(inline=True)
    def heartbeat(self, event: Heartbeat) -> None:
        self.seen.append(event)


@pytest.fixture
def wire() -> Wire:
    return Wire(GuestAgent(), GuestSystem(), GuestFiles(), GuestLog())


async def test_a_guest_that_implements_the_interfaces_is_called_through_their_stubs(wire: Wire) -> None:
    assert await stub(Agent, wire).ping() == await GuestAgent().ping()
    assert await stub(System, wire).info() == await GuestSystem().info()
    assert [item async for item in stub(Log, wire).kernel(level=6)] == [item async for item in GuestLog().kernel()]


async def test_a_file_name_that_is_not_utf_8_goes_there_and_back(wire: Wire) -> None:
    name = b"/a\xff".decode("utf-8", "surrogateescape")
    assert (await stub(Files, wire).stat(name)).target == name
    chunks = [chunk async for chunk in stub(Files, wire).read(name, offset=1, chunk=1)]
    assert chunks == [b"a", b"\xff"]


@pytest.mark.parametrize(
    "arguments", [{"offset": -1}, {"offset": 2**63}, {"chunk": 0}, {"chunk": 2**30}, {"length": -1}]
)
async def test_positions_that_no_file_has_are_refused(wire: Wire, arguments: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match=f"files.read: argument '{next(iter(arguments))}': expected int >= "):
        await anext(stub(Files, wire).read("/x", **arguments))


@pytest.mark.parametrize("path", ["", "x" * 4097])
async def test_paths_that_no_file_has_are_refused(wire: Wire, path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"files.stat: argument 'path': expected str of at least 1 long"):
        await stub(Files, wire).stat(path)


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("up", Up(version="0.1.0", boot_id="b", time=NOW, agent_uptime=0.0)),
        ("down", Down(reason="reboot", message="by root")),
        ("heartbeat", Heartbeat(sequence=1, time=NOW, uptime=3.0, load=(0.5, 0.25, 0.0), memory_available=1)),
    ],
)
async def test_events_arrive_at_the_host_as_they_were_sent(name: str, event: Any) -> None:
    sender, host = Wire(), HostEvents()
    getattr(stub(AgentEvents, sender), name)(event)
    ((method_name, params),) = sender.notified
    assert method_name == f"agent.{name}"
    await Wire(host).request(method_name, params)
    assert host.seen == [event]


async def test_an_older_guest_may_leave_optional_facts_out() -> None:
    minimal = {
        "hostname": "g",
        "kernel": {"release": "6", "version": "#1", "machine": "x"},
        "os": {},
        "time": NOW,
        "uptime": 1,
    }
    info = await stub(System, Canned(minimal)).info()
    assert info.os.pretty_name == "Linux"
    assert info.memory is None
