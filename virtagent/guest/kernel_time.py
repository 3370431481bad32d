"""The C library's adjtime(3) and adjtimex(2), which Python's ``time`` does not have."""

from __future__ import annotations

import ctypes
import os
from typing import Any

__all__ = ["is_synchronized", "slew", "slewing"]

STA_UNSYNC = 0x0040


class Timeval(ctypes.Structure):
    """struct timeval."""

    _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long))


class Timex(ctypes.Structure):
    """struct timex, as far as it is of interest here; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def _function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:
        raise OSError(38, f"the C library has no {name}") from None


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _nanoseconds(value: Timeval) -> int:
    return int(value.seconds) * 10**9 + int(value.microseconds) * 1000


def slew(nanoseconds: int) -> int:
    """Have the clock go faster or slower until it has gone so much further (adjtime(3)).

    Returns:
        Nanoseconds of an earlier slew that were left, and are given up.

    Raises:
        OSError: EPERM without CAP_SYS_TIME.
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    new, old = Timeval(seconds, rest // 1000), Timeval()
    _check(_function("adjtime")(ctypes.byref(new), ctypes.byref(old)))
    return _nanoseconds(old)


def slewing() -> int:
    """Nanoseconds that the clock is still to be slewed by.

    Raises:
        OSError: the C library cannot tell.
    """
    old = Timeval()
    _check(_function("adjtime")(None, ctypes.byref(old)))
    return _nanoseconds(old)


def is_synchronized() -> bool:
    """Whether somebody told the kernel that the clock is right (STA_UNSYNC is not set).

    Raises:
        OSError: the C library cannot tell.
    """
    told = Timex()
    _check(_function("adjtimex")(ctypes.byref(told)))
    return not told.status & STA_UNSYNC
