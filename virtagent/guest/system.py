"""The service ``system``."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

from virtagent import __version__
from virtagent.api.system import (
    ClockChange,
    ClockReading,
    ClockState,
    EntropyPool,
    HostName,
    Hostname,
    Kernel,
    Moment,
    Offset,
    OperatingSystem,
    Seed,
    Slew,
    System,
    SystemInfo,
    UserSession,
)
from virtagent.errors import Unavailable
from virtagent.guest import facts
from virtagent.guest.features import features
from virtagent.guest.resources import GuestService
from virtagent.guest.timezone import local_timezone
from virtagent.service.options import in_thread, method

__all__ = ["SystemService"]


LOGIND = "/run/systemd/seats"
"""Is there where systemd-logind runs (sd_booted(3) tells of systemd only)."""


class SystemService(GuestService, System):
    """Answers from uname(2), os-release(5) and /proc; what few hosts ask for is loaded by the first call."""

    async def info(self) -> SystemInfo:
        names = os.uname()
        now = facts.now()
        uptime = facts.uptime()
        return SystemInfo(
            hostname=names.nodename,
            kernel=Kernel(release=names.release, version=names.version, machine=names.machine, name=names.sysname),
            os=operating_system(),
            time=now,
            uptime=round(uptime, 2),
            machine_id=facts.machine_id(),
            boot_id=facts.boot_id(),
            cpus=os.cpu_count(),
            memory=facts.memory("MemTotal"),
            virtualization=facts.virtualization(),
            python=".".join(map(str, sys.version_info[:3])),
            agent=__version__,
            booted=datetime.fromtimestamp(round(now.timestamp() - uptime), UTC),
            timezone=local_timezone(),
            load=facts.load(),
            features=list(features()),
        )

    @in_thread
    def hostname(self) -> Hostname:
        from virtagent.guest.hostname import read_hostname  # noqa: PLC0415 - few hosts ask

        return read_hostname()

    @in_thread
    def set_hostname(self, name: HostName, *, persist: bool = True) -> Hostname:
        from virtagent.guest.hostname import set_hostname  # noqa: PLC0415 - as above

        return set_hostname(name, persist=persist, frozen=self.resources.frozen)

    async def users(self) -> list[UserSession]:
        found = await logged_in(LOGIND)
        return sorted(found, key=lambda each: each.since.timestamp() if each.since is not None else 0.0)

    @method(inline=True)
    async def time(self) -> ClockReading:
        return ClockReading(
            realtime=time.time_ns(),
            monotonic=time.monotonic_ns(),
            boottime=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        )

    @in_thread
    def clock(self) -> ClockState:
        from virtagent.guest.clock import clock_state  # noqa: PLC0415 - loads ctypes

        return clock_state()

    @in_thread
    def adjust_clock(self, offset: Offset, *, rtc: bool = True) -> ClockChange:
        from virtagent.guest.clock import step_clock  # noqa: PLC0415 - as above

        return step_clock(by=offset, rtc_too=rtc)

    @in_thread
    def slew_clock(self, offset: Slew) -> ClockChange:
        from virtagent.guest.clock import slew_clock  # noqa: PLC0415 - as above

        return slew_clock(offset)

    @in_thread
    def set_clock(self, time: Moment | None = None, *, rtc: bool = True) -> ClockChange:
        from virtagent.guest.clock import step_clock, step_to_rtc  # noqa: PLC0415 - as above

        return step_to_rtc() if time is None else step_clock(to=time, rtc_too=rtc)

    @in_thread
    def add_entropy(self, data: Seed, *, credit: bool = True) -> EntropyPool:
        from virtagent.guest.entropy import add_entropy  # noqa: PLC0415 - few hosts ask

        return add_entropy(data, credit=credit)


def operating_system() -> OperatingSystem:
    """What os-release(5) says, with its defaults."""
    fields = facts.os_release()
    default = OperatingSystem()
    return OperatingSystem(
        id=fields.get("ID", default.id),
        name=fields.get("NAME", default.name),
        version=fields.get("VERSION", ""),
        version_id=fields.get("VERSION_ID", ""),
        pretty_name=fields.get("PRETTY_NAME", default.pretty_name),
        variant=fields.get("VARIANT", ""),
        variant_id=fields.get("VARIANT_ID", ""),
        version_codename=fields.get("VERSION_CODENAME", ""),
        id_like=fields.get("ID_LIKE", "").split(),
        fields=fields,
    )


async def logged_in(logind: str, utmp: str | None = None, address: str | None = None) -> list[UserSession]:
    """Sessions as logind knows them, else as utmp(5) does.

    Args:
        logind: a directory that is there if logind runs.
        utmp: the file; None: the usual one.
        address: of the bus on which logind is; None: the system bus.

    Raises:
        Unavailable: there is neither.
    """
    from virtagent.guest.utmp import UTMP, read_utmp  # noqa: PLC0415 - few hosts ask

    refused = Unavailable("nobody here knows who is logged in: there is no systemd-logind and no /run/utmp")
    if os.path.isdir(logind):  # noqa: ASYNC240 - of a file system in memory
        try:
            from virtagent.guest.logind import list_sessions  # noqa: PLC0415 - loads dbus_fast

            return await list_sessions(address)
        except ImportError:
            refused = Unavailable("asking systemd-logind needs dbus-fast in the guest: install virtagent[guest]")
        except Unavailable as error:
            refused = error
    try:
        return read_utmp(utmp or UTMP)
    except OSError:
        raise refused from None
