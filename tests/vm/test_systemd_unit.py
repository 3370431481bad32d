"""The agent as the unit that its package installs, on a whole Debian."""

from __future__ import annotations

from tests.vm.harness import Machine
from tests.vm.talk import PORT, connected, url_of


async def test_the_unit_is_up_and_serves_its_port(systemd_guest: Machine) -> None:
    async with connected(url_of(systemd_guest, PORT)) as line:
        info = await line.guest.system.info()
    assert info.os.pretty_name == "Debian GNU/Linux 12 (bookworm)"
    shown = await systemd_guest.shell("systemctl show -P ActiveState,Type -p WatchdogUSec virtagentd.service")
    assert shown.split() == ["active", "notify"] or "active" in shown
