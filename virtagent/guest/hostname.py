"""The guest's host name."""

from __future__ import annotations

import os
import socket

from virtagent.api.system import Hostname
from virtagent.errors import PermissionDenied
from virtagent.guest.frozen import Frozen
from virtagent.guest.os_errors import call_error
from virtagent.peer.identity import read_line

__all__ = ["read_hostname", "set_hostname"]

STATIC = "/etc/hostname"


def read_hostname(static: str = STATIC) -> Hostname:
    """The name now, and at the next boot (hostname(5): comments and blank lines do not count)."""
    try:
        with open(static, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file.read(4096).splitlines()]
    except OSError:
        lines = []
    return Hostname(
        name=socket.gethostname(), static=next((line for line in lines if line and not line.startswith("#")), "")
    )


def set_hostname(name: str, *, persist: bool, frozen: Frozen, static: str = STATIC) -> Hostname:
    """Change the name; the file first, since it is what may fail.

    Raises:
        PermissionDenied, FailedPrecondition, CallError: it cannot be changed.
    """
    if persist:
        frozen.check_path(static)
        try:
            write_static(name, static)
        except OSError as error:
            raise call_error(static, error) from None
    try:
        socket.sethostname(name)
    except PermissionError:
        raise PermissionDenied("the agent may not set the host name; run it as root or with CAP_SYS_ADMIN") from None
    except OSError as error:
        raise call_error("the host name", error) from None
    return read_hostname(static)


def write_static(name: str, path: str) -> None:
    """Write the file whole or not at all; in place where another cannot be put there, as for a bind mount."""
    if read_line(path) == name:
        return
    temporary = f"{path}.virtagent"
    data = f"{name}\n".encode()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        with open(path, "wb") as file:
            file.write(data)
