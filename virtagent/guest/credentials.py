"""As whom a process runs (credentials(7)), and the environment that follows from it."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from virtagent.errors import InvalidArgument, NotFound

__all__ = ["DEFAULT_PATH", "Credentials", "credentials_of", "environment_of", "own_credentials"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PASSED_ON = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ")
"""Variables of the agent that a process gets. The others (NOTIFY_SOCKET, say) are the agent's own affair."""


class Credentials(NamedTuple):
    """Who a process is.

    Attributes:
        switch: it has to be made so; False: it is what the agent is.
        groups: the supplementary groups (initgroups(3)).
        name, home, shell: as in passwd(5); for a user that has no entry there, its number, "/" and "/bin/sh".
    """

    switch: bool
    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    shell: str


def own_credentials() -> Credentials:
    """The agent's own."""
    try:
        changed = os.stat("/etc/passwd").st_mtime_ns
    except OSError:
        changed = 0
    return _own_credentials(changed)


@lru_cache(1)
def _own_credentials(_changed: int) -> Credentials:
    """To look into passwd(5) at each start of a process takes longer than all else here."""
    uid = os.getuid()
    name, home, shell = _entry(uid)
    return Credentials(False, uid, os.getgid(), (), name, home, shell)


def _entry(uid: int) -> tuple[str, str, str]:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), "/", "/bin/sh"
    return found.pw_name, found.pw_dir or "/", found.pw_shell or "/bin/sh"


def credentials_of(user: str, group: str) -> Credentials:
    """Those of a user and a group by name or number; "" is the agent's user, and the user's own group.

    May block: users may be looked up over a network (nsswitch.conf(5)).

    Raises:
        NotFound: there is no such user or group.
        InvalidArgument: a name or number that none can have.
    """
    if "\0" in user + group:
        raise InvalidArgument("a user or group with a NUL byte")
    if not user:
        own = own_credentials()
        if not group:
            return own
        return own._replace(switch=True, gid=_gid(group), groups=tuple(os.getgroups()))
    try:
        found = pwd.getpwuid(_number(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdecimal():
            raise NotFound(f"the guest has no user {user!r}; give one of its users, or a number") from None
        uid = _number(user)
        gid = _gid(group) if group else uid
        return Credentials(True, uid, gid, (), user, "/", "/bin/sh")
    gid = _gid(group) if group else found.pw_gid
    groups = tuple(os.getgrouplist(found.pw_name, gid))
    return Credentials(True, found.pw_uid, gid, groups, found.pw_name, found.pw_dir or "/", found.pw_shell or "/bin/sh")


def _number(text: str) -> int:
    if not text.isascii() or len(text) > 10 or int(text) >= 2**32 - 1:  # (uid_t) -1 means "no change"
        raise InvalidArgument(f"{text} is no number of a user or group")
    return int(text)


def _gid(group: str) -> int:
    if group.isdecimal():
        return _number(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise NotFound(f"the guest has no group {group!r}; give one of its groups, or a number") from None


def environment_of(who: Credentials, *, terminal: str | None, more: Mapping[str, str], clear: bool) -> dict[str, str]:
    """The environment of a process.

    Args:
        who: as whom it runs.
        terminal: TERM, or None.
        more: variables that are added.
        clear: ``more`` is all of it.

    Raises:
        InvalidArgument: a name or a value that no variable can have.
    """
    for name, value in more.items():
        if "=" in name or "\0" in name or "\0" in value:
            raise InvalidArgument(
                f"the variable {name!r}: a name has no '=', and neither it nor its value has a NUL byte"
            )
    if clear:
        return dict(more)
    made = {"PATH": DEFAULT_PATH, "HOME": who.home, "USER": who.name, "LOGNAME": who.name, "SHELL": who.shell}
    made.update((name, os.environ[name]) for name in _PASSED_ON if name in os.environ)
    if terminal is not None:
        made["TERM"] = terminal
    made.update(more)
    return made
