"""``virtagent reboot``."""

from __future__ import annotations

from typing import Any

import click

from virtagent.cli.ending import end_guest, ending_options
from virtagent.cli.main import shared_options
from virtagent.cli.target import Settings

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  virtagent --to web1 reboot --wait                         returns when the agent is up again
  virtagent --to web1 reboot --delay 5m --reason "kernel update"
  virtagent --to web1 reboot --force                        when it hangs: sync, and reboot(2)"""
)
@ending_options
@shared_options
def command(settings: Settings, **options: Any) -> int:
    """Reboot the guest."""
    return end_guest(settings, "reboot", **options)
