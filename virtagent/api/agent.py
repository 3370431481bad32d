"""The agent itself: is it there, and what does it tell of its own coming and going."""

from __future__ import annotations

from datetime import datetime

import msgspec

from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["Agent", "AgentEvents", "Down", "Heartbeat", "Pong", "Up"]


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a ping, made by a handler: it proves that the agent works, not only its kernel.

    Attributes:
        time: the guest's clock.
        agent_uptime: seconds since the agent's process started.
        session_uptime: seconds since this session was established.
        version: the agent's version.
        pid: its process id.
        open_calls: calls which it serves at the moment, this one included.
    """

    time: datetime
    agent_uptime: float
    session_uptime: float
    version: str = ""
    pid: int | None = None
    open_calls: int | None = None


class Agent(Service, name="agent", interface=True):
    """The guest's agent."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def ping(self) -> Pong:
        """Answer at once."""
        raise NotImplementedError


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """The agent has come up, and serves.

    Attributes:
        version: the agent's version.
        boot_id: tells one boot of the machine from another.
        time: the guest's clock.
        agent_uptime: seconds since its process started; a session that was only re-established has a large one.
        reason: why the agent started: "boot" (its first start in this boot) or "restart" (a later one); or "resume": it
            has not started, but the machine has slept.
    """

    version: str
    boot_id: str = ""
    time: datetime | None = None
    agent_uptime: float | None = None
    reason: str = ""


class Down(msgspec.Struct, frozen=True, kw_only=True):
    """The agent is about to go.

    Attributes:
        reason: "stop", "shutdown", "reboot", "suspend", or another word.
        message: for people.
    """

    reason: str
    message: str = ""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The agent works.

    Attributes:
        sequence: counts from 0 in one run of the agent; a gap means that some were lost.
        time: the guest's clock.
        uptime: seconds since the guest booted.
        load: the load averages over 1, 5 and 15 minutes.
        memory_available: bytes.
    """

    sequence: int
    time: datetime
    uptime: float
    load: tuple[float, float, float] | None = None
    memory_available: int | None = None


class AgentEvents(Service, name="agent", interface=True):
    """What the guest notifies its host of. The host implements it; a stub of it sends."""

    @method(role="observe", since="0.1.0")
    def up(self, event: Up) -> None:
        """The agent serves now."""

    @method(role="observe", since="0.1.0")
    def down(self, event: Down) -> None:
        """The agent is about to go."""

    @method(role="observe", since="0.1.0")
    def heartbeat(self, event: Heartbeat) -> None:
        """The agent works; sent at the interval that its configuration states."""
