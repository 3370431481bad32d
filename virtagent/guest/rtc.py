"""The hardware clock (rtc(4))."""

from __future__ import annotations

import calendar
import fcntl
import os
import struct
import time

__all__ = ["read_rtc", "write_rtc"]

DEVICE = "/dev/rtc0"
ADJTIME = "/etc/adjtime"

RTC_RD_TIME = 0x80247009
RTC_SET_TIME = 0x4024700A
"""From linux/rtc.h, where ioctl numbers have the usual form."""

RTC_TIME = struct.Struct("9i")
"""struct rtc_time: seconds, minutes, hours, day, month from 0, years since 1900, and three that nobody sets."""


def keeps_local_time(adjtime: str = ADJTIME) -> bool:
    """Whether the hardware clock is set to local time: the third line of /etc/adjtime (adjtime_config(5))."""
    try:
        with open(adjtime, encoding="ascii", errors="replace") as file:
            lines = file.read(4096).splitlines()
    except OSError:
        return False
    return len(lines) > 2 and lines[2].strip() == "LOCAL"


def read_rtc(device: str = DEVICE, adjtime: str = ADJTIME) -> int:
    """Nanoseconds since 1970-01-01 UTC, in whole seconds.

    Raises:
        OSError: there is none, it may not be read, or has no time.
    """
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = fcntl.ioctl(descriptor, RTC_RD_TIME, bytes(RTC_TIME.size))
    finally:
        os.close(descriptor)
    second, minute, hour, day, month, year, *_ = RTC_TIME.unpack(told)
    fields = (year + 1900, month + 1, day, hour, minute, second, 0, 0, -1)
    seconds = int(time.mktime(fields)) if keeps_local_time(adjtime) else calendar.timegm(fields)
    return seconds * 10**9


def write_rtc(now: int, device: str = DEVICE, adjtime: str = ADJTIME) -> None:
    """Set the hardware clock.

    Args:
        now: nanoseconds since 1970-01-01 UTC; rounded to the second.

    Raises:
        OSError: there is none, or it may not be set.
    """
    seconds = (now + 5 * 10**8) // 10**9
    told = time.localtime(seconds) if keeps_local_time(adjtime) else time.gmtime(seconds)
    data = RTC_TIME.pack(
        told.tm_sec, told.tm_min, told.tm_hour, told.tm_mday, told.tm_mon - 1, told.tm_year - 1900, 0, 0, 0
    )
    descriptor = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, RTC_SET_TIME, data)
    finally:
        os.close(descriptor)
