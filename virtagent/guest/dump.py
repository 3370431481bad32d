"""What the agent is doing at the moment: for a call, and for its log (SIGUSR1)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from msgspec import to_builtins

from virtagent.api.health import Dump, Limits, PeerStatistics, RunningTask, UnderWay
from virtagent.guest import facts
from virtagent.guest.grants import Access, Grant
from virtagent.guest.resources import Resources
from virtagent.peer.peer import Peer

__all__ = ["is_admin", "log_dump", "make_dump", "peers_seen_by"]

log = logging.getLogger("virtagent.daemon")


def is_admin(grant: Grant) -> bool:
    """Whether a peer may see what the others do."""
    return "admin" in grant.roles


def peers_seen_by(resources: Resources, asking: Peer | None) -> list[Peer]:
    """The peers that one may see: itself; an admin, or the agent itself (None), all."""
    if asking is not None and not is_admin(resources.grants.access(asking).grant):
        return [asking]
    peers = [peer for channel in resources.channels for peer in channel.peers]
    return peers if asking is None or asking in peers else [asking, *peers]


def make_dump(resources: Resources, asking: Peer | None = None) -> Dump:
    """What the agent is doing, as far as a peer may know it.

    Args:
        asking: who asks; None: the agent itself.
    """
    peers = peers_seen_by(resources, asking)
    accesses = [resources.grants.access(peer) for peer in peers]
    everything = asking is None or is_admin(resources.grants.access(asking).grant)
    calls = sorted((call for each in accesses for call in list(each.calls)), key=lambda call: call.since)
    now = time.monotonic()
    return Dump(
        time=facts.now(),
        channels={each.url: len(each.peers) for each in resources.channels} if everything else {},
        peers=[peer_statistics(peer, access) for peer, access in zip(peers, accesses, strict=True)],
        calls=[
            UnderWay(
                peer=call.access.grant.who,
                method=call.method,
                age=round(now - call.since, 3),
                streams=call.streams,
                received=call.received,
                sent=call.sent,
            )
            for call in calls
        ],
        held=_held(resources) if everything else {},
        tasks=list(_tasks()) if everything else [],
    )


def peer_statistics(peer: Peer, access: Access) -> PeerStatistics:
    """A peer's figures."""
    grant, info = access.grant, peer.info
    return PeerStatistics(
        channel=peer.name.partition("?")[0],
        who=grant.who,
        name="" if info is None else info.identity.name,
        software="" if info is None else info.identity.software,
        counters=peer.statistics(),
        open=len(access.calls),
        held={what: count for what, count in access.held.items() if count},
        denied=access.denied,
        limits=Limits(
            rule=grant.rule,
            roles=sorted(grant.roles),
            allow=list(grant.allow),
            deny=list(grant.deny),
            read_only=grant.read_only,
            read_roots=list(grant.read_roots),
            write_roots=list(grant.write_roots),
            commands=None if grant.commands is None else list(grant.commands),
            calls=grant.calls,
            processes=grant.processes,
            watches=grant.watches,
            bytes=grant.bytes,
        ),
    )


def _held(resources: Resources) -> dict[str, list[dict[str, Any]]]:
    return {noun: [to_builtins(each) for each in report()] for noun, report in sorted(resources.reports.items())}


def _tasks() -> Iterable[RunningTask]:
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        stack = task.get_stack(limit=1)
        where = f"{stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else "?"
        yield RunningTask(name=task.get_name(), where=where)


def log_dump(resources: Resources) -> None:
    """Write it to the log."""
    for line in lines_of(make_dump(resources)):
        log.warning("%s", line)


def lines_of(dump: Dump) -> Iterable[str]:
    """A dump for people."""
    for url, count in dump.channels.items():
        yield f"channel {url}: {count} peers"
    for peer in dump.peers:
        counters = ", ".join(f"{key} {value}" for key, value in peer.counters.items() if key != "detail")
        yield f"  peer {peer.who}: {counters} ({peer.counters.get('detail', '')})"
        limits = peer.limits
        held = "".join(f", {count} {what}" for what, count in peer.held.items())
        roles = ", ".join(limits.roles) or "nothing"
        yield f"    may {roles} by {limits.rule}; {peer.open} open{held}, {peer.denied} denied"
    for call in dump.calls:
        kind = "stream" if call.streams else "call"
        size = f", {call.received} bytes received, {call.sent} sent" if call.received or call.sent else ""
        yield f"  {kind} {call.method} of {call.peer} for {call.age:.1f} s{size}"
    for noun, entries in dump.held.items():
        yield f"  {noun}: {len(entries)}"
        for entry in entries:
            yield f"    {', '.join(f'{key} {value}' for key, value in entry.items() if value not in ('', None))}"
    for task in dump.tasks:
        yield f"  task {task.name} at {task.where}"
