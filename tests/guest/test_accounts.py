"""Keys in real homes below a temporary folder; passwords to real programs that write down what they are told."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from tests.guest.test_authorized_keys import key
from virtagent.api.accounts import Accounts, UserName
from virtagent.errors import (
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.guest import accounts as accounts_module
from virtagent.guest import passwords, ssh_directory
from virtagent.guest.accounts import AccountsService, PasswordFile
from virtagent.service.service import methods_of


class Accounted(PasswordFile):
    """Accounts that are nowhere but here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shadow = str(folder / "shadow")
        self.entries: dict[str, pwd.struct_passwd] = {}
        self.grouped: list[grp.struct_group] = []

    def add(self, name: str, uid: int | None = None, home: Path | None = None) -> Path:
        """An account with a home, of this process's user if nothing is said."""
        home = home or self.folder / name
        home.mkdir(exist_ok=True)
        number = os.getuid() if uid is None else uid
        os.chown(home, number, number if uid is not None else os.getgid())
        gid = os.getgid() if uid is None else uid
        self.entries[name] = pwd.struct_passwd((name, "x", number, gid, f"{name.title()},,,", str(home), "/bin/sh"))
        return home

    def all(self) -> Iterable[pwd.struct_passwd]:
        return self.entries.values()

    def find(self, name: str) -> pwd.struct_passwd | None:
        return self.entries.get(name)

    def groups(self) -> Iterable[grp.struct_group]:
        return self.grouped


@pytest.fixture
def known(tmp_path: Path) -> Accounted:
    return Accounted(tmp_path)


@pytest.fixture
def service(known: Accounted) -> AccountsService:
    return AccountsService(accounts=known)


# -- who there is ------------------------------------------------------------------------------------------------


async def test_accounts_of_this_machine_are_those_of_its_password_file() -> None:
    found = await AccountsService().users()
    root = next(each for each in found if each.name == "root")
    assert (root.uid, root.gid, root.home, root.group) == (0, 0, "/root", "root")
    assert [each.uid for each in found] == sorted(each.uid for each in found)
    assert len(found) == len({each.pw_name for each in pwd.getpwall()})
    assert await AccountsService().user("root") == root


async def test_an_account_tells_its_groups_and_what_its_password_is(known: Accounted, service: AccountsService) -> None:
    for name in ("anna", "bob", "eve", "zoe"):
        known.add(name, uid=None)
    known.grouped = [
        grp.struct_group(("staff", "x", os.getgid(), [])),
        grp.struct_group(("wheel", "x", 10, ["anna", "bob"])),
        grp.struct_group(("adm", "x", 11, ["anna"])),
    ]
    (known.folder / "shadow").write_text("anna:$y$j9T$salt$hash:1::::::\nbob:!$6$x:::::::\neve::::::::\nbroken\n")
    anna = await service.user("anna")
    assert (anna.full_name, anna.group, anna.groups, anna.password) == (
        "Anna",
        "staff",
        ["staff", "wheel", "adm"],
        "set",
    )
    assert (await service.user("bob")).password == "locked"
    assert (await service.user("eve")).password == "none"
    assert (await service.user("zoe")).password == "unknown"
    with pytest.raises(NotFound, match="no account 'nobody-here'"):
        await service.user("nobody-here")


async def test_more_accounts_than_a_list_may_have_are_refused(
    known: Accounted, service: AccountsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_module, "MOST_USERS", 1)
    known.add("anna")
    assert len(await service.users()) == 1
    known.add("bob")
    with pytest.raises(ResourceExhausted, match="ask for one by name"):
        await service.users()


@pytest.mark.parametrize("name", ["a:b", "a\nb", "root\n", "-R", "", "a b", "a/../b", "ä"])
def test_what_is_no_login_name_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, UserName)


@pytest.mark.parametrize("name", ["anna", "EXAMPLE\\anna", "anna@example.org", "host$", "_apt", "systemd-network"])
def test_login_names_as_guests_have_them_are_accepted(name: str) -> None:
    assert msgspec.convert(name, UserName) == name


# -- keys --------------------------------------------------------------------------------------------------------


async def test_a_first_key_makes_the_directory_and_the_file_with_their_modes(
    known: Accounted, service: AccountsService
) -> None:
    home = known.add("anna")
    assert await service.authorized_keys("anna") == []
    assert not (home / ".ssh").exists()
    old = os.umask(0)
    try:
        change = await service.add_authorized_keys("anna", [key(1, "anna@desk")])
    finally:
        os.umask(old)
    assert (change.added, change.total) == (1, 1)
    assert stat.S_IMODE((home / ".ssh").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".ssh" / "authorized_keys").stat().st_mode) == 0o600
    assert (home / ".ssh" / "authorized_keys").read_text() == f"{key(1, 'anna@desk')}\n"
    (found,) = await service.authorized_keys("anna")
    assert (found.type, found.comment) == ("ssh-ed25519", "anna@desk")
    assert (await service.remove_authorized_keys("anna", [found.fingerprint])).removed == 1
    assert await service.authorized_keys("anna") == []
    assert os.listdir(home / ".ssh") == ["authorized_keys"]


@pytest.mark.root
async def test_owner_and_group_are_the_account_s(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna", uid=54321)
    await service.add_authorized_keys("anna", [key(1)])
    for path in (home / ".ssh", home / ".ssh" / "authorized_keys"):
        assert (path.stat().st_uid, path.stat().st_gid) == (54321, 54321)


@pytest.mark.root
async def test_the_label_of_the_file_stays(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    await service.add_authorized_keys("anna", [key(1)])
    label = b"unconfined_u:object_r:ssh_home_t:s0\x00"
    try:
        os.setxattr(home / ".ssh" / "authorized_keys", "security.selinux", label)
    except OSError:
        pytest.skip("this filesystem takes no labels")
    await service.add_authorized_keys("anna", [key(2)])
    assert os.getxattr(home / ".ssh" / "authorized_keys", "security.selinux") == label


async def test_a_directory_that_others_may_write_to_is_closed(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    (home / ".ssh").mkdir()
    (home / ".ssh").chmod(0o777)
    await service.authorized_keys("anna")
    assert stat.S_IMODE((home / ".ssh").stat().st_mode) == 0o777, "looking changes nothing"
    await service.add_authorized_keys("anna", [key(1)])
    assert stat.S_IMODE((home / ".ssh").stat().st_mode) == 0o700


async def test_nothing_is_written_where_nothing_changes(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    await service.add_authorized_keys("anna", [key(1)])
    before = (home / ".ssh" / "authorized_keys").stat()
    assert (await service.add_authorized_keys("anna", [key(1)])).unchanged == 1
    assert (await service.remove_authorized_keys("anna", [key(7)])).unchanged == 1
    assert (home / ".ssh" / "authorized_keys").stat() == before


def linked_directory(home: Path, elsewhere: Path) -> None:
    (home / ".ssh").symlink_to(elsewhere)


def linked_file(home: Path, elsewhere: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").symlink_to(elsewhere / "secret")


def second_name(home: Path, elsewhere: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").hardlink_to(elsewhere / "secret")


def pipe(home: Path, elsewhere: Path) -> None:
    (home / ".ssh").mkdir()
    os.mkfifo(home / ".ssh" / "authorized_keys")


def file_for_a_directory(home: Path, elsewhere: Path) -> None:
    (home / ".ssh").touch()


@pytest.mark.parametrize("trap", [linked_directory, linked_file, second_name, pipe, file_for_a_directory])
async def test_no_user_leads_the_agent_elsewhere(
    trap: Callable[[Path, Path], None], known: Accounted, service: AccountsService, tmp_path: Path
) -> None:
    home, elsewhere = known.add("eve"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text(f"{key(9, 'secret')}\n")
    trap(home, elsewhere)
    with pytest.raises(FailedPrecondition, match="left alone"):
        await service.authorized_keys("eve")
    with pytest.raises(FailedPrecondition, match="left alone"):
        await service.add_authorized_keys("eve", [key(1)])
    assert (elsewhere / "secret").read_text() == f"{key(9, 'secret')}\n"
    assert os.listdir(elsewhere) == ["secret"]


@pytest.mark.root
async def test_a_file_of_another_user_is_left_alone(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna", uid=54321)
    await service.add_authorized_keys("anna", [key(1)])
    os.chown(home / ".ssh" / "authorized_keys", 54322, 54322)
    with pytest.raises(FailedPrecondition, match="belongs to another user"):
        await service.authorized_keys("anna")
    os.chown(home / ".ssh" / "authorized_keys", 54321, 54321)
    os.chown(home / ".ssh", 54322, 54322)
    with pytest.raises(FailedPrecondition, match="belongs to another user"):
        await service.add_authorized_keys("anna", [key(2)])


async def test_readers_see_the_old_keys_or_the_new_ones(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    await service.add_authorized_keys("anna", [key(1)])
    path, seen, done = home / ".ssh" / "authorized_keys", set[str](), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(2, 30):
            await service.add_authorized_keys("anna", [key(number)], replace=True)
    finally:
        done.set()
        await asyncio.to_thread(reader.join)
    assert seen <= {f"{key(number)}\n" for number in range(1, 30)}


async def test_a_write_that_fails_leaves_the_old_keys_and_no_rubbish(
    known: Accounted, service: AccountsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = known.add("anna")
    await service.add_authorized_keys("anna", [key(1)])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CallError, match="No space left on device"):
        await service.add_authorized_keys("anna", [key(2)])
    assert os.listdir(home / ".ssh") == ["authorized_keys"]
    assert (home / ".ssh" / "authorized_keys").read_text() == f"{key(1)}\n"


async def test_what_is_no_key_makes_nothing(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    with pytest.raises(InvalidArgument):
        await service.add_authorized_keys("anna", [key(1), "rubbish"])
    assert not (home / ".ssh").exists()


async def test_a_missing_home_and_a_frozen_one_are_told(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    service.resources.frozen.add(home.stat().st_dev, "/srv")
    with pytest.raises(FailedPrecondition, match="/srv is frozen"):
        await service.add_authorized_keys("anna", [key(1)])
    service.resources.frozen.discard(home.stat().st_dev)
    home.rmdir()
    with pytest.raises(NotFound, match="the home of anna is missing"):
        await service.add_authorized_keys("anna", [key(1)])


async def test_a_file_that_is_too_large_is_not_read(known: Accounted, service: AccountsService) -> None:
    home = known.add("anna")
    (home / ".ssh").mkdir()
    with (home / ".ssh" / "authorized_keys").open("wb") as file:
        file.truncate(ssh_directory.LARGEST + 1)
    with pytest.raises(FailedPrecondition, match="more than"):
        await service.authorized_keys("anna")


# -- passwords ---------------------------------------------------------------------------------------------------

SECRET = "correct horse: battery $taple"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """`program("chpasswd", "exit 1")` puts a program where the agent looks; it writes down what it was given."""
    folder = tmp_path / "sbin"
    folder.mkdir()
    monkeypatch.setattr(passwords, "DIRECTORIES", f"{folder}:/usr/bin:/bin")

    def make(name: str, script: str) -> Path:
        record = folder / f"{name}.record"
        (folder / name).write_text(f'#!/bin/sh\necho "$@" > {record}\ncat >> {record}\n{script}\n')
        (folder / name).chmod(0o755)
        return record

    return make


async def test_a_password_reaches_chpasswd_on_its_standard_input(
    known: Accounted, service: AccountsService, program: Callable[[str, str], Path]
) -> None:
    known.add("anna")
    record = program("chpasswd", "")
    await service.set_password("anna", SECRET)
    assert record.read_text() == f"\nanna:{SECRET}\n"
    await service.set_password("anna", "$6$salt$hash/.", crypted=True)
    assert record.read_text() == "-e\nanna:$6$salt$hash/.\n"


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (
            'echo "chpasswd: (user anna) pam_chauthtok() failed, too short" >&2; exit 1',
            FailedPrecondition,
            "short",
        ),
        ('echo "chpasswd: Permission denied." >&2; exit 1', PermissionDenied, "Permission denied"),
        ('echo "chpasswd: cannot lock /etc/passwd; try again later." >&2; exit 1', Unavailable, "try again later"),
        (f"echo 'bad password {SECRET}' >&2; exit 1", FailedPrecondition, "chpasswd: refused"),
        ('echo "chpasswd: (line 1, user anna) password not changed" >&2', FailedPrecondition, "not changed"),
        ("exit 3", FailedPrecondition, "exit status 3"),
        ("kill -9 $$", FailedPrecondition, "exit status -9"),
    ],
)
async def test_a_refusal_is_told_without_the_password(
    script: str,
    error: type[CallError],
    words: str,
    known: Accounted,
    service: AccountsService,
    program: Callable[[str, str], Path],
) -> None:
    known.add("anna")
    program("chpasswd", script)
    with pytest.raises(error, match=words) as caught:
        await service.set_password("anna", SECRET)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("password", ["a\nroot:x", "a\rb", "a\0b", "\udcff"])
async def test_a_password_cannot_be_a_second_line(
    password: str, known: Accounted, service: AccountsService, program: Callable[[str, str], Path]
) -> None:
    known.add("anna")
    record = program("chpasswd", "")
    with pytest.raises(InvalidArgument):
        await service.set_password("anna", password)
    assert not record.exists()


@pytest.mark.parametrize("hashed", ["$6$a:0:0:", "plain text", "$6$\n", "", "$6$ä"])
async def test_a_hash_cannot_be_another_field(
    hashed: str, known: Accounted, service: AccountsService, program: Callable[[str, str], Path]
) -> None:
    known.add("anna")
    record = program("chpasswd", "")
    with pytest.raises(InvalidArgument) as caught:
        await service.set_password("anna", hashed, crypted=True)
    assert not record.exists()
    assert not hashed or hashed not in str(caught.value)


async def test_passwords_of_unknown_accounts_and_frozen_files_are_refused(
    known: Accounted, service: AccountsService, program: Callable[[str, str], Path]
) -> None:
    record = program("chpasswd", "")
    with pytest.raises(NotFound):
        await service.set_password("anna", SECRET)
    known.add("anna")
    service.resources.frozen.add(known.folder.stat().st_dev, "/")
    with pytest.raises(FailedPrecondition, match="is frozen"):
        await service.set_password("anna", SECRET)
    assert not record.exists()


async def test_a_guest_without_the_programs_says_what_to_install(
    known: Accounted, service: AccountsService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known.add("anna")
    monkeypatch.setattr(passwords, "DIRECTORIES", str(tmp_path))
    with pytest.raises(Unavailable, match="no chpasswd; install"):
        await service.set_password("anna", SECRET)


async def test_an_account_is_locked_and_unlocked(
    known: Accounted, service: AccountsService, program: Callable[[str, str], Path]
) -> None:
    known.add("anna")
    record = program("usermod", "")
    (known.folder / "shadow").write_text("anna:!$6$x:::::::\n")
    assert (await service.lock("anna")).password == "locked"
    assert record.read_text() == "-L -- anna\n"
    await service.lock("anna", locked=False)
    assert record.read_text() == "-U -- anna\n"


def test_no_log_shows_a_password() -> None:
    assert methods_of(Accounts)["set_password"].options.secrets == ("password",)
