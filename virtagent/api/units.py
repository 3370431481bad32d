"""Units of systemd in the guest."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "ActiveState",
    "Changes",
    "JobMode",
    "Patterns",
    "States",
    "Summaries",
    "Types",
    "UnitFileChange",
    "UnitName",
    "UnitNames",
    "UnitPattern",
    "UnitStatus",
    "UnitSummary",
    "UnitType",
    "Units",
]

UnitName = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9:_.\\@-]+\Z")]
"""A unit's name (systemd.unit(5)), such as "ssh.service"; without a suffix it is that of a service."""

UnitPattern = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9:_.\\@*?\[\]!-]+\Z")]
"""A name with wildcards (glob(7)), such as "ssh*"."""

UnitType = Literal[
    "service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope"
]

ActiveState = Literal["active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance"]

JobMode = Literal["replace", "fail", "isolate", "ignore-dependencies", "ignore-requirements"]
"""What becomes of conflicting jobs that are queued already (systemctl(1), --job-mode)."""


class UnitSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A unit in a list.

    Attributes:
        load: whether its file was read: "loaded", "not-found", "bad-setting", "error", "masked".
        active: "active", "inactive", "failed", "activating", ...
        sub: what that means for its type, such as "running", "exited", "mounted".
        job: the type of the job that is queued or under way for it, such as "start"; "": none.
    """

    name: str
    description: str
    load: str
    active: str
    sub: str
    job: str = ""


class UnitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A unit in detail. None and "" mean that there is no such thing, or that it is not known.

    Attributes:
        load, active, sub, job: see :class:`UnitSummary`.
        unit_file: "enabled", "disabled", "static", "masked", "generated", ... (systemctl(1), is-enabled).
        path: its file.
        since: when it came into its active state, by the guest's clock.
        result: why it ended: "success", "exit-code", "signal", "oom-kill", "timeout", ...
        main_pid: the process that counts.
        exit_status: with which the main process ended; of one that a signal killed, the signal's number.
        memory: bytes that its control group uses.
        cpu: seconds of processor time that it has used.
        tasks: processes and threads in it.
        restarts: how often it was started again by itself.
        status_text: what the service says of itself (sd_notify(3), STATUS=).
        needs_reload: its file has changed since it was read; ``units.daemon_reload`` reads it.
    """

    name: str
    description: str
    load: str
    active: str
    sub: str
    job: str = ""
    unit_file: str = ""
    path: str = ""
    since: datetime | None = None
    result: str = ""
    main_pid: int | None = None
    exit_status: int | None = None
    memory: int | None = None
    cpu: float | None = None
    tasks: int | None = None
    restarts: int | None = None
    status_text: str = ""
    needs_reload: bool = False


class UnitFileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done to unit files.

    Attributes:
        kind: "symlink" or "unlink".
        path: the link that was made or removed.
        target: what the link points to; "" where it was removed.
    """

    kind: str
    path: str
    target: str = ""


UnitNames = Annotated[list[UnitName], msgspec.Meta(min_length=1, max_length=64)]
Patterns = Annotated[list[UnitPattern], msgspec.Meta(max_length=64)]
Types = Annotated[list[UnitType], msgspec.Meta(max_length=16)]
States = Annotated[list[ActiveState], msgspec.Meta(max_length=16)]

# Within the class below, `list` is the method.
Summaries = list[UnitSummary]
Changes = list[UnitFileChange]

_REFUSALS = (NotFound, PermissionDenied, FailedPrecondition, InvalidArgument, Unavailable)
_JOBS = (*_REFUSALS, Aborted)


class Units(Service, name="units", interface=True):
    """Units of systemd, over D-Bus (org.freedesktop.systemd1(5)).

    All raise ``Unavailable`` where there is no systemd, or it does not answer.

    Jobs: ``start``, ``stop``, ``restart`` and ``reload`` answer when systemd has done the job, whose time the call's
    deadline bounds. A cancelled call, or one whose deadline passes, leaves the job to systemd, as ``systemctl`` does.
    """

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable, ResourceExhausted))
    async def list(
        self,
        *,
        patterns: Patterns | None = None,
        types: Types | None = None,
        states: States | None = None,
    ) -> Summaries:
        """The units that systemd has in memory, by name.

        Args:
            patterns: only units whose names match one of these.
            types: only units of these types.
            states: only units in one of these active states.

        Raises:
            ResourceExhausted: there are more than 8192.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(NotFound, InvalidArgument, Unavailable))
    async def status(self, unit: UnitName) -> UnitStatus:
        """One unit in detail, whether it runs or not.

        Raises:
            NotFound: there is no such unit.
            InvalidArgument: that cannot be a unit's name.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_JOBS)
    async def start(self, unit: UnitName, *, mode: JobMode = "replace") -> UnitStatus:
        """Start a unit, and wait until it is up; one that is up already is left alone.

        Args:
            mode: see :data:`JobMode`.

        Raises:
            NotFound: there is no such unit.
            FailedPrecondition: it did not start, which is told in words; or it is masked.
            Aborted: another job took the place of this one.
            PermissionDenied: the agent may not.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_JOBS)
    async def stop(self, unit: UnitName, *, mode: JobMode = "replace") -> UnitStatus:
        """Stop a unit, and wait until it is down. Raises as ``start`` does."""
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=_JOBS)
    async def restart(self, unit: UnitName, *, mode: JobMode = "replace", only_running: bool = False) -> UnitStatus:
        """Stop a unit if it runs, and start it. Raises as ``start`` does.

        Args:
            only_running: leave one that does not run as it is ("try-restart").
        """
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=_JOBS)
    async def reload(self, unit: UnitName, *, mode: JobMode = "replace", or_restart: bool = False) -> UnitStatus:
        """Have a unit read its configuration again. Raises as ``start`` does.

        Args:
            or_restart: restart one that cannot reload ("reload-or-restart").
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_REFUSALS)
    async def enable(self, units: UnitNames, *, runtime: bool = False, force: bool = False) -> Changes:
        """Have units started at boot, as their ``[Install]`` sections say; they are not started now.

        Args:
            runtime: until the next boot only.
            force: replace links that conflict.

        Raises:
            NotFound: there is no such unit file; nothing was changed.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_REFUSALS)
    async def disable(self, units: UnitNames, *, runtime: bool = False) -> Changes:
        """Have units started at boot no longer; those that run are left running."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_REFUSALS)
    async def mask(self, units: UnitNames, *, runtime: bool = False) -> Changes:
        """Have units never started, by hand neither; those that run are left running."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=_REFUSALS)
    async def unmask(self, units: UnitNames, *, runtime: bool = False) -> Changes:
        """Undo ``mask``."""
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(NotFound, PermissionDenied, Unavailable))
    async def reset_failed(self, unit: UnitName | None = None) -> None:
        """Forget that a unit failed, and how often it was restarted.

        Args:
            unit: None: all that failed.
        """
        raise NotImplementedError

    @method(idempotent=True, role="admin", since="0.1.0", errors=(PermissionDenied, Unavailable))
    async def daemon_reload(self) -> None:
        """Have systemd read all unit files again."""
        raise NotImplementedError

    @method(
        idempotent=True,
        role="observe",
        since="0.1.0",
        errors=(NotFound, FailedPrecondition, InvalidArgument, Unavailable),
    )
    async def wait_for(self, unit: UnitName, *, state: ActiveState = "active") -> UnitStatus:
        """Wait until a unit is in a state: systemd says when (PropertiesChanged); nothing is polled.

        Args:
            state: the active state that is wanted.

        Raises:
            NotFound: there is no such unit.
            FailedPrecondition: "active" or "reloading" was wanted, and the unit has failed.
            DeadlineExceeded: the call's deadline passed; the text of ``units.status`` tells where the unit is.
        """
        raise NotImplementedError
