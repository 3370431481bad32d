"""Who owns a file, who holds it open, and what to do about it: the second half of an error message."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

__all__ = ["access_remedy", "holder_of", "reason"]


def reason(error: OSError) -> str:
    """What the kernel said, without Python's ``[Errno N]`` and path."""
    return error.strerror or errno.errorcode.get(error.errno or 0, "") or str(error)


def access_remedy(path: str) -> str:
    """How to get access to a file that may not be opened: "/dev/x belongs to root:dialout, mode 0660: ..."."""
    import grp  # noqa: PLC0415 - only for this message
    import pwd  # noqa: PLC0415

    try:
        info = os.stat(path)
    except OSError:
        return f"a directory above {path} may not be searched: run as another user, or change its mode"
    try:
        owner = pwd.getpwuid(info.st_uid).pw_name
    except KeyError:
        owner = str(info.st_uid)
    try:
        group = grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        group = str(info.st_gid)
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o060 == 0o060 and info.st_gid != 0:
        remedy = f"join the group (usermod -aG {group} USER, then log in again)"
    else:
        remedy = f"run as {owner}, or change its mode"
    return f"{path} belongs to {owner}:{group}, mode {mode:04o}: {remedy}"


def holder_of(path: str) -> str | None:
    """The process that has a file locked, or else open: "pid 4711 (virtagent)"; None where it cannot be told.

    The scan of other users' open files needs root; what may not be seen is passed over (proc(5)).
    """
    try:
        info = os.stat(path)
    except OSError:
        return None
    pids = [*_lockers(info), *_openers(path)]
    for pid in pids:
        if pid != os.getpid():
            return f"pid {pid} ({_command(pid)})"
    return f"pid {os.getpid()} (this process)" if pids else None


def _lockers(info: os.stat_result) -> Iterator[int]:
    wanted = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if wanted in words and "->" not in words and words[4].isdigit() and words[4] != "0":
                yield int(words[4])


def _openers(path: str) -> Iterator[int]:
    wanted = os.path.realpath(path)
    with contextlib.suppress(OSError), os.scandir("/proc") as processes:
        for process in processes:
            if not process.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                files = os.listdir(f"{process.path}/fd")
                if any(_points_to(f"{process.path}/fd/{file}", wanted) for file in files):
                    yield int(process.name)


def _points_to(link: str, wanted: str) -> bool:
    # readlink and not stat: a stat of some process's file can hang on a dead network file system.
    try:
        return os.readlink(link) == wanted
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "already gone"
