"""A real guest's virtio-serial ports, emulated by QEMU without KVM: a blocking echo on one, virtagentd on others.

All run in the same boot, and what is measured takes turns; the agents that do not take theirs are asleep.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import virtagent
from benchmarks.guest.agent_process import SERVICE
from benchmarks.guest.blocking_channel import BlockingChannel
from benchmarks.guest.samples import summary, timed, timed_blocking
from benchmarks.guest.subjects import SUBJECTS, run
from tests.vm.harness import Image, Machine, build_image, build_wheel

__all__ = ["Guest", "booted", "image_of"]

ECHO_PORT = "org.virtagent.bare"
PORTS = {subject: f"org.virtagent.{loop}" for subject, loop in SUBJECTS.items()}
"""The port of each subject's agent."""

FILE = "/tmp/measured"
SERVICES = "/etc/virtagent/services"
PROGRAM = "/opt/in_guest.py"

READY_TIMEOUT = 60.0
"""Seconds until a starting agent answers; under emulation its imports take three."""

PAYLOAD = bytes(64)


def image_of(wheel: Path) -> Image:
    """The harness' guest with the wheel, the event loops of this machine, and what measures."""
    return build_image(
        wheel,
        extras=("uvloop",) if "uvloop" in SUBJECTS.values() else (),
        add={
            PROGRAM: Path(__file__).with_name("in_guest.py"),
            f"{SERVICES}/measured.py": SERVICE,
        },
    )


@asynccontextmanager
async def booted(image: Image | None = None, *, size: int = 64 << 20) -> AsyncIterator[Guest]:
    """A guest in which the echo and the agents run.

    Args:
        image: of :func:`image_of`; None: it is built.
        size: bytes of the file that is read; a whole number of MiB.

    Raises:
        HarnessError: QEMU or another tool is missing, or the guest does not boot; one line says so.
    """
    if image is None:
        with tempfile.TemporaryDirectory() as scratch:
            image = await asyncio.to_thread(lambda: image_of(build_wheel(Path(scratch))))
    async with Machine(image, ports=(ECHO_PORT, *PORTS.values()), serial=False) as machine:
        await machine.booted()
        await machine.control(
            f"with open({FILE!r}, 'wb') as file:\n"
            f"    for _ in range({size >> 20}): written = file.write(os.urandom(1 << 20))"
        )
        commands = [["python3", PROGRAM, f"/dev/virtio-ports/{ECHO_PORT}", FILE]]
        for subject, loop in SUBJECTS.items():
            options = ["--channel", f"virtio:{PORTS[subject]}", "--services", SERVICES, "--log-level", "warning"]
            commands.append(["python3", "-m", "virtagent.cli.daemon", "--loop", loop, *options])
        await machine.control(
            f"import subprocess; agents = [subprocess.Popen(each, cwd='/root') for each in {commands!r}]"
        )
        for port in (ECHO_PORT, *PORTS.values()):
            await machine.port_open(port)
        yield Guest(machine, size)


class Guest:
    """A booted guest, ready to be measured as often as wanted.

    Args:
        machine: where it runs.
        size: bytes of the file that it has.
    """

    def __init__(self, machine: Machine, size: int) -> None:
        self._machine = machine
        self._size = size

    async def one_round(self, *, calls: int = 1000) -> dict[str, float]:
        """Measure each port in turn.

        Args:
            calls: echoes or calls of one workload.

        Returns:
            Metrics by their flat names: ``guest channel echo/guest ping/p50_us``, ``ours/guest ping/p50_us``,
            ``guest channel/guest file read/MB_per_s`` (the port's raw rate), ``guest blocking copy/...`` (with reading
            a file), ``ours/guest file read/MB_per_s``, ...
        """
        metrics = await asyncio.to_thread(self._channel, calls)
        for subject in SUBJECTS:
            # In a thread: the subject has an event loop of its own kind.
            metrics |= await asyncio.to_thread(lambda subject: run(subject, self._ours(subject, calls)), subject)
        return metrics

    def _channel(self, calls: int) -> dict[str, float]:
        with BlockingChannel(self._machine.socket(ECHO_PORT)) as channel:
            return {
                **summary("guest channel echo/guest ping", timed_blocking(channel.echo, calls)),
                "guest channel/guest file read/MB_per_s": channel.raw_rate(self._size) / 1e6,
                "guest blocking copy/guest file read/MB_per_s": channel.file_rate(self._size) / 1e6,
            }

    async def _ours(self, subject: str, calls: int) -> dict[str, float]:
        url = f"unix:{self._machine.socket(PORTS[subject])}"
        async with virtagent.connect(url, timeout=READY_TIMEOUT) as guest:
            return {
                **summary(
                    f"{subject}/guest ping", await timed(lambda: guest.call("measured.echo", data=PAYLOAD), calls)
                ),
                **summary(f"{subject}/guest agent.ping", await timed(guest.agent.ping, calls)),
                f"{subject}/guest file read/MB_per_s": await self._read_rate(guest) / 1e6,
            }

    async def _read_rate(self, guest: virtagent.Guest) -> float:
        """Bytes per second of a whole file."""
        started = time.perf_counter()
        total = 0
        async for chunk in guest.files.read(FILE):
            total += len(chunk)
        if total != self._size:
            raise RuntimeError(f"{FILE} has {self._size} bytes, and {total} came")
        return total / (time.perf_counter() - started)
