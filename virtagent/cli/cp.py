"""``virtagent cp``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtagent.cli.copy_progress import CopyProgress
from virtagent.cli.main import shared_options
from virtagent.cli.output import Output, complain, say
from virtagent.cli.places import (
    Place,
    copies,
    is_local_directory,
    local_name,
    parse_place,
    told_in_one_line,
)
from virtagent.cli.session import with_guest
from virtagent.cli.target import Settings
from virtagent.cli.text import one_line, to_json
from virtagent.errors import FailedPrecondition, NotFound, UsageError

if TYPE_CHECKING:
    from virtagent.host.files import GuestFiles
    from virtagent.host.guest import Guest

__all__ = ["command"]

CHUNK = 256 * 1024


@click.command(
    epilog="""\b
Examples:
  virtagent cp kernel.deb web1:/tmp/
  virtagent --to web1 cp -r :/etc/nginx ./nginx-of-web1
  tar c . | virtagent --to web1 cp - :/tmp/backup.tar
  virtagent --to web1 cp :/var/log/syslog - | less"""
)
@click.argument("operands", nargs=-1, required=True, metavar="SOURCE... TARGET")
@click.option("-r", "-R", "--recursive", is_flag=True, help="Directories with all that is in them.")
@click.option("-a", "--archive", "keep_all", is_flag=True, help="As -r, with owners and extended attributes.")
@click.option("-n", "--no-clobber", is_flag=True, help="Fail if the file is there already.")
@shared_options
def command(settings: Settings, operands: tuple[str, ...], recursive: bool, keep_all: bool, no_clobber: bool) -> int:
    """Copy files to a guest or from it.

    A path in the guest is written GUEST:/path, or :/path for the guest of --to; - is standard input or output. Mode and
    time are kept. A file appears under its name only when it is complete; a copy goes on by itself if the session
    is lost and comes back within a minute.
    """
    if len(operands) < 2:
        raise UsageError("name a source and a target")
    sources, target = [parse_place(each) for each in operands[:-1]], parse_place(operands[-1])
    told, to_guest = copies(settings, sources, target)

    async def copy(guest: Guest) -> int | None:
        with CopyProgress() as progress:
            made = Copies(
                guest.files, progress, recursive=recursive or keep_all, keep_all=keep_all, replace=not no_clobber
            )

            async def all_of_them() -> int:
                many = len(sources) > 1
                for source in sources:
                    copied = await (made.up(source, target, many) if to_guest else made.down(source, target, many))
                    if settings.json:
                        say(to_json(copied))
                return 0

            return await told_in_one_line(all_of_them)

    return with_guest(told, copy)


class Copies:
    """Copies of one invocation.

    Args:
        recursive: directories are copied, too.
        keep_all: with owners and extended attributes.
        replace: files that are there are replaced.
    """

    def __init__(
        self, files: GuestFiles, progress: CopyProgress, *, recursive: bool, keep_all: bool, replace: bool
    ) -> None:
        self._files = files
        self._progress = progress
        self._recursive = recursive
        self._keep_all = keep_all
        self._replace = replace

    async def up(self, source: Place, target: Place, many: bool) -> dict[str, object]:
        """Copy to the guest; what was copied.

        Args:
            many: the target must be a directory.
        """
        name = local_name(source.path)
        path = target.path
        if await self._is_directory(path):
            if source.path == "-":
                raise FailedPrecondition(f"{path}: is a directory; name the file in it")
            path = f"{path.rstrip('/')}/{name}"
        elif many or path.endswith("/"):
            raise NotFound(f"{path}: no such directory in the guest")
        if source.path == "-":
            size = (await self._files.put(_standard_input(), path, replace=self._replace)).size
        elif is_local_directory(source.path):
            self._refuse_directory(source)
            progress = self._progress.of(name)
            done = await self._files.put_tree(
                source.path, path, ownership=self._keep_all, xattrs=self._keep_all, progress=progress
            )
            _tell(done.notes)
            size = done.size
        else:
            progress = self._progress.of(name)
            size = (await self._files.put(source.path, path, replace=self._replace, progress=progress)).size
        return {"source": str(source), "target": f"{target.guest}:{path}", "bytes": size}

    async def down(self, source: Place, target: Place, many: bool) -> dict[str, object]:
        """Copy from the guest; what was copied."""
        if target.path == "-":
            return {"source": str(source), "target": "-", "bytes": await self._to_standard_output(source.path)}
        name = source.path.rstrip("/").rpartition("/")[2]
        local = Path(target.path)
        if is_local_directory(target.path):
            local = local / name if name else local
        elif many or target.path.endswith("/"):
            raise NotADirectoryError(20, "no such directory here", target.path)
        if await self._is_directory(source.path):
            self._refuse_directory(source)
            progress = self._progress.of(name or "/")
            done = await self._files.get_tree(
                source.path, local, ownership=self._keep_all, xattrs=self._keep_all, progress=progress
            )
            _tell(done.notes)
            size = done.size
        else:
            progress = self._progress.of(name)
            size = await self._files.get(source.path, local, replace=self._replace, progress=progress)
        return {"source": str(source), "target": str(local), "bytes": size}

    def _refuse_directory(self, source: Place) -> None:
        if not self._recursive:
            raise UsageError(f"{source} is a directory; -r copies it")

    async def _is_directory(self, path: str) -> bool:
        try:
            return (await self._files.stat(path)).kind == "directory"
        except NotFound:
            return False

    async def _to_standard_output(self, path: str) -> int:
        from virtagent.service.streams import TypedStream  # noqa: PLC0415 - loads asyncio, see run()

        output, size = Output(), 0
        async with TypedStream.of(self._files.bulk().read(path, chunk=CHUNK)) as chunks:
            async for chunk in chunks:
                await output.write(chunk)
                size += len(chunk)
        return size


def _tell(notes: list[str]) -> None:
    for each in notes:
        complain(one_line(each))


async def _standard_input() -> AsyncIterator[bytes]:
    import asyncio  # noqa: PLC0415 - run() chooses how it is loaded

    while data := await asyncio.to_thread(os.read, 0, CHUNK):
        yield data
