"""Errors as one line and an exit code (docs/cli.md lists them)."""

from __future__ import annotations

from virtagent.cli.text import one_line
from virtagent.errors import (
    CallError,
    ChannelError,
    DeadlineExceeded,
    NobodyAnswers,
    NotFound,
    PeerClosed,
    PeerGone,
    PermissionDenied,
    SessionLost,
    StreamReset,
    UsageError,
    VirtagentError,
)

__all__ = [
    "EXIT_DEADLINE",
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_NOBODY_ANSWERS",
    "EXIT_NOT_MEASURED",
    "EXIT_NO_CHANNEL",
    "EXIT_OK",
    "EXIT_PERMISSION",
    "EXIT_PIPE",
    "EXIT_SESSION_LOST",
    "EXIT_SLOWER",
    "EXIT_USAGE",
    "exit_code",
    "explain",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_CHANNEL = 3
EXIT_NOBODY_ANSWERS = 4
EXIT_DEADLINE = 5
EXIT_SESSION_LOST = 6
EXIT_PERMISSION = 7
EXIT_SLOWER = 8
EXIT_NOT_MEASURED = 9
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
"""128 + SIGPIPE, as of any program whose reader has left."""

_CODES: tuple[tuple[type[VirtagentError], int], ...] = (
    (UsageError, EXIT_USAGE),
    (NobodyAnswers, EXIT_NOBODY_ANSWERS),
    (ChannelError, EXIT_NO_CHANNEL),
    (SessionLost, EXIT_SESSION_LOST),
    (PeerClosed, EXIT_SESSION_LOST),
    (DeadlineExceeded, EXIT_DEADLINE),
    (PermissionDenied, EXIT_PERMISSION),
)
"""The first class that fits counts; what is not here is a failed call."""


def exit_code(error: VirtagentError) -> int:
    """The exit code for an error. A channel that cannot be opened for lack of permission is a permission's matter."""
    if isinstance(error, ChannelError) and isinstance(error.__cause__, PermissionError):
        return EXIT_PERMISSION
    return next((code for cls, code in _CODES if isinstance(error, cls)), EXIT_FAILED)


def explain(error: VirtagentError) -> str:
    """One line that says what is wrong and what to do."""
    text = one_line(str(error)) or type(error).__name__
    remedy = _remedy(error)
    return f"{text}; {remedy}" if remedy else text


def _remedy(error: VirtagentError) -> str:
    match error:
        case NobodyAnswers():
            return "virtagent wait-ready waits for it"
        case DeadlineExceeded():
            return "--timeout SECONDS gives it longer"
        case PeerGone():
            return "virtagent wait-ready waits until it is back"
        case SessionLost():
            return "try again"
        case PermissionDenied() if "agent.toml" not in str(error):
            return "the agent in the guest may not do that"
        case NotFound():
            return "check the name: it is the guest's"
        case StreamReset():
            return "the guest gave up half-way; try again"
        case CallError() if error.code == 13:
            return "the guest's log (journalctl -u virtagentd) tells why"
    return ""
