"""Guests by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtagent.errors import UrlError, UsageError
from virtagent.host.discovery import CHANNEL, KnownGuest, libvirt_guests, list_guests, resolve
from virtagent.host.registry import configuration_file, read_guests, without_dialect


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "guests.toml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory of channels as libvirt makes it, before 9.8 and since."""
    for domain in ("domain-3-web1", "7-db.example", "domain-4-plain"):
        (tmp_path / "channel" / domain).mkdir(parents=True)
    for domain in ("domain-3-web1", "7-db.example"):
        (tmp_path / "channel" / domain / CHANNEL).touch()
    (tmp_path / "channel" / "stray").touch()
    return tmp_path / "channel"


def test_the_configuration_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert configuration_file() == Path("/etc/xdg/virtagent/guests.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative is to be ignored")
    monkeypatch.setenv("HOME", "/home/me")
    assert configuration_file() == Path("/home/me/.config/virtagent/guests.toml")


def test_a_configuration_that_is_missing_names_no_guests(file: Path) -> None:
    assert read_guests(file) == {}


def test_guests_are_read(file: Path) -> None:
    second = '[guests."db.a"]\nurl = "tcp:127.0.0.1:1?dialect=plain"\n'
    file.write_text(f'[guests.web1]\nurl = "unix:/run/vm/web1.sock"\n{second}')
    assert read_guests(file) == {"web1": "unix:/run/vm/web1.sock", "db.a": "tcp:127.0.0.1:1?dialect=plain"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[guests.web1]\nurl = unix:/x\n", "line 2"),
        ('\n[guest.web1]\nurl = "unix:/x"\n', "line 2: unknown key 'guest'"),
        ("guests = 3", "line 1: 'guests' is no table"),
        ('[guests]\n"a b" = {}\n', "line 2: 'a b' is no name"),
        ('[guests]\nweb1 = "unix:/x"\n', "line 2: guests.web1 is no table"),
        ('[guests.a]\nurl = "unix:/x"\n\n[guests.b]\nurl = "unix:/y"\nport = 3\n', "line 6: unknown key 'port'"),
        ("[guests.web1]\n", "line 1: guests.web1 has no url"),
        ("[guests.web1]\nurl = 3\n", "line 1: guests.web1 has a url that is no text: 3"),
        ('[guests.web1]\nurl = "unx:/x"\n', "line 2: guests.web1: unknown scheme 'unx'"),
    ],
)
def test_a_broken_configuration_is_told_with_file_line_and_key(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_guests(file)
    assert str(file) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_not_text_is_told(file: Path) -> None:
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_guests(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        read_guests(file)


def test_running_domains_are_found_under_their_names(root: Path) -> None:
    found, closed = libvirt_guests([str(root), "/no/such/place"])
    assert {each.name: each.url for each in found} == {
        "web1": f"unix:{root}/domain-3-web1/{CHANNEL}?chardev=virtio",
        "db.example": f"unix:{root}/7-db.example/{CHANNEL}?chardev=virtio",
    }
    assert closed == []


def test_the_configuration_goes_before_libvirt(file: Path, root: Path) -> None:
    file.write_text('[guests.web1]\nurl = "unix:/mine"\n')
    known = list_guests(file=file, roots=[str(root)])
    assert [each.name for each in known] == ["db.example", "web1"]
    assert known[1] == KnownGuest("web1", "unix:/mine", str(file))
    assert resolve("web1", file=file, roots=[]) == "unix:/mine"


@pytest.mark.parametrize("url", ["unix:/x", "/x", "tcp:h:1", "exec:a b"])
def test_a_url_stands_for_itself(url: str, file: Path) -> None:
    file.write_text("broken, and never looked at")
    assert resolve(url, file=file, roots=[]) == url


def test_an_unknown_name_is_answered_with_near_ones_or_what_to_do(file: Path, root: Path) -> None:
    with pytest.raises(UsageError, match="did you mean web1"):
        resolve("web2", file=file, roots=[str(root)])
    with pytest.raises(UsageError, match=r"known are db.example, web1; add it to .*guests.toml"):
        resolve("zzz", file=file, roots=[str(root)])
    with pytest.raises(UsageError, match="none is known; add it to"):
        resolve("zzz", file=file, roots=[])


def test_a_directory_that_may_not_be_looked_into_is_told(
    file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("virtagent.host.discovery.os.listdir", refuse)
    with pytest.raises(UsageError, match="cannot be looked into: run as root"):
        resolve("web1", file=file, roots=[str(root)])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:/x", ("unix:/x", False)),
        ("unix:/x?dialect=plain", ("unix:/x", True)),
        ("unix:/x?mode=600&dialect=framed", ("unix:/x?mode=600", False)),
        ("exec:run?dialect=plain", ("exec:run?dialect=plain", False)),
    ],
)
def test_the_dialect_is_taken_out_of_the_url(url: str, expected: tuple[str, bool]) -> None:
    assert without_dialect(url) == expected


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(UrlError, match="plain and framed"):
        without_dialect("unix:/x?dialect=klingon")
