"""Events of units: systemd's, over D-Bus."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from virtagent.errors import CallError
from virtagent.guest.event_sources import Source

if TYPE_CHECKING:
    from virtagent.guest.units_manager import Manager

__all__ = ["unit_of", "watch_units"]

_ESCAPE = re.compile(r"_([0-9a-f]{2})")

MOST_FAILED = 4096
"""Failed units that are remembered, so that each failure is told once."""


def unit_of(path: str) -> str:
    """The unit of an object's path: ``/org/freedesktop/systemd1/unit/cron_2eservice`` is cron.service."""
    data = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), path.rpartition("/")[2])
    return data.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


async def watch_units(source: Source, address: str | None = None) -> None:
    """Publish ``unit.*``.

    Args:
        source: what they are published through.
        address: of the bus; None: the system bus.
    """
    from virtagent.guest.units_manager import PATH, PROPERTIES, UNIT, Manager  # noqa: PLC0415 - loads dbus_fast

    rule = f"interface='{PROPERTIES}',member='PropertiesChanged',path_namespace='{PATH}/unit',arg0='{UNIT}'"
    async with Manager.connected(address) as manager, manager.signals(rule) as signals:
        (units,) = await manager.call("ListUnitsByPatterns", "asas", ["failed"], [])
        failed = {each[6] for each in units[:MOST_FAILED]}
        source.ready()
        while True:
            message = await signals.next()
            changed: dict[str, Any] = message.body[1] if message.member == "PropertiesChanged" else {}
            state = changed["ActiveState"].value if "ActiveState" in changed else None
            if state is None or message.path is None:
                continue
            if state != "failed":
                failed.discard(message.path)
            elif message.path not in failed and len(failed) < MOST_FAILED:
                failed.add(message.path)
                source.publish("unit.failed", unit=unit_of(message.path), **await _why(manager, message.path))


async def _why(manager: Manager, path: str) -> dict[str, Any]:
    try:
        found = await manager.properties(path)
    except CallError:
        return {}  # unloaded meanwhile
    return {"state": found.get("SubState"), "result": found.get("Result")}
