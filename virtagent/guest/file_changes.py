"""Changes of the tree: making, moving, linking and removing files, and what is known of them. All block.

Each is made relative to the opened directory in which the name is, so that nothing that is renamed meanwhile leads it
elsewhere.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Generator
from contextlib import suppress

from virtagent.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from virtagent.guest.file_facts import group_id, user_id
from virtagent.guest.file_roots import Roots
from virtagent.guest.os_errors import call_error

__all__ = ["Tree"]

ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

DEEPEST = 512
"""Directories within one another that a removal enters: each one is an open descriptor."""

ATTEMPTS = 16
"""Names that are tried for a temporary file."""


class Tree:
    """What a peer may change.

    Args:
        roots: where it may write.
        check: raises if the file system, given its ``st_dev``, must not be written to now.
    """

    def __init__(self, roots: Roots, check: Callable[[int], None]) -> None:
        self._roots = roots
        self._check = check

    def _check_fd(self, descriptor: int) -> None:
        self._check(os.fstat(descriptor).st_dev)

    def mkdir(self, path: str, mode: int, *, parents: bool, exist_ok: bool) -> None:
        """Make a directory."""
        if parents:
            above = os.path.dirname(path.rstrip("/"))
            with suppress(PermissionError):
                if above not in ("", "/") and not self._is_directory(above):
                    self.mkdir(above, 0o755, parents=True, exist_ok=True)
        if exist_ok and self._is_directory(path):
            return
        with self._roots.parent(path) as (directory, name):
            self._check_fd(directory)
            try:
                os.mkdir(name, 0o700, dir_fd=directory)
                made = os.open(name, ENTER, dir_fd=directory)
                try:
                    os.fchmod(made, mode)
                finally:
                    os.close(made)
            except FileExistsError as error:
                if not (exist_ok and self._is_directory(path)):
                    raise call_error(path, error) from None
            except OSError as error:
                raise call_error(path, error) from None

    def _is_directory(self, path: str) -> bool:
        try:
            os.close(self._roots.open(path, os.O_PATH | os.O_DIRECTORY))
        except NotFound:
            return False
        return True

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Rename, or move within a file system."""
        with self._roots.parent(source) as (here, old), self._roots.parent(target) as (there, new):
            self._check_fd(here)
            self._check_fd(there)
            try:
                if replace:
                    os.rename(old, new, src_dir_fd=here, dst_dir_fd=there)
                    return
                if stat.S_ISDIR(os.stat(old, dir_fd=here, follow_symlinks=False).st_mode):
                    raise FailedPrecondition(f"{source}: is a directory; only files are renamed without replacing")
                os.link(old, new, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
                os.unlink(old, dir_fd=here)
            except OSError as error:
                raise call_error(f"{source} -> {target}", error) from None

    def link(self, path: str, target: str, *, symbolic: bool, replace: bool) -> None:
        """Make a link; one that replaces something gets another name first, and then this one."""
        if "\0" in target:
            raise InvalidArgument("argument 'target': holds a NUL, which no path can")
        with self._roots.parent(path) as (directory, name):
            self._check_fd(directory)
            first = f".{secrets.token_hex(8)}.partial" if replace else name
            try:
                if symbolic:
                    os.symlink(target, first, dir_fd=directory)
                else:
                    self._hard_link(target, directory, first)
                if replace:
                    try:
                        os.rename(first, name, src_dir_fd=directory, dst_dir_fd=directory)
                    finally:
                        # Two names of one file: rename(2) does nothing, and leaves both.
                        with suppress(FileNotFoundError):
                            os.unlink(first, dir_fd=directory)
            except OSError as error:
                raise call_error(path, error) from None

    def _hard_link(self, target: str, directory: int, name: str) -> None:
        with self._roots.parent(target) as (there, old):
            os.link(old, name, src_dir_fd=there, dst_dir_fd=directory, follow_symlinks=False)

    def chmod(self, path: str, mode: int) -> None:
        """Set the permission bits."""
        with _opened(self._roots, path, os.O_PATH) as descriptor:
            self._check_fd(descriptor)
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self._roots.check_mode(path, mode)
            try:
                os.chmod(f"/proc/self/fd/{descriptor}", mode)
            except OSError as error:
                raise call_error(path, error) from None

    def chown(self, path: str, user: str | None, group: str | None, *, follow: bool) -> None:
        """Set the owners."""
        uid, gid = user_id(user), group_id(group)
        try:
            if follow:
                with _opened(self._roots, path, os.O_PATH) as descriptor:
                    self._check_fd(descriptor)
                    os.chown(f"/proc/self/fd/{descriptor}", uid, gid)
            else:
                with self._roots.parent(path) as (directory, name):
                    self._check_fd(directory)
                    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise call_error(path, error) from None

    def set_times(self, path: str, mtime: int, atime: int, *, follow: bool) -> None:
        """Set when it was modified and read."""
        try:
            if follow:
                with _opened(self._roots, path, os.O_PATH) as descriptor:
                    self._check_fd(descriptor)
                    os.utime(f"/proc/self/fd/{descriptor}", ns=(atime, mtime))
            else:
                with self._roots.parent(path) as (directory, name):
                    self._check_fd(directory)
                    os.utime(name, ns=(atime, mtime), dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise call_error(path, error) from None

    def truncate(self, path: str, size: int) -> None:
        """Make a file shorter or longer."""
        with _opened(self._roots, path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY) as descriptor:
            self._check_fd(descriptor)
            try:
                os.ftruncate(descriptor, size)
            except OSError as error:
                raise call_error(path, error) from None

    def temporary(self, directory: str, prefix: str, suffix: str, *, is_directory: bool) -> str:
        """Make a file or directory with a new name."""
        for part in (prefix, suffix):
            if "/" in part or "\0" in part or len(part) > 64:
                raise InvalidArgument(f"argument 'prefix' or 'suffix': {part!r} cannot be part of a name")
        for _ in range(ATTEMPTS):
            path = f"{directory.rstrip('/')}/{prefix}{secrets.token_hex(6)}{suffix}"
            with self._roots.parent(path) as (opened, name):
                self._check_fd(opened)
                try:
                    if is_directory:
                        os.mkdir(name, 0o700, dir_fd=opened)
                    else:
                        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                        os.close(os.open(name, flags, 0o600, dir_fd=opened))
                except FileExistsError:
                    continue
                except OSError as error:
                    raise call_error(path, error) from None
            return path
        raise AlreadyExists(f"{directory}: no name is free that begins with {prefix!r}")

    def remove(self, path: str, *, recursive: bool, missing_ok: bool, most: int) -> Generator[int, None, None]:
        """Remove something; yields 1 for each file that is gone."""
        with self._roots.parent(path) as (directory, name):
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError as error:
                if missing_ok:
                    return
                raise call_error(path, error) from None
            except OSError as error:
                raise call_error(path, error) from None
            self._check(found.st_dev)
            if not stat.S_ISDIR(found.st_mode):
                yield _gone(path, os.unlink, name, directory)
            elif not recursive:
                yield _gone(path, os.rmdir, name, directory)
            else:
                device = os.fstat(directory).st_dev
                if found.st_dev != device:
                    raise FailedPrecondition(f"{path}: is a mount point; unmount it first")
                yield from _remove_tree(path, directory, name, device, most)


def _remove_tree(path: str, directory: int, name: str, device: int, most: int) -> Generator[int, None, None]:
    """Remove a directory and all below it, innermost first; every directory is entered by its name in the one above."""
    stack: list[tuple[int, str, str, list[str]]] = []
    count = 0

    def enter(above: int, each: str, where: str) -> None:
        if len(stack) >= DEEPEST:
            raise FailedPrecondition(f"{where}: more than {DEEPEST} directories within one another; remove inner ones")
        opened = os.open(each, ENTER, dir_fd=above)
        try:
            if os.fstat(opened).st_dev != device:
                raise FailedPrecondition(f"{where}: is a mount point; unmount it first")
            names = os.listdir(opened)
        except BaseException:
            os.close(opened)
            raise
        stack.append((opened, each, where, names))

    where = path
    try:
        enter(directory, name, path)
        while stack:
            opened, own, where, names = stack[-1]
            if not names:
                above = stack[-2][0] if len(stack) > 1 else directory
                stack.pop()
                os.close(opened)
                os.rmdir(own, dir_fd=above)
            else:
                each = names.pop()
                try:
                    os.unlink(each, dir_fd=opened)
                except FileNotFoundError:
                    continue
                except (IsADirectoryError, PermissionError) as error:
                    # POSIX has unlink(2) of a directory fail with EPERM, Linux with EISDIR.
                    if not stat.S_ISDIR(os.stat(each, dir_fd=opened, follow_symlinks=False).st_mode):
                        where = f"{where}/{each}"
                        raise error
                    enter(opened, each, f"{where}/{each}")
                    continue
            count += 1
            yield 1
            if count >= most and stack:
                raise ResourceExhausted(f"{path}: more than {most} files; {count} are gone, allow more for the rest")
    except OSError as error:
        raise call_error(where, error) from None
    finally:
        for opened, *_ in stack:
            os.close(opened)


def _gone(path: str, remove: Callable[..., None], name: str, directory: int) -> int:
    try:
        remove(name, dir_fd=directory)
    except OSError as error:
        raise call_error(path, error) from None
    return 1


class _opened:  # noqa: N801 - reads as the function it is used as
    """A file, opened for the length of a block."""

    def __init__(self, roots: Roots, path: str, flags: int) -> None:
        self._descriptor = roots.open(path, flags)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
