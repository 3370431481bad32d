"""The directories below which a peer may read or write, and how files below them are reached."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from virtagent.errors import CallError, FailedPrecondition, InvalidArgument, PermissionDenied
from virtagent.guest.openat2 import open_beneath, open_directly
from virtagent.guest.os_errors import call_error

__all__ = ["EVERYWHERE", "Roots", "check_path", "place_of"]

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def check_path(path: str) -> None:
    """Refuse what is no absolute path.

    Raises:
        InvalidArgument: it is relative, or holds a NUL.
    """
    if not path.startswith("/"):
        raise InvalidArgument(f"argument 'path': {path!r} is not absolute; begin it with /")
    if "\0" in path:
        raise InvalidArgument("argument 'path': holds a NUL, which no path can")


class Roots:
    """Where a peer may do something.

    Whatever is opened is opened relative to a root, so that neither ``..`` nor links nor renames lead outside; what is
    done to a file is done relative to its opened directory.

    Args:
        paths: absolute paths of directories, as the configuration has them; "/" means everywhere.
        verb: "read" or "written", for errors.
    """

    def __init__(self, paths: tuple[str, ...], verb: str = "read") -> None:
        self.everywhere = "/" in paths
        self._verb = verb
        self._roots = [(each, _components(each)) for each in sorted(paths, key=len, reverse=True)]

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Open a file; the descriptor is the caller's.

        Raises:
            CallError: it cannot be opened, or is outside.
        """
        check_path(path)
        try:
            if self.everywhere:
                return os.open(path, flags | os.O_CLOEXEC, mode)
            return self._open_below(path, flags, mode)
        except OSError as error:
            raise call_error(path, error) from None

    def _open_below(self, path: str, flags: int, mode: int) -> int:
        parts = _components(path)
        for root, prefix in self._roots:
            if parts[: len(prefix)] != prefix:
                continue
            directory = open_directly(place_of(root), DIRECTORY)
            try:
                return open_beneath(directory, "/".join(parts[len(prefix) :]), flags, mode)
            except OSError as error:
                if error.errno != errno.EXDEV:  # another root may hold it
                    raise
            finally:
                os.close(directory)
        raise self._outside(path)

    def _outside(self, path: str) -> CallError:
        allowed = ", ".join(root for root, _ in self._roots) or "nothing"
        return PermissionDenied(f"{path}: is outside of what may be {self._verb}, which is {allowed}")

    def check_mode(self, path: str, mode: int) -> None:
        """Refuse set-user-ID and set-group-ID files below roots: they would give away the rights of the agent's user.

        Raises:
            PermissionDenied: the mode has such a bit.
        """
        if mode & (stat.S_ISUID | stat.S_ISGID) and not self.everywhere:
            raise PermissionDenied(f"{path}: set-user-ID and set-group-ID are not given to files below roots")

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The opened directory that a file is in, and its name there; the file itself need not exist.

        Raises:
            CallError: there is no such directory, it is outside, or the path has no last name.
        """
        directory, name = self.open_parent(path)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def open_parent(self, path: str) -> tuple[int, str]:
        """The same; the descriptor is the caller's."""
        check_path(path)
        parts = _components(path)
        if not parts or parts[-1] == "..":
            raise FailedPrecondition(f"{path}: has no name to be made, moved or removed by")
        if not self.everywhere and any(parts == prefix for _, prefix in self._roots):
            raise PermissionDenied(f"{path}: is one of the roots that the policy names, and stays")
        return self.open("/" + "/".join(parts[:-1]), DIRECTORY), parts[-1]


@cache
def place_of(root: str) -> str:
    """Where a root is, without links: as it was when it was first asked for, which the policy does when it is read.

    Who may write around a root can put a link in its place later, which is not followed.
    """
    return os.path.realpath(root)


def _components(path: str) -> list[str]:
    return [each for each in path.split("/") if each not in ("", ".")]


EVERYWHERE = Roots(("/",))
"""No restriction."""
