"""The commands for files, as people run them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.programs import LIMIT, Daemon, command_line, environment, read_until, start, virtagent
from virtagent.cli.file_format import human, permissions
from virtagent.cli.find import age_filter, size_filter
from virtagent.cli.places import Place, copies, parse_place
from virtagent.cli.target import Settings
from virtagent.errors import UsageError


def ok(running: Daemon, *arguments: str) -> str:
    done = virtagent(running.directory, running.url, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def fails(running: Daemon, code: int, told: str, *arguments: str) -> None:
    """One line on standard error, and nothing on standard output."""
    done = virtagent(running.directory, running.url, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    top = tmp_path / "guest"
    (top / "sub").mkdir(parents=True)
    (top / "one.txt").write_bytes(b"line 1\nline 2\nline 3\n")
    (top / "sub" / "two.log").write_bytes(b"x" * 3000)
    (top / ".hidden").touch()
    (top / "link").symlink_to("sub")
    return top


def test_directories_are_listed_as_ls_does(running: Daemon, place: Path) -> None:
    assert ok(running, "ls", str(place)) == "link\none.txt\nsub\n"
    assert ok(running, "ls", "-a", str(place)) == ".hidden\nlink\none.txt\nsub\n"
    assert ok(running, "ls", f"{place}/link") == "two.log\n"
    assert ok(running, "ls", "-R", str(place)) == f"{place}:\nlink\none.txt\nsub\n\n{place}/sub:\ntwo.log\n"
    assert ok(running, "ls", "-d", str(place)) == f"{place}\n"
    first = ok(running, "ls", "-lS", str(place / "sub"), str(place / "one.txt")).splitlines()
    assert first[0] == f"{place}/sub:"
    assert first[1].startswith("-rw")
    assert " 2.9K " in first[1]
    assert " -> sub" in ok(running, "ls", "-l", str(place))
    assert json.loads(ok(running, "ls", "--json", str(place / "sub")))["size"] == 3000
    fails(running, 1, "No such file", "ls", str(place / "no"))


def test_names_cannot_command_the_terminal(running: Daemon, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31mred\nline").touch()
    assert "\x1b" not in ok(running, "ls", "-l", str(tmp_path))
    assert "\x1b" not in ok(running, "find", str(tmp_path))
    assert ok(running, "find", str(tmp_path), "--type", "f", "-0") == f"{tmp_path}/a\x1b[31mred\nline\0"


def test_files_are_found_by_what_they_are_like(running: Daemon, place: Path) -> None:
    def found(*options: str) -> list[str]:
        return sorted(each.removeprefix(f"{place}/") for each in ok(running, "find", str(place), *options).splitlines())

    assert found("--name", "*.log", "--name", "*.txt") == ["one.txt", "sub/two.log"]
    assert found("--type", "ld") == sorted([str(place), "link", "sub"])
    assert found("--size", "+1K", "--type", "f") == ["sub/two.log"]
    assert found("--size", "-1K", "--type", "f", "--maxdepth", "1") == [".hidden", "one.txt"]
    os.utime(place / "one.txt", (0, 0))
    assert found("--mtime", "+30d") == ["one.txt"]
    assert "one.txt" not in found("--mtime", "-1h", "--type", "f")
    assert json.loads(ok(running, "find", "--json", str(place), "--name", "*.log"))["path"] == f"{place}/sub/two.log"
    fails(running, 2, "no kind of file", "find", str(place), "--type", "x")
    fails(running, 2, "is no age", "find", str(place), "--mtime", "yesterday")


def test_ends_of_files_are_printed(running: Daemon, place: Path) -> None:
    path = str(place / "one.txt")
    assert ok(running, "tail", "-n", "2", path) == "line 2\nline 3\n"
    assert ok(running, "tail", "-n", "0", path) == ""
    assert ok(running, "tail", "-c", "7", path) == "line 3\n"
    assert ok(running, "tail", "-n", "1", "/proc/self/status").startswith("nonvoluntary")
    fails(running, 1, "No such file", "tail", str(place / "no"))


def test_a_log_is_followed_through_its_rotation_until_ctrl_c(running: Daemon, place: Path) -> None:
    path = place / "log"
    path.write_bytes(b"first\n")
    process = start(running.directory, running.url, ["tail", "-F", str(path)], stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    read_until(process.stdout.fileno(), b"first\n")
    path.rename(place / "log.1")
    path.write_bytes(b"second\n")
    read_until(process.stdout.fileno(), b"second\n")
    assert b"has been replaced; going on with the new file" in read_until(process.stderr.fileno(), b"new file\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    process.communicate()


def test_facts_of_a_file_are_printed(running: Daemon, place: Path) -> None:
    told = ok(running, "stat", str(place / "link"))
    assert "link -> sub" in told
    assert "kind:     link" in told
    assert json.loads(ok(running, "stat", "-L", "--json", str(place / "link")))["kind"] == "directory"


def test_files_are_copied_there_and_back(running: Daemon, place: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1_000_000))
    source.chmod(0o750)
    assert ok(running, "cp", str(source), f":{place}/copy") == ""
    assert (place / "copy").read_bytes() == source.read_bytes()
    assert stat.S_IMODE((place / "copy").stat().st_mode) == 0o750
    ok(running, "cp", str(source), f":{place}")
    assert (place / "source").read_bytes() == source.read_bytes()
    ok(running, "cp", f":{place}/copy", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    (tmp_path / "into").mkdir()
    ok(running, "cp", f":{place}/copy", f":{place}/one.txt", str(tmp_path / "into"))
    assert sorted(os.listdir(tmp_path / "into")) == ["copy", "one.txt"]
    told = json.loads(ok(running, "cp", "--json", str(source), f":{place}/copy"))
    assert told == {"source": str(source), "target": f":{place}/copy", "bytes": 1_000_000}


def test_standard_input_and_output_are_copied(running: Daemon, place: Path) -> None:
    command = command_line(running.url, "cp", "-", f":{place}/in")
    subprocess.run(command, input=b"piped\n", check=True, timeout=LIMIT, env=environment(running.directory))
    assert (place / "in").read_bytes() == b"piped\n"
    assert ok(running, "cp", f":{place}/in", "-") == "piped\n"


def test_trees_are_copied_and_kept_alike(running: Daemon, place: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    fails(running, 2, "is a directory; -r copies it", "cp", f":{place}", str(here))
    ok(running, "cp", "-r", f":{place}", str(here))
    assert sorted(os.listdir(here)) == [".hidden", "link", "one.txt", "sub"]
    assert ok(running, "sync", f":{place}", str(here)) == "0 to copy (0), 0 to delete\n"
    (here / "sub" / "two.log").write_bytes(b"changed")
    (here / "extra").touch()
    plan = "- extra\n+ sub/two.log\n1 to copy (2.9K), 1 to delete\n"
    assert ok(running, "sync", "--delete", "--dry-run", f":{place}", str(here)) == plan
    assert (here / "extra").exists()
    assert ok(running, "sync", "--delete", f":{place}", str(here)) == plan
    assert sorted(os.listdir(here)) == [".hidden", "link", "one.txt", "sub"]
    assert (here / "sub" / "two.log").read_bytes() == b"x" * 3000
    (here / "new").write_bytes(b"n")
    (here / "link").unlink()
    assert ok(running, "sync", "--delete", str(here), f":{place}") == "- link\n+ new\n1 to copy (1), 1 to delete\n"
    assert sorted(os.listdir(place)) == [".hidden", "new", "one.txt", "sub"]
    fails(running, 1, "is no directory", "sync", str(tmp_path / "no"), f":{place}")


def test_with_checksums_only_other_content_is_copied(running: Daemon, place: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    ok(running, "cp", "-r", f":{place}", str(here))
    before = (here / "one.txt").stat()
    (here / "one.txt").write_bytes(b"LINE 1\nline 2\nline 3\n")
    os.utime(here / "one.txt", ns=(before.st_mtime_ns, before.st_mtime_ns))
    os.utime(here / "sub" / "two.log", (5, 5))
    assert ok(running, "sync", "-n", f":{place}", str(here)).startswith("+ sub/two.log\n1 to copy")
    assert ok(running, "sync", "-c", f":{place}", str(here)).startswith("+ one.txt\n1 to copy")
    assert (here / "one.txt").read_bytes() == (place / "one.txt").read_bytes()


def test_directories_are_made_measured_and_removed(running: Daemon, place: Path) -> None:
    ok(running, "mkdir", "-p", "-m", "700", f"{place}/a/b")
    assert stat.S_IMODE((place / "a" / "b").stat().st_mode) == 0o700
    fails(running, 1, "File exists", "mkdir", f"{place}/a")
    assert ok(running, "du", "-b", str(place / "one.txt")) == f"21\t{place}/one.txt\n"
    assert len(ok(running, "du", "-d", "1", str(place)).splitlines()) == 3
    fails(running, 1, "not empty", "rm", f"{place}/a")
    ok(running, "rm", "-r", f"{place}/a", f"{place}/link")
    assert (place / "sub" / "two.log").exists()
    fails(running, 1, "No such file", "rm", f"{place}/a")
    ok(running, "rm", "-f", f"{place}/a")


def test_ctrl_c_leaves_nothing_half_written(running: Daemon, place: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command_line(running.url, "cp", "-", f":{place}/half"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(running.directory),
    )
    assert process.stdin is not None
    process.stdin.write(b"x" * 300_000)
    process.stdin.flush()
    end = time.monotonic() + LIMIT
    while not any(each.endswith(".partial") for each in os.listdir(place)):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    assert process.communicate()[1] == b""
    while any(each.endswith(".partial") for each in os.listdir(place)):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert not (place / "half").exists()


@pytest.mark.root
def test_a_full_disk_is_one_line_and_leaves_nothing(running: Daemon, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(8 << 20))
    fails(running, 1, "No space left on device", "cp", str(tmp_path / "big"), f":{small_disk}/big")
    fails(running, 1, "No space left on device", "cp", f":{tmp_path}/big", f"{small_disk}/big")
    assert os.listdir(small_disk) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cp", "a"], "name a source and a target"),
        (["cp", "a", "b"], "exactly one side of a copy is a guest; write GUEST:/path"),
        (["cp", ":/a", "web1:/b"], "copy from one guest to this machine first"),
        (["cp", "web1:/a", "web2:/b", "."], "two guests are named, web1 and web2"),
        (["cp", "web1:relative", "."], "write GUEST:/absolute/path"),
        (["mkdir", "-m", "999", "/x"], "is no mode"),
        (["sync", "-", ":/x"], "sync works with directories"),
    ],
)
def test_wrong_usage_is_told_before_a_guest_is_asked(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = virtagent(tmp_path, f"unix:{tmp_path}/nobody", *arguments)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr


def test_places_are_read_as_people_write_them() -> None:
    assert parse_place("web1:/etc") == Place("/etc", "web1")
    assert parse_place(":/etc") == Place("/etc", "")
    assert parse_place("./a:b") == Place("./a:b")
    assert parse_place("/a:/b") == Place("/a:/b")
    assert parse_place("-") == Place("-")
    assert copies(Settings(to="x"), [Place("a")], Place("/b", "web1")) == (Settings(to="web1"), True)
    assert copies(Settings(to="x"), [Place("/b", "")], Place("a")) == (Settings(to="x"), False)
    with pytest.raises(UsageError):
        parse_place("web1:x")


def test_sizes_and_modes_are_those_of_ls() -> None:
    assert [human(each) for each in (0, 999, 1024, 10_000, 12 << 20, 5 << 40)] == [
        "0",
        "999",
        "1.0K",
        "9.8K",
        "12M",
        "5.0T",
    ]
    assert permissions("file", 0o4755) == "-rwsr-xr-x"
    assert permissions("directory", 0o1777) == "drwxrwxrwt"
    assert permissions("unknown", 0o644) == "?rw-r--r--"


def test_filters_are_read_as_find_has_them() -> None:
    assert size_filter("+10M") == {"smallest": 10 << 20}
    assert size_filter("-1K") == {"largest": 1024}
    assert size_filter("5") == {"smallest": 5, "largest": 5}
    assert age_filter(None) == {}
    now = time.time() * 1e9
    assert abs(age_filter("-2h")["newer"] - (now - 7200e9)) < 60e9
    assert abs(age_filter("+1")["older"] - (now - 86400e9)) < 60e9
