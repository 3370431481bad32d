"""The service ``agent`` of the guest."""

from __future__ import annotations

import os

from virtagent import __version__
from virtagent.api.agent import Agent
from virtagent.guest.agent import AgentService
from virtagent.service.service import handlers_of
from virtagent.service.stub import stub
from virtagent.testing import peer_pair


async def test_a_ping_is_answered_in_the_read_path_and_counts_itself() -> None:
    """No task: that would be a third of what a ping costs."""
    handlers = handlers_of(AgentService())
    assert [handler.mode for handler in handlers if handler.name == "agent.ping"] == ["inline"]
    async with peer_pair([], handlers) as (host, _):
        pong = await stub(Agent, host).ping()
    assert (pong.version, pong.pid, pong.open_calls) == (__version__, os.getpid(), 1)
    assert pong.agent_uptime >= 0
