"""What a type checker knows of stubs. ``test_typing`` runs mypy over this file; it is never imported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from virtagent.api.agent import Agent, AgentEvents, Pong, Up
from virtagent.api.file_types import FileStat
from virtagent.api.files import Files
from virtagent.api.log import KernelRecord, Log
from virtagent.api.system import System, SystemInfo
from virtagent.peer.caller import Caller
from virtagent.peer.context import Context
from virtagent.service.options import in_thread, method
from virtagent.service.service import Service
from virtagent.service.streams import TypedStream
from virtagent.service.stub import stub


async def calls(caller: Caller) -> None:
    assert_type(await stub(System, caller).info(), SystemInfo)
    assert_type(await stub(Agent, caller).ping(), Pong)
    files = stub(Files, caller)
    assert_type(files, Files)
    assert_type(await files.stat("/etc", follow=False), FileStat)
    stub(AgentEvents, caller).up(Up(version="1"))


async def streams(caller: Caller) -> None:
    assert_type(stub(Files, caller).read("/etc/hostname", offset=3), AsyncIterator[bytes])
    async for record in stub(Log, caller).kernel(follow=True):
        assert_type(record, KernelRecord)
    async with TypedStream.of(stub(Log, caller).kernel()) as records:
        assert_type(records, TypedStream[KernelRecord])


async def mistakes(caller: Caller) -> None:
    files = stub(Files, caller)
    await files.stat(3)  # type: ignore[arg-type]
    await files.stat("/", folow=True)  # type: ignore[call-arg]
    files.reed("/")  # type: ignore[attr-defined]
    files.read("/", 3)  # type: ignore[call-arg]


class Backup(Service, name="backup"):
    async def snapshot(self, path: str, *, level: int = 3, ctx: Context | None = None) -> list[str]:
        return [path]


async def own_service(caller: Caller) -> None:
    assert_type(await stub(Backup, caller).snapshot("/x"), list[str])


class GuestFiles(Files):
    """An implementation: a generator overrides a stream, a blocking function overrides an ``async def``."""

    async def read(
        self, path: str, *, offset: int = 0, length: int | None = None, chunk: int = 1, ctx: Context | None = None
    ) -> AsyncIterator[bytes]:
        yield b""

    @method(idempotent=True)
    @in_thread
    def stat(self, path: str, *, follow: bool = True) -> FileStat:
        raise NotImplementedError


async def in_process() -> None:
    assert_type(await GuestFiles().stat("/x"), FileStat)
