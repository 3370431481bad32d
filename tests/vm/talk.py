"""The guest with the agent under test, and the host's end of its channels, as the tests in real guests use them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import virtagent
from tests.vm.harness import Machine
from virtagent import Guest, PeerOptions, PeerState, Service, method
from virtagent.api.agent import AgentEvents, Down, Heartbeat, Up

PORT = "org.virtagent.0"
UART = "ttyS1"
CHANNELS = (PORT, UART)
SERVICES = "/etc/virtagent/services"
KEEPALIVE = 0.5
"""Seconds, on both sides: silence is noticed after three of them (rule K2)."""

_OPTIONS = f"--channel virtio:{PORT} --channel serial:/dev/{UART}?baud=4000000 --services {SERVICES}"
AGENT = f"python3 -m virtagent.cli.daemon {_OPTIONS}"
IMPATIENT_AGENT = f"{AGENT} --keepalive {KEEPALIVE} --heartbeat 0.5"
"""The same with the keepalive above."""
_GUEST_FILES = Path(__file__).with_name("guest")
AGENT_FILES = {
    f"{SERVICES}/probe.py": _GUEST_FILES / "probe.py",
}
PATIENCE = 60.0
"""Seconds for what takes some ten at most, a boot under emulation, on an idle machine."""


class Desk(Service, name="desk"):
    """What the guest may call on its host."""

    def __init__(self) -> None:
        self.calls_begun: asyncio.Queue[str] = asyncio.Queue()

    async def double(self, number: int) -> int:
        """Answer a call of the guest."""
        return 2 * number

    async def begun(self, token: str) -> None:
        """Hear that a call of ours is being served."""
        self.calls_begun.put_nowait(token)


class Events(AgentEvents):
    """Collects what the agent tells of itself."""

    def __init__(self) -> None:
        self.ups: asyncio.Queue[Up] = asyncio.Queue()
        self.downs: asyncio.Queue[Down] = asyncio.Queue()
        self.heartbeats: asyncio.Queue[Heartbeat] = asyncio.Queue()

    @method(inline=True)
    def up(self, event: Up) -> None:
        self.ups.put_nowait(event)

    @method(inline=True)
    def down(self, event: Down) -> None:
        self.downs.put_nowait(event)

    @method(inline=True)
    def heartbeat(self, event: Heartbeat) -> None:
        self.heartbeats.put_nowait(event)


class Line:
    """One channel of a guest, with a host connected.

    Attributes:
        guest: the handle.
        desk: what the guest called here.
        events: what the agent told.
    """

    def __init__(self, guest: Guest, desk: Desk, events: Events) -> None:
        self.guest = guest
        self.desk = desk
        self.events = events
        self._sessions: asyncio.Queue[None] = asyncio.Queue()
        guest.on_session = lambda _: self._sessions.put_nowait(None)

    @property
    def unseen_sessions(self) -> int:
        """Sessions beyond the first that were established and not awaited."""
        return self._sessions.qsize()

    async def next_session(self, timeout: float = PATIENCE) -> None:
        """Wait for a session beyond the first and those awaited before."""
        await asyncio.wait_for(self._sessions.get(), timeout)

    async def reaches(self, state: PeerState, timeout: float = PATIENCE) -> None:
        """Wait until the peer is in `state`."""
        async with asyncio.timeout(timeout):
            async for now in self.guest.states():
                if now is state:
                    return

    async def begin(self, method: str, token: str, *, deadline: float = PATIENCE, **params: Any) -> asyncio.Task[Any]:
        """Call `probe.hold` or `probe.after`, and return once the guest serves the call."""
        caller = self.guest.with_options(deadline=deadline)
        call = asyncio.create_task(caller.call(method, token=token, **params))
        async with asyncio.timeout(PATIENCE):
            while await self.desk.calls_begun.get() != token:
                pass
        return call

    async def answers(self) -> str:
        """Prove that calls go both ways; returns which run of the agent answered."""
        assert await self.guest.call("probe.relay", method="desk.double", params={"number": 21}) == 42
        run: str = (await self.guest.call("probe.who"))["run"]
        return run


def url_of(machine: Machine, channel: str, *, told: bool = False) -> str:
    """The URL of a channel; `told`: it says which device is behind the socket."""
    kind = "virtio" if channel == PORT else "serial"
    return f"unix:{machine.socket(channel)}" + (f"?chardev={kind}" if told else "")


@asynccontextmanager
async def connected(url: str, *, timeout: float = PATIENCE, wait: bool = False) -> AsyncIterator[Line]:
    """Connect to a guest's channel as a host that serves `desk` and hears of the agent's events."""
    desk, events = Desk(), Events()
    options = PeerOptions(keepalive=KEEPALIVE, deadline=PATIENCE)
    async with virtagent.connect(url, services=[desk, events], options=options, timeout=timeout, wait=wait) as guest:
        yield Line(guest, desk, events)


@asynccontextmanager
async def connected_to_both(machine: Machine, *, told: bool = False) -> AsyncIterator[tuple[Line, Line]]:
    """Connect over virtio-serial and over the UART at once."""
    async with (
        connected(url_of(machine, PORT, told=told)) as virtio,
        connected(url_of(machine, UART, told=told)) as uart,
    ):
        yield virtio, uart
