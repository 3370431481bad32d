"""Events of memory: what the kernel's log says of processes that it killed (mm/oom_kill.c)."""

from __future__ import annotations

import os
import re
from typing import Any

from virtagent.errors import Unavailable
from virtagent.guest import facts
from virtagent.guest.event_sources import Source
from virtagent.guest.kernel_log import KMSG, KernelLog, Kmsg, open_kernel_log
from virtagent.guest.kmsg import moment
from virtagent.guest.os_errors import call_error

__all__ = ["OomKills", "watch_memory"]

_SUMMARY = re.compile(
    r"oom-kill:constraint=CONSTRAINT_(?P<constraint>[A-Z_]+),.*?"
    r"task_memcg=(?P<cgroup>[^,]*),task=(?P<process>.*),pid=(?P<pid>\d{1,10}),uid=(?P<uid>\d{1,10})$"
)
_KILLED = re.compile(
    r"(?:Memory cgroup out|Out) of memory.*?: Killed process (?P<pid>\d{1,10}) \((?P<process>.*?)\),? (?=UID|total-vm)"
    r".*?anon-rss:(?P<anon>\d{1,16})kB, file-rss:(?P<file>\d{1,16})kB"
    r"(?:, shmem-rss:(?P<shmem>\d{1,16})kB)?(?:, UID:(?P<uid>\d{1,10}))?"
)


class OomKills:
    """Understands the kernel's messages: one names the control group, a later one tells that it was done."""

    def __init__(self) -> None:
        self._summary: dict[str, str] = {}

    def take(self, message: str) -> dict[str, Any] | None:
        """The fields of an event, if this message completes one."""
        summary = _SUMMARY.search(message)
        if summary is not None:
            self._summary = summary.groupdict()
            return None
        killed = _KILLED.search(message)
        if killed is None:
            return None
        before, self._summary = self._summary, {}
        if before.get("pid") != killed["pid"]:
            before = {}  # another one of the same control group, which is killed as a whole
        uid = killed["uid"] or before.get("uid")
        constraint = "memcg" if message.startswith("Memory cgroup") else before.get("constraint", "none").lower()
        return {
            "pid": int(killed["pid"]),
            "process": killed["process"],
            "uid": None if uid is None else int(uid),
            "rss": 1024 * sum(int(killed[each] or 0) for each in ("anon", "file", "shmem")),
            "cgroup": before.get("cgroup"),
            "constraint": constraint,
        }


async def watch_memory(source: Source, path: str = KMSG) -> None:
    """Publish ``memory.oom_kill``."""
    log, since = _open(path)
    kills = OomKills()
    try:
        source.ready()
        async for record in log:
            if record.facility == 0 and record.timestamp >= since:
                fields = kills.take(record.message)
                if fields is not None:
                    source.publish("memory.oom_kill", **fields)
    finally:
        await log.aclose()


def _open(path: str) -> tuple[KernelLog, float]:
    """The kernel's log from its end on, or all of it with the time from which on records are new."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return open_kernel_log(follow=True, path=path), facts.uptime()
    except OSError as error:
        raise Unavailable(call_error(path, error).message) from None
    os.lseek(descriptor, 0, os.SEEK_END)
    return Kmsg(descriptor, follow=True, booted=moment(facts.boot_time())), 0.0
