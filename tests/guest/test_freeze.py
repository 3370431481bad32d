"""Freezes as leases; tests/vm/test_freeze.py has those of real filesystems."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest.freeze_fakes import Freezer
from virtagent.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from virtagent.guest import freezes
from virtagent.guest.configuration import Configuration, StorageSection
from virtagent.guest.freeze_hooks import find_hooks
from virtagent.guest.freeze_keeper import run_hook
from virtagent.guest.freeze_quiet import Quiet, own_devices
from virtagent.guest.freeze_record import FreezeRecord, thaw_what_is_left
from virtagent.guest.freezes import Freezes, LeaseStream
from virtagent.guest.resources import Resources

LIMIT = 30.0


@pytest.fixture
def freezer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Freezer:
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(tmp_path / "runtime"))
    return Freezer(tmp_path, monkeypatch)


def keeper_of(lease: object) -> int:
    """The watchdog process."""
    pid: int = lease._process.pid  # type: ignore[attr-defined]
    return pid


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_what_is_frozen_is_thawed_in_the_other_order_and_the_process_ends(freezer: Freezer) -> None:
    lease = freezer.lease("b", "a", who="somebody")
    async with asyncio.timeout(LIMIT):
        await lease.hold(20)
        state = lease.state()
        assert [each.status for each in state.filesystems] == ["frozen", "frozen"]
        assert (state.ended, state.who, state.memory_locked) == ("", "somebody", True)
        assert 0 < state.remaining <= 20
        pid = keeper_of(lease)
        await lease.end("thawed")
    assert freezer.told() == ["freeze b 0", "freeze a 0", "thaw a 0", "thaw b 0"]
    assert lease.state().ended == "thawed"
    assert [each.status for each in lease.state().filesystems] == ["thawed", "thawed"]
    assert is_gone(pid)


async def test_the_agent_knows_what_it_must_not_touch_as_long_as_it_is_frozen(freezer: Freezer) -> None:
    lease = freezer.lease("a")
    async with asyncio.timeout(LIMIT):
        await lease.hold(20)
        with pytest.raises(FailedPrecondition, match="is frozen"):
            freezer.frozen.check_path(str(freezer.folder / "a" / "new" / "file"))
        await lease.end("thawed")
    freezer.frozen.check_path(str(freezer.folder / "a"))


async def test_a_lease_ends_by_itself_when_its_time_has_passed(freezer: Freezer) -> None:
    lease = freezer.lease("a")
    async with asyncio.timeout(LIMIT):
        await lease.hold(0.2)
        while not lease.ended:
            lease.changed.clear()
            await lease.changed.wait()
    assert lease.ended == "deadline"
    assert freezer.told() == ["freeze a 0", "thaw a 0"]


async def test_a_renewed_lease_lasts_longer(freezer: Freezer) -> None:
    lease = freezer.lease("a")
    async with asyncio.timeout(LIMIT):
        await lease.hold(1)
        lease.renew(1000)
        assert lease.state().remaining > 900
        lease.renew(0.1)
        while not lease.ended:
            lease.changed.clear()
            await lease.changed.wait()
    assert lease.ended == "deadline"


async def test_hooks_run_around_the_freeze_in_both_orders(freezer: Freezer) -> None:
    hooks = [freezer.hook(name, f"echo {name} $1 >>{freezer.log}") for name in ("h1", "h2")]
    lease = freezer.lease("a", hooks=hooks)
    async with asyncio.timeout(LIMIT):
        await lease.hold(20)
        await lease.end("thawed")
    assert freezer.told() == ["h1 freeze", "h2 freeze", "freeze a 0", "thaw a 0", "h2 thaw", "h1 thaw"]
    assert [(each.argument, each.status) for each in lease.state().hooks] == [
        ("freeze", 0),
        ("freeze", 0),
        ("thaw", 0),
        ("thaw", 0),
    ]


async def test_a_hook_that_fails_undoes_those_before_it_and_nothing_is_frozen(freezer: Freezer) -> None:
    good = freezer.hook("good", f"echo good $1 >>{freezer.log}")
    bad = freezer.hook("bad", f"echo bad $1 >>{freezer.log}; [ $1 = thaw ] || {{ echo 'is busy' >&2; exit 3; }}")
    never = freezer.hook("never", f"echo never $1 >>{freezer.log}")
    lease = freezer.lease("a", hooks=[good, bad, never])
    async with asyncio.timeout(LIMIT):
        with pytest.raises(Aborted, match="exit status 3: is busy; nothing is frozen"):
            await lease.hold(20)
    assert freezer.told() == ["good freeze", "bad freeze", "bad thaw", "good thaw"]
    assert lease.ended == "failed"
    assert not freezer.frozen


async def test_a_filesystem_that_fails_thaws_those_before_it(freezer: Freezer) -> None:
    lease = freezer.lease("a", "b", "c")
    (freezer.folder / "b" / "freeze-errno").write_text(str(errno.EIO))
    async with asyncio.timeout(LIMIT):
        with pytest.raises(FailedPrecondition, match="/b: Input/output error"):
            await lease.hold(20)
    assert freezer.told() == ["freeze a 0", f"freeze b {errno.EIO}", "thaw a 0"]
    assert not freezer.frozen


@pytest.mark.parametrize(
    ("number", "status"), [(errno.EOPNOTSUPP, "unsupported"), (errno.EBUSY, "busy"), (errno.ENOTTY, "unsupported")]
)
async def test_what_cannot_be_frozen_is_left_out_if_all_were_asked_for_and_refused_if_it_was_named(
    number: int, status: str, freezer: Freezer
) -> None:
    freezer.target("b").close()
    (freezer.folder / "b" / "freeze-errno").write_text(str(number))
    async with asyncio.timeout(LIMIT):
        lease = freezer.lease("a", "b")
        await lease.hold(20)
        assert [each.status for each in lease.state().filesystems] == ["frozen", status]
        await lease.end("thawed")
        assert freezer.told()[-1] == "thaw a 0"  # and no other
        strict = freezer.lease("a", "b", strict=True)
        with pytest.raises(FailedPrecondition, match="/b: "):
            await strict.hold(20)
        alone = freezer.lease("b")
        with pytest.raises(FailedPrecondition, match="no filesystem"):
            await alone.hold(20)


async def test_an_agent_without_the_right_says_which(freezer: Freezer) -> None:
    lease = freezer.lease("a")
    (freezer.folder / "a" / "freeze-errno").write_text(str(errno.EPERM))
    async with asyncio.timeout(LIMIT):
        with pytest.raises(PermissionDenied, match="CAP_SYS_ADMIN"):
            await lease.hold(20)


async def test_a_freeze_that_blocks_does_not_keep_the_others_from_being_thawed_in_time(freezer: Freezer) -> None:
    lease = freezer.lease("a", "slow")
    block = freezer.folder / "slow" / "freeze-blocks"
    block.touch()
    async with asyncio.timeout(LIMIT):
        holding = asyncio.ensure_future(lease.hold(0.2))
        while "thaw a 0" not in freezer.told():
            await asyncio.sleep(0.01)
        block.unlink()
        with pytest.raises(Aborted, match="deadline passed before all was frozen"):
            await holding
    assert freezer.told() == ["freeze a 0", "thaw a 0", "freeze slow 0", "thaw slow 0"]


async def test_a_freeze_that_is_cancelled_half_way_leaves_nothing_frozen(freezer: Freezer) -> None:
    lease = freezer.lease("a", "slow")
    block = freezer.folder / "slow" / "freeze-blocks"
    block.touch()
    async with asyncio.timeout(LIMIT):
        holding = asyncio.ensure_future(lease.hold(500))
        while "freeze a 0" not in freezer.told():
            await asyncio.sleep(0.01)
        holding.cancel()
        while "thaw a 0" not in freezer.told():
            await asyncio.sleep(0.01)
        block.unlink()
        with pytest.raises(asyncio.CancelledError):
            await holding
    assert freezer.told()[-1] == "thaw slow 0"
    assert not freezer.frozen


async def test_what_somebody_else_thawed_is_told(freezer: Freezer) -> None:
    lease = freezer.lease("a")
    (freezer.folder / "a" / "thaw-errno").write_text(str(errno.EINVAL))
    async with asyncio.timeout(LIMIT):
        await lease.hold(20)
        await lease.end("thawed")
    assert "somebody else had thawed it before" in lease.state().error
    assert not freezer.frozen


async def test_a_watchdog_process_that_is_told_to_end_thaws_first(freezer: Freezer) -> None:
    lease = freezer.lease("a")
    async with asyncio.timeout(LIMIT):
        await lease.hold(500)
        os.kill(keeper_of(lease), signal.SIGTERM)
        while not lease.ended:
            lease.changed.clear()
            await lease.changed.wait()
    assert lease.ended == "keeper"
    assert freezer.told() == ["freeze a 0", "thaw a 0"]


async def test_the_hooks_of_the_thaw_run_though_the_watchdog_process_was_killed(
    freezer: Freezer, monkeypatch: pytest.MonkeyPatch
) -> None:
    thawed: list[str] = []
    monkeypatch.setattr(
        "virtagent.guest.freeze_keeper.thaw", lambda each: thawed.append(os.readlink(f"/proc/self/fd/{each}"))
    )
    lease = freezer.lease("a", "b", hooks=[freezer.hook("hook", f"echo hook $1 >>{freezer.log}")])
    async with asyncio.timeout(LIMIT):
        await lease.hold(500)
        os.kill(keeper_of(lease), signal.SIGKILL)
        while not lease.ended:
            lease.changed.clear()
            await lease.changed.wait()
    assert lease.ended == "keeper"
    assert thawed == [str(freezer.folder / "b"), str(freezer.folder / "a")]
    assert freezer.told()[-1] == "hook thaw"
    assert not freezer.frozen


async def test_the_end_of_the_agent_is_the_end_of_the_freeze(freezer: Freezer, tmp_path: Path) -> None:
    """The agent is a process of its own here, and is killed."""
    script = tmp_path / "agent.py"
    script.write_text(
        "import asyncio, sys, pytest\n"
        "from pathlib import Path\n"
        "from tests.guest.freeze_fakes import Freezer\n"
        "async def main():\n"
        f"    freezer = Freezer(Path({str(tmp_path)!r}), pytest.MonkeyPatch())\n"
        "    hook = freezer.hook('hook', f'echo hook $1 >>{freezer.log}')\n"
        "    lease = freezer.lease('a', hooks=[hook])\n"
        "    await lease.hold(500)\n"
        "    print(lease._process.pid, flush=True)\n"
        "    await asyncio.sleep(500)\n"
        "asyncio.run(main())\n"
    )
    agent = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert agent.stdout is not None
    async with asyncio.timeout(LIMIT):
        pid = int(await agent.stdout.readline())
        agent.kill()
        await agent.wait()
        while not (is_gone(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"):
            await asyncio.sleep(0.01)
    assert freezer.told() == ["hook freeze", "freeze a 0", "thaw a 0", "hook thaw"]


async def test_the_watchdog_process_opens_nothing_while_it_holds(freezer: Freezer) -> None:
    """What it has open is what it was given; nothing of a disk but the mountpoint, and its memory is locked."""
    lease = freezer.lease("a")
    async with asyncio.timeout(LIMIT):
        await lease.hold(500)
        pid = keeper_of(lease)
        opened = [os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")]
        on_disk = [each for each in opened if each.startswith("/") and each != "/dev/null"]
        status = Path(f"/proc/{pid}/status").read_text()
        await lease.end("thawed")
    assert on_disk == [str(freezer.folder / "a")]
    locked = {
        line.split()[0]: int(line.split()[1]) for line in status.splitlines() if line.startswith(("VmLck", "VmRSS"))
    }
    assert locked["VmLck:"] >= locked["VmRSS:"] > 0


# -- all leases of an agent ------------------------------------------------------------------------------------------


class Held:
    """Leases whose targets are directories."""

    def __init__(self, freezer: Freezer, monkeypatch: pytest.MonkeyPatch, hooks: tuple[str, ...] = ()) -> None:
        self.resources = Resources(Configuration(storage=StorageSection(hooks=hooks)))
        self.all = Freezes(self.resources)
        monkeypatch.setattr(
            freezes, "choose_targets", lambda wanted: [freezer.target(each) for each in wanted or ("a", "b")]
        )

    async def freeze(self, *names: str, deadline: float = 500.0) -> LeaseStream:
        return await self.all.freeze(names or None, deadline=deadline, hooks=True)


@pytest.fixture
def held(freezer: Freezer, monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(freezer, monkeypatch)


async def test_a_stream_tells_of_its_lease_at_once_and_ends_in_order_after_its_thaw(held: Held) -> None:
    async with asyncio.timeout(LIMIT):
        stream = await held.freeze("a")
        first = await anext(stream)
        assert [each.status for each in first.filesystems] == ["frozen"]
        assert [each.lease for each in held.all.states()] == [first.lease]
        done = await held.all.thaw(first.lease, None)
        assert [(each.error) for each in done.filesystems] == [""]
        rest = [each async for each in stream]
        assert rest[-1].ended == "thawed"
        assert held.all.states() == []
        with pytest.raises(NotFound, match="any more: it was thawed"):
            await held.all.thaw(first.lease, None)
        with pytest.raises(NotFound, match="no freeze 'nothing'$"):
            held.all.find("nothing")


async def test_a_stream_that_is_closed_thaws(held: Held, freezer: Freezer) -> None:
    async with asyncio.timeout(LIMIT):
        stream = await held.freeze("a")
        await stream.aclose()
        await stream.aclose()
    assert freezer.told() == ["freeze a 0", "thaw a 0"]
    assert held.all.states() == []


async def test_a_stream_goes_on_telling_how_much_time_is_left_and_fails_at_the_deadline(held: Held) -> None:
    async with asyncio.timeout(LIMIT):
        stream = await held.freeze("a", deadline=0.5)
        states = []
        with pytest.raises(DeadlineExceeded, match="deadline passed"):  # noqa: PT012 - the end of the loop raises
            async for state in stream:
                states.append(state)  # noqa: PERF401 - those before the error are wanted
    assert states[0].remaining > states[1].remaining
    assert states[-1].ended == "deadline"


async def test_who_froze_is_told_that_somebody_else_thawed(held: Held) -> None:
    async with asyncio.timeout(LIMIT):
        stream = await held.freeze("a")
        await held.all.thaw(None, None)
        with pytest.raises(Aborted, match="somebody else thawed it"):
            _ = [each async for each in stream]


async def test_only_leases_of_the_named_mountpoints_are_thawed(
    held: Held, freezer: Freezer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # directories of one disk stand for filesystems of their own here
    monkeypatch.setattr("virtagent.guest.freeze_lease.FreezeLease.is_of", lambda self, device: False)
    async with asyncio.timeout(LIMIT):
        one, two = await held.freeze("a"), await held.freeze("b")
        await held.all.thaw(None, [str(freezer.folder / "a")])
        assert [[each.mountpoint for each in state.filesystems] for state in held.all.states()] == [
            [str(freezer.folder / "b")]
        ]
        await one.aclose()
        await two.aclose()


async def test_a_filesystem_is_frozen_once_at_a_time(held: Held) -> None:
    async with asyncio.timeout(LIMIT):
        stream = await held.freeze("a")
        with pytest.raises(AlreadyExists, match="frozen by the lease"):
            await held.freeze("a")
        await stream.aclose()
        again = await held.freeze("a")
        await again.aclose()


async def test_an_agent_that_goes_thaws_and_says_so(held: Held, freezer: Freezer) -> None:
    async with asyncio.timeout(LIMIT):
        stream = await held.freeze("a")
        await held.resources.stop("stop", "")
        assert freezer.told()[-1] == "thaw a 0"
        with pytest.raises(Unavailable, match="the agent went"):
            _ = [each async for each in stream]


async def test_what_an_agent_and_its_watchdog_process_left_is_thawed_by_the_next_agent(
    freezer: Freezer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIRTAGENT_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    hook = freezer.hook("hook", f"echo hook $1 >>{freezer.log}")
    lease = freezer.lease("a", hooks=[hook])
    async with asyncio.timeout(LIMIT):
        await lease.hold(500)
        assert os.listdir(tmp_path / "run" / "freezes") == [lease.name]
        assert thaw_what_is_left() == []  # its watchdog process is there, and does it
        await lease.end("thawed")
    assert os.listdir(tmp_path / "run" / "freezes") == []
    FreezeRecord("left").write([str(freezer.folder / "a"), "/no/more"], [hook], keeper=2**22 + 1)
    (tmp_path / "run" / "freezes" / "broken").write_text("{")
    thawed: list[str] = []
    monkeypatch.setattr(
        "virtagent.guest.freeze_keeper.thaw", lambda each: thawed.append(os.readlink(f"/proc/self/fd/{each}"))
    )
    assert await asyncio.to_thread(thaw_what_is_left) == thawed == [str(freezer.folder / "a")]
    assert freezer.told()[-2:] == ["hook thaw", "hook thaw"]
    assert os.listdir(tmp_path / "run" / "freezes") == []


# -- hooks -----------------------------------------------------------------------------------------------------------


def test_hooks_are_the_programs_of_the_folders_in_order_but_what_others_may_change_is_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ("20-b", "10-a", "c.bak", "d~", ".e", "f.sample")), (two, ("01-z", "evil"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    (one / "plain").write_text("")
    (one / "folder").mkdir()
    (two / "evil").chmod(0o777)
    found = find_hooks([str(one), str(tmp_path / "none"), str(two)])
    assert found == [str(one / "10-a"), str(one / "20-b"), str(two / "01-z")]
    assert "evil is not run" in caplog.text
    two.chmod(0o777)
    assert find_hooks([str(two)]) == []


def test_a_hook_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nsleep 1000 & echo $! >{pid}; wait\n")
    hook.chmod(0o755)
    assert run_hook(str(hook), "freeze", 0.5) == (None, "took longer than 0.5 s")
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(int(pid.read_text()))
        try:
            assert select.select([descriptor], [], [], 20)[0], "what the hook started goes on"
        finally:
            os.close(descriptor)


def test_what_a_hook_leaves_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nsleep 1000 & echo $! >{pid}\n")
    hook.chmod(0o755)
    try:
        assert run_hook(str(hook), "freeze", 300) == (0, "")
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [
        ("#!/bin/sh\nexit 0", 0, ""),
        ("#!/bin/sh\nexit 7", 7, "exit status 7"),
        ("#!/bin/sh\nkill -9 $$", -9, "ended by signal 9"),
        (
            "#!/bin/sh\nhead -c 1000000 /dev/zero >&2; echo >&2; echo last words >&2; exit 1",
            1,
            "exit status 1: last words",
        ),
        ("#!/no/such/program", None, "No such file or directory"),
    ],
)
def test_how_a_hook_ended_is_told(script: str, status: int | None, told: str, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(script + "\n")
    hook.chmod(0o755)
    assert run_hook(str(hook), "freeze", 30) == (status, told)


# -- quiet -----------------------------------------------------------------------------------------------------------


def compiles() -> bool:
    return not sys.dont_write_bytecode


@contextmanager
def restored() -> Iterator[None]:
    before = logging.root.manager.disable, sys.dont_write_bytecode
    try:
        yield
    finally:
        logging.disable(before[0])
        sys.dont_write_bytecode = before[1]


def test_the_agent_neither_logs_nor_compiles_modules_while_its_own_disk_is_frozen() -> None:
    with restored():
        sys.dont_write_bytecode = False
        quiet = Quiet()
        own = own_devices()
        assert os.stat("/").st_dev in own
        quiet.enter("one", own)
        quiet.enter("two", own)
        quiet.leave("one")
        quiet.leave("one")
        assert not compiles()
        assert not logging.getLogger("virtagent").isEnabledFor(logging.CRITICAL)
        quiet.leave("two")
        assert compiles()
        assert logging.getLogger("virtagent").isEnabledFor(logging.CRITICAL)


def test_the_agent_goes_on_logging_while_another_disk_is_frozen() -> None:
    with restored():
        quiet = Quiet()
        quiet.enter("one", [os.makedev(250, 250)])
        assert logging.getLogger("virtagent").isEnabledFor(logging.CRITICAL)
        quiet.leave("one")
