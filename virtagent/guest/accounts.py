"""The service ``accounts``."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable
from typing import TypeVar

from virtagent.api.accounts import (
    Account,
    Accounts,
    AuthorizedKey,
    KeyLines,
    KeysChange,
    Password,
    PasswordState,
    UserName,
)
from virtagent.errors import InvalidArgument, NotFound, ResourceExhausted
from virtagent.guest.resources import GuestService, Resources
from virtagent.service.options import in_thread

__all__ = ["AccountsService", "PasswordFile"]

T = TypeVar("T")

MOST_USERS = 16384


class PasswordFile:
    """The accounts that the guest's C library knows (nsswitch.conf(5)).

    Attributes:
        shadow: where the passwords' hashes are (shadow(5)).
    """

    shadow = "/etc/shadow"

    def all(self) -> Iterable[pwd.struct_passwd]:
        """All that are listed."""
        return pwd.getpwall()

    def find(self, name: str) -> pwd.struct_passwd | None:
        """One of them, or one that is not listed."""
        try:
            return pwd.getpwnam(name)
        except (KeyError, ValueError):
            return None

    def groups(self) -> Iterable[grp.struct_group]:
        """All groups that are listed."""
        return grp.getgrall()


class AccountsService(GuestService, Accounts):
    """Reads and changes accounts with the rights of the agent.

    Args:
        resources: what services share.
        accounts: knows who there is; None: the guest's own.
    """

    def __init__(self, resources: Resources | None = None, *, accounts: PasswordFile | None = None) -> None:
        super().__init__(resources)
        self._accounts = accounts or PasswordFile()

    @in_thread
    def users(self) -> list[Account]:
        entries = {each.pw_name: each for each in self._accounts.all()}
        if len(entries) > MOST_USERS:
            raise ResourceExhausted(f"there are {len(entries)} accounts, more than {MOST_USERS}; ask for one by name")
        describe = self._describer()
        return sorted(map(describe, entries.values()), key=lambda each: (each.uid, each.name))

    @in_thread
    def user(self, name: UserName) -> Account:
        return self._describer()(self._find(name))

    @in_thread
    def set_password(self, user: UserName, password: Password, *, crypted: bool = False) -> None:
        from virtagent.guest.passwords import set_password  # noqa: PLC0415 - few hosts ask for it

        set_password(self._changeable(user), password, crypted=crypted)

    @in_thread
    def lock(self, user: UserName, *, locked: bool = True) -> Account:
        from virtagent.guest.passwords import lock_password  # noqa: PLC0415 - few hosts ask for it

        lock_password(self._changeable(user), locked=locked)
        return self._describer()(self._find(user))

    @in_thread
    def authorized_keys(self, user: UserName) -> list[AuthorizedKey]:
        from virtagent.guest.authorized_keys import list_keys  # noqa: PLC0415 - few hosts ask for it
        from virtagent.guest.ssh_directory import Owner, read_keys  # noqa: PLC0415

        found = self._find(user)
        return list_keys(read_keys(Owner(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)))

    @in_thread
    def add_authorized_keys(self, user: UserName, keys: KeyLines, *, replace: bool = False) -> KeysChange:
        from virtagent.guest.authorized_keys import add_keys  # noqa: PLC0415 - few hosts ask for it

        return self._change_keys(user, lambda text: add_keys(text, keys, replace=replace))

    @in_thread
    def remove_authorized_keys(self, user: UserName, keys: KeyLines) -> KeysChange:
        from virtagent.guest.authorized_keys import remove_keys  # noqa: PLC0415 - few hosts ask for it

        return self._change_keys(user, lambda text: remove_keys(text, keys))

    def _change_keys(self, user: str, change: Callable[[str], tuple[str, T]]) -> T:
        from virtagent.guest.ssh_directory import Owner, change_keys  # noqa: PLC0415 - few hosts ask for it

        found = self._find(user)
        self.resources.frozen.check_path(found.pw_dir)
        return change_keys(Owner(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir), change)

    def _find(self, name: str) -> pwd.struct_passwd:
        found = self._accounts.find(name)
        if found is None:
            raise NotFound(f"there is no account {name!r}")
        return found

    def _changeable(self, name: str) -> str:
        """The name of an account that is there, for a program that changes it."""
        found = self._find(name).pw_name
        if found.startswith("-") or ":" in found:
            raise InvalidArgument(f"{found!r} is no name of an account")
        self.resources.frozen.check_path(os.path.dirname(self._accounts.shadow))
        return found

    def _describer(self) -> Callable[[pwd.struct_passwd], Account]:
        """Describes accounts; what is looked up for all of them is looked up once."""
        from virtagent.guest.passwords import password_states  # noqa: PLC0415 - few hosts ask for it

        states = password_states(self._accounts.shadow)
        names: dict[int, str] = {}
        member_of: dict[str, list[str]] = {}
        for group in self._accounts.groups():
            names.setdefault(group.gr_gid, group.gr_name)
            for member in group.gr_mem:
                member_of.setdefault(member, []).append(group.gr_name)

        def describe(entry: pwd.struct_passwd) -> Account:
            own = names.get(entry.pw_gid, "")
            others = [each for each in member_of.get(entry.pw_name, ()) if each != own]
            state: PasswordState = states.get(entry.pw_name, "unknown")
            return Account(
                name=entry.pw_name,
                uid=entry.pw_uid,
                gid=entry.pw_gid,
                home=entry.pw_dir,
                shell=entry.pw_shell,
                full_name=entry.pw_gecos.partition(",")[0],
                group=own,
                groups=[own, *others] if own else others,
                password=state,
            )

        return describe
