"""Calls in both directions: requests, responses, notifications, cancel, deadlines (docs/protocol.md, sections C and D).

Framed and plain channels share this; it knows messages, not frames.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any, Final

from virtagent.errors import DeadlineExceeded, SessionLost, StreamReset, UsageError
from virtagent.protocol.call import METADATA, NO_METADATA, Call, Notification, Request, RequestEnded
from virtagent.protocol.codec import UNSENDABLE, Codec, peer_error, unsendable
from virtagent.protocol.limits import MAX_METADATA, MAX_METHOD_NAME, Limits
from virtagent.protocol.schedule import BULK, NORMAL, URGENT, Outgoing
from virtagent.protocol.streams import Stream

__all__ = ["Call", "CallTable", "Notification", "Request", "RequestEnded"]

REQUEST: Final = 0
RESPONSE: Final = 1
NOTIFICATION: Final = 2
CANCEL: Final = 3

DEFAULT_DEADLINE: Final = 60.0
"""Seconds that a call may take if nobody says otherwise (rule D1)."""

SHORT_NAME: Final = MAX_METHOD_NAME // 4
"""Characters of a method's name that need no measuring: each has at most 4 bytes."""

USUAL_MESSAGE: Final = 64 * 1024
"""Bytes of a message that leaves no buffer behind which would be worth giving back."""

LARGEST_BUFFER_KEPT: Final = 4 * 1024 * 1024
"""Bytes of a message whose buffer is kept for the next one, for a while."""

SPARE_DEADLINES: Final = 64
"""Deadlines of calls that have ended that may be kept beside as many as there are open calls."""


class CallTable:
    """The open calls of both directions in one connection.

    Args:
        limits: what this side accepts.
        codec: makes bytes.
        send: queues a message in a class.
        forget: takes a queued message back (rule C8).
        wake_at: told of a deadline that is earlier than all others.
        discard: forgets streams whose message will not be sent.
        deadline: seconds of a call that says nothing.

    Attributes:
        up: there is a session to send in.
        opening: the streams that the message which is being encoded opens; whoever encodes one adds it here.
        opening_class: the class of that message.
        peer_deadline: seconds that the peer's requests have if they say nothing (rule D1); ``math.inf``: for ever.
        most_unsent_answers: a peer that lets more wait does not read them (rule C6's bound).
        next_deadline: no open call has an earlier one.
        strays: responses to ids that were never issued (rule C4).
        malformed: messages that are no message of section C (rule C2).
        overloads: requests refused for the quota (rule C5).
    """

    def __init__(
        self,
        limits: Limits,
        codec: Codec,
        *,
        send: Callable[[int, Outgoing], None],
        forget: Callable[[int, Outgoing], None],
        wake_at: Callable[[float], None] = lambda _: None,
        discard: Callable[[list[Stream]], None] = lambda _: None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:
        self.set_limits(limits)
        self._codec = codec
        self._pack = codec.packer.pack
        self.send = send
        self._forget = forget
        self._wake_at = wake_at
        self._discard = discard
        self._deadline = deadline
        self.up = False
        self.opening: list[Stream] = []
        self.opening_class = NORMAL
        self._deadlines: list[tuple[float, bool, int]] = []
        self._tidy_in = 0
        self._next = 1
        self.calls: dict[int, Call] = {}
        self.requests: dict[int, Request] = {}
        self._nested = 0
        self.unsent_answers = 0
        self.peer_deadline = DEFAULT_DEADLINE
        self.next_deadline = math.inf
        self.with_metadata = True
        self.message_limit = limits.message
        self.draining = False
        self.strays = 0
        self.malformed = 0
        self.overloads = 0

    # -- our calls -----------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        params: Any,
        now: float,
        deadline: float | None = None,
        priority: int = NORMAL,
        metadata: dict[str, Any] | None = None,
    ) -> Call:
        """Issue a request; the call itself is the event of its end.

        Args:
            method: the method's name.
            params: a list or a map.
            now: the time.
            deadline: when the call fails, on the same clock; None: after this side's default; ``math.inf``: never.
            priority: its class.
            metadata: more metadata (rule C10), or None.

        Raises:
            UsageError: it cannot be sent.
            SessionLost: there is no session.
        """
        if not self.up or not 0 < len(method) <= SHORT_NAME:
            self._check_can_send(method)
        if metadata is not None:
            check_outgoing_metadata(metadata)
        identifier = self._next
        self.opening_class = priority
        data = self._encode(method, [REQUEST, identifier, method, params])
        self._next = identifier + 1
        call = Call(identifier, method, data, now + self._deadline if deadline is None else deadline)
        if deadline is not None or metadata is not None:
            self._add_metadata(call, deadline, metadata)
        if priority != NORMAL:
            call.priority = priority
        if self.opening:
            call.streams, self.opening = self.opening, []
        self.calls[identifier] = call
        if call.deadline < self.next_deadline:
            self._earlier(call.deadline)
        self.send(priority, call)
        return call

    def _add_metadata(self, call: Call, deadline: float | None, metadata: dict[str, Any] | None) -> None:
        if self.with_metadata:
            call.late = True
            call.metadata = metadata if deadline is None else {"deadline": 0, **(metadata or {})}

    def _earlier(self, deadline: float) -> None:
        """A deadline that comes before all others."""
        self.next_deadline = deadline
        self._wake_at(deadline)

    def notify(
        self, method: str, params: Any, *, priority: int = NORMAL, metadata: dict[str, Any] | None = None
    ) -> Notification:
        """Send a notification.

        Raises:
            UsageError: it cannot be sent.
            SessionLost: there is no session.
        """
        if not self.up or not 0 < len(method) <= SHORT_NAME:
            self._check_can_send(method)
        message = [NOTIFICATION, method, params]
        if metadata:
            check_outgoing_metadata(metadata)
            if self.with_metadata:
                message.append(metadata)
        self.opening_class = priority
        notification = Notification(self._encode(method, message), method)
        if self.opening:
            notification.streams, self.opening = self.opening, []
        self.send(priority, notification)
        return notification

    def _check_can_send(self, method: str) -> None:
        check_outgoing_method(method)
        if not self.up:
            raise SessionLost("there is no session", may_have_run=False)

    def _encode(self, method: str, message: list[Any]) -> bytes:
        try:
            data: bytes = self._pack(message)
        except UNSENDABLE as error:
            self._abandon_message()
            raise unsendable(error) from error
        except BaseException:  # the peer takes no more streams
            self._abandon_message()
            raise
        size = len(data)
        if size > USUAL_MESSAGE:
            self._packed_large(size)
        if size > self.message_limit:
            self._abandon_message()
            raise UsageError(
                f"{method}: this message has {size} bytes, the peer accepts {self.message_limit}; use a stream"
            )
        return data

    def _packed_large(self, size: int) -> None:
        """Keep the packer with its large buffer while there are large messages: fresh pages cost as much as a copy."""
        self._tidy_in = 2
        if size > LARGEST_BUFFER_KEPT:
            self._renew_packer()

    def tidy(self) -> None:
        """Give back the buffer that a large message has filled, if none has followed since the last time."""
        if self._tidy_in:
            self._tidy_in -= 1
            if not self._tidy_in:
                self._renew_packer()

    def _renew_packer(self) -> None:
        self._codec.renew()
        self._pack = self._codec.packer.pack

    def _abandon_message(self) -> None:
        """The message that was being encoded will not be sent: neither will its streams open."""
        self._renew_packer()  # whatever it has filled of the buffer
        if self.opening:
            streams, self.opening = self.opening, []
            self._discard(streams)

    def cancel(self, call: Call) -> None:
        """End our interest in a call; the peer's handler is cancelled (rules C7, C8). A no-op if it has ended."""
        if self.calls.pop(call.identifier, None) is None:
            return
        if not call.has_left:
            self._forget(call.priority, call)
            for stream in call.streams or ():
                stream.receive_reset(StreamReset("the message that opens this stream was not sent"))
        elif self.with_metadata:
            self.send(call.priority, Outgoing(self._codec.pack([CANCEL, call.identifier])))

    # -- the peer's requests -------------------------------------------------------------------------------------

    def respond(self, request: Request, result: Any = None, error: list[Any] | None = None) -> bool:
        """Give the one response to a request (rule C4); False if it has been given already, or its session is over.

        Raises:
            UsageError: the result cannot be sent; the request is still open.
        """
        if request.answered:
            return False
        self.opening_class = request.priority
        data = self._encode(request.method, [RESPONSE, request.identifier, error, result])
        request.answered = True
        if self.requests.pop(request.identifier, None) is not None and request.depth:
            self._nested -= 1
        if self.opening:
            request.opens, self.opening = self.opening, []
        request.data = data
        self.unsent_answers += 1
        self.send(request.priority, request)
        return True

    @property
    def open_requests(self) -> int:
        """Requests of the peer that have no response yet."""
        return len(self.requests)

    def set_limits(self, limits: Limits) -> None:
        """The limits of the channel that has just been connected."""
        self.limits = limits
        self.most_unsent_answers = 2 * limits.calls

    # -- messages in ---------------------------------------------------------------------------------------------

    def receive(self, message: Any, now: float, streams: list[Stream] | None, events: list[Any]) -> None:
        """Take in one decoded message; append what it means to ``events``."""
        if type(message) is list and message:
            size = len(message)
            kind = message[0]
            if kind == RESPONSE and size == 4:
                self._receive_response(message, streams, events)
                return
            if kind == REQUEST and 4 <= size <= 5:
                self._receive_request(message, now, streams, events)
                return
            if kind == NOTIFICATION and 3 <= size <= 4:
                self._receive_notification(message, streams, events)
                return
            if kind == CANCEL and size == 2:
                self._receive_cancel(message[1], events)
                return
            if kind == REQUEST and size > 1:
                self.refuse(message[1], 19, "a request is [0, id, method, params] or with metadata as fifth")
        self.malformed += 1
        reset_all(streams)

    def _receive_response(self, message: list[Any], streams: list[Stream] | None, events: list[Any]) -> None:
        _, identifier, error, result = message
        call = self.calls.pop(identifier, None) if type(identifier) is int else None
        if call is None:
            if type(identifier) is not int or not 0 < identifier < self._next:
                self.strays += 1
            reset_all(streams)
            return
        if error is None:
            call.result = result
        else:
            call.error = peer_error(error)
            reset_all(streams)
            reset_all(call.streams)
        events.append(call)

    def _receive_request(self, message: list[Any], now: float, streams: list[Stream] | None, events: list[Any]) -> None:
        identifier, method, params = message[1], message[2], message[3]
        requests = self.requests
        if (
            type(identifier) is not int
            or identifier < 0
            or identifier in requests
            or type(method) is not str
            or not 0 < len(method) <= SHORT_NAME
            or not (type(params) is dict or type(params) is list or params is None)
        ) and (problem := self._problem(identifier, method, params)) is not None:
            self.malformed += 1
            self.refuse(identifier, 19, problem)
            reset_all(streams)
            return
        request = Request(self, identifier, method, params, now + self.peer_deadline)
        if len(message) == 5:
            self._read_metadata(request, message[4], now)
        unanswered = len(requests) - self._nested + self.unsent_answers
        if (request.depth or self.draining or unanswered >= self.limits.calls) and (
            refusal := self._refusal(request, unanswered)
        ) is not None:
            self.refuse(identifier, *refusal, priority=request.priority)
            reset_all(streams)
            return
        if streams is not None:
            self._give_streams(request, streams)
        requests[identifier] = request
        if request.depth:
            self._nested += 1
        if request.deadline < self.next_deadline:
            self._earlier(request.deadline)
        events.append(request)

    @staticmethod
    def _give_streams(request: Request, streams: list[Stream]) -> None:
        """The streams that a request opens; items have the class of their call (rule P1)."""
        request.streams = streams
        for stream in streams:
            if stream.items:
                stream.priority = request.priority

    def _problem(self, identifier: Any, method: Any, params: Any) -> str | None:
        """What is wrong with a request, if anything (rules C1, C2)."""
        if type(identifier) is not int or identifier < 0:
            return "a request's id is an integer of 0 to 2^64-1"
        if identifier in self.requests:
            return f"the id {identifier} is in use by an open request"
        return check_method(method, params)

    def _read_metadata(self, request: Request, metadata: Any, now: float) -> None:
        if type(metadata) is not dict or len(metadata) > MAX_METADATA:
            return
        request.metadata = metadata
        deadline = metadata.get("deadline", 0)
        if deadline is None:
            request.deadline = math.inf
        elif type(deadline) is int and deadline > 0:
            request.deadline = now + deadline / 1000
        priority = metadata.get("priority", NORMAL)
        if type(priority) is int and URGENT <= priority <= BULK:
            request.priority = priority
        depth = metadata.get("depth", 0)
        if type(depth) is int and depth > 0:
            request.depth = depth

    def _refusal(self, request: Request, unanswered: int) -> tuple[int, str] | None:
        limits = self.limits
        if request.depth > limits.depth:
            return 18, f"{request.method}: nested deeper than {limits.depth} calls"
        if (self._nested if request.depth else unanswered) >= limits.calls:
            self.overloads += 1
            return 17, f"{request.method}: {limits.calls} calls are open already"
        if self.draining:
            return 14, f"{request.method}: this side is stopping"
        return None

    def refuse(self, identifier: Any, code: int, text: str, priority: int = NORMAL) -> None:
        """Answer a request that is not served; nothing if not even its id is known (rule C2)."""
        if type(identifier) is int and identifier >= 0 and identifier not in self.requests:
            refused = Request(self, identifier, "", None, math.inf)
            refused.priority = priority
            self.respond(refused, error=[code, text, None])

    def _receive_notification(self, message: list[Any], streams: list[Stream] | None, events: list[Any]) -> None:
        method, params = message[1], message[2]
        if (
            type(method) is not str
            or not 0 < len(method) <= SHORT_NAME
            or not (type(params) is dict or type(params) is list or params is None)
        ) and check_method(method, params) is not None:
            self.malformed += 1
            reset_all(streams)
            return
        metadata = message[3] if len(message) == 4 and type(message[3]) is dict else NO_METADATA
        events.append(Notification(None, method, params, metadata, streams))

    def _receive_cancel(self, identifier: Any, events: list[Any]) -> None:
        request = self.requests.get(identifier) if type(identifier) is int else None
        if request is None:
            return
        if not request.started:
            self.respond(request, error=[1, f"{request.method}: cancelled by the caller", None])
            reset_all(request.streams)
        else:
            events.append((RequestEnded.CANCELLED, request))

    def fail(self, identifier: int, error: Exception, events: list[Any]) -> None:
        """End a call of ours whose response came but cannot be used."""
        call = self.calls.pop(identifier, None)
        if call is not None:
            call.error = error
            reset_all(call.streams)
            events.append(call)

    # -- time and end --------------------------------------------------------------------------------------------

    def handle_timer(self, now: float, events: list[Any]) -> None:
        """Enforce the deadlines that have passed (rule D3).

        A call that is answered in time costs nothing here: only what is open when a deadline comes is put in order.
        """
        if now < self.next_deadline:
            return
        self._schedule_deadlines()
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            deadline, ours, identifier = heapq.heappop(deadlines)
            if ours:
                call = self.calls.get(identifier)
                if call is not None:
                    self._overdue(call, events)
            else:
                request = self.requests.get(identifier)
                if request is not None and request.deadline == deadline:
                    request.deadline = math.inf
                    events.append((RequestEnded.DEADLINE, request))
        self.next_deadline = deadlines[0][0] if deadlines else math.inf

    def _schedule_deadlines(self) -> None:
        """Put the deadlines of what has come since the last time, and is still open, into the heap.

        Both dicts are in the order of coming, so what is new stands at their ends.
        """
        most = 2 * (len(self.calls) + len(self.requests)) + SPARE_DEADLINES
        if len(self._deadlines) > most:  # mostly of calls that have ended: they leave nothing behind
            self._deadlines = [entry for entry in self._deadlines if self._is_open(entry)]
            heapq.heapify(self._deadlines)
        for call in reversed(self.calls.values()):
            if call.scheduled:
                break
            self._schedule_deadline(call, ours=True)
        for request in reversed(self.requests.values()):
            if request.scheduled:
                break
            self._schedule_deadline(request, ours=False)

    def _schedule_deadline(self, message: Call | Request, *, ours: bool) -> None:
        message.scheduled = True
        if message.deadline != math.inf:
            heapq.heappush(self._deadlines, (message.deadline, ours, message.identifier))

    def _is_open(self, entry: tuple[float, bool, int]) -> bool:
        deadline, ours, identifier = entry
        found = self.calls.get(identifier) if ours else self.requests.get(identifier)
        return found is not None and found.deadline == deadline

    def _overdue(self, call: Call, events: list[Any]) -> None:
        self.cancel(call)
        call.error = DeadlineExceeded(
            f"{call.method}: no answer in time" if call.has_left else f"{call.method}: could not be sent in time",
            may_have_run=call.has_left,
        )
        events.append(call)

    def begin(self, send: Callable[[int, Outgoing], None], peer_deadline: float, message_limit: int) -> None:
        """A session is established: messages go to ``send``; the rest is what the peer announced."""
        self.up = True
        self.send = send
        self.peer_deadline = peer_deadline
        self.message_limit = message_limit
        self.draining = False

    def end_all(self, error: SessionLost, events: list[Any]) -> None:
        """The session is over: everything open ends with it (rule G5)."""
        self.up = False
        self._deadlines.clear()
        calls, self.calls = self.calls, {}
        requests, self.requests = self.requests, {}
        self._nested = 0
        self.unsent_answers = 0
        self.next_deadline = math.inf
        for call in calls.values():
            call.data = None
            call.lost(error)
            events.append(call)
        for request in requests.values():
            request.answered = True
            events.append((RequestEnded.SESSION_LOST, request))


def check_method(method: Any, params: Any) -> str | None:
    """What is wrong with a method's name and arguments, or None (rule C1)."""
    if type(method) is not str or not 0 < size_of(method) <= MAX_METHOD_NAME:
        return f"a method's name is text of 1 to {MAX_METHOD_NAME} bytes"
    if params is not None and type(params) is not list and type(params) is not dict:
        return f"{method}: arguments are an array or a map"
    return None


def check_outgoing_method(method: str) -> None:
    """Refuse a method's name that no peer would accept.

    Raises:
        UsageError: it is empty or too long.
    """
    if not 0 < size_of(method) <= MAX_METHOD_NAME:
        raise UsageError(f"a method's name has 1 to {MAX_METHOD_NAME} bytes, not {size_of(method)}")


def size_of(text: str) -> int:
    """How many bytes a text has on the wire."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def check_outgoing_metadata(metadata: dict[str, Any] | None) -> None:
    """Refuse metadata that cannot be sent; it is encoded only when the request leaves (rules C10, D2).

    Raises:
        UsageError: it has too many keys (one is kept for the deadline), or something that is not plain data.
    """
    if not metadata:
        return
    if len(metadata) + ("deadline" not in metadata) > MAX_METADATA:
        raise UsageError(f"metadata has at most {MAX_METADATA} keys, the deadline among them")
    METADATA.pack(metadata)


def reset_all(streams: list[Stream] | None) -> None:
    """Reset the streams of a message that nobody takes (rule T11)."""
    for stream in streams or ():
        stream.reset([1, "nobody takes this stream", None])
