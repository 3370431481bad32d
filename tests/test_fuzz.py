"""A bounded run of each fuzz target, the same every time (docs/protocol.md, rules F8, L1, X4)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from fuzz import driver, fuzz_frames, fuzz_plain, fuzz_session  # noqa: E402


@pytest.mark.parametrize("seed", [1, 2])
def test_the_frame_parser_survives(seed: int) -> None:
    """Rules F3, F6, F8."""
    corpus = [bytes([step]) + data for data in fuzz_frames.corpus() for step in (0, 7, 255)]
    assert driver.run(fuzz_frames.target, corpus, seed=seed, iterations=2000) == 2000


@pytest.mark.parametrize("seed", [1, 2])
def test_a_session_survives_valid_frames_with_hostile_content(seed: int) -> None:
    """Rules C5, C6, P6, T6, T9, V8, L1."""
    assert driver.run(fuzz_session.target, fuzz_session.corpus(), seed=seed, iterations=1500) == 1500


def test_a_plain_channel_survives() -> None:
    """Rules X4, L1."""
    corpus = [bytes([step]) + data for data in fuzz_plain.corpus() for step in (0, 7, 255)]
    assert driver.run(fuzz_plain.target, corpus, seed=1, iterations=3000) == 3000


def test_a_finding_gives_the_input_that_shows_it() -> None:
    def target(data: bytes) -> None:
        raise ValueError("found")

    with pytest.raises(ValueError, match="found") as found:
        driver.run(target, [b"abc"], seed=7, iterations=5)
    assert "bytes.fromhex" in found.value.__notes__[0]


@pytest.mark.parametrize("name", ["fuzz_frames", "fuzz_session", "fuzz_plain"])
def test_a_target_runs_from_the_command_line(name: str) -> None:
    command = [sys.executable, str(ROOT / "fuzz" / f"{name}.py"), "--seconds", "0.2", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
