"""How ``virtagent --help`` groups the commands."""

from __future__ import annotations

from collections.abc import Mapping

import click

__all__ = ["SECTIONS", "write_sections"]

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Connection": ("ping", "wait-ready", "guests", "info", "doctor", "events"),
    "Programs": ("exec", "shell", "ps", "jobs", "attach"),
    "Files": ("cat", "ls", "stat", "find", "tail", "cp", "sync", "mkdir", "rm", "du"),
    "Observing": ("top", "stats", "dmesg", "journal", "disks", "net", "hardware"),
    "Managing": ("units", "users", "time", "config", "kv", "clipboard", "freeze", "thaw", "trim"),
    "Power": ("shutdown", "reboot", "suspend"),
    "Protocol": ("call", "methods", "bench", "decode", "completion"),
}
"""Every command in one section, in the order in which people look for them."""


def write_sections(group: click.Group, context: click.Context, formatter: click.HelpFormatter) -> None:
    """Write all commands with what each does."""
    for title, names in SECTIONS.items():
        commands = [(name, group.get_command(context, name)) for name in names]
        with formatter.section(title):
            formatter.write_dl([(name, each.get_short_help_str(70)) for name, each in commands if each is not None])
