"""The daemon's policy, audit and health as people meet them: a real daemon, real sockets, real users."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

import virtagent
from tests.cli.programs import LIMIT, daemon, environment
from tests.cli.programs import virtagent as program
from tests.transports.certificates import Authority
from virtagent.errors import PermissionDenied
from virtagent.guest.configuration_file import read_document

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def write(directory: Path, text: str) -> str:
    file = directory / "agent.toml"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "virtagent.cli.daemon", "--check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


# -- the file -----------------------------------------------------------------------------------------------------


def test_check_explains_a_file_without_mistakes(tmp_path: Path) -> None:
    file = write(tmp_path, '[agent]\nchannels = ["unix:/x"]\n[[policy]]\nusers = [0]\nroles = ["exec"]\n')
    done = check("--config", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: no mistakes",
        "channel unix:/x:",
        "  rule 1 (users 0): exec",
        "  others, by default: root and the agent's own user: admin; others: observe",
    ]


def test_check_tells_each_mistake_in_a_line_and_so_does_the_daemon(tmp_path: Path) -> None:
    file = write(tmp_path, "[agent]\nnme = 1\n[[policy]]\nroles = 1\n")
    done = check("--config", file)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.partition(": ")[2].partition(": ")[0] for line in done.stderr.splitlines()] == [
        f"{file}, line 2",
        f"{file}, line 4",
    ]
    command = [sys.executable, "-W", "error", "-m", "virtagent.cli.daemon", "--config", file]
    started = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (started.returncode, started.stderr) == (2, done.stderr)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    done = check("--config", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "No such file or directory" in done.stderr


def test_the_example_is_right_as_it_is_and_with_all_that_it_shows(tmp_path: Path) -> None:
    example = (ROOT / "packaging" / "agent.toml").read_text()
    for text in (example, re.sub(r"(?m)^#(?! |$)", "", example)):
        done = check("--config", write(tmp_path, text))
        assert (done.returncode, done.stderr) == (0, "")
    shown = read_document(str(tmp_path / "agent.toml")).configuration()
    assert len(shown.policy) == 3
    assert shown.telemetry.exporter


async def test_the_file_is_obeyed_and_the_command_line_goes_over_it(tmp_path: Path) -> None:
    text = '[agent]\nname = "from-file"\nchannels = ["unix:/nowhere/x"]\nheartbeat = 0\nlog_level = "warning"\n'
    with daemon(tmp_path, "--config", write(tmp_path, text)) as guest:
        async with virtagent.connect(guest.url) as peer:
            assert peer.info is not None
            assert peer.info.identity.name == "web1"  # what the helper says on the command line
        assert "serving" not in await asyncio.to_thread(guest.stop)


# -- who may do what ----------------------------------------------------------------------------------------------


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="virtagent-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def plain_call(path: str, method: str, *, uid: int, **params: Any) -> Any:
    """One call of plain msgpack-RPC, on a socket that a user connected; its error, or its result."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT)
        os.seteuid(uid)
        try:
            client.connect(path)
        finally:
            os.seteuid(0)
        client.sendall(msgpack.packb([0, 1, method, [params]] if params else [0, 1, method, []]))
        unpacker = msgpack.Unpacker(timestamp=3)
        while True:
            data = client.recv(65536)
            assert data, "the agent hung up"
            unpacker.feed(data)
            for kind, _, error, result in unpacker:
                assert kind == 1
                return error if error is not None else result


@pytest.mark.root
def test_root_may_do_everything_and_others_only_look(open_directory: Path) -> None:
    with daemon(open_directory) as guest:
        socket_path = open_directory / "guest.sock"
        socket_path.chmod(0o666)
        assert isinstance(plain_call(str(socket_path), "system.info", uid=NOBODY), dict)
        code, denied, _ = plain_call(str(socket_path), "files.stat", uid=NOBODY)
        assert code == PermissionDenied.code
        assert denied.startswith(f"user nobody (uid {NOBODY}) at unix:{socket_path} lacks the role 'files-read'")
        assert "is missing" in str(plain_call(str(socket_path), "files.stat", uid=0))  # as far as its arguments
        log = guest.stop()
    assert re.search(rf"INFO +user nobody \(uid {NOBODY}\) at unix:\S+: files.stat {{}}: PermissionDenied", log)
    assert log.count("files.stat") == 1


@pytest.mark.root
def test_a_rule_gives_a_user_what_others_have_not(open_directory: Path) -> None:
    text = f'[[policy]]\nchannel = "unix"\nusers = [{NOBODY}]\nroles = ["files-read"]\ndeny = ["system.*"]\n'
    with daemon(open_directory, "--config", write(open_directory, text)) as guest:
        socket_path = open_directory / "guest.sock"
        socket_path.chmod(0o666)
        assert "is missing" in str(plain_call(str(socket_path), "files.stat", uid=NOBODY))
        denied = str(plain_call(str(socket_path), "system.info", uid=NOBODY))
        assert "system.info is denied to" in denied
        assert "by rule 1 of the policy" in denied
        assert isinstance(plain_call(str(socket_path), "system.info", uid=0), dict)
        guest.stop()


async def test_a_certificate_decides_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, server_key = authority.issue("server")
    text = """
        [[policy]]
        channel = "tls"
        certificates = ["ops*"]
        roles = ["files-read"]
    """
    url = f"tls:127.0.0.1:0?ca={authority.ca}&cert={server}&key={server_key}"
    with daemon(tmp_path, "--config", write(tmp_path, text), "--channel", url) as guest:
        log = await asyncio.to_thread(guest.log_until, "serving tls:")
        port = re.search(r"serving tls:127\.0\.0\.1:(\d+)", log)
        assert port is not None
        for name, allowed in (("ops1", True), ("visitor", False)):
            cert, key = authority.issue(name)
            theirs = f"tls:127.0.0.1:{port[1]}?ca={authority.ca}&cert={cert}&key={key}&verify=chain"
            async with virtagent.connect(theirs) as peer:
                await peer.system.info()
                if allowed:
                    assert (await peer.files.stat("/etc/hostname")).kind == "file"
                else:
                    with pytest.raises(
                        PermissionDenied, match=f"certificate '{name}' at tls:127.0.0.1:{port[1]} lacks"
                    ):
                        await peer.files.stat("/etc/hostname")
        log = await asyncio.to_thread(guest.stop)
    assert "certificate 'visitor' at tls:127.0.0.1" in log
    assert "files.stat" in log


async def test_over_tcp_one_may_only_look(tmp_path: Path) -> None:
    with daemon(tmp_path, "--channel", "tcp:127.0.0.1:0") as guest:
        log = await asyncio.to_thread(guest.log_until, "serving tcp:")
        port = log.rpartition(":")[2].strip()
        async with virtagent.connect(f"tcp:127.0.0.1:{port}") as peer:
            assert (await peer.agent.ping()).version
            assert (await peer.health.statistics()).peers[0].limits.roles == ["observe"]
            with pytest.raises(PermissionDenied, match="lacks the role 'files-read'"):
                await peer.files.read("/etc/hostname").read_all()  # type: ignore[attr-defined]


# -- health ---------------------------------------------------------------------------------------------------------


async def test_statistics_tell_of_the_process_and_of_who_asks(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        async with (
            virtagent.connect(guest.url, name="asking") as peer,
            virtagent.connect(guest.url, name="other") as other,
        ):
            await other.agent.ping()  # the agent has its hello, too
            found = await peer.health.statistics()
            assert found.pid == guest.process.pid
            assert found.rss is not None
            assert abs(found.rss - guest.status("VmRSS") * 1024) < 8 * 2**20
            assert found.files is not None
            assert found.most_files is not None
            assert 3 < found.files < found.most_files
            assert {each.name for each in found.peers} == {"asking", "other"}
            mine = next(each for each in found.peers if each.name == "asking")
            assert (mine.open, mine.limits.calls, mine.limits.roles) == (1, 1024, ["admin"])
            assert mine.counters["requests"] == 1
            assert mine.channel == guest.url


async def test_who_may_only_look_sees_only_itself(tmp_path: Path) -> None:
    text = '[[policy]]\nroles = ["observe"]\n'
    with daemon(tmp_path, "--config", write(tmp_path, text)) as guest:
        async with virtagent.connect(guest.url, name="asking") as peer, virtagent.connect(guest.url, name="other"):
            assert [each.name for each in (await peer.health.statistics()).peers] == ["asking"]
            dump = await peer.health.dump()
            assert [each.name for each in dump.peers] == ["asking"]
            assert [each.method for each in dump.calls] == ["health.dump"]
            assert (dump.tasks, dump.channels) == ([], {})


async def test_the_call_and_the_signal_tell_the_same_of_what_is_under_way(tmp_path: Path) -> None:
    with daemon(tmp_path, "--heartbeat", "60") as guest:
        async with virtagent.connect(guest.url) as peer:
            source = peer.stream("bench.source", total=2**40)
            async with source as stream:
                await anext(aiter(stream))
                dump = await peer.health.dump()
                streams = [each for each in dump.calls if each.streams]
                assert [each.method for each in streams] == ["bench.source"]
                assert {each.name for each in dump.tasks} >= {"heartbeat"}
                assert dump.channels == {guest.url: 1}
                guest.process.send_signal(signal.SIGUSR1)
                log = await asyncio.to_thread(guest.log_until, "task heartbeat at")
    assert re.search(r"channel unix:\S+: 1 peers", log)
    assert re.search(r"stream bench\.source of user \S+ \(uid \d+\) at unix:\S+ for \d+\.\d s", log)
    assert "may admin by the default for unix: channels; 1 open, 0 denied" in log


async def test_jobs_are_in_the_dump_and_in_the_log_without_their_command_lines(tmp_path: Path) -> None:
    with daemon(tmp_path, "--heartbeat", "60") as guest:
        async with virtagent.connect(guest.url) as peer:
            job = await peer.call("jobs.start", command={"argv": ["sleep", "12345"]}, name="a long one")
            held = (await peer.health.dump()).held
            assert [(each["job"], each["name"], each["state"]) for each in held["jobs"]] == [
                (job["job"], "a long one", "running")
            ]
            guest.process.send_signal(signal.SIGUSR1)
            log = await asyncio.to_thread(guest.log_until, "task heartbeat at")
            await peer.call("jobs.signal", job=job["job"], signal="KILL")
    assert re.search(r"jobs: 1\n.*job 1, .*name a long one", log)
    (line,) = [each for each in log.splitlines() if "jobs.start" in each]
    assert '{"command": {"argv": ["sleep", "12345"]}, "name": "a long one"}: ok in ' in line
    assert "12345" not in log.replace(line, "")


# -- virtagent doctor -----------------------------------------------------------------------------------------------


def test_the_doctor_shows_both_sides(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        done = program(tmp_path, guest.url, "doctor")
        lines = done.stdout.splitlines()
        assert done.stderr == ""
        shown = [line.split()[:3] for line in lines if line.startswith(("ok", "warn", "fail"))]
        assert [each[2] for each in shown if each[1] == "host"] == [
            "channel",
            "holder",
            "agent",
            "latency",
            "version",
            "clocks",
        ]
        assert {"kernel-log", "clock", "libraries"} <= {each[2] for each in shown if each[1] == "guest"}
        failed = sum(each[0] == "fail" for each in shown)
        assert lines[-1].endswith(f", {failed} failed")
        assert done.returncode == (1 if failed else 0)


def test_the_doctor_as_json_is_one_finding_a_line(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        done = program(tmp_path, guest.url, "--json", "doctor", "--check", "threads", "--check", "terminals")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["check"] for each in found if each["side"] == "guest"] == ["threads", "terminals"]
    assert set(found[0]) == {"side", "check", "verdict", "message", "remedy", "took"}


def test_the_doctor_says_what_is_wrong_with_a_channel(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, told in (("none.sock", "No such file or directory"), ("file", "is no socket")):
        done = program(tmp_path, f"unix:{tmp_path}/{path}", "doctor")
        assert done.returncode == 1
        assert told in done.stdout
        assert "->" in done.stdout


def test_a_check_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        done = program(tmp_path, guest.url, "doctor", "--check", "clok")
    assert done.returncode == 1
    assert "there is no check 'clok'; there are channels" in done.stderr


def test_a_guest_that_may_not_be_asked_is_a_finding(tmp_path: Path) -> None:
    text = '[[policy]]\nroles = ["observe"]\ndeny = ["health.*"]\n'
    with daemon(tmp_path, "--config", write(tmp_path, text)) as guest:
        done = program(tmp_path, guest.url, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "warn  guest  doctor           health.doctor is denied to" in done.stdout


def test_a_denial_on_the_command_line_says_where_to_grant(tmp_path: Path) -> None:
    with daemon(tmp_path, "--config", write(tmp_path, '[[policy]]\nroles = ["observe"]\n')) as guest:
        done = program(tmp_path, guest.url, "call", "files.stat", "path=/")
    assert done.returncode == 7
    assert "lacks the role 'files-read' for files.stat, by rule 1 of the policy; to grant it" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- telemetry --------------------------------------------------------------------------------------------------------


def test_spans_of_the_agent_go_to_the_exporter_of_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path, f'[agent]\nname = "web1"\nchannels = ["unix:{tmp_path}/x.sock"]\n[telemetry]\nexporter = "console"\n'
    )
    command = [sys.executable, "-m", "virtagent.cli.daemon", "--config", file]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    ) as process:
        assert process.stderr is not None
        while "serving" not in (line := process.stderr.readline()):
            assert line
        assert program(tmp_path, f"unix:{tmp_path}/x.sock", "info").returncode == 0
        process.terminate()
        spans = process.communicate(timeout=LIMIT)[0]
    assert '"name": "system.info"' in spans
    assert '"kind": "SpanKind.SERVER"' in spans
    assert '"service.name": "virtagentd"' in spans


def test_an_exporter_that_is_not_installed_is_told_before_anything_is_served(tmp_path: Path) -> None:
    file = write(tmp_path, f'[agent]\nchannels = ["unix:{tmp_path}/x.sock"]\n[telemetry]\nexporter = "pigeon"\n')
    command = [sys.executable, "-m", "virtagent.cli.daemon", "--config", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert "exporter = 'pigeon': there is no such exporter (installed are console" in done.stderr
