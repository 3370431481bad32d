"""utmp(5): who is logged in, on guests without systemd-logind."""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime

from virtagent.api.system import UserSession

__all__ = ["UTMP", "parse_utmp", "read_utmp"]

UTMP = "/run/utmp"

USER_PROCESS = 7
MOST = 4096
"""Records that are looked at."""

NARROW = struct.Struct("<h2xi32s4s32s256shhiii16s20x")
"""glibc where a program's word may have 32 bits, too: x86, arm, ppc64, s390x."""

WIDE = struct.Struct("<h2xi32s4s32s256shhqqq16s20x4x")
"""glibc where it never had: aarch64, riscv64, loongarch64, alpha, ia64."""

WIDE_MACHINES = frozenset({"aarch64", "riscv64", "loongarch64", "alpha", "ia64"})


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def parse_utmp(data: bytes, layout: struct.Struct) -> list[UserSession]:
    """The sessions among the records; half a record at the end is being written, and does not count."""
    found = []
    for start in range(0, min(len(data), MOST * layout.size) - layout.size + 1, layout.size):
        kind, pid, line, _, user, host, _, _, _, seconds, microseconds, _ = layout.unpack_from(data, start)
        if kind == USER_PROCESS and user.strip(b"\0"):
            found.append(
                UserSession(
                    user=_text(user),
                    terminal=_text(line),
                    host=_text(host),
                    since=_moment(seconds, microseconds),
                    pid=pid if pid > 0 else None,
                )
            )
    return found


def _moment(seconds: int, microseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=min(max(microseconds, 0), 999_999))
    except (ValueError, OverflowError, OSError):
        return None


def read_utmp(path: str = UTMP) -> list[UserSession]:
    """The sessions of a utmp file whose processes live: a login that was killed leaves its record behind.

    Raises:
        OSError: it cannot be read.
    """
    layout = WIDE if os.uname().machine in WIDE_MACHINES else NARROW
    with open(path, "rb") as file:
        sessions = parse_utmp(file.read(MOST * layout.size), layout)
    return [each for each in sessions if each.pid is None or os.path.exists(f"/proc/{each.pid}")]
