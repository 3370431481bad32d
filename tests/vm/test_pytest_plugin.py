"""The pytest plugin with a whole guest: units, its log below a failed test."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.cli.programs import environment
from tests.vm.harness import Machine
from tests.vm.talk import PORT, url_of

SUITE = """
import pytest

UNIT = "[Service]\\nExecStartPre=sleep 1\\nExecStart=sleep 600\\nType=exec\\n"

def test_a_unit_is_waited_for(guest):
    guest.succeed("cat > /run/systemd/system/slow.service", input=UNIT.encode())
    guest.succeed("systemctl daemon-reload; systemctl start --no-block slow.service")
    assert guest.wait_for_unit("slow.service").active == "active"

def test_a_unit_that_is_not_up_in_time_is_told_with_its_state(guest):
    with pytest.raises(AssertionError, match="slow.service is not inactive after 0.5 s: active"):
        guest.wait_for_unit("slow.service", state="inactive", timeout=0.5)

def test_a_unit_that_is_not_there_is_told(guest):
    with pytest.raises(AssertionError, match="no-such.service"):
        guest.wait_for_unit("no-such.service")

def test_as_another_user(guest):
    assert guest.succeed("whoami", user="alice") == "alice\\n"

def test_that_fails(guest):
    guest.succeed("logger -t witness the-guest-says-why", "false")
"""


async def test_a_suite_runs_against_a_whole_guest_and_a_failure_shows_what_the_guest_logged(
    systemd_guest: Machine, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment(tmp_path, VIRTAGENT_TO=url_of(systemd_guest, PORT)),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "1 failed, 4 passed" in done.stdout, done.stdout
    assert "`false` ended with 1, not 0" in done.stdout
    assert "the-guest-says-why" in done.stdout.split("log of the guest")[1].split("short test summary")[0]
