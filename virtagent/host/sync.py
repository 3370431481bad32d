"""Making a directory of the guest like a local one, or the other way round: only what differs is copied."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from msgspec import structs

from virtagent.api.file_types import Entry
from virtagent.host.files import GuestFiles, Progress
from virtagent.host.trees import Difference, compare, guest_entries, local_entries

__all__ = ["Sync"]

AT_A_TIME = 8
"""Checksums that are computed at a time."""

PIECE = 1024 * 1024


class Sync:
    """Two directories, one of which is to become like the other.

    Args:
        files: of the guest.
        local: the directory here.
        path: the directory in the guest.
        to_guest: which way; False: from the guest.
        checksum: compare what has the same size by content, and not by time.
        ownership: with the owners' numbers.
    """

    def __init__(
        self,
        files: GuestFiles,
        local: Path,
        path: str,
        *,
        to_guest: bool,
        checksum: bool = False,
        ownership: bool = False,
    ) -> None:
        self._files = files
        self._local = local
        self._path = path.rstrip("/") or "/"
        self._to_guest = to_guest
        self._checksum = checksum
        self._ownership = ownership

    async def plan(self) -> Difference:
        """What differs.

        Raises:
            OSError: the local directory cannot be read.
            CallError: the guest's cannot.
        """
        there, here = await asyncio.gather(
            guest_entries(self._files, self._path), asyncio.to_thread(local_entries, self._local)
        )
        source, target = (here, there) if self._to_guest else (there, here)
        if self._checksum:
            target = await self._by_content(source, target)
        return compare(source, target)

    async def _by_content(self, source: dict[str, Entry], target: dict[str, Entry]) -> dict[str, Entry]:
        """The target with the source's times where the content is the same, and others where it is not."""
        limit = asyncio.Semaphore(AT_A_TIME)

        async def one(path: str) -> tuple[str, Entry]:
            async with limit:
                there, here = await asyncio.gather(
                    self._files.bulk().checksum(self._in_guest(path)), asyncio.to_thread(_digest, self._local / path)
                )
            mtime = source[path].mtime
            return path, structs.replace(target[path], mtime=mtime if there.digest == here else mtime + 1)

        both = [
            path
            for path, each in source.items()
            if each.kind == "file" and path in target and (target[path].kind, target[path].size) == ("file", each.size)
        ]
        return {**target, **dict(await asyncio.gather(*map(one, both)))}

    async def run(self, plan: Difference, *, delete: bool, progress: Progress | None = None) -> list[str]:
        """Do what a plan says; what could not be kept, as notes.

        Args:
            plan: what differs.
            delete: delete what is not in the source.
            progress: is called with the archive's bytes.

        Raises:
            OSError, CallError: it fails; what is done by then stays, and a file is as before or as it is to be.
        """
        if delete:
            for path in plan.delete:
                await self._remove(path)
        if not plan.copy:
            return []
        if self._to_guest:
            done = await self._files.put_tree(
                self._local, self._path, names=plan.copy, ownership=self._ownership, progress=progress
            )
        else:
            done = await self._files.get_tree(
                self._path, self._local, names=plan.copy, ownership=self._ownership, progress=progress
            )
        return done.notes

    def _in_guest(self, path: str) -> str:
        return f"{self._path.rstrip('/')}/{path}"

    async def _remove(self, path: str) -> None:
        if self._to_guest:
            await self._files.remove(self._in_guest(path), missing_ok=True)
        else:
            await asyncio.to_thread(_remove, self._local / path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    import hashlib  # noqa: PLC0415 - loads OpenSSL

    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        while data := file.read(PIECE):
            digest.update(data)
    return digest.hexdigest()
