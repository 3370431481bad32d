"""The host's side of the agent's notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from virtagent.api.agent import AgentEvents, Down, Heartbeat, Up
from virtagent.service.options import method

__all__ = ["EventReceiver"]


class EventReceiver(AgentEvents):
    """Reports each notification with its fields.

    Args:
        report: takes the name ("agent.up") and the fields.
    """

    def __init__(self, report: Callable[[str, dict[str, Any]], None]) -> None:
        self._report = report

    @method(inline=True)
    def up(self, event: Up) -> None:
        self._report("agent.up", structs.asdict(event))

    @method(inline=True)
    def down(self, event: Down) -> None:
        self._report("agent.down", structs.asdict(event))

    @method(inline=True)
    def heartbeat(self, event: Heartbeat) -> None:
        self._report("agent.heartbeat", structs.asdict(event))
