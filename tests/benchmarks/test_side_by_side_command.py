"""The command, and the environment that it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers.roster import PEERS
from benchmarks.side_by_side import peers_environment
from benchmarks.side_by_side.__main__ import main
from benchmarks.side_by_side.programs import program_versions


def test_an_unknown_peer_is_one_line_and_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "corba"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("no such peer: corba; there are ")
    assert said.err.count("\n") == 1


def test_a_result_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--report", str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/none.json: No such file or directory\n"


@pytest.mark.parametrize("rounds", ["0", "-1", "many"])
def test_a_number_of_rounds_is_positive(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", rounds])
    assert f"{rounds!r} is no number of rounds; give 1 or more" in capsys.readouterr().err


def test_one_library_that_cannot_be_installed_does_not_keep_the_others_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(
        "grpcio==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\nrpyc==6.0 \\\n    --hash=sha256:02\n"
    )
    asked: list[str] = []

    def pip(python: str, *arguments: str) -> str | None:
        asked.append(Path(arguments[-1]).read_text())
        return "no wheel of it" if "grpcio" in asked[-1] else None

    monkeypatch.setattr(peers_environment, "pip", pip)
    failures = peers_environment.install("python", lock, PEERS)
    assert failures == {"grpc.aio": "grpcio cannot be installed: no wheel of it"}
    assert asked == [
        lock.read_text(),
        "grpcio==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n",
        "rpyc==6.0 \\\n    --hash=sha256:02\n",
    ]


def test_all_that_is_locked_is_installed_in_one_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(peers_environment, "pip", lambda python, *arguments: asked.append(arguments))
    assert peers_environment.install("python", tmp_path / "lock", PEERS) == {}
    assert asked == [("--require-hashes", "-r", str(tmp_path / "lock"))]


def test_a_program_that_is_missing_has_no_version() -> None:
    assert program_versions(("no-such-program",)) == {"no-such-program": "not installed"}
