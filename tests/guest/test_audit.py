"""Where the audit goes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import NotFound, PermissionDenied
from virtagent.guest.audit import KEPT, MESSAGE_ID, Audit
from virtagent.guest.frozen import Frozen
from virtagent.guest.grants import Access, Grant, OpenCall
from virtagent.guest.journal_socket import LARGEST, JournalSocket, encode_entry
from virtagent.guest.peer_identity import PeerIdentity
from virtagent.peer.handler import Handler, Params

RUN = Handler("machine.run", "task", lambda context, params: None, role="exec")


def decode_entry(data: bytes) -> dict[str, str]:
    """What journald reads (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, size = line, int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), st.text(st.characters(codec="utf-8"))))
def test_an_entry_says_what_it_was_given_whatever_is_in_it(fields: dict[str, str]) -> None:
    assert decode_entry(encode_entry(fields)) == fields


def test_what_is_no_text_is_written_all_the_same() -> None:
    assert decode_entry(encode_entry({"A": "\udcff"})) == {"A": "\\udcff"}


class Journal:
    """Stands in journald's place."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "journal")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(20)

    def entry(self) -> dict[str, str]:
        return decode_entry(self._socket.recv(LARGEST))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path)
    yield made
    made.close()


def access(identity: PeerIdentity) -> Access:
    return Access(None, Grant(who=str(identity), rule="rule 1 of the policy"), identity)


def open_call(params: Params, identity: PeerIdentity | None = None) -> OpenCall:
    return OpenCall(access(identity or PeerIdentity("unix:/a", "unix", uid=0, gid=0, pid=7)), RUN.name, params)


def test_the_journal_gets_who_what_and_how_it_went_in_fields(journal: Journal) -> None:
    audit = Audit(Frozen(), journal.path)
    call = open_call({"command": "ls", "password": "hunter22", "stdin": b"12345"})
    call.received = 5
    audit.done(RUN, call, None)
    fields = journal.entry()
    duration = int(fields.pop("VIRTAGENT_DURATION_US"))
    assert 0 <= duration < 60_000_000
    told = '{"command": "ls", "password": "***", "stdin": "<5 bytes>"}'
    assert fields.pop("MESSAGE") == (
        f"user root (uid 0) at unix:/a: machine.run {told}: ok in {duration / 1000:.1f} ms, 5 bytes received"
    )
    assert fields == {
        "MESSAGE_ID": MESSAGE_ID,
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "virtagentd",
        "VIRTAGENT_METHOD": "machine.run",
        "VIRTAGENT_ROLE": "exec",
        "VIRTAGENT_ARGUMENTS": told,
        "VIRTAGENT_RESULT": "ok",
        "VIRTAGENT_CODE": "0",
        "VIRTAGENT_HOST": "",
        "VIRTAGENT_RULE": "rule 1 of the policy",
        "VIRTAGENT_RECEIVED": "5",
        "VIRTAGENT_SENT": "0",
        "VIRTAGENT_CHANNEL": "unix:/a",
        "VIRTAGENT_UID": "0",
        "VIRTAGENT_USER": "root",
        "VIRTAGENT_PID": "7",
    }
    audit.close()


@pytest.mark.parametrize(
    ("error", "result", "code"),
    [
        (NotFound("/secret"), "NotFound", "5"),
        (asyncio.CancelledError(), "Cancelled", "1"),
        (KeyError("secret"), "InternalError (KeyError)", "13"),
    ],
)
def test_an_error_is_told_by_its_name_and_code_without_its_message(
    error: BaseException, result: str, code: str, journal: Journal
) -> None:
    audit = Audit(Frozen(), journal.path)
    audit.done(RUN, open_call({}), error)
    fields = journal.entry()
    assert (fields["VIRTAGENT_RESULT"], fields["VIRTAGENT_CODE"]) == (result, code)
    assert "secret" not in str(fields)
    audit.close()


def test_a_denial_is_a_warning(journal: Journal) -> None:
    audit = Audit(Frozen(), journal.path)
    audit.denied(RUN, access(PeerIdentity("tls:any:1", "tls", certificate="ops")), {}, PermissionDenied("no"))
    fields = journal.entry()
    assert (fields["PRIORITY"], fields["VIRTAGENT_CERTIFICATE"]) == ("4", "ops")
    audit.close()


def test_a_hostile_peer_cannot_forge_fields_or_lines(journal: Journal) -> None:
    audit = Audit(Frozen(), journal.path)
    name = "x\nVIRTAGENT_UID=0\n"
    audit.done(RUN, open_call({"command": name}, PeerIdentity("tls:any:1", "tls", certificate=name)), None)
    fields = journal.entry()
    assert "VIRTAGENT_UID" not in fields
    assert fields["VIRTAGENT_CERTIFICATE"] == name
    assert "\n" not in fields["MESSAGE"]
    audit.close()


def test_what_is_too_long_for_a_line_is_cut(journal: Journal) -> None:
    audit = Audit(Frozen(), journal.path)
    many = [f"{number:0199}" for number in range(16)]
    audit.done(RUN, open_call({f"argument{number}": many for number in range(16)}), None)
    assert len(journal.entry()["VIRTAGENT_ARGUMENTS"]) == 4096 + len("...")
    audit.close()


def test_a_journal_that_hangs_is_not_waited_for(journal: Journal) -> None:
    """Nobody reads: the socket's queue is full after a few entries (net.unix.max_dgram_qlen)."""
    audit = Audit(Frozen(), journal.path)
    for _ in range(2000):
        audit.done(RUN, open_call({"command": "ls"}), None)
    assert audit.written == 2000
    assert 0 < audit.dropped < 2000
    audit.close()


def test_a_journal_that_comes_back_is_used_again(tmp_path: Path) -> None:
    sender = JournalSocket(str(tmp_path / "journal"))
    assert sender.send({"A": "1"}) is False
    made = Journal(tmp_path)
    assert sender.send({"A": "2"}) is True
    assert made.entry() == {"A": "2"}
    made.close()
    sender.close()


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Whatever is less than an error is not logged."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("quiet_log")
def test_without_a_journal_the_log_gets_a_line_whatever_its_level(caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(Frozen(), "/nonexistent/journal")
    audit.done(RUN, open_call({"command": "ls"}), None)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("virtagent.audit", logging.INFO)
    assert 'machine.run {"command": "ls"}: ok' in record.getMessage()


def test_a_log_on_a_frozen_disk_is_not_written_to_until_the_thaw(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtagent.guest.audit.os.fstat", lambda _: os.stat("/"))
    frozen, device = Frozen(), os.stat("/").st_dev
    audit = Audit(frozen, "/nonexistent/journal")
    frozen.add(device, "/")
    for number in range(KEPT + 10):
        audit.done(RUN, open_call({"number": number}), None)
    assert caplog.records == []
    assert audit.dropped == 10
    frozen.discard(device)
    audit.done(RUN, open_call({"number": "last"}), None)
    assert len(caplog.records) == KEPT + 1
    assert '"number": 10}' in caplog.records[0].getMessage()
    assert '"number": "last"}' in caplog.records[-1].getMessage()


def test_a_log_that_was_silenced_for_a_freeze_gets_its_lines_later(caplog: pytest.LogCaptureFixture) -> None:
    audit = Audit(Frozen(), "/nonexistent/journal")
    logging.disable(logging.CRITICAL)
    try:
        audit.done(RUN, open_call({"number": 1}), None)
    finally:
        logging.disable(logging.NOTSET)
    assert caplog.records == []
    audit.close()
    assert '"number": 1}' in caplog.records[0].getMessage()
