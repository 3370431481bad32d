"""The configuration in words, for ``virtagentd --check``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase

from virtagent.guest.configuration import Configuration, PolicyRule
from virtagent.guest.policy import Policy

__all__ = ["explain"]

_DEFAULTS = {
    "virtio": "admin",
    "serial": "admin",
    "stdio": "admin",
    "exec": "admin",
    "unix": "root and the agent's own user: admin; others: observe",
    "vsock": "the host (cid 2): admin; others: observe",
}
"""See :func:`virtagent.guest.policy.default_roles`."""


def explain(configuration: Configuration) -> Iterator[str]:
    """A line for each thing that people ask: who may do what on which channel; what is unusual."""
    reached: set[int] = set()
    for channel in configuration.agent.channels:
        yield f"channel {channel}:"
        decided = False
        for number, rule in enumerate(configuration.policy, 1):
            if not decided and _may_fit(rule, channel):
                reached.add(number)
                decided = not any((rule.users, rule.groups, rule.certificates, rule.cids))
                yield f"  rule {number}{_whom(rule)}: {_what(rule)}"
        if not decided:
            yield f"  {'others' if configuration.policy else 'each peer'}, by default: {_default(channel)}"
    for number, rule in enumerate(configuration.policy, 1):
        if number in reached:
            continue
        if any(_may_fit(rule, channel) for channel in configuration.agent.channels):
            yield f"note: rule {number} of the policy is never reached: earlier ones fit all of its peers"
        else:
            yield f"note: rule {number} of the policy fits none of the channels ({rule.channel})"
    for note in Policy(configuration.policy).notes:
        yield f"note: {note}"
    if configuration.telemetry.exporter:
        yield f"telemetry: spans go to {configuration.telemetry.exporter} {configuration.telemetry.endpoint}".rstrip()


def _default(channel: str) -> str:
    return _DEFAULTS.get(channel.partition(":")[0], "observe")


def _may_fit(rule: PolicyRule, channel: str) -> bool:
    url = channel.partition("?")[0]
    return rule.channel == channel.partition(":")[0] or fnmatchcase(url, rule.channel)


def _whom(rule: PolicyRule) -> str:
    told = [
        f"{name} {', '.join(map(str, identities))}"
        for name, identities in (
            ("users", rule.users),
            ("groups", rule.groups),
            ("certificates", rule.certificates),
            ("cids", rule.cids),
        )
        if identities
    ]
    return f" ({'; '.join(told)})" if told else ""


def _what(rule: PolicyRule) -> str:
    """What a rule grants: its roles, and whatever is not the default."""
    told = [", ".join(rule.roles) or "nothing but what allow says"]
    default = PolicyRule()
    for name in (
        "allow",
        "deny",
        "read_only",
        "read_roots",
        "write_roots",
        "commands",
        "calls",
        "processes",
        "watches",
        "bytes",
    ):
        value = getattr(rule, name)
        if value != getattr(default, name):
            told.append(f"{name} = {json.dumps(value)}")
    return "; ".join(told)
