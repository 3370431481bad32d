"""The pytest plugin: a ``guest`` fixture for tests of what runs in a virtual machine.

::

    def test_the_web_server_answers(guest):
        guest.wait_for_unit("nginx.service")
        assert "Welcome" in guest.succeed("curl -sf http://localhost/")

Which guest: ``--virtagent-to URL|NAME``, ``VIRTAGENT_TO``, ``virtagent_to`` in pytest's configuration, or the fixture
``guest_address``, which a suite that boots its own machine overrides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from virtagent.pytest_plugin.guest import GuestUnderTest

__all__ = ["guest", "guest_address", "pytest_addoption", "pytest_runtest_makereport"]

_held = pytest.StashKey["GuestUnderTest"]()

BOOT_TIMEOUT = 300.0
"""Seconds that a guest may take to answer: it may have to boot."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    parser.getgroup("virtagent").addoption(
        "--virtagent-to", metavar="URL|NAME", help="the guest that the fixture `guest` is [$VIRTAGENT_TO]"
    )
    parser.addini("virtagent_to", "the guest that the fixture `guest` is: a channel URL, or a name", default="")
    parser.addini("virtagent_timeout", "seconds that it may take until the guest answers", default=str(BOOT_TIMEOUT))


@pytest.fixture(scope="session")
def guest_address(pytestconfig: pytest.Config) -> str:
    """The guest's channel URL or name; override it where the tests boot a machine of their own."""
    said = pytestconfig.getoption("--virtagent-to") or os.environ.get("VIRTAGENT_TO")
    said = said or str(pytestconfig.getini("virtagent_to"))
    if not said:
        pytest.fail(
            "which guest? give --virtagent-to URL|NAME, set VIRTAGENT_TO, or override the fixture guest_address",
            pytrace=False,
        )
    return str(said)


@pytest.fixture
def guest(request: pytest.FixtureRequest, guest_address: str) -> Iterator[GuestUnderTest]:
    """The guest, connected for one test; it is waited for until it answers."""
    from virtagent.pytest_plugin.guest import GuestUnderTest  # noqa: PLC0415 - only where a test wants a guest

    with GuestUnderTest(guest_address, timeout=float(request.config.getini("virtagent_timeout"))) as held:
        request.node.stash[_held] = held
        yield held
        del request.node.stash[_held]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the guest logged meanwhile below a test that failed."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    held = item.stash.get(_held, None)
    if held is not None and report.failed and call.when == "call":
        told = held.log_of_test()
        if told:
            report.sections.append(("log of the guest", told))
    return report  # type: ignore[return-value]
