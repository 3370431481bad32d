"""The service ``kv``."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from virtagent.api.kv import Key, Kv, KvChange, KvEntry, KvStatus, KvWritten, Prefix, Value, Version
from virtagent.errors import CallError, FailedPrecondition, NotFound, Unavailable
from virtagent.guest.kv_file import StateFile
from virtagent.guest.kv_journal import Record
from virtagent.guest.kv_store import File, KvStore, check_key
from virtagent.guest.os_errors import call_error
from virtagent.guest.resources import GuestService, Resources
from virtagent.guest.runtime import state_directory
from virtagent.peer.context import Context
from virtagent.service.options import method

__all__ = ["FILE", "KvService"]

log = logging.getLogger("virtagent.daemon")

Records = list[Record]

FILE = "kv.journal"
"""In the agent's state directory."""


class KvService(GuestService, Kv):
    """One writer at a time, in a thread of its own: the disk may be slow, and then others are not.

    Args:
        resources: what services share.
        path: the file; None: in the agent's state directory.
        file: another file than that of the path, for tests.
    """

    def __init__(self, resources: Resources | None = None, path: str | None = None, file: File | None = None) -> None:
        super().__init__(resources)
        self._path = path or os.path.join(state_directory(), FILE)
        self._store = KvStore(file or StateFile(self._path))
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="virtagent-kv")
        self._lock = asyncio.Lock()
        self._loading: asyncio.Task[None] | None = None
        self._waiting: Records = []
        self._writes: set[asyncio.Task[Any]] = set()
        self._watches: set[KvWatch] = set()
        self.resources.on_stop(self._stop)

    async def get(self, key: Key) -> KvEntry:
        check_key(key)
        store = await self._loaded()
        record = store.get(key)
        if record is None:
            raise NotFound(f"there is no key {key!r}")
        return _entry(record, values=True)

    async def set(self, key: Key, value: Value, *, version: Version | None = None) -> KvWritten:
        check_key(key)
        return await self._write(key, value, version)

    async def delete(self, key: Key, *, version: Version | None = None) -> KvWritten:
        check_key(key)
        return await self._write(key, None, version)

    async def list(self, prefix: Prefix = "", *, values: bool = False) -> AsyncIterator[KvEntry]:
        store = await self._loaded()
        for record in store.entries(prefix):
            yield _entry(record, values=values)

    @method(inline=True)
    def watch(self, prefix: Prefix = "", *, ctx: Context | None = None) -> AsyncIterator[KvChange]:
        grants = self.resources.grants
        with ExitStack() as stack:
            stack.enter_context(grants.hold(ctx, "watches", grants.of(ctx).watches))
            watch = KvWatch(self._loaded, prefix)
            self._watches.add(watch)
            stack.callback(self._watches.discard, watch)
            watch.held = stack.pop_all()
            return watch

    async def status(self) -> KvStatus:
        store = await self._loaded()
        return KvStatus(
            keys=len(store),
            bytes=store.bytes,
            version=store.version,
            path=self._path,
            waiting=len(self._waiting),
            damage=store.damage,
        )

    # -- the file ------------------------------------------------------------------------------------------------

    async def _loaded(self) -> KvStore:
        """The store, read from its file at first use.

        Raises:
            CallError: the file cannot be read; the next call tries again.
        """
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.get_running_loop().create_task(self._load(), name="load kv")
        if not self._loading.done():
            await asyncio.shield(self._loading)
        self._loading.result()
        return self._store

    async def _load(self) -> None:
        store = self._store
        try:
            self.resources.frozen.check_path(self._path)  # what is damaged is written anew
            await asyncio.get_running_loop().run_in_executor(self._executor, store.load)
        except FailedPrecondition as error:
            raise Unavailable(f"the store has not been read yet: {error.message}") from None
        except OSError as error:
            raise call_error(self._path, error) from None
        if store.damage:
            log.error("%s is damaged: %s", self._path, store.damage)

    async def _write(self, key: str, value: bytes | None, version: int | None) -> KvWritten:
        """A change, to its end even if the caller no longer waits: what is on disk is in memory, too."""
        task = asyncio.get_running_loop().create_task(self._write_now(key, value, version), name="write kv")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def _write_now(self, key: str, value: bytes | None, version: int | None) -> KvWritten:
        store = await self._loaded()
        async with self._lock:
            record = store.prepare(key, value, version)
            if record is None:
                return KvWritten(version=0, durable=True)
            durable = await self._persist(record)
            store.apply(record)
        for watch in self._watches:
            watch.wake()
        return KvWritten(version=record.version, durable=durable)

    async def _persist(self, record: Record) -> bool:
        """Have a change on disk, or remember that it has to get there; which of the two."""
        if self._is_frozen():
            self._waiting.append(record)
            return False
        await self._to_disk([*self._waiting, record])
        return True

    def _is_frozen(self) -> bool:
        """Whether the file must not be written now; if so, what waits is written after the thaw."""
        if not self._frozen_now():
            return False
        loop = asyncio.get_running_loop()
        self.resources.frozen.when_thawed("kv", lambda: loop.call_soon_threadsafe(self._thawed))
        return self._frozen_now()  # it may have been thawed between the two

    def _frozen_now(self) -> bool:
        try:
            self.resources.frozen.check_path(self._path)
        except FailedPrecondition:
            return True
        return False

    async def _to_disk(self, records: Records) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._store.persist, records)
        except OSError as error:
            raise call_error(self._path, error) from None
        self._waiting = []

    def _thawed(self) -> None:
        task = asyncio.get_running_loop().create_task(self._write_waiting(), name="write kv after a thaw")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write_waiting(self) -> None:
        """Write what waited for a thaw. It is in memory already."""
        async with self._lock:
            if self._waiting and not self._is_frozen():
                try:
                    await self._to_disk(self._waiting)
                except CallError as error:
                    log.error("%s; what was set while it was frozen is only in memory so far", error.message)

    async def _stop(self, reason: str, message: str) -> None:
        for watch in self._watches:
            watch.end(message or reason)
        if self._waiting:
            await self._write_waiting()


class KvWatch(AsyncIterator[KvChange]):
    """One watcher's place in the store. It keeps nothing but what it is about to tell: whoever is slow is told less.

    Attributes:
        held: what is let go of when it ends.
    """

    def __init__(self, load: Callable[[], Awaitable[KvStore]], prefix: str) -> None:
        self.held = ExitStack()
        self._load = load
        self._prefix = prefix
        self._position = -1
        self._items: deque[KvChange] = deque()
        self._woken = asyncio.Event()
        self._ended = ""

    def wake(self) -> None:
        """Look again."""
        self._woken.set()

    def end(self, why: str) -> None:
        """There will be no more."""
        self._ended = why
        self.wake()

    async def __anext__(self) -> KvChange:
        while not self._items:
            if self._ended:
                raise Unavailable(f"no more changes: {self._ended}")
            self._woken.clear()
            self._look(await self._load())
            if not self._items:
                await self._woken.wait()
        return self._items.popleft()

    def _look(self, store: KvStore) -> None:
        changes = store.changes(self._position, self._prefix) if self._position >= 0 else None
        if changes is not None:
            self._items += [_change("deleted" if each.value is None else "set", each) for each in changes]
        else:
            if self._position >= 0:
                self._items.append(KvChange(kind="reset", version=store.version))
            self._items += [_change("current", each) for each in store.entries(self._prefix)]
            self._items.append(KvChange(kind="ready", version=store.version))
        self._position = store.version

    async def aclose(self) -> None:
        """No longer wanted."""
        self.held.close()


def _change(kind: str, record: Record) -> KvChange:
    return KvChange(
        kind=kind,  # type: ignore[arg-type]
        version=record.version,
        key=record.key,
        value=record.value,
        time=datetime.fromtimestamp(record.time, UTC),
    )


def _entry(record: Record, *, values: bool) -> KvEntry:
    return KvEntry(
        key=record.key,
        version=record.version,
        time=datetime.fromtimestamp(record.time, UTC),
        value=record.value if values else None,
    )
