"""How the agent fares: its figures, what works in this guest and what does not, what it is doing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from virtagent.errors import NotFound
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "AgentStatistics",
    "AuditStatistics",
    "Checks",
    "Dump",
    "Finding",
    "Health",
    "Limits",
    "PeerStatistics",
    "RunningTask",
    "UnderWay",
    "Verdict",
]

Verdict = Literal["ok", "warn", "fail"]
"""ok: it works; warn: something that not everybody needs does not; fail: what the agent is for suffers."""

Checks = Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=64)], ...], msgspec.Meta(max_length=100)]
"""Names of checks."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy lets a peer do (docs/policy.md).

    Attributes:
        rule: where it comes from, in words.
        roles: what it may call.
        allow, deny: patterns of methods.
        calls, processes, watches: how many at a time.
        bytes: of one stream of bytes at most; None: any number.
        commands: the programs it may run; None: all.
    """

    rule: str = ""
    roles: list[str] = []
    allow: list[str] = []
    deny: list[str] = []
    read_only: bool = False
    read_roots: list[str] = []
    write_roots: list[str] = []
    commands: list[str] | None = None
    calls: int = 0
    processes: int = 0
    watches: int = 0
    bytes: int | None = None


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """A call that has not ended.

    Attributes:
        peer: who called.
        method: what was called.
        age: seconds since it began.
        streams: it was answered with a stream, which has not ended.
        received, sent: bytes of its streams so far; 0 too where nobody counts them.
    """

    peer: str
    method: str
    age: float
    streams: bool = False
    received: int = 0
    sent: int = 0


class PeerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One peer of the agent.

    Attributes:
        channel: the URL of its channel.
        who: who it is, as the kernel or TLS tells it.
        name: who it says it is.
        software: what it says it runs.
        counters: what its session has counted so far (docs/services/health.md).
        open: calls and streams under way.
        held: how many of what else is limited it has, such as "processes".
        denied: calls that the policy has refused.
        limits: what it may do.
    """

    channel: str
    who: str = ""
    name: str = ""
    software: str = ""
    counters: dict[str, Any] = {}
    open: int = 0
    held: dict[str, int] = {}
    denied: int = 0
    limits: Limits = Limits()


class AuditStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The audit log.

    Attributes:
        written: lines.
        dropped: lines that were lost, as the journal hangs or the log's filesystem is frozen.
    """

    written: int = 0
    dropped: int = 0


class AgentStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's process.

    Attributes:
        uptime: seconds since it started.
        cpu: seconds of processor time so far.
        rss: bytes in memory; None where the kernel does not tell.
        files: open descriptors; most_files: how many it may have.
        threads, tasks: how many run.
        peers: the asking one; of an admin, all.
    """

    version: str
    pid: int
    time: datetime
    uptime: float
    cpu: float
    rss: int | None = None
    files: int | None = None
    most_files: int | None = None
    threads: int = 0
    tasks: int = 0
    audit: AuditStatistics = AuditStatistics()
    peers: list[PeerStatistics] = []


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check of the doctor found.

    Attributes:
        check: its name.
        verdict: see :data:`Verdict`.
        message: what was found.
        remedy: what to do; "" where there is nothing.
        took: seconds.
    """

    check: str
    verdict: Verdict
    message: str
    remedy: str = ""
    took: float = 0.0


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the event loop; that of a handler has its method's name."""

    name: str
    where: str = ""


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent is doing at the moment.

    Attributes:
        channels: the URLs that it serves, and how many peers each has.
        peers: the asking one; of an admin, all.
        calls: calls and streams under way, the oldest first: those of the asking peer; of an admin, all.
        held: what services hold, by its noun, such as "jobs"; for an admin.
        tasks: tasks of the event loop; for an admin.
    """

    time: datetime
    channels: dict[str, int] = {}
    peers: list[PeerStatistics] = []
    calls: list[UnderWay] = []
    held: dict[str, list[dict[str, Any]]] = {}
    tasks: list[RunningTask] = []


class Health(Service, name="health", interface=True):
    """How the agent fares."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def statistics(self) -> AgentStatistics:
        """Figures of the agent's process and of its peers, with their limits. Nothing is reset."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(NotFound,))
    def doctor(self, *, checks: Checks = ()) -> AsyncIterator[Finding]:
        """What works in this guest and what does not, check by check.

        A check that hangs is given up after a few seconds and told as such; its thread stays behind.

        Args:
            checks: the names of the checks to make; none: all.

        Raises:
            NotFound: there is no check of that name; the message lists them.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def dump(self) -> Dump:
        """What the agent is doing at the moment; SIGUSR1 writes the same to its log."""
        raise NotImplementedError
