from __future__ import annotations

from pathlib import Path

import pytest

import virtagent
from virtagent import MethodNotFound, Service, method


class Backup(Service, name="backup"):
    @method(role="observe", since="0.1.0")
    async def snapshot(self) -> int:
        return 1


async def test_the_methods_are_asked_for_once(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    async with virtagent.listen(url, services=[Backup()]), virtagent.connect(url) as guest:
        first = await guest.capabilities.methods()
        assert {"backup.snapshot", "rpc.methods"} <= first
        assert await guest.capabilities.methods() is first


async def test_what_is_there_may_be_required(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    async with virtagent.listen(url, services=[Backup()]), virtagent.connect(url) as guest:
        await guest.capabilities.require("backup.snapshot", "rpc.describe")


async def test_who_lacks_what_is_said_for_all_at_once(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    async with virtagent.listen(url, services=[Backup()], name="web1"), virtagent.connect(url) as guest:
        with pytest.raises(MethodNotFound, match=r"web1 \(virtagent .*\) has no method a\.b, c\.d; update its agent"):
            await guest.capabilities.require("a.b", "backup.snapshot", "c.d")


async def test_an_agent_with_other_methods_is_asked_again(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    listening = virtagent.listen(url)
    await listening.start()
    async with virtagent.connect(url) as guest:
        assert "backup.snapshot" not in await guest.capabilities.methods()
        await listening.aclose()
        async with virtagent.listen(url, services=[Backup()]):
            await guest.wait_ready(10)
            assert "backup.snapshot" in await guest.capabilities.methods()


async def test_a_call_of_a_method_that_the_guest_lacks_fails_with_who_lacks_it(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    async with virtagent.listen(url, name="web1"), virtagent.connect(url) as guest:
        with pytest.raises(MethodNotFound, match=r"web1 \(virtagent .*\) has no method 'system\.info'"):
            await guest.system.info()
        with pytest.raises(MethodNotFound, match=r"has no method 'files\.read'"):
            async for _ in guest.files.read("/etc/passwd"):
                pass
