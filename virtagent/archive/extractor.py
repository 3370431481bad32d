"""Extracting members below a directory: nothing outside of it is written, and no link is followed."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from virtagent.archive.directories import Directories, safe_parts
from virtagent.archive.header import ArchiveError
from virtagent.archive.member import Member

__all__ = ["Extractor"]

MOST_NOTES = 20

MOST_WAITING = 50_000
"""Directories whose times wait for the end; beyond, the first ones get theirs early."""

MOST_WAITING_BYTES = 32 * 1024 * 1024
"""What their names and attributes may take."""

PRIVILEGED = stat.S_ISUID | stat.S_ISGID

OF_THE_SYSTEM = (b"security.", b"trusted.")
"""Extended attributes such as a program's capabilities (xattr(7))."""

ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Extractor:
    """A sink of :class:`~virtagent.archive.reader.ArchiveReader`; all methods block.

    Each file is written under a temporary name in its directory, and renamed once it is complete.

    Args:
        top: the directory, open; not owned.
        ownership: set owners, where this process may.
        xattrs: set extended attributes.
        privileges: device nodes, set-user-ID and set-group-ID files, and attributes such as capabilities, may be made:
            with them, an archive can give a user of this machine the rights of another one.
        check: raises if a file system, given its ``st_dev``, must not be written to now.

    Attributes:
        files: members that were extracted.
        size: bytes of their content.
        notes: what could not be kept; the first few.

    Raises, in its methods:
        ArchiveError: a member would leave the directory.
        PermissionError: a device node that may not be made.
        OSError: it cannot be written.
    """

    def __init__(
        self,
        top: int,
        *,
        ownership: bool = True,
        xattrs: bool = True,
        privileges: bool = True,
        check: Callable[[int], None] = lambda device: None,
    ) -> None:
        self._top = top
        self._ownership = ownership and os.geteuid() == 0
        self._xattrs = xattrs
        self._privileges = privileges
        self._check = check
        self._directories = Directories(top, create=True, check=check)
        self._waiting: dict[tuple[str, ...], Member] = {}
        self._waiting_bytes = 0
        self._member: Member | None = None
        self._parts: list[str] = []
        self._directory = -1
        self._temporary = ""
        self._descriptor = -1
        self._device = os.fstat(top).st_dev
        self.files = 0
        self.size = 0
        self.notes: list[str] = []

    def begin(self, member: Member) -> None:
        """A member begins."""
        self._member, self._parts = member, safe_parts(member.name)
        if member.kind == "directory":
            self._make_directory()
            return
        if not self._parts:
            raise ArchiveError("a member that is no directory has the name of the directory itself")
        self._directory = self._directories.enter(self._parts[:-1])
        self._device = os.fstat(self._directory).st_dev
        self._check(self._device)
        temporary = f".{secrets.token_hex(8)}.partial"
        if member.kind == "file":
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(temporary, flags, 0o600, dir_fd=self._directory)
        elif member.kind == "link":
            os.symlink(member.target, os.fsencode(temporary), dir_fd=self._directory)
        elif member.kind == "hardlink":
            self._link(member, temporary)
        else:
            self._make_node(member, temporary)
        self._temporary = temporary

    def _link(self, member: Member, temporary: str) -> None:
        target = safe_parts(member.target)
        if not target:
            raise ArchiveError("a link leads to the directory itself")
        others = Directories(self._top)
        try:
            there = others.enter(target[:-1])
            os.link(target[-1], temporary, src_dir_fd=there, dst_dir_fd=self._directory, follow_symlinks=False)
        finally:
            others.close()

    def _make_node(self, member: Member, temporary: str) -> None:
        kind = {"fifo": stat.S_IFIFO, "character": stat.S_IFCHR, "block": stat.S_IFBLK}[member.kind]
        if member.kind != "fifo" and not self._privileges:
            raise PermissionError(f"{self._shown()}: device nodes may not be made here")
        os.mknod(temporary, 0o600 | kind, os.makedev(member.major, member.minor), dir_fd=self._directory)

    def _make_directory(self) -> None:
        assert self._member is not None
        if self._parts:
            directory = self._directories.enter(self._parts[:-1])
            self._check(os.fstat(directory).st_dev)
            try:
                os.mkdir(self._parts[-1], 0o700, dir_fd=directory)
            except FileExistsError:
                found = os.stat(self._parts[-1], dir_fd=directory, follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    raise ArchiveError(f"{self._shown()} is there already, and is no directory") from None
        before = self._waiting.pop(tuple(self._parts), None)
        self._waiting[tuple(self._parts)] = self._member
        self._waiting_bytes += _weight(self._member) - (0 if before is None else _weight(before))
        while self._waiting and (len(self._waiting) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES):
            self._settle(next(iter(self._waiting)))

    def write(self, offset: int, data: bytes) -> None:
        """Some of the member's content."""
        self._check(self._device)
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, offset)
            offset += count
            view = view[count:]
        self.size += len(data)

    def finish(self) -> None:
        """The member is complete: it gets its name."""
        member = self._member
        assert member is not None
        if member.kind != "directory":
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, member.size)
                self._restore(member, self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1
            elif member.kind == "link":
                self._restore_link(member)
            elif member.kind != "hardlink":
                self._restore(member, f"/proc/self/fd/{self._directory}/{self._temporary}")
            os.rename(self._temporary, self._parts[-1], src_dir_fd=self._directory, dst_dir_fd=self._directory)
            # Two names of one file: rename(2) does nothing, and leaves both.
            if member.kind == "hardlink":
                with suppress(FileNotFoundError):
                    os.unlink(self._temporary, dir_fd=self._directory)
            self._temporary = ""
        self.files += 1
        self._member = None

    def complete(self) -> None:
        """All members are there: directories get their modes and times, the inner ones first."""
        for parts in sorted(self._waiting, key=len, reverse=True):
            self._settle(parts)

    def _settle(self, parts: tuple[str, ...]) -> None:
        member = self._waiting.pop(parts)
        self._waiting_bytes -= _weight(member)
        self._parts = list(parts)
        try:
            if not parts:
                self._restore(member, self._top)
                return
            descriptor = os.open(parts[-1], ENTER, dir_fd=self._directories.enter(list(parts[:-1])))
            try:
                self._restore(member, descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._note("mode and time", error)

    def _restore(self, member: Member, file: int | str) -> None:
        """Owner first: changing it takes set-user-ID bits and capabilities away."""
        if self._ownership:
            self._try("owner", lambda: os.chown(file, member.uid, member.gid))
        mode = member.mode if self._ownership else member.mode & 0o1777
        if mode & PRIVILEGED and member.kind != "directory" and not self._privileges:
            mode &= ~PRIVILEGED
            self._note("set-user-ID or set-group-ID", PermissionError("it may not be set here"))
        self._try("mode", lambda: os.chmod(file, mode))
        self._restore_attributes(member, file, follow=True)
        self._try("time", lambda: os.utime(file, ns=(member.mtime, member.mtime)))

    def _restore_link(self, member: Member) -> None:
        name, directory = self._temporary, self._directory
        if self._ownership:
            self._try("owner", lambda: os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False))
        self._restore_attributes(member, f"/proc/self/fd/{directory}/{name}", follow=False)
        times = (member.mtime, member.mtime)
        self._try("time", lambda: os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False))

    def _restore_attributes(self, member: Member, file: int | str, *, follow: bool) -> None:
        if self._xattrs:
            for key, value in member.xattrs.items():
                if key.startswith(OF_THE_SYSTEM) and not self._privileges:
                    self._note(os.fsdecode(key), PermissionError("it may not be set here"))
                    continue
                self._try(os.fsdecode(key), partial(os.setxattr, file, key, value, follow_symlinks=follow))

    def _try(self, what: str, change: Callable[[], object]) -> None:
        try:
            change()
        except (OSError, ValueError, OverflowError) as error:
            self._note(what, error)

    def _note(self, what: str, error: Exception) -> None:
        if len(self.notes) < MOST_NOTES:
            self.notes.append(f"{self._shown()}: {what} not kept: {getattr(error, 'strerror', None) or error}")

    def _shown(self) -> str:
        return "/".join(self._parts) or "."

    def close(self) -> None:
        """Be done, at the end or before: what is not complete is removed, if the file system may be written to now."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        temporary, self._temporary = self._temporary, ""
        try:
            if temporary:
                self._check(self._device)
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._directory)
        finally:
            self._directories.close()


def _weight(member: Member) -> int:
    """About how many bytes it takes in memory, beside what all take."""
    attributes = sum(len(key) + len(value) + 128 for key, value in member.xattrs.items())
    return len(member.name) + len(member.target) + attributes
