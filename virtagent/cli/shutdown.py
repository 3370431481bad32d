"""``virtagent shutdown``."""

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
  virtagent --to web1 shutdown --wait                       returns when the machine is off
  virtagent --to web1 shutdown --delay 10m -m "Maintenance" --reason "kernel update"
  virtagent --to web1 shutdown --cancel"""
)
@click.option("--halt", is_flag=True, help="Stop the guest, and leave the machine switched on.")
@ending_options
@shared_options
def command(settings: Settings, halt: bool, **options: Any) -> int:
    """Shut the guest down, and switch it off."""
    return end_guest(settings, "halt" if halt else "shutdown", **options)
