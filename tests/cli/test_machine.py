"""What the guest is: info, time, net and hardware."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.programs import Daemon, virtagent
from virtagent.cli.hardware import parse_numbers
from virtagent.cli.time import drift_text, span
from virtagent.errors import UsageError
from virtagent.host.drift import Drift


def ok(running: Daemon, *arguments: str) -> str:
    done = virtagent(running.directory, running.url, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(running: Daemon, *arguments: str) -> tuple[int, str]:
    done = virtagent(running.directory, running.url, *arguments)
    assert len(done.stderr.splitlines()) == 1
    return done.returncode, done.stderr


def test_info_tells_load_time_zone_and_features(running: Daemon) -> None:
    text = ok(running, "info")
    for wanted in ("load: ", "time zone: ", "features: "):
        assert wanted in text
    assert "pyroute2" in json.loads(ok(running, "info", "--json"))["features"]


# -- time --------------------------------------------------------------------------------------------------------------


def test_the_drift_of_a_guest_on_this_machine_is_none(running: Daemon) -> None:
    text = ok(running, "time", "--samples", "50")
    assert "guest: " in text
    assert "fastest of 50" in text
    told = json.loads(ok(running, "time", "--json"))
    assert told["drift"]["samples"] == 8
    assert abs(told["drift"]["offset"]) <= told["drift"]["uncertainty"] + 10**6


@pytest.mark.parametrize("arguments", [["--set", "--slew"], ["--no-rtc"], ["--samples", "0"]])
def test_clocks_are_not_set_by_mistake(running: Daemon, arguments: list[str]) -> None:
    assert refused(running, "time", *arguments)[0] == 2


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (2_500_000_000, "2.500 s ahead (± 1.000 ms, fastest of 8)"),
        (-3_600_000_000_000, "3,600.000 s behind (± 1.000 ms, fastest of 8)"),
        (1_000_000, "none that could be told (± 1.000 ms, fastest of 8)"),
    ],
)
def test_a_drift_is_told_with_how_exact_it_is(offset: int, text: str) -> None:
    assert drift_text(Drift(offset=offset, uncertainty=1_000_000, round_trip=2_000_000, samples=8)) == text
    assert span(999) == "999 ns"


# -- network -----------------------------------------------------------------------------------------------------------


def test_the_network_is_shown_whole_and_in_parts(running: Daemon) -> None:
    whole = ok(running, "net")
    for heading in ("INTERFACE", "DESTINATION", "PORT"):
        assert heading in whole
    assert "127.0.0.1/8" in whole
    assert "\x1b" not in whole
    data = json.loads(ok(running, "net", "--json"))
    assert "lo" in [each["name"] for each in data["interfaces"]]
    interfaces = [json.loads(line) for line in ok(running, "net", "interfaces", "--json").splitlines()]
    assert [each["name"] for each in interfaces] == [each["name"] for each in data["interfaces"]]
    routes = [json.loads(line) for line in ok(running, "net", "routes", "--all", "--json").splitlines()]
    assert {255} <= {each["table"] for each in routes}
    for part in ("routes", "neighbours", "ports", "dns"):
        ok(running, "net", part)


def test_changes_that_cannot_be_are_refused_in_one_line(running: Daemon) -> None:
    code, told = refused(running, "net", "up", "nope")
    assert code == 1
    assert "there is no interface 'nope'" in told
    code, told = refused(running, "net", "addr", "add", "lo", "nonsense")
    assert code == 1
    assert "no address with a prefix" in told
    code, told = refused(running, "net", "route", "add", "10.0.0.0/33", "--via", "192.0.2.1")
    assert code == 1
    assert "no network" in told
    assert refused(running, "net", "mtu", "lo", "10")[0] == 2


# -- hardware ----------------------------------------------------------------------------------------------------------


def test_hardware_is_shown(running: Daemon) -> None:
    assert f"{os.cpu_count()} of " in ok(running, "hardware")
    cpus = [json.loads(line) for line in ok(running, "hardware", "cpus", "--json").splitlines()]
    assert sum(each["online"] for each in cpus) == os.cpu_count()
    assert "CPU" in ok(running, "hardware", "cpus")
    data = json.loads(ok(running, "hardware", "--json"))
    assert data["vcpus"] == cpus
    ok(running, "hardware", "pci")


def test_a_processor_that_is_not_there_is_not_switched(running: Daemon) -> None:
    assert refused(running, "hardware", "cpus", "--offline", "4095") == (
        1,
        "virtagent: 4095: not-found: there is no processor 4095\n",
    )


def test_lists_of_numbers_are_read() -> None:
    assert parse_numbers("1,4-7,0") == [1, 4, 5, 6, 7, 0]
    for text in ("", "a", "1-", "1-b", "0-5000", "-3"):
        with pytest.raises(UsageError):
            parse_numbers(text)
