"""Shutting the guest down, rebooting it, and putting it to sleep."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import AlreadyExists, FailedPrecondition, PermissionDenied, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LONGEST_DELAY",
    "Delay",
    "Planned",
    "Power",
    "PowerAbilities",
    "PowerAction",
    "Reason",
    "SleepAction",
    "Sleeping",
    "WallMessage",
]

LONGEST_DELAY = 30 * 86400.0
"""Seconds; 30 days."""

Delay = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_DELAY)]

WallMessage = Annotated[str, msgspec.Meta(max_length=1024)]
"""What users who are logged in are told (wall(1))."""

Reason = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
"""Why, in one line: it goes to the guest's log, and to all hosts with ``agent.down``."""

PowerAction = Literal["shutdown", "reboot", "halt"]

SleepAction = Literal["suspend", "hibernate", "hybrid-sleep"]


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What is going to happen.

    Attributes:
        action: "shutdown" switches the machine off, "halt" stops it and leaves it switched on.
        at: when, by the guest's clock; None: at once.
        message: see :data:`WallMessage`.
        reason: see :data:`Reason`.
        by: who holds the timer and does it: "systemd", "shutdown" or another tool, or "kernel" (reboot(2)).
        forced: nothing is stopped before; what is in memory is written to disk, and that is all.
    """

    action: PowerAction
    at: datetime | None = None
    message: str = ""
    reason: str = ""
    by: str = ""
    forced: bool = False


class Sleeping(msgspec.Struct, frozen=True, kw_only=True):
    """The guest is going to sleep; hosts get ``agent.down`` with the reason "suspend", and ``agent.up`` with "resume".

    Attributes:
        action: how.
        by: who does it: "systemd" or "kernel" (/sys/power/state).
    """

    action: SleepAction
    by: str


class PowerAbilities(msgspec.Struct, frozen=True, kw_only=True):
    """What works here.

    Attributes:
        manager: what shuts the guest down: "systemd", a tool such as "shutdown" or "poweroff", or "": only by force.
        shutdown, reboot, halt, force, suspend, hibernate, hybrid_sleep: whether it works.
        reasons: why something does not, by its name.
        states: what the kernel says of sleep (/sys/power/state).
    """

    manager: str
    shutdown: bool
    reboot: bool
    halt: bool
    force: bool
    suspend: bool
    hibernate: bool
    hybrid_sleep: bool
    reasons: dict[str, str] = {}
    states: list[str] = []


class Power(Service, name="power", interface=True):
    """The guest's power. Every call is answered first, and what it asks for is done when the host has the answer."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def abilities(self) -> PowerAbilities:
        """What works here, and why the rest does not."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def pending(self) -> Planned | None:
        """The shutdown that is planned; None: there is none."""
        raise NotImplementedError

    @method(role="power", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, AlreadyExists, Unavailable))
    async def shutdown(
        self, *, delay: Delay = 0.0, message: WallMessage = "", reason: Reason = "", force: bool = False
    ) -> Planned:
        """Shut the guest down and switch it off. ``guest.power.shutdown_and_wait()`` tells when it has.

        Args:
            delay: seconds from now; ``cancel`` calls it off until then.
            message: tell it to users who are logged in.
            reason: for the log and the hosts.
            force: stop nothing in order, only write to disk what is in memory, and switch off (reboot(2)).

        Raises:
            PermissionDenied: the agent may not.
            FailedPrecondition: nothing here can shut it down in order; ``force`` does.
            AlreadyExists: one is planned already; cancel it first.
        """
        raise NotImplementedError

    @method(role="power", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, AlreadyExists, Unavailable))
    async def reboot(
        self, *, delay: Delay = 0.0, message: WallMessage = "", reason: Reason = "", force: bool = False
    ) -> Planned:
        """Reboot the guest; arguments and errors as of :meth:`shutdown`."""
        raise NotImplementedError

    @method(role="power", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, AlreadyExists, Unavailable))
    async def halt(
        self, *, delay: Delay = 0.0, message: WallMessage = "", reason: Reason = "", force: bool = False
    ) -> Planned:
        """Stop the guest and leave the machine switched on; arguments and errors as of :meth:`shutdown`."""
        raise NotImplementedError

    @method(idempotent=True, role="power", since="0.1.0", errors=(PermissionDenied, Unavailable))
    async def cancel(self) -> Planned | None:
        """Call a planned shutdown off, whoever planned it; what was planned, None: nothing was."""
        raise NotImplementedError

    @method(role="power", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, Unavailable))
    async def suspend(self) -> Sleeping:
        """Suspend to memory (ACPI S3, or what the guest has). Something outside has to wake it.

        Raises:
            FailedPrecondition: it cannot, or has filesystems frozen.
        """
        raise NotImplementedError

    @method(role="power", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, Unavailable))
    async def hibernate(self) -> Sleeping:
        """Suspend to disk, and switch off; needs swap that is large enough, and a kernel that resumes from it.

        Raises:
            FailedPrecondition: it cannot, or has filesystems frozen.
        """
        raise NotImplementedError

    @method(role="power", since="0.1.0", errors=(PermissionDenied, FailedPrecondition, Unavailable))
    async def hybrid_sleep(self) -> Sleeping:
        """Suspend to memory, with all of it on disk as well, should the power fail.

        Raises:
            FailedPrecondition: it cannot, or has filesystems frozen.
        """
        raise NotImplementedError
