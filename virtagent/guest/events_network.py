"""Events of the network: links and addresses as the kernel tells of them (rtnetlink(7))."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from virtagent.guest.event_sources import Source
from virtagent.guest.readable import wait_readable
from virtagent.guest.rtnetlink import (
    DONE,
    ERROR,
    IFA_LABEL,
    IFLA_CARRIER,
    IFLA_IFNAME,
    IFLA_MTU,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RouteMessage,
    dump_request,
    parse_messages,
)

__all__ = ["NetworkState", "watch_network"]

GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""

IFF_UP = 0x1

BUFFER = 1 << 20
"""Bytes of news that the kernel keeps for us."""

LARGEST = 1 << 17
"""Bytes of one read: more than the kernel puts into one."""

PER_TURN = 64
"""Reads in a row before other work gets its turn."""

MOST = 65536
"""Links, and addresses, that are remembered."""

_FAMILIES: dict[int, str] = {int(socket.AF_INET): "ipv4", int(socket.AF_INET6): "ipv6"}


class NetworkState:
    """What links and addresses there are, so that only what is new is told: the kernel says much twice."""

    def __init__(self) -> None:
        self._links: dict[int, dict[str, Any]] = {}
        self._addresses: set[tuple[int, str, int]] = set()

    def take(self, message: RouteMessage) -> tuple[str, dict[str, Any]] | None:
        """Understand a message of the kernel; the event that it is, if it is one."""
        if message.kind in (RTM_NEWLINK, RTM_DELLINK):
            if message.family:
                return None  # a bridge's view of its port, or IPv6's of a link
            return self._new_link(message) if message.kind == RTM_NEWLINK else self._removed_link(message)
        if message.kind in (RTM_NEWADDR, RTM_DELADDR):
            return self._address(message, added=message.kind == RTM_NEWADDR)
        return None

    def _new_link(self, message: RouteMessage) -> tuple[str, dict[str, Any]] | None:
        index, mtu = message.link, message.number(IFLA_MTU)
        if mtu is None:
            return None  # a driver's own news (wireless), without the link's state
        link = {
            "interface": message.text(IFLA_IFNAME),
            "index": index,
            "up": bool(message.flags & IFF_UP),
            "state": message.state,
            "carrier": bool(message.number(IFLA_CARRIER)),
            "mac": message.hardware_address,
            "mtu": mtu,
        }
        before = self._links.get(index)
        if before == link or (before is None and len(self._links) >= MOST):
            return None
        self._links[index] = link
        return ("link.added" if before is None else "link.changed"), link

    def _removed_link(self, message: RouteMessage) -> tuple[str, dict[str, Any]] | None:
        link = self._links.pop(message.link, None)
        return None if link is None else ("link.removed", {"interface": link["interface"], "index": link["index"]})

    def _address(self, message: RouteMessage, *, added: bool) -> tuple[str, dict[str, Any]] | None:
        index, address = message.link, message.address
        if address is None:
            return None
        key = (index, address, message.prefix)
        if added == (key in self._addresses) or (added and len(self._addresses) >= MOST):
            return None
        (self._addresses.add if added else self._addresses.discard)(key)
        link = self._links.get(index)
        return ("address.added" if added else "address.removed"), {
            "interface": link["interface"] if link is not None else message.text(IFA_LABEL),
            "index": index,
            "address": address,
            "prefix": message.prefix,
            "family": _FAMILIES.get(message.family),
        }


async def watch_network(source: Source) -> None:
    """Publish ``link.*`` and ``address.*`` of the agent's network namespace."""
    state = NetworkState()
    with _opened() as sock:
        for request in (RTM_GETLINK, RTM_GETADDR):
            sock.sendto(dump_request(request), (0, 0))
            done = False
            while not done:
                for message in await _messages(sock):
                    done = done or message.kind in (DONE, ERROR)
                    state.take(message)
        source.ready()
        while True:
            for message in await _messages(sock):
                event = state.take(message)
                if event is not None:
                    source.publish(event[0], **event[1])


@contextmanager
def _opened() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((0, GROUPS))
        yield sock


async def _messages(sock: socket.socket) -> list[RouteMessage]:
    """The messages that are there, once there are some. Only the kernel's are looked at (its port is 0).

    Raises:
        OSError: ENOBUFS: the kernel had more to tell than there was room for.
    """
    await wait_readable(sock.fileno())
    found: list[RouteMessage] = []
    for _ in range(PER_TURN):
        try:
            data, (port, _groups) = sock.recvfrom(LARGEST)
        except BlockingIOError:
            break
        if port == 0:
            found.extend(parse_messages(data))
    return found
