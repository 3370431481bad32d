"""The service ``system``."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from virtagent import __version__
from virtagent.api.system import Kernel, OperatingSystem, System, SystemInfo
from virtagent.guest import facts
from virtagent.guest.resources import GuestService

__all__ = ["SystemService"]


class SystemService(GuestService, System):
    """Answers from uname(2), os-release(5) and /proc."""

    async def info(self) -> SystemInfo:
        names = os.uname()
        release = facts.os_release()
        default = OperatingSystem()
        time = facts.now()
        uptime = facts.uptime()
        return SystemInfo(
            hostname=names.nodename,
            kernel=Kernel(release=names.release, version=names.version, machine=names.machine, name=names.sysname),
            os=OperatingSystem(
                id=release.get("ID", default.id),
                name=release.get("NAME", default.name),
                version=release.get("VERSION", default.version),
                version_id=release.get("VERSION_ID", default.version_id),
                pretty_name=release.get("PRETTY_NAME", default.pretty_name),
            ),
            time=time,
            uptime=round(uptime, 2),
            machine_id=facts.machine_id(),
            boot_id=facts.boot_id(),
            cpus=os.cpu_count(),
            memory=facts.memory("MemTotal"),
            virtualization=facts.virtualization(),
            python=".".join(map(str, sys.version_info[:3])),
            agent=__version__,
            booted=datetime.fromtimestamp(round(time.timestamp() - uptime), UTC),
        )
