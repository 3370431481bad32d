"""Who this side says it is, if nobody says otherwise."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from virtagent import __version__
from virtagent.protocol.announcement import Identity

if TYPE_CHECKING:
    from _typeshed import StrPath

__all__ = ["local_identity"]

MACHINE_ID = "/etc/machine-id"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SOFTWARE = f"virtagent {__version__} python {'.'.join(map(str, sys.version_info[:3]))}"


def local_identity(
    *, role: str = "", name: str = "", digest: str = "", features: Mapping[str, Any] | None = None
) -> Identity:
    """This process's identity: host name, version, machine and boot.

    The machine id is hashed for this application, since the plain one should not be told to others (machine-id(5)).
    """
    who = usual_identity(role, name or socket.gethostname(), digest, hashed(kept_line(MACHINE_ID)), kept_line(BOOT_ID))
    return who._replace(features=features) if features else who


@lru_cache(maxsize=64)
def usual_identity(role: str, name: str, digest: str, machine: str, boot: str) -> Identity:
    """One object for each, so that what is made of it for a hello is made once."""
    return Identity(role=role, name=name, software=SOFTWARE, machine=machine, boot=boot, digest=digest)


_lines: dict[StrPath, str] = {}


def kept_line(path: StrPath) -> str:
    """The first line of a file that does not change while a process lives; one that says nothing is read again."""
    line = _lines.get(path)
    if not line:
        line = _lines[path] = read_line(path)
    return line


def read_line(path: StrPath) -> str:
    """The first line of a file; "" where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


@lru_cache(maxsize=4)
def hashed(machine: str) -> str:
    """An id that is stable for the machine and does not tell the machine id."""
    return hashlib.blake2b(b"virtagent", key=machine.encode()[:64], digest_size=16).hexdigest() if machine else ""
