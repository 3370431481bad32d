"""Real scripts in real processes, remembered in a temporary directory."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.api.config import LARGEST_OUTPUT, ConfigKey, ConfigOutput
from virtagent.errors import (
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.guest import config_store, config_tools
from virtagent.guest.config import ConfigService
from virtagent.guest.config_tools import command_line, digest_of, succeeded
from virtagent.guest.grants import Grant
from virtagent.guest.resources import Resources


@pytest.fixture
def service(tmp_path: Path) -> ConfigService:
    return ConfigService(Resources(), directory=str(tmp_path / "config"))


async def run(service: ConfigService, key: str, content: str, **more: Any) -> list[ConfigOutput]:
    async with asyncio.timeout(30):
        return [each async for each in await service.apply(key, content, **more)]


async def test_a_script_is_run_once(service: ConfigService, tmp_path: Path) -> None:
    content = f"echo done >> {tmp_path}/times; echo out; echo err >&2"
    assert not await service.is_configured("web/nginx")
    items = await run(service, "web/nginx", content)
    assert b"".join(each.stdout for each in items) == b"out\n"
    assert b"".join(each.stderr for each in items) == b"err\n"
    last = items[-1]
    assert last.piece is not None
    assert (last.changed, last.piece.outcome, last.piece.exit_code, last.piece.output) == (True, "applied", 0, 8)
    assert await service.is_configured("web/nginx")
    assert await service.is_configured("web/nginx", digest=last.piece.digest)
    assert not await service.is_configured("web/nginx", digest="0" * 64)
    assert await run(service, "web/nginx", content) == [ConfigOutput(piece=last.piece)]
    assert (tmp_path / "times").read_text() == "done\n"
    assert await service.piece("web/nginx") == last.piece
    assert await service.list() == [last.piece]


async def test_another_content_key_or_force_runs_it_again(service: ConfigService, tmp_path: Path) -> None:
    content = f"echo $1 $WHO >> {tmp_path}/times"
    for more in ({}, {"arguments": ["a"]}, {"env": {"WHO": "me"}}, {"interpreter": "/bin/bash"}, {"force": True}):
        assert (await run(service, "key", content, **more))[-1].changed, more
    assert (await run(service, "another", content))[-1].changed
    assert (tmp_path / "times").read_text() == "\na\nme\n\n\n\n"
    assert [each.key for each in await service.list()] == ["another", "key"]


async def test_it_is_remembered_over_a_restart_of_the_agent(service: ConfigService, tmp_path: Path) -> None:
    await run(service, "key", "echo hello")
    later = ConfigService(Resources(), directory=str(tmp_path / "config"))
    assert await later.is_configured("key")
    assert await later.output("key") == b"hello\n"
    assert not (await run(later, "key", "echo hello"))[-1].changed


async def test_a_run_that_fails_is_told_and_run_again(service: ConfigService, tmp_path: Path) -> None:
    content = f"echo once >> {tmp_path}/times; exit 3"
    for _ in range(2):
        last = (await run(service, "key", content))[-1]
        assert last.piece is not None
        assert (last.piece.outcome, last.piece.exit_code, last.changed) == ("failed", 3, True)
    assert not await service.is_configured("key")
    assert (tmp_path / "times").read_text() == "once\nonce\n"


async def test_a_run_that_a_signal_or_its_time_ends_has_failed(service: ConfigService) -> None:
    last = (await run(service, "key", "kill -9 $$"))[-1]
    assert last.piece is not None
    assert (last.piece.outcome, last.piece.exit_code) == ("failed", None)
    last = (await run(service, "key", "sleep 1000", timeout=0.05))[-1]
    assert last.piece is not None
    assert last.piece.outcome == "failed"


@pytest.mark.parametrize(
    ("content", "interpreter", "told"),
    [
        ("echo $0 | sed s,.*/,,", "", b".content\n"),
        ("#!/usr/bin/env python3\nprint('a snake')", "", b"a snake\n"),
        (f"#! {sys.executable} -O\nprint(__debug__)", "", b"False\n"),
        ("print('said')", sys.executable, b"said\n"),
        ("#!\necho shell", "", b"shell\n"),
    ],
)
async def test_a_script_is_run_by_its_interpreter(
    content: str, interpreter: str, told: bytes, service: ConfigService
) -> None:
    items = await run(service, "key", content, interpreter=interpreter)
    assert b"".join(each.stdout for each in items).endswith(told)


async def test_the_script_itself_does_not_stay_and_was_nobody_else_s_to_read(service: ConfigService) -> None:
    items = await run(service, "key", "stat -c %a $0; stat -c %a $(dirname $0); echo secret=17 >/dev/null")
    assert b"".join(each.stdout for each in items) == b"600\n700\n"
    folder = Path(service._store.directory)
    assert not [each for each in folder.iterdir() if b"secret=17" in each.read_bytes()]


async def test_only_the_end_of_much_output_is_kept(service: ConfigService) -> None:
    items = await run(service, "key", "head -c 3000000 /dev/zero; echo the end")
    assert sum(len(each.stdout) for each in items) == 3_000_008
    kept = await service.output("key")
    assert len(kept) == LARGEST_OUTPUT
    assert kept.endswith(b"\0the end\n")
    assert (await service.piece("key")).output == 3_000_008


async def test_whoever_stops_reading_ends_the_run_and_its_grandchildren(service: ConfigService, tmp_path: Path) -> None:
    """The fifo's other end is held by a grandchild: it reads an end of file when that is gone."""
    os.mkfifo(tmp_path / "held")
    content = f"(trap '' HUP; exec 3> {tmp_path}/held; echo up; exec sleep 1000) & wait"
    stream = await service.apply("key", content)
    async with asyncio.timeout(30):
        async with aclosing(stream) as items:  # type: ignore[type-var]
            opening = asyncio.to_thread((tmp_path / "held").open, "rb")
            first, held = await asyncio.gather(anext(items), opening)
            assert first.stdout == b"up\n"
            assert (await service.piece("key")).outcome == "running"
            with pytest.raises(FailedPrecondition, match="is being applied"):
                await service.forget("key")
        with held:
            assert await asyncio.to_thread(held.read) == b""
    piece = await service.piece("key")
    assert (piece.outcome, piece.exit_code) == ("interrupted", None)
    assert not await service.is_configured("key")
    assert (await run(service, "key", "true"))[-1].changed


async def test_a_second_run_waits_and_finds_what_the_first_did(service: ConfigService, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    content = f"echo once >> {tmp_path}/times; cat {tmp_path}/gate"
    first = asyncio.create_task(run(service, "key", content))
    gate = await asyncio.to_thread((tmp_path / "gate").open, "wb")  # opened by the first run's cat, too
    second = asyncio.create_task(run(service, "key", content))
    other = await run(service, "another", "echo meanwhile")
    assert other[-1].changed
    assert not second.done()
    gate.close()
    assert (await first)[-1].changed
    assert not (await second)[-1].changed
    assert (tmp_path / "times").read_text() == "once\n"


async def test_what_another_agent_runs_is_not_run_beside_it(service: ConfigService) -> None:
    await run(service, "key", "true")
    with open(service._store.path("key", ".lock"), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FailedPrecondition, match="by another agent"):
            await run(service, "key", "true", force=True)
        with pytest.raises(FailedPrecondition, match="by another agent"):
            await service.forget("key")
    assert await service.forget("key")


async def test_a_run_whose_agent_was_killed_was_interrupted(service: ConfigService) -> None:
    last = (await run(service, "key", "true"))[-1]
    assert last.piece is not None
    path = Path(service._store.path("key", ".json"))
    path.write_bytes(path.read_bytes().replace(b'"applied"', b'"running"'))
    assert (await service.piece("key")).outcome == "interrupted"
    assert not await service.is_configured("key")


async def test_the_agent_s_end_ends_runs(service: ConfigService) -> None:
    stream = await service.apply("key", "echo up; exec sleep 1000")
    async with asyncio.timeout(30):
        assert (await anext(stream)).stdout == b"up\n"
        await service.resources.stop("stop", "")
        items = [each async for each in stream]
    assert items[-1].piece is not None
    assert items[-1].piece.outcome == "failed"


async def test_pieces_are_forgotten(service: ConfigService) -> None:
    await run(service, "key", "echo x")
    assert await service.forget("key")
    assert not await service.forget("key")
    assert await service.list() == []
    for ask in (service.piece, service.output):
        with pytest.raises(NotFound):
            await ask("key")
    assert os.listdir(service._store.directory) == []
    assert (await run(service, "key", "echo x"))[-1].changed


async def test_rubbish_on_the_disk_is_nothing_remembered(service: ConfigService) -> None:
    await run(service, "key", "true")
    Path(service._store.path("key", ".json")).write_bytes(b'{"key": ')
    assert not await service.is_configured("key")
    assert await service.list() == []
    assert (await run(service, "key", "true"))[-1].changed


async def test_nothing_is_remembered_without_bound(service: ConfigService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_store, "MOST_PIECES", 1)
    await run(service, "a", "true")
    with pytest.raises(ResourceExhausted, match="forget some"):
        await run(service, "b", "true")
    assert (await run(service, "a", "false"))[-1].changed


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        ({"interpreter": "/no/such/interpreter"}, NotFound, "/no/such/interpreter"),
        ({"kind": "puppet", "interpreter": "/bin/sh"}, InvalidArgument, "only scripts have an interpreter"),
        ({"env": {"A": "x" * 300_000}}, InvalidArgument, "variables have more than"),
        ({"kind": "ansible"}, Unavailable, "no ansible-playbook: install ansible-core"),
    ],
)
async def test_what_cannot_be_run_is_told(
    more: dict[str, Any],
    error: type[CallError],
    told: str,
    service: ConfigService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(config_tools, "PATH", str(tmp_path))
    with pytest.raises(error, match=told):
        await run(service, "key", "x", **more)
    assert not await service.is_configured("key")


async def test_nothing_is_begun_on_a_frozen_filesystem(service: ConfigService, tmp_path: Path) -> None:
    service.resources.frozen.add(tmp_path.stat().st_dev, "/srv")
    with pytest.raises(FailedPrecondition, match="/srv is frozen"):
        await service.apply("key", "true")
    with pytest.raises(FailedPrecondition, match="/srv is frozen"):
        await service.forget("key")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`programs("puppet", "exit 2")` puts a tool where the agent looks; it tells its arguments and its input."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(config_tools, "PATH", str(folder))

    def make(name: str, script: str) -> None:
        (folder / name).write_text(
            f'#!/bin/sh\nfor last; do :; done\necho "$@" | sed "s,$last,FILE,"\ncat $last\n{script}\n'
        )
        (folder / name).chmod(0o755)

    return make


async def test_tools_get_their_arguments(service: ConfigService, programs: Callable[[str, str], None]) -> None:
    programs("ansible-playbook", "")
    programs("puppet", "exit 2")
    items = await run(service, "key", "- hosts: all\n", kind="ansible", arguments=["--diff"])
    assert b"".join(each.stdout for each in items) == b"-i localhost, -c local --diff FILE\n- hosts: all\n"
    items = await run(service, "key", "notify {'x':}\n", kind="puppet")
    assert b"".join(each.stdout for each in items) == b"apply --detailed-exitcodes FILE\nnotify {'x':}\n"
    assert items[-1].piece is not None
    assert (items[-1].piece.outcome, items[-1].piece.exit_code) == ("applied", 2), "2: there were changes"


@pytest.mark.skipif(shutil.which("ansible-playbook") is None, reason="needs ansible: apt-get install -y ansible-core")
async def test_a_real_playbook_is_applied(service: ConfigService, tmp_path: Path) -> None:
    tasks = f"[{{copy: {{content: \"{{{{ lookup('env', 'WHO') }}}}\", dest: {tmp_path}/made}}}}]"
    playbook = f"- {{hosts: all, gather_facts: false, tasks: {tasks}}}\n"
    items = await run(service, "key", playbook, kind="ansible", env={"WHO": "me"})
    assert items[-1].piece is not None
    assert (items[-1].piece.outcome, (tmp_path / "made").read_text()) == ("applied", "me")
    assert b"changed=1" in await service.output("key")
    assert not (await run(service, "key", playbook, kind="ansible", env={"WHO": "me"}))[-1].changed
    items = await run(service, "key", "- {hosts: all, tasks: [{fail: {}}]}\n", kind="ansible")
    assert items[-1].piece is not None
    assert (items[-1].piece.outcome, items[-1].piece.exit_code) == ("failed", 2)


async def test_tools_that_are_there_are_told_with_what_is_missing(
    service: ConfigService, programs: Callable[[str, str], None]
) -> None:
    programs("puppet", "")
    found = {each.kind: each for each in await service.tools()}
    assert found["puppet"].path.endswith("/bin/puppet")
    assert found["puppet"].remedy == ""
    assert (found["ansible"].path, found["ansible"].remedy) == ("", "install ansible-core in the guest")


@pytest.mark.parametrize(
    ("kind", "code", "good"),
    [("script", 0, True), ("script", 2, False), ("puppet", 0, True), ("puppet", 2, True), ("puppet", 4, False),
     ("puppet", 6, False), ("ansible", 2, False), ("script", None, False)],
)  # fmt: skip
def test_success_is_what_the_tool_takes_for_it(kind: Any, code: int | None, good: bool) -> None:
    assert succeeded(kind, code) is good


pieces = st.tuples(
    st.sampled_from(["script", "puppet"]),
    st.text(max_size=10),
    st.text(max_size=10),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


@given(pieces, pieces)
def test_a_digest_tells_pieces_apart(one: Any, other: Any) -> None:
    assert (digest_of(*one) == digest_of(*other)) == (one == other)


@given(st.text(max_size=300))
def test_whatever_a_first_line_says_there_is_a_program_to_run(text: str) -> None:
    command = command_line("script", "/file", f"#!{text}", "", ["a"])
    assert command[-2:] == ["/file", "a"]
    assert 1 <= len(command[:-2]) <= 2
    assert all(command[:-2])


@pytest.mark.parametrize("key", ["", "/x", "../x", "a b", "a\n", "-a", "ä", "x" * 201])
def test_what_cannot_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(key, ConfigKey)


async def test_whoever_may_run_certain_programs_only_gets_nothing_of_what_others_applied(
    service: ConfigService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(service, "key", "echo secret")
    limited = Grant(roles=frozenset({"exec"}), commands=("/usr/bin/id",))
    monkeypatch.setattr(service.resources.grants, "of", lambda context: limited)
    with pytest.raises(PermissionDenied, match="certain programs only"):
        await service.output("key")
    with pytest.raises(PermissionDenied, match="certain programs only"):
        await service.forget("key")
    monkeypatch.undo()
    assert await service.output("key") == b"secret\n"
