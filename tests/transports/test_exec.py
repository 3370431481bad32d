"""A child process as a channel: started without a shell, told how it ended, always reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from virtagent.errors import ChannelUnavailable
from virtagent.testing.transports import StreamRecorder
from virtagent_transports import connect
from virtagent_transports import exec as exec_

from .support import lost, received


async def started(command: str) -> tuple[exec_.ExecTransport, StreamRecorder, subprocess.Popen[bytes]]:
    transport, protocol = await connect(f"exec:{command}", StreamRecorder)
    assert isinstance(transport, exec_.ExecTransport)
    assert isinstance(protocol, StreamRecorder)
    return transport, protocol, transport.get_extra_info("subprocess")


def gone(child: subprocess.Popen[bytes]) -> bool:
    return child.returncode is not None and not os.path.exists(f"/proc/{child.pid}")


async def test_bytes_go_to_the_child_and_come_back_until_it_sees_the_end() -> None:
    transport, protocol, child = await started("cat")
    transport.write(b"hello")
    await received(protocol, b"hello")
    transport.close()
    assert await lost(protocol) is None
    assert child.returncode == 0
    assert gone(child)


async def test_there_is_no_shell_but_quotes_work(short_tmp: Path) -> None:
    _, protocol, _ = await started("printf %s '$HOME; a  b'")
    await received(protocol, b"$HOME; a  b")
    assert await lost(protocol) is None


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'exit 3'", r"exec:sh \.\.\. exited with status 3"),
        ("sh -c 'kill -9 $$'", r"was killed by SIGKILL"),
        ("false", "exec:false exited with status 1; its error output tells more"),
    ],
)
async def test_a_child_that_fails_is_reported_with_its_status(command: str, words: str) -> None:
    _, protocol, child = await started(command)
    error = await lost(protocol)
    assert isinstance(error, ChannelUnavailable)
    with pytest.raises(ChannelUnavailable, match=words):
        raise error
    assert gone(child)


async def test_a_missing_or_forbidden_program_is_one_clear_line(short_tmp: Path) -> None:
    with pytest.raises(ChannelUnavailable, match="there is no program 'no-such-program'; install it"):
        await started("no-such-program --now")
    (short_tmp / "plain").touch()
    with pytest.raises(ChannelUnavailable, match=r"no permission: .*plain belongs to"):
        await started(f"{short_tmp}/plain")


STUBBORN = f"{sys.executable} -S -E -c 'import signal, sys, os"
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.mark.parametrize(("stubborn", "ended_by"), [("0", signal.SIGTERM), (IGNORE, signal.SIGKILL)])
async def test_a_child_that_does_not_go_is_ended(
    monkeypatch: pytest.MonkeyPatch, stubborn: str, ended_by: signal.Signals
) -> None:
    monkeypatch.setattr(exec_, "TERMINATE_AFTER", 0.05)
    monkeypatch.setattr(exec_, "KILL_AFTER", 0.1 if ended_by is signal.SIGKILL else 5.0)
    transport, protocol, child = await started(f'{STUBBORN}; {stubborn}; os.write(1, b"."); signal.pause()\'')
    await received(protocol, b".")
    transport.close()
    assert await lost(protocol) is None
    assert child.returncode == -ended_by
    assert gone(child)


async def test_abort_kills_the_whole_group_at_once() -> None:
    transport, protocol, child = await started("sh -c 'sleep 100 & echo $!; wait'")
    await protocol.until(lambda: b"\n" in protocol.received, "the grandchild's pid", 5)
    transport.abort()
    await lost(protocol)
    assert child.returncode == -signal.SIGKILL


async def test_abort_after_close_does_not_wait_for_the_child() -> None:
    transport, protocol, child = await started(f'{STUBBORN}; {IGNORE}; os.write(1, b"."); signal.pause()\'')
    await received(protocol, b".")
    transport.close()
    transport.abort()
    await lost(protocol)
    assert child.returncode == -signal.SIGKILL


async def test_the_child_does_not_get_our_ctrl_c() -> None:
    transport, protocol, child = await started("cat")
    assert os.getsid(child.pid) == child.pid
    transport.close()
    await lost(protocol)


async def test_a_protocol_that_fails_at_the_start_leaves_no_child() -> None:
    children: list[int] = []

    class Failing(StreamRecorder):
        def connection_made(self, transport: object) -> None:
            children.append(transport.get_extra_info("subprocess").pid)  # type: ignore[attr-defined]
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await connect("exec:cat", Failing)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)
