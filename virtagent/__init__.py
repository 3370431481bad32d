"""Two equal RPC peers, host and guest, over whatever channel there is.

::

    async with virtagent.connect("unix:/run/vm/web1.sock") as guest:
        print((await guest.system.info()).kernel)

    class Backup(virtagent.Service, name="backup"):
        async def snapshot(self, path: str, *, level: int = 3) -> Snapshot: ...

    async with virtagent.listen("unix:/run/backup.sock", services=[Backup()]): ...

Names are loaded at their first use (PEP 562): importing this package loads neither asyncio nor msgpack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from virtagent.errors import (
        Aborted,
        AlreadyExists,
        CallError,
        Cancelled,
        ChannelBusy,
        ChannelError,
        ChannelUnavailable,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        InternalError,
        InvalidArgument,
        InvalidRequest,
        MethodNotFound,
        NobodyAnswers,
        NotFound,
        OutOfRange,
        Overloaded,
        PeerClosed,
        PeerGone,
        PermissionDenied,
        ResourceExhausted,
        SessionLost,
        StreamReset,
        TooDeep,
        Unauthenticated,
        Unavailable,
        UnknownError,
        UrlError,
        UsageError,
        VirtagentError,
        error_code,
    )
    from virtagent.guest.bench import BenchService
    from virtagent.host.connect import connect
    from virtagent.host.guest import Guest
    from virtagent.peer import blocking
    from virtagent.peer.context import Context
    from virtagent.peer.options import PeerOptions
    from virtagent.peer.peer import Peer
    from virtagent.peer.state import PeerState
    from virtagent.peer.stream import NewStream, OutgoingStream, Stream, StreamCall
    from virtagent.protocol.limits import Limits
    from virtagent.service.options import in_thread, method
    from virtagent.service.service import Service
    from virtagent.service.serving import listen
    from virtagent.service.streams import TypedStream
    from virtagent.service.stub import stub

__all__ = [
    "Aborted",
    "AlreadyExists",
    "BenchService",
    "CallError",
    "Cancelled",
    "ChannelBusy",
    "ChannelError",
    "ChannelUnavailable",
    "Context",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Guest",
    "InternalError",
    "InvalidArgument",
    "InvalidRequest",
    "Limits",
    "MethodNotFound",
    "NewStream",
    "NobodyAnswers",
    "NotFound",
    "OutOfRange",
    "OutgoingStream",
    "Overloaded",
    "Peer",
    "PeerClosed",
    "PeerGone",
    "PeerOptions",
    "PeerState",
    "PermissionDenied",
    "ResourceExhausted",
    "Service",
    "SessionLost",
    "Stream",
    "StreamCall",
    "StreamReset",
    "TooDeep",
    "TypedStream",
    "Unauthenticated",
    "Unavailable",
    "UnknownError",
    "UrlError",
    "UsageError",
    "VirtagentError",
    "__version__",
    "blocking",
    "connect",
    "error_code",
    "in_thread",
    "listen",
    "method",
    "stub",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # hidden from type checkers, so that a misspelt name is an error to them
    _HOMES = {
        "BenchService": "virtagent.guest.bench",
        "Context": "virtagent.peer.context",
        "Guest": "virtagent.host.guest",
        "Limits": "virtagent.protocol.limits",
        "NewStream": "virtagent.peer.stream",
        "OutgoingStream": "virtagent.peer.stream",
        "Peer": "virtagent.peer.peer",
        "PeerOptions": "virtagent.peer.options",
        "PeerState": "virtagent.peer.state",
        "Service": "virtagent.service.service",
        "Stream": "virtagent.peer.stream",
        "StreamCall": "virtagent.peer.stream",
        "TypedStream": "virtagent.service.streams",
        "connect": "virtagent.host.connect",
        "in_thread": "virtagent.service.options",
        "listen": "virtagent.service.serving",
        "method": "virtagent.service.options",
        "stub": "virtagent.service.stub",
    }
    """Where names live that are not errors."""

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'virtagent' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - only when a name is wanted

        if name == "blocking":
            value = import_module("virtagent.peer.blocking")
        else:
            value = getattr(import_module(_HOMES.get(name, "virtagent.errors")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
