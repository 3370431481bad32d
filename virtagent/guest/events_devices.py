"""Events of devices: udev's, or the kernel's own where no udev runs (netlink, NETLINK_KOBJECT_UEVENT)."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from virtagent.guest.event_sources import Source
from virtagent.guest.readable import wait_readable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["device_event", "watch_devices"]

UDEV = "/run/udev/control"
"""udevd's socket."""

KINDS = {
    "add": "device.added",
    "remove": "device.removed",
    "change": "device.changed",
    "move": "device.changed",
    "online": "device.changed",
    "offline": "device.changed",
}
"""What the kernel calls it. ``bind`` and ``unbind`` tell of drivers, and come with the others."""

IGNORED = frozenset(
    {"bdi", "cgroup", "drivers", "iommu", "module", "msi_bus", "queues", "slab", "workqueue", "watchdog"}
)
"""Subsystems whose objects are the kernel's own affairs, and many."""

BUFFER = 4 << 20
"""Bytes of news that the kernel keeps for us: a whole machine's devices come at once (``udevadm trigger``)."""

PER_TURN = 64
"""Events in a row before other work gets its turn; the socket holds the others."""


def device_event(action: str, path: str, properties: Mapping[str, str]) -> tuple[str, dict[str, Any]] | None:
    """The kind and the fields of an event; None for what people do not take for one."""
    kind, subsystem = KINDS.get(action), properties.get("SUBSYSTEM", "")
    if kind is None or subsystem in IGNORED:
        return None

    def first(*names: str) -> str | None:
        return next((properties[name] for name in names if properties.get(name)), None)

    return kind, {
        "path": path,
        "subsystem": subsystem or None,
        "name": first("DEVNAME", "INTERFACE"),
        "type": first("DEVTYPE"),
        "driver": first("DRIVER", "ID_NET_DRIVER"),
        "vendor": first("ID_VENDOR_FROM_DATABASE", "ID_VENDOR", "ID_VENDOR_ID"),
        "model": first("ID_MODEL_FROM_DATABASE", "ID_MODEL", "ID_MODEL_ID"),
        "serial": first("ID_SERIAL_SHORT", "ID_SERIAL"),
        "action": action,
    }


async def watch_devices(source: Source, origin: str = "") -> None:
    """Publish ``device.*``.

    Args:
        source: what they are published through.
        origin: "udev" or "kernel"; "": udev where it runs.
    """
    from pyudev import Context, Monitor  # noqa: PLC0415 - loads ctypes and libudev

    monitor = Monitor.from_netlink(Context(), origin or _origin())
    with suppress(OSError):  # it needs CAP_NET_ADMIN
        monitor.set_receive_buffer_size(BUFFER)
    monitor.start()
    source.ready()
    while True:
        await wait_readable(monitor.fileno())
        for _ in range(PER_TURN):
            device = monitor.poll(timeout=0)
            if device is None:
                break
            told = device_event(device.action, device.device_path, device.properties)
            if told is not None:
                source.publish(told[0], **told[1])


def _origin() -> str:
    return "udev" if os.path.exists(UDEV) else "kernel"
