from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("virtagent")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environment},
        check=False,
    )


def complete(line: str, home: Path) -> list[str]:
    """What bash is told for the last word of a line."""
    words = line.split(" ")
    done = run(
        _VIRTAGENT_COMPLETE="bash_complete",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        XDG_CONFIG_HOME=str(home),
        VIRTAGENT_LIBVIRT_CHANNELS="",
    )
    return [each.partition(",")[2] for each in done.stdout.split()]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "virtagent").mkdir()
    (tmp_path / "virtagent/guests.toml").write_text(
        "".join(f'[guests.{name}]\nurl = "unix:/run/{name}"\n' for name in ("web1", "web2", "db"))
    )
    return tmp_path


def test_commands_and_options_are_completed(home: Path) -> None:
    assert "wait-ready" in complete("virtagent wai", home)
    assert complete("virtagent ping --cou", home) == ["--count"]


def test_the_names_of_guests_are_completed(home: Path) -> None:
    assert complete("virtagent --to we", home) == ["web1", "web2"]
    assert complete("virtagent ping --to d", home) == ["db"]


def test_a_broken_configuration_completes_to_nothing(home: Path) -> None:
    (home / "virtagent/guests.toml").write_text("[")
    assert complete("virtagent --to we", home) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed_and_its_shell_can_read_it(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_VIRTAGENT_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=30)


def test_the_shell_is_taken_from_the_environment(home: Path) -> None:
    assert run("completion", SHELL="/usr/bin/zsh").stdout.startswith("#compdef virtagent")


def test_a_shell_that_is_not_known_is_told_with_those_that_are() -> None:
    done = run("completion", SHELL="/bin/sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "write virtagent completion bash|fish|zsh" in done.stderr
