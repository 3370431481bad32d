"""``virtagentd install`` and ``virtagentd uninstall``."""

from __future__ import annotations

import argparse
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from virtagent.guest.installation import ARCHIVE, Installation, InstallationError

__all__ = ["install_or_uninstall"]

EXIT_OK, EXIT_FAILED = 0, 1

EXAMPLES = {
    "install": (
        "examples:\n"
        "  sudo virtagentd install\n"
        "  sudo python3 virtagentd.pyz install\n"
        "  sudo python3 virtagentd.pyz install --root /mnt/image\n"
        "  virtagentd install --dry-run"
    ),
    "uninstall": (
        "examples:\n  sudo virtagentd uninstall\n  sudo virtagentd uninstall --purge\n  virtagentd uninstall --dry-run"
    ),
}
DESCRIPTIONS = {
    "install": "Make the agent a service of this guest: systemd's units, the udev rule, /etc/virtagent/agent.toml. "
    "It starts when the machine has its port. Doing it again changes nothing.",
    "uninstall": "Stop the agent and remove what install put in place.",
}


def install_or_uninstall(arguments: Sequence[str]) -> int:
    """Do it; the first of `arguments` says which. Returns the exit code: 0 done, 1 told why not, 2 wrong usage."""
    verb = arguments[0]
    parser = argparse.ArgumentParser(
        prog=f"virtagentd {verb}",
        description=DESCRIPTIONS[verb],
        epilog=EXAMPLES[verb],
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="an image's root directory [/]")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")
    if verb == "uninstall":
        parser.add_argument("--purge", action="store_true", help="remove configuration and kept state, too")
    options = parser.parse_args(arguments[1:])
    archive = own_archive()
    installation = Installation(own_command(archive), root=options.root, archive=archive, dry_run=options.dry_run)
    try:
        if verb == "install":
            installation.install()
        else:
            installation.uninstall(purge=options.purge)
    except InstallationError as error:
        sys.stderr.write(f"virtagentd {verb}: {error}\n")
        return EXIT_FAILED
    return EXIT_OK


def own_archive() -> Path | None:
    """The virtagentd.pyz that runs, or None."""
    started = Path(sys.argv[0]).absolute()
    return started if zipfile.is_zipfile(started) else None


def own_command(archive: Path | None) -> list[str]:
    """What starts this agent again: its script, or its module in this Python."""
    if archive is not None:
        return ["/usr/bin/python3", "-I", ARCHIVE]
    started = os.path.abspath(sys.argv[0])
    if os.path.basename(started) == "virtagentd" and os.access(started, os.X_OK):
        return [started]
    return [sys.executable, "-I", "-m", "virtagent.cli.daemon"]
