"""Waiting until a guest has gone, or is back: guests are listeners here that come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import virtagent
from virtagent import DeadlineExceeded, FailedPrecondition, Service, UsageError
from virtagent.api.power import Planned
from virtagent.api.system import Kernel, OperatingSystem, SystemInfo
from virtagent.guest import facts
from virtagent.peer.listening import Listening

LIMIT = 30.0


class Machine:
    """A guest that goes as it is told to."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix:{folder}/guest.sock"
        self.boot = 1
        self.listening: Listening | None = None
        self.after: asyncio.Task[None] | None = None
        self.works = True

    async def start(self) -> None:
        """Boot."""
        self.listening = virtagent.listen(self.url, services=[FakePower(self), FakeSystem(self)])
        await self.listening.start()

    async def stop(self, reason: str) -> None:
        """Go: say goodbye, and close the socket."""
        assert self.listening is not None
        await self.listening.aclose(reason, "", drain=0.0)

    def then(self, *reasons: str, back: bool) -> None:
        """What happens once the answer is with the host."""

        async def go() -> None:
            await asyncio.sleep(0.02)
            for reason in reasons:
                await self.stop(reason)
            if back:
                self.boot += 1
                await self.start()

        self.after = asyncio.create_task(go())


class FakePower(Service, name="power"):
    """Answers, and has the machine go."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def shutdown(self, *, delay: float, message: str, reason: str, force: bool) -> Planned:
        if not self._machine.works:
            raise FailedPrecondition("no")
        if reason != "stay":
            self._machine.then("shutdown", back=False)
        return Planned(action="shutdown")

    async def reboot(self, *, delay: float, message: str, reason: str, force: bool) -> Planned:
        self._machine.then("reboot", back=True)
        return Planned(action="reboot")


class FakeSystem(Service, name="system"):
    """Tells one boot from another."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def info(self) -> SystemInfo:
        return SystemInfo(
            hostname="web1",
            kernel=Kernel(release="6", version="", machine="x86_64"),
            os=OperatingSystem(),
            time=facts.now(),
            uptime=1.0,
            boot_id=f"boot-{self._machine.boot}",
        )


@pytest.fixture
async def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    await made.start()
    return made


async def test_a_guest_has_gone_when_its_channel_has_closed(machine: Machine) -> None:
    async with asyncio.timeout(LIMIT), virtagent.connect(machine.url) as guest:
        done = await guest.power.shutdown_and_wait(timeout=LIMIT)
        assert (done.how, done.reason, done.boot_id) == ("closed", "shutdown", "")
        assert done.seconds > 0


async def test_a_guest_is_back_when_it_is_up_in_another_boot(machine: Machine) -> None:
    async with asyncio.timeout(LIMIT), virtagent.connect(machine.url) as guest:
        done = await guest.power.reboot_and_wait(timeout=LIMIT)
        assert (done.how, done.reason, done.boot_id) == ("rebooted", "reboot", "boot-2")
    await machine.stop("stop")


async def test_a_guest_that_stays_is_told_at_the_end_of_the_time(machine: Machine) -> None:
    async with asyncio.timeout(LIMIT), virtagent.connect(machine.url) as guest:
        with pytest.raises(DeadlineExceeded, match="not gone within 0.2 s: it did not say goodbye"):
            await guest.power.shutdown_and_wait(reason="stay", timeout=0.2)
    await machine.stop("stop")


async def test_a_guest_that_cannot_answers_so(machine: Machine) -> None:
    machine.works = False
    async with asyncio.timeout(LIMIT), virtagent.connect(machine.url) as guest:
        with pytest.raises(FailedPrecondition):
            await guest.power.shutdown_and_wait(timeout=LIMIT)
    await machine.stop("stop")


async def test_a_handle_with_options_cannot_wait(machine: Machine) -> None:
    async with asyncio.timeout(LIMIT), virtagent.connect(machine.url) as guest:
        with pytest.raises(UsageError, match="guest itself"):
            await guest.with_options(deadline=3).power.reboot_and_wait()
        assert "shutdown_and_wait" in dir(guest.power)
    await machine.stop("stop")
