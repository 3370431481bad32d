"""Setting the guest's clock, and what keeps it right."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from msgspec import structs

from virtagent.api.system import ClockChange, ClockState, RtcResult
from virtagent.errors import CallError, InvalidArgument, NotFound, PermissionDenied
from virtagent.guest import kernel_time, rtc
from virtagent.guest.os_errors import call_error
from virtagent.guest.timezone import local_timezone
from virtagent.peer.identity import read_line

__all__ = ["clock_state", "slew_clock", "step_clock", "step_to_rtc", "time_service"]

T = TypeVar("T")

LATEST = 2**63 - 1
"""Nanoseconds since 1970 that the kernel's clock can have."""

SERVICES = {
    "chronyd": "chronyd",
    "ntpd": "ntpd",
    "openntpd": "openntpd",
    "ptp4l": "ptp4l",
    "phc2sys": "phc2sys",
    "systemd-timesyn": "systemd-timesyncd",
}
"""Programs that keep the clock, by the 15 characters that the kernel knows of their names."""


def time_service(proc: str = "/proc") -> str:
    """The program that keeps the clock here; "" where none runs."""
    for name in os.listdir(proc):
        if name.isdigit() and (found := SERVICES.get(read_line(f"{proc}/{name}/comm"))):
            return found
    return ""


def clock_state() -> ClockState:
    """The clock, and what keeps it right; what cannot be told is left out."""
    return ClockState(
        realtime=time.time_ns(),
        synchronized=_or_none(kernel_time.is_synchronized),
        service=time_service(),
        slewing=_or_none(kernel_time.slewing),
        rtc=_or_none(rtc.read_rtc),
        timezone=local_timezone(),
    )


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except OSError:
        return None


def _refused(error: OSError) -> CallError:
    if isinstance(error, PermissionError):
        return PermissionDenied("the agent may not set the clock; run it as root or with CAP_SYS_TIME")
    return call_error("the clock", error)


def step_clock(*, to: int | None = None, by: int = 0, rtc_too: bool) -> ClockChange:
    """Step the clock to a moment, or by a difference.

    Args:
        to: nanoseconds since 1970-01-01 UTC; None: by the difference.
        by: nanoseconds.
        rtc_too: write the hardware clock as well.

    Raises:
        PermissionDenied: this process may not.
        InvalidArgument: the clock cannot have that time.
    """
    before = time.time_ns()
    wanted = before + by if to is None else to
    if not 0 <= wanted <= LATEST:
        raise InvalidArgument("the clock would be before 1970 or after 2262; give another offset")
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, wanted)
    except OSError as error:
        raise _refused(error) from None
    after = time.time_ns()
    change = ClockChange(before=before, after=after, service=time_service())
    if not rtc_too:
        return change
    result, told = _write_rtc()
    return structs.replace(change, rtc=result, rtc_error=told)


def step_to_rtc() -> ClockChange:
    """Step the clock to what the hardware clock says.

    Raises:
        NotFound: there is none that could be read.
    """
    try:
        wanted = rtc.read_rtc()
    except OSError as error:
        raise NotFound(f"there is no hardware clock to take the time from: {error.strerror or error}") from None
    return step_clock(to=wanted, rtc_too=False)


def _write_rtc() -> tuple[RtcResult, str]:
    try:
        rtc.write_rtc(time.time_ns())
    except FileNotFoundError:
        return "absent", ""
    except OSError as error:
        return "failed", error.strerror or str(error)
    return "written", ""


def slew_clock(offset: int) -> ClockChange:
    """Have the clock go faster or slower until it has gone so much further.

    Raises:
        PermissionDenied: this process may not.
    """
    try:
        kernel_time.slew(offset)
    except OSError as error:
        raise _refused(error) from None
    now = time.time_ns()
    return ClockChange(before=now, after=now, slewing=_or_none(kernel_time.slewing) or 0, service=time_service())
