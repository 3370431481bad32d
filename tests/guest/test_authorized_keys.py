from __future__ import annotations

import shutil
import struct
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtagent.errors import InvalidArgument
from virtagent.guest.authorized_keys import TYPES, add_keys, list_keys, parse_key, remove_keys


def blob(kind: str, secret: bytes) -> str:
    """A key as base64; what stands in it is only looked at by those who use it."""
    return b64encode(struct.pack(">I", len(kind)) + kind.encode() + struct.pack(">I", len(secret)) + secret).decode()


def key(number: int, comment: str = "", options: str = "", kind: str = "ssh-ed25519") -> str:
    return " ".join(each for each in (options, kind, blob(kind, bytes([number]) * 32), comment) if each)


comments = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_characters="\x7f"), max_size=20
).filter(lambda text: len(text.splitlines()) <= 1 and text == text.strip())
values = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=20)
option = st.one_of(
    st.sampled_from(["no-pty", "restrict", "cert-authority"]),
    values.map(lambda text: f'command="{text}"'),
    values.map(lambda text: f'from="\\"{text}"'),
)
options = st.lists(option, max_size=3).map(",".join)


@given(st.sampled_from(sorted(TYPES)), st.binary(min_size=1, max_size=64), options, comments)
def test_a_line_is_read_as_it_was_written(kind: str, secret: bytes, said: str, comment: str) -> None:
    line = " ".join(each for each in (said, kind, blob(kind, secret), comment) if each)
    read = parse_key(line)
    assert (read.type, read.options, read.comment, read.line) == (kind, said, comment, line)
    assert parse_key(f"\t{line}  \n") == read


@given(st.text(max_size=200))
def test_whatever_is_no_key_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_key(text)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "names no type"),
        ("ssh-ed25519", "is no base64, or is cut short"),
        ("ssh-ed25519 !!!", "is no base64"),
        ("ssh-ed25519 AAAA", "is no base64, or is cut short"),
        (f"ssh-rsa {blob('ssh-ed25519', b'x')}", "is of another type"),
        (f"ssh-ed25519 {b64encode(struct.pack('>I', 11) + b'ssh-ed25519').decode()}", "cut short"),
        (f"{key(1)}\n{key(2)}", "one line"),
        (f"{key(1)}\r\nPermitRootLogin yes", "one line"),
        (f'command="x {key(1)}', "within quotes"),
        (f"no-pty junk {key(1)}", "names no type"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "names no type"),
    ],
)
def test_what_is_wrong_is_told(line: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        parse_key(line)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_and_fingerprints_are_those_of_openssh(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "anna@host", "-f", str(path)], check=True, timeout=30
    )
    shown = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], check=True, timeout=30, capture_output=True, text=True)
    read = parse_key(Path(f"{path}.pub").read_text())
    assert read.comment == "anna@host"
    assert read.fingerprint == shown.stdout.split()[1]


def test_keys_are_added_behind_what_is_there() -> None:
    text, change = add_keys(f"# mine\n{key(1, 'a')}\n", [key(2, "b"), key(3, "c")], replace=False)
    assert text == f"# mine\n{key(1, 'a')}\n{key(2, 'b')}\n{key(3, 'c')}\n"
    assert (change.added, change.unchanged, change.removed, change.total) == (2, 0, 0, 3)


def test_a_file_without_a_last_line_break_is_not_joined_to_the_new_key() -> None:
    assert add_keys(key(1), [key(2)], replace=False)[0] == f"{key(1)}\n{key(2)}\n"


def test_a_comment_may_hold_what_python_takes_for_line_breaks() -> None:
    text, _ = add_keys("", [key(1, "a\u2028b\x85c")], replace=False)
    assert [each.comment for each in list_keys(text)] == ["a\u2028b\x85c"]
    assert add_keys(text, [key(2)], replace=False)[0] == f"{text}{key(2)}\n"


def test_a_key_that_is_there_stays_in_its_place_with_what_is_said_now() -> None:
    before = f"{key(1, 'a')}\n{key(2, 'b')}\n"
    same, change = add_keys(before, [key(1, "a")], replace=False)
    assert (same, change.unchanged, change.updated, change.added) == (before, 1, 0, 0)
    text, change = add_keys(before, [key(1, "a", 'from="10.0.0.1"')], replace=False)
    assert text.splitlines() == [key(1, "a", 'from="10.0.0.1"'), key(2, "b")]
    assert (change.unchanged, change.updated, change.added, change.total) == (0, 1, 0, 2)


def test_a_second_line_of_a_key_goes_when_it_is_set_anew() -> None:
    """sshd takes the first line that fits, and would go on to the second one if the first did not allow the client."""
    text, _ = add_keys(f"{key(1)}\n{key(1, 'twice')}\n", [key(1, "", 'from="10.0.0.1"')], replace=False)
    assert text.splitlines() == [key(1, "", 'from="10.0.0.1"')]


def test_a_key_given_twice_is_there_once() -> None:
    text, change = add_keys("", [key(1), key(1, "again")], replace=False)
    assert text == f"{key(1, 'again')}\n"
    assert (change.added, change.total) == (1, 1)


def test_replacing_leaves_nothing_else() -> None:
    text, change = add_keys(f"# mine\n{key(1)}\n{key(2)}\nrubbish\n", [key(2), key(3)], replace=True)
    assert text.splitlines() == [key(2), key(3)]
    assert (change.added, change.unchanged, change.removed, change.total) == (1, 1, 1, 2)
    assert add_keys(text, [], replace=True) == ("", add_keys(text, [], replace=True)[1])


def test_keys_are_removed_by_what_they_are_or_by_their_fingerprint() -> None:
    before = f"# mine\n{key(1, 'a', 'no-pty')}\n{key(2, 'b')}\n{key(3)}\n"
    fingerprint = parse_key(key(2)).fingerprint
    text, change = remove_keys(before, [key(1, "another comment"), fingerprint, key(9)])
    assert text == f"# mine\n{key(3)}\n"
    assert (change.removed, change.unchanged, change.total) == (2, 1, 1)
    with pytest.raises(InvalidArgument):
        remove_keys(before, ["SHA256:short"])


def test_what_is_no_key_is_not_listed_but_kept() -> None:
    text = f"# {key(1)}\n\nssh-unknown AAAA x\n  {key(2, 'b', 'restrict')}\n"
    (found,) = list_keys(text)
    assert (found.type, found.comment, found.options) == ("ssh-ed25519", "b", "restrict")
    assert found.line == key(2, "b", "restrict")
    assert add_keys(text, [key(3)], replace=False)[0].startswith(text)


@given(st.lists(st.integers(0, 5), max_size=8), st.lists(st.integers(0, 5), max_size=8), st.booleans())
def test_whatever_is_added_is_there_and_removed_is_not(there: list[int], wanted: list[int], replace: bool) -> None:
    before = "".join(f"{key(each)}\n" for each in there)
    text, change = add_keys(before, [key(each) for each in wanted], replace=replace)
    assert {each.line for each in list_keys(text)} == {key(n) for n in ({*wanted} if replace else {*there, *wanted})}
    assert change.total == len(list_keys(text))
    assert change.added + change.updated + change.unchanged == len({*wanted})
    again, change = add_keys(text, [key(each) for each in wanted], replace=replace)
    assert (again, change.added, change.updated, change.removed) == (text, 0, 0, 0)
    gone, change = remove_keys(text, [key(each) for each in wanted])
    assert not {each.line for each in list_keys(gone)} & {key(each) for each in wanted}
    assert change.removed == len({*wanted})
