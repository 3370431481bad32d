"""The guest's network: interfaces, addresses, routes, neighbours, listening ports, DNS."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "Address",
    "AddressText",
    "Dns",
    "Interface",
    "InterfaceName",
    "InterfaceStatistics",
    "Metric",
    "Mtu",
    "Neighbour",
    "Network",
    "NetworkText",
    "Port",
    "Protocol",
    "Route",
    "Table",
]

InterfaceName = Annotated[str, msgspec.Meta(min_length=1, max_length=15, pattern=r"^[^/\s:\x00]+\Z")]
"""A name that an interface may have: at most IFNAMSIZ - 1."""

AddressText = Annotated[str, msgspec.Meta(min_length=2, max_length=64)]
"""An IPv4 or IPv6 address."""

NetworkText = Annotated[str, msgspec.Meta(min_length=2, max_length=64)]
"""An address with a prefix, such as "192.0.2.7/24" or "2001:db8::7/64"."""

Mtu = Annotated[int, msgspec.Meta(ge=68, le=2**31 - 1)]
"""Bytes of the largest packet; 68 is IPv4's smallest (RFC 791)."""

Metric = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]

Table = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
"""A routing table; 254 is "main", 255 "local"."""

Protocol = Literal["tcp", "tcp6", "udp", "udp6"]


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address of an interface.

    Attributes:
        address: as text.
        prefix: how many bits the network has.
        family: 4 or 6.
        scope: "global", "link", "host", "site" or a number.
        broadcast: IPv4's, if it has one.
        peer: the other end's, of a point-to-point link.
        dynamic: it goes away by itself, as one from DHCP or router advertisements does.
        valid: seconds until then; None: never.
        state: of IPv6: "tentative", "duplicate" or "deprecated"; "": usable.
    """

    address: str
    prefix: int
    family: Literal[4, 6]
    scope: str = "global"
    broadcast: str = ""
    peer: str = ""
    dynamic: bool = False
    valid: int | None = None
    state: str = ""


class InterfaceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What has gone through an interface since it came."""

    received_bytes: int
    received_packets: int
    receive_errors: int
    receive_dropped: int
    sent_bytes: int
    sent_packets: int
    send_errors: int
    send_dropped: int


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface.

    Attributes:
        index: the kernel's number.
        kind: "ethernet", "loopback", or what kind of virtual one it is, such as "bridge", "veth", "vlan".
        mac: the hardware address; "": none.
        up: it is switched on.
        state: what RFC 2863 calls it: "up", "down", "lowerlayerdown", "dormant", "unknown", ...
        carrier: there is a link; None: cannot be told.
        controller: the bridge or bond that it belongs to; "": none.
        alternative_names: further names that it has.
    """

    name: str
    index: int
    kind: str = ""
    mac: str = ""
    mtu: int | None = None
    up: bool = False
    state: str = ""
    carrier: bool | None = None
    controller: str = ""
    alternative_names: list[str] = []
    addresses: list[Address] = []
    statistics: InterfaceStatistics | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A route.

    Attributes:
        destination: a network such as "192.0.2.0/24"; "default": everything.
        family: 4 or 6.
        gateway: "": the network is on the link.
        interface: "": none, as of an unreachable route.
        source: the address that packets are sent from; "": any.
        metric: the lowest one counts.
        table: see :data:`Table`.
        protocol: who set it: "kernel", "boot", "static", "dhcp", "ra", or a number.
        scope: "global", "link", "host", or a number.
        kind: "unicast", "local", "broadcast", "unreachable", "blackhole", ...
        mtu: bytes; None: the interface's.
    """

    destination: str
    family: Literal[4, 6]
    gateway: str = ""
    interface: str = ""
    source: str = ""
    metric: int = 0
    table: int = 254
    protocol: str = ""
    scope: str = "global"
    kind: str = "unicast"
    mtu: int | None = None


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A machine on the link (ARP, RFC 826; neighbour discovery, RFC 4861).

    Attributes:
        state: "reachable", "stale", "delay", "probe", "incomplete", "failed", "permanent" or "noarp".
        router: it says that it is one.
    """

    address: str
    interface: str
    family: Literal[4, 6]
    mac: str = ""
    state: str = ""
    router: bool = False


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A port that is listened on.

    Attributes:
        address: "0.0.0.0" or "::": all.
        user: the number of the account that the socket belongs to.
        pid, program: one process that holds it; None and "": none, or the agent may not see it.
    """

    protocol: Protocol
    address: str
    port: int
    user: int
    pid: int | None = None
    program: str = ""


class Dns(msgspec.Struct, frozen=True, kw_only=True):
    """How names are resolved (resolv.conf(5)).

    Attributes:
        servers: as programs see them.
        search: domains that are tried.
        options: such as "edns0".
        manager: who wrote the file: "systemd-resolved", "NetworkManager", "resolvconf"; "": nobody who says so.
        upstream: whom a local resolver asks, where it is known and another than ``servers``.
    """

    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    manager: str = ""
    upstream: list[str] = []


class Network(Service, name="network", interface=True):
    """The guest's network. What is changed here is changed in the kernel, until the next boot."""

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable,))
    async def interfaces(self) -> list[Interface]:
        """All interfaces with their addresses.

        Raises:
            Unavailable: the agent lacks pyroute2.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable,))
    async def routes(self, *, table: Table | None = 254) -> list[Route]:
        """Routes, of both families.

        Args:
            table: which one; 254 is the main one, None: all of them.

        Raises:
            Unavailable: the agent lacks pyroute2.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(Unavailable,))
    async def neighbours(self) -> list[Neighbour]:
        """The machines on the links that the kernel knows of.

        Raises:
            Unavailable: the agent lacks pyroute2.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def ports(self) -> list[Port]:
        """Ports of TCP that are listened on, and of UDP that are bound, with the process where the agent may see it."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def dns(self) -> Dns:
        """How names are resolved here."""
        raise NotImplementedError

    @method(
        idempotent=True,
        role="admin",
        since="0.1.0",
        errors=(NotFound, PermissionDenied, InvalidArgument, FailedPrecondition, Unavailable),
    )
    async def set_interface(self, name: InterfaceName, *, up: bool | None = None, mtu: Mtu | None = None) -> Interface:
        """Switch an interface on or off, or change its MTU; what became of it.

        Args:
            name: which one.
            up: None: as it is.
            mtu: bytes; None: as it is.

        Raises:
            NotFound: there is no such interface.
            PermissionDenied: the agent may not (CAP_NET_ADMIN).
            InvalidArgument: nothing is to be changed, or the interface cannot have that MTU.
        """
        raise NotImplementedError

    @method(
        role="admin",
        since="0.1.0",
        errors=(NotFound, AlreadyExists, PermissionDenied, InvalidArgument, FailedPrecondition, Unavailable),
    )
    async def add_address(self, interface: InterfaceName, address: NetworkText) -> Interface:
        """Give an interface an address.

        Args:
            interface: its name.
            address: with the prefix: "192.0.2.7/24".

        Raises:
            NotFound: there is no such interface.
            AlreadyExists: it has that address.
            InvalidArgument: that is no address.
        """
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(NotFound, PermissionDenied, InvalidArgument, Unavailable))
    async def remove_address(self, interface: InterfaceName, address: NetworkText) -> Interface:
        """Take an address away.

        Raises:
            NotFound: there is no such interface, or it does not have that address.
            InvalidArgument: that is no address.
        """
        raise NotImplementedError

    @method(
        role="admin",
        since="0.1.0",
        errors=(NotFound, AlreadyExists, PermissionDenied, InvalidArgument, FailedPrecondition, Unavailable),
    )
    async def add_route(
        self,
        destination: NetworkText,
        *,
        gateway: AddressText | None = None,
        interface: InterfaceName | None = None,
        metric: Metric | None = None,
        table: Table | None = None,
    ) -> None:
        """Add a route.

        Args:
            destination: a network such as "198.51.100.0/24", or "default" (of the gateway's family).
            gateway: who takes the packets; None: the network is on the link of the interface.
            interface: None: the one that reaches the gateway.
            metric: the lowest one counts.
            table: None: the main one.

        Raises:
            NotFound: there is no such interface.
            AlreadyExists: there is that route.
            InvalidArgument: that is no network or no address, or neither a gateway nor an interface is given.
            FailedPrecondition: the gateway cannot be reached.
        """
        raise NotImplementedError

    @method(role="admin", since="0.1.0", errors=(NotFound, PermissionDenied, InvalidArgument, Unavailable))
    async def remove_route(
        self,
        destination: NetworkText,
        *,
        gateway: AddressText | None = None,
        interface: InterfaceName | None = None,
        metric: Metric | None = None,
        table: Table | None = None,
    ) -> None:
        """Remove the route that has all of this.

        Raises:
            NotFound: there is no such route or interface.
            InvalidArgument: that is no network or no address.
        """
        raise NotImplementedError
