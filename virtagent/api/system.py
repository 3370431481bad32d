"""The guest as a system."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LARGEST_SEED",
    "LONGEST_SLEW",
    "ClockChange",
    "ClockReading",
    "ClockState",
    "EntropyPool",
    "HostName",
    "Hostname",
    "Kernel",
    "Moment",
    "Offset",
    "OperatingSystem",
    "Seed",
    "Slew",
    "System",
    "SystemInfo",
    "Timezone",
    "UserSession",
]

LARGEST_SEED = 4096
"""Bytes of one seed; 64 fill the kernel's pool, which has 256 bits."""

LONGEST_SLEW = 300 * 10**9
"""Nanoseconds that may be slewed: at 500 ppm that takes a week already."""

Moment = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Nanoseconds since 1970-01-01 UTC (CLOCK_REALTIME), until 2262."""

Offset = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""Nanoseconds that a clock is to be changed by."""

Slew = Annotated[int, msgspec.Meta(ge=-LONGEST_SLEW, le=LONGEST_SLEW)]
"""Nanoseconds that a clock is to be slewed by, 5 minutes at most."""

Seed = Annotated[bytes, msgspec.Meta(min_length=1, max_length=LARGEST_SEED)]

HostName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?\Z")
]
"""A host name as RFC 1123 has it, of at most HOST_NAME_MAX."""


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """What uname(2) tells.

    Attributes:
        release: such as "6.1.0-18-amd64".
        version: such as "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)".
        machine: the architecture, such as "x86_64".
    """

    release: str
    version: str
    machine: str
    name: str = "Linux"


class OperatingSystem(msgspec.Struct, frozen=True, kw_only=True):
    """What os-release(5) tells, with its defaults.

    Attributes:
        id: such as "debian".
        version_id: such as "12".
        pretty_name: such as "Debian GNU/Linux 12 (bookworm)".
        variant, variant_id: the edition, such as "Server Edition" and "server".
        version_codename: such as "bookworm".
        id_like: the operating systems that this one derives from, such as ["debian"].
        fields: all that os-release says, by the names it has there.
    """

    id: str = "linux"
    name: str = "Linux"
    version: str = ""
    version_id: str = ""
    pretty_name: str = "Linux"
    variant: str = ""
    variant_id: str = ""
    version_codename: str = ""
    id_like: list[str] = []
    fields: dict[str, str] = {}


class Timezone(msgspec.Struct, frozen=True, kw_only=True):
    """The guest's local time.

    Attributes:
        name: of the time zone database, such as "Europe/Berlin"; "": the guest does not say.
        abbreviation: such as "CET".
        offset: seconds east of UTC at the moment.
    """

    name: str = ""
    abbreviation: str = ""
    offset: int = 0


class SystemInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the guest. None and "" mean that the guest cannot tell.

    Attributes:
        machine_id: stable for the installation (machine-id(5)).
        boot_id: stable for the boot.
        time: the guest's clock.
        uptime: seconds since boot.
        cpus: processors that are online.
        memory: bytes of memory that the kernel manages.
        virtualization: such as "kvm", "qemu", "none".
        python: the version of the agent's Python.
        agent: the agent's version.
        booted: when the guest booted, by its own clock.
        timezone: see :class:`Timezone`.
        load: the load averages over 1, 5 and 15 minutes.
        features: optional libraries that the agent has, such as "pyroute2", and "compiled" if its hot modules are.
    """

    hostname: str
    kernel: Kernel
    os: OperatingSystem
    time: datetime
    uptime: float
    machine_id: str = ""
    boot_id: str = ""
    cpus: int | None = None
    memory: int | None = None
    virtualization: str = ""
    python: str = ""
    agent: str = ""
    booted: datetime | None = None
    timezone: Timezone | None = None
    load: tuple[float, float, float] | None = None
    features: list[str] = []


class Hostname(msgspec.Struct, frozen=True, kw_only=True):
    """The guest's names (hostname(5)).

    Attributes:
        name: what gethostname(2) tells.
        static: what /etc/hostname says, which counts at the next boot; "": there is none.
    """

    name: str
    static: str = ""


class UserSession(msgspec.Struct, frozen=True, kw_only=True):
    """A user who is logged in.

    Attributes:
        user: the account's name.
        since: when the session began.
        terminal: such as "tty1", "pts/0"; "": none.
        host: where a remote user comes from; "": a local one.
        session: systemd-logind's id; "": told by utmp(5).
        seat: such as "seat0"; "": none.
        kind: what the session is for, such as "tty", "x11", "wayland"; "": cannot be told.
        pid: the process that leads the session.
        active: in the foreground of its seat; None: cannot be told.
    """

    user: str
    since: datetime | None = None
    terminal: str = ""
    host: str = ""
    session: str = ""
    seat: str = ""
    kind: str = ""
    pid: int | None = None
    active: bool | None = None


class ClockReading(msgspec.Struct, frozen=True, kw_only=True):
    """The guest's clocks (clock_gettime(2)), read one right after the other, in nanoseconds.

    Attributes:
        realtime: since 1970-01-01 UTC.
        monotonic: since some moment before; never steps, stands still in suspend.
        boottime: since boot, suspend included.
    """

    realtime: int
    monotonic: int
    boottime: int


class ClockState(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the guest's clock right. None and "" mean: there is none, or it cannot be told.

    Attributes:
        realtime: the clock, in nanoseconds since 1970-01-01 UTC.
        synchronized: the kernel was told that the clock is right (adjtimex(2), STA_UNSYNC), as NTP services do.
        service: the process that keeps it so, such as "chronyd" or "systemd-timesyncd".
        slewing: nanoseconds that the clock is still to be slewed by (adjtime(3)).
        rtc: the hardware clock, in nanoseconds since 1970-01-01 UTC; it has whole seconds only.
        timezone: see :class:`Timezone`.
    """

    realtime: int
    synchronized: bool | None = None
    service: str = ""
    slewing: int | None = None
    rtc: int | None = None
    timezone: Timezone | None = None


RtcResult = Literal["written", "absent", "failed", "not asked"]


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the clock.

    Attributes:
        before, after: the clock right before and right after, in nanoseconds since 1970-01-01 UTC.
        slewing: nanoseconds that it is going to be slewed by, at 500 ppm: a second takes 33 minutes.
        rtc: what became of the hardware clock.
        rtc_error: why writing it failed.
        service: a process that keeps the clock, and may undo the change; "": none.
    """

    before: int
    after: int
    slewing: int = 0
    rtc: RtcResult = "not asked"
    rtc_error: str = ""
    service: str = ""


class EntropyPool(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel's random pool (random(4)).

    Attributes:
        available: bits that the kernel takes the pool to hold.
        credited: bits that it was told to count for what was added; 0: it was mixed in, and counts as nothing.
    """

    available: int | None = None
    credited: int = 0


class System(Service, name="system", interface=True):
    """The guest as a system."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def info(self) -> SystemInfo:
        """What the guest is, and since when it runs."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def hostname(self) -> Hostname:
        """The guest's host name, at the moment and at the next boot."""
        raise NotImplementedError

    @method(
        idempotent=True, role="admin", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, InvalidArgument)
    )
    async def set_hostname(self, name: HostName, *, persist: bool = True) -> Hostname:
        """Change the host name, at once.

        Args:
            name: letters, digits, hyphens and dots, at most 64.
            persist: write /etc/hostname, too, so that it stays after a boot.

        Raises:
            PermissionDenied: the agent may not.
            FailedPrecondition: /etc is frozen.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable,))
    async def users(self) -> list[UserSession]:
        """Who is logged in, the earliest first; from systemd-logind, or from utmp(5) where there is none.

        Raises:
            Unavailable: the guest has neither that could be asked.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def time(self) -> ClockReading:
        """The guest's clocks. ``guest.system.drift()`` measures with it how far they are from the host's."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def clock(self) -> ClockState:
        """The guest's clock, and what keeps it right."""
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(PermissionDenied, InvalidArgument))
    async def adjust_clock(self, offset: Offset, *, rtc: bool = True) -> ClockChange:
        """Step the clock by so much: what travels is a difference, so it does not matter how long the call takes.

        Args:
            offset: nanoseconds; negative ones put the clock back.
            rtc: write the hardware clock, too.

        Raises:
            PermissionDenied: the agent may not (CAP_SYS_TIME).
            InvalidArgument: that would be before 1970 or after 2262.
        """
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(PermissionDenied, InvalidArgument, Unavailable))
    async def slew_clock(self, offset: Slew) -> ClockChange:
        """Let the clock run faster or slower (adjtime(3), 500 ppm) until it has gone so much further; it never steps.

        It takes the place of a slew that is not at its end. 0 ends that one.

        Args:
            offset: nanoseconds, 5 minutes at most; microseconds count.

        Raises:
            PermissionDenied: the agent may not (CAP_SYS_TIME).
            Unavailable: the C library has no adjtime(3).
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(PermissionDenied, NotFound, InvalidArgument))
    async def set_clock(self, time: Moment | None = None, *, rtc: bool = True) -> ClockChange:
        """Step the clock to a moment; better is :meth:`adjust_clock`, which does not depend on when the call arrives.

        Args:
            time: nanoseconds since 1970-01-01 UTC; None: as the hardware clock has it, as after a resume.
            rtc: write the hardware clock, too, if a time is given.

        Raises:
            PermissionDenied: the agent may not (CAP_SYS_TIME).
            NotFound: there is no hardware clock to take the time from.
        """
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(PermissionDenied,), secrets=("data",))
    async def add_entropy(self, data: Seed, *, credit: bool = True) -> EntropyPool:
        """Mix random bytes into the kernel's pool, as after a restore from a snapshot: two restored guests are equal.

        Args:
            data: from a good source; at most 4096 bytes.
            credit: count them as eight bits of entropy each (RNDADDENTROPY).

        Raises:
            PermissionDenied: the agent may not credit them (CAP_SYS_ADMIN).
        """
        raise NotImplementedError
