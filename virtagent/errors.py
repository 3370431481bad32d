"""Every error that virtagent raises, and the code that each has on the wire (docs/protocol.md, section Errors).

::

    VirtagentError
    ├── UsageError (ValueError)             what the user wrote cannot work: says what to write instead
    │   └── UrlError                        a channel URL that cannot be understood
    ├── ChannelError (ConnectionError)      there is no channel
    │   ├── ChannelUnavailable              missing device, refused connection, no permission
    │   ├── ChannelBusy                     another program holds it (named where it can be)
    │   └── NobodyAnswers                   the channel is open, but no peer has answered on it
    ├── SessionLost (ConnectionError)       the session ended while this was under way
    │   └── PeerGone                        ... because the peer said goodbye, with its reason
    ├── PeerClosed                          this peer was closed here, by us
    ├── StreamReset                         the other side (or we) ended a stream with an error
    └── CallError                           an answer to a call that is an error; one class per code
        ├── Cancelled                1      ├── OutOfRange           11
        ├── UnknownError             2      ├── MethodNotFound       12
        ├── InvalidArgument          3      ├── InternalError        13
        ├── DeadlineExceeded (Timeout) 4    ├── Unavailable          14
        ├── NotFound                 5      ├── DataLoss             15
        ├── AlreadyExists            6      ├── Unauthenticated      16
        ├── PermissionDenied         7      ├── Overloaded           17
        ├── ResourceExhausted        8      ├── TooDeep              18
        ├── FailedPrecondition       9      └── InvalidRequest       19
        └── Aborted                 10

Codes 1 to 16 are gRPC's (grpc/doc/statuscodes.md), so that people know them; 17 to 99 are reserved for this
protocol; an application's own start at 1000 (:func:`error_code` registers a class for one).
Importing this module loads neither asyncio nor msgpack.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

__all__ = [
    "Aborted",
    "AlreadyExists",
    "CallError",
    "Cancelled",
    "ChannelBusy",
    "ChannelError",
    "ChannelUnavailable",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InternalError",
    "InvalidArgument",
    "InvalidRequest",
    "MethodNotFound",
    "NobodyAnswers",
    "NotFound",
    "OutOfRange",
    "Overloaded",
    "PeerClosed",
    "PeerGone",
    "PermissionDenied",
    "ResourceExhausted",
    "SessionLost",
    "StreamReset",
    "TooDeep",
    "Unauthenticated",
    "Unavailable",
    "UnknownError",
    "UrlError",
    "UsageError",
    "VirtagentError",
    "error_code",
    "error_from_wire",
    "error_to_wire",
]

FIRST_APPLICATION_CODE = 1000
"""Codes below belong to the protocol, so a later version can add some without a clash."""


class VirtagentError(Exception):
    """The root of all errors raised by virtagent."""


class UsageError(VirtagentError, ValueError):
    """What the caller asked for cannot work, whatever the peer does; the message says what to do instead."""


class UrlError(UsageError):
    """A channel URL that cannot be understood, or that names a channel this machine cannot have."""


class ChannelError(VirtagentError, ConnectionError):
    """There is no channel to the peer."""


class ChannelUnavailable(ChannelError):
    """The channel cannot be opened: missing device, refused connection, no permission."""


class ChannelBusy(ChannelError):
    """Another program holds the channel.

    Attributes:
        holder: what is known of that program ("pid 4711 (virtagent ping)"), or None.
    """

    def __init__(self, message: str, *, holder: str | None = None) -> None:
        super().__init__(message)
        self.holder = holder


class NobodyAnswers(ChannelError):
    """The channel is open, but no peer has answered on it in time."""


class SessionLost(VirtagentError, ConnectionError):
    """The session with the peer ended while something was under way in it.

    Attributes:
        may_have_run: False only where the request certainly never left this process.
    """

    def __init__(self, message: str, *, may_have_run: bool = True) -> None:
        super().__init__(message)
        self.may_have_run = may_have_run


class PeerGone(SessionLost):
    """The peer said goodbye.

    Attributes:
        reason: the reason that it gave ("stop", "shutdown", "reboot", ...).
    """

    def __init__(self, message: str, *, reason: str = "", may_have_run: bool = True) -> None:
        super().__init__(message, may_have_run=may_have_run)
        self.reason = reason


class PeerClosed(VirtagentError):
    """This peer was closed on this side; it makes no more calls."""


class StreamReset(VirtagentError):
    """A stream was ended with an error before its end.

    Attributes:
        code: the error's code, from the same table as the codes of calls.
    """

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class CallError(VirtagentError):
    """An error that answers a call. Handlers raise one of the subclasses to answer with its code.

    Attributes:
        code: the number on the wire. A code that this side does not know stays in a plain ``CallError``.
        data: anything that msgpack can carry and that a program may want beside the message, or None.
    """

    code: int = 2

    def __init__(self, message: str = "", *, data: Any = None, code: int | None = None) -> None:
        super().__init__(message)
        self.data = data
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self.args[0]) if self.args else ""


class Cancelled(CallError):
    """The handler was cancelled on its own side (its service is stopping, or someone with the right ended it)."""

    code = 1


class UnknownError(CallError):
    """An error of which only the text is known (a plain msgpack-RPC peer's)."""

    code = 2


class InvalidArgument(CallError, ValueError):
    """An argument is not what the method takes; the message names the parameter and what was expected."""

    code = 3


class DeadlineExceeded(CallError, TimeoutError):
    """The call's deadline passed.

    Attributes:
        may_have_run: False only where the request certainly never left this process.
    """

    code = 4

    def __init__(
        self, message: str = "", *, data: Any = None, code: int | None = None, may_have_run: bool = True
    ) -> None:
        super().__init__(message, data=data, code=code)
        self.may_have_run = may_have_run


class NotFound(CallError):
    """What the call names does not exist."""

    code = 5


class AlreadyExists(CallError):
    """What the call would create is there already."""

    code = 6


class PermissionDenied(CallError):
    """The caller, or the agent's own process, may not do this."""

    code = 7


class ResourceExhausted(CallError):
    """A bound of this side was reached: message size, reassembly, streams, disk."""

    code = 8


class FailedPrecondition(CallError):
    """The system is not in a state in which the call could be served."""

    code = 9


class Aborted(CallError):
    """The operation was given up half-way, typically because of another one."""

    code = 10


class OutOfRange(CallError):
    """A position or number lies beyond what is there."""

    code = 11


class MethodNotFound(CallError):
    """The peer has no such method."""

    code = 12


class InternalError(CallError):
    """The handler raised something unforeseen. Its traceback stays in the log of its own side."""

    code = 13


class Unavailable(CallError):
    """The service cannot answer at the moment; trying again later is sensible."""

    code = 14


class DataLoss(CallError):
    """Data was lost or damaged."""

    code = 15


class Unauthenticated(CallError):
    """The caller did not prove who it is."""

    code = 16


class Overloaded(CallError):
    """The callee has its limit of open calls; nothing was started (rule C5)."""

    code = 17


class TooDeep(CallError):
    """Handlers of the two peers called each other back deeper than the limit (rule C6)."""

    code = 18


class InvalidRequest(CallError):
    """The request itself could not be understood: wrong shape, undecodable, unknown stream (rule C2)."""

    code = 19


_CLASSES: dict[int, type[CallError]] = {
    each.code: each
    for each in (
        Cancelled,
        UnknownError,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        MethodNotFound,
        InternalError,
        Unavailable,
        DataLoss,
        Unauthenticated,
        Overloaded,
        TooDeep,
        InvalidRequest,
    )
}

ErrorClass = TypeVar("ErrorClass", bound=type[CallError])


class error_code:  # noqa: N801 - reads as the decorator it is
    """Class decorator: give an application's own :class:`CallError` subclass a code, on both sides.

    Raises:
        UsageError: the code is reserved (below 1000) or taken by another class.
    """

    registered: ClassVar[dict[int, type[CallError]]] = _CLASSES

    def __init__(self, code: int) -> None:
        if code < FIRST_APPLICATION_CODE:
            raise UsageError(f"error code {code} is reserved; an application's own start at {FIRST_APPLICATION_CODE}")
        self._code = code

    def __call__(self, cls: ErrorClass) -> ErrorClass:
        taken = _CLASSES.get(self._code)
        if taken is not None and taken.__qualname__ != cls.__qualname__:
            raise UsageError(f"error code {self._code} already belongs to {taken.__qualname__}")
        cls.code = self._code
        _CLASSES[self._code] = cls
        return cls


def error_to_wire(error: BaseException) -> list[Any]:
    """Make the ``[code, message, data]`` that answers a call (rule C3).

    An error that is no :class:`CallError` becomes an ``InternalError`` with its class name only: neither its
    text nor its traceback leave the machine, since both may tell secrets.
    """
    if isinstance(error, CallError):
        return [error.code, error.message, error.data]
    return [InternalError.code, f"the handler failed with {type(error).__name__}; its log tells more", None]


def error_from_wire(value: Any) -> CallError:
    """Make the exception for an error value received from a peer; any value at all gives some exception (rule C3)."""
    if isinstance(value, (list, tuple)) and len(value) >= 2 and type(value[0]) is int:
        code, message = value[0], value[1]
        data = value[2] if len(value) > 2 else None
        cls = _CLASSES.get(code)
        text = message if isinstance(message, str) else repr(message)
        return cls(text, data=data) if cls is not None else CallError(text, data=data, code=code)
    return UnknownError(value if isinstance(value, str) else repr(value), data=value)
