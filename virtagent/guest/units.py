"""The service ``units``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from virtagent.api.units import (
    ActiveState,
    Changes,
    JobMode,
    Patterns,
    States,
    Summaries,
    Types,
    UnitFileChange,
    UnitName,
    UnitNames,
    Units,
    UnitStatus,
    UnitSummary,
)
from virtagent.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable, UnknownError
from virtagent.guest.resources import GuestService, Resources

if TYPE_CHECKING:
    from virtagent.guest.units_manager import Manager

__all__ = ["UnitsService"]

MOST_UNITS = 8192
"""Units of one list; a machine has some hundreds."""

UNSET = 2**64 - 1
"""How systemd says that a number is not known."""

SUFFIXES = frozenset(
    {"service", "socket", "target", "device", "mount", "automount", "swap", "timer", "path", "slice", "scope"}
)


class UnitsService(GuestService, Units):
    """Asks systemd. Each call has a connection of its own, which systemd takes its signals from.

    Args:
        resources: what services share.
        address: of the bus; None: the system bus.
    """

    def __init__(self, resources: Resources | None = None, *, address: str | None = None) -> None:
        super().__init__(resources)
        self._address = address

    def _manager(self) -> AbstractAsyncContextManager[Manager]:
        try:
            from virtagent.guest.units_manager import Manager  # noqa: PLC0415 - loads dbus-fast
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("dbus_fast"):
                raise
            raise Unavailable("units need dbus-fast in the guest: install virtagent[guest]") from None
        return Manager.connected(self._address)

    async def list(
        self,
        *,
        patterns: Patterns | None = None,
        types: Types | None = None,
        states: States | None = None,
    ) -> Summaries:
        async with self._manager() as manager:
            (rows,) = await manager.call("ListUnitsByPatterns", "asas", states or [], patterns or [])
        wanted = frozenset(types or ())
        found = [_summary(row) for row in rows if not wanted or row[0].rpartition(".")[2] in wanted]
        if len(found) > MOST_UNITS:
            raise ResourceExhausted(f"there are {len(found)} units, more than {MOST_UNITS}; ask for a pattern or type")
        return sorted(found, key=lambda each: each.name)

    async def status(self, unit: UnitName) -> UnitStatus:
        async with self._manager() as manager:
            return await _status(manager, full_name(unit))

    async def start(self, unit: UnitName, *, mode: JobMode = "replace") -> UnitStatus:
        return await self._job("StartUnit", unit, mode)

    async def stop(self, unit: UnitName, *, mode: JobMode = "replace") -> UnitStatus:
        return await self._job("StopUnit", unit, mode)

    async def restart(self, unit: UnitName, *, mode: JobMode = "replace", only_running: bool = False) -> UnitStatus:
        return await self._job("TryRestartUnit" if only_running else "RestartUnit", unit, mode)

    async def reload(self, unit: UnitName, *, mode: JobMode = "replace", or_restart: bool = False) -> UnitStatus:
        return await self._job("ReloadOrRestartUnit" if or_restart else "ReloadUnit", unit, mode)

    async def _job(self, member: str, unit: str, mode: str) -> UnitStatus:
        name = full_name(unit)
        async with self._manager() as manager:
            try:
                await manager.run_job(member, name, mode)
            except FailedPrecondition as error:
                if error.data is None or "result" not in error.data:
                    raise
                now = await _status(manager, name)
                raise FailedPrecondition(f"{error.message}; {_told(now)}", data=error.data) from None
            return await _status(manager, name)

    async def enable(self, units: UnitNames, *, runtime: bool = False, force: bool = False) -> Changes:
        return await self._change_files("EnableUnitFiles", "asbb", units, runtime, force)

    async def disable(self, units: UnitNames, *, runtime: bool = False) -> Changes:
        return await self._change_files("DisableUnitFiles", "asb", units, runtime)

    async def mask(self, units: UnitNames, *, runtime: bool = False) -> Changes:
        return await self._change_files("MaskUnitFiles", "asbb", units, runtime, False)

    async def unmask(self, units: UnitNames, *, runtime: bool = False) -> Changes:
        return await self._change_files("UnmaskUnitFiles", "asb", units, runtime)

    async def _change_files(self, member: str, signature: str, units: UnitNames, *flags: bool) -> Changes:
        self.resources.frozen.check_path("/run/systemd" if flags[0] else "/etc/systemd/system")
        async with self._manager() as manager:
            *_, changes = await manager.call(member, signature, [full_name(each) for each in units], *flags)
            # As systemctl does: what is enabled counts for the manager once it has read the links.
            await manager.call("Reload")
        return [UnitFileChange(kind=kind, path=path, target=target) for kind, path, target in changes]

    async def reset_failed(self, unit: UnitName | None = None) -> None:
        async with self._manager() as manager:
            if unit is None:
                await manager.call("ResetFailed")
            else:
                await manager.call("ResetFailedUnit", "s", full_name(unit))

    async def daemon_reload(self) -> None:
        async with self._manager() as manager:
            await manager.call("Reload")

    async def wait_for(self, unit: UnitName, *, state: ActiveState = "active") -> UnitStatus:
        name = full_name(unit)
        async with self._manager() as manager:
            (path,) = await manager.call("LoadUnit", "s", name)
            rule = f"path='{path}',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
            async with manager.signals(rule) as signals:
                # Only now: what changes from here on is signalled.
                while True:
                    now = await _status(manager, name)
                    if now.active == state:
                        return now
                    if now.active == "failed" and state in ("active", "reloading"):
                        raise FailedPrecondition(f"{name} will not become {state}: {_told(now)}")
                    await signals.next()


def full_name(unit: str) -> str:
    """A unit's whole name: what has no suffix is a service.

    Raises:
        InvalidArgument: nothing can be called so.
    """
    stem, dot, suffix = unit.rpartition(".")
    name = unit if dot and suffix in SUFFIXES else f"{unit}.service"
    if (dot and not stem) or len(name) > 255:
        raise InvalidArgument(f"{unit!r} cannot be the name of a unit")
    return name


def _summary(row: list[Any]) -> UnitSummary:
    name, description, load, active, sub, _, _, _, job, _ = row
    return UnitSummary(name=name, description=description, load=load, active=active, sub=sub, job=job)


async def _status(manager: Manager, name: str) -> UnitStatus:
    (path,) = await manager.call("LoadUnit", "s", name)
    found = await manager.properties(path)
    if found.get("LoadState") == "not-found" and found.get("ActiveState") != "active":
        raise NotFound(f"there is no unit {name}")
    return _as_status(name, found, job=await _job_type(manager, found))


async def _job_type(manager: Manager, found: Mapping[str, Any]) -> str:
    number, path = found.get("Job") or (0, "")
    if not number:
        return ""
    try:
        return str((await manager.properties(path)).get("JobType", ""))
    except (NotFound, UnknownError):
        return ""  # done since


def _as_status(name: str, found: Mapping[str, Any], *, job: str) -> UnitStatus:
    since = found.get("StateChangeTimestamp") or found.get("ActiveEnterTimestamp") or 0
    nanoseconds = _number(found, "CPUUsageNSec")
    ended = bool(found.get("ExecMainExitTimestamp"))
    return UnitStatus(
        name=found.get("Id", name),
        description=found.get("Description", ""),
        load=found.get("LoadState", ""),
        active=found.get("ActiveState", ""),
        sub=found.get("SubState", ""),
        job=job,
        unit_file=found.get("UnitFileState", ""),
        path=found.get("FragmentPath", ""),
        since=datetime.fromtimestamp(since / 1e6, UTC) if since else None,
        result=found.get("Result", ""),
        main_pid=found.get("MainPID") or None,
        exit_status=found.get("ExecMainStatus") if ended else None,
        memory=_number(found, "MemoryCurrent"),
        cpu=None if nanoseconds is None else nanoseconds / 1e9,
        tasks=_number(found, "TasksCurrent"),
        restarts=found.get("NRestarts"),
        status_text=found.get("StatusText", ""),
        needs_reload=found.get("NeedDaemonReload", False),
    )


def _number(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    return None if value is None or value == UNSET else int(value)


def _told(status: UnitStatus) -> str:
    """Where a unit is, in words."""
    words = [f"it is {status.active} ({status.sub})"]
    if status.result not in ("", "success"):
        words.append(f"result {status.result!r}")
    if status.exit_status is not None:
        words.append(f"exit status {status.exit_status}")
    return ", ".join(words) + f"; the log (journalctl -u {status.name}) tells more"
