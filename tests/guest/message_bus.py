"""A D-Bus of one's own: Debian's dbus-daemon on a socket in a folder."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

__all__ = ["message_bus"]

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={}/bus</listen>
  <policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""


@contextlib.contextmanager
def message_bus(folder: Path) -> Iterator[str]:
    """Run a bus; its address."""
    # Of its own, too: with Debian's configuration it would start services of this machine.
    (folder / "bus.conf").write_text(CONFIGURATION.format(folder))
    command = ["dbus-daemon", "--config-file", str(folder / "bus.conf"), "--nofork", "--nopidfile", "--print-address"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=10)
