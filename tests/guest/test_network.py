"""The network as the kernel has it: real netlink in a network namespace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guest.namespace import namespace
from tests.service.wire import Wire
from virtagent.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from virtagent.guest.dns import parse_resolv_conf, read_dns
from virtagent.guest.network import NetworkService
from virtagent.guest.ports import listening_ports, parse_sockets

LIMIT = 30.0

# -- what there is -----------------------------------------------------------------------------------------------------


@pytest.mark.root
async def test_interfaces_are_those_that_ip_shows(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        here.run("ip", "link", "add", "br0", "type", "bridge")
        here.run("ip", "link", "set", "right", "master", "br0")
        here.run("ip", "link", "property", "add", "dev", "left", "altname", "a-rather-long-other-name")
        here.run(
            "ip", "addr", "add", "192.0.2.7/24", "dev", "left", "brd", "+", "valid_lft", "300", "preferred_lft", "300"
        )
        here.run("ip", "addr", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", "left")
        told = {each.name: each for each in await here.guest.network.interfaces()}
        shown = {each["ifname"]: each for each in here.ip("-details", "-stats", "addr")}
    assert set(told) == set(shown) == {"lo", "left", "right", "br0"}
    for name, each in told.items():
        assert each.index == shown[name]["ifindex"]
        assert each.mtu == shown[name]["mtu"]
        assert each.mac == shown[name]["address"]
        assert each.up == ("UP" in shown[name]["flags"])
        assert each.state == shown[name]["operstate"].lower()
        assert [(a.address, a.prefix, a.scope) for a in each.addresses] == [
            (a["local"], 32 if "address" in a else a["prefixlen"], a["scope"]) for a in shown[name]["addr_info"]
        ]
    assert told["right"].controller == "br0"
    assert told["lo"].kind == "loopback"
    assert (told["left"].kind, told["br0"].kind) == ("veth", "bridge")
    assert told["left"].alternative_names == ["a-rather-long-other-name"]
    first, second = [each for each in told["left"].addresses if each.family == 4]
    assert (first.broadcast, first.dynamic) == ("192.0.2.255", True)
    assert first.valid is not None
    assert 0 < first.valid <= 300
    assert (second.address, second.peer, second.dynamic, second.valid) == ("198.51.100.1", "198.51.100.2", False, None)
    assert told["lo"].statistics is not None
    assert told["lo"].statistics.received_bytes == shown["lo"]["stats64"]["rx"]["bytes"]


@pytest.mark.root
async def test_routes_are_those_that_ip_shows(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        here.run("ip", "link", "set", "left", "up")
        here.run("ip", "addr", "add", "192.0.2.7/24", "dev", "left")
        here.run("ip", "route", "add", "default", "via", "192.0.2.1", "metric", "100")
        here.run("ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.2", "mtu", "1300")
        here.run("ip", "route", "add", "10.0.0.0/8", "nexthop", "via", "192.0.2.3", "nexthop", "via", "192.0.2.4")
        here.run("ip", "route", "add", "unreachable", "198.51.100.0/24")
        here.run("ip", "route", "add", "192.168.7.0/24", "dev", "left", "table", "77")
        routes = [each for each in await here.guest.network.routes() if each.family == 4]
        everything = await here.guest.network.routes(table=None)
        (other,) = await here.guest.network.routes(table=77)
    by_destination = {each.destination: each for each in routes}
    default = by_destination["default"]
    assert (default.gateway, default.interface, default.metric) == ("192.0.2.1", "left", 100)
    assert by_destination["203.0.113.0/24"].mtu == 1300
    assert by_destination["198.51.100.0/24"].kind == "unreachable"
    assert by_destination["192.0.2.0/24"].protocol == "kernel"
    assert by_destination["192.0.2.0/24"].source == "192.0.2.7"
    assert [each.gateway for each in routes if each.destination == "10.0.0.0/8"] == ["192.0.2.3", "192.0.2.4"]
    assert (other.destination, other.scope) == ("192.168.7.0/24", "link")
    assert {77, 254, 255} <= {each.table for each in everything}
    assert any(each.destination == "::1/128" and each.family == 6 for each in everything)


@pytest.mark.root
async def test_neighbours_are_those_that_ip_shows(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        here.run("ip", "link", "set", "left", "up")
        here.run("ip", "neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "nud", "permanent", "dev", "left")
        here.run("ip", "neigh", "add", "fd00::9", "lladdr", "02:00:00:00:00:0a", "router", "dev", "left")
        told = {each.address: each for each in await here.guest.network.neighbours()}
    assert (told["192.0.2.9"].mac, told["192.0.2.9"].state) == ("02:00:00:00:00:09", "permanent")
    assert (told["192.0.2.9"].interface, told["192.0.2.9"].family) == ("left", 4)
    assert told["fd00::9"].router


# -- changes -----------------------------------------------------------------------------------------------------------


@pytest.mark.root
async def test_an_interface_is_switched_and_gets_an_mtu(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        network = here.guest.network
        on = await network.set_interface("left", up=True, mtu=1400)
        assert (on.up, on.mtu) == (True, 1400)
        (shown,) = here.ip("link", "show", "left")
        assert ("UP" in shown["flags"], shown["mtu"]) == (True, 1400)
        off = await network.set_interface("left", up=False)
        assert (off.up, off.mtu) == (False, 1400)
        with pytest.raises(InvalidArgument, match="left"):
            await network.set_interface("left", mtu=2**31 - 1)
        with pytest.raises(InvalidArgument, match="nothing is to be changed"):
            await network.set_interface("left")
        with pytest.raises(NotFound, match="'nope'"):
            await network.set_interface("nope", up=True)


@pytest.mark.root
async def test_addresses_come_and_go(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        network = here.guest.network
        for text, address in (("192.0.2.7/24", "192.0.2.7"), ("2001:db8::7/64", "2001:db8::7")):
            interface = await network.add_address("left", text)
            assert address in [each.address for each in interface.addresses]
            with pytest.raises(AlreadyExists, match=address):
                await network.add_address("left", text)
        (shown,) = here.ip("addr", "show", "left")
        assert [(each["local"], each.get("broadcast")) for each in shown["addr_info"]][:1] == [
            ("192.0.2.7", "192.0.2.255")
        ]
        interface = await network.remove_address("left", "192.0.2.7/24")
        assert [each.address for each in interface.addresses] == ["2001:db8::7"]
        with pytest.raises(NotFound, match="does not have that address"):
            await network.remove_address("left", "192.0.2.7/24")
        with pytest.raises(InvalidArgument, match="no address with a prefix"):
            await network.add_address("left", "192.0.2.300/24")


@pytest.mark.root
async def test_routes_come_and_go(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        network = here.guest.network
        await network.set_interface("left", up=True)
        await network.add_address("left", "192.0.2.7/24")
        await network.add_address("left", "2001:db8::7/64")
        await network.add_route("198.51.100.0/24", gateway="192.0.2.1", metric=7)
        await network.add_route("203.0.113.0/24", interface="left", table=77)
        await network.add_route("default", gateway="2001:db8::1")
        with pytest.raises(AlreadyExists):
            await network.add_route("198.51.100.0/24", gateway="192.0.2.1", metric=7)
        shown = {each["dst"]: each for each in here.ip("route", "show", "table", "all") if each.get("type") is None}
        assert (shown["198.51.100.0/24"]["gateway"], shown["198.51.100.0/24"]["metric"]) == ("192.0.2.1", 7)
        assert (shown["203.0.113.0/24"]["scope"], shown["203.0.113.0/24"]["table"]) == ("link", "77")
        assert here.ip("-6", "route", "show", "default")[0]["gateway"] == "2001:db8::1"
        await network.remove_route("198.51.100.0/24")
        await network.remove_route("203.0.113.0/24", table=77)
        await network.remove_route("default", gateway="2001:db8::1")
        assert not [each for each in await network.routes(table=None) if each.protocol == "static"]
        with pytest.raises(NotFound, match="no such route"):
            await network.remove_route("198.51.100.0/24")


@pytest.mark.root
async def test_a_link_route_that_somebody_else_made_is_removed(tmp_path: Path) -> None:
    async with namespace(tmp_path) as here:
        here.run("ip", "link", "set", "left", "up")
        here.run("ip", "route", "add", "10.0.0.0/8", "dev", "left")
        await here.guest.network.remove_route("10.0.0.0/8", interface="left")
        assert here.ip("route", "show", "10.0.0.0/8") == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"destination": "198.51.100.1/24", "gateway": "192.0.2.1"}, InvalidArgument),
        ({"destination": "nowhere", "gateway": "192.0.2.1"}, InvalidArgument),
        ({"destination": "10.0.0.0/8", "gateway": "here"}, InvalidArgument),
        ({"destination": "10.0.0.0/8", "gateway": "fd00::1"}, InvalidArgument),
        ({"destination": "10.0.0.0/8"}, InvalidArgument),
        ({"destination": "10.0.0.0/8", "interface": "nope"}, NotFound),
        ({"destination": "10.0.0.0/8", "gateway": "192.0.2.1"}, FailedPrecondition),
    ],
)
async def test_routes_that_cannot_be_are_refused(tmp_path: Path, arguments: dict[str, Any], error: Any) -> None:
    async with namespace(tmp_path) as here:
        with pytest.raises(error):
            await here.guest.network.add_route(**arguments)


@pytest.mark.root
def test_without_the_capability_changes_are_refused_in_words() -> None:
    code = (
        "import os\n"
        "from virtagent.guest import netlink\n"
        "from virtagent.errors import PermissionDenied\n"
        "netlink.interfaces()\n"
        "os.setuid(65534)\n"
        "try:\n    netlink.set_interface('lo', up=True, mtu=None)\n"
        "except PermissionDenied as error:\n    print('CAP_NET_ADMIN' in str(error))"
    )
    command = ["unshare", "--net", sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert PermissionDenied.code == 7


@pytest.mark.parametrize(
    "arguments",
    [{"name": ""}, {"name": "x" * 16}, {"name": "a/b"}, {"name": "a b"}, {"name": "lo", "mtu": 67}],
)
async def test_arguments_are_bounded(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="argument"):
        await Wire(NetworkService()).request("network.set_interface", arguments)


async def test_without_pyroute2_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "virtagent.guest.netlink", raising=False)
    monkeypatch.delattr("virtagent.guest.netlink", raising=False)
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    with pytest.raises(Unavailable, match=r"virtagent\[guest\]"):
        await NetworkService().interfaces()
    assert isinstance(await NetworkService().ports(), list)


# -- ports -------------------------------------------------------------------------------------------------------------


async def test_ports_that_are_listened_on_are_told_with_their_process() -> None:
    kinds = [
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
        ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, "::1"),
        ("udp", socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1"),
        ("udp6", socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
    ]
    for protocol, family, kind, address in kinds:
        with socket.socket(family, kind) as listener:
            listener.bind((address, 0))
            if kind is socket.SOCK_STREAM:
                listener.listen()
            number = listener.getsockname()[1]
            found = [each for each in await NetworkService().ports() if each.port == number]
        (mine,) = [each for each in found if each.protocol == protocol]
        assert (mine.address, mine.user, mine.pid) == (address, os.getuid(), os.getpid())
        assert mine.program


def test_connections_are_no_ports(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        ports = [each.port for each in listening_ports() if each.protocol == "tcp"]
        assert server.getsockname()[1] in ports
        assert client.getsockname()[1] not in ports


@given(st.text(max_size=300))
def test_any_text_is_some_sockets(text: str) -> None:
    assert isinstance(parse_sockets(text, tcp=True), list)


# -- DNS ---------------------------------------------------------------------------------------------------------------


def test_resolv_conf_is_read_as_the_c_library_reads_it() -> None:
    told = parse_resolv_conf(
        "# Generated by NetworkManager\nnameserver 192.0.2.53\nnameserver  fd00::53 \nsearch a.example b.example\n"
        "domain c.example\noptions edns0 timeout:2\noptions edns0 rotate\n; nameserver 9.9.9.9\nnameserver\n"
    )
    assert told.servers == ["192.0.2.53", "fd00::53"]
    assert told.search == ["c.example"]
    assert told.options == ["edns0", "timeout:2", "rotate"]
    assert told.manager == "NetworkManager"


def test_whom_systemd_resolved_asks_is_told(tmp_path: Path) -> None:
    stub, uplink = tmp_path / "resolv.conf", tmp_path / "uplink"
    stub.write_text("# This is managed by man:systemd-resolved(8)\nnameserver 127.0.0.53\n")
    uplink.write_text("nameserver 192.0.2.53\nnameserver 192.0.2.54\n")
    told = read_dns(str(stub), str(uplink))
    assert (told.servers, told.upstream) == (["127.0.0.53"], ["192.0.2.53", "192.0.2.54"])
    assert told.manager == "systemd-resolved"


def test_a_guest_without_resolv_conf_has_no_servers() -> None:
    assert read_dns("/nope", "/nope").servers == []


@given(st.text(max_size=300))
def test_any_text_is_some_configuration(text: str) -> None:
    parse_resolv_conf(text)
