"""Messages of rtnetlink, and what is told of them."""

from __future__ import annotations

import socket
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtagent.guest.events_network import GROUPS, NetworkState
from virtagent.guest.rtnetlink import (
    IFA_ADDRESS,
    IFA_LABEL,
    IFA_LOCAL,
    IFLA_CARRIER,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_OPERSTATE,
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


def link(kind: int = RTM_NEWLINK, *, flags: int = 1, family: int = 0, mtu: int | None = 1500) -> RouteMessage:
    attributes = {IFLA_IFNAME: b"eth0\0", IFLA_OPERSTATE: b"\6", IFLA_CARRIER: b"\1"}
    if mtu is not None:
        attributes[IFLA_MTU] = struct.pack("=I", mtu)
    return RouteMessage(kind, family, 2, flags, 0, attributes)


def address(kind: int = RTM_NEWADDR) -> RouteMessage:
    local, peer = (socket.inet_aton(each) for each in ("192.0.2.1", "192.0.2.2"))
    return RouteMessage(kind, 2, 2, 0, 32, {IFA_LOCAL: local, IFA_ADDRESS: peer, IFA_LABEL: b"eth0:1\0"})


def test_what_the_kernel_says_of_links_twice_is_told_once() -> None:
    state = NetworkState()

    def kinds(*messages: RouteMessage) -> list[str | None]:
        return [None if told is None else told[0] for told in map(state.take, messages)]

    assert kinds(link(RTM_DELLINK), link(), link()) == [None, "link.added", None]
    assert kinds(link(flags=0), link(flags=0), link(mtu=9000, flags=0)) == ["link.changed", None, "link.changed"]
    # A port leaves its bridge, IPv6 tells of its settings, a driver has news of its own.
    assert kinds(link(RTM_DELLINK, family=7), link(family=10, flags=0), link(mtu=None)) == [None, None, None]
    assert kinds(link(RTM_DELLINK), link(RTM_DELLINK)) == ["link.removed", None]


def test_an_address_that_is_only_renewed_is_not_told_again() -> None:
    state = NetworkState()
    state.take(link())
    told = state.take(address())
    assert told == (
        "address.added",
        {"interface": "eth0", "index": 2, "address": "192.0.2.1", "prefix": 32, "family": "ipv4"},
    )
    assert state.take(address()) is None
    gone = state.take(address(RTM_DELADDR))
    assert gone is not None
    assert gone[0] == "address.removed"
    assert state.take(address(RTM_DELADDR)) is None


def all_there_is(request: int) -> bytes:
    """The kernel's answers to a request for everything."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.settimeout(10)
        sock.sendto(dump_request(request), (0, 0))
        data = b""
        while not any(each.kind == 3 for each in parse_messages(data)):
            data += sock.recv(1 << 17)
        return data


def test_links_and_addresses_are_those_that_pyroute2_sees() -> None:
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    for request in (RTM_GETLINK, RTM_GETADDR):
        data = all_there_is(request)
        ours = [each for each in parse_messages(data) if each.kind != 3]
        theirs = [each for each in MarshalRtnl().parse(data) if each["header"]["type"] != 3]
        assert len(ours) == len(theirs) > 0
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.kind, mine.family, mine.link) == (other["header"]["type"], other["family"], other["index"])
            if request == RTM_GETLINK:
                expected: Any = [other.get_attr(f"IFLA_{each}") for each in ("IFNAME", "MTU", "CARRIER", "ADDRESS")]
                told = [mine.text(IFLA_IFNAME), mine.number(IFLA_MTU), mine.number(IFLA_CARRIER), mine.hardware_address]
                assert told == expected
                assert mine.state == other.get_attr("IFLA_OPERSTATE").lower()
                assert mine.flags == other["flags"]
            else:
                assert mine.address == (other.get_attr("IFA_LOCAL") or other.get_attr("IFA_ADDRESS"))
                assert mine.prefix == other["prefixlen"]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_message_is_survived(data: bytes, cut: int) -> None:
    state = NetworkState()
    for kind in (RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR):
        whole = struct.pack("=IHHII", 16 + len(data), kind, 0, 0, 0) + data
        for message in [*parse_messages(whole), *parse_messages(whole[:cut]), *parse_messages(data)]:
            state.take(message)


def test_the_groups_are_those_of_links_and_addresses() -> None:
    assert GROUPS == 1 << 0 | 1 << 4 | 1 << 8  # RTNLGRP_LINK 1, RTNLGRP_IPV4_IFADDR 5, RTNLGRP_IPV6_IFADDR 9
