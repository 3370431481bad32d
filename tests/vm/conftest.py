"""Fixtures for tests in real guests. They run with --run-vm or VIRTAGENT_VM=1 and are skipped otherwise.

REQUIRE_VM=1 makes a missing tool a failure; without it what is missing skips.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytest

from tests.vm.harness import (
    HarnessError,
    Image,
    Machine,
    Snapshots,
    build_bundle,
    build_debian,
    build_image,
    build_wheel,
)
from tests.vm.talk import AGENT, AGENT_FILES, IMPATIENT_AGENT, PORT

GUEST_EXTRAS = ("cli", "guest")
MachineFactory = Callable[..., Awaitable[Machine]]
Stopwatch = Callable[[str], Any]
TEST_TIMEOUT = 300
"""Seconds: the machine's own waits end sooner and say more; the first test also builds the image."""
_timings = pytest.StashKey[list[tuple[str, float]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-vm", action="store_true", help="run the tests that boot real guests under QEMU")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_timings] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--run-vm", False) or os.environ.get("VIRTAGENT_VM") == "1"
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))
            if not wanted:
                item.add_marker(pytest.mark.skip(reason="boots real guests: make test-vm, or pytest --run-vm"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if timings := config.stash[_timings]:
        terminalreporter.section("guest timings (seconds, not asserted)")
        for what, seconds in timings:
            terminalreporter.write_line(f"{seconds:8.2f}  {what}")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package under test, built."""
    with _missing_skips():
        return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def image(wheel: Path) -> Image:
    """The guest image with the wheel installed."""
    with _missing_skips():
        return build_image(wheel, extras=GUEST_EXTRAS)


@pytest.fixture(scope="session")
def snapshots() -> Iterator[Snapshots]:
    """Booted guests of this run, shared by all its tests; not in tmp_path, which pytest keeps for three runs."""
    with TemporaryDirectory(prefix="vm-snapshots-") as directory:
        yield Snapshots(Path(directory))


@pytest.fixture
async def machine_factory(image: Image, snapshots: Snapshots) -> AsyncIterator[MachineFactory]:
    """`await machine_factory(ports=..., agent=...)`: a machine that is up, stopped when the test ends.

    It is restored from a snapshot of an equal machine; with `cold=True` it is booted. Other arguments are those of
    `Machine`; `image=` takes the place of the session's image.
    """
    started: list[Machine] = []
    async with AsyncExitStack() as stack:

        async def make(*, cold: bool = False, image: Image = image, **arguments: Any) -> Machine:
            machine = Machine(image, **arguments)
            if not cold:
                machine = await snapshots.restored(machine)
            started.append(await stack.enter_async_context(machine))
            await machine.booted()
            return machine

        yield make
    for machine in started:  # shown by pytest only when the test failed
        print(f"--- console of the guest\n{machine.console()[-3000:]}")


@pytest.fixture
async def machine(machine_factory: MachineFactory) -> Machine:
    """A restored guest with the virtio port org.virtagent.0, /dev/ttyS1 and no agent."""
    return await machine_factory(ports=("org.virtagent.0",))


@pytest.fixture(scope="session")
def agent_image(image: Image) -> Image:
    """The guest image with the agent's drop-in service for tests."""
    return image.plus(AGENT_FILES)


@pytest.fixture
async def guest(machine_factory: MachineFactory, agent_image: Image) -> Machine:
    """A restored guest whose agent waits for its first host on both channels."""
    return await machine_factory(image=agent_image, ports=(PORT,), agent=AGENT)


@pytest.fixture
async def impatient_guest(machine_factory: MachineFactory, agent_image: Image) -> Machine:
    """The same; its agent promises a sign of life every half second, so that its silence is noticed soon."""
    return await machine_factory(image=agent_image, ports=(PORT,), agent=IMPATIENT_AGENT)


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of the agent, built."""
    with _missing_skips():
        return build_bundle("deb", tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent in a single file, built."""
    with _missing_skips():
        return build_bundle("pyz", tmp_path_factory.mktemp("pyz"))


@pytest.fixture(scope="session")
def systemd_image(deb: Path) -> Image:
    """A whole Debian 12 with systemd, udev, dbus and logind, and the agent's package installed by dpkg."""
    with _missing_skips():
        return build_debian(deb)


@pytest.fixture
async def systemd_guest(machine_factory: MachineFactory, systemd_image: Image) -> Machine:
    """A restored Debian whose agent, as the unit that users get, waits for its first host on the virtio port.

    `await systemd_guest.shell("systemctl ...")` runs there as root, without the agent; there is a user, alice.
    """
    return await machine_factory(image=systemd_image, ports=(PORT,), memory=512, smp=2)


@pytest.fixture
def stopwatch(request: pytest.FixtureRequest) -> Stopwatch:
    """`with stopwatch("what"):` puts a time into the run's summary."""

    @contextmanager
    def measure(what: str) -> Iterator[None]:
        begun = perf_counter()
        yield
        request.config.stash[_timings].append((what, perf_counter() - begun))

    return measure


@contextmanager
def _missing_skips() -> Iterator[None]:
    try:
        yield
    except HarnessError as error:
        if os.environ.get("REQUIRE_VM") == "1":
            raise
        pytest.skip(str(error))
