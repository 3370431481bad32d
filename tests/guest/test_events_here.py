"""Events of the kernel as it is: in mount and network namespaces of their own, of the agent's own files."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import virtagent
from tests.guest.event_watching import LIMIT, watching
from virtagent.api.events import Event
from virtagent.guest.configuration import Configuration, EventsSection, PressureTrigger
from virtagent.guest.events_devices import watch_devices
from virtagent.guest.events_memory import watch_memory
from virtagent.guest.events_pressure import parse_pressure, watch_pressure
from virtagent.guest.priority_poll import PriorityPoll
from virtagent.guest.resources import Resources
from virtagent.host.events import EventStream

KMSG = Path("/dev/kmsg")
PRESSURE = Path("/proc/pressure/cpu")


class Namespaced:
    """An agent whose mounts and network are nobody else's."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix:{directory}/agent.sock"
        daemon = [sys.executable, "-W", "error", "-m", "virtagent.cli.daemon", "--channel", self.url]
        environment = {**os.environ, "VIRTAGENT_RUNTIME_DIR": str(directory), "VIRTAGENT_STATE_DIR": str(directory)}
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--net", *daemon, "--log-level", "error"], env=environment
        )

    def run(self, command: str) -> None:
        """Run something in the namespaces, as root does in a guest."""
        enter = ["nsenter", "--target", str(self._process.pid), "--mount", "--net"]
        subprocess.run([*enter, "sh", "-ec", command], check=True, timeout=LIMIT)

    def stop(self) -> None:
        """End the agent."""
        self._process.terminate()
        self._process.wait(LIMIT)


class BusyProcesses:
    """Processes that want a processor each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start them."""
        command = [sys.executable, "-c", "while True: pass"]
        self._running = [subprocess.Popen(command) for _ in range(self._count)]

    def stop(self) -> None:
        """End them."""
        for each in self._running:
            each.kill()
            each.wait(LIMIT)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Namespaced]:
    made = Namespaced(tmp_path)
    yield made
    made.stop()


@asynccontextmanager
async def events_of(agent: Namespaced, *kinds: str) -> AsyncIterator[EventStream]:
    async with virtagent.connect(agent.url, wait=True, timeout=LIMIT) as guest, guest.events(*kinds) as events:
        assert events.unavailable == {}
        yield events


async def following(events: EventStream, kind: str) -> Event:
    async with asyncio.timeout(LIMIT):
        while True:
            event = await anext(events)
            if event.kind == kind:
                return event


@pytest.mark.root
async def test_a_mount_its_change_and_its_end_are_told(agent: Namespaced, tmp_path: Path) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    async with events_of(agent, "mount.*") as events:
        agent.run(f"mount -t tmpfs -o size=4k hello '{place}'")
        added = await following(events, "mount.added")
        assert added.fields["mountpoint"] == str(place)
        assert (added.fields["type"], added.fields["source"], added.fields["root"]) == ("tmpfs", "hello", "/")
        assert "rw" in added.fields["options"].split(",")
        agent.run(f"mount -o remount,ro,size=4k '{place}'")
        changed = await following(events, "mount.changed")
        assert changed.fields["mountpoint"] == str(place)
        assert "ro" in changed.fields["options"].split(",")
        agent.run(f"umount '{place}'")
        removed = await following(events, "mount.removed")
        assert removed.fields["mountpoint"] == str(place)
        assert removed.fields["device"] == added.fields["device"]
        assert added.number < changed.number < removed.number


@pytest.mark.root
async def test_links_and_addresses_are_told_as_they_change(agent: Namespaced) -> None:
    async with events_of(agent, "link.*", "address.*") as events:
        agent.run("ip link add v0 type veth peer name v1")
        first, second = [await following(events, "link.added") for _ in range(2)]
        assert {first.fields["interface"], second.fields["interface"]} == {"v0", "v1"}
        agent.run("ip link set v0 up; ip link set v1 up; ip address add 192.0.2.7/24 dev v0")
        address = await following(events, "address.added")
        while address.fields["family"] != "ipv4":
            address = await following(events, "address.added")
        assert address.fields == {
            "interface": "v0",
            "index": address.fields["index"],
            "address": "192.0.2.7",
            "prefix": 24,
            "family": "ipv4",
        }
        agent.run("ip address del 192.0.2.7/24 dev v0")
        gone = await following(events, "address.removed")
        assert gone.fields["address"] == "192.0.2.7"
        agent.run("ip link set v0 down")
        change = await following(events, "link.changed")
        while change.fields["interface"] != "v0" or change.fields["up"]:
            change = await following(events, "link.changed")
        agent.run("ip link del v0")
        removed = {(await following(events, "link.removed")).fields["interface"] for _ in range(2)}
        assert removed == {"v0", "v1"}


@pytest.mark.root
@pytest.mark.skipif(not os.access(KMSG, os.W_OK), reason="needs /dev/kmsg")
async def test_what_others_write_into_the_kernels_log_kills_nobody(tmp_path: Path) -> None:
    """A process may write such a line, but not as the kernel: its facility is another one."""
    async with watching(watch_memory) as watched:
        assert watched.source.state == "running"
        line = "Out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:2kB, file-rss:0kB\n"
        KMSG.write_text(f"<12>{line}")
        waiting = asyncio.create_task(watched.next())
        await asyncio.sleep(0)
        watched.source.publish("agent.down", reason="nothing came")
        assert (await waiting).kind == "agent.down"


@pytest.mark.root
async def test_the_kernels_own_words_of_devices_are_heard(tmp_path: Path) -> None:
    async with watching(partial(watch_devices, origin="kernel")) as watched:
        assert watched.source.state == "running"
        uevent = Path("/sys/devices/virtual/mem/null/uevent")
        uevent.write_text("change\n")  # which asks the kernel to tell it again; nothing else happens
        event = await watched.next("device.changed", name="/dev/null")
        assert event.fields["subsystem"] == "mem"
        assert event.fields["path"] == "/devices/virtual/mem/null"
        assert event.fields["action"] == "change"


@pytest.mark.root
@pytest.mark.skipif(not PRESSURE.exists(), reason="the kernel has no PSI")
async def test_pressure_beyond_the_threshold_is_told() -> None:
    trigger = PressureTrigger(resource="cpu", stall=0.001, window=2.0)
    resources = Resources(Configuration(events=EventsSection(pressure=(trigger,))))
    burning = BusyProcesses(2 * (os.cpu_count() or 1))
    try:
        async with watching(watch_pressure, resources) as watched:
            assert watched.source.state == "running", watched.source.detail
            before = parse_pressure(PRESSURE.read_text(), "some")["total"]
            burning.start()
            event = await watched.next("pressure.cpu")
            assert (event.fields["kind"], event.fields["stall"], event.fields["window"]) == ("some", 0.001, 2.0)
            assert event.fields["total"] - before >= 0.001
    finally:
        burning.stop()


async def test_without_pressure_information_it_is_said_what_to_do(tmp_path: Path) -> None:
    async with watching(partial(watch_pressure, directory=str(tmp_path))) as watched:
        assert watched.source.state == "unavailable"
        assert "psi=1" in watched.source.detail
    for name in ("cpu", "memory", "io"):
        (tmp_path / name).write_text("")  # a file that takes the threshold, and tells nothing
    none = Resources(Configuration(events=EventsSection(pressure=())))
    async with watching(watch_pressure, none) as watched:
        assert watched.source.state == "unavailable"
        assert "no thresholds are configured" in watched.source.detail


async def test_a_poll_ends_at_once_whatever_it_waits_for() -> None:
    with open("/proc/self/mountinfo", "rb") as one, open("/proc/self/mountinfo", "rb") as two:
        async with PriorityPoll([one.fileno(), two.fileno()]) as poll:
            waiting = asyncio.create_task(poll.next())
            await asyncio.sleep(0)
            waiting.cancel()
