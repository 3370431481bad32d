"""A guest as host tooling holds it: a peer with typed stubs."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from virtagent.api.accounts import Accounts
from virtagent.api.agent import Agent
from virtagent.api.clipboard import Clipboard
from virtagent.api.config import Config
from virtagent.api.hardware import Hardware
from virtagent.api.health import Health
from virtagent.api.kv import Kv
from virtagent.api.log import Log
from virtagent.api.network import Network
from virtagent.api.units import Units
from virtagent.host.capabilities import Capabilities
from virtagent.host.events import GuestEvents
from virtagent.host.files import GuestFiles
from virtagent.host.jobs import GuestJobs
from virtagent.host.power import GuestPower
from virtagent.host.processes import GuestProcesses
from virtagent.host.stats import GuestStats
from virtagent.host.storage import GuestStorage
from virtagent.host.system import GuestSystem
from virtagent.peer.caller import Caller
from virtagent.peer.connecting import ConnectingPeer
from virtagent.peer.with_options import CallerWithOptions, make_options
from virtagent.service.introspection import Introspection
from virtagent.service.stub import stub

__all__ = ["Guest", "GuestWithOptions"]


class _Stubs:
    """The guest's services as attributes; to a type checker they are the interfaces of ``virtagent.api``."""

    @cached_property
    def agent(self) -> Agent:
        """The agent itself."""
        return stub(Agent, cast(Caller, self))

    @cached_property
    def hardware(self) -> Hardware:
        """Its processors, memory blocks and PCI devices."""
        return stub(Hardware, cast(Caller, self))

    @cached_property
    def network(self) -> Network:
        """Its network."""
        return stub(Network, cast(Caller, self))

    @cached_property
    def stats(self) -> GuestStats:
        """What its processors, memory, disks, network and processes do."""
        return GuestStats(cast(Caller, self))

    @cached_property
    def system(self) -> GuestSystem:
        """The guest as a system."""
        return GuestSystem(cast(Caller, self))

    @cached_property
    def power(self) -> GuestPower:
        """The guest's power."""
        return GuestPower(cast(Caller, self))

    @cached_property
    def storage(self) -> GuestStorage:
        """Filesystems and disks of the guest."""
        return GuestStorage(cast(Caller, self))

    @cached_property
    def events(self) -> GuestEvents:
        """What happens in the guest: ``async for event in guest.events("mount.*")``."""
        return GuestEvents(cast(Caller, self))

    @cached_property
    def files(self) -> GuestFiles:
        """Files of the guest."""
        return GuestFiles(cast(Caller, self))

    @cached_property
    def health(self) -> Health:
        """How the agent fares."""
        return stub(Health, cast(Caller, self))

    @cached_property
    def kv(self) -> Kv:
        """A small key/value store that is shared with the guest's programs."""
        return stub(Kv, cast(Caller, self))

    @cached_property
    def log(self) -> Log:
        """Logs of the guest."""
        return stub(Log, cast(Caller, self))

    @cached_property
    def processes(self) -> GuestProcesses:
        """Processes of the guest."""
        return GuestProcesses(cast(Caller, self))

    @cached_property
    def jobs(self) -> GuestJobs:
        """Processes of the guest that go on without us."""
        return GuestJobs(cast(Caller, self))

    @cached_property
    def units(self) -> Units:
        """Units of systemd in the guest."""
        return stub(Units, cast(Caller, self))

    @cached_property
    def accounts(self) -> Accounts:
        """Accounts of the guest."""
        return stub(Accounts, cast(Caller, self))

    @cached_property
    def config(self) -> Config:
        """Configuration of the guest, piece by piece."""
        return stub(Config, cast(Caller, self))

    @cached_property
    def clipboard(self) -> Clipboard:
        """Clipboards of the guest's desktop sessions."""
        return stub(Clipboard, cast(Caller, self))

    @cached_property
    def rpc(self) -> Introspection:
        """What the guest answers to."""
        return stub(Introspection, cast(Caller, self))


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
