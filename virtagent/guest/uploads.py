"""Uploads: files that are put in one step, and what is kept of those that may go on after a lost session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from virtagent.api.file_types import Written
from virtagent.errors import CallError, FailedPrecondition
from virtagent.guest.file_roots import Roots
from virtagent.guest.file_writer import NewFile, Wanted, discard_partial, receive
from virtagent.guest.slices import Visits

__all__ = ["Uploads"]

KEPT_FOR = 600.0
"""Seconds that an upload which was not finished is kept."""

MOST_KEPT = 256
"""Uploads that are kept; the oldest goes for a new one."""


class _Kept:
    """An upload that may go on."""

    def __init__(
        self, roots: Roots, path: str, token: str, check: Callable[[int], None], timer: asyncio.TimerHandle
    ) -> None:
        self.roots = roots
        self.path = path
        self.token = token
        self.check = check
        self.timer = timer

    def discard(self) -> bool:
        """Remove it; blocks. False: not now, as the file system is frozen."""
        try:
            discard_partial(self.roots, self.path, self.token, self.check)
        except FailedPrecondition:
            return False
        except CallError:
            pass  # it is gone, or cannot be reached any more
        return True


class Uploads:
    """All uploads of the agent.

    Args:
        executor: where writing blocks.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._under_way: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._stopping = False

    async def put(
        self,
        roots: Roots,
        path: str,
        data: AsyncIterator[bytes],
        *,
        token: str | None,
        offset: int,
        wanted: Wanted,
        check: Callable[[int], None],
    ) -> Written:
        """Receive a file; see :meth:`virtagent.api.files.Files.put`. However it ends, nothing is left but what is kept.

        Raises:
            CallError: as there.
        """
        if token is not None:
            self._take_back(path, token)
        visits = Visits(self._executor)
        begun: list[NewFile] = []

        def begin() -> NewFile:
            made = NewFile(roots, path, token=token, offset=offset, wanted=wanted, check=check)
            begun.append(made)
            return made

        done = False

        def end() -> None:
            for each in begun:
                if each.close(keep=not done and not self._stopping):
                    loop.call_soon_threadsafe(self._keep, roots, path, each.token, check)

        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        if token is not None:
            self._under_way[path, token] = ended
        try:
            file = await visits.run(begin)
            await receive(data, file.write, visits)
            written = await visits.run(file.commit)
            done = True
            return written
        finally:
            try:
                await visits.close(end)
            finally:
                ended.set_result(None)
                if token is not None and self._under_way.get((path, token)) is ended:
                    del self._under_way[path, token]

    async def discard(self, roots: Roots, path: str, token: str, check: Callable[[int], None]) -> None:
        """Remove what is there of an upload; of one that is being cancelled, once that has ended.

        Raises:
            CallError: see :meth:`virtagent.api.files.Files.discard`.
        """
        under_way = self._under_way.get((path, token))
        if under_way is not None:
            await asyncio.wait([under_way])
        self._take_back(path, token)
        await asyncio.get_running_loop().run_in_executor(self._executor, discard_partial, roots, path, token, check)

    def _keep(self, roots: Roots, path: str, token: str, check: Callable[[int], None]) -> None:
        if len(self._kept) >= MOST_KEPT:
            self._forget(next(iter(self._kept)))
        self._take_back(path, token)
        timer = asyncio.get_running_loop().call_later(KEPT_FOR, self._forget, (path, token))
        self._kept[path, token] = _Kept(roots, path, token, check, timer)

    def _take_back(self, path: str, token: str) -> None:
        kept = self._kept.pop((path, token), None)
        if kept is not None:
            kept.timer.cancel()

    def _forget(self, which: tuple[str, str]) -> None:
        kept = self._kept.pop(which, None)
        if kept is not None:
            kept.timer.cancel()
            removal = asyncio.get_running_loop().run_in_executor(self._executor, kept.discard)
            removal.add_done_callback(lambda done: self._removed(kept, done.result()))

    def _removed(self, kept: _Kept, done: bool) -> None:
        if not done and not self._stopping:
            self._keep(kept.roots, kept.path, kept.token, kept.check)

    async def forget_all(self) -> None:
        """Remove what is kept, and keep nothing from now on: the agent goes."""
        self._stopping = True
        kept, self._kept = list(self._kept.values()), {}
        for each in kept:
            each.timer.cancel()
            await asyncio.get_running_loop().run_in_executor(self._executor, each.discard)
