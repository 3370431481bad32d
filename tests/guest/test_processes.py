"""Programs that the agent runs: real processes over a real session."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import virtagent
from tests.guest.serving import LIMIT, gone, is_running, kill, served, serving
from virtagent.api.processes import Command, Processes, Terminal
from virtagent.errors import (
    CallError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    UsageError,
)
from virtagent.guest.grants import Grant
from virtagent.guest.proc_stat import pids, read_stat
from virtagent.host.guest import Guest
from virtagent.host.process import GuestProcess
from virtagent.service.stub import stub

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    async with served(tmp_path) as made:
        yield made


# -- capture -------------------------------------------------------------------------------------------------------


async def test_output_and_exit_status_are_captured(guest: Guest) -> None:
    done = await guest.processes.capture(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.stdout, done.stderr, done.exited.code, done.returncode) == (b"out\n", b"err\n", 3, 3)
    assert not done.truncated
    assert done.exited.duration > 0


async def test_arguments_reach_the_program_as_they_are(guest: Guest) -> None:
    odd = ["a b", "", "$HOME", "*", "\n", b"\xff".decode("utf-8", "surrogateescape"), "-n"]
    done = await guest.processes.capture(["printf", "%s|", *odd])
    assert done.stdout == b"a b||$HOME|*|\n|\xff|-n|"


async def test_a_shells_line_is_run_only_by_its_name(guest: Guest) -> None:
    assert (await guest.processes.capture(shell="echo a b | tr a-z A-Z")).stdout == b"A B\n"
    assert (await guest.processes.capture(["echo", "x;", "exit 4"])).stdout == b"x; exit 4\n"
    with pytest.raises(UsageError, match="argv is a list"):
        await guest.processes.capture("ls | wc")
    with pytest.raises(InvalidArgument, match="give either argv"):
        await guest.processes.capture(["ls"], shell="ls")
    with pytest.raises(InvalidArgument, match="give either argv"):
        await guest.processes.capture()


async def test_what_is_beyond_the_limit_is_counted_and_told_to_be_truncated(guest: Guest) -> None:
    done = await guest.processes.capture(shell="head -c 1000000 /dev/zero; printf 12345 >&2", limit=10)
    assert (done.stdout, done.stdout_size) == (bytes(10), 1000000)
    assert (done.stderr, done.stderr_size) == (b"12345", 5)
    assert done.truncated


async def test_input_is_given_whole_though_the_output_is_as_large(guest: Guest) -> None:
    data = os.urandom(1024 * 1024)
    done = await guest.processes.capture(["cat"], input=data, limit=len(data))
    assert done.stdout == data


async def test_input_that_nobody_reads_does_no_harm(guest: Guest) -> None:
    done = await guest.processes.capture(["true"], input=bytes(1024 * 1024))
    assert done.exited.code == 0


async def test_without_input_stdin_is_at_its_end(guest: Guest) -> None:
    assert (await guest.processes.capture(["cat"])).stdout == b""


async def test_stderr_is_merged_or_discarded_if_asked(guest: Guest) -> None:
    line = "echo a; echo b >&2; echo c"
    merged = await guest.processes.capture(shell=line, stderr="merge")
    assert (merged.stdout, merged.stderr) == (b"a\nb\nc\n", b"")
    dropped = await guest.processes.capture(shell=line, stderr="discard", stdout="discard")
    assert (dropped.stdout, dropped.stderr, dropped.exited.code) == (b"", b"", 0)


async def test_a_signal_that_ended_it_is_told_by_name(guest: Guest) -> None:
    done = await guest.processes.capture(shell="kill -9 $$")
    assert (done.exited.code, done.exited.signal, done.exited.signal_number) == (None, "SIGKILL", 9)
    assert done.returncode == -9


# -- what it is run with -------------------------------------------------------------------------------------------


async def test_directory_environment_and_umask_are_as_asked(guest: Guest, tmp_path: Path) -> None:
    done = await guest.processes.capture(shell="pwd; echo $A; umask", cwd=str(tmp_path), env={"A": "x y"}, umask=0o027)
    assert done.stdout.decode() == f"{tmp_path}\nx y\n0027\n"


async def test_the_environment_is_small_and_holds_nothing_of_the_agents(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    done = await guest.processes.capture(["env"])
    names = {line.partition("=")[0] for line in done.stdout.decode().splitlines()}
    assert {"PATH", "HOME", "USER", "LOGNAME", "SHELL"} <= names
    assert names <= {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ"}
    cleared = await guest.processes.capture(["/usr/bin/env"], env={"ONLY": "this"}, clear_env=True)
    assert cleared.stdout == b"ONLY=this\n"


async def test_the_path_is_that_of_the_processs_environment(guest: Guest, tmp_path: Path) -> None:
    program = tmp_path / "my-program"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    assert (await guest.processes.capture(["my-program"], env={"PATH": f"/nowhere:{tmp_path}"})).stdout == b"mine\n"
    assert (await guest.processes.capture(["./my-program"], cwd=str(tmp_path))).stdout == b"mine\n"


async def test_it_leads_a_session_and_a_process_group_of_its_own(guest: Guest) -> None:
    done = await guest.processes.capture(["cat", "/proc/self/stat"])
    fields = done.stdout.rpartition(b") ")[2].split()
    pid = done.stdout.split()[0]
    assert fields[2] == fields[3] == pid


async def test_no_descriptor_of_the_agent_is_inherited(guest: Guest) -> None:
    listed = {"0", "1", "2", "3"}  # 3 is the directory that ls reads
    assert set((await guest.processes.capture(["ls", "/proc/self/fd"])).stdout.decode().split()) == listed
    limited = await guest.processes.capture(["ls", "/proc/self/fd"], limits={"core": 0})
    assert set(limited.stdout.decode().split()) == listed


@pytest.mark.parametrize("limits", [{}, {"core": 0}])
async def test_signals_are_as_a_program_expects_them(guest: Guest, limits: dict[str, int]) -> None:
    done = await guest.processes.capture(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"], limits=limits)
    of_the_c_library = 1 << 31 | 1 << 32  # signals 32 and 33, which no program can set (signal(7))
    told = [int(line.split()[1], 16) & ~of_the_c_library for line in done.stdout.decode().splitlines()]
    assert told == [0, 0]


@pytest.mark.root
@pytest.mark.parametrize("limits", [{}, {"core": 0}])
async def test_a_user_is_switched_to_with_all_of_its_groups(guest: Guest, limits: dict[str, int]) -> None:
    done = await guest.processes.capture(
        shell="id -u; id -g; id -G; echo $HOME $USER; pwd", user="nobody", limits=limits
    )
    uid, gid, groups, home, cwd = done.stdout.decode().splitlines()
    assert (uid, gid, groups) == ("65534", "65534", "65534")
    assert home == "/nonexistent nobody"
    assert cwd == "/"  # as its home does not exist


@pytest.mark.root
async def test_a_user_and_a_group_may_be_numbers_that_nobody_has(guest: Guest) -> None:
    done = await guest.processes.capture(shell="id -u; id -g; id -G", user="4242", group="4343")
    assert done.stdout == b"4242\n4343\n4343\n"
    done = await guest.processes.capture(["id", "-g"], group="daemon")
    assert done.stdout == b"1\n"


async def test_resource_limits_hold(guest: Guest) -> None:
    done = await guest.processes.capture(shell="ulimit -n; ulimit -Hn; ulimit -c", limits={"nofile": 77, "core": 0})
    assert done.stdout == b"77\n77\n0\n"
    done = await guest.processes.capture(shell="while :; do :; done", limits={"cpu": 1})
    assert done.exited.signal == "SIGKILL"  # soft and hard are one
    with pytest.raises(InvalidArgument, match=r"no resource limit 'files'; there are as, core, cpu"):
        await guest.processes.capture(["true"], limits={"files": 1})


async def test_a_limit_beyond_what_may_be_set_is_refused(guest: Guest) -> None:
    with pytest.raises(FailedPrecondition, match="a resource limit cannot be set"):
        await guest.processes.capture(["true"], limits={"nofile": 2**40})


# -- what cannot be run --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{}, {"core": 0}])
async def test_what_cannot_be_run_is_told_apart(guest: Guest, tmp_path: Path, limits: dict[str, int]) -> None:
    plain, text, script = tmp_path / "plain", tmp_path / "text", tmp_path / "script"
    plain.write_text("x")
    text.write_text("x")
    text.chmod(0o755)
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    cases: list[tuple[str, type[CallError], str]] = [
        ("no-such-program", NotFound, "no-such-program: the guest has no such program in /usr"),
        ("/no/such/program", NotFound, "/no/such/program: the guest has no such program$"),
        (str(plain), PermissionDenied, r"cannot be executed: chmod \+x it"),
        (str(tmp_path), PermissionDenied, "is a directory"),
        (str(text), InvalidArgument, "is no program: without #!"),
        (str(script), NotFound, "its interpreter .* does not exist"),
    ]
    for program, expected, words in cases:
        with pytest.raises(expected, match=words) as caught:
            await guest.processes.capture([program], limits=limits)
        assert caught.value.data["program"]
        assert caught.value.data["errno"] in errno.errorcode.values()


async def test_names_that_the_guest_does_not_have_are_not_found(guest: Guest) -> None:
    for options, words in (({"user": "no-such-user"}, "no user"), ({"group": "no-such-group"}, "no group")):
        with pytest.raises(NotFound, match=words):
            await guest.processes.capture(["true"], **options)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no such directory to run in"):
        await guest.processes.capture(["true"], cwd="/no/such/directory")
    with pytest.raises(InvalidArgument, match="not an absolute path"):
        await guest.processes.capture(["true"], cwd="tmp")


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (["a\0b"], {}),
        ([""], {}),
        (["true"], {"env": {"A=B": "c"}}),
        (["true"], {"env": {"A": "b\0"}}),
        (["true"], {"user": "a\0"}),
        (["true"], {"user": "4294967295"}),
    ],
)
async def test_what_no_process_can_have_is_refused(guest: Guest, argv: list[str], options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        await guest.processes.capture(argv, **options)  # type: ignore[arg-type]


# -- its end -------------------------------------------------------------------------------------------------------


async def test_a_timeout_ends_the_group_and_is_told(guest: Guest) -> None:
    done = await guest.processes.capture(shell="echo begun; sleep 600 & sleep 600", timeout=0.3)
    assert (done.stdout, done.exited.signal, done.exited.timed_out) == (b"begun\n", "SIGTERM", True)


async def test_what_ignores_sigterm_is_killed_when_the_grace_has_passed(guest: Guest) -> None:
    done = await guest.processes.capture(
        shell="trap '' TERM; echo $$; while :; do sleep 600; done", timeout=0.2, grace=0.2
    )
    assert (done.exited.signal, done.exited.timed_out) == ("SIGKILL", True)


async def test_a_cancelled_call_ends_the_whole_group(guest: Guest, tmp_path: Path) -> None:
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    call = asyncio.create_task(guest.processes.capture(shell=f"sleep 600 & echo $! $$ >{fifo}; wait"))
    found = [int(each) for each in (await asyncio.to_thread(fifo.read_text)).split()]
    assert all(map(is_running, found))
    call.cancel()
    for pid in found:
        await gone(pid)
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_calls_deadline_ends_the_process(guest: Guest, tmp_path: Path) -> None:
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    hurried = guest.with_options(deadline=0.5)
    call = asyncio.create_task(hurried.processes.capture(shell=f"echo $$ >{fifo}; exec sleep 600"))
    pid = int(await asyncio.to_thread(fifo.read_text))
    with pytest.raises(DeadlineExceeded):
        await call
    await gone(pid)


async def test_a_lost_session_ends_its_processes_and_nobody_elses(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as url,
        virtagent.connect(url) as other,
        other.processes.run(["sleep", "600"]) as kept,
    ):
        async with virtagent.connect(url) as guest:
            process = await guest.processes.run(shell="sleep 600 & echo $!; wait").__aenter__()
            grandchild = int(await process.stdout.read())
        await gone(process.pid)
        await gone(grandchild)
        assert is_running(kept.pid)
        with pytest.raises(virtagent.VirtagentError):
            await process.wait()


async def test_a_reader_that_leaves_ends_the_group_with_its_job_control_groups(guest: Guest) -> None:
    async with guest.processes.run(["bash", "-c", "set -m; sleep 600 & echo $!; wait"], grace=0.5) as process:
        background = int(await process.stdout.read())
        assert os.getpgid(background) != process.pid
    await gone(process.pid)
    await gone(background)


async def test_a_daemon_that_holds_the_pipes_does_not_keep_it_from_ending(guest: Guest) -> None:
    done = await guest.processes.capture(shell="sleep 600 & echo $!; exit 5")
    pid = int(done.stdout)
    assert (done.exited.code, done.exited.held) == (5, True)
    assert is_running(pid)  # it was started to stay
    kill(pid)


async def test_a_daemon_that_floods_the_pipes_does_not_keep_it_from_ending(guest: Guest) -> None:
    async with guest.processes.run(shell="yes & echo $! >&2; exit 6", stdout="pipe") as process:
        pid = int(await process.stderr.read())
        reading = asyncio.create_task(process.stdout.read_all(limit=None))
        assert await asyncio.wait_for(process.wait(), LIMIT) == 6
        assert process.exited is not None
        assert process.exited.held
        assert set(await reading) <= set(b"y\n")
    await gone(pid)  # of SIGPIPE


async def test_all_that_it_wrote_before_its_end_is_read_however_late(guest: Guest) -> None:
    async with guest.processes.run(shell="head -c 60000 /dev/zero; sleep 600 & echo $! >&2") as process:
        pid = int(await process.stderr.read())
        assert await process.wait() == 0
        assert len(await process.stdout.read_all()) == 60000
    kill(pid)


async def test_many_short_processes_leave_no_descriptor_and_no_zombie(guest: Guest) -> None:
    await guest.processes.capture(["true"])
    before = len(os.listdir("/proc/self/fd"))
    await asyncio.gather(*(guest.processes.capture(["true"]) for _ in range(100)))
    await asyncio.gather(*(guest.processes.capture(["tty"], terminal=Terminal()) for _ in range(10)))
    for _ in range(10):
        with pytest.raises(NotFound):
            await guest.processes.capture(["no-such-program"], terminal=Terminal())
    async with guest.processes.run(["cat"], stdin=True) as process:
        await process.stdin.write(b"x")
        assert await process.stdout.read() == b"x"
    await gone(process.pid)
    await guest.processes.capture(["true"])  # by then the agent has noticed
    await asyncio.get_running_loop().shutdown_default_executor()  # and its look for a session's members is over
    assert len(os.listdir("/proc/self/fd")) == before
    assert not any(stat.ppid == os.getpid() for stat in filter(None, map(read_stat, pids())))


async def test_a_stopping_agent_ends_what_it_runs_and_starts_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as url, virtagent.connect(url) as guest:
        process = guest.processes.run(shell="trap '' TERM; echo; while :; do sleep 600; done", grace=600)
        job = await guest.jobs.start(["sleep", "600"])
        async with process:
            await process.stdout.read()
            ended = asyncio.create_task(process.wait())
            # the block of `serving` is left: its services are stopped
    assert process.exited is None or process.exited.signal == "SIGKILL"
    ended.cancel()
    await asyncio.wait({ended})
    await gone(process.pid)
    await gone(job.pid)


# -- streams -------------------------------------------------------------------------------------------------------


async def test_stdin_and_stdout_stream_both_ways(guest: Guest) -> None:
    async with guest.processes.run(["cat"], stdin=True) as process:
        for word in (b"one", b"two"):
            await process.stdin.write(word)
            assert await process.stdout.read() == word
        process.stdin.close()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0


async def test_stdin_may_be_bytes_or_an_iterable(guest: Guest) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for each in (b"b\n", b"a\n"):
            yield each

    for stdin in (b"b\na\n", lines()):
        async with guest.processes.run(["sort"], stdin=stdin) as process:
            assert await process.stdout.read_all() == b"a\nb\n"


async def write_for_ever(process: GuestProcess) -> None:
    while True:
        await process.stdin.write(bytes(65536))


async def test_a_process_that_reads_no_more_breaks_its_writers_pipe(guest: Guest) -> None:
    async with guest.processes.run(["head", "-c", "1"], stdin=True) as process:
        with pytest.raises(BrokenPipeError):
            await write_for_ever(process)
        assert await process.wait() == 0


async def test_a_source_that_fails_ends_the_process(guest: Guest) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"half of it"
        raise InvalidArgument("no more")

    async with guest.processes.run(["cat"], stdin=failing(), stdout="discard") as process:
        await process.wait()
        assert process.exited is not None
        assert process.exited.signal == "SIGTERM"


async def test_a_slow_reader_stops_the_process_instead_of_filling_memory(guest: Guest, tmp_path: Path) -> None:
    count = tmp_path / "count"
    line = f"dd if=/dev/zero bs=65536 count=16384 2>{count}; echo end >&2"
    async with guest.processes.run(shell=line) as process:
        total = len(await process.stdout.read())
        assert process.stdout.full or not is_running(process.pid) or total < 2**30
        async for chunk in process.stdout:
            total += len(chunk)
        assert total == 2**30
        assert await process.wait() == 0
    with open("/proc/self/statm", encoding="ascii") as file:
        assert int(file.read().split()[1]) * 4096 < 2**29


async def test_stdout_and_stderr_are_apart(guest: Guest) -> None:
    async with guest.processes.run(shell="for i in 1 2 3; do echo $i; echo -$i >&2; done") as process:
        out, err = await asyncio.gather(process.stdout.read_all(), process.stderr.read_all())
    assert (out, err) == (b"1\n2\n3\n", b"-1\n-2\n-3\n")


async def test_waiting_for_what_writes_much_that_nobody_reads_is_refused_instead_of_hanging(guest: Guest) -> None:
    async with guest.processes.run(["head", "-c", "100M", "/dev/zero"]) as process:
        with pytest.raises(ResourceExhausted, match=r"read proc.stdout, or run it with stdout='discard'"):
            await process.wait()
        assert len(await process.stdout.read_all(limit=None)) == 100 * 2**20
        assert await process.wait() == 0


async def test_what_little_it_wrote_can_be_read_after_its_end(guest: Guest) -> None:
    async with guest.processes.run(shell="echo out; echo err >&2; exit 7") as process:
        assert await process.wait() == 7
        assert (await process.stdout.read_all(), await process.stderr.read_all()) == (b"out\n", b"err\n")
        assert process.returncode == 7


async def test_errors_of_starting_answer_the_call(guest: Guest) -> None:
    with pytest.raises(NotFound, match="no such program"):
        async with guest.processes.run(["no-such-program"]):
            pytest.fail("it was started")
    with pytest.raises(UsageError, match="async with"):
        await guest.processes.run(["true"]).wait()
    async with guest.processes.run(["true"]) as process:
        with pytest.raises(UsageError, match="stdin=True"):
            await process.stdin.write(b"")


async def test_a_process_without_a_typed_host_is_one_call_and_one_stream(guest: Guest) -> None:
    pieces = [piece async for piece in guest.stream("processes.run", command={"argv": ["echo", "hi"]})]
    assert list(pieces[0]) == ["started"]
    assert pieces[0]["started"]["program"].endswith("/echo")
    assert pieces[1] == {"stdout": b"hi\n"}
    assert pieces[2]["exited"]["code"] == 0


def test_plain_code_without_asyncio_runs_processes(tmp_path: Path) -> None:
    async def agent(ready: asyncio.Event, over: asyncio.Event) -> None:
        async with serving(tmp_path):
            ready.set()
            await over.wait()

    from threading import Thread

    from virtagent.peer.blocking import connect

    loop = asyncio.new_event_loop()
    ready, over = asyncio.Event(), asyncio.Event()
    thread = Thread(target=loop.run_until_complete, args=(agent(ready, over),))
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(ready.wait(), loop).result(LIMIT)
        with connect(f"unix:{tmp_path}/guest.sock") as peer:
            assert peer.call("processes.capture", command={"argv": ["echo", "hi"]})["stdout"] == b"hi\n"
            with peer.stream("processes.run", command={"shell": "echo 1; echo 2"}) as stream:
                assert b"".join(piece.get("stdout", b"") for piece in stream) == b"1\n2\n"
            done = peer.run(lambda each: stub(Processes, each).capture(Command(argv=["false"])))
            assert done.exited.code == 1
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(LIMIT)
        loop.close()


# -- signals -------------------------------------------------------------------------------------------------------


async def test_signals_go_to_the_group(guest: Guest) -> None:
    async with guest.processes.run(shell="trap 'echo usr1' USR1; echo go; while :; do sleep 0.01; done") as process:
        assert await process.stdout.read() == b"go\n"
        with pytest.raises(InvalidArgument, match="no signal 'NOPE'"):
            await process.signal("NOPE")
        await process.signal("INT")
        assert await process.wait() == -signal.SIGINT
        await process.signal("TERM")  # too late, which is no error


async def test_any_process_is_signalled_unless_it_is_another_by_now(guest: Guest) -> None:
    mine = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        ticks = next(each.start_ticks for each in [p async for p in guest.processes.list()] if each.pid == mine.pid)
        with pytest.raises(NotFound, match="another one may have its number now"):
            await guest.processes.signal(mine.pid, "KILL", start_ticks=ticks + 1)
        with pytest.raises(NotFound, match="process group"):
            await guest.processes.signal(mine.pid, "KILL", group=True)
        await guest.processes.signal(mine.pid, "SIGTERM", start_ticks=ticks)
        assert await mine.wait() == -signal.SIGTERM
    finally:
        if mine.returncode is None:
            mine.kill()
            await mine.wait()
    with pytest.raises(NotFound):
        await guest.processes.signal(mine.pid, "KILL")
    with pytest.raises(InvalidArgument, match="the agent's own process"):
        await guest.processes.signal(os.getpid(), "KILL")


# -- what a caller may do ------------------------------------------------------------------------------------------


async def test_a_caller_has_as_many_processes_as_it_may(tmp_path: Path) -> None:
    async with (
        served(tmp_path, Grant(processes=2)) as guest,
        guest.processes.run(["sleep", "600"]),
        guest.processes.run(["sleep", "600"]) as second,
    ):
        with pytest.raises(ResourceExhausted, match="you have 2 processes"):
            await guest.processes.capture(["true"])
        await second.signal()
        await second.wait()
        assert (await guest.processes.capture(["true"])).exited.code == 0


async def test_an_allow_list_is_kept_to(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("#!/bin/sh\necho ran as $0\n")
    allowed.chmod(0o755)
    (tmp_path / "link").symlink_to(allowed)
    (tmp_path / "folder").symlink_to(tmp_path)
    async with served(tmp_path, Grant(commands=(str(allowed), "/bin/echo"))) as guest:
        assert (await guest.processes.capture([str(allowed)])).exited.code == 0
        assert (
            await guest.processes.capture([f"{tmp_path}/folder/../{tmp_path.name}/folder/allowed"])
        ).exited.code == 0
        assert (await guest.processes.capture(["echo", "x"], env={"LC_ALL": "C"})).stdout == b"x\n"
        for argv, options, words in (
            (["ls"], {}, "may run only"),
            ([f"{tmp_path}/link"], {}, "may run only"),  # a multi-call program is what its name says
            ([], {"shell": "echo"}, "no shell line"),
            (["echo"], {"env": {"LD_PRELOAD": "/tmp/x.so"}}, "not LD_PRELOAD"),
            (["echo"], {"env": {"PATH": str(tmp_path)}}, "PATH|may run only"),
            (["echo"], {"clear_env": True}, "clear_env"),
        ):
            with pytest.raises(PermissionDenied, match=words):
                await guest.processes.capture(argv, **options)
        with pytest.raises(PermissionDenied, match="only those that it runs"):
            await guest.processes.signal(os.getppid(), "TERM")
        with pytest.raises(PermissionDenied, match="may run only"):
            await guest.jobs.start(["ls"])


# -- what runs -----------------------------------------------------------------------------------------------------


async def test_what_runs_is_listed(guest: Guest) -> None:
    found = {each.pid: each async for each in guest.processes.list()}
    own = found[os.getpid()]
    assert own.ppid == os.getppid()
    assert (own.uid, own.state) in ((os.getuid(), "running"), (os.getuid(), "sleeping"))
    assert own.arguments is not None
    assert "pytest" in " ".join(own.arguments)
    assert own.rss > 2**20
    assert own.cpu_time > 0
    assert list(found) == sorted(found)


async def test_arguments_are_shown_only_to_who_may_run_programs(tmp_path: Path) -> None:
    async with served(tmp_path, Grant(roles=frozenset({"observe"}))) as guest:
        found = [each async for each in guest.processes.list()]
    assert any(each.pid == os.getpid() for each in found)
    assert all(each.arguments is None for each in found)
