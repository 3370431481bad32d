"""Directory trees of the guest as archives, in both directions."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from virtagent.api.file_types import Extracted
from virtagent.archive.extractor import Extractor
from virtagent.archive.header import ArchiveError
from virtagent.archive.reader import ArchiveReader
from virtagent.archive.writer import TreeWriter
from virtagent.errors import CallError, DataLoss, InvalidArgument, PermissionDenied
from virtagent.guest.file_roots import Roots
from virtagent.guest.file_writer import receive
from virtagent.guest.os_errors import call_error
from virtagent.guest.slices import Visits

if TYPE_CHECKING:
    from virtagent.guest.file_changes import Tree

__all__ = ["archive", "extract"]

log = logging.getLogger("virtagent.files")

TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


def archive(
    roots: Roots, path: str, *, names: list[str] | None, one_filesystem: bool, xattrs: bool
) -> Generator[bytes, None, None]:
    """The pieces of an archive; see :meth:`virtagent.api.files.Files.archive`."""
    descriptor = roots.open(path, os.O_PATH)
    try:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
    if is_directory:
        top = roots.open(path, TOP)
    else:
        above, name = roots.open_parent(path)
        names = [name]
        try:
            top = os.open(".", TOP, dir_fd=above)
        except OSError as error:
            raise call_error(path, error) from None
        finally:
            os.close(above)
    try:
        writer = TreeWriter(
            top,
            xattrs=xattrs,
            one_filesystem=one_filesystem,
            note=lambda text: log.warning("archive of %s: %s", path, text),
        )
        yield from writer.tree() if names is None else writer.only(names)
    except ArchiveError as error:
        raise InvalidArgument(f"{path}: {error}") from None
    finally:
        os.close(top)


async def extract(
    roots: Roots,
    path: str,
    data: AsyncIterator[bytes],
    tree: Tree,
    executor: Executor,
    *,
    ownership: bool,
    xattrs: bool,
    check: Callable[[int], None],
) -> Extracted:
    """Extract what a stream brings; see :meth:`virtagent.api.files.Files.extract`.

    Args:
        tree: makes the directory if it is not there.
    """
    visits = Visits(executor)
    made: list[Extraction] = []

    def begin() -> Extraction:
        tree.mkdir(path, 0o755, parents=True, exist_ok=True)
        made.append(Extraction(roots, path, ownership=ownership, xattrs=xattrs, check=check))
        return made[0]

    try:
        extraction = await visits.run(begin)
        await receive(data, extraction.feed, visits)
        return await visits.run(extraction.end)
    finally:
        for each in made:
            await visits.close(each.close)


class Extraction:
    """One extraction; all methods block, and raise errors that answer the call."""

    def __init__(self, roots: Roots, path: str, *, ownership: bool, xattrs: bool, check: Callable[[int], None]) -> None:
        self._path = path
        self._top = roots.open(path, TOP)
        try:
            check(os.fstat(self._top).st_dev)
        except BaseException:
            os.close(self._top)
            raise
        # A device node below a root would lead to all that is on the device, and a set-user-ID program to all else.
        self._extractor = Extractor(
            self._top, ownership=ownership, xattrs=xattrs, privileges=roots.everywhere, check=check
        )
        self._reader = ArchiveReader(self._extractor)

    def feed(self, pieces: list[bytes]) -> None:
        """More of the archive."""
        try:
            for each in pieces:
                self._reader.feed(each)
        except (OSError, ArchiveError) as error:
            raise self._answer(error) from None

    def end(self) -> Extracted:
        """The archive is complete."""
        try:
            self._reader.end()
            self._extractor.complete()
        except (OSError, ArchiveError, EOFError) as error:
            raise self._answer(error) from None
        return Extracted(files=self._extractor.files, size=self._extractor.size, notes=self._extractor.notes)

    def _answer(self, error: OSError | ArchiveError | EOFError) -> CallError:
        if isinstance(error, EOFError):
            return DataLoss(f"{self._path}: {error}")
        if isinstance(error, ArchiveError):
            return InvalidArgument(f"{self._path}: {error}")
        if error.errno is None:
            return PermissionDenied(f"{self._path}: {error}")
        name = error.filename if isinstance(error.filename, str) else ""
        return call_error(f"{self._path}/{name}" if name else self._path, error)

    def close(self) -> None:
        """Be done; what is not complete is removed."""
        if self._top >= 0:
            try:
                self._extractor.close()
            except CallError as error:
                log.warning("extraction into %s: an incomplete .*.partial is left: %s", self._path, error)
            finally:
                os.close(self._top)
                self._top = -1
