"""Booted guests, kept as snapshots: the first use of a spec boots (4 s), each further one is restored (0.3 s).

A snapshot holds for one QEMU, one command line and one run of the tests: it is never kept longer than that.
"""

from __future__ import annotations

import re
from pathlib import Path

from .commandline import CONTROL_PORT, Spec
from .machine import BOOT_TIMEOUT, Machine, Snapshot


class Snapshots:
    """Snapshots by spec, as files in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._taken: dict[Spec, Snapshot] = {}

    async def restored(self, machine: Machine) -> Machine:
        """Return a machine, not yet started, that is `machine` booted, with its agent waiting for a first host."""
        snapshot = self._taken.get(machine.spec)
        if snapshot is None:
            snapshot = await self._take(machine)
            self._taken[machine.spec] = snapshot
        return Machine.incoming(snapshot)

    async def _take(self, machine: Machine) -> Snapshot:
        """Boot `machine` and take it when the agent has come to rest.

        That is when it holds open every port its command names (imports, the slow part, are then behind it). Ports
        other than the control port have no host yet: a restored guest has never spoken to anyone.
        """
        async with machine:
            await machine.booted()
            await machine.control("import subprocess")  # what every restored guest would else import anew
            if machine.spec.agent is not None:
                await machine.wait_console("harness: agent started")
                for port in machine.spec.ports:
                    if port != CONTROL_PORT and re.search(rf"{re.escape(port)}(?![\w.-])", machine.spec.agent):
                        await machine.port_open(port)
            if machine.spec.image.served:
                await machine.shell("systemctl is-system-running --wait || true", BOOT_TIMEOUT)
            for port in machine.spec.image.served:
                await machine.port_open(port)
            return await machine.migrate_to_file(self._directory / f"{len(self._taken)}.migration")
