"""What runs first in virtagentd.pyz: unpacks it, once for each build and Python, and starts the agent from there.

The kernel loads native code from files only, so an archive with compiled libraries has to be unpacked. Where to: a
directory that only this user can write to, on a file system from which code may be mapped (/run is often noexec).
``VIRTAGENT_UNPACK_DIR`` names another one. Runs on the standard library alone, and says so where Python is too old.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Mapping

OLDEST = (3, 11)
BUILD = "@BUILD@"
"""The digest of what is in the archive."""

VARIABLE = "VIRTAGENT_UNPACK_DIR"

SHARED = ("/dev/shm", "/var/tmp", "/tmp")  # noqa: S108 - a directory there is used only if nobody else can write to it

FAILED = 1


def candidates(uid: int, environment: Mapping[str, str]) -> list[str]:
    """Directories to unpack in, best first; those below a directory that all may write to are named after the user."""
    if environment.get(VARIABLE):
        return [environment[VARIABLE]]
    found = []
    if uid == 0:
        found.append("/var/cache/virtagent")
    else:
        if environment.get("XDG_CACHE_HOME", "").startswith("/"):
            found.append(os.path.join(environment["XDG_CACHE_HOME"], "virtagent"))
        if environment.get("HOME", "").startswith("/"):
            found.append(os.path.join(environment["HOME"], ".cache", "virtagent"))
    if uid == 0:
        found.append("/run/virtagent/unpacked")
    elif environment.get("XDG_RUNTIME_DIR", "").startswith("/"):
        found.append(os.path.join(environment["XDG_RUNTIME_DIR"], "virtagent"))
    return [*found, *(f"{shared}/virtagent-{uid}" for shared in SHARED)]


def refusal(directory: str, uid: int) -> str | None:
    """Make the directory if need be; why it does not serve, or None."""
    try:
        os.makedirs(os.path.dirname(directory), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        found = os.lstat(directory)
        flags = os.statvfs(directory).f_flag
    except OSError as error:
        return error.strerror
    if not stat.S_ISDIR(found.st_mode):
        return "it is no directory"
    if found.st_uid != uid or found.st_mode & 0o022:
        return "others may write to it"
    if flags & os.ST_NOEXEC:
        return "it is mounted noexec"
    return None if os.access(directory, os.W_OK) or flags & os.ST_RDONLY else "it cannot be written to"


def unpacked(archive: str, directory: str) -> str:
    """The directory within `directory` with what is in `archive`, locked against removal for as long as we run.

    Raises:
        OSError: it does not fit.
    """
    place = os.path.join(directory, f"{BUILD}-cp{sys.version_info[0]}{sys.version_info[1]}")
    while True:
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_SH)
            # Another build may have removed it before it was locked.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(place), os.fstat(lock)):
                    return place
            os.close(lock)
            continue
        unpack(archive, directory, place)


def unpack(archive: str, directory: str, place: str) -> None:
    """Unpack for this Python; `place` appears whole or not at all, also where several agents start at once."""
    own = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-"
    scratch = tempfile.mkdtemp(dir=directory, prefix=".new-")
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                other = ".cpython-" in entry.filename and own not in entry.filename
                if entry.filename != "__main__.py" and not other:
                    opened.extract(entry, scratch)
        try:
            os.rename(scratch, place)
        except OSError:
            if not os.path.isdir(place):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    forget_others(directory, place)


def forget_others(directory: str, place: str) -> None:
    """Remove other builds that no process runs from."""
    for name in os.listdir(directory):
        other = os.path.join(directory, name)
        if "-cp" not in name or other == place:
            continue
        with contextlib.suppress(OSError):
            lock = os.open(other, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other)
            finally:
                os.close(lock)


def main() -> None:
    """Start the agent."""
    if sys.version_info < OLDEST:
        sys.exit(f"virtagentd.pyz needs Python 3.11 or later; this is {sys.version.split()[0]}")
    archive = os.path.abspath(sys.path[0] if zipfile.is_zipfile(sys.path[0]) else sys.argv[0])
    uid = os.geteuid()
    refused = []
    for directory in candidates(uid, os.environ):
        reason = refusal(directory, uid)
        if reason is None:
            try:
                sys.path[0] = unpacked(archive, directory)
                break
            except OSError as error:
                reason = error.strerror or str(error)
        refused.append(f"{directory}: {reason}")
    else:
        sys.stderr.write(f"virtagentd: there is nowhere to unpack ({'; '.join(refused)}); set {VARIABLE}\n")
        sys.exit(FAILED)
    from virtagent.cli.daemon import main as daemon  # noqa: PLC0415 - from what is unpacked now

    sys.exit(daemon())


if __name__ == "__main__":
    main()
