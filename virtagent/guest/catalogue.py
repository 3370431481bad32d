"""The agent's services, by name: each is loaded and made when one of its methods is called for the first time.

An idle agent that loaded all of them would take twice the time to start, and half as much memory again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module

from virtagent.guest.resources import Resources
from virtagent.peer.handler import Handler
from virtagent.service.service import Service, handlers_of

__all__ = ["DIGEST", "SERVICES", "make_service", "services_later"]

log = logging.getLogger("virtagent.daemon")

SERVICES: Mapping[str, str] = {
    "accounts": "virtagent.guest.accounts:AccountsService",
    "bench": "virtagent.guest.bench:BenchService",
    "clipboard": "virtagent.guest.clipboard:ClipboardService",
    "config": "virtagent.guest.config:ConfigService",
    "events": "virtagent.guest.events:EventsService",
    "files": "virtagent.guest.files:FilesService",
    "hardware": "virtagent.guest.hardware:HardwareService",
    "health": "virtagent.guest.health:HealthService",
    "jobs": "virtagent.guest.jobs:JobsService",
    "kv": "virtagent.guest.kv:KvService",
    "log": "virtagent.guest.log:LogService",
    "network": "virtagent.guest.network:NetworkService",
    "power": "virtagent.guest.power:PowerService",
    "processes": "virtagent.guest.processes:ProcessesService",
    "stats": "virtagent.guest.stats:StatsService",
    "storage": "virtagent.guest.storage:StorageService",
    "system": "virtagent.guest.system:SystemService",
    "units": "virtagent.guest.units:UnitsService",
}
"""Where the class of each service is; it is made with the agent's :class:`Resources`."""

DIGEST = "3c57de9bbc5a5106"
"""The digest of the methods of all these (``schema_digest``). ``make schema`` writes it; a test says when to."""


def make_service(name: str, resources: Resources) -> Service:
    """Load a service's module, and make the service."""
    module, _, attribute = SERVICES[name].partition(":")
    service: Service = getattr(import_module(module), attribute)(resources)
    return service


def services_later(
    resources: Resources, guard: Callable[[Handler], Handler]
) -> Mapping[str, Callable[[], Iterable[Handler]]]:
    """For a router: what makes the handlers of each service.

    Args:
        resources: what the services share.
        guard: puts a check of the policy around a handler.
    """

    return {name: partial(_make_guarded, name, resources, guard) for name in SERVICES}


def _make_guarded(name: str, resources: Resources, guard: Callable[[Handler], Handler]) -> list[Handler]:
    """The handlers of a service; of one that cannot be made here, none, so that the others are not lost with it."""
    try:
        return [guard(each) for each in handlers_of(make_service(name, resources))]
    except Exception:
        log.exception("the service %s cannot be made: its methods are missing", name)
        return []
