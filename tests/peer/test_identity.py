"""Who a side says it is, if nobody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtagent.peer import identity
from virtagent.peer.identity import local_identity


@pytest.fixture
def machine_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine id of this test's own."""
    file = tmp_path / "machine-id"
    file.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    monkeypatch.setattr(identity, "MACHINE_ID", str(file))
    return file


def test_the_machine_id_is_not_told_and_what_is_told_is_stable(machine_id: Path) -> None:
    told = local_identity().machine
    assert told
    assert told not in machine_id.read_text()
    assert local_identity(role="guest").machine == told


def test_files_are_read_once_in_a_process(machine_id: Path) -> None:
    told = local_identity()
    machine_id.unlink()
    assert local_identity() is told


def test_a_machine_id_that_does_not_exist_yet_is_looked_for_again(machine_id: Path) -> None:
    text = machine_id.read_text()
    machine_id.write_text("")
    assert local_identity().machine == ""
    machine_id.write_text(text)
    assert local_identity().machine


def test_a_name_and_features_are_those_that_were_given(machine_id: Path) -> None:
    who = local_identity(role="host", name="web1", digest="abc", features={"line": {"window": 4}})
    assert (who.role, who.name, who.digest, who.features) == ("host", "web1", "abc", {"line": {"window": 4}})
    assert not local_identity(role="host", name="web1", digest="abc").features
