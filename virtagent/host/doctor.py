"""What may be wrong on the way to a guest, seen from the host: the channel, who holds it, the agent, its clock."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator, Iterator

from virtagent import __version__
from virtagent.api.health import Finding, Verdict
from virtagent.errors import ChannelError, DeadlineExceeded, UrlError, VirtagentError
from virtagent.host.guest import Guest
from virtagent.peer.lock import ChannelLock
from virtagent_transports import ChannelUrl

__all__ = ["examine_channel", "examine_guest", "not_connected"]

PINGS = 5
PING_PATIENCE = 5.0
SLOW = 0.25
"""Seconds of a round trip, from which on people notice."""

CLOCK_APART = 1.0
"""Seconds between two clocks that matter to logs and certificates."""


def _finding(check: str, verdict: Verdict, message: str, remedy: str = "") -> Finding:
    return Finding(check=check, verdict=verdict, message=message, remedy=remedy)


def examine_channel(url: str) -> Iterator[Finding]:
    """What can be told of a channel without opening it; nothing of one that has no file."""
    try:
        parsed = ChannelUrl.parse(url.partition("?dialect=")[0])
    except UrlError as error:
        yield _finding("channel", "fail", str(error), "give --to another URL")
        return
    if parsed.scheme in ("unix", "serial") and parsed.target.startswith("/"):
        yield from _examine_file(parsed)


def _examine_file(url: ChannelUrl) -> Iterator[Finding]:
    path = url.target
    try:
        found = os.stat(path)
    except PermissionError:
        remedy = "run it as root, or join the group that may (ls -ld tells)"
        yield _finding("channel", "fail", f"{os.path.dirname(path)} may not be looked into", remedy)
        return
    except OSError as error:
        remedy = (
            "start the machine, and see docs/channels.md for its device" if url.scheme == "unix" else "check its name"
        )
        yield _finding("channel", "fail", f"{path}: {error.strerror}", remedy)
        return
    right = stat.S_ISSOCK(found.st_mode) if url.scheme == "unix" else stat.S_ISCHR(found.st_mode)
    if not right:
        kind = "socket" if url.scheme == "unix" else "device"
        yield _finding("channel", "fail", f"{path} is no {kind}", f"give the path of the machine's {kind}")
    elif not os.access(path, os.R_OK | os.W_OK):
        remedy = "run it as root, or as the user of the virtual machine"
        yield _finding("channel", "fail", f"no permission for {path} (mode {stat.S_IMODE(found.st_mode):04o})", remedy)
    else:
        yield _finding("channel", "ok", f"{path} is there, and may be used")
    if url.scheme == "unix":
        holder = ChannelLock(path).holder()
        if holder is not None:
            yield _finding("holder", "fail", f"held by {holder}", "end that program, or wait: a port has one user")
        else:
            yield _finding("holder", "ok", "no other program holds it")


def not_connected(error: ChannelError) -> Finding:
    """What a failed connection means."""
    return _finding("agent", "fail", str(error), "see docs/channels.md; in the guest: systemctl status virtagentd")


async def examine_guest(guest: Guest, took: float) -> AsyncIterator[Finding]:
    """What can be told of an agent that answers.

    Args:
        guest: the guest.
        took: seconds until it was up.
    """
    info = guest.info
    who = "plain msgpack-RPC" if info is None else f"{info.identity.name} ({info.identity.software})"
    yield _finding("agent", "ok", f"{who} was up after {took * 1e3:.0f} ms")
    try:
        yield await _examine_latency(guest)
        async for finding in _examine_ping(guest):
            yield finding
    except VirtagentError as error:
        yield _finding("agent", "fail", f"does not answer calls: {error}", "see its log: journalctl -u virtagentd")


async def _examine_latency(guest: Guest) -> Finding:
    times = []
    for _ in range(PINGS if guest.info is not None else 0):
        try:
            times.append(await guest.ping(PING_PATIENCE))
        except DeadlineExceeded:
            return _finding(
                "latency", "fail", "a ping is not answered", "is the machine paused, or its host overloaded?"
            )
    if not times:
        return _finding("latency", "warn", "plain msgpack-RPC has no pings", "")
    told = f"{min(times) * 1e3:.2f} ms at best, {max(times) * 1e3:.2f} ms at worst of {len(times)}"
    if min(times) > SLOW:
        return _finding(
            "latency", "warn", told, "is the machine short of processors? virtagent bench latency tells more"
        )
    return _finding("latency", "ok", told)


async def _examine_ping(guest: Guest) -> AsyncIterator[Finding]:
    asked, began = time.time(), time.monotonic()
    pong = await guest.agent.ping()
    trip = time.monotonic() - began
    if pong.version == __version__:
        yield _finding("version", "ok", f"{pong.version} on both sides")
    else:
        remedy = "methods that only one of them knows cannot be used; update the older one"
        yield _finding("version", "warn", f"the guest has {pong.version}, this machine {__version__}", remedy)
    apart = pong.time.timestamp() - (asked + trip / 2)
    told = f"{abs(apart):.3f} s {'ahead of' if apart > 0 else 'behind'} this machine's (give or take {trip / 2:.3f} s)"
    if abs(apart) - trip / 2 > CLOCK_APART:
        yield _finding("clocks", "warn", f"the guest's is {told}", "virtagent time sets it; or run chrony on both")
    else:
        yield _finding("clocks", "ok", f"the guest's is {told}")
