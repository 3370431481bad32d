"""Files of the guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

from virtagent.api.file_types import (
    DEFAULT_CHUNK,
    Algorithm,
    Change,
    ChangeKinds,
    Checksum,
    ChunkSize,
    Depth,
    DiskUse,
    Entry,
    Extracted,
    FileStat,
    FileTime,
    Followed,
    Kinds,
    Lines,
    Mode,
    Most,
    Names,
    Owner,
    Partial,
    Path,
    Patterns,
    Removed,
    Size,
    Token,
    Written,
)
from virtagent.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["Files"]

_READ = (NotFound, PermissionDenied, FailedPrecondition, InvalidArgument)
_WRITE = (*_READ, AlreadyExists, ResourceExhausted)


class Files(Service, name="files", interface=True):
    """Files of the guest.

    Paths are absolute. Where the policy names roots, nothing outside of them is reached: neither through ``..`` nor
    through links, whatever is renamed meanwhile (openat2(2), RESOLVE_BENEATH); absolute links then lead nowhere.

    Every method may raise ``NotFound``, ``PermissionDenied`` (the agent may not, or it is outside of the roots),
    ``InvalidArgument`` (the path is not absolute, or holds a NUL) and ``FailedPrecondition`` (a directory where a file
    is wanted or the other way round, a frozen file system); those that write ``ResourceExhausted`` (the disk is full),
    too. ``data["errno"]`` of the error is the system's name for it.
    """

    @method(idempotent=True, role="files-read", since="0.1.0", errors=_READ)
    def read(
        self,
        path: Path,
        *,
        offset: Size = 0,
        length: Size | None = None,
        chunk: ChunkSize = DEFAULT_CHUNK,
    ) -> AsyncIterator[bytes]:
        """The bytes of a file, as it is while they are read.

        Args:
            path: an absolute path.
            offset: the position of the first byte; beyond the file's end there is nothing, which is no error.
            length: the most bytes to read; by default all up to the end.
            chunk: the most bytes that come at once.

        Raises:
            NotFound: there is no such file.
            PermissionDenied: the agent may not read it.
            FailedPrecondition: it is a directory, or a position was asked of something that has none.
            InvalidArgument: the path is not absolute, or holds a NUL.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(NotFound, PermissionDenied, InvalidArgument))
    async def stat(self, path: Path, *, follow: bool = True) -> FileStat:
        """What kind of file it is, how large, whose, and of when.

        Args:
            path: an absolute path.
            follow: tell of what a link points to, not of the link.

        Raises:
            NotFound: there is no such file.
            PermissionDenied: the agent may not reach it.
            InvalidArgument: the path is not absolute, or holds a NUL.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=_READ)
    def list(self, path: Path) -> AsyncIterator[Entry]:
        """The files in a directory, in no order, as they are found.

        Args:
            path: the directory.

        Raises:
            FailedPrecondition: it is no directory.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(*_READ, ResourceExhausted))
    def tree(
        self,
        path: Path,
        *,
        depth: Depth = 4096,
        most: Most = 1_000_000,
        one_filesystem: bool = False,
        names: Patterns | None = None,
        kinds: Kinds | None = None,
        smallest: Size | None = None,
        largest: Size | None = None,
        newer: FileTime | None = None,
        older: FileTime | None = None,
    ) -> AsyncIterator[Entry]:
        """A file or directory and all below it, a directory before what is in it; links are not followed.

        What cannot be looked at is told with its ``error``, and does not end the listing.

        Args:
            path: where to begin.
            depth: directories below it.
            most: how many entries may be given.
            one_filesystem: do not enter what is mounted below.
            names: only files whose name matches one of these.
            kinds: only these kinds.
            smallest, largest: only files of this many bytes.
            newer, older: only files that were modified at or after, at or before this time.

        Raises:
            ResourceExhausted: there are more than ``most``; that many have been given.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(*_READ, ResourceExhausted))
    def glob(self, pattern: Path, *, most: Most = 100_000) -> AsyncIterator[Entry]:
        """The files whose path matches, each with its absolute path; links are followed in the directories' names only.

        Args:
            pattern: an absolute path whose components may hold ``*``, ``?``, ``[...]`` or be ``**``: any number of
                directories, links to directories not entered. A ``*`` at the begin does not match a hidden name.
            most: how many may be given.

        Raises:
            ResourceExhausted: there are more than ``most``; that many have been given.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(*_READ, DataLoss))
    async def checksum(
        self, path: Path, *, algorithm: Algorithm = "sha256", offset: Size = 0, length: Size | None = None
    ) -> Checksum:
        """The digest of a file, or of a range of it; cancellation ends the reading.

        Args:
            path: the file.
            algorithm: which digest.
            offset: the position of the first byte.
            length: the most bytes; None: all up to the end.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=_READ)
    def disk_use(self, path: Path, *, depth: Depth = 0, one_filesystem: bool = True) -> AsyncIterator[DiskUse]:
        """What a directory takes; the last item tells of ``path`` itself, those before of directories below it.

        Args:
            path: a directory, or a file.
            depth: tell of directories that lie this deep.
            one_filesystem: leave out what is mounted below.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(*_READ, ResourceExhausted, Unavailable))
    def follow(self, path: Path, *, lines: Lines | None = 10, offset: Size | None = None) -> AsyncIterator[Followed]:
        """The end of a file and what is added to it, by name, through rotation and truncation (``tail -F``).

        It goes on until the caller ends it. The file need not be there yet.

        Args:
            path: the file.
            lines: begin this many lines before the end; None: at the file's begin.
            offset: begin at this position instead.

        Raises:
            ResourceExhausted: the peer has as many watches as it may.
            Unavailable: the agent is going down.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=(*_READ, ResourceExhausted, Unavailable))
    def watch(self, path: Path, *, recursive: bool = False, kinds: ChangeKinds | None = None) -> AsyncIterator[Change]:
        """Changes of a file or directory as they happen; nothing is missed from the call's answer on.

        Args:
            path: what to watch; a link is followed.
            recursive: and all directories below, those that are made later included; links are not followed.
            kinds: only these; "gone", "unmounted" and "overflow" are told in any case.

        Raises:
            ResourceExhausted: the peer has as many watches as it may, or the kernel has (fs.inotify.max_user_watches).
            Unavailable: the agent is going down, or lacks the library for inotify.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-read", since="0.1.0", errors=_READ)
    def archive(
        self, path: Path, *, names: Names | None = None, one_filesystem: bool = False, xattrs: bool = True
    ) -> AsyncIterator[bytes]:
        """A directory tree as a tar archive (POSIX pax, as GNU tar reads it), as it is while it is read.

        Owners are numbers. Extended attributes are records ``SCHILY.xattr.*``, holes of sparse files are left out (GNU
        sparse format 1.0), several names of one file are links. What cannot be read is left out and logged; a file
        that becomes shorter while it is read is filled up with zeros.

        Args:
            path: a directory, whose own entry is ``./``; or a file.
            names: only these, relative to ``path``, without what is below them; None: all.
            one_filesystem: do not enter what is mounted below.
            xattrs: with extended attributes.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=(*_WRITE, DataLoss))
    async def put(
        self,
        path: Path,
        data: AsyncIterator[bytes],
        *,
        token: Token | None = None,
        offset: Size = 0,
        mode: Mode | None = None,
        user: Owner | None = None,
        group: Owner | None = None,
        mtime: FileTime | None = None,
        replace: bool = True,
        sync: bool = True,
    ) -> Written:
        """Make or replace a file in one step: whoever looks sees the old one or the whole new one.

        The bytes go to a temporary file in the same directory, which is brought to the disk and renamed. If it fails
        or is cancelled, that file is removed; with a ``token`` it is kept for 10 minutes unless the disk is full, so
        that the upload can go on: see :meth:`partial` and :meth:`discard`.

        Args:
            path: the file; a link of this name is replaced, not followed.
            data: the content, from ``offset`` on.
            token: names the upload, so that it can go on later.
            offset: go on here with an upload of this token; what is there beyond is dropped.
            mode: None: that of the file which is replaced, else 0o644.
            user, group: None: those of the file which is replaced, where the agent may set them.
            mtime: None: now.
            replace: False: fail with ``AlreadyExists`` if there is such a file.
            sync: bring it to the disk (fsync(2)) before it gets its name, and the name after.

        Raises:
            AlreadyExists: see ``replace``.
            ResourceExhausted: the disk is full; nothing is left behind.
            FailedPrecondition: less than ``offset`` is there of that upload; or the path is a directory.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-write", since="0.1.0", errors=_READ)
    async def partial(self, path: Path, token: Token) -> Partial:
        """What is there of an upload that was not finished.

        Args:
            path: where it would go.
            token: which upload.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-write", since="0.1.0", errors=_READ)
    async def discard(self, path: Path, token: Token) -> None:
        """Remove what is there of an upload that was not finished; nothing is no error."""
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def append(self, path: Path, data: AsyncIterator[bytes], *, create: bool = True) -> Written:
        """Add to the end of a file; each piece is written as it comes, and stays if the call ends early.

        Args:
            path: the file.
            data: what to add.
            create: make the file if there is none, with mode 0o644.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def write(self, path: Path, data: AsyncIterator[bytes], *, offset: Size = 0, create: bool = False) -> Written:
        """Write into a file in place; each piece is written as it comes, and stays if the call ends early.

        Args:
            path: a file, or a device.
            data: the bytes.
            offset: the position of the first; leave it out where there are no positions.
            create: make the file if there is none, with mode 0o644.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def mkdir(self, path: Path, *, mode: Mode = 0o755, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory.

        Args:
            path: the directory.
            mode: its permission bits, whatever the agent's umask.
            parents: make those above it, too, with mode 0o755.
            exist_ok: a directory that is there already is no error, and is left as it is.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def remove(
        self, path: Path, *, recursive: bool = False, missing_ok: bool = False, most: Most = 1_000_000
    ) -> Removed:
        """Remove a file, a link or a directory; links are never followed. Cancellation leaves the rest.

        Args:
            path: what to remove.
            recursive: a directory with all that is in it; what is mounted below is refused.
            missing_ok: nothing there is no error.
            most: how many files may be removed; beyond it is stopped.

        Raises:
            FailedPrecondition: a directory is not empty, or is a mount point.
            ResourceExhausted: there are more than ``most`` files; that many are gone.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def rename(self, source: Path, target: Path, *, replace: bool = True) -> None:
        """Rename within a file system, in one step (rename(2)).

        Args:
            source, target: the old and the new path.
            replace: False: fail with ``AlreadyExists`` if there is such a file; works for files only.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def link(self, path: Path, target: Path, *, symbolic: bool = False, replace: bool = False) -> None:
        """Make a link.

        Args:
            path: the new name.
            target: the file that gets another name; or the text of a symbolic link, which may be relative.
            symbolic: a symbolic link.
            replace: replace what has the name ``path``, in one step.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-write", since="0.1.0", errors=_WRITE)
    async def chmod(self, path: Path, mode: Mode) -> None:
        """Set the permission bits of a file or directory; a link is followed."""
        raise NotImplementedError

    @method(idempotent=True, role="files-write", since="0.1.0", errors=_WRITE)
    async def chown(
        self, path: Path, *, user: Owner | None = None, group: Owner | None = None, follow: bool = True
    ) -> None:
        """Set the owners; None leaves one as it is.

        Args:
            path: the file.
            user, group: names, or numbers in decimal.
            follow: of what a link points to, not of the link.
        """
        raise NotImplementedError

    @method(idempotent=True, role="files-write", since="0.1.0", errors=_WRITE)
    async def set_times(
        self, path: Path, *, mtime: FileTime, atime: FileTime | None = None, follow: bool = True
    ) -> None:
        """Set when a file was modified, and read (None: the same), in nanoseconds since the epoch."""
        raise NotImplementedError

    @method(idempotent=True, role="files-write", since="0.1.0", errors=_WRITE)
    async def truncate(self, path: Path, size: Size) -> None:
        """Make a file shorter, or longer with a hole."""
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=_WRITE)
    async def temporary(
        self,
        *,
        kind: Literal["file", "directory"] = "file",
        directory: Path = "/tmp",  # noqa: S108 - the guest's, and made with O_EXCL
        prefix: str = "virtagent-",
        suffix: str = "",
    ) -> str:
        """Make an empty file (mode 0600) or directory (0700) with a new name; its path. Removing it is the caller's.

        Args:
            kind: which.
            directory: where.
            prefix, suffix: around the random part of the name; at most 64 characters each, without ``/``.
        """
        raise NotImplementedError

    @method(role="files-write", since="0.1.0", errors=(*_WRITE, DataLoss))
    async def extract(
        self, path: Path, data: AsyncIterator[bytes], *, ownership: bool = True, xattrs: bool = True
    ) -> Extracted:
        """Extract a tar archive (ustar, pax, GNU; not compressed) into a directory, which is made if it is not there.

        Nothing outside of the directory is written: absolute paths and ``..`` are refused, and no link is followed,
        whether it was there or came with the archive. Files are replaced one by one, each in one step; if it fails or
        is cancelled, those that were complete stay and nothing is half-written.

        Args:
            path: the directory.
            data: the archive.
            ownership: with the owners' numbers, where the agent may set them.
            xattrs: with extended attributes.

        Raises:
            InvalidArgument: it is no such archive, or it would leave the directory.
            DataLoss: it ends too early.
            PermissionDenied: it has device nodes, and the policy names roots.
        """
        raise NotImplementedError
