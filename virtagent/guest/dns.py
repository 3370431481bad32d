"""How names are resolved (resolv.conf(5))."""

from __future__ import annotations

import os

from virtagent.api.network import Dns

__all__ = ["parse_resolv_conf", "read_dns"]

RESOLV_CONF = "/etc/resolv.conf"
UPLINK = "/run/systemd/resolve/resolv.conf"
"""Whom systemd-resolved asks itself (systemd-resolved.service(8), "/etc/resolv.conf")."""

LARGEST = 64 * 1024
STUBS = frozenset({"127.0.0.53", "127.0.0.54"})
MANAGERS = (
    ("systemd-resolved", "systemd-resolved"),
    ("networkmanager", "NetworkManager"),
    ("resolvconf", "resolvconf"),
)
"""Words of the file's comments and of its link's target, and who they tell of."""


def parse_resolv_conf(text: str) -> Dns:
    """The file as the C library reads it: the last "search" or "domain" counts, options add up."""
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    comments = ""
    for line in text.splitlines():
        if line.startswith(("#", ";")):
            comments += line.lower()
            continue
        keyword, *words = line.split() or [""]
        if keyword == "nameserver" and words:
            servers.append(words[0])
        elif keyword == "search":
            search = words
        elif keyword == "domain" and words:
            search = words[:1]
        elif keyword == "options":
            options += [word for word in words if word not in options]
    return Dns(servers=servers, search=search, options=options, manager=_manager(comments))


def _manager(text: str) -> str:
    return next((name for word, name in MANAGERS if word in text), "")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(LARGEST)
    except OSError:
        return ""


def read_dns(path: str = RESOLV_CONF, uplink: str = UPLINK) -> Dns:
    """What programs here use, and whom a local resolver asks."""
    found = parse_resolv_conf(_read(path))
    manager = found.manager or _manager(os.path.realpath(path).lower().replace("systemd/resolve", "systemd-resolved"))
    upstream: list[str] = []
    if STUBS.intersection(found.servers):
        manager = manager or "systemd-resolved"
        upstream = parse_resolv_conf(_read(uplink)).servers
    return Dns(
        servers=found.servers,
        search=found.search,
        options=found.options,
        manager=manager,
        upstream=[each for each in upstream if each not in STUBS],
    )
