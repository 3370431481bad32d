"""The daemon as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import virtagent
from tests.cli.programs import LIMIT, daemon, environment
from virtagent.api.agent import AgentEvents, Down, Heartbeat, Up


class Events(AgentEvents):
    """Remembers what the guest tells."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Up | Down | Heartbeat] = asyncio.Queue()

    @virtagent.method(inline=True)
    def up(self, event: Up) -> None:
        self.queue.put_nowait(event)

    @virtagent.method(inline=True)
    def down(self, event: Down) -> None:
        self.queue.put_nowait(event)

    @virtagent.method(inline=True)
    def heartbeat(self, event: Heartbeat) -> None:
        self.queue.put_nowait(event)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("word", "reason"), [(None, "stop"), ("reboot", "reboot"), ("shutdown", "shutdown")])
async def test_hosts_are_told_that_the_agent_comes_works_and_goes(
    word: str | None, reason: str, loop: str, tmp_path: Path
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    events = Events()
    with daemon(tmp_path, "--heartbeat", "0.1", loop=loop) as guest:
        assert guest.notes == ["READY=1\nSTATUS=serving 1 channels"]
        async with asyncio.timeout(LIMIT), virtagent.connect(guest.url, services=[events]) as peer:
            up = await events.queue.get()
            assert isinstance(up, Up)
            assert (up.version, up.reason) == (virtagent.__version__, "boot")
            assert isinstance(await events.queue.get(), Heartbeat)
            never = time.monotonic() + 3600  # this machine's own records, whatever their level, are not waited for
            following = asyncio.ensure_future(anext(aiter(peer.log.kernel(follow=True, since=never))))
            await peer.agent.ping()
            if word is not None:
                (tmp_path / "runtime" / "down-reason").write_text(word)
            guest.process.terminate()
            with pytest.raises(virtagent.Unavailable):
                await following
            while not isinstance(event := await events.queue.get(), Down):
                pass
            assert event.reason == reason
            async for state in peer.states():
                if state is virtagent.PeerState.GONE:
                    break
        assert await asyncio.to_thread(guest.process.wait, LIMIT) == 0
    assert guest.notes[1] == "STOPPING=1"


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_each_of_the_signals_stops_it(which: signal.Signals, tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        assert f"{which.name}: going down" in guest.stop(which)
        assert guest.process.returncode == 0
    assert not (tmp_path / "guest.sock").exists()


async def test_it_stays_small_and_says_what_it_does_when_asked(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        async with virtagent.connect(guest.url) as peer:
            await peer.system.info()
            assert guest.status("VmRSS") < 28 * 1024
            guest.process.send_signal(signal.SIGUSR1)
            async with asyncio.timeout(LIMIT):
                log = await asyncio.to_thread(guest.log_until, "task heartbeat at")
    assert "1 peers" in log
    assert "state up" in log


async def test_drop_in_services_are_served_and_broken_ones_told(tmp_path: Path) -> None:
    folder = tmp_path / "services"
    folder.mkdir(mode=0o755)
    (folder / "backup.py").write_text((Path(__file__).parents[2] / "examples" / "guest_service.py").read_text())
    (folder / "broken.py").write_text("1/0\n")
    (folder / "clash.py").write_text(
        "import virtagent\nclass Mine(virtagent.Service, name='agent'):\n    async def ping(self) -> int: return 1\n"
    )
    for file in folder.iterdir():
        file.chmod(0o644)
    with daemon(tmp_path, "--services", str(folder)) as guest:
        async with virtagent.connect(guest.url, services=[Progress()]) as peer:
            assert await peer.call("backup.snapshot", path="/srv") == {"path": "/srv", "level": 3}
            assert (await peer.agent.ping()).version
        log = await asyncio.to_thread(guest.stop)
    assert "broken.py: ZeroDivisionError" in log
    assert "clash.py: the method 'agent.ping' exists already" in log


class Progress(virtagent.Service, name="progress"):
    async def report(self, percent: int) -> None:
        """Heard."""


async def test_a_handler_that_blocks_the_loop_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "services"
    folder.mkdir(mode=0o755)
    (folder / "slow.py").write_text("import time\nasync def sleep(seconds: float) -> None:\n    time.sleep(seconds)\n")
    (folder / "slow.py").chmod(0o644)
    with daemon(tmp_path, "--services", str(folder)) as guest:
        async with virtagent.connect(guest.url) as peer:
            await peer.call("slow.sleep", 2.6)
        log = await asyncio.to_thread(guest.stop)
    assert "the event loop has been blocked for more than 1.0 s by the task 'slow.sleep', in sleep" in log
    assert "slow.py:3)" in log


async def test_several_channels_are_served_and_a_missing_device_is_waited_for(tmp_path: Path) -> None:
    second = f"unix:{tmp_path}/second.sock"
    with daemon(tmp_path, "--channel", second, "--channel", f"serial:{tmp_path}/ttyS9") as guest:
        for url in (guest.url, second):
            async with virtagent.connect(url) as peer:
                assert (await peer.agent.ping()).version
        log = await asyncio.to_thread(guest.stop)
    assert guest.process.returncode == 0
    assert "Traceback" not in log


async def test_standard_input_and_output_are_a_channel(tmp_path: Path) -> None:
    command = f"env VIRTAGENT_RUNTIME_DIR={tmp_path} {sys.executable} -m virtagent.cli.daemon --stdio --loop asyncio"
    async with asyncio.timeout(LIMIT), virtagent.connect(f"exec:{command}") as peer:
        assert (await peer.agent.ping()).version == virtagent.__version__


def run(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "virtagent.cli.daemon", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=environment(directory),
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--channel", "nonsense"], 2, "is no channel URL"),
        (["--channel", "unix:/no/such/dir/x"], 3, "there is no directory /no/such/dir; create it first"),
        (["--bogus"], 2, "unrecognized arguments: --bogus; virtagentd --help"),
        (["--heartbeat", "soon"], 2, "'soon' is no interval"),
        (["--channel", "unix:/a", "--channel", "unix:/a"], 2, "given twice"),
    ],
)
def test_an_error_is_one_line_with_an_exit_code(arguments: list[str], code: int, told: str, tmp_path: Path) -> None:
    done = run(*arguments, directory=tmp_path)
    assert told in done.stderr
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (code, 1, "")


def test_a_channel_in_use_is_told(tmp_path: Path) -> None:
    with daemon(tmp_path) as guest:
        done = run("--channel", guest.url, directory=tmp_path)
    assert done.returncode == 3
    assert "a server already listens there" in done.stderr


def test_the_lean_start_leaves_complete_modules_for_later(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from virtagent.cli.lean import without_openssl\n"
        "with without_openssl():\n"
        "    import asyncio, hashlib\n"
        "print('_ssl' in sys.modules, '_hashlib' in sys.modules)\n"
        "import ssl, hashlib\n"
        "ssl.create_default_context(); hashlib.pbkdf2_hmac; hashlib.sha256(b'')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert done.stdout == "False False\n"


def test_the_start_leaves_typing_extensions_for_later() -> None:
    program = (
        "import sys\n"
        "from virtagent.cli.lean import without_typing_extensions\n"
        "with without_typing_extensions():\n"
        "    import msgspec\n"
        "print('typing_extensions' in sys.modules)\n"
        "import typing_extensions\n"
        "with without_typing_extensions():\n"
        "    import typing_extensions\n"
        "print(msgspec.convert({'x': 1}, typing_extensions.TypedDict('Point', {'x': int})))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "False\n{'x': 1}\n"


def test_the_daemon_loads_neither_click_nor_email(tmp_path: Path) -> None:
    unwanted = ("click", "rich", "email", "http", "tomllib", "ctypes", "importlib.metadata")
    program = (
        "import sys, virtagent.cli.daemon, virtagent.guest.daemon\n"
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "[]\n"


def test_the_daemon_adds_little_to_what_its_libraries_load(tmp_path: Path) -> None:
    """Each of these, and what it loads, is a percent or more of a start."""
    unwanted = ("pathlib", "urllib.parse", "ipaddress", "json", "random", "shutil", "dataclasses", "tempfile")
    program = (
        "import sys, argparse, asyncio, concurrent.futures.thread, logging, msgpack, msgspec\n"
        "loaded = set(sys.modules)\n"
        "import virtagent.cli.daemon as program, virtagent.guest.daemon, virtagent_transports.unix\n"
        "program.make_parser().parse_args([])\n"
        f"print([name for name in {unwanted!r} if name in sys.modules and name not in loaded])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "[]\n"


def test_the_help_is_as_wide_as_the_terminal(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "virtagent.cli.daemon", "--help"]
    widths = []
    for columns in ("60", "120"):
        told = subprocess.run(
            program,
            env=environment(tmp_path, COLUMNS=columns),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        ).stdout
        widths.append(max(map(len, told.splitlines())))
    assert widths[0] < 60 < widths[1] < 120


def test_what_the_start_loaded_is_not_searched_for_garbage_afterwards() -> None:
    program = (
        "import gc\n"
        "from virtagent.cli.lean import without_collections\n"
        "with without_collections():\n"
        "    import asyncio\n"
        "    print(gc.isenabled())\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 10_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def run_example(file: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(file), url], capture_output=True, text=True, timeout=LIMIT, check=True)


async def test_the_examples_run(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "examples"
    with daemon(tmp_path) as guest:
        done = await asyncio.to_thread(run_example, examples / "host.py", guest.url)
        assert f"kernel {os.uname().release}" in done.stdout
    url = f"unix:{tmp_path}/backup.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable, examples / "guest_service.py", url, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), LIMIT) == f"serving {url}\n".encode()
        async with virtagent.connect(url, services=[Progress()]) as guest_peer:
            assert await guest_peer.call("backup.snapshot", path="/x", level=1) == {"path": "/x", "level": 1}
    finally:
        process.terminate()
        await process.wait()
