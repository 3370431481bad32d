"""An archive from a stranger writes nothing outside of its directory, whatever is in it or was there before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.archive.gnu_tar import archived, extract, make_tree
from virtagent.archive import extractor as extraction
from virtagent.archive.extractor import Extractor
from virtagent.archive.header import END, ArchiveError, pack_header, pack_records, padding
from virtagent.archive.member import Kind, Member, pack_member
from virtagent.archive.reader import LARGEST_RECORDS, MOST_RECORDS, ArchiveReader


def member(name: str, kind: Kind = "file", content: bytes = b"", target: str = "", **more: int) -> bytes:
    made = Member(name=name.encode(), kind=kind, size=len(content), target=target.encode(), mode=0o755, **more)  # type: ignore[arg-type]
    return pack_member(made) + content + bytes(padding(len(content)))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"untouched")
    made = tmp_path / "top"
    made.mkdir()
    return made


def untouched(top: Path) -> bool:
    outside = top.parent / "outside"
    return os.listdir(outside) == ["file"] and (outside / "file").read_bytes() == b"untouched"


@pytest.mark.parametrize(
    "data",
    [
        member("/etc/passwd", content=b"x"),
        member("../outside/file", content=b"x"),
        member("a/../../outside/new", content=b"x"),
        member("way", "link", target="../outside") + member("way/new", content=b"x"),
        member("way", "link", target="../outside") + member("way/new", "directory"),
        member("way", "link", target="../outside") + member("way", "directory"),
        member("way", "link", target="../outside") + member("copy", "hardlink", target="way/file"),
        member("copy", "hardlink", target="../outside/file"),
        member("copy", "hardlink", target="/etc/passwd"),
        member("copy", "hardlink", target=""),
        member("..", "directory"),
        member("x/..", "link", target="y"),
        member("./", content=b"x"),
    ],
)
def test_an_archive_that_would_leave_its_directory_is_refused(top: Path, data: bytes) -> None:
    with pytest.raises((ArchiveError, OSError)):
        extract(data + END, top)
    assert untouched(top)
    assert not list(top.rglob("*.partial"))


def test_a_file_takes_the_place_of_a_link_and_what_that_leads_to_stays(top: Path) -> None:
    data = member("way", "link", target="../outside/file") + member("way", content=b"new")
    extract(data + END, top)
    assert (top / "way").read_bytes() == b"new"
    assert not (top / "way").is_symlink()
    assert untouched(top)


def test_a_link_that_was_there_before_is_not_followed_either(top: Path) -> None:
    (top / "way").symlink_to("../outside")
    with pytest.raises(ArchiveError, match="nothing is written through it"):
        extract(member("way/new", content=b"x") + END, top)
    assert untouched(top)


def test_a_link_under_a_hard_links_name_is_linked_and_not_followed(top: Path) -> None:
    (top / "way").symlink_to("../outside/file")
    extract(member("copy", "hardlink", target="way") + END, top)
    assert (top / "copy").is_symlink()
    assert untouched(top)


def test_links_may_lead_anywhere_as_long_as_nothing_is_written_through_them(top: Path) -> None:
    extract(member("way", "link", target="/etc") + END, top)
    assert os.readlink(top / "way") == "/etc"


@pytest.mark.root
def test_device_nodes_are_made_only_where_they_may_be(top: Path) -> None:
    data = member("null", "character", major=1, minor=3) + END
    with pytest.raises(PermissionError, match="null: device nodes may not be made here"):
        extract(data, top, privileges=False)
    assert os.listdir(top) == []
    extract(data, top)
    assert os.stat(top / "null").st_rdev == os.makedev(1, 3)


@pytest.mark.root
def test_privileges_are_given_only_where_they_may_be(top: Path) -> None:
    capability = bytes.fromhex("0100000280000000000000000000000000000000")  # CAP_SETUID, effective and permitted
    made = Member(
        name=b"tool", kind="file", size=1, mode=0o6755, xattrs={b"security.capability": capability, b"user.kept": b"1"}
    )
    data = pack_member(made) + b"x" + bytes(padding(1)) + END
    extractor = Extractor(opened := os.open(top, os.O_RDONLY), privileges=False)
    try:
        ArchiveReader(extractor).feed(data)
        extractor.complete()
    finally:
        extractor.close()
        os.close(opened)
    assert stat.S_IMODE((top / "tool").stat().st_mode) == 0o755
    assert os.listxattr(top / "tool") == ["user.kept"]
    assert [each.split(" not kept")[0] for each in extractor.notes] == [
        "tool: set-user-ID or set-group-ID",
        "tool: security.capability",
    ]
    extract(data, top)
    assert stat.S_IMODE((top / "tool").stat().st_mode) == 0o6755
    assert sorted(os.listxattr(top / "tool")) == ["security.capability", "user.kept"]


def test_files_that_are_there_are_replaced_whole_and_directories_stay(top: Path) -> None:
    (top / "a").mkdir()
    (top / "a" / "kept").touch()
    (top / "a" / "old").write_bytes(b"old")
    with (top / "a" / "old").open("rb") as reader:
        extract(member("a", "directory") + member("a/old", content=b"new") + END, top)
        assert reader.read() == b"old"
    assert sorted(os.listdir(top / "a")) == ["kept", "old"]
    assert stat.S_IMODE((top / "a").stat().st_mode) == 0o755


def test_a_file_is_not_put_where_a_directory_is_nor_the_other_way_round(top: Path) -> None:
    (top / "a").mkdir()
    (top / "b").touch()
    with pytest.raises(OSError, match="directory"):
        extract(member("a", content=b"x") + END, top)
    with pytest.raises(ArchiveError, match="is there already, and is no directory"):
        extract(member("b", "directory") + END, top)
    assert sorted(os.listdir(top)) == ["a", "b"]


def test_an_archive_that_ends_too_early_leaves_what_was_complete_and_nothing_else(top: Path) -> None:
    whole = member("first", content=b"1" * 1000)
    data = whole + member("second", content=b"2" * 1000)
    with pytest.raises(EOFError):
        extract(data[: len(whole) + 512 + 300], top)
    assert os.listdir(top) == ["first"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"x" * 512, "no number|checksum"),
        (b"\x1f\x8b" + bytes(510), "checksum is wrong|no number"),
        (pack_header(name=b"x", mode=0, uid=0, gid=0, size=LARGEST_RECORDS + 1, mtime=0, kind=b"x"), "more than"),
        (pack_header(name=b"x", mode=0, uid=0, gid=0, size=1 << 30, mtime=0, kind=b"L"), "more than"),
        (pack_header(name=b"x", mode=0, uid=0, gid=0, size=0, mtime=0, kind=b"D"), "not known"),
        (pack_header(name=b"x", mode=0, uid=0, gid=0, size=512, mtime=0, kind=b"5"), "has content"),
    ],
)
def test_what_is_no_archive_is_told(top: Path, data: bytes, told: str) -> None:
    with pytest.raises(ArchiveError, match=told):
        extract(data, top)


def pax(records: dict[bytes, bytes], size: int = 0) -> bytes:
    data = pack_records(records)
    header = pack_header(name=b"x", mode=0, uid=0, gid=0, size=len(data), mtime=0, kind=b"x")
    own = pack_header(name=b"sparse", mode=0o644, uid=0, gid=0, size=size, mtime=0, kind=b"0")
    return header + data + bytes(padding(len(data))) + own


@pytest.mark.parametrize(
    ("text", "size", "real", "told"),
    [
        (b"1\n0\n10\n", 522, b"5", "does not fit"),
        (b"2\n10\n5\n0\n5\n", 522, b"100", "not in order"),
        (b"1\n0\n99\n", 522, b"100", "does not fit"),
        (b"9999999\n", 522, b"100", "more than 1000000 pieces"),
        (b"x\n", 522, b"100", "damaged"),
        (b"1" * 512, 1024, b"100", "damaged"),
        (b"2\n0\n1\n", 512, b"100", "damaged"),
        (b"1\n0\n10\n", 522, b"-5", "no number"),
        (b"1\n0\n10\n", 522, b"9" * 30, "no number"),
    ],
)
def test_maps_of_sparse_files_that_cannot_be_are_refused(
    top: Path, text: bytes, size: int, real: bytes, told: str
) -> None:
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": real}
    data = pax(records, size) + text.ljust(512, b"\0") + bytes(1024)
    with pytest.raises(ArchiveError, match=told):
        extract(data, top)
    assert os.listdir(top) == []


def test_other_formats_of_sparse_files_are_told_by_name(top: Path) -> None:
    with pytest.raises(ArchiveError, match="--sparse-version=1.0"):
        extract(pax({b"GNU.sparse.map": b"0,1"}), top)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_stays_inside(data: st.DataObject, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if not source.exists():
        source.mkdir()
        make_tree(source, root=False)
        (source / "file").write_bytes(b"short")
        (tmp_path / "archive").write_bytes(archived(source))
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "file").write_bytes(b"untouched")
        (tmp_path / "top").mkdir()
    whole = bytearray((tmp_path / "archive").read_bytes()[:60_000])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    descriptor = os.open(tmp_path / "top", os.O_RDONLY)
    extractor = Extractor(descriptor, privileges=False, ownership=False)
    try:
        reader = ArchiveReader(extractor)
        reader.feed(bytes(whole))
        reader.end()
    except (ArchiveError, OSError, EOFError):
        pass
    finally:
        extractor.close()
        os.close(descriptor)
    assert untouched(tmp_path / "top")
    assert sorted(os.listdir(tmp_path)) == ["archive", "outside", "source", "top"]


def records(kind: bytes, **more: bytes) -> bytes:
    data = pack_records({key.encode(): value for key, value in more.items()})
    header = bytearray(member("header", content=data)[:512])
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(padding(len(data)))


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_headers_one_after_the_other_do_not_gather_without_bound(top: Path, kind: bytes) -> None:
    large = LARGEST_RECORDS // 4
    with pytest.raises(ArchiveError, match="records, or"):
        extract(b"".join(records(kind, **{f"k{number}": bytes(large)}) for number in range(5)), top)
    with pytest.raises(ArchiveError, match="records, or"):
        extract(records(kind, **{f"k{number}": b"" for number in range(MOST_RECORDS + 1)}), top)
    extract(b"".join(records(kind, same=bytes(large)) for _ in range(5)) + member("file") + END, top)
    assert (top / "file").exists()


def test_directories_that_wait_for_the_end_do_not_gather_their_attributes(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "MOST_WAITING_BYTES", 10_000)
    made = Extractor(opened := os.open(top, os.O_RDONLY), xattrs=False)
    reader = ArchiveReader(made)
    try:
        for number in range(50):
            attributes = {b"user.%d" % each: bytes(500) for each in range(4)}
            name = f"d{number}".encode()
            reader.feed(pack_member(Member(name=name, kind="directory", mode=0o751, xattrs=attributes)))
            assert len(made._waiting) <= 4
        made.complete()
    finally:
        made.close()
        os.close(opened)
    assert {stat.S_IMODE(each.stat().st_mode) for each in top.iterdir()} == {0o751}
    assert len(list(top.iterdir())) == 50
