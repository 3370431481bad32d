"""Measuring a guest: an echo with time stamps, streams to nowhere and from nowhere, what the agent costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import msgspec

from virtagent.errors import DeadlineExceeded, ResourceExhausted
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LARGEST_CHUNK",
    "LARGEST_PAYLOAD",
    "LONGEST_STREAM",
    "MOST_STREAMED",
    "Bench",
    "ChunkSize",
    "Echo",
    "Environment",
    "Payload",
    "Received",
    "StreamSize",
    "Usage",
]

LARGEST_PAYLOAD = 8 * 1024 * 1024
"""Bytes of an echo: half of what a message may have on a socket."""

LARGEST_CHUNK = 1024 * 1024
"""Bytes of a chunk of ``source``, as of ``files.read``."""

MOST_STREAMED = 1 << 40
"""Bytes that one stream may carry; minutes of the fastest channel there is."""

LONGEST_STREAM = 600.0
"""Seconds after which a stream is ended, whatever was asked for."""

Payload = Annotated[bytes, msgspec.Meta(max_length=LARGEST_PAYLOAD)]

ChunkSize = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_CHUNK)]

StreamSize = Annotated[int, msgspec.Meta(ge=1, le=MOST_STREAMED)]


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """A payload that came back, and when the callee did what, in nanoseconds of its monotonic clock.

    Attributes:
        data: the payload.
        received: the first request of those that were read together with this one reached its handler.
        started: this request's handler began. What lies between the two is waiting for other handlers.
        finished: the handler ended.
    """

    data: bytes
    received: int
    started: int
    finished: int


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What a ``sink`` took.

    Attributes:
        bytes: how many bytes.
        chunks: in how many pieces they were read.
        first, last: when the first and the last piece came, in nanoseconds of the monotonic clock; 0: none came.
    """

    bytes: int
    chunks: int
    first: int
    last: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent's process has cost so far, all of its clients together.

    Attributes:
        cpu: seconds of user and system time.
        rss: resident memory, in bytes; None: cannot be told.
        clock: the monotonic clock, in nanoseconds.
    """

    cpu: float
    rss: int | None
    clock: int


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What a measurement at this end depends on. None and "" mean that it cannot be told.

    Attributes:
        kernel: such as "Linux 6.1.0-18-amd64".
        machine: the architecture, such as "x86_64".
        boot_id: two processes with the same one share the monotonic clock.
        virtualization: such as "kvm", "qemu", "none".
        cpu: the processor's model.
        cpus: processors that are online.
        usable_cpus: processors on which this process may run.
        memory: bytes of memory that the kernel manages.
        python: implementation and version, such as "CPython 3.11.7".
        build: the compiler, and what the interpreter was configured with.
        compiled: virtagent's hot modules are native code.
        loop: the event loop: "asyncio", "uvloop", or another one's module.
        versions: of the packages that matter and are loaded.
        load: the load averages over 1, 5 and 15 minutes.
        date: this machine's clock.
    """

    kernel: str
    machine: str
    python: str
    date: datetime
    boot_id: str = ""
    virtualization: str = ""
    cpu: str = ""
    cpus: int | None = None
    usable_cpus: int | None = None
    memory: int | None = None
    build: str = ""
    compiled: bool | None = None
    loop: str = ""
    versions: dict[str, str] = {}
    load: tuple[float, float, float] | None = None


class Bench(Service, name="bench", interface=True):
    """The callee's half of ``virtagent bench``. Nothing here touches files, and everything is bounded."""

    @method(idempotent=True, role="observe", since="0.1.0")
    async def echo(self, data: Payload = b"") -> Echo:
        """Answer with the payload, and with when it was served.

        Args:
            data: at most 8 MiB.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(ResourceExhausted, DeadlineExceeded))
    def source(self, *, total: StreamSize = MOST_STREAMED, chunk: ChunkSize = 256 * 1024) -> AsyncIterator[bytes]:
        """Bytes as fast as they are taken.

        Args:
            total: how many bytes, at most 1 TiB.
            chunk: bytes of each piece, at most 1 MiB.

        Raises:
            ResourceExhausted: too many such streams are open.
            DeadlineExceeded: the stream was open for 10 minutes.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(ResourceExhausted, DeadlineExceeded))
    async def sink(self, data: AsyncIterator[bytes]) -> Received:
        """Take bytes as fast as they come, and tell how many did and when; at most 1 TiB.

        Raises:
            ResourceExhausted: too many such streams are open, or there were more bytes.
            DeadlineExceeded: the stream was open for 10 minutes.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def usage(self) -> Usage:
        """CPU time and memory of the agent's process so far, and its clock."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def environment(self) -> Environment:
        """What a measurement at this end depends on."""
        raise NotImplementedError
