"""Trees go through an archive unharmed: ours, GNU tar's in each of its formats, and ours read by GNU tar."""

from __future__ import annotations

import os
import stat
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.archive.gnu_tar import (
    CAPABILITY,
    LONG,
    OPTIONS,
    add_socket,
    allocated,
    archived,
    extract,
    make_tree,
    tar,
    told,
)
from virtagent.archive.writer import TreeWriter

ROOT = os.geteuid() == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    top.mkdir()
    make_tree(top, root=ROOT)
    return top


@pytest.mark.parametrize("piece", [777, 65536, 100_000_000])
def test_a_tree_comes_out_as_it_went_in(tree: Path, tmp_path: Path, piece: int) -> None:
    extractor = extract(archived(tree), tmp_path / "out", piece=piece)
    assert extractor.notes == []
    assert told(tmp_path / "out") == told(tree)
    assert extractor.files == len(told(tree))
    for name in ("sparse", "hole"):
        assert allocated(tmp_path / "out" / name) <= allocated(tree / name) + 8192


def test_holes_and_several_names_take_no_room_in_an_archive(tree: Path) -> None:
    assert len(archived(tree)) < 400_000


def test_gnu_tar_extracts_our_archive_as_it_went_in(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    tar("x", *OPTIONS, "-p", "-C", str(tmp_path / "out"), data=archived(tree))
    assert told(tmp_path / "out") == told(tree)
    assert allocated(tmp_path / "out" / "sparse") <= allocated(tree / "sparse") + 8192


def test_gnu_tar_finds_no_fault_with_our_archive(tree: Path) -> None:
    listing = tar("tv", *OPTIONS, "--warning=all", data=archived(tree)).decode(errors="replace")
    assert f"{9 << 20}" in next(line for line in listing.splitlines() if line.endswith(" sparse"))
    assert "\\300" not in listing.splitlines()[0]


@pytest.mark.parametrize("form", ["pax", "gnu", "ustar"])
def test_we_extract_gnu_tars_archive_as_it_went_in(tree: Path, tmp_path: Path, form: str) -> None:
    if form == "ustar":  # has no room for these
        (tree / LONG).unlink()
        (tree / "broken").unlink()
        os.utime(tree / "hole", ns=(1, 1))
        options = ["--numeric-owner"]
    else:
        options = OPTIONS if form == "pax" else ["--sparse", "--numeric-owner"]
    data = tar("c", f"--format={form}", *options, "-C", str(tree), ".")
    extract(data, tmp_path / "out")
    expected, found = (told(each, nanoseconds=form == "pax") for each in (tree, tmp_path / "out"))
    if form != "pax":  # nor for attributes
        expected, found = ({k: (*v[:5], v[6]) for k, v in each.items()} for each in (expected, found))  # type: ignore[index, assignment]
    assert found == expected
    if form != "ustar":
        assert allocated(tmp_path / "out" / "sparse") <= allocated(tree / "sparse") + 8192


def test_we_extract_the_standard_librarys_archive(tree: Path, tmp_path: Path) -> None:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tree, arcname=".")
    extract(buffer.getvalue(), tmp_path / "out")
    assert {k: v[-1] for k, v in told(tmp_path / "out").items()} == {k: v[-1] for k, v in told(tree).items()}  # type: ignore[index]


def test_the_standard_library_reads_our_archive(tree: Path) -> None:
    with tarfile.open(fileobj=BytesIO(archived(tree))) as archive:
        for member in archive:
            if member.isreg():
                file = archive.extractfile(member)
                assert file is not None
                assert file.read() == (tree / member.name).read_bytes()


def test_a_file_with_very_many_holes_is_kept(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "sparse").open("wb") as file:
        for number in range(500):
            file.seek(number * 32768)
            file.write(b"%d" % number)
    extract(tar("c", "--format=gnu", "--sparse", "-C", str(tree), "."), tmp_path / "gnu")
    extract(archived(tree), tmp_path / "ours", piece=1000)
    for each in ("gnu", "ours"):
        assert (tmp_path / each / "sparse").read_bytes() == (tree / "sparse").read_bytes()


@pytest.mark.root
def test_capabilities_and_set_user_id_survive_the_change_of_owner(tree: Path, tmp_path: Path) -> None:
    os.chown(tree / "directory" / "script", 1000, 1000)
    (tree / "directory" / "script").chmod(0o4755)
    os.setxattr(tree / "directory" / "script", "security.capability", CAPABILITY)
    extract(archived(tree), tmp_path / "out")
    script = tmp_path / "out" / "directory" / "script"
    assert stat.S_IMODE(script.stat().st_mode) == 0o4755
    assert os.getxattr(script, "security.capability") == CAPABILITY


def test_without_ownership_files_are_the_extractors_and_not_set_user_id(tree: Path, tmp_path: Path) -> None:
    extract(archived(tree), tmp_path / "out", ownership=False)
    assert {os.lstat(tmp_path / "out" / each).st_uid for each in ("file", "broken")} == {os.geteuid()}
    assert stat.S_IMODE((tmp_path / "out" / "directory" / "script").stat().st_mode) == 0o755


def test_what_cannot_be_archived_is_noted_and_left_out(tree: Path, tmp_path: Path) -> None:
    add_socket(tree)
    notes: list[str] = []
    descriptor = os.open(tree, os.O_RDONLY)
    data = b"".join(TreeWriter(descriptor, note=notes.append).tree())
    os.close(descriptor)
    assert notes == ["socket: sockets are not archived"]
    extract(data, tmp_path / "out")
    assert "socket" not in os.listdir(tmp_path / "out")


def test_a_file_that_becomes_shorter_is_filled_up_and_the_rest_is_unharmed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"x" * 2_000_000)
    (tree / "b").write_bytes(b"after")
    descriptor = os.open(tree, os.O_RDONLY)
    pieces = TreeWriter(descriptor).tree()
    data = [next(pieces)]
    os.truncate(tree / "a", 600_000)
    data += pieces
    os.close(descriptor)
    extract(b"".join(data), tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_size == 2_000_000
    assert (tmp_path / "out" / "b").read_bytes() == b"after"


def test_only_the_names_that_are_asked_for_are_archived(tree: Path, tmp_path: Path) -> None:
    descriptor = os.open(tree, os.O_RDONLY)
    notes: list[str] = []
    names = ["directory", "directory/script", "file", "gone", "directory/link/x"]
    data = b"".join(TreeWriter(descriptor, note=notes.append).only(names))
    os.close(descriptor)
    extract(data, tmp_path / "out")
    assert sorted(told(tmp_path / "out")) == [b".", b"directory", b"directory/script", b"file"]
    assert len(notes) == 2
