"""A freeze whose watchdog process is the real one, but for the two system calls: they write down what they were asked.

A file named ``freeze-errno`` in a directory makes its freeze fail with that number, ``freeze-blocks`` makes it wait
until the file is gone, ``thaw-errno`` makes its thaw fail.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from virtagent.guest import freeze_lease
from virtagent.guest.freeze_lease import FreezeLease
from virtagent.guest.freeze_quiet import Quiet
from virtagent.guest.freeze_targets import FreezeTarget
from virtagent.guest.frozen import Frozen
from virtagent.guest.mounts import Mount

_PROGRAM = (
    freeze_lease._PROGRAM.removesuffix("main()")
    + """
import os, time, virtagent.guest.freeze_keeper as keeper
LOG = %r
def ask(what, descriptor):
    folder = os.readlink(f"/proc/self/fd/{descriptor}")
    while what == "freeze" and os.path.exists(f"{folder}/freeze-blocks"):
        time.sleep(0.01)
    try:
        number = int(open(f"{folder}/{what}-errno").read())
    except FileNotFoundError:
        number = 0
    with open(LOG, "a") as log:
        log.write(f"{what} {os.path.basename(folder)} {number}\\n")
    if number:
        raise OSError(number, os.strerror(number))
keeper.freeze = lambda descriptor: ask("freeze", descriptor)
keeper.thaw = lambda descriptor: ask("thaw", descriptor)
main()
"""
)


class Freezer:
    """Makes leases of directories.

    Attributes:
        frozen: what the agent must not touch.
        quiet: whether it is quiet.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.frozen = Frozen()
        self.quiet = Quiet()
        monkeypatch.setattr(freeze_lease, "_PROGRAM", _PROGRAM % str(self.log))

    @property
    def log(self) -> Path:
        """What was asked of the kernel, and what hooks wrote."""
        return self.folder / "log"

    def told(self) -> list[str]:
        """The lines of the log."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def target(self, name: str) -> FreezeTarget:
        """One directory as if a filesystem were mounted there."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        found = os.stat(path).st_dev
        device = f"{os.major(found)}:{os.minor(found)}"
        mount = Mount(1, device, "/", str(path), "rw", "ext4", f"/dev/{name}", "rw")
        return FreezeTarget(mount, os.open(path, os.O_RDONLY))

    def hook(self, name: str, script: str) -> str:
        """A hook: a shell script."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def lease(self, *names: str, hooks: Sequence[str] = (), **options: Any) -> FreezeLease:
        """A lease that has yet to be held."""
        targets = [self.target(name) for name in names]
        return FreezeLease(targets, hooks=hooks, frozen=self.frozen, quiet=self.quiet, **options)
