"""The service ``health``."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import AsyncIterator

from virtagent import __version__
from virtagent.api.health import AgentStatistics, AuditStatistics, Checks, Dump, Finding, Health
from virtagent.guest import facts
from virtagent.guest.cost import resident_memory
from virtagent.guest.dump import make_dump, peer_statistics, peers_seen_by
from virtagent.guest.resources import GuestService
from virtagent.peer.context import Context

__all__ = ["HealthService"]


class HealthService(GuestService, Health):
    """Tells from /proc/self, the peers and the machine."""

    async def statistics(self, *, ctx: Context | None = None) -> AgentStatistics:
        resources, audit = self.resources, self.resources.audit
        peers = [] if ctx is None else peers_seen_by(resources, ctx.peer)
        return AgentStatistics(
            version=__version__,
            pid=os.getpid(),
            time=facts.now(),
            uptime=round(facts.uptime() - started(), 3),
            cpu=time.process_time(),
            rss=resident_memory(),
            files=open_files(),
            most_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            threads=threading.active_count(),
            tasks=len(asyncio.all_tasks()),
            audit=AuditStatistics() if audit is None else AuditStatistics(written=audit.written, dropped=audit.dropped),
            peers=[peer_statistics(each, resources.grants.access(each)) for each in peers],
        )

    def doctor(self, *, checks: Checks = ()) -> AsyncIterator[Finding]:
        # A plain `def`: it runs in a thread, since loading the checks takes its time.
        from virtagent.guest.doctor import chosen, examine  # noqa: PLC0415 - few hosts ask for it

        return examine(chosen(checks), self.resources)

    async def dump(self, *, ctx: Context | None = None) -> Dump:
        return make_dump(self.resources, None if ctx is None else ctx.peer)


def started() -> float:
    """When this process started, in seconds since boot (proc(5), field 22 of stat)."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def open_files() -> int | None:
    """How many descriptors this process has open; None without /proc."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # that of the listing itself
    except OSError:
        return None
