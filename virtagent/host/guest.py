"""A guest as host tooling holds it: a peer with typed stubs."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from virtagent.host.capabilities import Capabilities
from virtagent.peer.connecting import ConnectingPeer
from virtagent.peer.with_options import CallerWithOptions, make_options
from virtagent.service.service import Service
from virtagent.service.stub import stub

if TYPE_CHECKING:
    from virtagent.api.accounts import Accounts
    from virtagent.api.agent import Agent
    from virtagent.api.config import Config
    from virtagent.api.hardware import Hardware
    from virtagent.api.health import Health
    from virtagent.api.log import Log
    from virtagent.api.network import Network
    from virtagent.api.units import Units
    from virtagent.host.clipboard import GuestClipboard
    from virtagent.host.events import GuestEvents
    from virtagent.host.files import GuestFiles
    from virtagent.host.jobs import GuestJobs
    from virtagent.host.kv import GuestKv
    from virtagent.host.power import GuestPower
    from virtagent.host.processes import GuestProcesses
    from virtagent.host.stats import GuestStats
    from virtagent.host.storage import GuestStorage
    from virtagent.host.system import GuestSystem
    from virtagent.service.introspection import Introspection

__all__ = ["Guest", "GuestWithOptions"]


class _Later:
    """An attribute that is loaded and made at its first use: a program that lists files need not load all services.

    Args:
        module: where the class is.
        name: an interface, of which a stub is made, or a class that is made of the guest.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __set_name__(self, owner: type, attribute: str) -> None:
        self._attribute = attribute

    def __get__(self, guest: Any, owner: type | None = None) -> Any:
        if guest is None:
            return self
        cls = getattr(import_module(self._module), self._name)
        made = stub(cls, guest) if issubclass(cls, Service) else cls(guest)
        guest.__dict__[self._attribute] = made
        return made


def _later(module: str, name: str) -> Any:
    """A :class:`_Later`; to a type checker it is what the attribute is annotated with."""
    return _Later(module, name)


class _Stubs:
    """The guest's services as attributes; to a type checker they are the interfaces of ``virtagent.api``."""

    agent: Agent = _later("virtagent.api.agent", "Agent")
    """The agent itself."""

    hardware: Hardware = _later("virtagent.api.hardware", "Hardware")
    """Its processors, memory blocks and PCI devices."""

    network: Network = _later("virtagent.api.network", "Network")
    """Its network."""

    stats: GuestStats = _later("virtagent.host.stats", "GuestStats")
    """What its processors, memory, disks, network and processes do."""

    system: GuestSystem = _later("virtagent.host.system", "GuestSystem")
    """The guest as a system."""

    power: GuestPower = _later("virtagent.host.power", "GuestPower")
    """The guest's power."""

    storage: GuestStorage = _later("virtagent.host.storage", "GuestStorage")
    """Filesystems and disks of the guest."""

    events: GuestEvents = _later("virtagent.host.events", "GuestEvents")
    """What happens in the guest: ``async for event in guest.events("mount.*")``."""

    files: GuestFiles = _later("virtagent.host.files", "GuestFiles")
    """Files of the guest."""

    health: Health = _later("virtagent.api.health", "Health")
    """How the agent fares."""

    kv: GuestKv = _later("virtagent.host.kv", "GuestKv")
    """A small key/value store that is shared with the guest's programs."""

    log: Log = _later("virtagent.api.log", "Log")
    """Logs of the guest."""

    processes: GuestProcesses = _later("virtagent.host.processes", "GuestProcesses")
    """Processes of the guest."""

    jobs: GuestJobs = _later("virtagent.host.jobs", "GuestJobs")
    """Processes of the guest that go on without us."""

    units: Units = _later("virtagent.api.units", "Units")
    """Units of systemd in the guest."""

    accounts: Accounts = _later("virtagent.api.accounts", "Accounts")
    """Accounts of the guest."""

    config: Config = _later("virtagent.api.config", "Config")
    """Configuration of the guest, piece by piece."""

    clipboard: GuestClipboard = _later("virtagent.host.clipboard", "GuestClipboard")
    """Clipboards of the guest's desktop sessions."""

    rpc: Introspection = _later("virtagent.service.introspection", "Introspection")
    """What the guest answers to."""


class Guest(_Stubs, ConnectingPeer):
    """A guest. :func:`virtagent.connect` gives it.

    ``guest.call(...)``, ``guest.stream(...)``, ``guest.notify(...)`` reach any method; ``guest.system.info()`` and the
    like are typed.
    """

    @cached_property
    def capabilities(self) -> Capabilities:
        """What its agent can do."""
        return Capabilities(self)

    def with_options(self, **options: Any) -> GuestWithOptions:
        """The same guest, typed stubs included, with other options for the calls made through it.

        Args:
            options: see :class:`~virtagent.peer.options.CallOptions` (``deadline`` in seconds, ``priority``, ...).

        Raises:
            UsageError: an option that does not exist, or a value that cannot be.
        """
        return GuestWithOptions(self._call, self._notify, make_options(options))


class GuestWithOptions(_Stubs, CallerWithOptions):
    """A guest with other options for the calls made through it."""
