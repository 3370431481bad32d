"""Finding guests: by name in the configuration, and in libvirt's channel directories."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from virtagent.errors import UsageError
from virtagent.host.registry import NAME, configuration_file, read_guests

__all__ = ["CHANNEL", "KnownGuest", "libvirt_guests", "list_guests", "resolve"]

CHANNEL = "org.virtagent.0"
"""The name of the virtio port, in the guest and in libvirt's ``<channel>`` element."""

LIBVIRT_ROOTS = ("/run/libvirt/qemu/channel", "/var/lib/libvirt/qemu/channel/target")
"""Where libvirt puts the sockets of channels without a path of their own: since 9.8, and before."""

ROOTS_VARIABLE = "VIRTAGENT_LIBVIRT_CHANNELS"
"""The environment variable that names other directories, separated by ``:``."""

_DOMAIN = re.compile(r"(?:domain-)?\d+-(?P<name>.+)")
"""``domain-3-web1`` or ``3-web1``: id and short name (20 characters at most) of the domain."""


@dataclass(frozen=True, slots=True)
class KnownGuest:
    """One guest that a name stands for.

    Attributes:
        name: what people call it.
        url: its channel.
        source: where it was found: the configuration file, or "libvirt".
    """

    name: str
    url: str
    source: str


def libvirt_roots() -> tuple[str, ...]:
    """The directories to look into."""
    said = os.environ.get(ROOTS_VARIABLE)
    return LIBVIRT_ROOTS if said is None else tuple(filter(None, said.split(":")))


def libvirt_guests(roots: Iterable[str] | None = None) -> tuple[list[KnownGuest], list[str]]:
    """The running domains that have our channel, and the directories that could not be looked into.

    Args:
        roots: the directories to look into; None: libvirt's.
    """
    found: dict[str, KnownGuest] = {}
    closed: list[str] = []
    for root in libvirt_roots() if roots is None else roots:
        try:
            domains = sorted(os.listdir(root))
        except PermissionError:
            closed.append(root)
            continue
        except OSError:
            continue
        for domain in domains:
            match = _DOMAIN.fullmatch(domain)
            path = os.path.join(root, domain, CHANNEL)
            if match is None or not NAME.fullmatch(match["name"]):
                continue
            try:
                os.stat(path)
            except PermissionError:
                closed.append(os.path.dirname(path))
            except OSError:
                continue
            else:
                found.setdefault(match["name"], KnownGuest(match["name"], f"unix:{path}?chardev=virtio", "libvirt"))
    return list(found.values()), closed


def list_guests(*, file: Path | None = None, roots: Iterable[str] | None = None) -> list[KnownGuest]:
    """All known guests by name; the configuration goes before libvirt where both have one.

    Args:
        file: the configuration; None: the user's.
        roots: the directories of channels; None: libvirt's.

    Raises:
        UsageError: the configuration cannot be understood.
    """
    file = configuration_file() if file is None else file
    known = {each.name: each for each in libvirt_guests(roots)[0]}
    known |= {name: KnownGuest(name, url, str(file)) for name, url in read_guests(file).items()}
    return [known[name] for name in sorted(known)]


def resolve(address: str, *, file: Path | None = None, roots: Iterable[str] | None = None) -> str:
    """The URL that an address stands for: itself, if it is a URL or an absolute path, else that of a guest's name.

    Raises:
        UsageError: there is no such guest (the message tells near and known names), or the configuration is broken.
    """
    if ":" in address or address.startswith("/"):
        return address
    file = configuration_file() if file is None else file
    known = {each.name: each.url for each in list_guests(file=file, roots=roots)}
    if address in known:
        return known[address]
    raise UsageError(f"no guest is named {address!r}; {_advice(address, list(known), file, roots)}")


def _advice(name: str, known: list[str], file: Path, roots: Iterable[str] | None) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    closed = libvirt_guests(roots)[1]
    if closed:
        return f"{closed[0]} cannot be looked into: run as root, or give a channel URL such as unix:/run/vm/web1.sock"
    told = f"known are {', '.join(known[:8])}" if known else "none is known"
    return f"{told}; add it to {file}, or give a channel URL such as unix:/run/vm/web1.sock"
