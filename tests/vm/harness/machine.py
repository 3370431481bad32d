"""A guest in QEMU for the length of an `async with`: what a hypervisor does to guests, as methods."""

from __future__ import annotations

import shlex
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from .commandline import CONTROL_PORT, Spec, qemu_command
from .control import Control
from .errors import HarnessError
from .image import Image
from .process import Process, check_call
from .qmp import Qmp

T = TypeVar("T")
BOOT_TIMEOUT = 60.0
"""Seconds for a boot that takes 3 (8 after a reset) when the host is otherwise idle."""
TIMEOUT = 30.0
"""Seconds for everything else."""
_ROOT = "root.qcow2"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A guest's whole state in a file; random state and clocks come back to life with every restore."""

    spec: Spec
    path: Path
    disk: Path | None = None
    """What the guest had written to its disk."""


class Machine:
    """One QEMU process. Every wait is bounded, in seconds, and fails with the console's tail in the message.

    Raises MachineTimeout when something does not happen and MachineDied when QEMU ends instead. However the
    `async with` is left, QEMU is killed and its files are removed.
    """

    def __init__(
        self,
        image: Image,
        *,
        ports: Sequence[str] = (),
        serial: bool = True,
        agent: str | None = None,
        memory: int = 384,
        smp: int = 1,
        blob: tuple[str, int] | None = None,
        kernel_arguments: Sequence[str] = (),
    ) -> None:
        """Describe the machine; the parameters are those of `Spec`, and the control port is always there."""
        names = tuple(dict.fromkeys((CONTROL_PORT, *ports)))
        self.spec = Spec(image, names, serial, agent, memory, smp, blob, tuple(kernel_arguments))
        self._snapshot: Snapshot | None = None
        self._started: tuple[Process, Qmp, Control] | None = None

    @classmethod
    def incoming(cls, snapshot: Snapshot) -> Machine:
        """Return a machine that does not boot but goes on where `snapshot` was taken; no host is connected."""
        machine = cls(snapshot.spec.image)
        machine.spec = snapshot.spec
        machine._snapshot = snapshot
        return machine

    async def __aenter__(self) -> Self:
        await self.boot()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # Life

    async def boot(self) -> None:
        """Start QEMU: after this its sockets listen, and a restored guest answers. If it fails, nothing is left."""
        process = Process()
        qmp = Qmp(process.directory / "qmp")
        control = Control()
        self._started = (process, qmp, control)
        try:
            disk = process.directory / "snap.qcow2"
            await check_call("qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M")
            await qmp.listen()
            sockets = {name: self.socket(name) for name in (*self.spec.ports, "ttyS1")}
            root = await self._overlay(process.directory)
            command = qemu_command(self.spec, sockets, qmp.path, disk, root=root, incoming=self._snapshot is not None)
            await process.start(command)
            await self._bounded("QEMU's greeting", qmp.negotiate(), TIMEOUT)
            await control.connect(self.socket(CONTROL_PORT))
            if self._snapshot is not None:
                await self._restore(self._snapshot.path)
        except BaseException:
            await self.stop()
            raise

    async def booted(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until the control shell is up: once after the start, and after each reset or reboot."""
        await self._bounded("the control shell", self._control.boots.get(), timeout)

    async def exited(self, timeout: float = TIMEOUT) -> int:
        """Wait for QEMU to end by itself (the guest powered off) and return its exit status."""
        return await self._process.exited(timeout)

    async def stop(self) -> None:
        """Kill QEMU, if it still runs, and remove its files. Idempotent."""
        if self._started is not None:
            process, qmp, control = self._started
            await process.stop()
            await control.close()
            await qmp.close()

    # What a hypervisor does

    async def reset(self) -> None:
        """Press reset: the guest is cut off in mid-instruction and boots anew (then await `booted`)."""
        self._control.forget_boots()
        await self.execute("system_reset")

    async def pause(self) -> None:
        """Stop the guest's CPUs, and with them its clocks."""
        await self.execute("stop")

    async def resume(self) -> None:
        """Let a paused guest go on."""
        await self.execute("cont")

    async def powerdown(self) -> None:
        """Press the power button: the guest shuts down in order (then await `exited`)."""
        await self.execute("system_powerdown")

    async def savevm(self, name: str) -> None:
        """Keep the guest's state under `name`, for `loadvm` in this same machine."""
        await self._monitor(f"savevm {name}")

    async def loadvm(self, name: str) -> None:
        """Take the guest back to `savevm(name)`: host sockets stay connected, the guest forgets all since."""
        await self._monitor(f"loadvm {name}")

    async def migrate_to_file(self, path: Path) -> Snapshot:
        """Write the guest's state to `path` (about as large as the memory in use) and leave it paused."""
        await self.pause()
        await self._announce_migration()
        await self.execute("migrate-set-parameters", max_bandwidth=1 << 40)
        await self.execute("migrate", uri=f"exec:cat >{shlex.quote(str(path))}")
        await self._migrated()
        written = self._process.directory / _ROOT
        if not written.exists():
            return Snapshot(self.spec, path)
        disk = path.with_suffix(".qcow2")
        await check_call("cp", "--sparse=always", str(written), str(disk))
        return Snapshot(self.spec, path, disk)

    async def execute(self, command: str, timeout: float = TIMEOUT, **arguments: Any) -> Any:
        """Run any QMP command; underscores in argument names stand for hyphens."""
        return await self._bounded(f"QMP {command}", self.qmp.execute(command, **arguments), timeout)

    async def port_open(self, name: str, *, is_open: bool = True, timeout: float = TIMEOUT) -> None:
        """Wait until the guest has the virtio port `name` open (or closed). QEMU tells up to 1 s late."""
        what = f"the guest has {name} {'open' if is_open else 'closed'}"
        await self._bounded(what, self._port_is(name, is_open), timeout)

    # In the guest

    async def control(self, source: str, timeout: float = TIMEOUT) -> Any:
        """Run Python `source` in the guest and return the value of its last expression (see `Control.run`)."""
        return await self._bounded("the control shell's answer", self._control.run(source), timeout)

    def tell(self, source: str) -> None:
        """Have Python `source` run in the guest without an answer: for what ends the guest, as reboot -f does."""
        self._control.send(source)

    async def shell(self, command: str, timeout: float = TIMEOUT) -> str:
        """Run `command` in the guest's busybox shell and return its output; GuestError if it fails."""
        source = (
            "import subprocess\n"
            f"done = subprocess.run({command!r}, shell=True, capture_output=True, text=True)\n"
            "if done.returncode:\n"
            "    raise RuntimeError(f'{done.args}: status {done.returncode}: {done.stderr or done.stdout}')\n"
            "done.stdout"
        )
        printed: str = await self.control(source, timeout)
        return printed

    async def agent_pid(self) -> int:
        """Return the process id of the running agent; GuestError if it is down."""
        return int(await self.control(self.spec.image.agent_pid))

    async def kill_agent(self, name: str = "SIGKILL") -> None:
        """Send the signal `name` to the agent; when it ends, the supervisor starts it again after 0.2 s."""
        await self.control(f"os.kill({await self.agent_pid()}, signal.{name})")

    # To look at

    def socket(self, name: str) -> Path:
        """Return the unix socket of the virtio port `name`, or of `ttyS1`."""
        if name not in (*self.spec.ports, "ttyS1"):
            raise HarnessError(f"no port {name}: this machine has {', '.join(self.spec.ports)} and ttyS1")
        return self._process.directory / f"{name}.sock"

    def console(self) -> str:
        """Return all that the guest has printed on its console."""
        return self._process.console.text

    async def wait_console(self, text: str, timeout: float = TIMEOUT, *, start: int = 0) -> None:
        """Wait until the console shows `text` at or after the offset `start` of `console()`."""
        await self._bounded(f"{text!r} on the console", self._process.console.wait(text, start), timeout)

    @property
    def qmp(self) -> Qmp:
        """The connection to QEMU's monitor, for its events."""
        return self._parts()[1]

    # Within

    @property
    def _process(self) -> Process:
        return self._parts()[0]

    @property
    def _control(self) -> Control:
        return self._parts()[2]

    def _parts(self) -> tuple[Process, Qmp, Control]:
        if self._started is None:
            raise HarnessError("the machine was not started: use `async with`, or await boot()")
        return self._started

    async def _bounded(self, what: str, awaited: Coroutine[Any, Any, T], timeout: float) -> T:
        return await self._process.bounded(what, awaited, timeout)

    async def _monitor(self, line: str) -> None:
        complaint = await self._bounded(f"monitor {line}", self.qmp.monitor(line), TIMEOUT)
        if complaint:
            raise HarnessError(f"QEMU, {line}: {complaint}")

    async def _restore(self, path: Path) -> None:
        await self._announce_migration()
        await self.execute("migrate-incoming", uri=f"exec:cat {shlex.quote(str(path))}")
        await self._migrated()
        await self.resume()
        await self.control("None")
        self._control.boots.put_nowait("restored")  # `booted` holds of it as of any other machine

    async def _overlay(self, directory: Path) -> Path | None:
        """Make the guest's disk: what it writes lies over the image's, or over what it had written by the snapshot."""
        below = self._snapshot.disk if self._snapshot is not None else self.spec.image.disk
        if below is None:
            return None
        overlay = directory / _ROOT
        kind = "qcow2" if below.suffix == ".qcow2" else "raw"
        create = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(below.absolute()), str(overlay))
        await check_call(*create)
        return overlay

    async def _announce_migration(self) -> None:
        capability = {"capability": "events", "state": True}
        await self.execute("migrate-set-capabilities", capabilities=[capability])

    async def _migrated(self) -> None:
        ended = self.qmp.event("MIGRATION", lambda event: event.data["status"] in ("completed", "failed"))
        event = await self._bounded("the end of the migration", ended, TIMEOUT)
        if event.data["status"] == "failed":
            raise HarnessError("QEMU: migration failed")

    async def _port_is(self, name: str, is_open: bool) -> None:
        while True:
            chardevs = await self.qmp.execute("query-chardev")
            if any(chardev["label"] == f"chr-{name}" and chardev["frontend-open"] is is_open for chardev in chardevs):
                return
            await self.qmp.event("VSERPORT_CHANGE", lambda event: event.data["id"] == f"port-{name}")
