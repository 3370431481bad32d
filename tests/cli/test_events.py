"""``virtagent events``: what people see."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import LIMIT, Daemon, daemon, read_until, start, virtagent
from virtagent.api.event_kinds import KINDS
from virtagent.cli.events import as_text


def ok(guest: Daemon, *arguments: str) -> str:
    done = virtagent(guest.directory, guest.url, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Daemon]:
    with daemon(tmp_path) as made:
        yield made


def test_what_the_agent_tells_of_itself_and_the_connection_are_printed_as_they_come(running: Daemon) -> None:
    events = values(ok(running, "events", "agent.*", "state", "-c", "4", "--json"))
    told = {each["event"]: each for each in events[:2]}
    assert told.keys() == {"agent.up", "state"}  # in whichever order they came
    assert told["agent.up"]["reason"] in ("boot", "restart")
    assert told["agent.up"]["boot_id"]
    first, second = events[2:]
    assert second["event"] == "agent.heartbeat"
    assert second["sequence"] == first["sequence"] + 1
    assert first["memory_available"] > 0
    assert "agent.heartbeat sequence=" in ok(running, "events", "-c", "1", "agent.heartbeat")


def test_what_is_kept_is_printed_without_following(running: Daemon) -> None:
    (up,) = values(ok(running, "events", "--no-follow", "--json", "agent.up"))
    assert (up["event"], up["number"]) == ("agent.up", 1)
    assert datetime.fromisoformat(up["time"]).tzinfo is not None
    assert ok(running, "events", "--no-follow", "--since", "1", "agent.up") == ""
    assert ok(running, "events", "--no-follow", "agent.up").endswith(" #1\n")


@pytest.mark.root
def test_an_event_of_the_guest_is_printed_with_its_number_once_it_is_watched_for(own: Daemon) -> None:
    process = start(own.directory, own.url, ["events", "-f", "device.changed", "events.*"])
    assert process.stdout is not None
    # Whatever is published has a greater number than the one that the running source took.
    while "running" not in ok(own, "call", "events.sources"):
        pass
    Path("/sys/devices/virtual/mem/null/uevent").write_text("change\n")
    line = read_until(process.stdout.fileno(), b"name=/dev/null").decode()
    assert "device.changed path=/devices/virtual/mem/null subsystem=mem name=/dev/null" in line
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    process.stdout.close()


def test_the_kinds_are_listed_with_their_fields(running: Daemon) -> None:
    listed = ok(running, "events", "--list")
    for name, kind in KINDS.items():
        assert f"{name}: {kind.summary}" in listed
    (told,) = values(ok(running, "events", "--list", "unit.*", "--json"))
    assert (told["kind"], told["source"]) == ("unit.failed", "units")


def test_a_kind_that_nobody_knows_is_pointed_out(running: Daemon) -> None:
    process = start(
        running.directory, running.url, ["events", "mouth.*", "-c", "1", "agent.heartbeat"], stderr=subprocess.PIPE
    )
    _, complaints = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    # The heartbeat may be there first, and then nothing is left to say.
    assert complaints in (
        b"",
        b"virtagent: the guest knows no kind of event that matches 'mouth.*'; --list shows those it knows\n",
    )
    done = virtagent(running.directory, running.url, "events", "mouth.*", "agent.heartbeat", "--no-follow")
    assert (done.returncode, done.stdout) == (0, "")
    assert "knows no kind of event that matches 'mouth.*'; --list" in done.stderr
    done = virtagent(running.directory, running.url, "events", "mouth events", "--no-follow")
    assert done.returncode == 1
    assert "'mouth events' is no pattern of kinds" in done.stderr


def test_events_go_on_after_the_agent_was_started_anew(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        process = start(tmp_path, guest.url, ["events", "agent.up", "agent.down", "events.*", "--json"])
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"agent.up")
        guest.stop()
        read_until(process.stdout.fileno(), b"agent.down")
    with daemon(tmp_path):
        text = read_until(process.stdout.fileno(), b"events.gap").decode()
        assert '"reason": "restarted"' in text
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    process.stdout.close()


def test_what_a_guest_says_cannot_command_the_terminal() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    fields = {"number": 7, "time": moment, "mountpoint": "/a\x1b[2J\nb", "options": ["x", "y"], "up": True, "no": None}
    line = as_text("mount.added", fields)
    assert "\x1b" not in line
    assert line.count("\n") == 0
    assert line.endswith("mount.added mountpoint=/a\\x1b[2J b options=x,y up=yes #7")
    assert "\033[31munit.failed\033[0m" in as_text("unit.failed", {}, colours=True)
