"""Which program a command means, and whether the caller may run it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from virtagent.api.processes import Command
from virtagent.errors import CallError, InvalidArgument, NotFound, PermissionDenied
from virtagent.guest.credentials import DEFAULT_PATH
from virtagent.guest.grants import Grant

__all__ = ["cannot_run", "check_allowed", "check_listed", "find_program", "real_path"]

SHELL = "/bin/sh"

_HARMLESS = ("LANG", "LANGUAGE", "TERM", "TZ")
"""Variables that a caller with an exec allow-list may set, beside LC_*: others may make a program run another one."""


def real_path(path: str) -> str:
    """An absolute path without links in its directory. The name is kept: in busybox, it says which program it is."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def find_program(command: Command, environment: Mapping[str, str], cwd: str) -> tuple[str, list[str]]:
    """The absolute path of a command's program, and its arguments with the program's name first.

    Raises:
        NotFound: there is none.
        PermissionDenied: it cannot be executed.
        InvalidArgument: none was named, or two were, or an argument cannot be.
    """
    if bool(command.argv) == bool(command.shell):
        raise InvalidArgument("give either argv, a program and its arguments, or shell, a line for /bin/sh")
    argv = [SHELL, "-c", command.shell] if command.shell else list(command.argv)
    if not argv[0] or any("\0" in each for each in argv):
        raise InvalidArgument("the program's name is empty, or an argument has a NUL byte")
    return _look_up(argv[0], environment, cwd), argv


def _look_up(name: str, environment: Mapping[str, str], cwd: str) -> str:
    if "/" in name:
        candidates = [os.path.join(cwd, name)]
    else:
        folders = environment.get("PATH", DEFAULT_PATH).split(":")
        candidates = [os.path.join(cwd, folder, name) for folder in folders]
    denied = ""
    for path in candidates:
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            denied = denied or path
            continue
        if stat.S_ISREG(mode) and os.access(path, os.X_OK):
            return path
        denied = denied or path
    if denied:
        what = (
            "is a directory"
            if os.path.isdir(denied)
            else "cannot be executed: chmod +x it, or give its interpreter first"
        )
        raise PermissionDenied(f"{denied}: {what}", data=_told(denied, errno.EACCES))
    where = "" if "/" in name else f" in {environment.get('PATH', DEFAULT_PATH)}"
    raise NotFound(f"{name}: the guest has no such program{where}", data=_told(name, errno.ENOENT))


def _told(program: str, number: int) -> dict[str, str]:
    return {"program": program, "errno": errno.errorcode.get(number, "")}


def check_allowed(grant: Grant, command: Command, more: Mapping[str, str]) -> None:
    """Refuse what would get around an exec allow-list.

    Raises:
        PermissionDenied: a shell's line, or variables, from a caller who has such a list.
    """
    if grant.commands is None:
        return
    if command.shell:
        raise PermissionDenied("this caller may run certain programs only, so no shell line; give argv")
    refused = sorted(name for name in more if name not in _HARMLESS and not name.startswith("LC_"))
    if refused or command.clear_env:
        what = ", ".join(refused[:5]) or "clear_env"
        raise PermissionDenied(f"this caller may run certain programs only, and set LANG, LC_*, TERM, TZ; not {what}")


def check_listed(grant: Grant, program: str) -> str:
    """The path to run, after the caller's exec allow-list has been looked at: what was checked is what is run.

    Raises:
        PermissionDenied: it is not on the list.
    """
    if grant.commands is None:
        return program
    real = real_path(program)
    if real not in {real_path(each) for each in grant.commands}:
        raise PermissionDenied(f"{real}: this caller may run only {', '.join(grant.commands) or 'nothing'}")
    return real


def cannot_run(program: str, number: int) -> CallError:
    """The error for what execve(2) said of a program that exists."""
    told = _told(program, number)
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            return NotFound(
                f"{program}: its interpreter (the line with #!, or ld.so) does not exist in the guest", data=told
            )
        case errno.ENOEXEC:
            return InvalidArgument(f"{program}: is no program: without #!, or for another machine", data=told)
        case errno.EACCES | errno.EPERM:
            return PermissionDenied(f"{program}: the user may not execute it, or reach it", data=told)
        case errno.E2BIG:
            return InvalidArgument(f"{program}: arguments and environment are larger than the kernel takes", data=told)
        case _:
            from virtagent.guest.os_errors import call_error  # noqa: PLC0415 - for the rare ones

            return call_error(program, OSError(number, os.strerror(number)))
