"""How a peer behaves, and how single calls differ from it."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from virtagent.errors import UsageError
from virtagent.protocol.announcement import Identity
from virtagent.protocol.limits import Limits

__all__ = ["CallOptions", "PeerOptions", "Priority"]

Priority = Literal["urgent", "normal", "bulk"]
CLASSES = {"urgent": 1, "normal": 2, "bulk": 3}


class PeerOptions(NamedTuple):
    """The behaviour of one side. Times are seconds.

    Attributes:
        identity: who this side says it is; None: a default made from this process and machine.
        limits: what this side accepts; None: by the channel's class.
        deadline: of a call that states none (rule D1).
        keepalive: the longest time this side stays quiet (rule K1); 0: no promise.
        lost_after: silence after which a session is given up; None: never (rule K5).
        drain: how long :meth:`Peer.aclose` lets running calls end.
        trace: a new file to record everything that is sent and received to, for ``virtagent decode``; None: do not.
        threads: how many plain ``def`` handlers run at a time.
        first_retry, longest_retry: the pause before connecting again; it doubles, with jitter.
    """

    identity: Identity | None = None
    limits: Limits | None = None
    deadline: float = 60.0
    keepalive: float = 5.0
    lost_after: float | None = None
    drain: float = 5.0
    trace: str | None = None
    threads: int = 8
    first_retry: float = 0.05
    longest_retry: float = 5.0


class CallOptions:
    """How one call differs from the defaults.

    Attributes:
        deadline: seconds; None: the side's default; ``math.inf``: none.
        priority: its class (rule P1); None: that of the call being served, else normal.
        retry: make the call again, within its deadline, when it fails with ``SessionLost``: only right for
            a method that may run twice (a typed stub knows from the method's definition).
        traceparent, tracestate: W3C trace context.
        key: the idempotency key.
        metadata: what these options put on the wire (rule C10).
    """

    __slots__ = ("deadline", "key", "metadata", "priority", "retry", "traceparent", "tracestate")

    def __init__(
        self,
        *,
        deadline: float | None = None,
        priority: Priority | None = None,
        retry: bool = False,
        traceparent: str | None = None,
        tracestate: str | None = None,
        key: str | None = None,
    ) -> None:
        if deadline is not None and not 0 < deadline <= math.inf:
            raise UsageError(f"a deadline is a positive number of seconds, or math.inf for none; not {deadline!r}")
        if priority is not None and priority not in CLASSES:
            raise UsageError(f"a priority is one of {', '.join(CLASSES)}; not {priority!r}")
        self.deadline = deadline
        self.priority = priority
        self.retry = retry
        self.traceparent = traceparent
        self.tracestate = tracestate
        self.key = key
        texts = (("traceparent", traceparent), ("tracestate", tracestate), ("key", key))
        self.metadata = {name: value for name, value in texts if value is not None}
