"""What the agent is told by its configuration file, ``/etc/virtagent/agent.toml`` (docs/configuration.md).

A section is one frozen struct that refuses unknown keys and has a default for each: ``[agent]`` is the field ``agent``
of :class:`Configuration`, a list of tables such as ``[[policy]]`` a field of type ``tuple[..., ...]``. Bounds, and an
example of what to write, are in the types; what no type can say is told by a method ``mistakes``, which yields pairs of
a key (or a path such as ``channels.0``) and a text that says what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

__all__ = [
    "AgentSection",
    "Configuration",
    "EventsSection",
    "PolicyRule",
    "PressureTrigger",
    "StorageSection",
    "TelemetrySection",
]

SHORTEST_HEARTBEAT = 0.1

Role = Literal["observe", "files-read", "files-write", "exec", "power", "admin"]
AbsolutePath = Annotated[str, msgspec.Meta(pattern="^/", max_length=4096, examples=["/srv"])]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
User = Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | Annotated[int, msgspec.Meta(ge=0, lt=2**32 - 1)]


class AgentSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[agent]``: what the daemon serves, and how. Options of the command line go over it.

    Attributes:
        channels: the URLs to serve; none: virtio:org.virtagent.0.
        name: who this guest says it is; "": its host name.
        heartbeat: seconds between two heartbeats; 0: none.
        keepalive: seconds that the agent stays quiet at most (rule K1); 0: no promise.
        services: the folder of drop-in services; "": none.
        log_level: what is logged at least.
        loop: the event loop; "auto" takes uvloop if it is installed.
    """

    channels: Annotated[tuple[Pattern, ...], msgspec.Meta(max_length=64, examples=[["virtio:org.virtagent.0"]])] = ()
    name: Annotated[str, msgspec.Meta(max_length=64, examples=["web1"])] = ""
    heartbeat: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 10.0
    keepalive: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 5.0
    services: Annotated[str, msgspec.Meta(pattern="^(/|$)", examples=["/etc/virtagent/services"])] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """What the types cannot say."""
        from virtagent.errors import UrlError  # noqa: PLC0415 - only where there is such a file
        from virtagent_transports import ChannelUrl  # noqa: PLC0415

        for index, url in enumerate(self.channels):
            if url in self.channels[:index]:
                yield f"channels.{index}", f"the channel {url} is given twice; drop one"
            try:
                ChannelUrl.parse(url)
            except UrlError as error:
                yield f"channels.{index}", str(error)
        if 0 < self.heartbeat < SHORTEST_HEARTBEAT:
            yield "heartbeat", f"heartbeat = {self.heartbeat:g} is too often; write {SHORTEST_HEARTBEAT} or more, or 0"


class PolicyRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[policy]]``: what a peer may do. The first rule of which all conditions hold for a peer is its rule.

    Conditions:
        channel: a pattern (fnmatch) of the channel's URL, or a scheme such as "unix"; "*": each.
        users: the peer's process runs as one of these, by name or number (unix: only).
        groups: that user is in one of these groups, by name or number (unix: only).
        certificates: patterns of the name in the peer's verified certificate (tls: only).
        cids: the context ids of the peers (vsock: only; 2 is the host).

    What it grants:
        roles: "admin" includes all others, and each other one includes "observe".
        allow: patterns of methods that may be called whatever the roles.
        deny: patterns of methods that may not be called whatever the roles; they go before ``allow``.
        read_only: no method that changes the machine may be called, whatever else is said.
        read_roots, write_roots: the directories below which files may be read, and written.
        commands: the absolute paths of the programs that may be run; without it, all. With it no shell lines.
        calls, processes, watches: how many the peer may have at a time.
        bytes: of one stream of bytes at most; 0: any number.
    """

    channel: Pattern = "*"
    users: Annotated[tuple[User, ...] | None, msgspec.Meta(examples=[["backup", 1000]])] = None
    groups: Annotated[tuple[User, ...] | None, msgspec.Meta(examples=[["wheel"]])] = None
    certificates: Annotated[tuple[Pattern, ...] | None, msgspec.Meta(examples=[["*.ops.example"]])] = None
    cids: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, lt=2**32)], ...] | None, msgspec.Meta(examples=[[2]])] = (
        None
    )
    roles: Annotated[tuple[Role, ...], msgspec.Meta(examples=[["observe", "files-read"]])] = ()
    allow: Annotated[tuple[Pattern, ...], msgspec.Meta(examples=[["files.stat"]])] = ()
    deny: Annotated[tuple[Pattern, ...], msgspec.Meta(examples=[["power.*"]])] = ()
    read_only: bool = False
    read_roots: tuple[AbsolutePath, ...] = ("/",)
    write_roots: tuple[AbsolutePath, ...] = ("/",)
    commands: Annotated[tuple[AbsolutePath, ...] | None, msgspec.Meta(examples=[["/usr/bin/systemctl"]])] = None
    calls: Count = 1024
    processes: Count = 256
    watches: Count = 256
    bytes: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Conditions that cannot hold together, and grants that contradict each other."""
        scheme = self.scheme
        for key, only, identity in (
            ("users", "unix", self.users),
            ("groups", "unix", self.groups),
            ("certificates", "tls", self.certificates),
            ("cids", "vsock", self.cids),
        ):
            if identity is not None and scheme not in (only, ""):
                yield key, f'{key} are known of {only}: channels only; write channel = "{only}", or drop {key}'
            if identity == ():
                yield key, f"{key} = [] matches nobody; name some, or drop it"
        kinds = [bool(self.users or self.groups), bool(self.certificates), bool(self.cids)]
        if sum(kinds) > 1:
            yield "channel", "a peer has a user, a certificate or a cid, never two of them; write a rule for each"
        writing = [each for each in self.roles if each not in ("observe", "files-read")]
        if self.read_only and writing:
            clash = f"read_only = true forbids what the role {writing[0]} is for"
            yield "read_only", f'{clash}; write roles = ["observe", "files-read"], or drop read_only'
        if self.commands is not None and not {"exec", "admin"} & set(self.roles):
            yield "commands", 'commands are for the role exec; add "exec" to roles, or drop commands'
        yield from self._roots()

    def _roots(self) -> Iterator[tuple[str, str]]:
        for key, roots in (("read_roots", self.read_roots), ("write_roots", self.write_roots)):
            for index, root in enumerate(roots):
                if ".." in root.split("/"):
                    yield f"{key}.{index}", f'{root} climbs with ".."; write the directory that is meant'

    @property
    def scheme(self) -> str:
        """The scheme of all channels that match; "" where any may."""
        scheme = self.channel.partition(":")[0]
        return "" if any(each in scheme for each in "*?[") else scheme


class TelemetrySection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[telemetry]``: OpenTelemetry spans of served calls (docs/services/health.md).

    Attributes:
        exporter: where spans go: a name that an installed package has in the entry-point group
            ``opentelemetry_traces_exporter``, such as "otlp_proto_http" or "console"; "": nowhere, nothing is loaded.
        endpoint: the exporter's URL; "": its own default, or what ``OTEL_EXPORTER_OTLP_ENDPOINT`` says.
        service_name: what the spans' resource is called.
    """

    exporter: Annotated[str, msgspec.Meta(examples=["otlp_proto_http"])] = ""
    endpoint: Annotated[str, msgspec.Meta(examples=["http://127.0.0.1:4318/v1/traces"])] = ""
    service_name: Annotated[str, msgspec.Meta(min_length=1, examples=["virtagentd"])] = "virtagentd"

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """An endpoint of nothing."""
        if self.endpoint and not self.exporter:
            yield "endpoint", 'endpoint needs an exporter; write exporter = "otlp_proto_http", or drop endpoint'


class PressureTrigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[events.pressure]]``: when an event ``pressure.*`` is published (Documentation/accounting/psi.rst).

    Attributes:
        resource: what was waited for.
        kind: "some": at least one task waited; "full": all did.
        stall: seconds of waiting in a window that are too many.
        window: seconds; at most one event comes in each.
    """

    resource: Literal["cpu", "memory", "io"]
    kind: Literal["some", "full"] = "some"
    stall: Annotated[float, msgspec.Meta(gt=0, le=10)]
    window: Annotated[float, msgspec.Meta(ge=0.5, le=10)] = 2.0

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """A threshold that cannot be crossed."""
        if self.stall > self.window:
            yield "stall", f"stall = {self.stall:g} is longer than the window of {self.window:g} s; write less"


class EventsSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[events]``: what happens in the guest, pushed to the host (docs/services/events.md).

    Attributes:
        linger: seconds that the agent goes on watching when the last subscriber has left: who comes back within
            them has missed nothing.
        pressure: thresholds.
    """

    linger: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 600.0
    pressure: Annotated[tuple[PressureTrigger, ...], msgspec.Meta(max_length=32)] = (
        PressureTrigger(resource="cpu", stall=1.0),
        PressureTrigger(resource="memory", stall=0.2),
        PressureTrigger(resource="io", stall=0.5),
    )


class StorageSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[storage]``: what is done around a freeze (docs/services/storage.md).

    Attributes:
        hooks: folders whose programs are run with "freeze" before a freeze and with "thaw" after it, as those of
            qemu-ga are. A folder that does not exist has none.
        hook_timeout: seconds for each; one that takes longer is killed, and the freeze fails.
    """

    hooks: Annotated[
        tuple[AbsolutePath, ...], msgspec.Meta(max_length=16, examples=[["/etc/virtagent/freeze-hooks.d"]])
    ] = (
        "/etc/virtagent/freeze-hooks.d",
        "/etc/qemu/fsfreeze-hook.d",
        "/etc/qemu-ga/fsfreeze-hook.d",
    )
    hook_timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0


class Configuration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; each section is a struct of its own, with defaults that serve without any file."""

    agent: AgentSection = AgentSection()
    policy: Annotated[tuple[PolicyRule, ...], msgspec.Meta(max_length=1024)] = ()
    telemetry: TelemetrySection = TelemetrySection()
    events: EventsSection = EventsSection()
    storage: StorageSection = StorageSection()
