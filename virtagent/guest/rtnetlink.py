"""Messages of rtnetlink(7) about links and addresses, understood.

pyroute2 knows all of it, at the price of 12 MiB of memory: too much for an agent that only listens.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "DONE",
    "ERROR",
    "RTM_DELADDR",
    "RTM_DELLINK",
    "RTM_GETADDR",
    "RTM_GETLINK",
    "RTM_NEWADDR",
    "RTM_NEWLINK",
    "RouteMessage",
    "dump_request",
    "parse_messages",
]

ERROR, DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22

REQUEST_DUMP = 0x1 | 0x300
"""NLM_F_REQUEST, NLM_F_DUMP."""

ATTRIBUTE_TYPE = 0x3FFF
"""Without the flags of nested attributes."""

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_OPERSTATE, IFLA_CARRIER = 1, 3, 4, 16, 33
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL = 1, 2, 3

OPERATIONAL = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")


class RouteMessage(NamedTuple):
    """One message.

    Attributes:
        kind: such as :data:`RTM_NEWLINK`, :data:`DONE`.
        family: AF_UNSPEC for a link itself, else whose view of it this is; the family of an address.
        link: the number of the link.
        flags: of the link (IFF_UP is 1).
        prefix: of the address, in bits.
        attributes: by their numbers.
    """

    kind: int
    family: int = 0
    link: int = 0
    flags: int = 0
    prefix: int = 0
    attributes: dict[int, bytes] = {}  # noqa: RUF012 - never changed

    def text(self, number: int) -> str | None:
        """An attribute that is a name."""
        value = self.attributes.get(number)
        return None if value is None else value.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def number(self, number: int) -> int | None:
        """An attribute that is a number of 8 or 32 bits."""
        value = self.attributes.get(number, b"")
        if len(value) == 1:
            return value[0]
        return int(_NUMBER.unpack(value)[0]) if len(value) == _NUMBER.size else None

    @property
    def hardware_address(self) -> str | None:
        """A link's, such as "52:54:00:12:34:56"."""
        value = self.attributes.get(IFLA_ADDRESS)
        return value.hex(":") if value else None

    @property
    def state(self) -> str:
        """A link's operational state (RFC 2863)."""
        number = self.number(IFLA_OPERSTATE)
        return OPERATIONAL[number] if number is not None and number < len(OPERATIONAL) else "unknown"

    @property
    def address(self) -> str | None:
        """An address: this side's, where there are two (point-to-point)."""
        value = self.attributes.get(IFA_LOCAL) or self.attributes.get(IFA_ADDRESS, b"")
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            return None


def dump_request(kind: int) -> bytes:
    """Asks for all links (:data:`RTM_GETLINK`), or addresses (:data:`RTM_GETADDR`)."""
    return _HEADER.pack(_HEADER.size + _LINK.size, kind, REQUEST_DUMP, kind, 0) + bytes(_LINK.size)


def parse_messages(data: bytes) -> Iterator[RouteMessage]:
    """The messages of one read; those of other kinds have neither link nor attributes."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        yield _message(kind, data[at + _HEADER.size : at + length])
        at += _aligned(length)


def _message(kind: int, body: bytes) -> RouteMessage:
    if kind in (RTM_NEWLINK, RTM_DELLINK) and len(body) >= _LINK.size:
        family, _, index, flags, _ = _LINK.unpack_from(body)
        return RouteMessage(kind, family, index, flags, 0, _attributes(body, _LINK.size))
    if kind in (RTM_NEWADDR, RTM_DELADDR) and len(body) >= _ADDRESS.size:
        family, prefix, _, _, index = _ADDRESS.unpack_from(body)
        return RouteMessage(kind, family, index, 0, prefix, _attributes(body, _ADDRESS.size))
    return RouteMessage(kind if kind in (ERROR, DONE) else 0)


def _attributes(body: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size or at + length > len(body):
            break
        found[kind & ATTRIBUTE_TYPE] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3
