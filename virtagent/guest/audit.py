"""The audit: one structured line for each call that changes the machine, and for each that was refused."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from virtagent.errors import CallError, FailedPrecondition
from virtagent.guest.journal_socket import SOCKET, JournalSocket
from virtagent.guest.peer_identity import PeerIdentity, user_name
from virtagent.guest.redaction import redacted

if TYPE_CHECKING:
    from virtagent.guest.frozen import Frozen
    from virtagent.guest.grants import Access, OpenCall
    from virtagent.peer.handler import Handler, Params

__all__ = ["MESSAGE_ID", "Audit"]

log = logging.getLogger("virtagent.audit")

MESSAGE_ID = "3a1c6a2b8d5e4f0f9c7b1e2d4a6f8b90"
"""``journalctl MESSAGE_ID=...`` shows the audit alone (systemd.journal-fields(7))."""

NOTICE, WARNING = "5", "4"

LONGEST_ARGUMENTS = 4096
"""Characters of all arguments of a call."""

KEPT = 256
"""Lines that are kept while the log's filesystem is frozen."""


class Audit:
    """Writes down calls: to the journal with fields, or where there is none, to the daemon's log. It never waits.

    Args:
        frozen: filesystems that must not be written to at the moment.
        journal: the journal's socket.

    Attributes:
        written: lines so far.
    """

    def __init__(self, frozen: Frozen, journal: str = SOCKET) -> None:
        log.setLevel(logging.INFO)  # whatever else the daemon is told to log
        self._frozen = frozen
        self._journal = JournalSocket(journal)
        self._kept: deque[str] = deque()
        self._dropped = 0
        self.written = 0

    @property
    def dropped(self) -> int:
        """Lines that are lost, because the journal hangs or the log's filesystem is frozen."""
        return self._dropped + self._journal.dropped

    def done(self, handler: Handler, call: OpenCall, error: BaseException | None) -> None:
        """A call that changes the machine has ended, with its streams."""
        more = {"RECEIVED": str(call.received), "SENT": str(call.sent)} if call.received or call.sent else {}
        duration = time.monotonic() - call.since
        self._write(handler, call.access, call.params, error, duration=duration, more=more)

    def denied(self, handler: Handler, access: Access, params: Params, error: CallError) -> None:
        """A call was refused by the policy."""
        self._write(handler, access, params, error, duration=0.0, more={})

    def _write(
        self,
        handler: Handler,
        access: Access,
        params: Params | None,
        error: BaseException | None,
        *,
        duration: float,
        more: Mapping[str, str],
    ) -> None:
        result, code = _result(error)
        arguments = json.dumps(redacted(handler, params), ensure_ascii=True)
        if len(arguments) > LONGEST_ARGUMENTS:
            arguments = arguments[:LONGEST_ARGUMENTS] + "..."
        who = access.grant.who or "a peer"
        announced = ascii(access.announced[:64])[1:-1]
        size = "".join(f", {value} bytes {key.lower()}" for key, value in more.items() if value != "0")
        text = (
            f"{who}{f' as {announced}' if announced else ''}: {handler.name} {arguments}: {result}"
            f" in {duration * 1000:.1f} ms{size}"
        )
        fields = {
            "MESSAGE": text,
            "MESSAGE_ID": MESSAGE_ID,
            "PRIORITY": WARNING if result == "PermissionDenied" else NOTICE,
            "SYSLOG_IDENTIFIER": "virtagentd",
            "VIRTAGENT_METHOD": handler.name,
            "VIRTAGENT_ROLE": handler.role,
            "VIRTAGENT_ARGUMENTS": arguments,
            "VIRTAGENT_RESULT": result,
            "VIRTAGENT_CODE": str(code),
            "VIRTAGENT_DURATION_US": str(round(duration * 1_000_000)),
            "VIRTAGENT_HOST": announced,
            "VIRTAGENT_RULE": access.grant.rule,
            **{f"VIRTAGENT_{key}": value for key, value in more.items()},
            **_identity_fields(access.identity),
        }
        self.written += 1
        if not self._journal.send(fields):
            self._log(text)

    def _log(self, text: str) -> None:
        """To the daemon's log, unless that would hang; what was kept until then comes first."""
        self._kept.append(text)
        if self._may_log():
            self._flush()
        elif len(self._kept) > KEPT:
            self._kept.popleft()
            self._dropped += 1

    def _may_log(self) -> bool:
        """Whether the log's filesystem is not frozen, and nobody silenced the log for the time of a freeze."""
        try:
            self._frozen.check(os.fstat(2).st_dev)
        except FailedPrecondition:
            return False
        except OSError:
            pass  # no standard error; logging knows what to do
        return log.isEnabledFor(logging.INFO)

    def _flush(self) -> None:
        while self._kept:
            log.info("%s", self._kept.popleft())

    def close(self) -> None:
        """Write no more."""
        if self._may_log():
            self._flush()
        self._journal.close()


def _result(error: BaseException | None) -> tuple[str, int]:
    """The outcome in a word, and its code (docs/protocol.md); messages are left out, as they may hold anything."""
    if error is None:
        return "ok", 0
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "Cancelled", 1
    if isinstance(error, CallError):
        return type(error).__name__, error.code
    return f"InternalError ({type(error).__name__})", 13


def _identity_fields(identity: object) -> dict[str, str]:
    if not isinstance(identity, PeerIdentity):
        return {}
    fields = {"VIRTAGENT_CHANNEL": identity.channel}
    if identity.uid is not None:
        fields["VIRTAGENT_UID"] = str(identity.uid)
        fields["VIRTAGENT_USER"] = user_name(identity.uid)
        fields["VIRTAGENT_PID"] = str(identity.pid)
    if identity.certificate is not None:
        fields["VIRTAGENT_CERTIFICATE"] = identity.certificate
    if identity.cid is not None:
        fields["VIRTAGENT_CID"] = str(identity.cid)
    return fields
