"""The daemon: the agent's services on one or more channels, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import virtagent_transports
from virtagent import __version__
from virtagent.errors import ChannelUnavailable
from virtagent.guest import facts
from virtagent.guest.agent import AgentService
from virtagent.guest.catalogue import DIGEST, SERVICES, services_later
from virtagent.guest.configuration import Configuration
from virtagent.guest.grants import Grants
from virtagent.guest.guard import Guard
from virtagent.guest.installed import installed_handlers
from virtagent.guest.notify_socket import notify_manager
from virtagent.guest.presence import Presence
from virtagent.guest.resources import Resources
from virtagent.guest.runtime import freezes_left, start_reason
from virtagent.guest.sessions import SessionSocket
from virtagent.guest.watchdog import LoopWatchdog
from virtagent.peer.listening import Listening
from virtagent.peer.state import PeerState
from virtagent.service.description import schema_digest
from virtagent.service.service import handlers_of
from virtagent.service.serving import peer_options, router_of

if TYPE_CHECKING:
    from virtagent.guest.audit import Audit
    from virtagent.guest.manager_watchdog import ManagerWatchdog
    from virtagent.guest.policy import Policy
    from virtagent.peer.handler import Handler

__all__ = ["Daemon"]

log = logging.getLogger("virtagent.daemon")

PATIENCE = 2.0
"""Seconds until a device that cannot be served yet is mentioned in the log."""

MESSAGES = {"stop": "the agent was stopped", "shutdown": "the guest shuts down", "reboot": "the guest reboots"}


class Daemon:
    """The agent; :meth:`run` it once.

    Args:
        configuration: how it runs.
        packages: whether installed packages bring services.
    """

    def __init__(self, configuration: Configuration, *, packages: bool = False) -> None:
        self._options = configuration.agent
        self._packages = packages
        self._resources = Resources(configuration, Grants(lambda peer: self._policy().decide(peer)))
        self._made_policy: Policy | None = None
        self._guard = Guard(self._resources.grants, self._make_audit)
        if configuration.policy:
            self._policy()
        self._agent = AgentService(self._resources)
        reason = start_reason()
        self._presence = Presence(self._agent, reason)
        self._resources.events.publish("agent.up", reason=reason, version=__version__, boot_id=facts.boot_id())
        self._channels: list[Listening] = []
        self._sessions = SessionSocket(self._resources)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._signalled = False
        self._watched: ManagerWatchdog | None = None

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP, or until a ``stdio:`` channel ends. Devices are waited for.

        Raises:
            ChannelError, UrlError: a channel that cannot be served.
            UsageError: two services with the same method.
        """
        self._handle_signals()
        self._channels = self._resources.channels = self._make_channels()
        if freezes_left():
            self._spawn(_thaw_what_is_left(), "thaw")
        with LoopWatchdog():
            try:
                devices = [each for each in self._channels if not virtagent_transports.can_listen(each.url)]
                for channel in self._channels:
                    if channel not in devices:
                        await channel.start()
                        log.info("serving %s", channel.url)
                if any(not channel.url.startswith("stdio:") for channel in self._channels):
                    await self._sessions.start()  # one that serves a single command would take them from another
                for channel in devices:
                    self._spawn(self._serve_device(channel), f"serve {channel.url}")
                if self._options.heartbeat:
                    self._spawn(self._presence.beat(self._options.heartbeat), "heartbeat")
                notify_manager("READY=1", f"STATUS=serving {len(self._channels)} channels")
                if "WATCHDOG_USEC" in os.environ:
                    self._watched = _manager_watchdog()
                await self._stopping.wait()
            finally:
                await self._stop()
        if self._failure is not None:
            raise self._failure

    def _policy(self) -> Policy:
        if self._made_policy is None:
            from virtagent.guest.policy import Policy  # noqa: PLC0415 - not before there is a peer

            self._made_policy = Policy(self._resources.configuration.policy)
            for note in self._made_policy.notes:
                log.warning("%s", note)
        return self._made_policy

    def _make_audit(self) -> Audit:
        from virtagent.guest.audit import Audit  # noqa: PLC0415 - not before there is something to write down

        self._resources.audit = Audit(self._resources.frozen)
        return self._resources.audit

    def _around(self) -> Callable[[Handler], Handler]:
        """What is put around each handler: the policy, and outside of it a span, if spans are wanted."""
        telemetry = self._resources.configuration.telemetry
        if not telemetry.exporter:
            return self._guard
        from virtagent.guest.telemetry import start_tracing  # noqa: PLC0415 - only where it is asked for

        tracing = start_tracing(telemetry, self._resources)
        return lambda handler: tracing.handler(self._guard(handler))

    def _make_channels(self) -> list[Listening]:
        guard = self._around()
        own = handlers_of(self._agent)
        foreign = installed_handlers(
            self._options.services or None,
            lambda name: name.rpartition(".")[0] in {"agent", "rpc", *SERVICES},
            packages=self._packages,
        )
        router = router_of((), map(guard, [*own, *foreign]), later=services_later(self._resources, guard))
        digest = f"{DIGEST}{schema_digest(foreign)}" if foreign else DIGEST
        options = peer_options(
            None, router, role="guest", name=self._options.name, keepalive=self._options.keepalive, digest=digest
        )
        return [Listening(url, router, options, on_peer=self._presence.welcome) for url in self._options.channels]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self._stopping.set()

    async def _serve_device(self, channel: Listening) -> None:
        """Open a device, now or when it is there; a ``stdio:`` that has ended ends the daemon."""
        mention = asyncio.get_running_loop().call_later(PATIENCE, _mention, channel)
        try:
            await channel.start()
            for peer in channel.peers:
                if not channel.url.startswith("stdio:"):
                    log.info("serving %s", channel.url)
                elif peer.channel is None or peer.channel.closed is None:
                    raise ChannelUnavailable("standard input and output are not usable as a channel; they are closed")
                else:
                    await asyncio.shield(peer.channel.closed)
                    self._stopping.set()
            await channel.serve_forever()
        finally:
            mention.cancel()

    # -- signals -------------------------------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(each, self._on_signal, each)
        loop.add_signal_handler(signal.SIGUSR1, self._dump)

    def _dump(self) -> None:
        from virtagent.guest.dump import log_dump  # noqa: PLC0415 - for people who look into a fault

        log_dump(self._resources)

    def _on_signal(self, which: signal.Signals) -> None:
        if self._signalled:
            log.warning("%s again: leaving at once", which.name)
            logging.shutdown()
            os._exit(128 + which)
        self._signalled = True
        log.info("%s: going down", which.name)
        self._stopping.set()

    # -- the end -------------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        """Tell hosts why, let running calls end, say goodbye (section G)."""
        from virtagent.guest.down_reason import down_message, down_reason  # noqa: PLC0415 - at the end only

        notify_manager("STOPPING=1")
        reason = await asyncio.to_thread(down_reason) if self._signalled else "stop"
        message = down_message() or MESSAGES.get(reason, reason)
        if self._stopping.is_set():
            log.info("going down: %s (%s)", reason, message)
        for task in self._tasks:
            task.cancel()
        await self._presence.down(reason, message)
        await self._resources.stop(reason, message)
        await self._sessions.stop(reason, message)
        # A machine that goes down kills what runs; who waits for it is to know at once (rule G1).
        drain = 0.0 if reason in ("shutdown", "reboot") else None
        await asyncio.gather(*(each.aclose(reason, message, drain=drain) for each in self._channels))
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._resources.audit is not None:
            self._resources.audit.close()
        if self._watched is not None:
            self._watched.stop()


def _manager_watchdog() -> ManagerWatchdog:
    from virtagent.guest.manager_watchdog import ManagerWatchdog  # noqa: PLC0415 - where a manager watches only

    return ManagerWatchdog()


async def _thaw_what_is_left() -> None:
    from virtagent.guest.freeze_record import thaw_what_is_left  # noqa: PLC0415 - hardly ever needed

    thawed = await asyncio.to_thread(thaw_what_is_left)
    if thawed:
        log.warning("thawed what an earlier agent had left frozen: %s", ", ".join(thawed))


def _mention(channel: Listening) -> None:
    waiting = [peer for peer in channel.peers if peer.state is PeerState.NO_CHANNEL]
    if waiting or not channel.peers:
        detail = waiting[0].detail if waiting else f"{channel.url}: no host is connected yet"
        log.warning("%s; waiting", detail)
