"""The counters of network interfaces (proc_net_dev(5))."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["InterfaceCounters", "parse_net_dev", "read_net_dev"]

NET_DEV = "/proc/net/dev"
MOST = 4096
"""Interfaces that are told of."""


class InterfaceCounters(NamedTuple):
    """Since the interface came; bytes and packets."""

    received_bytes: int
    received_packets: int
    receive_errors: int
    receive_dropped: int
    sent_bytes: int
    sent_packets: int
    send_errors: int
    send_dropped: int


def parse_net_dev(text: str) -> dict[str, InterfaceCounters]:
    """The counters by interface; its name may hold colons."""
    found = {}
    for line in text.splitlines()[2 : MOST + 2]:
        name, colon, rest = line.rpartition(":")
        words = rest.split()
        if colon and len(words) >= 16 and all(word.isdigit() for word in words):
            numbers = list(map(int, words))
            found[name.strip()] = InterfaceCounters(*numbers[:4], *numbers[8:12])
    return found


def read_net_dev(path: str = NET_DEV) -> dict[str, InterfaceCounters]:
    """The interfaces of this network namespace. Raises OSError."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return parse_net_dev(file.read())
