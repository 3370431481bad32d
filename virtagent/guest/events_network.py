"""Events of the network: links and addresses as the kernel tells of them (rtnetlink(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from virtagent.guest.event_sources import Source
from virtagent.guest.readable import wait_readable

__all__ = ["NetworkState", "watch_network"]

GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP = 0x1 | 0x300
IFF_UP = 0x1

BUFFER = 1 << 20
"""Bytes of news that the kernel keeps for us."""

LARGEST = 1 << 17
"""Bytes of one read: more than the kernel puts into one."""

PER_TURN = 64
"""Reads in a row before other work gets its turn."""

MOST = 65536
"""Links, and addresses, that are remembered."""

_HEADER = struct.Struct("=IHHII")
_FAMILIES: dict[int, str] = {int(socket.AF_INET): "ipv4", int(socket.AF_INET6): "ipv6"}


class NetworkState:
    """What links and addresses there are, so that only what is new is told: the kernel says much twice."""

    def __init__(self) -> None:
        self._links: dict[int, dict[str, Any]] = {}
        self._addresses: set[tuple[int, str, int]] = set()

    def take(self, message: Any) -> tuple[str, dict[str, Any]] | None:
        """Understand a message of the kernel; the event that it is, if it is one."""
        kind = message["header"]["type"]
        if kind in (RTM_NEWLINK, RTM_DELLINK) and message["family"]:
            return None  # a bridge's view of its port, or IPv6's of a link
        if kind == RTM_NEWLINK:
            return self._new_link(message)
        if kind == RTM_DELLINK:
            link = self._links.pop(message["index"], None)
            if link is None:
                return None
            return "link.removed", {"interface": link["interface"], "index": link["index"]}
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            return self._address(message, added=kind == RTM_NEWADDR)
        return None

    def _new_link(self, message: Any) -> tuple[str, dict[str, Any]] | None:
        index = message["index"]
        if message.get_attr("IFLA_MTU") is None:
            return None  # a driver's own news (wireless), without the link's state
        link = {
            "interface": message.get_attr("IFLA_IFNAME"),
            "index": index,
            "up": bool(message["flags"] & IFF_UP),
            "state": (message.get_attr("IFLA_OPERSTATE") or "unknown").lower(),
            "carrier": bool(message.get_attr("IFLA_CARRIER")),
            "mac": message.get_attr("IFLA_ADDRESS"),
            "mtu": message.get_attr("IFLA_MTU"),
        }
        before = self._links.get(index)
        if before == link or (before is None and len(self._links) >= MOST):
            return None
        self._links[index] = link
        return ("link.added" if before is None else "link.changed"), link

    def _address(self, message: Any, *, added: bool) -> tuple[str, dict[str, Any]] | None:
        index = message["index"]
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        key = (index, address, message["prefixlen"])
        if added == (key in self._addresses) or (added and len(self._addresses) >= MOST):
            return None
        (self._addresses.add if added else self._addresses.discard)(key)
        return ("address.added" if added else "address.removed"), {
            "interface": self._name(index, message),
            "index": index,
            "address": address,
            "prefix": message["prefixlen"],
            "family": _FAMILIES.get(message["family"]),
        }

    def _name(self, index: int, message: Any) -> Any:
        link = self._links.get(index)
        return link["interface"] if link is not None else message.get_attr("IFA_LABEL")


async def watch_network(source: Source) -> None:
    """Publish ``link.*`` and ``address.*`` of the agent's network namespace."""
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl  # noqa: PLC0415 - large

    marshal, state = MarshalRtnl(), NetworkState()
    with _opened() as sock:
        for request in (RTM_GETLINK, RTM_GETADDR):
            _ask(sock, request)
            done = False
            while not done:
                for message in await _messages(sock, marshal):
                    done = done or message["header"]["type"] in (NLMSG_DONE, NLMSG_ERROR)
                    state.take(message)
        source.ready()
        while True:
            for message in await _messages(sock, marshal):
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


def _ask(sock: socket.socket, request: int) -> None:
    """Have the kernel tell of all that is there."""
    sock.sendto(_HEADER.pack(_HEADER.size + 16, request, NLM_F_REQUEST_DUMP, request, 0) + bytes(16), (0, 0))


async def _messages(sock: socket.socket, marshal: Any) -> Iterable[Any]:
    """The messages that are there, once there are some. Only the kernel's are looked at (its port is 0).

    Raises:
        OSError: ENOBUFS: the kernel had more to tell than there was room for.
    """
    await wait_readable(sock.fileno())
    found: list[Any] = []
    for _ in range(PER_TURN):
        try:
            data, (port, _groups) = sock.recvfrom(LARGEST)
        except BlockingIOError:
            break
        if port == 0:
            found.extend(marshal.parse(data))
    return found
