"""What the guest tells of itself as a system, and what can be changed of it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.wire import Wire
from virtagent.api.system import LARGEST_SEED, EntropyPool, UserSession
from virtagent.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from virtagent.guest import entropy, facts, hostname, kernel_time, rtc, timezone, utmp
from virtagent.guest.clock import clock_state, time_service
from virtagent.guest.features import OPTIONAL, features
from virtagent.guest.frozen import Frozen
from virtagent.guest.system import SystemService, logged_in, operating_system

LIMIT = 30.0


def alone(code: str, *namespaces: str) -> str:
    """Run Python in namespaces of its own; what it prints."""
    done = subprocess.run(
        ["unshare", *namespaces, sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


async def test_info_tells_time_zone_load_and_features() -> None:
    info = await SystemService().info()
    assert info.timezone is not None
    assert info.timezone.offset == time.localtime().tm_gmtoff
    assert info.load == os.getloadavg() or info.load is not None
    assert set(info.features) <= {"compiled", *OPTIONAL}
    assert "pyroute2" in info.features


def test_all_of_os_release_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "os-release"
    file.write_text(
        'ID=centos\nID_LIKE="rhel fedora"\nVARIANT="Server Edition"\nVARIANT_ID=server\n'
        "VERSION_CODENAME=blue\nBUILD_ID=7\n"
    )
    monkeypatch.setattr(facts, "OS_RELEASE", (str(file),))
    system = operating_system()
    assert (system.variant, system.variant_id, system.version_codename) == ("Server Edition", "server", "blue")
    assert system.id_like == ["rhel", "fedora"]
    assert system.fields["BUILD_ID"] == "7"
    assert system.pretty_name == "Linux"


def test_features_are_told_without_loading_them() -> None:
    code = "import sys; from virtagent.guest.features import features; features(); print('pyroute2' in sys.modules)"
    assert alone(code, "--uts") == "False" if os.geteuid() == 0 else features()


# -- time zone ---------------------------------------------------------------------------------------------------------


def test_the_zones_name_is_what_localtime_links_to(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert timezone.zone_name(str(link), "/nope") == "Europe/Berlin"


def test_the_zones_name_is_that_of_debians_file_where_there_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "localtime").write_bytes(b"TZif2")
    (tmp_path / "timezone").write_text("Asia/Tokyo\n")
    assert timezone.zone_name(str(tmp_path / "localtime"), str(tmp_path / "timezone")) == "Asia/Tokyo"
    assert timezone.zone_name("/nope", "/nope") == ""


def test_the_zone_at_the_moment_is_told_after_it_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "XYZ-05:30")
        told = timezone.local_timezone()
        assert (told.abbreviation, told.offset) == ("XYZ", 19800)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


# -- host name ---------------------------------------------------------------------------------------------------------


def test_the_host_name_now_and_at_the_next_boot(tmp_path: Path) -> None:
    file = tmp_path / "hostname"
    file.write_text("# ours\n\n  web1  \n")
    told = hostname.read_hostname(str(file))
    assert (told.name, told.static) == (socket.gethostname(), "web1")
    assert hostname.read_hostname("/nope").static == ""


@pytest.mark.root
def test_a_host_name_is_set_and_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "hostname"
    file.write_text("old\n")
    code = (
        "from virtagent.guest.hostname import set_hostname\n"
        "from virtagent.guest.frozen import Frozen\n"
        f"told = set_hostname('web-7.example', persist=True, frozen=Frozen(), static={str(file)!r})\n"
        "print(told.name, told.static)"
    )
    before = socket.gethostname()
    assert alone(code, "--uts") == "web-7.example web-7.example"
    assert file.read_text() == "web-7.example\n"
    assert list(tmp_path.iterdir()) == [file]
    assert socket.gethostname() == before


@pytest.mark.root
def test_a_host_name_file_that_is_a_bind_mount_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old\n")
    (tmp_path / "hostname").write_text("")
    code = (
        "import subprocess\n"
        f"subprocess.run(['mount', '--bind', {str(tmp_path / 'real')!r}, {str(tmp_path / 'hostname')!r}], check=True)\n"
        "from virtagent.guest.hostname import write_static\n"
        f"write_static('new', {str(tmp_path / 'hostname')!r})"
    )
    alone(code, "--mount")
    assert (tmp_path / "real").read_text() == "new\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hostname", "real"]


def test_a_frozen_etc_is_not_written_to(tmp_path: Path) -> None:
    frozen = Frozen()
    frozen.add(tmp_path.stat().st_dev, "/")
    with pytest.raises(FailedPrecondition, match="frozen"):
        hostname.set_hostname("x", persist=True, frozen=frozen, static=str(tmp_path / "hostname"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_without_the_capability_the_host_name_is_refused_in_words() -> None:
    code = (
        "import os\n"
        "from virtagent.guest.hostname import set_hostname\n"
        "from virtagent.guest.frozen import Frozen\n"
        "from virtagent.errors import PermissionDenied\n"
        "os.setuid(65534)\n"
        "try:\n    set_hostname('x', persist=False, frozen=Frozen())\n"
        "except PermissionDenied as error:\n    print(error)"
    )
    assert "CAP_SYS_ADMIN" in alone(code, "--uts")


# -- users -------------------------------------------------------------------------------------------------------------


def record(layout: struct.Struct, kind: int, pid: int, line: bytes, user: bytes, host: bytes, at: float) -> bytes:
    return layout.pack(kind, pid, line, b"", user, host, 0, 0, 0, int(at), int(at % 1 * 1e6), b"")


def test_the_layouts_have_the_sizes_that_glibc_gives_them() -> None:
    assert (utmp.NARROW.size, utmp.WIDE.size) == (384, 400)


@pytest.mark.parametrize("layout", [utmp.NARROW, utmp.WIDE])
def test_sessions_are_told_from_other_records(layout: struct.Struct) -> None:
    data = b"".join(
        [
            record(layout, 2, 0, b"~", b"reboot", b"6.1", 1_700_000_000),
            record(layout, 6, 300, b"tty1", b"LOGIN", b"", 1_700_000_001),
            record(layout, 7, 1234, b"pts/0", b"anna", b"192.0.2.7", 1_700_000_002.5),
            record(layout, 8, 1235, b"pts/1", b"", b"", 1_700_000_003),
        ]
    )
    (session,) = utmp.parse_utmp(data + data[:100], layout)
    assert (session.user, session.terminal, session.host, session.pid) == ("anna", "pts/0", "192.0.2.7", 1234)
    assert session.since is not None
    assert session.since.timestamp() == 1_700_000_002.5


@given(st.binary(max_size=2000), st.sampled_from([utmp.NARROW, utmp.WIDE]))
def test_any_bytes_are_some_sessions(data: bytes, layout: struct.Struct) -> None:
    for session in utmp.parse_utmp(data, layout):
        assert isinstance(session, UserSession)


def test_a_login_whose_process_is_gone_is_left_out(tmp_path: Path) -> None:
    layout = utmp.WIDE if os.uname().machine in utmp.WIDE_MACHINES else utmp.NARROW
    gone = subprocess.Popen(["true"])
    gone.wait(LIMIT)
    file = tmp_path / "utmp"
    file.write_bytes(
        record(layout, 7, os.getpid(), b"pts/0", b"here", b"", 1.0)
        + record(layout, 7, gone.pid, b"pts/1", b"gone", b"", 2.0)
    )
    assert [each.user for each in utmp.read_utmp(str(file))] == ["here"]


async def test_where_nobody_knows_who_is_logged_in_that_is_said() -> None:
    with pytest.raises(Unavailable, match="no systemd-logind"):
        await logged_in("/nope", "/nope")


async def test_a_logind_that_does_not_answer_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no D-Bus here"):
        await logged_in(str(tmp_path), "/nope", f"unix:path={tmp_path}/bus")


# -- clocks ------------------------------------------------------------------------------------------------------------


async def test_time_reads_the_three_clocks() -> None:
    before = time.monotonic_ns()
    told = await SystemService().time()
    assert before <= told.monotonic <= time.monotonic_ns()
    assert abs(told.realtime - time.time_ns()) < 10**9
    assert told.boottime >= told.monotonic - 10**9


def test_the_clocks_state_is_told() -> None:
    state = clock_state()
    assert abs(state.realtime - time.time_ns()) < 10**9
    assert state.timezone is not None
    assert state.synchronized == kernel_time.is_synchronized()


def test_a_time_service_is_known_by_its_process(tmp_path: Path) -> None:
    for pid, name in (("1", "init"), ("77", "systemd-timesyn"), ("self", "x")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{name}\n")
    assert time_service(str(tmp_path)) == "systemd-timesyncd"
    (tmp_path / "77" / "comm").write_text("bash\n")
    assert time_service(str(tmp_path)) == ""


@pytest.mark.root
def test_without_the_capability_the_clock_is_refused_in_words() -> None:
    code = (
        "import os\n"
        "from virtagent.guest.clock import step_clock, slew_clock\n"
        "from virtagent.errors import PermissionDenied\n"
        "os.setuid(65534)\n"
        "for change in (lambda: step_clock(by=10**9, rtc_too=True), lambda: slew_clock(10**9)):\n"
        "    try:\n        change()\n"
        "    except PermissionDenied as error:\n        print('CAP_SYS_TIME' in str(error))"
    )
    assert alone(code, "--uts").split() == ["True", "True"]


async def test_the_clock_is_not_set_before_1970() -> None:
    with pytest.raises(ValueError, match="1970"):
        await SystemService().adjust_clock(-(2**62))


def test_the_hardware_clock_may_keep_local_time(tmp_path: Path) -> None:
    file = tmp_path / "adjtime"
    assert not rtc.keeps_local_time(str(file))
    file.write_text("0.0 0 0.0\n0\nLOCAL\n")
    assert rtc.keeps_local_time(str(file))
    file.write_text("0.0 0 0.0\n0\nUTC\n")
    assert not rtc.keeps_local_time(str(file))


# -- entropy -----------------------------------------------------------------------------------------------------------


@pytest.mark.root
async def test_entropy_is_credited() -> None:
    told = await SystemService().add_entropy(os.urandom(64))
    assert told.credited == 512
    assert told.available


async def test_entropy_may_be_mixed_in_without_credit() -> None:
    assert (await SystemService().add_entropy(b"x" * LARGEST_SEED, credit=False)).credited == 0


@pytest.mark.root
def test_without_the_capability_entropy_is_not_credited() -> None:
    code = (
        "import os\n"
        "from virtagent.guest.entropy import add_entropy\n"
        "from virtagent.errors import PermissionDenied\n"
        "os.setuid(65534)\n"
        "add_entropy(b'x', credit=False)\n"
        "try:\n    add_entropy(b'x', credit=True)\n"
        "except PermissionDenied as error:\n    print('CAP_SYS_ADMIN' in str(error))"
    )
    assert alone(code, "--uts") == "True"


def test_a_device_that_takes_no_entropy_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "urandom"
    file.touch()
    with pytest.raises(Exception, match="urandom"):
        entropy.add_entropy(b"x", credit=True, device=str(file))
    assert isinstance(entropy.add_entropy(b"x", credit=False, device=str(file)), EntropyPool)
    assert file.read_bytes() == b"x"
    assert PermissionDenied.code == 7


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set_hostname", {"name": "-x"}),
        ("set_hostname", {"name": "x" * 65}),
        ("set_hostname", {"name": "a b"}),
        ("adjust_clock", {"offset": 2**63}),
        ("slew_clock", {"offset": 301 * 10**9}),
        ("set_clock", {"time": -1}),
        ("add_entropy", {"data": b"x" * (LARGEST_SEED + 1)}),
        ("add_entropy", {"data": b""}),
    ],
)
async def test_arguments_are_bounded(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="argument"):
        await Wire(SystemService()).request(f"system.{name}", arguments)
