"""What guests install is built the same each time, and unpacks only where nobody else can change it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bundling import bootstrap
from bundling.deb import build_deb
from bundling.pyz import build_pyz
from bundling.site import BundleError, source_date

ROOT = Path(__file__).parent.parent
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
OWN = f"cpython-{sys.version_info[0]}{sys.version_info[1]}-x86_64-linux-gnu.so"
DAEMON = (
    "import sys\n\ndef main():\n    print(__file__, *sys.argv[1:], flush=True)\n    sys.stdin.read()\n    return 7\n"
)
PATIENCE = 60.0
SOURCES = (
    *("virtagent", "transports", "packaging", "docs", "compiling"),
    *("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE"),
)
"""What bundles are made from."""


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, built twice: in the folders one and two."""
    made = tmp_path_factory.mktemp("bundles")
    checkout = made / "checkout"
    for name in SOURCES:  # which somebody may edit between the two
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout / name)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOURCE_DATE_EPOCH", "1764000000")
        for folder in ("one", "two"):
            build_deb(checkout, made / folder)
            build_pyz(checkout, made / folder)
    return made


def an_archive(path: Path, build: str = "1234") -> Path:
    """A virtagentd.pyz whose agent prints where it is and waits for the end of its input."""
    source = Path(bootstrap.__file__).read_text().replace("@BUILD@", build)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("__main__.py", source)
        for package in ("virtagent/__init__.py", "virtagent/cli/__init__.py"):
            packed.writestr(package, "")
        packed.writestr("virtagent/cli/daemon.py", DAEMON)
        for library in (
            f"library/native.{OWN}",
            "library/native.cpython-39-x86_64-linux-gnu.so",
            "library/native.abi3.so",
        ):
            packed.writestr(library, "")
    return path


def started(archive: Path, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(archive), *arguments],
        env={bootstrap.VARIABLE: str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    out, err = process.communicate(timeout=PATIENCE)
    return out, err, process.returncode


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_equal_sources_give_equal_packages(bundles: Path) -> None:
    for name in (each.name for each in (bundles / "one").iterdir()):
        assert (bundles / "one" / name).read_bytes() == (bundles / "two" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_package_has_what_a_guest_needs_and_belongs_to_root(bundles: Path) -> None:
    [package] = (bundles / "one").glob("*.deb")
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    names = {line.split()[5].removeprefix(".") for line in listed.splitlines()}
    assert {
        "/usr/bin/virtagentd",
        "/usr/lib/virtagent/virtagent/cli/daemon.py",
        "/usr/lib/virtagent/virtagent_transports/virtio.py",
        "/usr/lib/virtagent/msgspec/_core.cpython-311-x86_64-linux-gnu.so",
        "/usr/lib/virtagent/msgspec/_core.cpython-313-x86_64-linux-gnu.so",
        "/usr/lib/virtagent/virtagent/guest/packaging/virtagentd.service",
        "/usr/lib/systemd/system/virtagentd.service",
        "/usr/lib/systemd/system/virtagentd@.service",
        "/usr/lib/udev/rules.d/60-virtagent.rules",
        "/etc/virtagent/agent.toml",
    } <= names
    assert {line.split()[1] for line in listed.splitlines()} == {"root/root"}
    assert not [line for line in listed.splitlines() if line[5] == "w" or line[8] == "w"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_single_file_runs_without_anything_installed(bundles: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(bundles / "one" / "virtagentd.pyz"), "--check"]
    environment = {bootstrap.VARIABLE: str(tmp_path / "unpacked"), "HOME": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "virtio:org.virtagent.0" in done.stdout


def test_the_time_of_all_files_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert source_date(ROOT) == 86400
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert source_date(ROOT) > 1_700_000_000
    assert source_date(tmp_path) == 1_735_689_600


def test_without_dpkg_deb_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BundleError, match="apt-get install -y dpkg"):
        build_deb(ROOT, tmp_path)


def test_it_unpacks_once_what_this_python_can_load_and_gives_the_agents_exit_code(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.pyz")
    place = tmp_path / "cache" / f"1234-{TAG}"
    for _ in range(2):
        out, err, code = ended(started(archive, tmp_path / "cache", "--name", "x"))
        assert (out, err, code) == (f"{place}/virtagent/cli/daemon.py --name x\n", "", 7)
        assert sorted(each.name for each in (place / "library").iterdir()) == ["native.abi3.so", f"native.{OWN}"]
        assert not (place / "__main__.py").exists()
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [place.name]


def test_many_that_start_at_once_share_one_whole_copy(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.pyz")
    processes = [started(archive, tmp_path / "cache") for _ in range(8)]
    told = {ended(process) for process in processes}
    assert told == {(f"{tmp_path}/cache/1234-{TAG}/virtagent/cli/daemon.py\n", "", 7)}
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [f"1234-{TAG}"]


def test_an_older_version_is_removed_once_nothing_runs_from_it(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    old, new, newest = (an_archive(tmp_path / f"{build}.pyz", build) for build in ("old", "new", "newest"))
    running = started(old, cache)
    assert running.stdout is not None
    running.stdout.readline()
    ended(started(new, cache))
    assert sorted(each.name for each in cache.iterdir()) == [f"new-{TAG}", f"old-{TAG}"]
    running.communicate(timeout=PATIENCE)
    ended(started(newest, cache))
    assert [each.name for each in cache.iterdir()] == [f"newest-{TAG}"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda place: (place.mkdir(), place.chmod(0o777)), "others may write to it"),
        (lambda place: (place.mkdir(), place.chmod(0o770)), "others may write to it"),
        (lambda place: place.symlink_to("/etc"), "it is no directory"),
        (lambda place: place.write_text(""), "it is no directory"),
    ],
)
def test_a_directory_that_others_may_have_prepared_is_refused(spoil: object, reason: str, tmp_path: Path) -> None:
    place = tmp_path / "cache"
    spoil(place)  # type: ignore[operator]
    out, err, code = ended(started(an_archive(tmp_path / "a.pyz"), place))
    assert (out, code) == ("", 1)
    assert err == f"virtagentd: there is nowhere to unpack ({place}: {reason}); set {bootstrap.VARIABLE}\n"


@pytest.mark.root
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    place.mkdir(0o755)
    os.chown(place, 65534, 65534)
    assert bootstrap.refusal(str(place), 0) == "others may write to it"
    assert bootstrap.refusal("/proc/cache", 0) is not None


def test_roots_own_directory_comes_first_and_those_that_all_may_write_to_last() -> None:
    assert bootstrap.candidates(0, {"HOME": "/root"}) == [
        "/var/cache/virtagent",
        "/run/virtagent/unpacked",
        "/dev/shm/virtagent-0",
        "/var/tmp/virtagent-0",
        "/tmp/virtagent-0",
    ]
    assert bootstrap.candidates(7, {"HOME": "/home/x", "XDG_RUNTIME_DIR": "/run/user/7", "XDG_CACHE_HOME": "rel"})[
        :2
    ] == [
        "/home/x/.cache/virtagent",
        "/run/user/7/virtagent",
    ]
    assert bootstrap.candidates(7, {})[0] == "/dev/shm/virtagent-7"
    assert bootstrap.candidates(0, {bootstrap.VARIABLE: "/srv/x"}) == ["/srv/x"]


def test_a_copy_that_something_is_in_the_way_of_is_told_and_leaves_no_rest(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir(0o700)
    (blocked / f"@BUILD@-{TAG}").write_text("in the way")
    with pytest.raises(OSError, match="Not a directory"):
        bootstrap.unpacked(str(an_archive(tmp_path / "a.pyz")), str(blocked))
    assert [each.name for each in blocked.iterdir()] == [f"@BUILD@-{TAG}"]


@pytest.mark.root
def test_a_file_system_that_is_noexec_or_full_gives_way_to_the_next(tmp_path: Path) -> None:
    archive = an_archive(tmp_path / "a.pyz")
    script = (
        "mount -t tmpfs -o noexec tmpfs /dev/shm && mount -t tmpfs -o size=4k,nr_inodes=3 tmpfs /var/tmp"
        ' && mount -t tmpfs -o ro tmpfs /var/cache && mount -t tmpfs -o noexec tmpfs /run && exec "$@"'
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-I", str(archive)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE, env={}
        )
    finally:
        shutil.rmtree(f"/tmp/virtagent-0/1234-{TAG}", ignore_errors=True)
    assert (done.stdout, done.stderr) == (f"/tmp/virtagent-0/1234-{TAG}/virtagent/cli/daemon.py\n", "")
