"""The harness does what the other tests in real guests take for granted; nothing of virtagent is run here."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import MachineFactory, Stopwatch
from tests.vm.harness import (
    GuestError,
    HarnessError,
    Image,
    Machine,
    MachineDied,
    MachineTimeout,
    Snapshot,
    blob_digest,
    build_image,
    missing_packages,
)

PORT = "org.virtagent.0"
ECHO = f"/root/echo_agent /dev/virtio-ports/{PORT} /dev/ttyS1"


@pytest.fixture(scope="session")
def echo_image(image: Image) -> Image:
    return image.plus({"/root/echo_agent": Path(__file__).with_name("echo_agent.py")})


@pytest.fixture
def echo(echo_image: Image) -> dict[str, Any]:
    """A machine whose agent is the echo."""
    return {"image": echo_image, "ports": (PORT,), "agent": ECHO}


async def exchange(machine: Machine, port: str, sent: bytes) -> bytes:
    """Send over a new host connection and return as many bytes as were sent."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(machine.socket(port))
        try:
            writer.write(sent)
            return await reader.readexactly(len(sent))
        finally:
            writer.close()
            await writer.wait_closed()


def test_missing_tools_are_named_in_one_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {"qemu-system-x86", "qemu-utils", "busybox-static"} <= set(missing_packages())
    with pytest.raises(HarnessError, match=r"^booting guests needs: apt-get install .*qemu-system-x86[^\n]*$"):
        build_image(None)


async def test_a_cold_boot_reaches_the_control_shell(machine_factory: MachineFactory, stopwatch: Stopwatch) -> None:
    with stopwatch("cold boot to control shell"):
        machine = await machine_factory(cold=True)
    assert await machine.control("os.uname().nodename") == "guest"


async def test_control_returns_literals_and_raises_the_guests_exceptions(machine: Machine) -> None:
    assert await machine.control("x = {'a': (1, b'\\xff', None)}") is None
    assert await machine.control("x") == {"a": (1, b"\xff", None)}
    assert len(await machine.control("'v' * 5_000_000")) == 5_000_000
    with pytest.raises(GuestError, match="ZeroDivisionError"):
        await machine.control("1 / 0")
    assert "Linux" in await machine.shell("dmesg | head -n 3")


async def test_the_guest_runs_the_hosts_python_and_packages(machine: Machine, stopwatch: Stopwatch) -> None:
    assert await machine.control("sys.version") == sys.version
    with stopwatch("guest: python -c 'import asyncio, msgpack, msgspec, serial, ...'"):
        imports = "asyncio, ctypes, hashlib, json, msgpack, msgspec, serial_asyncio, socket, sqlite3, ssl, virtagent"
        await machine.shell(f"python3 -c 'import {imports}'")
    asked = "from importlib.metadata import version; version('msgspec')"
    assert await machine.control(asked) == importlib.metadata.version("msgspec")
    # the C extensions, not the pure fallbacks
    assert await machine.control("import msgpack; msgpack.Packer.__module__") == "msgpack._cmsgpack"


async def test_a_restored_guest_answers(machine_factory: MachineFactory, stopwatch: Stopwatch) -> None:
    await machine_factory()
    with stopwatch("restore from the run's snapshot to answer"):
        machine = await machine_factory()
    assert await machine.control("True") is True


async def test_virtio_and_serial_carry_bytes_both_ways(
    machine_factory: MachineFactory, echo: dict[str, Any], stopwatch: Stopwatch
) -> None:
    machine = await machine_factory(**echo)
    with stopwatch("restored guest: first exchange over virtio"):
        assert await exchange(machine, PORT, b"over virtio") == b"OVER VIRTIO"
    with stopwatch("restored guest: first exchange over ttyS1"):
        assert await exchange(machine, "ttyS1", b"over the uart") == b"OVER THE UART"


async def test_a_killed_agent_is_started_again(machine_factory: MachineFactory, echo: dict[str, Any]) -> None:
    machine = await machine_factory(**echo)
    before = await machine.agent_pid()
    seen = len(machine.console())
    await machine.kill_agent()
    await machine.wait_console("echo: ready", start=seen)
    assert await machine.agent_pid() != before
    assert await exchange(machine, PORT, b"again") == b"AGAIN"


async def test_a_reset_boots_anew(machine_factory: MachineFactory, stopwatch: Stopwatch) -> None:
    machine = await machine_factory(cold=True)
    await machine.control("mark = 1")
    with stopwatch("reset to control shell"):
        await machine.reset()
        await machine.booted()
    assert not await machine.control("'mark' in globals()")


async def test_reboot_dash_f_takes_the_guest_down_unasked(
    machine_factory: MachineFactory, echo: dict[str, Any]
) -> None:
    machine = await machine_factory(**echo)
    machine.tell("os.system('reboot -f')")
    await machine.booted()
    await machine.wait_console("echo: ready")
    assert "SIGTERM" not in machine.console()


async def test_an_orderly_reboot_tells_the_agent_first(
    machine_factory: MachineFactory, echo: dict[str, Any], stopwatch: Stopwatch
) -> None:
    machine = await machine_factory(**echo)
    assert await machine.shell("runlevel") == "N 2\n"
    with stopwatch("orderly reboot to control shell"):
        machine.tell("os.system('reboot')")
        await machine.booted()
    assert "echo: SIGTERM at runlevel 2 6" in machine.console()
    assert "harness: agent ended, status 0" in machine.console()
    assert await machine.shell("runlevel") == "N 2\n"


@pytest.mark.parametrize("command", ["poweroff", "shutdown -h now"])
async def test_powering_off_tells_the_agent_and_ends_qemu(
    machine_factory: MachineFactory, echo: dict[str, Any], command: str
) -> None:
    machine = await machine_factory(**echo)
    machine.tell(f"os.system('{command}')")
    assert await machine.exited() == 0
    assert "echo: SIGTERM at runlevel 2 0" in machine.console()


async def test_the_power_button_powers_off_in_order(
    machine_factory: MachineFactory, echo: dict[str, Any], stopwatch: Stopwatch
) -> None:
    machine = await machine_factory(**echo)
    with stopwatch("power button to end of QEMU"):
        await machine.powerdown()
        assert await machine.exited() == 0
    assert "echo: SIGTERM at runlevel 2 0" in machine.console()


async def test_a_paused_guest_answers_when_resumed(machine: Machine) -> None:
    await machine.pause()
    with pytest.raises(MachineTimeout, match="control shell"):
        await machine.control("1", timeout=0.3)
    await machine.resume()
    assert await machine.control("2") == 2


async def test_loadvm_takes_guest_memory_back(machine: Machine, stopwatch: Stopwatch) -> None:
    await machine.control("state = 'saved'")
    with stopwatch("savevm"):
        await machine.savevm("one")
    await machine.control("state = 'later'")
    with stopwatch("loadvm"):
        await machine.loadvm("one")
    assert await machine.control("state") == "saved"


async def test_a_guest_migrated_to_a_file_goes_on_where_it_was(
    machine_factory: MachineFactory, echo: dict[str, Any], tmp_path: Path, stopwatch: Stopwatch
) -> None:
    first = await machine_factory(cold=True, **echo)
    await first.port_open(PORT)
    await first.control("state = 'kept'")
    with stopwatch("migrate to file"):
        snapshot: Snapshot = await first.migrate_to_file(tmp_path / "guest")
    await first.stop()
    for _ in range(2):
        with stopwatch("restore from file to answer"):
            async with Machine.incoming(snapshot) as second:
                await second.booted()
                assert await second.control("state") == "kept"
                assert await exchange(second, PORT, b"still") == b"STILL"
    snapshot.path.unlink()  # pytest would keep its hundred MiB for three runs


async def test_a_closed_port_is_seen_from_the_host(machine_factory: MachineFactory, echo: dict[str, Any]) -> None:
    machine = await machine_factory(**echo)
    await machine.port_open(PORT)
    await machine.control("open('/run/stopping', 'w').close()")
    await machine.kill_agent()
    await machine.port_open(PORT, is_open=False)


async def test_vsock_loopback_connects_inside_the_guest(machine: Machine) -> None:
    source = """
import asyncio, socket
async def main():
    listening = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    listening.bind((1, 5000))
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()
    async with await asyncio.start_server(serve, sock=listening):
        dialled = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        dialled.setblocking(False)
        await asyncio.get_running_loop().sock_connect(dialled, (1, 5000))
        reader, writer = await asyncio.open_connection(sock=dialled)
        writer.write(b'vsock\\n')
        answer = await reader.read()
        writer.close()
        return answer
asyncio.run(main())
"""
    assert await machine.control(source) == b"VSOCK\n"


async def test_the_blob_is_the_same_in_guest_and_host(machine_factory: MachineFactory, stopwatch: Stopwatch) -> None:
    with stopwatch("cold boot with an 8 MiB blob"):
        machine = await machine_factory(cold=True, blob=("/tmp/blob", 8))
    printed = await machine.shell("sha256sum /tmp/blob")
    assert printed.split()[0] == blob_digest(8)


async def test_a_guest_that_panics_fails_the_wait_with_its_console(image: Image) -> None:
    async with Machine(image, kernel_arguments=("rdinit=/nothing", "init=/nothing")) as machine:
        with pytest.raises(MachineTimeout, match="Kernel panic"):
            await machine.booted(timeout=8)


async def test_a_qemu_that_ends_fails_the_wait_at_once(machine: Machine) -> None:
    waiting = asyncio.create_task(machine.control("time.sleep(60)"))
    await machine.execute("quit")
    with pytest.raises(MachineDied, match="QEMU ended"):
        await waiting


async def test_a_stopped_machine_leaves_neither_process_nor_files(image: Image) -> None:
    async with Machine(image) as machine:
        directory = machine.socket("ctl").parent
        assert _processes_in(directory) == 1
    assert _processes_in(directory) == 0
    assert not directory.exists()


def _processes_in(directory: Path) -> int:
    """Count the processes whose command line names `directory`."""
    wanted = os.fsencode(directory)
    count = 0
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += wanted in process.read_bytes()
        except OSError:
            continue
    return count
