"""The kernel's network configuration over netlink (rtnetlink(7)), read and changed through pyroute2.

Loaded by the first call that needs it: pyroute2 takes 0.2 s and 20 MiB.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any, Literal

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from virtagent.api.network import Address, Interface, InterfaceStatistics, Neighbour, Route
from virtagent.errors import (
    AlreadyExists,
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from virtagent.guest.os_errors import call_error

__all__ = [
    "add_address",
    "add_route",
    "interfaces",
    "neighbours",
    "remove_address",
    "remove_route",
    "routes",
    "set_interface",
]

IFF_UP = 1
LINK_KINDS = {1: "ethernet", 772: "loopback", 512: "ppp", 65534: "none", 32: "infiniband", 801: "wifi", 776: "sit"}
"""ARPHRD_ of linux/if_arp.h."""

SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp", 186: "bgp", 188: "ospf"}
ROUTE_KINDS = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}
NEIGHBOUR_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
"""From linux/rtnetlink.h and linux/neighbour.h."""

NTF_ROUTER = 0x80
IFA_F_PERMANENT = 0x80
ADDRESS_STATES = ((0x08, "duplicate"), (0x40, "tentative"), (0x20, "deprecated"))
LINK, NOWHERE = 253, 255
"""Scopes: of a route without a gateway; of any, where one is to be removed."""

FOREVER = 2**32 - 1
MAIN = 254

_WORDS = {
    errno.ESRCH: "there is no such route",
    errno.EADDRNOTAVAIL: "it does not have that address",
    errno.EEXIST: "it is there already",
}
"""What the kernel means here by the numbers of other errors."""

_ERRORS: dict[int, type[CallError]] = {
    errno.EEXIST: AlreadyExists,
    errno.ENODEV: NotFound,
    errno.ESRCH: NotFound,
    errno.EADDRNOTAVAIL: NotFound,
    errno.ENETUNREACH: FailedPrecondition,
    errno.EHOSTUNREACH: FailedPrecondition,
    errno.ENETDOWN: FailedPrecondition,
    errno.EOPNOTSUPP: FailedPrecondition,
    errno.EBUSY: FailedPrecondition,
}


@contextmanager
def netlink(what: str) -> Iterator[Any]:
    """A socket for one call; the kernel's errors as answers.

    Args:
        what: is about to be done, for the error's text.
    """
    try:
        with IPRoute() as ip:
            yield ip
    except NetlinkError as error:
        if error.code in (errno.EPERM, errno.EACCES):
            raise PermissionDenied(f"{what}: the agent may not; run it as root or with CAP_NET_ADMIN") from None
        told = OSError(error.code, _words(error))
        cls = _ERRORS.get(error.code)
        raise (call_error(what, told) if cls is None else cls(f"{what}: {told.strerror}")) from None


def _words(error: NetlinkError) -> str:
    return _WORDS.get(error.code) or str(error.args[1] if len(error.args) > 1 else error)


def _attributes(message: Any) -> dict[str, Any]:
    """The attributes by name; the first of several counts."""
    found: dict[str, Any] = {}
    for name, value in message["attrs"]:
        found.setdefault(name, value)
    return found


def _family(message: Any) -> Literal[4, 6] | None:
    return {2: 4, 10: 6}.get(message["family"])  # type: ignore[return-value]


# -- what there is -----------------------------------------------------------------------------------------------------


def _names(ip: Any) -> dict[int, str]:
    return {link["index"]: _attributes(link).get("IFLA_IFNAME", "") for link in ip.get_links()}


def interfaces(only: str | None = None) -> list[Interface]:
    """The interfaces, in the kernel's order.

    Args:
        only: the name of the one that is meant.
    """
    with netlink("interfaces") as ip:
        links = list(ip.get_links())
        addresses = list(ip.get_addr())
    names = {link["index"]: _attributes(link).get("IFLA_IFNAME", "") for link in links}
    of_links: dict[int, list[Address]] = {}
    for message in addresses:
        found = _address(message)
        if found is not None:
            of_links.setdefault(message["index"], []).append(found)
    return [
        _interface(link, names, of_links.get(link["index"], []))
        for link in links
        if only is None or names[link["index"]] == only
    ]


def _interface(link: Any, names: dict[int, str], addresses: list[Address]) -> Interface:
    told = _attributes(link)
    info = _attributes(told["IFLA_LINKINFO"]) if "IFLA_LINKINFO" in told else {}
    properties = told.get("IFLA_PROP_LIST")
    carrier = told.get("IFLA_CARRIER")
    return Interface(
        name=names[link["index"]],
        index=link["index"],
        kind=info.get("IFLA_INFO_KIND") or LINK_KINDS.get(link["ifi_type"], str(link["ifi_type"])),
        mac=told.get("IFLA_ADDRESS", ""),
        mtu=told.get("IFLA_MTU"),
        up=bool(link["flags"] & IFF_UP),
        state=str(told.get("IFLA_OPERSTATE", "")).lower(),
        carrier=None if carrier is None else bool(carrier),
        controller=names.get(told.get("IFLA_MASTER", 0), ""),
        alternative_names=[] if properties is None else [value for _, value in properties["attrs"]],
        addresses=addresses,
        statistics=_statistics(told),
    )


def _statistics(told: dict[str, Any]) -> InterfaceStatistics | None:
    counted = told.get("IFLA_STATS64") or told.get("IFLA_STATS")
    if not counted:
        return None
    return InterfaceStatistics(
        received_bytes=counted["rx_bytes"],
        received_packets=counted["rx_packets"],
        receive_errors=counted["rx_errors"],
        receive_dropped=counted["rx_dropped"],
        sent_bytes=counted["tx_bytes"],
        sent_packets=counted["tx_packets"],
        send_errors=counted["tx_errors"],
        send_dropped=counted["tx_dropped"],
    )


def _address(message: Any) -> Address | None:
    family, told = _family(message), _attributes(message)
    here, there = told.get("IFA_LOCAL"), told.get("IFA_ADDRESS")
    if family is None or not (here or there):
        return None
    flags = told.get("IFA_FLAGS", message["flags"])
    valid = (told.get("IFA_CACHEINFO") or {}).get("ifa_valid", FOREVER)
    return Address(
        address=str(here or there),
        prefix=message["prefixlen"],
        family=family,
        scope=SCOPES.get(message["scope"], str(message["scope"])),
        broadcast=told.get("IFA_BROADCAST", ""),
        peer=str(there) if here and there and here != there else "",
        dynamic=not flags & IFA_F_PERMANENT,
        valid=None if valid == FOREVER else valid,
        state=next((name for bit, name in ADDRESS_STATES if flags & bit), "") if family == 6 else "",
    )


def routes(table: int | None) -> list[Route]:
    """The routes of a table, or of all."""
    with netlink("routes") as ip:
        names = _names(ip)
        found = [route for message in ip.get_routes() for route in _routes(message, names)]
    return [each for each in found if table is None or each.table == table]


def _routes(message: Any, names: dict[int, str]) -> Iterator[Route]:
    """One for each next hop."""
    family, told = _family(message), _attributes(message)
    if family is None:
        return
    hops = [(told.get("RTA_GATEWAY"), told.get("RTA_OIF"))]
    if told.get("RTA_MULTIPATH"):
        hops = [(_attributes(hop).get("RTA_GATEWAY"), hop["oif"]) for hop in told["RTA_MULTIPATH"]]
    elif told.get("RTA_VIA"):
        hops = [(told["RTA_VIA"].get("addr"), told.get("RTA_OIF"))]
    metrics = _attributes(told["RTA_METRICS"]) if told.get("RTA_METRICS") else {}
    for gateway, index in hops:
        yield Route(
            destination=f"{told['RTA_DST']}/{message['dst_len']}" if told.get("RTA_DST") else "default",
            family=family,
            gateway=gateway or "",
            interface=names.get(index or 0, ""),
            source=told.get("RTA_PREFSRC", ""),
            metric=told.get("RTA_PRIORITY", 0),
            table=told.get("RTA_TABLE", message["table"]),
            protocol=PROTOCOLS.get(message["proto"], str(message["proto"])),
            scope=SCOPES.get(message["scope"], str(message["scope"])),
            kind=ROUTE_KINDS.get(message["type"], str(message["type"])),
            mtu=metrics.get("RTAX_MTU"),
        )


def neighbours() -> list[Neighbour]:
    """The neighbours of both families."""
    with netlink("neighbours") as ip:
        names = _names(ip)
        messages = [*ip.get_neighbours(family=2), *ip.get_neighbours(family=10)]
    found = []
    for message in messages:
        family, told = _family(message), _attributes(message)
        if family is not None and told.get("NDA_DST"):
            found.append(
                Neighbour(
                    address=told["NDA_DST"],
                    interface=names.get(message["ifindex"], ""),
                    family=family,
                    mac=told.get("NDA_LLADDR", ""),
                    state=NEIGHBOUR_STATES.get(message["state"], "none"),
                    router=bool(message["flags"] & NTF_ROUTER),
                )
            )
    return found


# -- changes -----------------------------------------------------------------------------------------------------------


def _index(ip: Any, name: str) -> int:
    for index, known in _names(ip).items():
        if known == name:
            return index
    raise NotFound(f"there is no interface {name!r}")


def _one(name: str) -> Interface:
    found = interfaces(name)
    if not found:
        raise NotFound(f"the interface {name!r} is gone")
    return found[0]


def set_interface(name: str, *, up: bool | None, mtu: int | None) -> Interface:
    """Switch it, and change its MTU, in one message."""
    changes: dict[str, Any] = {}
    if up is not None:
        changes["state"] = "up" if up else "down"
    if mtu is not None:
        changes["mtu"] = mtu
    if not changes:
        raise InvalidArgument("nothing is to be changed; give up or mtu")
    with netlink(name) as ip:
        ip.link("set", index=_index(ip, name), **changes)
    return _one(name)


def _interface_address(text: str) -> IPv4Interface | IPv6Interface:
    try:
        return ip_interface(text)
    except ValueError:
        raise InvalidArgument(f"{text!r} is no address with a prefix; write such as 192.0.2.7/24") from None


def add_address(name: str, text: str) -> Interface:
    """Give an interface an address; IPv4 gets the broadcast address that its network has."""
    wanted = _interface_address(text)
    more: dict[str, Any] = {}
    if wanted.version == 4 and wanted.network.prefixlen < 31:
        more["broadcast"] = str(wanted.network.broadcast_address)
    with netlink(f"{wanted} on {name}") as ip:
        ip.addr("add", index=_index(ip, name), address=str(wanted.ip), prefixlen=wanted.network.prefixlen, **more)
    return _one(name)


def remove_address(name: str, text: str) -> Interface:
    """Take it away."""
    wanted = _interface_address(text)
    with netlink(f"{wanted} on {name}") as ip:
        ip.addr("del", index=_index(ip, name), address=str(wanted.ip), prefixlen=wanted.network.prefixlen)
    return _one(name)


def _destination(text: str, gateway: str | None) -> IPv4Network | IPv6Network:
    if text == "default":
        version = 4 if gateway is None else ip_address(gateway).version
        text = "0.0.0.0/0" if version == 4 else "::/0"
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidArgument(f"{text!r} is no network: {error}; write such as 198.51.100.0/24, or default") from None


def _gateway(text: str | None) -> str | None:
    try:
        return None if text is None else str(ip_address(text))
    except ValueError:
        raise InvalidArgument(f"{text!r} is no address of a gateway") from None


def _change_route(
    verb: str,
    destination: str,
    gateway: str | None,
    interface: str | None,
    metric: int | None,
    table: int | None,
) -> None:
    through = _gateway(gateway)
    wanted = _destination(destination, through)
    if through is not None and ip_address(through).version != wanted.version:
        raise InvalidArgument(f"{wanted} cannot be reached through {through}: they are of two families")
    fields: dict[str, Any] = {
        "family": 2 if wanted.version == 4 else 10,
        "dst": str(wanted),
        "gateway": through,
        "priority": metric,
        "table": MAIN if table is None else table,
    }
    if wanted.version == 4:  # of IPv6, the kernel ignores it
        fields["scope"] = NOWHERE if verb == "del" else LINK if through is None else None
    with netlink(f"the route to {destination}") as ip:
        if interface is not None:
            fields["oif"] = _index(ip, interface)
        ip.route(verb, **{name: value for name, value in fields.items() if value is not None})


def add_route(
    destination: str, *, gateway: str | None, interface: str | None, metric: int | None, table: int | None
) -> None:
    """Add a route."""
    if gateway is None and interface is None:
        raise InvalidArgument("a route needs a gateway or an interface")
    _change_route("add", destination, gateway, interface, metric, table)


def remove_route(
    destination: str, *, gateway: str | None, interface: str | None, metric: int | None, table: int | None
) -> None:
    """Remove a route."""
    _change_route("del", destination, gateway, interface, metric, table)
