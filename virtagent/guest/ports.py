"""Ports that are listened on (proc_net(5)), and the processes that hold them."""

from __future__ import annotations

import os
import socket
import sys
from typing import NamedTuple

from virtagent.api.network import Port, Protocol
from virtagent.peer.identity import read_line

__all__ = ["listening_ports", "parse_sockets"]

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "tcp6", "udp", "udp6")

TCP_LISTEN = "0A"
UDP_UNCONNECTED = "07"

MOST = 65536
"""Sockets that are looked at in one file."""


class Socket(NamedTuple):
    """A socket that waits for anybody."""

    address: str
    port: int
    user: int
    inode: int


def _address(text: str) -> str:
    """The kernel prints words of 32 bits in its own byte order."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    data = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def parse_sockets(text: str, *, tcp: bool) -> list[Socket]:
    """The sockets of one file of /proc/net that wait for anybody; lines of another form are left out."""
    found = []
    for line in text.splitlines()[1:MOST]:
        words = line.split()
        if len(words) < 10 or words[3] != (TCP_LISTEN if tcp else UDP_UNCONNECTED):
            continue
        address, colon, port = words[1].partition(":")
        try:
            if colon and len(address) in (8, 32):
                found.append(Socket(_address(address), int(port, 16), int(words[7]), int(words[9])))
        except ValueError:
            continue
    return found


def listening_ports(proc: str = "/proc") -> list[Port]:
    """Those of this network namespace, by number."""
    sockets: list[tuple[Protocol, Socket]] = []
    for protocol in PROTOCOLS:
        try:
            with open(f"{proc}/net/{protocol}", encoding="ascii", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        sockets += [(protocol, each) for each in parse_sockets(text, tcp=protocol.startswith("tcp"))]
    holders = _holders({each.inode for _, each in sockets}, proc)
    ports = []
    for protocol, each in dict.fromkeys(sockets):
        pid = holders.get(each.inode)
        ports.append(
            Port(
                protocol=protocol,
                address=each.address,
                port=each.port,
                user=each.user,
                pid=pid,
                program="" if pid is None else read_line(f"{proc}/{pid}/comm"),
            )
        )
    return sorted(ports, key=lambda port: (port.port, port.protocol, port.address))


def _holders(inodes: set[int], proc: str) -> dict[int, int]:
    """One process for each socket that a process holds which this one may look into."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found: dict[int, int] = {}
    for name in os.listdir(proc):
        if not name.isdecimal() or len(found) == len(wanted):
            continue
        try:
            with os.scandir(f"{proc}/{name}/fd") as entries:
                targets = [os.readlink(entry.path) for entry in entries]
        except OSError:
            continue
        for target in targets:
            inode = wanted.get(target)
            if inode is not None:
                found.setdefault(inode, int(name))
    return found
