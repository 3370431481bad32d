"""The plugin as test authors meet it: pytest run on their tests, against a real agent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import Daemon, daemon, environment

LIMIT = 50.0


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("agent")) as running:
        yield running


def run_pytest(folder: Path, test: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file with this text."""
    (folder / "test_it.py").write_text(test)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_commands_succeed_and_fail_as_the_test_demands(tmp_path: Path, agent: Daemon) -> None:
    done = run_pytest(
        tmp_path,
        """
import pytest

def test_commands(guest):
    assert guest.succeed("echo one", "echo two") == "one\\ntwo\\n"
    assert guest.succeed("cat", input=b"told") == "told"
    assert guest.fail("echo no; exit 3") == "no\\n"
    assert guest.execute("echo no >&2; exit 3") == (3, "", "no\\n")
    assert guest.execute("kill -9 $$").returncode == -9
    with pytest.raises(AssertionError, match="(?s)`false-one` ended with 127, not 0.*stderr.*false-one"):
        guest.succeed("false-one")
    with pytest.raises(AssertionError, match="(?s)`echo yes` ended with 0, but was to fail.*yes"):
        guest.fail("echo yes")

def test_anything_else(guest):
    assert guest.run(lambda guest: guest.system.info()).hostname
""",
        "--virtagent-to",
        agent.url,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_command_that_hangs_fails_the_test_with_what_it_wrote(tmp_path: Path, agent: Daemon) -> None:
    done = run_pytest(
        tmp_path,
        """
def test_hang(guest):
    guest.succeed("echo before; sleep 600", timeout=0.5)
""",
        VIRTAGENT_TO=agent.url,
    )
    assert done.returncode == 1
    assert "NotInTime: `echo before; sleep 600` has not ended after 0.5 s" in done.stdout
    assert "before" in done.stdout


def test_too_much_output_is_said_instead_of_being_cut(tmp_path: Path, agent: Daemon) -> None:
    done = run_pytest(
        tmp_path, "def test_much(guest):\n    guest.succeed('head -c 9000000 /dev/zero')\n", VIRTAGENT_TO=agent.url
    )
    assert done.returncode == 1
    assert "send it to a file, and copy that out" in done.stdout


def test_waiting_ends_when_the_condition_becomes_true(tmp_path: Path, agent: Daemon) -> None:
    done = run_pytest(
        tmp_path,
        f"""
import pytest

MARK = {str(tmp_path / "mark")!r}

def test_wait(guest):
    guest.succeed(f"( sleep 0.3; echo there > {{MARK}} ) >/dev/null 2>&1 &")
    assert guest.wait_until(f"cat {{MARK}}", timeout=20) == "there\\n"

def test_wait_for_a_function(guest):
    tries = []

    async def third(guest):
        tries.append(await guest.system.info())
        return len(tries) > 2

    assert guest.wait_until(third, on=("agent.*",)) is True
    assert len(tries) == 3

def test_wait_in_vain(guest):
    with pytest.raises(AssertionError, match="(?s)`echo no; false` is not true after 0.3 s; .*ended with 1.*no"):
        guest.wait_until("echo no; false", timeout=0.3)
""",
        VIRTAGENT_TO=agent.url,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_and_trees_go_in_and_come_out(tmp_path: Path, agent: Daemon) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/file").write_bytes(b"\0" * 100_000 + b"end")
    done = run_pytest(
        tmp_path,
        f"""
from pathlib import Path

HERE = Path({str(tmp_path)!r})

def test_copy(guest):
    guest.copy_in(HERE / "tree/below/file", HERE / "in")
    assert guest.succeed(f"tail -c 3 {{HERE}}/in") == "end"
    guest.copy_out(str(HERE / "in"), HERE / "out")
    assert (HERE / "out").read_bytes() == (HERE / "tree/below/file").read_bytes()
    guest.copy_in(HERE / "tree", HERE / "tree-in")
    guest.copy_out(HERE / "tree-in", HERE / "tree-out")
    assert (HERE / "tree-out/below/file").read_bytes() == (HERE / "tree/below/file").read_bytes()
""",
        VIRTAGENT_TO=agent.url,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_guest_it_is_said_how_to_name_one(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "def test_it(guest):\n    pass\n")
    assert done.returncode == 1
    assert "which guest? give --virtagent-to URL|NAME" in done.stdout


def test_a_guest_that_does_not_answer_is_said(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path, "def test_it(guest):\n    pass\n", "-o", "virtagent_timeout=0.2", VIRTAGENT_TO=f"unix:{tmp_path}/no"
    )
    assert done.returncode == 1
    assert f"{tmp_path}/no" in done.stdout


def test_a_suite_may_bring_its_own_machine(tmp_path: Path, agent: Daemon) -> None:
    (tmp_path / "conftest.py").write_text(
        f"import pytest\n\n@pytest.fixture(scope='session')\ndef guest_address():\n    return {agent.url!r}\n"
    )
    done = run_pytest(tmp_path, "def test_it(guest):\n    guest.succeed('true')\n")
    assert done.returncode == 0, done.stdout


def test_the_plugin_loads_nothing_until_a_guest_is_wanted(tmp_path: Path) -> None:
    done = run_pytest(
        tmp_path,
        "import sys\n\ndef test_it():\n    assert not {'asyncio', 'msgpack', 'virtagent.host'} & set(sys.modules)\n",
        "-p",
        "no:asyncio",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:anyio",
    )
    assert done.returncode == 0, done.stdout
