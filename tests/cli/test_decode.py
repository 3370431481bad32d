"""Recording a session and reading it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.cli.programs import Daemon, virtagent


def test_a_recorded_session_is_shown_frame_by_frame_with_secrets_masked(running: Daemon, tmp_path: Path) -> None:
    trace = tmp_path / "session.trace"
    told = virtagent(tmp_path, running.url, "call", "agent.ping", "password=hunter2", "--trace", str(trace))
    assert told.returncode == 1, "agent.ping takes no password"
    assert stat.S_IMODE(trace.stat().st_mode) == 0o600
    shown = virtagent(tmp_path, None, "decode", str(trace)).stdout
    kinds = [line.split()[2] for line in shown.splitlines()]
    assert kinds[:3] == ["HELLO", "HELLO", "HELLO"]
    assert kinds[-1] == "GOODBYE"
    assert kinds.count("GOODBYE") == 2, "ours and its acknowledgement; agent.up may come between them"
    assert "agent.ping" in shown
    assert "(masked)" in shown
    assert "hunter2" not in shown
    frames = [
        json.loads(line) for line in virtagent(tmp_path, None, "--json", "decode", str(trace)).stdout.splitlines()
    ]
    assert len(frames) == len(kinds)
    assert {frame["sent"] for frame in frames} == {True, False}


def test_a_recording_is_never_written_over(running: Daemon, tmp_path: Path) -> None:
    trace = tmp_path / "mine"
    trace.write_text("precious")
    told = virtagent(tmp_path, running.url, "ping", "--trace", str(trace))
    assert told.returncode == 2
    assert "give a new file" in told.stderr
    assert trace.read_text() == "precious"


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("hello\n")
    for path, what in ((other, "no recording"), (tmp_path / "none", "cannot read")):
        told = virtagent(tmp_path, None, "decode", str(path))
        assert told.returncode == 2
        assert what in told.stderr
        assert len(told.stderr.splitlines()) == 1
