"""Jobs: processes that outlive the call, the channel and the session that started them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import virtagent
from tests.guest.serving import LIMIT, gone, is_running, served, serving
from virtagent.api.jobs import FINISHED_JOBS, MOST_KEPT, JobOutput
from virtagent.api.processes import Terminal
from virtagent.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from virtagent.guest.grants import Grant
from virtagent.host.guest import Guest
from virtagent.service.streams import TypedStream

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    async with served(tmp_path) as made:
        yield made


async def output_of(guest: Guest, job: int, *, offset: int | None = None, follow: bool = True) -> list[JobOutput]:
    async with asyncio.timeout(LIMIT):
        return [piece async for piece in guest.jobs.output(job, offset=offset, follow=follow)]


async def first_of(guest: Guest, job: int) -> JobOutput:
    async with asyncio.timeout(LIMIT), TypedStream.of(guest.jobs.output(job)) as stream:
        return await anext(stream)


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def test_a_job_goes_on_without_its_session_and_is_attached_to_from_an_offset(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        async with virtagent.connect(url) as guest:
            job = await guest.jobs.start(shell="echo one; read line; echo $line; exit 3", stdin=True, name="asker")
            first = await first_of(guest, job.job)
            assert (first.offset, first.stdout) == (0, b"one\n")
        assert is_running(job.pid)
        async with virtagent.connect(url) as again:
            (found,) = await again.jobs.list()
            assert (found.job, found.state, found.name, found.written) == (job.job, "running", "asker", 4)
            assert found.stdin
            assert await again.jobs.write(job.job, chunks(b"two\n"), close=True) == 4
            pieces = await output_of(again, job.job, offset=4)
            assert [(piece.offset, piece.stdout) for piece in pieces] == [(4, b"two\n"), (8, b"")]
            assert pieces[-1].exited is not None
            assert pieces[-1].exited.code == 3
            ended = await again.jobs.wait(job.job)
            assert (ended.state, ended.stdin, ended.written) == ("exited", False, 8)
            assert ended.ended is not None
            assert ended.ended >= ended.started


async def test_output_that_is_not_kept_any_more_is_told_to_be_lost(guest: Guest) -> None:
    job = await guest.jobs.start(shell="seq 1 100000", keep=4096)
    total = sum(len(f"{each}\n") for each in range(1, 100001))
    ended = await guest.jobs.wait(job.job)
    assert ended.written == total
    assert total - 4096 - 256 < ended.kept_from <= total - 4096
    pieces = await output_of(guest, job.job, offset=1000)
    assert (pieces[0].lost, pieces[0].offset) == (ended.kept_from - 1000, ended.kept_from)
    assert b"".join(piece.stdout for piece in pieces).endswith(b"99999\n100000\n")
    assert sum(len(piece.stdout) for piece in pieces) == total - ended.kept_from
    assert (await output_of(guest, job.job))[0].lost == 0  # nothing in particular was asked for


async def test_a_job_never_waits_for_a_reader(guest: Guest) -> None:
    job = await guest.jobs.start(["head", "-c", "200M", "/dev/zero"])
    async with asyncio.timeout(LIMIT), TypedStream.of(guest.jobs.output(job.job)) as stream:
        await anext(stream)  # and no more
        ended = await guest.jobs.wait(job.job)
    assert ended.written == 200 * 2**20
    assert ended.exited is not None
    assert ended.exited.code == 0


async def test_stdout_and_stderr_are_kept_in_the_order_in_which_they_came(guest: Guest) -> None:
    job = await guest.jobs.start(shell="echo 1; read x; echo 2 >&2; read x; echo 3", stdin=True)
    async with asyncio.timeout(LIMIT), TypedStream.of(guest.jobs.output(job.job)) as stream:
        for _ in range(2):
            await anext(stream)
            await guest.jobs.write(job.job, chunks(b"go on\n"))
    assert [(piece.offset, piece.stdout, piece.stderr) for piece in (await output_of(guest, job.job))[:-1]] == [
        (0, b"1\n", b""),
        (2, b"", b"2\n"),
        (4, b"3\n", b""),
    ]


async def test_without_following_output_ends_with_what_there_is(guest: Guest) -> None:
    job = await guest.jobs.start(shell="echo here; sleep 600")
    await first_of(guest, job.job)
    (piece,) = await output_of(guest, job.job, follow=False)
    assert (piece.stdout, piece.exited) == (b"here\n", None)
    assert await output_of(guest, job.job, offset=10**9, follow=False) == []
    await guest.jobs.remove(job.job, kill=True)


async def test_several_readers_see_the_same(guest: Guest) -> None:
    job = await guest.jobs.start(shell="read go; seq 1 2000", stdin=True)
    readers = [asyncio.create_task(output_of(guest, job.job)) for _ in range(3)]
    await guest.jobs.write(job.job, chunks(b"go\n"), close=True)
    read = [b"".join(piece.stdout for piece in await reader) for reader in readers]
    assert read == ["".join(f"{each}\n" for each in range(1, 2001)).encode()] * 3


async def test_a_job_is_signalled_and_removed(guest: Guest) -> None:
    job = await guest.jobs.start(["sleep", "600"])
    with pytest.raises(FailedPrecondition, match="runs; end it first"):
        await guest.jobs.remove(job.job)
    with pytest.raises(InvalidArgument, match="no signal"):
        await guest.jobs.signal(job.job, "NOPE")
    await guest.jobs.signal(job.job, "HUP")
    ended = await guest.jobs.wait(job.job)
    assert ended.exited is not None
    assert ended.exited.returncode == -signal.SIGHUP
    with pytest.raises(FailedPrecondition, match="has ended"):
        await guest.jobs.signal(job.job)
    await guest.jobs.remove(job.job)
    for call in (guest.jobs.status(job.job), guest.jobs.wait(job.job), guest.jobs.remove(job.job)):
        with pytest.raises(NotFound, match="there is no job"):
            await call
    with pytest.raises(NotFound, match="there is no job"):
        await output_of(guest, job.job)


async def test_a_job_that_is_removed_with_kill_ends(guest: Guest) -> None:
    job = await guest.jobs.start(shell="trap '' TERM; echo; while :; do sleep 600; done", grace=0.2)
    await first_of(guest, job.job)
    await guest.jobs.remove(job.job, kill=True)
    await gone(job.pid)
    assert await guest.jobs.list() == ()


async def test_waiting_is_cut_short_without_harm_to_the_job(guest: Guest) -> None:
    job = await guest.jobs.start(["sleep", "600"])
    with pytest.raises(DeadlineExceeded):
        await guest.with_options(deadline=0.1).jobs.wait(job.job)
    assert (await guest.jobs.status(job.job)).state == "running"
    await guest.jobs.remove(job.job, kill=True)


async def test_a_timeout_ends_a_job(guest: Guest) -> None:
    job = await guest.jobs.start(["sleep", "600"], timeout=0.1)
    ended = await guest.jobs.wait(job.job)
    assert ended.exited is not None
    assert ended.exited.timed_out


async def test_stdin_that_is_not_open_is_not_written_to(guest: Guest) -> None:
    job = await guest.jobs.start(["cat"])
    with pytest.raises(FailedPrecondition, match="stdin of job 1 is closed"):
        await guest.jobs.write(job.job, chunks(b"x"))
    assert (await guest.jobs.wait(job.job)).written == 0


async def test_one_caller_writes_at_a_time(guest: Guest) -> None:
    hold = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await hold.wait()
        yield b"b"

    job = await guest.jobs.start(["cat"], stdin=True)
    first = asyncio.create_task(guest.jobs.write(job.job, slow(), close=True))
    await first_of(guest, job.job)
    with pytest.raises(FailedPrecondition, match="another caller writes"):
        await guest.jobs.write(job.job, chunks(b"x"))
    hold.set()
    assert await first == 2
    assert (await guest.jobs.wait(job.job)).written == 2


async def test_a_job_with_a_terminal_is_resized(guest: Guest) -> None:
    job = await guest.jobs.start(
        shell="stty size; read x; stty size", stdin=True, terminal=Terminal(columns=91, rows=17)
    )
    assert job.terminal
    assert (await first_of(guest, job.job)).stdout == b"17 91\r\n"
    await guest.jobs.resize(job.job, 100, 30)
    await guest.jobs.write(job.job, chunks(b"\n"))
    text = b"".join(piece.stdout for piece in await output_of(guest, job.job))
    assert text.endswith(b"30 100\r\n")


async def test_what_cannot_be_started_is_no_job(guest: Guest) -> None:
    with pytest.raises(NotFound, match="no such program"):
        await guest.jobs.start(["no-such-program"])
    assert await guest.jobs.list() == ()


async def test_finished_jobs_are_forgotten_the_oldest_first(guest: Guest) -> None:
    for _ in range(FINISHED_JOBS + 2):
        job = await guest.jobs.start(["true"], keep=4096)
        await guest.jobs.wait(job.job)
    assert [each.job for each in await guest.jobs.list()] == list(range(3, FINISHED_JOBS + 3))


async def test_output_that_is_kept_is_bounded_altogether(guest: Guest) -> None:
    running = [await guest.jobs.start(["sleep", "600"], keep=MOST_KEPT) for _ in range(3)]
    done = await guest.jobs.start(["true"], keep=MOST_KEPT)
    await guest.jobs.wait(done.job)
    last = await guest.jobs.start(["sleep", "600"], keep=MOST_KEPT)  # in the place of the finished one
    with pytest.raises(NotFound):
        await guest.jobs.status(done.job)
    with pytest.raises(ResourceExhausted, match="end one, or keep less"):
        await guest.jobs.start(["true"], keep=4096)
    for each in (*running, last):
        await guest.jobs.remove(each.job, kill=True)


async def test_an_owner_has_as_many_jobs_as_its_policy_lets_it(tmp_path: Path) -> None:
    async with serving(tmp_path, Grant(who="ci", processes=1)) as url:
        async with virtagent.connect(url) as guest:
            job = await guest.jobs.start(["sleep", "600"])
            assert job.owner == "ci"
        async with virtagent.connect(url) as again:  # the same owner, in another session
            with pytest.raises(ResourceExhausted, match="you have 1 jobs"):
                await again.jobs.start(["true"])
            await again.jobs.remove(job.job, kill=True)
            await again.jobs.wait((await again.jobs.start(["true"])).job)


async def test_who_may_only_observe_sees_no_command_lines(tmp_path: Path) -> None:
    async with served(tmp_path, Grant(roles=frozenset({"observe"}), who="eye")) as guest:
        job = await guest.jobs.start(["sleep", "600"])  # no guard is in the way here
        assert [each.command for each in await guest.jobs.list()] == [""]
        assert (await guest.jobs.status(job.job)).command == ""


async def test_a_caller_with_an_allow_list_touches_its_own_jobs_only(tmp_path: Path) -> None:
    grants = iter([Grant(who="admin"), Grant(who="ci", commands=("/bin/true",))])
    from virtagent.guest.grants import Grants
    from virtagent.guest.jobs import JobsService
    from virtagent.guest.resources import Resources

    resources = Resources()
    resources.grants = Grants(lambda _: (next(grants), None))
    url = f"unix:{tmp_path}/guest.sock"
    async with virtagent.listen(url, services=[JobsService(resources)]):
        async with virtagent.connect(url) as admin, virtagent.connect(url) as other:
            job = await admin.jobs.start(["sleep", "600"], stdin=True)
            assert [each.job for each in await other.jobs.list()] == [job.job]
            with pytest.raises(PermissionDenied, match="another caller's"):
                await other.jobs.remove(job.job, kill=True)
            with pytest.raises(PermissionDenied, match="another caller's"):
                await output_of(other, job.job)
            with pytest.raises(PermissionDenied, match="another caller's"):
                await other.jobs.write(job.job, chunks(b"x"))
        await resources.stop("stop", "")
    await gone(job.pid)
