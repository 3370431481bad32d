from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from virtagent.errors import Unavailable
from virtagent.guest import system_bus
from virtagent.guest.login_bus import LoginBus
from virtagent.guest.units_manager import Manager


@pytest.mark.parametrize(
    ("connected", "trouble"),
    [(LoginBus.connected, "there is no D-Bus here"), (Manager.connected, "systemd cannot be reached over D-Bus")],
)
async def test_a_bus_that_says_nothing_is_told_in_words(
    connected: object, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_bus, "PATIENCE", 0.05)
    silent: list[asyncio.StreamWriter] = []
    async with await asyncio.start_unix_server(lambda _, writer: silent.append(writer), tmp_path / "bus"):
        with pytest.raises(Unavailable, match=f"^{trouble}: no answer in time$"):
            async with connected(f"unix:path={tmp_path}/bus"):  # type: ignore[operator]
                raise AssertionError("nobody let us in")
        for writer in silent:
            writer.close()
