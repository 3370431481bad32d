"""Nothing outside of the roots is reached: not through `..`, links, renames meanwhile, or all of them together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.errors import CallError, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from virtagent.guest import openat2
from virtagent.guest.file_roots import EVERYWHERE, Roots
from virtagent.guest.openat2 import open_beneath, walk_beneath

SECRET = b"secret"
READ = os.O_RDONLY | os.O_NONBLOCK
Open = Callable[..., int]


@pytest.fixture(params=[open_beneath, walk_beneath], ids=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """How files are opened below a root: by the kernel, and where it cannot."""
    if request.param is walk_beneath:
        monkeypatch.setattr(openat2, "_system_call", lambda: None)
    else:
        assert openat2._system_call() is not None, "this machine should have openat2(2)"
    made: Open = request.param
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root beside a secret, with all kinds of ways out."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (root / "a" / "file").write_bytes(b"deeper")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "relative").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "a" / "up").symlink_to("../..")
    (root / "a" / "b" / "inside").symlink_to("../../file")
    (root / "chain").symlink_to("a/up")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/proc/self/root")
    return root


def content(roots: Roots, path: str) -> bytes:
    descriptor = roots.open(path, READ)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


OUTSIDE = [
    "absolute",
    "relative",
    "../secret",
    "a/../../secret",
    "a/b/../../../secret",
    "up/secret",
    "a/up/secret",
    "chain/secret",
    "./../root/../secret",
    "proc/etc/passwd",
    "a/./b/../../..//secret",
    "..",
    "up",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out(place: Path, way: Open, path: str) -> None:
    with pytest.raises(PermissionDenied, match="is outside of what may be read, which is"):
        content(Roots((str(place),)), f"{place}/{path}")


@pytest.mark.parametrize("path", ["/etc/passwd", "/", "/proc/self/root/etc/passwd"])
def test_what_is_not_below_a_root_by_its_name_is_not_even_looked_at(place: Path, way: Open, path: str) -> None:
    with pytest.raises(PermissionDenied, match="outside"):
        content(Roots((str(place),)), path)


def test_a_directory_whose_name_only_begins_like_the_root_is_outside(place: Path, way: Open) -> None:
    (place.parent / "root-2").mkdir()
    (place.parent / "root-2" / "file").write_bytes(SECRET)
    with pytest.raises(PermissionDenied):
        content(Roots((str(place),)), f"{place}-2/file")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("file", b"inside"),
        ("./a/../file", b"inside"),
        ("a/b/inside", b"inside"),
        ("a/b/../file", b"deeper"),
        ("//a//file", b"deeper"),
    ],
)
def test_what_is_below_the_root_is_reached_however_it_is_named(
    place: Path, way: Open, path: str, expected: bytes
) -> None:
    assert content(Roots((str(place),)), f"{place}/{path}") == expected


def test_errors_inside_are_those_of_the_system(place: Path, way: Open) -> None:
    roots = Roots((str(place),))
    with pytest.raises(NotFound):
        content(roots, f"{place}/nothing")
    with pytest.raises(NotFound, match="Not a directory"):
        content(roots, f"{place}/file/x")
    with pytest.raises(InvalidArgument, match="Too many levels"):
        content(roots, f"{place}/loop")


def test_several_roots_are_tried_the_innermost_first(place: Path, way: Open) -> None:
    both = Roots((str(place), str(place / "a")))
    assert content(both, f"{place}/a/../file") == b"inside"
    with pytest.raises(PermissionDenied):
        content(Roots((str(place / "a"),)), f"{place}/a/../file")


def test_without_roots_nothing_is_reached(place: Path) -> None:
    with pytest.raises(PermissionDenied, match="which is nothing"):
        content(Roots(()), f"{place}/file")


def test_a_root_itself_is_neither_renamed_nor_removed(place: Path) -> None:
    with pytest.raises(PermissionDenied, match="is one of the roots"), Roots((str(place),)).parent(str(place)):
        pass
    with pytest.raises(FailedPrecondition, match="no name"), EVERYWHERE.parent("/"):
        pass


def test_the_parent_of_a_new_file_is_opened_below_the_root_too(place: Path, way: Open) -> None:
    roots = Roots((str(place),), "written")
    with roots.parent(f"{place}/a/new") as (directory, name):
        assert (os.fstat(directory).st_ino, name) == (os.stat(place / "a").st_ino, "new")
    for path in ("up/new", "../new", "chain/new"):
        with pytest.raises(PermissionDenied, match="written"), roots.parent(f"{place}/{path}"):
            pass


def test_the_two_ways_of_opening_agree_on_links_themselves(place: Path, way: Open) -> None:
    descriptor = Roots((str(place),)).open(f"{place}/absolute", os.O_PATH | os.O_NOFOLLOW)
    try:
        assert os.readlink("", dir_fd=descriptor) == str(place.parent / "secret")
    finally:
        os.close(descriptor)


names = st.sampled_from(["a", "b", "..", ".", "", "up", "chain", "relative", "absolute", "file", "inside", "nothing"])


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(names, max_size=9))
def test_any_path_gives_the_same_by_the_kernel_and_by_walking_and_never_the_secret(
    parts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp() / "agree"
    if not base.exists():
        base.mkdir()
        place.__wrapped__(base)  # type: ignore[attr-defined]
    path = "/".join(parts)
    top = os.open(base / "root", os.O_PATH | os.O_DIRECTORY)

    def outcome(opens: Open) -> tuple[int, int] | int | None:
        try:
            descriptor = opens(top, path.lstrip("/"), os.O_PATH)
        except OSError as error:
            return error.errno
        found = os.fstat(descriptor)
        os.close(descriptor)
        return found.st_dev, found.st_ino

    try:
        by_kernel = outcome(open_beneath)
        assert outcome(walk_beneath) == by_kernel
        assert by_kernel != (os.stat(base / "secret").st_dev, os.stat(base / "secret").st_ino)
    finally:
        os.close(top)


@pytest.fixture
def racing(place: Path) -> Iterator[threading.Event]:
    """A thread that keeps putting links to the outside in the place of files and directories, and back."""
    stop = threading.Event()
    (place / "outside-directory").symlink_to("..")
    (place / "outside-file").symlink_to("../secret")
    (place / "swapped").mkdir()
    (place / "swapped" / "secret").write_bytes(b"inside")
    (place / "spot").write_bytes(b"inside")
    (place / "deep").mkdir()

    def race() -> None:
        while not stop.is_set():
            for ours, link in (("swapped", "outside-directory"), ("spot", "outside-file")):
                os.rename(place / ours, place / "aside")
                os.rename(place / link, place / ours)
                os.rename(place / ours, place / link)
                os.rename(place / "aside", place / ours)
            os.rename(place / "deep", place.parent / "moved-out")
            os.rename(place.parent / "moved-out", place / "deep")

    thread = threading.Thread(target=race)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_a_race_of_renames_never_reads_outside(place: Path, way: Open, racing: threading.Event) -> None:
    roots = Roots((str(place),))
    seen = set()
    for number in range(3000):
        try:
            path = ("spot", "swapped/secret", "deep/../../secret", "swapped/../swapped/secret")[number % 4]
            seen.add(content(roots, f"{place}/{path}"))
        except CallError:
            continue
    assert seen <= {b"inside"}


def test_a_race_of_renames_never_writes_outside(place: Path, way: Open, racing: threading.Event) -> None:
    roots = Roots((str(place),), "written")
    for _ in range(2000):
        try:
            with roots.parent(f"{place}/swapped/planted") as (directory, name):
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=directory))
        except (CallError, OSError):
            continue
    assert not (place.parent / "planted").exists()
    assert (place.parent / "secret").read_bytes() == SECRET


def test_no_descriptor_is_left_open(place: Path, way: Open) -> None:
    roots = Roots((str(place),))
    before = len(os.listdir("/proc/self/fd"))
    for path in [*OUTSIDE, "file", "a/b/inside", "loop", "nothing"]:
        try:
            os.close(roots.open(f"{place}/{path}", os.O_PATH))
        except CallError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_everything_may_be_read_the_path_is_opened_as_it_is(place: Path) -> None:
    assert content(EVERYWHERE, f"{place}/absolute") == SECRET
    assert content(Roots(("/srv", "/")), f"{place}/up/secret") == SECRET
