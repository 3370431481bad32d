"""The service ``config``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from virtagent.api.config import (
    LARGEST_OUTPUT,
    Config,
    ConfigArguments,
    ConfigContent,
    ConfigKey,
    ConfigKind,
    ConfigOutcome,
    ConfigOutput,
    ConfigPiece,
    ConfigPieces,
    ConfigTools,
    Digest,
)
from virtagent.api.processes import Command
from virtagent.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from virtagent.guest.child import Child
from virtagent.guest.child_output import ChildOutput
from virtagent.guest.children import Children
from virtagent.guest.config_store import ConfigStore
from virtagent.guest.config_tools import command_line, digest_of, succeeded, tools
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.runtime import state_directory
from virtagent.peer.context import Context
from virtagent.service.options import in_thread

__all__ = ["ConfigService"]

T = TypeVar("T")

LONGEST_VARIABLES = 256 * 1024
"""Characters of all variables of the environment together."""


class Run(NamedTuple):
    """A piece, and how it is to be run."""

    key: str
    content: str
    kind: ConfigKind
    interpreter: str
    arguments: list[str]
    env: dict[str, str]
    timeout: float | None
    digest: str


class ConfigService(GuestService, Config):
    """Runs pieces with the rights of the agent.

    Args:
        resources: what services share.
        directory: where what was applied is remembered; None: below the agent's state directory.
    """

    def __init__(self, resources: Resources | None = None, *, directory: str | None = None) -> None:
        super().__init__(resources)
        self._store = ConfigStore(directory or os.path.join(state_directory(), "config"))
        self._children = Children()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.resources.on_stop(self._children.stop)

    @in_thread
    def is_configured(self, key: ConfigKey, *, digest: Digest | None = None) -> bool:
        piece = self._store.find(key)
        return piece is not None and piece.outcome == "applied" and digest in (None, piece.digest)

    @in_thread
    def piece(self, key: ConfigKey) -> ConfigPiece:
        return self._known(key)

    def _known(self, key: str) -> ConfigPiece:
        piece = self._store.find(key)
        if piece is None:
            raise NotFound(f"nothing is remembered of a piece of configuration {key!r}")
        return piece

    @in_thread
    def list(self) -> ConfigPieces:
        return self._store.all()

    @in_thread
    def tools(self) -> ConfigTools:
        return tools()

    @in_thread
    def output(self, key: ConfigKey, *, ctx: Context | None = None) -> bytes:
        self._check_unlimited(ctx)
        self._known(key)
        return self._store.output(key)

    async def forget(self, key: ConfigKey, *, ctx: Context | None = None) -> bool:
        self._check_unlimited(ctx)
        self.resources.frozen.check_path(self._store.directory)
        lock = self._lock(key)
        if lock.locked():
            raise FailedPrecondition(f"{key} is being applied; wait for it, or end it")
        async with lock:
            return await asyncio.to_thread(self._forget, key)

    def _check_unlimited(self, ctx: Context | None) -> None:
        """Nobody knows who applied a piece; it may hold what a caller with an exec allow-list could not have read."""
        if self.resources.grants.of(ctx).commands is not None:
            raise PermissionDenied("this caller may run certain programs only; what others applied is not for it")

    def _forget(self, key: str) -> bool:
        if self._store.find(key) is None:
            return False
        with self._store.lock(key):
            return self._store.forget(key)

    async def apply(
        self,
        key: ConfigKey,
        content: ConfigContent,
        *,
        kind: ConfigKind = "script",
        interpreter: str = "",
        arguments: ConfigArguments | None = None,
        env: dict[str, str] | None = None,
        timeout: float | None = None,
        force: bool = False,
        ctx: Context | None = None,
    ) -> AsyncIterator[ConfigOutput]:
        variables = env or {}
        if sum(map(len, [*variables, *variables.values()])) > LONGEST_VARIABLES:
            raise InvalidArgument(f"the variables have more than {LONGEST_VARIABLES} characters")
        digest = digest_of(kind, content, interpreter, arguments or [], variables)
        run = Run(key, content, kind, interpreter, arguments or [], variables, timeout, digest)
        # Here already, so that it answers the call.
        await asyncio.to_thread(command_line, kind, "", content, interpreter, run.arguments)
        self.resources.frozen.check_path(self._store.directory)
        return self._apply(run, force=force, ctx=ctx)

    def _lock(self, key: str) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    async def _apply(self, run: Run, *, force: bool, ctx: Context | None) -> AsyncIterator[ConfigOutput]:
        async with self._lock(run.key):
            before = await asyncio.to_thread(self._store.find, run.key)
            if not force and before is not None and before.outcome == "applied" and before.digest == run.digest:
                yield ConfigOutput(piece=before)
                return
            self.resources.frozen.check_path(self._store.directory)
            with self._store.lock(run.key):
                running = self._run(run, ctx)
                try:
                    async for item in running:
                        yield item
                finally:
                    await running.aclose()

    async def _run(self, run: Run, ctx: Context | None) -> AsyncGenerator[ConfigOutput, None]:
        started = _now()
        kept = bytearray()
        written = 0
        outcome: ConfigOutcome = "interrupted"
        child: Child | None = None
        await self._remember(_piece(run, "running", started), b"")
        try:
            child = await self._start(run, ctx)
            output = ChildOutput(child)
            while (piece := await output.next()) is not None:
                name, data = piece
                written += len(data)
                kept += data
                del kept[:-LARGEST_OUTPUT]
                yield ConfigOutput(stdout=data) if name == "stdout" else ConfigOutput(stderr=data)
            exited = await asyncio.shield(child.exited)
            outcome = "applied" if succeeded(run.kind, exited.code) else "failed"
        finally:
            if child is not None:
                await _end(child)
            self._store.remove_content(run.key)
            done = _piece(run, outcome, started, child=child, output=written)
            await self._remember(done, bytes(kept))
        yield ConfigOutput(piece=done, changed=True)

    async def _start(self, run: Run, ctx: Context | None) -> Child:
        grants = self.resources.grants
        grant = grants.of(ctx)
        file = await asyncio.to_thread(self._store.write_content, run.key, run.content)
        argv = command_line(run.kind, file, run.content, run.interpreter, run.arguments)
        command = Command(argv=argv, timeout=run.timeout)
        held = grants.hold(ctx, "processes", grant.processes)
        return await self._children.start(command, run.env, grant, ctx, held=held, stdin=False)

    async def _remember(self, piece: ConfigPiece, output: bytes) -> None:
        await _to_its_end(lambda: self._store.save(piece, output))


async def _to_its_end(work: Callable[[], T]) -> T:
    """Work in a thread that cancellation does not leave behind: what comes after it must not run beside it."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _end(child: Child) -> None:
    """Have a process gone, with all others of its session."""
    if not child.exited.done():
        child.terminate()
        child.close()
        await asyncio.wait([child.exited])
    child.close()


def _piece(
    run: Run, outcome: ConfigOutcome, started: datetime, *, child: Child | None = None, output: int = 0
) -> ConfigPiece:
    now = _now()
    exited = child.exited.result() if child is not None and child.exited.done() else None
    return ConfigPiece(
        key=run.key,
        digest=run.digest,
        kind=run.kind,
        outcome=outcome,
        when=now,
        exit_code=None if exited is None or outcome == "interrupted" else exited.code,
        duration=(now - started).total_seconds() if exited is None else exited.duration,
        output=output,
    )


def _now() -> datetime:
    return datetime.now(UTC)
