"""What happens in the guest, pushed to whoever subscribed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from virtagent.errors import InvalidArgument, ResourceExhausted, Unavailable
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = ["Event", "EventKind", "EventSource", "Events", "Number", "Pattern", "Patterns", "Run", "SourceState"]

Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""An event's number; the first one of a run of the agent is 1."""

Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""A pattern (fnmatch) of kinds, such as "mount.*", "unit.failed", "*"."""

Patterns = Annotated[tuple[Pattern, ...], msgspec.Meta(min_length=1, max_length=64)]

Run = Annotated[str, msgspec.Meta(max_length=64)]
"""Tells one run of the agent from another."""

SourceState = Literal["idle", "starting", "running", "unavailable", "failed"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened.

    Attributes:
        number: counts up in one run of the agent. Kinds that were not asked for have numbers, too.
        time: the guest's clock when the agent learned of it.
        kind: such as "mount.added"; :data:`virtagent.api.event_kinds.KINDS` has them all.
        fields: what there is to tell, by the table of the kinds; a later version may add some.
    """

    number: int
    time: datetime
    kind: str
    fields: dict[str, Any] = {}


class EventKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of event.

    Attributes:
        kind: its name.
        summary: what it tells.
        fields: what each field holds.
        source: what watches for it; "": nothing has to run.
    """

    kind: str
    summary: str
    fields: dict[str, str]
    source: str = ""


class EventSource(msgspec.Struct, frozen=True, kw_only=True):
    """What watches for some kinds of events.

    Attributes:
        source: its name.
        state: "idle": nobody subscribed to its kinds; "unavailable": this guest has not what it needs; "failed": it
            will be started again.
        kinds: what it publishes.
        subscribers: how many want it.
        detail: why it does not run.
    """

    source: str
    state: SourceState
    kinds: tuple[str, ...]
    subscribers: int = 0
    detail: str = ""


class Events(Service, name="events", interface=True):
    """What happens in the guest."""

    @method(role="observe", since="0.1.0", errors=(ResourceExhausted, InvalidArgument, Unavailable))
    def subscribe(
        self, kinds: Patterns = ("*",), *, after: Number | None = None, run: Run = "", follow: bool = True
    ) -> AsyncIterator[Event]:
        """Events as they happen, without end.

        The first item is of kind ``events.subscribed``: whatever happens after it is told. What only this subscription
        wants is watched for from then on, and for some time after it ended. An item of kind ``events.gap`` says that
        some were missed there, and how many: the subscriber was too slow, or was away for too long.

        Args:
            kinds: patterns; an event that matches one of them is told.
            after: begin with the events that are kept and have a greater number; without it, with the next one.
            run: which run of the agent ``after`` is of, as ``events.subscribed`` told; if that is over, all that the
                present one has kept is told, after a gap.
            follow: go on with new ones. Without it nothing is watched for, and the stream ends with what is kept.

        Raises:
            ResourceExhausted: the caller has as many watches as it may have.
            InvalidArgument: a pattern has characters that no kind has.
            Unavailable: (at the stream's end) the agent goes.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def kinds(self) -> list[EventKind]:
        """The kinds of events that the agent knows, with their fields."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def sources(self) -> list[EventSource]:
        """What watches for events, whether it runs, and if not, why."""
        raise NotImplementedError
