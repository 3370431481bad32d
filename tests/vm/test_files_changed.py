"""What a host does to files of a real guest is what the guest's own tools then see."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.vm.conftest import Stopwatch
from tests.vm.harness import Machine
from tests.vm.talk import PATIENCE, PORT, UART, connected, connected_to_both, url_of
from virtagent import ResourceExhausted

SIZE = 8 << 20


async def test_a_copy_there_and_back_is_unharmed(guest: Machine, tmp_path: Path, stopwatch: Stopwatch) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    async with connected_to_both(guest) as lines:
        for line, name, size in zip(lines, (PORT, UART), (SIZE, SIZE // 16), strict=True):
            source.write_bytes(os.urandom(size))
            source.chmod(0o751)
            with stopwatch(f"{size >> 10} KiB there and back over {name}"):
                await line.guest.files.put(source, "/root/copy")
                await line.guest.files.get("/root/copy", back)
            assert back.read_bytes() == source.read_bytes()
            digest = (await line.guest.files.checksum("/root/copy")).digest
            assert (await guest.shell("sha256sum /root/copy")).split()[0] == digest
            assert (await guest.shell("stat -c '%a %s' /root/copy")).split() == ["751", str(size)]
            assert (await guest.shell("ls -A /root | grep -c partial || true")).strip() == "0"


async def test_a_tree_there_and_back_is_unharmed(guest: Machine, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for number in range(200):
        (tree / "a" / f"file{number}").write_bytes(b"%d\n" % number * number)
    (tree / "a" / "b" / "script").write_bytes(b"#!/bin/sh\necho it runs\n")
    (tree / "a" / "b" / "script").chmod(0o755)
    (tree / "link").symlink_to("a/b")
    with (tree / "sparse").open("wb") as file:
        file.seek(4 << 20)
        file.write(b"end")
    async with connected(url_of(guest, PORT)) as line:
        done = await line.guest.files.put_tree(tree, "/root/tree")
        assert done.notes == []
        assert (await guest.shell("/root/tree/link/script")).strip() == "it runs"
        assert (await guest.shell("find /root/tree -type f | wc -l")).strip() == "202"
        assert int((await guest.shell("du -k /root/tree/sparse")).split()[0]) < 1024
        await line.guest.files.get_tree("/root/tree", tmp_path / "back")
        for each in tree.rglob("*"):
            twin = tmp_path / "back" / each.relative_to(tree)
            assert each.lstat().st_mode == twin.lstat().st_mode
            if each.is_file():
                assert twin.read_bytes() == each.read_bytes()
        removed = await line.guest.files.remove("/root/tree", recursive=True)
        assert removed.files == done.files


async def test_a_full_disk_of_the_guest_is_told_and_nothing_is_left(guest: Machine) -> None:
    await guest.shell("mkdir -p /mnt && mount -t tmpfs -o size=2m tmpfs /mnt")
    async with connected(url_of(guest, PORT)) as line:
        with pytest.raises(ResourceExhausted, match="No space left on device"):
            await line.guest.files.put(bytes(SIZE), "/mnt/file")
    assert (await guest.shell("ls -A /mnt")).strip() == ""


async def test_what_the_guest_does_is_seen_by_watch_and_follow(guest: Machine, stopwatch: Stopwatch) -> None:
    await guest.shell("mkdir -p /root/seen && echo before >/root/seen/log")
    async with connected(url_of(guest, PORT)) as line, asyncio.timeout(PATIENCE):
        async with line.guest.files.watch("/root/seen", recursive=True, kinds=["created"]) as changes:  # type: ignore[attr-defined]
            with stopwatch("a file made in the guest to its watch on the host"):
                await guest.shell("mkdir /root/seen/new && touch /root/seen/new/file")
                found = [(await anext(changes)).path for _ in range(2)]
            assert found == ["new", "new/file"]
        async with line.guest.files.follow("/root/seen/log") as pieces:  # type: ignore[attr-defined]
            assert (await anext(pieces)).data == b"before\n"
            await guest.shell("mv /root/seen/log /root/seen/log.1; echo after >/root/seen/log")
            told = [await anext(pieces)]
            while told[-1].data != b"after\n":
                told.append(await anext(pieces))
            assert "rotated" in [each.kind for each in told]
