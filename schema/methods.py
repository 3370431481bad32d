"""The agent's methods as introspection tells of them, without an agent."""

from __future__ import annotations

from functools import cache

from virtagent.guest.agent import AgentService
from virtagent.guest.catalogue import SERVICES, make_service
from virtagent.guest.resources import Resources
from virtagent.peer.handler import Handler
from virtagent.service.description import MethodDescription, describe
from virtagent.service.introspection import Introspection
from virtagent.service.service import Service, handlers_of

__all__ = ["all_methods", "lazy_handlers", "services"]


@cache
def services() -> dict[str, Service]:
    """All services of the agent, by name."""
    resources = Resources()
    made = {name: make_service(name, resources) for name in SERVICES}
    return dict(sorted({"agent": AgentService(resources), "rpc": Introspection(), **made}.items()))


def lazy_handlers() -> list[Handler]:
    """The handlers of those services that an agent makes when they are wanted."""
    return [each for name in SERVICES for each in handlers_of(services()[name])]


@cache
def all_methods() -> dict[str, MethodDescription]:
    """Every method of the agent, by its whole name."""
    found = [describe(each) for service in services().values() for each in handlers_of(service)]
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}
