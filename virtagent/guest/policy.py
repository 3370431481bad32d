"""What a peer may do: the first rule of the configuration that fits it, else the default of its kind of channel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from virtagent.guest.configuration import PolicyRule
from virtagent.guest.grants import FULL, Grant
from virtagent.guest.peer_identity import HOST_CID, PeerIdentity, identity_of

if TYPE_CHECKING:
    from virtagent.peer.peer import Peer

__all__ = ["Policy", "default_roles"]

ADMIN = frozenset({"admin"})
OBSERVE = frozenset({"observe"})

_OF_THE_HYPERVISOR = ("virtio", "serial", "stdio", "exec")
"""Channels whose other end owns this machine, or this process."""


def default_roles(identity: PeerIdentity) -> frozenset[str]:
    """What a peer may do that no rule fits (docs/policy.md)."""
    match identity.scheme:
        case scheme if scheme in _OF_THE_HYPERVISOR:
            return ADMIN
        case "unix":
            return ADMIN if identity.uid in (0, os.geteuid()) else OBSERVE
        case "vsock":
            return ADMIN if identity.cid == HOST_CID else OBSERVE
    return OBSERVE


class Policy:
    """The rules, with the names of users and groups looked up.

    Args:
        rules: in the order in which they are tried.

    Attributes:
        notes: what in them cannot have the effect that was meant, in words.
    """

    def __init__(self, rules: Sequence[PolicyRule] = ()) -> None:
        self.notes: list[str] = []
        self._rules = [_Rule(number, rule, self.notes) for number, rule in enumerate(rules, 1)]

    def decide(self, peer: Peer) -> tuple[Grant, PeerIdentity] | None:
        """What a peer may do, and who it is; None if that cannot be told."""
        identity = identity_of(peer)
        return None if identity is None else (self.grant(identity), identity)

    def grant(self, identity: PeerIdentity) -> Grant:
        """What a peer may do."""
        for rule in self._rules:
            if rule.fits(identity):
                return rule.grant._replace(who=str(identity))
        return FULL._replace(
            who=str(identity), roles=default_roles(identity), rule=f"the default for {identity.scheme}: channels"
        )


class _Rule:
    """One rule, ready to be compared."""

    def __init__(self, number: int, rule: PolicyRule, notes: list[str]) -> None:
        self._rule = rule
        self._uids = None if rule.users is None else set(_uids(rule.users, number, notes))
        self._gids, self._members = _groups(rule.groups or (), number, notes)
        self.grant = Grant(
            rule=f"rule {number} of the policy",
            roles=frozenset(rule.roles),
            allow=rule.allow,
            deny=rule.deny,
            read_only=rule.read_only,
            read_roots=_roots(rule.read_roots),
            write_roots=() if rule.read_only else _roots(rule.write_roots),
            commands=rule.commands,
            calls=rule.calls,
            processes=rule.processes,
            watches=rule.watches,
            bytes=rule.bytes or None,
        )

    def fits(self, identity: PeerIdentity) -> bool:
        """Whether all conditions hold."""
        rule = self._rule
        return (
            (identity.scheme == rule.channel or fnmatchcase(identity.channel, rule.channel))
            and (self._uids is None or identity.uid in self._uids)
            and (rule.groups is None or identity.gid in self._gids or identity.uid in self._members)
            and (rule.certificates is None or self._certificate_fits(identity.certificate))
            and (rule.cids is None or identity.cid in rule.cids)
        )

    def _certificate_fits(self, name: str | None) -> bool:
        return name is not None and any(fnmatchcase(name, each) for each in self._rule.certificates or ())


def _roots(paths: Sequence[str]) -> tuple[str, ...]:
    """Directories below which files may be reached; where they are is found out now, before anybody can move them."""
    roots = tuple(map(os.path.normpath, paths))
    if any(each != "/" for each in roots):
        from virtagent.guest.file_roots import place_of  # noqa: PLC0415 - few policies name roots

        for each in roots:
            place_of(each)
    return roots


def _uids(users: Sequence[str | int], number: int, notes: list[str]) -> list[int]:
    """The numbers of users, looked up once: a name service may be slow."""
    import pwd  # noqa: PLC0415 - few policies name users

    found = []
    for each in users:
        try:
            found.append(pwd.getpwnam(each).pw_uid if isinstance(each, str) else each)
        except KeyError:
            notes.append(f"rule {number} of the policy: there is no user {each!r}; the rule does not fit that one")
    return found


def _groups(groups: Sequence[str | int], number: int, notes: list[str]) -> tuple[set[int], set[int]]:
    """The numbers of groups, and those of their members."""
    gids: set[int] = set()
    members: list[str | int] = []
    if not groups:
        return gids, set()
    import grp  # noqa: PLC0415

    for each in groups:
        try:
            entry = grp.getgrnam(each) if isinstance(each, str) else grp.getgrgid(each)
        except KeyError:
            if isinstance(each, int):
                gids.add(each)
            else:
                notes.append(f"rule {number} of the policy: there is no group {each!r}; the rule does not fit that one")
            continue
        gids.add(entry.gr_gid)
        members += entry.gr_mem
    return gids, set(_uids(members, number, []))
